//! Random orders of events, with crashes at every transaction boundary: what must hold, holds.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail")]

mod twin;

use longshore_agent_core::assignment::reason;
use longshore_agent_core::guard::Sample;
use longshore_agent_core::update::{Input, Output, Phase, RollbackTo};
use longshore_trust::AssignmentVersion;
use longshore_wire::v1::{CommandAction, Commit, Mode};
use proptest::prelude::*;
use twin::*;

/// One thing that happens.
#[derive(Debug, Clone)]
enum Step {
    Commit,
    Work,
    /// A wish is answered with a failure.
    Fail,
    Pass(u64),
    Crash,
    EngineDies(bool),
    Assign(u64, bool, bool),
    Command(u8),
    Errors,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => Just(Step::Commit),
        6 => Just(Step::Work),
        1 => Just(Step::Fail),
        2 => (0u64..200_000).prop_map(Step::Pass),
        1 => Just(Step::Crash),
        1 => any::<bool>().prop_map(Step::EngineDies),
        2 => (1u64..=6, any::<bool>(), any::<bool>()).prop_map(|(n, lease, shadow)| Step::Assign(n, lease, shadow)),
        1 => (0u8..3).prop_map(Step::Command),
        1 => Just(Step::Errors),
    ]
}

fn act(t: &mut Twin, s: &Step, version: &mut u64, seq: &mut u64) {
    match s {
        Step::Commit => {
            t.commit();
        }
        Step::Work => {
            t.work();
        }
        Step::Fail => match t.wishes.pop_front() {
            Some(Output::Refresh(_)) => t.feed(Input::Targets(Err(reason("trust.refresh", "offline")))),
            Some(Output::Fetch(m, i)) => t.feed(Input::Fetched(m, i.bundle, Err(transient()))),
            Some(Output::Trial(m, i)) => {
                t.feed(Input::Tried(m, i.bundle, Err(reason("trial.crash", "died"))))
            }
            Some(Output::Serve(m, Some(i))) => {
                t.feed(Input::ServeFailed(m, i.bundle, reason("activate.load", "no")))
            }
            Some(Output::Shadow(m, Some(i))) => {
                t.feed(Input::ShadowFailed(m, i.bundle, reason("engine.memory", "no")))
            }
            Some(other) => t.wishes.push_front(other),
            None => {}
        },
        Step::Pass(ms) => {
            t.now = t.now.plus_ms(*ms);
            t.feed(Input::Tick);
        }
        Step::Crash => t.crash(),
        Step::EngineDies(blame) => {
            let busy = if seq.is_multiple_of(2) { t.serving } else { t.beside.or(t.serving) };
            let blamed = blame.then_some(busy).flatten();
            (t.serving, t.beside) = (None, None);
            t.feed(Input::EngineDown(blamed));
            // What was wished of the dead engine is void.
            t.wishes.retain(|w| !matches!(w, Output::Serve(..) | Output::Shadow(..)));
            t.feed(Input::EngineUp);
        }
        Step::Assign(n, lease, shadow) => {
            *version += 1;
            let commit = if *lease { Commit::Lease { lease_ms: 60_000 } } else { Commit::Local };
            let mut a = assignment(*version, *n, commit);
            a.activate_by = t.now.plus_ms(3_600_000);
            a.not_after = t.now.plus_ms(7_200_000);
            a.slots[0].mode = if *shadow { Mode::Shadow } else { Mode::Active };
            t.feed(assigned(header(1, *version), a));
        }
        Step::Command(kind) => {
            *seq += 1;
            let version = AssignmentVersion(*version);
            let action = match kind {
                0 => CommandAction::Commit { version },
                1 => CommandAction::RenewLease { version },
                _ => CommandAction::Halt { version },
            };
            t.feed(command(*seq, action));
        }
        Step::Errors => {
            if let Some(b) = t.beside.or(t.serving) {
                let sample = Sample { rows: 0, errors: 100, ..Sample::default() };
                t.feed(Input::Observed(model(), b, sample));
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens(steps in proptest::collection::vec(step(), 1..200)) {
        let mut t = Twin::new();
        let (mut version, mut seq) = (0, 0);
        let mut served_uncommitted = 0;
        for s in &steps {
            let commits = t.disk.commits;
            let waiting = t.waiting.len();
            let wishes = t.wishes.len();
            let confirms = matches!(s, Step::Commit | Step::Crash);
            act(&mut t, s, &mut version, &mut seq);
            // No effect overtakes the transaction that justifies it: while one waits that this step made, the step added no wish
            // but those of a crash's new start.
            if t.waiting.len() > waiting && !confirms && waiting > 0 {
                prop_assert!(t.wishes.len() <= wishes, "a wish left before its transaction");
            }
            prop_assert!(t.disk.commits >= commits);
            if let Some(r) = t.record_or_none()
                && let Some(u) = &r.update
            {
                // A trial always carries what it would go back to.
                if matches!(u.at, Phase::Trial { .. } | Phase::Activating { .. } | Phase::Probation { .. }) {
                    let back = u.rollback().expect("carried");
                    prop_assert_eq!(back.bundle(), r.active.as_ref());
                    prop_assert!(r.active.is_some() == !matches!(back, RollbackTo::Nothing));
                }
                served_uncommitted += u64::from(matches!(u.at, Phase::Probation { .. }));
            }
            // What is in shadow never serves, and what serves is not touched by it.
            if let Some(r) = t.record_or_none()
                && let Some(Phase::Shadowing { rollback, .. }) = r.update.as_ref().map(|u| &u.at)
            {
                let candidate = r.update.as_ref().map(|u| u.wanted.bundle.bundle);
                prop_assert_eq!(rollback.bundle(), r.active.as_ref());
                prop_assert_eq!(r.serving(), r.active.as_ref());
                prop_assert!(r.serving().map(|i| i.bundle) != candidate);
            }
            // The floor never falls.
            prop_assert!(t.disk.floors.windows(2).all(|w| w[0] <= w[1]));
        }
        // In a world that works again, everything comes to an end, and what serves is what the record says.
        t.settle();
        t.pass(20_000_000);
        let record = t.record_or_none().cloned();
        if let Some(r) = record {
            prop_assert!(r.update.is_none(), "stuck in {:?}", r.update);
            prop_assert_eq!(t.serving, r.active.map(|i| i.bundle));
            prop_assert_eq!(t.beside, None, "nothing runs beside what serves when nothing is under way");
        }
        prop_assert!(t.core.offered().is_none());
        // Disk and memory agree.
        let on_disk = t.disk.models.get(&model()).cloned();
        if let Some(d) = on_disk {
            prop_assert_eq!(&d.active, &t.record().active);
            prop_assert!(d.update.is_none());
        }
        let _ = served_uncommitted;
    }
}
