//! Inventory and health, from sysinfo and `/proc`.

use std::collections::BTreeMap;
use std::path::Path;

use longshore_trust::log::LogHead;
use longshore_wire::v1::{Health, Inventory, ModelHealth};
use sysinfo::{Components, Disks, System};

/// Features of this build, as manifests can require them.
const FEATURES: &[&str] = &["oip-v2", "binary-tensors", "feedback"];

/// What the machine is. `state_dir` tells which disk counts; `sandbox` is what the engine reported.
#[must_use]
pub fn inventory(state_dir: &Path, labels: &BTreeMap<String, String>, sandbox: &[String]) -> Inventory {
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    Inventory {
        agent: env!("CARGO_PKG_VERSION").into(),
        os: std::env::consts::OS.into(),
        os_version: System::long_os_version().unwrap_or_default(),
        kernel: System::kernel_version().unwrap_or_default(),
        arch: std::env::consts::ARCH.into(),
        cpu: cpu_name(&cpuinfo),
        cores: std::thread::available_parallelism().map_or(1, |n| u32::try_from(n.get()).unwrap_or(u32::MAX)),
        memory_kib: memory_kib(),
        disk_kib: disk(state_dir).map_or(0, |(total, _)| total / 1024),
        board: board(),
        labels: labels.clone(),
        features: FEATURES.iter().map(|f| (*f).to_owned()).collect(),
        sandbox: sandbox.to_vec(),
        zone: std::fs::read_link("/etc/localtime").ok().and_then(|link| zone(&link)),
    }
}

/// The time zone that the system's clock is shown in: the name behind `zoneinfo` in the link.
fn zone(link: &Path) -> Option<String> {
    let (_, name) = link.to_str()?.split_once("zoneinfo/")?;
    (!name.is_empty() && name.len() <= 64).then(|| name.to_owned())
}

/// Memory of the machine, KiB; 0 where it does not tell.
#[must_use]
pub fn memory_kib() -> u64 {
    let mut system = System::new();
    system.refresh_memory();
    system.total_memory() / 1024
}

/// What the supervisor knows and the machine does not.
#[derive(Debug, Clone, Default)]
pub struct HealthFacts {
    /// Rows waiting for a receipt.
    pub outbox_rows: u64,
    /// Engine starts since the agent started.
    pub engine_starts: u32,
    /// The serving engine.
    pub engine_pid: Option<u32>,
    /// What serves.
    pub models: Vec<ModelHealth>,
    /// What was seen of the fleet's audit log.
    pub log: Vec<LogHead>,
}

/// How the machine is.
#[must_use]
pub fn health(state_dir: &Path, facts: HealthFacts) -> Health {
    let mut system = System::new();
    system.refresh_memory();
    let own = std::process::id();
    Health {
        uptime_s: System::uptime(),
        load1_centi: (System::load_average().one.max(0.0) * 100.0) as u32,
        memory_free_kib: system.available_memory() / 1024,
        disk_free_kib: disk(state_dir).map_or(0, |(_, free)| free / 1024),
        temperature_centi_c: hottest(),
        agent_pss_kib: pss_kib(own) + facts.engine_pid.map_or(0, pss_kib),
        written_bytes: written_bytes(own),
        outbox_rows: facts.outbox_rows,
        engine_starts: facts.engine_starts,
        models: facts.models,
        log: facts.log,
    }
}

/// Total and free bytes of the filesystem that holds `path`.
#[must_use]
pub fn disk(path: &Path) -> Option<(u64, u64)> {
    let path = path.canonicalize().ok()?;
    let disks = Disks::new_with_refreshed_list();
    disks
        .iter()
        .filter(|d| path.starts_with(d.mount_point()))
        .max_by_key(|d| d.mount_point().as_os_str().len())
        .map(|d| (d.total_space(), d.available_space()))
}

fn hottest() -> Option<i32> {
    Components::new_with_refreshed_list()
        .iter()
        .filter_map(sysinfo::Component::temperature)
        .filter(|t| t.is_finite())
        .map(|t| (t * 100.0) as i32)
        .max()
}

/// Proportional set size of a process; its resident size where the kernel gives none.
fn pss_kib(pid: u32) -> u64 {
    let field = |file: &str, key: &str| {
        let text = std::fs::read_to_string(format!("/proc/{pid}/{file}")).ok()?;
        let line = text.lines().find(|l| l.starts_with(key))?.to_owned();
        line.split_whitespace().nth(1)?.parse::<u64>().ok()
    };
    field("smaps_rollup", "Pss:").or_else(|| field("status", "VmRSS:")).unwrap_or(0)
}

/// Bytes this process caused to be written to storage.
fn written_bytes(pid: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/io")).unwrap_or_default();
    text.lines().find_map(|l| l.strip_prefix("write_bytes:")).and_then(|v| v.trim().parse().ok()).unwrap_or(0)
}

/// `model name` on x86, `Hardware` or `Model` on ARM boards, else the implementer and part numbers.
fn cpu_name(cpuinfo: &str) -> String {
    let value = |key: &str| {
        cpuinfo
            .lines()
            .filter_map(|l| l.split_once(':'))
            .find(|(k, _)| k.trim().eq_ignore_ascii_case(key))
            .map(|(_, v)| v.trim().to_owned())
    };
    value("model name").or_else(|| value("Hardware")).unwrap_or_else(|| match value("CPU part") {
        Some(part) => {
            format!("ARM part {part} of implementer {}", value("CPU implementer").unwrap_or_default())
        }
        None => "unknown".into(),
    })
}

/// Name of the board, from the device tree or DMI.
fn board() -> String {
    ["/proc/device-tree/model", "/sys/class/dmi/id/product_name"]
        .iter()
        .find_map(|p| std::fs::read_to_string(p).ok())
        .map(|s| s.trim_matches(|c: char| c == '\0' || c.is_whitespace()).to_owned())
        .filter(|s| !s.is_empty())
        .unwrap_or_else(|| "unknown".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_zone_is_the_name_that_the_clock_links_to() {
        let name = |link: &str| zone(Path::new(link));
        assert_eq!(name("/usr/share/zoneinfo/Europe/Amsterdam").as_deref(), Some("Europe/Amsterdam"));
        assert_eq!(name("../usr/share/zoneinfo/UTC").as_deref(), Some("UTC"));
        assert_eq!(name("/etc/somewhere"), None);
        assert_eq!(name("/usr/share/zoneinfo/"), None);
    }

    #[test]
    fn the_inventory_of_this_machine_is_plausible() {
        let inventory = inventory(Path::new("/"), &BTreeMap::new(), &["seccomp".into()]);
        assert!(inventory.memory_kib > 1024 && inventory.cores > 0 && inventory.disk_kib > 0);
        assert_eq!(inventory.arch, std::env::consts::ARCH);
        assert_eq!(inventory.sandbox, ["seccomp"]);
    }
    #[test]
    fn health_sees_this_process() {
        let health = health(Path::new("/"), HealthFacts::default());
        assert!(health.agent_pss_kib > 0 && health.memory_free_kib > 0);
    }
    #[test]
    fn processors_are_named_on_x86_and_arm() {
        assert_eq!(cpu_name("model name\t: Big CPU\n"), "Big CPU");
        assert_eq!(
            cpu_name("CPU implementer\t: 0x41\nCPU part\t: 0xd08\n"),
            "ARM part 0xd08 of implementer 0x41"
        );
    }
}
