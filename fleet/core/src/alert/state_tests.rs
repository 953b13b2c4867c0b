use longshore_trust::UnixMs;
use proptest::prelude::*;

use super::state::{Change, HELD_MS, Look, Notice, REOPEN_MS, STALE_MS, State, Step, gap_ms, step};
use super::{Alert, Rule, Seen, Settings};

const MINUTE: u64 = 60_000;

fn rule() -> Rule {
    let text = "[[alert]]\nname = \"r\"\nkind = \"drift\"\nfor = \"5m\"\nresolve_after = \"10m\"\nseverity = \"critical\"\nrepeat_interval = \"1h\"\n";
    Settings::parse(text).unwrap().rules.remove(0)
}

/// A cause that is looked at every minute.
struct Cause {
    rule: Rule,
    alert: Option<Alert>,
    now: UnixMs,
    notices: Vec<(UnixMs, Notice)>,
    changes: Vec<Change>,
    closed: u32,
}

impl Cause {
    fn new() -> Self {
        Self {
            rule: rule(),
            alert: None,
            now: UnixMs(1_000_000_000),
            notices: vec![],
            changes: vec![],
            closed: 0,
        }
    }
    fn look(&mut self, look: Look) {
        let Step { alert, change, notice, closed } =
            step(self.alert.take(), Some(&self.rule), look, self.now);
        self.notices.extend(notice.map(|n| (self.now, n)));
        self.changes.extend(change);
        self.closed += u32::from(closed);
        self.alert = alert.filter(|_| !closed);
        self.now = self.now.plus_ms(MINUTE);
    }
    fn see(&mut self, seen: Seen, minutes: u64) -> &mut Self {
        (0..minutes).for_each(|_| self.look(Look { seen, weight: 1, silenced: false, blind_ms: 0 }));
        self
    }
    fn state(&self) -> &'static str {
        self.alert.as_ref().map_or("none", |a| a.state.name())
    }
    fn told(&self) -> Vec<Notice> {
        self.notices.iter().map(|(_, n)| *n).collect()
    }
}

#[test]
fn what_lasts_is_told_once_and_its_end_as_well() {
    let mut c = Cause::new();
    c.see(Seen::Holds, 5);
    assert_eq!((c.state(), c.told()), ("pending", vec![]));
    c.see(Seen::Holds, 20);
    assert_eq!((c.state(), c.told()), ("firing", vec![Notice::Fired]));
    c.see(Seen::Clear, 10);
    assert_eq!(c.state(), "firing");
    c.see(Seen::Clear, 2);
    assert_eq!((c.state(), c.told()), ("resolved", vec![Notice::Fired, Notice::Resolved]));
    c.see(Seen::Clear, 61);
    assert_eq!((c.state(), c.closed), ("none", 1));
}

#[test]
fn what_does_not_last_is_told_to_nobody() {
    let mut c = Cause::new();
    for _ in 0..50 {
        c.see(Seen::Holds, 4).see(Seen::Clear, 1);
    }
    assert_eq!((c.state(), c.told()), ("none", vec![]));
}

#[test]
fn an_alert_nobody_acknowledges_is_told_again_and_one_that_is_acknowledged_is_not() {
    let mut c = Cause::new();
    c.see(Seen::Holds, 6 + 180);
    assert_eq!(
        c.told(),
        [Notice::Fired, Notice::Repeated, Notice::Repeated, Notice::Repeated][..c.told().len()]
    );
    assert!(c.told().len() >= 3);
    let before = c.notices.len();
    assert!(c.alert.as_mut().unwrap().acknowledge("ann", "on it", c.now));
    c.see(Seen::Holds, 600);
    assert_eq!((c.state(), c.notices.len()), ("acknowledged", before));
    c.see(Seen::Clear, 12);
    assert_eq!(c.notices.last().unwrap().1, Notice::Resolved);
    // It comes back soon: whoever has taken it on still has.
    c.see(Seen::Holds, 7);
    assert_eq!((c.state(), c.alert.as_ref().unwrap().flaps), ("acknowledged", 1));
}

#[test]
fn an_acknowledged_alert_that_grows_tenfold_is_told_again() {
    let mut c = Cause::new();
    c.see(Seen::Holds, 10);
    assert!(c.alert.as_mut().unwrap().acknowledge("ann", "", c.now));
    let at = |weight| Look { seen: Seen::Holds, weight, silenced: false, blind_ms: 0 };
    c.look(at(9));
    assert_eq!(c.state(), "acknowledged");
    (0..10).for_each(|_| c.look(at(50_000)));
    assert_eq!((c.state(), c.told()), ("firing", vec![Notice::Fired, Notice::Grown]));
    assert!(c.changes.contains(&Change::Grown));
}

