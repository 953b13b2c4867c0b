//! The fleet goes away, for long or for good: devices go on, and nothing they hold is lost.

use std::time::Duration;

use longshore_hil_tests::load::{Load, read};
use longshore_hil_tests::script::{ALL_AT_ONCE, await_state, build, release, roll_out, settle};
use longshore_hil_tests::{output, root};

use crate::fleet;

#[test]
fn devices_keep_serving_while_the_fleet_is_down_and_an_older_backup_loses_nothing() {
    let mut stage = fleet(2);
    build(&stage, "1.0.0").unwrap();
    release(&stage, "1.0.0").unwrap();
    let rollout = roll_out(&stage, "1.0.0", ALL_AT_ONCE).unwrap();
    await_state(&mut stage, &rollout, "completed", Duration::from_secs(60)).unwrap();

    let rows = read(&root().join("examples/meter-digits/field/stream.csv")).unwrap();
    let sockets = [stage.socket(1), stage.socket(2)];
    let load = Load::start(&sockets, rows.clone(), Duration::from_millis(10));
    std::thread::sleep(Duration::from_secs(2));
    let mut backup = stage.program("longshore-fleet");
    backup.args(["backup", "--data", "fleet", "--out", "backup"]);
    output(backup).unwrap();
    // Counted and receipted after the backup: only the devices' replay rings still hold these rows.
    std::thread::sleep(Duration::from_secs(5));
    stage.kill("fleet").unwrap();
    let before = load.tally.served();
    std::thread::sleep(Duration::from_secs(4));
    assert!(load.tally.served() > before + 100, "devices answer without a fleet");
    let tally = load.stop();
    assert_eq!((tally.aborted(), tally.refused()), (0, 0));

    std::fs::rename(stage.dir.join("fleet"), stage.dir.join("lost")).unwrap();
    let mut restore = stage.program("longshore-fleet");
    restore.args(["restore", "--from", "backup", "--data", "fleet"]);
    output(restore).unwrap();
    stage.start_fleet().unwrap();
    let totals = settle(&mut stage, 2).unwrap();
    assert_eq!((totals.counted, totals.journalled), (tally.served(), tally.served()));
    stage.strike();
}
