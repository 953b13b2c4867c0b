//! The steps that the demo and the tests share: keys, bundles, a server, devices, releases, rollouts.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::socket::Answer;
use crate::stage::Stage;
use crate::{output, root};

/// The model of the example.
pub const MODEL: &str = "meter-digits";

/// A policy of one wave with everybody in it.
pub const ALL_AT_ONCE: &str = r#"name = "all"
[[wave]]
select = { rest = true }
soak = "500ms"
[gate]
min_devices = 1
success = 0.9
max_failed_devices = 1
deadline = "120s"
on_fail = "halt"
on_inconclusive = "pause"
"#;

/// Keys of a solo fleet, in `keys/`.
///
/// # Errors
/// When the command fails.
pub fn make_keys(stage: &Stage) -> Result<()> {
    stage.json(&["keys", "init", "--fleet", "demo", "--solo", "--no-passphrase", "--out", "keys"]).map(drop)
}

/// Builds the example's bundle of `version` into `bundles/<version>`.
///
/// # Errors
/// When a command fails.
pub fn build(stage: &Stage, version: &str) -> Result<()> {
    build_as(stage, version, version)
}

/// Builds the example's model of version `example` as a bundle of version `version`.
///
/// # Errors
/// When the command fails.
pub fn build_as(stage: &Stage, example: &str, version: &str) -> Result<()> {
    build_from(stage, example, version, None).map(drop)
}

/// The same, made from the bundle with the digest `parent`, so that approving it signs the way back to that; its digest.
///
/// # Errors
/// When the command fails.
pub fn build_from(stage: &Stage, example: &str, version: &str, parent: Option<&str>) -> Result<String> {
    let of_all = root().join("examples").join(MODEL);
    let file = |name: &str| of_all.join(example).join(name).display().to_string();
    let monitor = of_all.join("monitor.toml").display().to_string();
    let out = format!("bundles/{version}");
    std::fs::create_dir_all(stage.dir.join("bundles"))?;
    let (model, reference, golden, card) =
        (file("model.onnx"), file("reference.csv"), file("golden.npz"), file("card.md"));
    let mut args = vec!["bundle", "build", "--model", &model, "--name", MODEL, "--version", version];
    args.extend(["--reference", &reference, "--golden", &golden, "--card", &card]);
    args.extend(["--labels", "0,1,2,3,4,5,6,7,8,9", "--manifest-extra", &monitor, "--out", &out]);
    args.extend(parent.iter().flat_map(|p| ["--parent", p]));
    let built = stage.json(&args)?;
    built["digest"].as_str().map(str::to_owned).context("`bundle build --json` gave no digest")
}

/// Initialises and starts the server and logs the operator in.
///
/// # Errors
/// When a command fails, or what is waited for does not come.
pub fn set_up_fleet(stage: &mut Stage) -> Result<()> {
    init_fleet(stage)?;
    start_fleet(stage)
}

/// Initialises the server's data directory.
///
/// # Errors
/// When a command fails.
pub fn init_fleet(stage: &Stage) -> Result<()> {
    stage.write_fleet_config()?;
    std::fs::write(stage.dir.join("admin-password"), password())?;
    let mut init = stage.program("longshore-fleet");
    init.args(["init", "--online", "keys/online", "--data", "fleet", "--config", "fleet.toml"]);
    init.args(["--admin-password-file", "admin-password", "--admin-token-file", "admin-token"]);
    output(init).map(drop)
}

/// Starts the server and logs the operator in.
///
/// # Errors
/// When a command fails, or the server does not get ready.
pub fn start_fleet(stage: &mut Stage) -> Result<()> {
    stage.start_fleet()?;
    let url = stage.url();
    stage.json(&["login", "--url", &url, "--token-file", "admin-token", "--trust", "keys/trust"]).map(drop)
}

