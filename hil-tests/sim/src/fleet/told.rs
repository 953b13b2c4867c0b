//! What the fleet tells people about waves and devices: the words of the timeline.

use longshore_fleet_core::gate::Outcome;
use longshore_fleet_core::rollout::WaveState;

use super::Rollout;

/// Counts and gates of a wave, for people; of a wave that is open only the gates `named` so.
pub(super) fn told(r: &Rollout, wave: usize, named: Option<&str>) -> String {
    let w = &r.waves[wave];
    let none_yet = matches!(w.state, WaveState::Offering | WaveState::Waiting | WaveState::Shadowing);
    let mut text = match w.verdict.as_ref().filter(|_| !none_yet).map(|v| &v.counts) {
        Some(c) => format!(
            "{}, {} run it, {} failed, {} unreachable, {} rows",
            counted(c.devices as usize),
            c.ok,
            c.failed,
            c.unreachable,
            c.rows
        ),
        None => counted(r.members(wave).count()),
    };
    let named = if w.state.is_open() { named } else { Some("") };
    if let (Some(v), Some(named)) = (&w.verdict, named) {
        for g in v
            .gates
            .iter()
            .filter(|g| g.gate.starts_with(named))
            .filter(|g| g.outcome != Outcome::NotApplicable)
        {
            let outcome = serde_json::to_value(g.outcome).ok().and_then(|v| v.as_str().map(str::to_owned));
            // What is not known yet says so itself; of a wave that all have left it says nothing.
            let told = match g.outcome {
                Outcome::NotYet if w.state == WaveState::Inconclusive => continue,
                Outcome::NotYet => g.text.clone(),
                _ => format!("{}: {}", outcome.unwrap_or_default(), g.text),
            };
            text.push_str(&format!("\n                  {} {told}", g.gate));
        }
    }
    text
}

/// So many devices.
pub(crate) fn counted(devices: usize) -> String {
    match devices {
        0 => "no device".to_owned(),
        1 => "1 device".to_owned(),
        n => format!("{n} devices"),
    }
}