#[test]
fn what_cannot_be_measured_neither_fires_nor_resolves_but_does_not_wait_for_ever() {
    let mut c = Cause::new();
    c.see(Seen::Unknown, 100);
    assert_eq!(c.state(), "none");
    c.see(Seen::Holds, 7).see(Seen::Unknown, STALE_MS / MINUTE);
    assert_eq!(c.state(), "firing");
    c.see(Seen::Unknown, 2);
    assert_eq!((c.state(), c.changes.last()), ("resolved", Some(&Change::Unmeasured)));
    let mut c = Cause::new();
    c.see(Seen::Holds, 2).see(Seen::Near, REOPEN_MS / MINUTE + 10);
    assert_eq!(c.state(), "none");
}

#[test]
fn a_silenced_alert_lives_and_is_told_when_the_silence_ends() {
    let mut c = Cause::new();
    (0..60).for_each(|_| c.look(Look { seen: Seen::Holds, weight: 1, silenced: true, blind_ms: 0 }));
    assert_eq!((c.state(), c.told()), ("firing", vec![]));
    c.see(Seen::Holds, 1);
    assert_eq!(c.told(), [Notice::Fired]);
}

#[test]
fn what_a_person_resolved_stays_so_until_it_was_gone_or_a_day_has_passed() {
    let mut c = Cause::new();
    c.see(Seen::Holds, 10);
    assert!(c.alert.as_mut().unwrap().resolve("ann", "sensor replaced", c.now));
    c.see(Seen::Holds, 600);
    assert_eq!((c.state(), c.told()), ("resolved", vec![Notice::Fired, Notice::Resolved]));
    c.see(Seen::Holds, HELD_MS / MINUTE - 600 + 1);
    assert_eq!((c.state(), c.notices.last().unwrap().1), ("firing", Notice::Fired));
    assert!(c.alert.as_mut().unwrap().resolve("ann", "", c.now));
    c.see(Seen::Clear, 1).see(Seen::Holds, 8);
    assert_eq!(c.state(), "firing");
}

#[test]
fn time_in_which_nobody_looked_is_no_evidence() {
    let mut c = Cause::new();
    c.see(Seen::Holds, 2);
    c.now = c.now.plus_ms(3 * 3_600_000);
    c.look(Look { seen: Seen::Holds, weight: 1, silenced: false, blind_ms: 3 * 3_600_000 });
    assert_eq!(c.state(), "pending");
    c.see(Seen::Holds, 5);
    assert_eq!(c.state(), "firing");
}

#[test]
fn without_its_rule_an_alert_ends_and_whoever_was_told_is_told_so() {
    let mut c = Cause::new();
    c.see(Seen::Holds, 10);
    let look = Look { seen: Seen::Holds, weight: 1, silenced: false, blind_ms: 0 };
    let end = step(c.alert.take(), None, look, c.now);
    assert_eq!((end.notice, end.change, end.closed), (Some(Notice::Resolved), Some(Change::RuleGone), true));
    assert!(matches!(end.alert.unwrap().state, State::Resolved { .. }));
}

#[derive(Debug, Clone)]
enum Act {
    Look(Seen, u64, bool),
    Pass(u64),
    Back(u64),
    Acknowledge,
    Resolve,
}

impl Cause {
    /// What acts may find nothing to be done to is no matter here.
    fn act(&mut self, act: Act, note: &str) {
        let at = self.now;
        match (act, &mut self.alert) {
            (Act::Look(seen, weight, silenced), _) => {
                self.look(Look { seen, weight, silenced, blind_ms: 0 });
            }
            (Act::Pass(ms), _) => self.now = at.plus_ms(ms),
            (Act::Back(ms), _) => self.now = UnixMs(at.0 - ms),
            (Act::Acknowledge, Some(alert)) => drop(alert.acknowledge("a", note, at)),
            (Act::Resolve, Some(alert)) => drop(alert.resolve("a", note, at)),
            (Act::Acknowledge | Act::Resolve, None) => {}
        }
    }
}

