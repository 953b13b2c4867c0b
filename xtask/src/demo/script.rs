//! What happens in the demo, in order.

use std::time::{Duration, Instant};

use anyhow::Result;
use longshore_hil_tests::load::{self, Load};
use longshore_hil_tests::root;
use longshore_hil_tests::script::{
    await_state, build, enrol, kill_engine, make_keys, release, roll_out, set_up_fleet, settle, state,
};
use longshore_hil_tests::stage::Stage;

use super::Progress;
use super::drift;
use super::verdict::{Rollout, Verdict};

/// How many steps the progress bar has.
pub const STEPS: u64 = 18;

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
accuracy_drop = 0.02
alpha = 0.05
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
    make_keys(stage)?;
    progress.step("building three bundles from real models");
    for version in VERSIONS {
        build(stage, version)?;
    }
    progress.step("starting the fleet server");
    let receiver = drift::prepare(stage)?;
    set_up_fleet(stage)?;
    progress.step("publishing and approving 1.0.0");
    release(stage, VERSIONS[0])?;
    progress.step("enrolling the devices");
    enrol(stage, devices)?;
    progress.step("rolling 1.0.0 out to every device");
    let first = roll_out(stage, VERSIONS[0], FIRST)?;
    await_state(stage, &first, "completed", Duration::from_secs(60))?;

    progress.step("streaming held-out digits with labels through every device");
    let rows = load::read(&root().join("examples/meter-digits/field/stream.csv"))?;
    let sockets: Vec<_> = (1..=devices).map(|i| stage.socket(i)).collect();
    let load = Load::start(&sockets, rows.clone(), Duration::from_millis(40));
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

    progress.step("knocking the cameras of the devices in Amsterdam: their pictures are shifted by a pixel");
    let tally = load.stop();
    let shifted: Vec<_> = rows.iter().map(load::Row::shifted).collect();
    let (knocked, others): (Vec<_>, Vec<_>) = (1..=devices).partition(|i| i % 2 == 0);
    let at = |devices: &[usize]| devices.iter().map(|i| stage.socket(*i)).collect::<Vec<_>>();
    let loads = [
        Load::start(&at(&knocked), shifted, Duration::from_millis(20)),
        Load::start(&at(&others), rows, Duration::from_millis(40)),
    ];
    progress.step("waiting for the alert, and taking it on in the console");
    let found = drift::notice(stage, &receiver, VERSIONS[1])?;

    progress.step("stopping the stream");
    std::thread::sleep(Duration::from_secs(1));
    for load in loads {
        tally.add(&load.stop());
    }
    progress.step("waiting until the fleet has counted what the devices have counted");
    let totals = settle(stage, devices)?;
    progress.step("comparing the totals");
    let rollouts = [(VERSIONS[0], &first), (VERSIONS[1], &second), (VERSIONS[2], &third)]
        .into_iter()
        .map(|(version, id)| Ok(Rollout { version: version.into(), state: state(stage, id)? }))
        .collect::<Result<Vec<_>>>()?;
    Ok(Verdict::new(devices, &tally, totals, rollouts, found, start.elapsed()))
}
