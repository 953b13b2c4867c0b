//! Are the totals right? Served rows are counted, every one, once.

use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde::Serialize;

use super::stage::Stage;
use super::stream::Tally;

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

/// The fleet's total and the sum of the devices' journals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Totals {
    counted: u64,
    journalled: u64,
}

impl Verdict {
    /// Judges: served <= counted <= served + aborted, counted == journalled, and the rollouts ended as they must.
    pub fn new(devices: usize, tally: &Tally, totals: Totals, rollouts: Vec<Rollout>, took: Duration) -> Self {
        let served = tally.served.load(Ordering::Relaxed);
        let aborted = tally.aborted.load(Ordering::Relaxed);
        let states: Vec<&str> = rollouts.iter().map(|r| r.state.as_str()).collect();
        let ok = served > 0
            && served <= totals.counted
            && totals.counted <= served + aborted
            && totals.counted == totals.journalled
            && states == ["completed", "completed", "reverted"];
        Self {
            ok,
            devices,
            rows_served: served,
            rows_aborted: aborted,
            rows_counted: totals.counted,
            rows_journalled: totals.journalled,
            rows_labelled: tally.labelled.load(Ordering::Relaxed),
            rollouts,
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
        text.push_str(if self.ok { "All totals are right.\n" } else { "THE TOTALS ARE WRONG.\n" });
        text
    }
}

/// Waits until fleet and journals agree and nothing moves any more.
///
/// # Errors
/// When they do not within 30 s (the last totals are judged then all the same), or a device does not answer.
pub fn settle(stage: &mut Stage, devices: usize) -> Result<Totals> {
    let mut before = None;
    let mut last = totals(stage, devices)?;
    for _ in 0..60 {
        std::thread::sleep(Duration::from_millis(500));
        last = totals(stage, devices)?;
        if last.counted == last.journalled && before == Some(last) {
            break;
        }
        before = Some(last);
    }
    Ok(last)
}

fn totals(stage: &Stage, devices: usize) -> Result<Totals> {
    let token = std::fs::read_to_string(stage.dir.join("admin-token"))?;
    let url = format!("{}/api/v1/fleet", stage.url());
    let fleet: serde_json::Value =
        ureq::get(&url).header("authorization", &format!("Bearer {}", token.trim())).call()?.body_mut().read_json()?;
    let counted = fleet["rows_counted"].as_u64().context("GET /api/v1/fleet gave no rows_counted")?;
    let mut journalled = 0;
    for i in 1..=devices {
        let mut agent = stage.program("longshore-agent");
        agent.args(["status", "--json", "--config"]).arg(stage.device_dir(i).join("agent.toml"));
        let status: serde_json::Value = serde_json::from_str(&crate::run::output(agent)?)?;
        let models = status["models"].as_array().context("`longshore-agent status --json` gave no models")?;
        journalled += models.iter().filter_map(|m| m["rows_total"].as_u64()).sum::<u64>();
    }
    Ok(Totals { counted, journalled })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(served: u64, aborted: u64, counted: u64, journalled: u64, last: &str) -> bool {
        let tally = Tally::default();
        tally.served.store(served, Ordering::Relaxed);
        tally.aborted.store(aborted, Ordering::Relaxed);
        let rollouts = ["completed", "completed", last]
            .map(|s| Rollout { version: "1".into(), state: s.into() })
            .to_vec();
        Verdict::new(5, &tally, Totals { counted, journalled }, rollouts, Duration::ZERO).ok
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
}