fn act() -> impl Strategy<Value = Act> {
    let seen = prop_oneof![Just(Seen::Holds), Just(Seen::Near), Just(Seen::Clear), Just(Seen::Unknown)];
    prop_oneof![
        8 => (seen, 1u64..100_000, prop::bool::weighted(0.1)).prop_map(|(s, w, q)| Act::Look(s, w, q)),
        4 => (0u64..40).prop_map(|m| Act::Pass(m * MINUTE)),
        1 => (0u64..40).prop_map(|h| Act::Pass(h * 60 * MINUTE)),
        1 => (0u64..300).prop_map(|m| Act::Back(m * MINUTE)),
        1 => Just(Act::Acknowledge),
        1 => Just(Act::Resolve),
    ]
}

proptest! {
    #[test]
    fn whatever_happens_notices_alternate_are_bounded_and_start_with_fired(acts in prop::collection::vec(act(), 1..300)) {
        let mut c = Cause::new();
        // Since the alert that is open was opened.
        let mut told: Vec<(UnixMs, Notice)> = Vec::new();
        let mut went_back = false;
        for a in acts {
            let (before, closed) = (c.notices.len(), c.closed);
            match a {
                Act::Look(seen, weight, silenced) => c.look(Look { seen, weight, silenced, blind_ms: 0 }),
                Act::Pass(ms) => c.now = c.now.plus_ms(ms),
                Act::Back(ms) => { c.now = UnixMs(c.now.0 - ms); went_back = true; }
                Act::Acknowledge => { let at = c.now; if let Some(a) = &mut c.alert { let _ = a.acknowledge("a", "", at); } }
                Act::Resolve => { let at = c.now; if let Some(a) = &mut c.alert { let _ = a.resolve("a", "", at); } }
            }
            for (at, notice) in &c.notices[before..] {
                match told.last() {
                    None => prop_assert_eq!(*notice, Notice::Fired),
                    Some((last, before)) => {
                        prop_assert!(went_back || at.since(*last) >= gap_ms(0), "two notices in too short a time");
                        prop_assert_eq!(*notice == Notice::Fired, *before == Notice::Resolved);
                    }
                }
                told.push((*at, *notice));
            }
            if c.closed > closed {
                // Whoever was told that it fires was told that it is over before the next one can begin.
                prop_assert!(told.last().is_none_or(|(_, n)| *n == Notice::Resolved));
                told.clear();
            }
        }
    }

    #[test]
    fn however_it_flaps_the_number_of_notices_is_bounded(
        holds in 6u64..30, clears in 10u64..30, hours in 24u64..72,
    ) {
        let mut c = Cause::new();
        c.rule.repeat_ms = None;
        let end = c.now.plus_ms(hours * 60 * MINUTE);
        while c.now < end {
            c.see(Seen::Holds, holds).see(Seen::Clear, clears);
        }
        prop_assert_eq!(c.closed, 0, "it is one alert all the time");
        // The gap doubles up to 64 times five minutes: so many in its growth, then one in more than five hours.
        let bound = 8 + hours * 60 * MINUTE / gap_ms(6) + 1;
        prop_assert!(c.notices.len() as u64 <= bound, "{} notices in {hours} h", c.notices.len());
    }

    #[test]
    fn nothing_waits_for_ever(acts in prop::collection::vec(act(), 1..100)) {
        let mut c = Cause::new();
        for a in acts {
            c.act(a, "");
        }
        // When it is over it ends, whatever was before.
        for _ in 0..(HELD_MS + REOPEN_MS) / MINUTE + gap_ms(6) / MINUTE + 60 {
            c.look(Look { seen: Seen::Clear, weight: 1, silenced: false, blind_ms: 0 });
        }
        prop_assert!(c.alert.is_none(), "{:?}", c.alert);
        // And what is not measured ends as well.
        c.see(Seen::Holds, 10).see(Seen::Unknown, (STALE_MS + REOPEN_MS) / MINUTE + gap_ms(6) / MINUTE + 60);
        prop_assert!(c.alert.is_none(), "{:?}", c.alert);
    }

    #[test]
    fn an_alert_is_read_back_as_it_was_written(acts in prop::collection::vec(act(), 1..60)) {
        let mut c = Cause::new();
        for a in acts {
            c.act(a, "n");
            let json = serde_json::to_string(&c.alert).unwrap();
            prop_assert_eq!(&serde_json::from_str::<Option<Alert>>(&json).unwrap(), &c.alert);
        }
    }
}
