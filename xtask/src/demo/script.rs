//! What happens in the demo, in order.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::Progress;
use super::stage::Stage;
use super::stream::{self, Load};
use super::verdict::{self, Rollout, Verdict};
use crate::run::{output, root};

/// How many steps the progress bar has.
pub const STEPS: u64 = 16;

const MODEL: &str = "meter-digits";
const VERSIONS: [&str; 3] = ["1.0.0", "1.1.0", "1.2.0"];

/// One canary device, then the rest; a version whose field accuracy is clearly worse is taken back.
const POLICY: &str = r#"name = "demo"
[[wave]]
select = { count = 1 }
soak = "3s"
[[wave]]
select = { rest = true }
soak = "2s"
[gate]
min_devices = 1
min_rows = 100
success = 0.95
max_failed_devices = 2
accuracy_drop = 0.05
deadline = "60s"
on_fail = "revert"
on_inconclusive = "pause"
"#;

/// The first rollout has nothing to be compared with: every device at once.
const FIRST: &str = r#"name = "first"
[[wave]]
select = { rest = true }
soak = "1s"
[gate]
min_devices = 1
success = 0.95
max_failed_devices = 1
deadline = "60s"
on_fail = "halt"
on_inconclusive = "pause"
"#;

/// Plays the whole and judges the totals.
///
/// # Errors
/// At the first step that fails.
pub fn play(stage: &mut Stage, devices: usize, progress: &Progress) -> Result<Verdict> {
    let start = Instant::now();
    progress.step("making signing keys (solo: one key a role)");
    stage.json(&["keys", "init", "--fleet", "demo", "--solo", "--no-passphrase", "--out", "keys"])?;
    progress.step("building three bundles from real models");
    for version in VERSIONS {
        build(stage, version)?;
    }
    progress.step("starting the fleet server");
    set_up_fleet(stage)?;
    progress.step("publishing and approving 1.0.0");
    release(stage, VERSIONS[0])?;
    progress.step("enrolling the devices");
    enrol(stage, devices)?;
    progress.step("rolling 1.0.0 out to every device");
    let first = roll_out(stage, VERSIONS[0], FIRST)?;
    await_state(stage, &first, "completed", Duration::from_secs(60))?;

    progress.step("streaming held-out digits with labels through every device");
    let rows = stream::read(&root().join("examples/meter-digits/field/stream.csv"))?;
    let sockets: Vec<_> = (1..=devices).map(|i| stage.socket(i)).collect();
    let load = Load::start(&sockets, rows, Duration::from_millis(40));
    progress.step("killing an engine (SIGKILL) under load");
    std::thread::sleep(Duration::from_secs(2));
    kill_engine(stage, 2)?;

    progress.step("publishing 1.1.0 (better) and rolling it out: canary, then the rest");
    release(stage, VERSIONS[1])?;
    let second = roll_out(stage, VERSIONS[1], POLICY)?;
    std::thread::sleep(Duration::from_millis(1500));
    progress.step("killing the fleet server and its broker (SIGKILL) in the middle of the rollout");
    stage.kill("fleet")?;
    std::thread::sleep(Duration::from_secs(1));
    stage.start_fleet()?;
    progress.step("killing an agent (SIGKILL)");
    stage.kill(&Stage::device(3))?;
    std::thread::sleep(Duration::from_millis(500));
    stage.start_agent(3)?;
    await_state(stage, &second, "completed", Duration::from_secs(60))?;

    progress.step("publishing 1.2.0 (worse in the field), then locking the offline keys away");
    release(stage, VERSIONS[2])?;
    std::fs::rename(stage.dir.join("keys/offline"), stage.dir.join("keys/in-the-safe"))?;
    progress.step("rolling 1.2.0 out: the canary's accuracy gate has to stop it");
    let third = roll_out(stage, VERSIONS[2], POLICY)?;
    await_state(stage, &third, "reverted", Duration::from_secs(60))?;

    progress.step("stopping the stream");
    std::thread::sleep(Duration::from_secs(1));
    let tally = load.stop();
    progress.step("waiting until the fleet has counted what the devices have counted");
    let totals = verdict::settle(stage, devices)?;
    progress.step("comparing the totals");
    let rollouts = [(VERSIONS[0], &first), (VERSIONS[1], &second), (VERSIONS[2], &third)]
        .into_iter()
        .map(|(version, id)| Ok(Rollout { version: version.into(), state: state(stage, id)? }))
        .collect::<Result<Vec<_>>>()?;
    Ok(Verdict::new(devices, &tally, totals, rollouts, start.elapsed()))
}

