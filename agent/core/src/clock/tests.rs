use super::*;

const DAY: u64 = 86_400_000;
/// When this program was built.
const BUILT: UnixMs = UnixMs(1_780_000_000_000);
/// What signed metadata says in these tests.
const SIGNED: UnixMs = UnixMs(1_790_000_000_000);
const KEYS: u64 = 7;

fn reading(wall: UnixMs, synchronised: bool, boot_ms: u64) -> Reading {
    Reading { wall, synchronised, boot_ms }
}
fn known() -> Clock {
    let mut clock = Clock::restore(None, BUILT, false, reading(SIGNED, false, 1_000));
    clock.trust(Some(SIGNED), Some(SIGNED), KEYS, 1_000);
    clock
}
fn restarted(clock: &Clock, at_boot_ms: u64, same_boot: bool, r: Reading) -> Clock {
    Clock::restore(Some(clock.save(at_boot_ms)), BUILT, same_boot, r)
}

#[test]
fn whatever_the_wall_clock_says() {
    use TimeQuality::{Floor, None, Ntp};
    let y2038 = UnixMs::from_secs(2_147_483_648);
    let ten_years = SIGNED.plus_ms(3_653 * DAY);
    // An hour after the floor was learnt, by the boot clock.
    let (hour, near) = (SIGNED.plus_ms(3_600_000), SIGNED.plus_ms(DAY));
    let rows = [
        // wall, synchronised: time for records, its quality, time for expiry
        ("1970", UnixMs(5_000), false, hour, Floor, hour),
        ("1970, says NTP", UnixMs(5_000), true, hour, Floor, hour),
        ("a year back", UnixMs(SIGNED.0 - 365 * DAY), true, hour, Floor, hour),
        ("right, says the board", near, false, near, Floor, near),
        ("right, says NTP", near, true, near, Ntp, near),
        ("2038", y2038, false, y2038, None, hour),
        ("2038, says NTP", y2038, true, y2038, Ntp, hour),
        ("+10 years", ten_years, false, ten_years, None, hour),
        ("+10 years, says NTP", ten_years, true, ten_years, Ntp, hour),
        ("the end of time", UnixMs(u64::MAX), true, UnixMs(u64::MAX), Ntp, hour),
    ];
    let clock = known();
    for (what, wall, synchronised, time, quality, expiry) in rows {
        let told = clock.tell(reading(wall, synchronised, 1_000 + 3_600_000));
        assert_eq!(told, Told { time, quality, expiry }, "{what}");
    }
    println!("wall clocks judged: {}", rows.len());
}
#[test]
fn no_wall_clock_ever_raises_a_floor_or_moves_the_steady_clock() {
    let mut clock = known();
    let floors = clock.floors();
    for wall in [0, 1, SIGNED.0, SIGNED.0 + 3_653 * DAY, u64::MAX] {
        for synchronised in [false, true] {
            assert!(clock.tell(reading(UnixMs(wall), synchronised, 9_000)).expiry < SIGNED.plus_ms(3 * DAY));
            clock = restarted(&clock, 9_000, true, reading(UnixMs(wall), synchronised, 9_000));
            assert_eq!(clock.floors(), floors);
            assert_eq!(clock.steady(9_000), SIGNED.plus_ms(8_000));
        }
    }
}
#[test]
fn attested_time_goes_on_with_the_boot_clock_and_beats_any_wall() {
    let mut clock = known();
    let truth = SIGNED.plus_ms(60 * DAY);
    clock.attest(truth, 5_000).unwrap();
    for wall in [UnixMs(0), UnixMs::from_secs(2_147_483_648)] {
        let told = clock.tell(reading(wall, true, 5_000 + DAY));
        let time = truth.plus_ms(DAY);
        assert_eq!(told, Told { time, quality: TimeQuality::Attested, expiry: time });
    }
    // The agent starts again in the same boot: nothing is forgotten.
    let again = restarted(&clock, 6_000, true, reading(UnixMs(0), false, 7_000));
    assert_eq!(again.tell(reading(UnixMs(0), false, 7_000)).time, truth.plus_ms(2_000));
    assert!(again.is_attested());
    // The machine is restarted: how long it was off is not known, so it is a floor again.
    let rebooted = restarted(&clock, 6_000, false, reading(UnixMs(0), false, 3_000));
    let told = rebooted.tell(reading(UnixMs(0), false, 3_000));
    assert_eq!((told.time, told.quality), (truth.plus_ms(1_000), TimeQuality::Floor));
}
#[test]
fn a_time_before_an_offline_signature_is_refused() {
    let mut clock = known();
    let early = UnixMs(SIGNED.0 - 1);
    assert_eq!(clock.attest(early, 2_000), Err(TimeRefusal::BeforeFloor { attested: early, floor: SIGNED }));
    assert!(!clock.is_attested());
}
#[test]
fn a_stolen_time_key_freezes_nobody_for_ever() {
    let mut clock = known();
    let frozen = UnixMs::from_secs(4_000_000_000);
    clock.attest(frozen, 2_000).unwrap();
    assert_eq!(clock.tell(reading(SIGNED, true, 2_000)).expiry, frozen);
    let mut clock = restarted(&clock, 2_000, false, reading(SIGNED, true, 100));
    assert_eq!(clock.tell(reading(SIGNED, true, 100)).expiry, frozen, "also after a reboot");
    // The root rotates the key: what the old one said is forgotten, what offline keys said is not.
    let later = SIGNED.plus_ms(5 * DAY);
    assert!(clock.trust(Some(later), None, KEYS + 1, 200));
    assert_eq!(clock.floors(), (later, UnixMs(0)));
    assert_eq!(clock.tell(reading(UnixMs(0), false, 200)).expiry, later);
    clock.attest(later.plus_ms(DAY), 300).unwrap();
    assert_eq!(clock.tell(reading(UnixMs(0), false, 300)).quality, TimeQuality::Attested);
    // The same keys again, with an older timestamp: nothing falls.
    assert!(!clock.trust(Some(SIGNED), Some(SIGNED), KEYS + 1, 300));
    assert_eq!(clock.floors().0, later);
}
#[test]
fn the_steady_clock_goes_on_after_a_reboot_and_gains_only_attested_absence() {
    // Off for ten days. (attested before, attested after): days gained.
    for (before, after, gained) in [(false, false, 0), (false, true, 0), (true, false, 0), (true, true, 10)] {
        let mut clock = known();
        let start = clock.steady(1_000);
        let truth = SIGNED.plus_ms(DAY);
        if before {
            clock.attest(truth, 1_000).unwrap();
        }
        // Saved after an hour, switched off, ten days later up again for a minute.
        let saved_at = 1_000 + 3_600_000;
        let mut clock = restarted(&clock, saved_at, false, reading(UnixMs(0), false, 60_000));
        if after {
            clock.attest(truth.plus_ms(3_600_000 + 10 * DAY), 60_000).unwrap();
        }
        let went = clock.steady(60_000).since(start);
        let counted = 3_600_000 + if gained > 0 { gained * DAY } else { 60_000 };
        assert_eq!(went, counted, "attested before: {before}, after: {after}");
        // A second answer gains nothing more.
        if after {
            clock.attest(truth.plus_ms(3_600_000 + 10 * DAY + 1_000), 61_000).unwrap();
            assert_eq!(clock.steady(61_000).since(start), counted + 1_000);
        }
    }
}
#[test]
fn dates_are_waited_for_by_the_steady_clock() {
    let m = Moment { now: UnixMs(1_000), steady: UnixMs(50) };
    assert_eq!(m.steady_at(UnixMs(1_500)), UnixMs(550));
    assert_eq!(m.steady_at(UnixMs(10)), UnixMs(50), "past");
    assert_eq!(m.steady_at(UnixMs(u64::MAX)), UnixMs(u64::MAX), "never");
}
#[test]
fn a_stolen_time_key_does_not_put_the_steady_clock_where_no_span_ends() {
    let mut clock = known();
    clock.attest(SIGNED.plus_ms(DAY), 1_000).unwrap();
    let mut clock = restarted(&clock, 2_000, false, reading(UnixMs(0), false, 100));
    let before = clock.steady(100);
    clock.attest(UnixMs(u64::MAX), 100).unwrap();
    assert!(clock.steady(100).since(before) <= 20 * 366 * DAY);
    assert!(clock.steady(60_100) > clock.steady(100), "it goes on");
}
