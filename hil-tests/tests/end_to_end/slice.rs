//! One device, the whole way: sign, publish, approve, roll out, serve, count, receipt.

use std::time::Duration;

use longshore_hil_tests::load::{Load, read};
use longshore_hil_tests::root;
use longshore_hil_tests::script::{ALL_AT_ONCE, await_state, build, release, roll_out, settle};

use crate::fleet;

#[test]
fn a_model_reaches_a_device_answers_and_every_row_is_counted_once() {
    let mut stage = fleet(1);
    build(&stage, "1.0.0").unwrap();
    release(&stage, "1.0.0").unwrap();
    let rollout = roll_out(&stage, "1.0.0", ALL_AT_ONCE).unwrap();
    await_state(&mut stage, &rollout, "completed", Duration::from_secs(60)).unwrap();

    let rows = read(&root().join("examples/meter-digits/field/stream.csv")).unwrap();
    let load = Load::start(&[stage.socket(1)], rows, Duration::from_millis(5));
    std::thread::sleep(Duration::from_secs(3));
    let tally = load.stop();
    let served = tally.served();
    assert!(served > 100, "{served} rows in 3 s");
    assert_eq!((tally.aborted(), tally.refused()), (0, 0));
    assert_eq!(tally.labelled(), served, "every row got its label");
    let totals = settle(&mut stage, 1).unwrap();
    assert_eq!((totals.counted, totals.journalled), (served, served));

    let device = stage.api("/api/v1/devices/meter-1").unwrap();
    assert_eq!(device["id"], "meter-1");
    stage.strike();
}
