//! Breaks each rule of [`crate::broken`] in turn and plays random scenarios until the oracle notices.

use crate::broken::{RULES, break_only};
use crate::scenario::ScenarioError;
use crate::{run, seeds, soak};

/// What came of one broken rule.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Caught {
    /// The rule that was broken.
    pub rule: &'static str,
    /// The rule of the oracle that noticed; none when nobody did.
    pub caught_by: Option<&'static str>,
    /// What it said.
    pub what: String,
    /// In the run of this seed.
    pub seed: u64,
    /// After so many events of that run.
    pub events: u64,
}

/// Breaks every rule (or those whose name contains `only`), with up to `seeds` runs for each.
///
/// # Errors
/// When a scenario cannot be played.
pub fn hunt(
    only: Option<&str>,
    count: u64,
    devices: u32,
    told: impl Fn(&Caught),
) -> Result<Vec<Caught>, ScenarioError> {
    let mut all = Vec::new();
    for (name, rule) in RULES.iter().filter(|(name, _)| only.is_none_or(|o| name.contains(o))) {
        break_only(Some(*rule));
        let outcomes = seeds::play(1, count, |seed| run(&soak::scenario(seed, devices), seed, false), |_| ());
        break_only(None);
        let outcomes = outcomes?;
        let found = outcomes.iter().find_map(|o| Some((o, o.broken.as_ref()?)));
        let caught = match found {
            Some((o, b)) => Caught {
                rule: name,
                caught_by: Some(b.rule),
                what: b.what.clone(),
                seed: o.seed,
                events: o.events,
            },
            None => Caught { rule: name, caught_by: None, what: String::new(), seed: count, events: 0 },
        };
        told(&caught);
        all.push(caught);
    }
    Ok(all)
}
