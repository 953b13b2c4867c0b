//! One device, the whole way: sign, publish, approve, roll out, serve, count, receipt.

use std::time::Duration;

use longshore_hil_tests::load::{Load, read};
use longshore_hil_tests::script::{ALL_AT_ONCE, await_state, build, release, roll_out, settle};
use longshore_hil_tests::stage::Stage;
use longshore_hil_tests::{output, root, shell_blocks};

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
    the_commands_of_the_guide_show(&stage, served);
    stage.strike();
}

/// Every `sh` line of `docs/guides/fleet-drift.md`, on this fleet.
fn the_commands_of_the_guide_show(stage: &Stage, served: u64) {
    let text = std::fs::read_to_string(root().join("docs/guides/fleet-drift.md")).unwrap();
    let commands = shell_blocks(&text);
    let lines: Vec<&str> = commands.lines().filter_map(|l| l.strip_prefix("longshore ")).collect();
    assert_eq!(lines.len(), 4, "{commands}");
    for line in lines {
        let args: Vec<&str> = line.split_whitespace().collect();
        let said = output(stage.longshore(&args)).unwrap();
        assert!(said.contains("meter-digits") && said.contains("1.0.0"), "{line}: {said}");
    }
    let quality = stage.json(&["models", "quality", "meter-digits@1.0.0"]).unwrap();
    assert_eq!(quality["quality"]["rows"], served, "{quality}");
    let drift = stage.json(&["drift", "show", "meter-digits@1.0.0"]).unwrap();
    let items = drift["items"].as_array().unwrap();
    assert!(!items.is_empty() && items.iter().all(|v| v["n"] == served), "{drift}");
}