/// A password for the console, drawn anew for each demo.
fn password() -> String {
    let bytes = std::fs::File::open("/dev/urandom")
        .and_then(|mut f| {
            let mut b = [0u8; 9];
            std::io::Read::read_exact(&mut f, &mut b).map(|()| b)
        })
        .expect("the kernel gives random bytes");
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// Publishes, then signs on "the release manager's machine".
///
/// # Errors
/// When a command fails, or what is waited for does not come.
pub fn release(stage: &Stage, version: &str) -> Result<()> {
    let dir = format!("bundles/{version}");
    stage.json(&["publish", &dir, "--wait"])?;
    let what = format!("{MODEL}@{version}");
    stage.json(&["approve", &what, "--keys", "keys/offline", "--yes"]).map(drop)
}

/// Makes, enrols and starts devices 1 to `devices`.
///
/// # Errors
/// When a command fails, or what is waited for does not come.
pub fn enrol(stage: &mut Stage, devices: usize) -> Result<()> {
    for i in 1..=devices {
        enrol_one(stage, i)?;
    }
    Ok(())
}

/// Makes, enrols and starts device `i`, and waits until it answers.
///
/// # Errors
/// When a command fails, or what is waited for does not come.
pub fn enrol_one(stage: &mut Stage, i: usize) -> Result<()> {
    let config = stage.write_agent_config(i)?.display().to_string();
    let device_url = format!("https://localhost:{}", stage.ports.device);
    let token = stage.json(&["devices", "token", "--device-url", &device_url])?;
    let token = token["token"].as_str().context("`devices token --json` gave no token")?;
    let file = stage.device_dir(i).join("token");
    std::fs::write(&file, token)?;
    let mut agent = stage.program("longshore-agent");
    agent.args(["enroll", "--config", &config, "--device", &Stage::device(i), "--token-file"]).arg(&file);
    output(agent)?;
    stage.start_agent(i)?;
    let socket = stage.socket(i);
    stage.wait("the agent", Duration::from_secs(20), || {
        Ok(matches!(socket.get("/v2/health/live"), Answer::Response(200, _)))
    })
}

/// Starts a rollout; its id.
///
/// # Errors
/// When a command fails, or what is waited for does not come.
pub fn roll_out(stage: &Stage, version: &str, policy: &str) -> Result<String> {
    let file = format!("policy-{version}.toml");
    std::fs::write(stage.dir.join(&file), policy)?;
    let what = format!("{MODEL}@{version}");
    let started = stage.json(&["rollout", "start", "--model", &what, "--policy", &file, "--yes"])?;
    started["id"].as_str().map(str::to_owned).context("`rollout start --json` gave no id")
}

/// The state of a rollout.
///
/// # Errors
/// When a command fails, or what is waited for does not come.
pub fn state(stage: &Stage, rollout: &str) -> Result<String> {
    let shown = stage.json(&["rollout", "show", rollout])?;
    shown["state"].as_str().map(str::to_owned).context("`rollout show --json` gave no state")
}

/// Waits until a rollout is in the state `wanted`.
///
/// # Errors
/// When it ends in another, or does not end.
pub fn await_state(stage: &mut Stage, rollout: &str, wanted: &str, limit: Duration) -> Result<()> {
    let end = await_end(stage, rollout, limit)?;
    ensure!(end == wanted, "rollout {rollout} came to {end}, not to {wanted}: {}", shown(stage, rollout));
    Ok(())
}

/// Waits until a rollout moves no more (or only when a person says so); the state it came to.
///
/// # Errors
/// When it does not within `limit`, or the server does not answer.
pub fn await_end(stage: &Stage, rollout: &str, limit: Duration) -> Result<String> {
    let start = Instant::now();
    loop {
        let now = state(stage, rollout)?;
        if ["completed", "reverted", "halted", "superseded"].contains(&now.as_str())
            || now.starts_with("paused")
        {
            return Ok(now);
        }
        ensure!(start.elapsed() < limit, "rollout {rollout} is still {now}: {}", shown(stage, rollout));
        std::thread::sleep(Duration::from_millis(200));
    }
}

fn shown(stage: &Stage, rollout: &str) -> String {
    stage.json(&["rollout", "show", rollout]).unwrap_or(Value::Null).to_string()
}

/// SIGKILL for the engine of a device.
///
/// # Errors
/// When a command fails, or what is waited for does not come.
pub fn kill_engine(stage: &Stage, device: usize) -> Result<()> {
    let pid = stage.engine_pid(device)?;
    let pid = rustix::process::Pid::from_raw(pid).context("a process id is never 0")?;
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).context("cannot kill the engine")
}

/// The fleet's total and the sum of the devices' journals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Totals {
    /// Rows in the fleet's store.
    pub counted: u64,
    /// Rows in the devices' journals.
    pub journalled: u64,
}

/// Waits until fleet and journals agree and nothing moves any more.
///
/// # Errors
/// When they do not within 40 s (the last totals are judged then all the same), or a device does not answer.
pub fn settle(stage: &mut Stage, devices: usize) -> Result<Totals> {
    let mut last = totals(stage, devices)?;
    let mut unchanged = 0;
    for _ in 0..80 {
        std::thread::sleep(Duration::from_millis(500));
        let now = totals(stage, devices)?;
        unchanged = if now == last { unchanged + 1 } else { 0 };
        last = now;
        // Journals and status files are written at intervals: agreement counts once it has outlasted them.
        if last.counted == last.journalled && unchanged >= 6 {
            break;
        }
    }
    Ok(last)
}

/// Both totals as they are now.
///
/// # Errors
/// When the server or a device does not answer.
pub fn totals(stage: &Stage, devices: usize) -> Result<Totals> {
    let fleet = stage.api("/api/v1/fleet")?;
    let counted = fleet["rows_counted"].as_u64().context("GET /api/v1/fleet gave no rows_counted")?;
    let mut journalled = 0;
    for i in 1..=devices {
        let status = stage.status(i)?;
        let models = status["models"].as_array().context("`longshore-agent status --json` gave no models")?;
        journalled += models.iter().filter_map(|m| m["rows_total"].as_u64()).sum::<u64>();
    }
    Ok(Totals { counted, journalled })
}
