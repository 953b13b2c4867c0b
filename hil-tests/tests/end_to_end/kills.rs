//! SIGKILL at random moments through many updates: no count lost or doubled, no half-installed model.

use std::time::Duration;

use longshore_hil_tests::load::{Load, read};
use longshore_hil_tests::root;
use longshore_hil_tests::script::{
    ALL_AT_ONCE, MODEL, await_end, await_state, build_as, kill_engine, release, roll_out, settle,
};
use longshore_hil_tests::socket::Answer;
use longshore_hil_tests::stage::Stage;

use crate::{Dice, fleet};

const UPDATES: u64 = 20;
const DEVICES: usize = 2;

#[test]
fn nothing_is_lost_or_doubled_when_anything_is_killed_through_twenty_updates() {
    let mut dice = Dice(20_260_801);
    let mut stage = fleet(DEVICES);
    for n in 0..=UPDATES {
        build_as(&stage, ["1.0.0", "1.1.0"][(n % 2) as usize], &version(n)).unwrap();
        release(&stage, &version(n)).unwrap();
    }
    let first = roll_out(&stage, &version(0), ALL_AT_ONCE).unwrap();
    await_state(&mut stage, &first, "completed", Duration::from_secs(60)).unwrap();
    let rows = read(&root().join("examples/meter-digits/field/stream.csv")).unwrap();
    let sockets: Vec<_> = (1..=DEVICES).map(|i| stage.socket(i)).collect();
    let load = Load::start(&sockets, rows, Duration::from_millis(20));

    let (mut kills, mut completed) = (0, 0);
    for n in 1..=UPDATES {
        let rollout = roll_out(&stage, &version(n), ALL_AT_ONCE).unwrap();
        std::thread::sleep(Duration::from_millis(dice.below(1200)));
        kills += kill_something(&mut stage, &mut dice);
        // A model whose engine was killed while it answered in probation is taken back: that is the guard's duty.
        let end = await_end(&stage, &rollout, Duration::from_secs(90)).unwrap();
        completed += u64::from(end == "completed");
    }
    assert!(completed >= UPDATES / 2, "only {completed} of {UPDATES} updates completed");
    assert!(kills >= UPDATES / 2, "only {kills} processes were there to be killed");
    let tally = load.stop();
    let totals = settle(&mut stage, DEVICES).unwrap();
    let (served, aborted) = (tally.served(), tally.aborted());
    eprintln!(
        "{kills} kills, {completed} of {UPDATES} updates completed: served {served}, aborted {aborted}, {totals:?}"
    );
    assert_eq!(totals.counted, totals.journalled);
    assert!(served <= totals.counted && totals.counted <= served + aborted);
    for i in 1..=DEVICES {
        let status = stage.status(i).unwrap();
        let seen = stage.api(&format!("/api/v1/devices/{}", Stage::device(i))).unwrap();
        assert_eq!(status["models"][0]["version"], seen["models"][0]["version"], "{status}\n{seen}");
        let ready = stage.socket(i).get(&format!("/v2/models/{MODEL}/ready"));
        assert!(matches!(ready, Answer::Response(200, _)), "{ready:?}");
    }
    stage.strike();
}

fn version(n: u64) -> String {
    format!("2.0.{n}")
}

/// Kills one of fleet, supervisor, engine; what does not restart by itself is started again.
fn kill_something(stage: &mut Stage, dice: &mut Dice) -> u64 {
    let device = 1 + dice.below(DEVICES as u64) as usize;
    match dice.below(3) {
        0 => {
            stage.kill("fleet").unwrap();
            stage.start_fleet().unwrap();
            1
        }
        1 => {
            stage.kill(&Stage::device(device)).unwrap();
            stage.start_agent(device).unwrap();
            1
        }
        // The engine may be between two lives just now.
        _ => u64::from(kill_engine(stage, device).is_ok()),
    }
}