fn build(stage: &Stage, version: &str) -> Result<()> {
    let from = root().join("examples").join(MODEL).join(version);
    let file = |name: &str| from.join(name).display().to_string();
    let out = format!("bundles/{version}");
    std::fs::create_dir_all(stage.dir.join("bundles"))?;
    let args = [
        "bundle", "build", "--model", &file("model.onnx"), "--name", MODEL, "--version", version, "--reference",
        &file("reference.csv"), "--golden", &file("golden.npz"), "--card", &file("card.md"), "--labels",
        "0,1,2,3,4,5,6,7,8,9", "--out", &out,
    ];
    stage.json(&args).map(drop)
}

fn set_up_fleet(stage: &mut Stage) -> Result<()> {
    stage.write_fleet_config()?;
    std::fs::write(stage.dir.join("admin-password"), password())?;
    let mut init = stage.program("longshore-fleet");
    init.args(["init", "--online", "keys/online", "--data", "fleet", "--config", "fleet.toml"]);
    init.args(["--admin-password-file", "admin-password", "--admin-token-file", "admin-token"]);
    output(init)?;
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
    hex::encode(bytes)
}

/// Publishes, then signs on "the release manager's machine".
fn release(stage: &Stage, version: &str) -> Result<()> {
    let dir = format!("bundles/{version}");
    stage.json(&["publish", &dir, "--wait"])?;
    let what = format!("{MODEL}@{version}");
    stage.json(&["approve", &what, "--keys", "keys/offline", "--yes"]).map(drop)
}

fn enrol(stage: &mut Stage, devices: usize) -> Result<()> {
    for i in 1..=devices {
        let config = stage.write_agent_config(i)?.display().to_string();
        let dir = stage.device_dir(i);
        let device_url = format!("https://localhost:{}", stage.ports.device);
        let token = stage.json(&["devices", "token", "--device-url", &device_url])?;
        let token = token["token"].as_str().context("`devices token --json` gave no token")?;
        let file = dir.join("token");
        std::fs::write(&file, token)?;
        let mut agent = stage.program("longshore-agent");
        agent.args(["enroll", "--config", &config, "--device", &Stage::device(i), "--token-file"]).arg(&file);
        output(agent)?;
        stage.start_agent(i)?;
    }
    let sockets: Vec<_> = (1..=devices).map(|i| stage.socket(i)).collect();
    stage.wait("the agents", Duration::from_secs(20), || {
        Ok(sockets.iter().all(|s| matches!(s.get("/v2/health/live"), super::socket::Answer::Response(200, _))))
    })
}

fn roll_out(stage: &Stage, version: &str, policy: &str) -> Result<String> {
    let file = format!("policy-{version}.toml");
    std::fs::write(stage.dir.join(&file), policy)?;
    let what = format!("{MODEL}@{version}");
    let started = stage.json(&["rollout", "start", "--model", &what, "--policy", &file, "--yes"])?;
    started["id"].as_str().map(str::to_owned).context("`rollout start --json` gave no id")
}

fn state(stage: &Stage, rollout: &str) -> Result<String> {
    let shown = stage.json(&["rollout", "show", rollout])?;
    shown["state"].as_str().map(str::to_owned).context("`rollout show --json` gave no state")
}

fn await_state(stage: &mut Stage, rollout: &str, wanted: &str, limit: Duration) -> Result<()> {
    let start = Instant::now();
    loop {
        let now = state(stage, rollout)?;
        if now == wanted {
            return Ok(());
        }
        let over = ["completed", "reverted", "halted", "superseded"].contains(&now.as_str()) || now.starts_with("paused");
        ensure!(!over, "rollout {rollout} came to {now}, not to {wanted}: {}", shown(stage, rollout));
        ensure!(start.elapsed() < limit, "rollout {rollout} is still {now}: {}", shown(stage, rollout));
        std::thread::sleep(Duration::from_millis(300));
    }
}

fn shown(stage: &Stage, rollout: &str) -> String {
    stage.json(&["rollout", "show", rollout]).unwrap_or(Value::Null).to_string()
}

fn kill_engine(stage: &Stage, device: usize) -> Result<()> {
    let pid = stage.engine_pid(device)?;
    let pid = rustix::process::Pid::from_raw(pid).context("a process id is never 0")?;
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).context("cannot kill the engine")
}
