//! `longshore-agent doctor`: one line a thing that the agent needs, and what to do where it is missing.
//!
//! Looks only: nothing is changed, nothing is sent but a connection attempt to the enrolled fleet.

use std::io::Write as _;
use std::net::{TcpStream, ToSocketAddrs as _};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use longshore_trust::UnixMs;

use crate::config::Config;
use crate::host;
use crate::identity::Identity;

/// How one check came out.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Finding {
    /// As it should be.
    Good(String),
    /// The agent runs, with less.
    Weak(String, &'static str),
    /// The agent cannot do its work.
    Bad(String, &'static str),
}

/// Runs all checks; exit code 1 when one is bad.
///
/// # Errors
/// When the configuration cannot be read.
pub fn run(config: &Path) -> anyhow::Result<ExitCode> {
    let config = Config::load(config)?;
    let mut findings = vec![
        ("state directory", writable(&config.state_dir)),
        ("run directory", writable(&config.run_dir)),
        ("disk", disk(&config)),
        ("clock", clock(host::now().0)),
        ("memory", memory()),
        ("kernel", kernel()),
        ("engine sandbox", sandbox()),
    ];
    match Identity::load(&config.state_dir) {
        Ok(Some(identity)) => {
            let name = format!("{} of fleet {}", identity.device, identity.fleet);
            findings.push(("identity", Finding::Good(name)));
            findings.push(("fleet, HTTPS", reach(&identity.url, 443)));
            findings.push(("fleet, MQTT", reach(&identity.mqtt_url, 8883)));
        }
        Ok(None) => findings.push((
            "identity",
            Finding::Weak("not enrolled".into(), "make a token with `longshore devices token`, then `longshore-agent enroll --token-file FILE`"),
        )),
        Err(e) => findings.push(("identity", Finding::Bad(e.to_string(), "restore the file or enrol again"))),
    }
    let mut out = std::io::stdout().lock();
    let mut bad = 0;
    for (what, finding) in &findings {
        match finding {
            Finding::Good(said) => writeln!(out, "ok    {what}: {said}")?,
            Finding::Weak(said, advice) => writeln!(out, "warn  {what}: {said}\n      -> {advice}")?,
            Finding::Bad(said, advice) => {
                bad += 1;
                writeln!(out, "FAIL  {what}: {said}\n      -> {advice}")?;
            }
        }
    }
    Ok(if bad == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Whether a directory, or the nearest one above it that exists, can be written.
fn writable(dir: &Path) -> Finding {
    let existing = dir.ancestors().find(|d| d.exists()).unwrap_or(Path::new("/"));
    let advice = "run as the service's user, or name another directory in the configuration";
    match rustix::fs::access(existing, rustix::fs::Access::WRITE_OK) {
        Ok(()) if existing == dir => Finding::Good(format!("{} can be written", dir.display())),
        Ok(()) => Finding::Good(format!("{} will be made", dir.display())),
        Err(e) => Finding::Bad(format!("{} cannot be written ({e})", existing.display()), advice),
    }
}

fn disk(config: &Config) -> Finding {
    let existing = config.state_dir.ancestors().find(|d| d.exists()).unwrap_or(Path::new("/"));
    match rustix::fs::statvfs(existing) {
        Ok(s) => {
            let (free, inodes) = (s.f_bavail.saturating_mul(s.f_frsize), s.f_favail);
            let said = format!("{} MiB and {inodes} inodes free", free >> 20);
            if free < config.limits.min_free_bytes {
                Finding::Bad(said, "free some space: nothing new is downloaded below limits.min_free_bytes")
            } else if inodes < 1000 && s.f_files > 0 {
                Finding::Weak(said, "few inodes are left: remove small files")
            } else {
                Finding::Good(said)
            }
        }
        Err(e) => Finding::Bad(format!("cannot be asked ({e})"), "check that the filesystem is mounted"),
    }
}

/// A clock far from any time at which this program can run.
fn clock(now: UnixMs) -> Finding {
    const TEN_YEARS_MS: u64 = 10 * 366 * 86_400_000;
    let said = format!("{} s since 1970", now.secs());
    if now < host::BUILT || now.since(host::BUILT) > TEN_YEARS_MS {
        Finding::Weak(
            format!("{said} cannot be right"),
            "set the clock or start a time service; until then expiry is judged by signed times only",
        )
    } else {
        Finding::Good(said)
    }
}

fn memory() -> Finding {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let free = text
        .lines()
        .find_map(|l| l.strip_prefix("MemAvailable:")?.split_whitespace().next()?.parse::<u64>().ok());
    match free {
        Some(kib) if kib < 32 * 1024 => Finding::Weak(
            format!("{} MiB available", kib / 1024),
            "models need room: stop something, or expect failed trials",
        ),
        Some(kib) => Finding::Good(format!("{} MiB available", kib / 1024)),
        None => Finding::Weak("/proc/meminfo cannot be read".into(), "mount /proc"),
    }
}

/// What an engine really gets, from one that shuts itself in and says so.
fn sandbox() -> Finding {
    let advice = "use a newer kernel, or allow `landlock_*` and `seccomp` in the service's SystemCallFilter; the engine serves with what is left";
    let asked = super::supervisor::program().and_then(|program| {
        std::process::Command::new(program).args(["engine", "--probe"]).env_clear().output()
    });
    match asked {
        Ok(out) if out.status.success() => judge(&String::from_utf8_lossy(&out.stdout), advice),
        Ok(out) => {
            Finding::Bad(format!("the engine cannot be started ({})", out.status), "reinstall the agent")
        }
        // This very program runs, so the machine is another one than the kernel's: an emulated processor.
        Err(e) if e.raw_os_error() == Some(rustix::io::Errno::NOEXEC.raw_os_error()) => Finding::Weak(
            "under emulation no engine can be started, so nothing is known".into(),
            "ask on the board itself, or register the emulator with binfmt_misc",
        ),
        Err(e) => Finding::Bad(format!("the engine cannot be started ({e})"), "reinstall the agent"),
    }
}

fn judge(measures: &str, advice: &'static str) -> Finding {
    let (missing, there): (Vec<&str>, Vec<&str>) = measures.lines().partition(|m| m.starts_with("missing:"));
    match missing.is_empty() {
        true => Finding::Good(there.join(", ")),
        false => Finding::Weak([there, missing].concat().join(", "), advice),
    }
}

/// What the kernel offers for the engine's sandbox.
fn kernel() -> Finding {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let actions = Path::new("/proc/sys/kernel/seccomp/actions_avail").exists();
    let lsm = std::fs::read_to_string("/sys/kernel/security/lsm").unwrap_or_default();
    let said = format!(
        "{} ({}, seccomp {})",
        release.trim(),
        std::env::consts::ARCH,
        if actions { "there" } else { "not to be seen" },
    );
    if !actions {
        return Finding::Weak(
            said,
            "the engine's sandbox will be weaker; the agent reports what the kernel gave",
        );
    }
    if !lsm.is_empty() && !lsm.split(',').any(|l| l.trim() == "landlock") {
        return Finding::Weak(
            format!("{said}, without landlock"),
            "boot with lsm=landlock,… to close the file system to the engine; seccomp holds alone until then",
        );
    }
    Finding::Good(said)
}

/// Whether somebody listens there.
fn reach(url: &str, default_port: u16) -> Finding {
    let authority = url.split("://").nth(1).unwrap_or(url).split('/').next().unwrap_or_default();
    let with_port =
        if authority.contains(':') { authority.to_owned() } else { format!("{authority}:{default_port}") };
    let advice =
        "check cable, address and firewall; the agent goes on serving and keeps its reports meanwhile";
    let addresses = match with_port.to_socket_addrs() {
        Ok(a) => a,
        Err(e) => return Finding::Weak(format!("{with_port} has no address ({e})"), advice),
    };
    let mut last = String::from("no address");
    for address in addresses {
        match TcpStream::connect_timeout(&address, Duration::from_secs(5)) {
            Ok(_) => return Finding::Good(format!("{with_port} answers")),
            Err(e) => last = e.to_string(),
        }
    }
    Finding::Weak(format!("{with_port} does not answer ({last})"), advice)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_at_1970_and_one_far_ahead_are_found() {
        assert!(matches!(clock(UnixMs(5_000)), Finding::Weak(..)));
        assert!(matches!(clock(UnixMs::from_secs(4_000_000_000)), Finding::Weak(..)));
        assert!(matches!(clock(UnixMs::from_secs(1_795_000_000)), Finding::Good(_)));
    }
    #[test]
    fn a_port_that_nobody_listens_on_is_found() {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        assert!(matches!(reach(&format!("https://127.0.0.1:{free}/x"), 443), Finding::Weak(..)));
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("mqtts://127.0.0.1:{}", listener.local_addr().unwrap().port());
        assert!(matches!(reach(&url, 8883), Finding::Good(_)));
    }
    #[test]
    fn a_layer_that_the_kernel_lacks_is_found() {
        assert_eq!(judge("rlimits\nseccomp\n", ""), Finding::Good("rlimits, seccomp".into()));
        let weak = judge("rlimits\nmissing:landlock (not enabled at boot)\n", "x");
        assert_eq!(weak, Finding::Weak("rlimits, missing:landlock (not enabled at boot)".into(), "x"));
    }
    #[test]
    fn a_disk_without_room_is_found() {
        let mut config = Config { state_dir: "/".into(), ..Config::default() };
        assert!(matches!(disk(&config), Finding::Good(_) | Finding::Weak(..)));
        config.limits.min_free_bytes = u64::MAX;
        assert!(matches!(disk(&config), Finding::Bad(..)));
    }
}
