//! Windows, caps, bandwidth, shadow runs and schedules.

use jiff::tz::TimeZone;
use longshore_trust::UnixMs;
use longshore_wire::v1::Mode;

use super::*;
use crate::policy::Policy;

/// 1970-01-01T00:16:40Z, when the world begins, and hours of that day.
const HOUR_MS: u64 = 3_600_000;

fn text(waves: &str, rest: &str) -> Policy {
    Policy::parse(&format!(
        "name = \"p\"\n{rest}\n{waves}\n[gate]\ndeadline = \"30h\"\non_fail = \"pause\"\n"
    ))
    .unwrap()
}
const ALL: &str = "[[wave]]\nselect = { rest = true }";

#[test]
fn a_cap_per_minute_is_kept_and_everybody_gets_it() {
    let p = text("[[wave]]\nselect = { rest = true }\nmax_per_minute = 4", "");
    let mut w = World::new(make(p, 10), &[]);
    w.settle();
    assert_eq!(w.offers, 4);
    for _ in 0..59 {
        w.pass(1_000);
    }
    assert_eq!(w.offers, 4, "not one more within the minute");
    w.pass(1_000);
    assert_eq!(w.offers, 8);
    w.run(600);
    assert_eq!((w.offers, w.state), (10, RolloutState::Completed), "{}", w.reason);
}

#[test]
fn the_bandwidth_of_the_whole_rollout_is_kept() {
    // A bundle of one byte, at 1 B/s: one device a second, sixty a minute.
    let mut plan = make(text(ALL, "bandwidth = \"1B/s\""), 100);
    plan.bytes = 2;
    let mut w = World::new(plan, &[]);
    w.settle();
    assert_eq!(w.offers, 30, "30 devices of two bytes in a minute");
    w.run(600);
    assert_eq!(w.offers, 100);
    assert_eq!(w.state, RolloutState::Completed, "{}", w.reason);
}

#[test]
fn a_paced_rollout_keeps_no_offers_waiting_for_devices_that_are_away() {
    let p = text("[[wave]]\nselect = { rest = true }\nmax_per_minute = 4", "");
    let mut w = World::new(make(p, 3), &[Nature::Good, Nature::Away, Nature::Good]);
    for d in &mut w.devices {
        d.online = d.device != id(1);
    }
    w.run(120);
    assert_eq!(w.offers, 2);
    w.natures.insert(id(1), Nature::Good);
    w.pass(500);
    w.pass(500);
    assert_eq!(w.device(&id(1)).state, DeviceState::Update(UpdateState::Committed));
}

/// Opens at 02:00 for an hour, on each device's clock.
fn nights() -> World {
    let window = "[window]\ncron = \"0 2 * * *\"\nduration = \"1h\"";
    let p = Policy::parse(&format!(
        "name = \"p\"\n{ALL}\n{window}\n[gate]\ndeadline = \"30h\"\non_fail = \"pause\"\n"
    ))
    .unwrap();
    let mut w = World::new(make(p, 3), &[]);
    w.zones.push(TimeZone::posix("JST-9").unwrap());
    w.device(&id(2)).zone = 1;
    w
}

#[test]
fn each_device_is_offered_the_version_in_its_own_window() {
    let mut w = nights();
    w.settle();
    assert_eq!(w.offers, 0, "00:16 in UTC, 09:16 in Tokyo");
    w.pass(2 * HOUR_MS);
    assert_eq!(w.offers, 2);
    let until = w.device(&id(0)).offer.unwrap().until;
    assert_eq!(until, Some(UnixMs(3 * HOUR_MS)), "a device that is late does not activate it by day");
    w.pass(500);
    assert_eq!(w.device(&id(2)).state, DeviceState::Waiting);
    assert_eq!(w.waves[0].state, WaveState::Offering, "it waits for Tokyo's night");
    w.pass(15 * HOUR_MS);
    assert_eq!(w.offers, 3);
    w.pass(500);
    w.run(10);
    assert_eq!(w.state, RolloutState::Completed, "{}", w.reason);
}

