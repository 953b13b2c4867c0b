//! A Mosquitto that the operator runs, as the fleet's broker: the whole way through it, its death in the middle, and what
//! its access rules refuse.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use longshore_hil_tests::load::{Load, read};
use longshore_hil_tests::script::{
    ALL_AT_ONCE, await_state, build, enrol, init_fleet, make_keys, release, roll_out, settle, start_fleet,
};
use longshore_hil_tests::stage::Stage;
use longshore_hil_tests::{output, root};

use super::python::interpreter;

fn mosquitto() -> Result<PathBuf> {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&paths)
        .chain(["/usr/sbin".into(), "/usr/local/sbin".into()])
        .map(|p| p.join("mosquitto"))
        .find(|p| p.is_file())
        .context("Mosquitto is needed; on Debian, apt-get install mosquitto")
}

fn start_broker(stage: &mut Stage, program: &Path) -> Result<()> {
    let mut broker = Command::new(program);
    broker.args(["-c", "broker/mosquitto.conf"]).current_dir(&stage.dir);
    stage.spawn("mosquitto", broker)
}

#[test]
#[ignore = "slow: needs Mosquitto"]
fn a_fleet_works_through_a_mosquitto_and_loses_nothing_when_it_is_killed() -> Result<()> {
    let program = mosquitto()?;
    let mut stage = Stage::new(tempfile::tempdir()?.keep())?;
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    stage.external_broker = Some(port);
    make_keys(&stage)?;
    init_fleet(&stage)?;
    let mut files = stage.program("longshore-fleet");
    files.args(["broker-files", "--data", "fleet", "--host", "localhost", "--out", "broker"]);
    files.args(["--port", &port.to_string()]);
    output(files)?;
    if rustix::process::geteuid().is_root() {
        // Started as root, Mosquitto becomes a user that cannot read this directory.
        let conf = stage.dir.join("broker/mosquitto.conf");
        let text = std::fs::read_to_string(&conf)?;
        std::fs::write(&conf, format!("{text}user root\n"))?;
    }
    start_broker(&mut stage, &program)?;
    start_fleet(&mut stage)?;
    enrol(&mut stage, 2)?;
    build(&stage, "1.0.0")?;
    release(&stage, "1.0.0")?;
    let rollout = roll_out(&stage, "1.0.0", ALL_AT_ONCE)?;
    await_state(&mut stage, &rollout, "completed", Duration::from_secs(60))?;

    let rows = read(&root().join("examples/meter-digits/field/stream.csv"))?;
    let load = Load::start(&[stage.socket(1), stage.socket(2)], rows, Duration::from_millis(5));
    for _ in 0..3 {
        std::thread::sleep(Duration::from_secs(2));
        stage.kill("mosquitto")?;
        std::thread::sleep(Duration::from_secs(1));
        start_broker(&mut stage, &program)?;
    }
    let tally = load.stop();
    let totals = settle(&mut stage, 2)?;
    println!("served {}, aborted {}, counted {totals:?}", tally.served(), tally.aborted());
    ensure!(tally.served() > 100 && tally.aborted() == 0 && tally.refused() == 0, "serving needs no broker");
    ensure!(
        (totals.counted, totals.journalled) == (tally.served(), tally.served()),
        "served {} rows, but {totals:?}",
        tally.served()
    );

    stage.kill("meter-2")?;
    refuses_what_is_not_a_devices_own(&stage, port)?;
    stage.strike();
    Ok(())
}

/// Device 2's certificate in a stranger's client.
fn refuses_what_is_not_a_devices_own(stage: &Stage, port: u16) -> Result<()> {
    let mut client = Command::new(interpreter(&root().join("hil-tests/python/requirements.txt"))?);
    client.arg(root().join("hil-tests/python/mqtt_stranger.py")).arg(port.to_string());
    client.arg(stage.dir.join("broker/ca.pem")).arg(stage.device_dir(2).join("state/identity"));
    client.args(["demo", "meter-2", "meter-1"]);
    let said = output(client)?;
    println!("{said}");
    ensure!(said.contains("2 of 2 refused, 1 of 1 allowed"), "the access rules are too wide: {said}");
    let log = std::fs::read_to_string(stage.log("mosquitto"))?;
    ensure!(
        log.contains("meter-1") && log.contains("meter-2"),
        "the broker's log does not name devices: {log}"
    );
    let thrown_out = "Client meter-1 already connected";
    ensure!(!log.contains(thrown_out), "a client id was enough to throw another device out: {log}");
    Ok(())
}
