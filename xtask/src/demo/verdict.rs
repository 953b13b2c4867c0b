//! Are the totals right? Served rows are counted, every one, once.

use std::time::Duration;

use serde::Serialize;

use super::drift::Drift;

use longshore_hil_tests::load::Tally;
use longshore_hil_tests::script::Totals;

/// What the demo prints.
#[derive(Debug, Serialize)]
pub struct Verdict {
    /// All of it is as it must be.
    pub ok: bool,
    devices: usize,
    rows_served: u64,
    rows_aborted: u64,
    rows_counted: u64,
    rows_journalled: u64,
    rows_labelled: u64,
    rollouts: Vec<Rollout>,
    drift: Drift,
    seconds: f64,
}

/// How a rollout ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Rollout {
    /// The version it brought.
    pub version: String,
    /// Its last state.
    pub state: String,
}

impl Verdict {
    /// Judges: served <= counted <= served + aborted, counted == journalled, and the rollouts ended as they must.
    pub fn new(
        devices: usize,
        tally: &Tally,
        totals: Totals,
        rollouts: Vec<Rollout>,
        drift: Drift,
        took: Duration,
    ) -> Self {
        let served = tally.served();
        let aborted = tally.aborted();
        let states: Vec<&str> = rollouts.iter().map(|r| r.state.as_str()).collect();
        let ok = served > 0
            && served <= totals.counted
            && totals.counted <= served + aborted
            && totals.counted == totals.journalled
            && states == ["completed", "completed", "reverted"]
            && drift.is_right();
        Self {
            ok,
            devices,
            rows_served: served,
            rows_aborted: aborted,
            rows_counted: totals.counted,
            rows_journalled: totals.journalled,
            rows_labelled: tally.labelled(),
            rollouts,
            drift,
            seconds: (took.as_secs_f64() * 10.0).round() / 10.0,
        }
    }
    /// A few lines.
    pub fn for_people(&self) -> String {
        let mut text = format!(
            "\n{} devices answered {} rows ({} in requests that died unanswered); the fleet counted {}, the devices' journals say {}.\n",
            self.devices, self.rows_served, self.rows_aborted, self.rows_counted, self.rows_journalled
        );
        for r in &self.rollouts {
            text.push_str(&format!("  {} {}\n", r.version, r.state));
        }
        let d = &self.drift;
        text.push_str(&format!(
            "  drift: {} features at the site of the knocked cameras, {} at the other; {} alert, told {} time, {}; {} new training asked for\n",
            d.features, d.features_elsewhere, d.alerts, d.told, d.state, d.retraining
        ));
        text.push_str(if self.ok { "All totals are right.\n" } else { "THE TOTALS ARE WRONG.\n" });
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drift() -> Drift {
        Drift {
            features: 7,
            features_elsewhere: 0,
            alerts: 1,
            alerts_elsewhere: 0,
            told: 1,
            state: "acknowledged".into(),
            retraining: 1,
        }
    }

    fn verdict(served: u64, aborted: u64, counted: u64, journalled: u64, last: &str) -> bool {
        let tally = Tally::of(served, aborted);
        let rollouts = ["completed", "completed", last]
            .map(|s| Rollout { version: "1".into(), state: s.into() })
            .to_vec();
        Verdict::new(5, &tally, Totals { counted, journalled }, rollouts, drift(), Duration::ZERO).ok
    }

    #[test]
    fn lost_doubled_and_unreported_rows_are_all_found() {
        assert!(verdict(100, 8, 104, 104, "reverted"));
        assert!(!verdict(100, 8, 99, 99, "reverted"), "a lost row");
        assert!(!verdict(100, 8, 109, 109, "reverted"), "a doubled row");
        assert!(!verdict(100, 8, 104, 105, "reverted"), "a row the fleet never got");
        assert!(!verdict(0, 0, 0, 0, "reverted"), "nothing was served");
        assert!(!verdict(100, 8, 104, 104, "completed"), "the bad version stayed");
    }

    #[test]
    fn drift_that_is_missed_told_twice_or_seen_everywhere_is_found() {
        assert!(drift().is_right());
        for wrong in [
            Drift { features: 0, ..drift() },
            Drift { features_elsewhere: 1, ..drift() },
            Drift { alerts: 2, ..drift() },
            Drift { alerts_elsewhere: 1, ..drift() },
            Drift { told: 2, ..drift() },
            Drift { state: "firing".into(), ..drift() },
            Drift { retraining: 0, ..drift() },
        ] {
            assert!(!wrong.is_right(), "{wrong:?}");
        }
    }
}