#[test]
fn the_end_of_a_window_is_no_failure_and_uses_up_no_attempt() {
    let mut w = nights();
    w.plan.policy.gate.deadline_ms = 400 * 24 * HOUR_MS;
    w.settle();
    for night in 0..10u64 {
        w.now = UnixMs((night * 24 + 2) * HOUR_MS + HOUR_MS / 2);
        w.settle();
        // It heard of it when the night was over.
        let d = w.device(&id(0));
        let offer = d.offer.unwrap();
        assert_eq!(offer.attempts, 1, "night {night}");
        d.report = Some(Report {
            version: offer.version,
            state: UpdateState::TooLate,
            code: None,
            active: Some(OLD),
        });
        w.now = UnixMs((night * 24 + 4) * HOUR_MS);
        w.settle();
        assert_eq!(w.device(&id(0)).state, DeviceState::Update(UpdateState::TooLate));
        assert_eq!(w.device(&id(0)).failures, 0);
    }
    assert_eq!(w.offers, 20, "device 1 never answered and is offered it anew each night, too");
    assert_eq!(w.waves[0].verdict.as_ref().unwrap().counts.failed, 0);
}

#[test]
fn a_version_runs_in_shadow_before_it_serves() {
    let p = text(
        "[[wave]]\nselect = { count = 2 }\nshadow = \"10s\"\nsoak = \"2s\"\n[[wave]]\nselect = { rest = true }",
        "",
    );
    let mut w = World::new(make(p, 4), &[]);
    w.settle();
    assert_eq!(w.waves[0].state, WaveState::Shadowing);
    assert!(w.modes.values().all(|m| *m == Mode::Shadow) && w.modes.len() == 2);
    w.pass(500);
    let shadowing = DeviceState::Update(UpdateState::Shadowing);
    assert_eq!(w.devices.iter().filter(|d| d.state == shadowing).count(), 2);
    let opened = w.waves[0].opened;
    w.pass(9_000);
    assert_eq!(w.waves[0].state, WaveState::Shadowing);
    w.pass(1_000);
    assert_eq!(w.waves[0].state, WaveState::Offering);
    assert_eq!(w.waves[0].opened, opened, "the deadline runs from the first offer");
    assert_eq!(w.modes.values().filter(|m| **m == Mode::Active).count(), 2);
    w.run(60);
    assert_eq!(w.state, RolloutState::Completed, "{}", w.reason);
}

#[test]
fn a_shadow_run_without_a_row_proves_nothing() {
    let p = Policy::parse(&format!(
        "name = \"p\"\n[[wave]]\nselect = {{ count = 1 }}\nshadow = \"10s\"\n{ALL}\n[gate]\ndeadline = \"1m\"\non_fail = \"pause\"\n"
    ))
    .unwrap();
    let mut w = World::new(make(p, 3), &[]);
    w.mute = true;
    w.run(100);
    assert_eq!((w.state, w.waves[0].state), (RolloutState::Paused, WaveState::Inconclusive));
    assert!(w.modes.values().all(|m| *m == Mode::Shadow), "it never served");
}

#[test]
fn a_halt_ends_a_shadow_run() {
    let p = text("[[wave]]\nselect = { count = 2 }\nshadow = \"1h\"\n[[wave]]\nselect = { rest = true }", "");
    let mut w = World::new(make(p, 4), &[]);
    w.settle();
    w.pass(500);
    w.say(RolloutState::Halting);
    w.settle();
    w.pass(500);
    assert_eq!(w.state, RolloutState::Halted);
    assert!(w.devices.iter().filter(|d| d.wave == 0).all(|d| d.offer.unwrap().halted_at.is_some()));
}

#[test]
fn a_scheduled_rollout_begins_at_its_time_and_not_before() {
    let mut w = World::new(make(text(ALL, ""), 2), &[]);
    w.state = RolloutState::Scheduled;
    w.start_at = Some(w.now.plus_ms(HOUR_MS));
    w.settle();
    w.pass(HOUR_MS - 1_000);
    assert!(!w.begun && w.offers == 0);
    w.pass(2_000);
    assert!(w.begun && w.offers == 2);
}

#[test]
fn a_plan_that_nobody_authorizes_grows_old() {
    let mut w = World::new(make(text(ALL, ""), 2), &[]);
    w.state = RolloutState::AwaitingAuthorization;
    w.pass(6 * 24 * HOUR_MS);
    assert_eq!(w.state, RolloutState::AwaitingAuthorization);
    w.pass(2 * 24 * HOUR_MS);
    assert_eq!((w.state, w.offers), (RolloutState::Superseded, 0));
    assert!(w.reason.contains("nobody authorized"), "{}", w.reason);
}
