//! From a run that fails to the smallest one that fails in the same way: delta debugging over what happens, then over the
//! faults that come by chance, then over the number of devices. The result is a scenario, which `replay` plays.

use crate::scenario::{Happening, Scenario, ScenarioError};
use crate::world::{Outcome, run};

/// Most runs that are spent on it.
const RUNS: u32 = 300;

struct Shrinker {
    seed: u64,
    rule: String,
    runs: u32,
    best: Scenario,
    outcome: Outcome,
}

fn failure(outcome: &Outcome) -> Option<String> {
    let unexpected = || outcome.unexpected.clone();
    outcome.broken.as_ref().map(|b| b.rule.to_owned()).or_else(unexpected)
}

/// The smallest scenario found that fails like this one, with what came of it.
///
/// # Errors
/// When the scenario cannot be played.
pub fn shrink(scenario: &Scenario, seed: u64) -> Result<(Scenario, Outcome), ScenarioError> {
    let outcome = run(scenario, seed, true)?;
    let Some(rule) = failure(&outcome) else { return Ok((scenario.clone(), outcome)) };
    let best = Scenario { seed, ..scenario.clone() };
    let mut s = Shrinker { seed, rule, runs: 0, best, outcome };
    loop {
        let before = s.best.clone();
        s.happenings();
        s.rates();
        s.devices();
        if s.best == before || s.runs >= RUNS {
            break;
        }
    }
    let (mut best, outcome) = (s.best, s.outcome);
    best.hours = best.hours.min(outcome.hours.ceil() as u64 + 1);
    Ok((best, outcome))
}

impl Shrinker {
    /// Whether it fails in the same way; then it is the best so far.
    fn takes(&mut self, candidate: Scenario) -> bool {
        if self.runs >= RUNS || candidate == self.best {
            return false;
        }
        self.runs += 1;
        match run(&candidate, self.seed, true) {
            Ok(outcome) if failure(&outcome).as_ref() == Some(&self.rule) => {
                (self.best, self.outcome) = (candidate, outcome);
                true
            }
            _ => false,
        }
    }
    /// Leaves out larger, then smaller parts of what happens (ddmin).
    fn happenings(&mut self) {
        let mut size = self.best.at.len().div_ceil(2).max(1);
        loop {
            let mut from = 0;
            while from < self.best.at.len() {
                let until = (from + size).min(self.best.at.len());
                let kept: Vec<Happening> =
                    self.best.at[..from].iter().chain(&self.best.at[until..]).cloned().collect();
                if !self.takes(Scenario { at: kept, ..self.best.clone() }) {
                    from = until;
                }
            }
            if size == 1 {
                return;
            }
            size = size.div_ceil(2);
        }
    }
    fn rates(&mut self) {
        for (name, p) in self.best.faults.rates() {
            if p > 0.0 {
                self.takes(Scenario { faults: self.best.faults.without(name), ..self.best.clone() });
            }
        }
    }
    fn devices(&mut self) {
        while self.best.devices > 1 {
            let fewer = self.best.devices / 2;
            if !self.takes(Scenario { devices: fewer, ..self.best.clone() }) {
                return;
            }
        }
    }
}

/// As a file that `replay` plays, with what broke and what happened last.
#[must_use]
pub fn to_file(scenario: &Scenario, outcome: &Outcome) -> String {
    let mut text =
        String::from("# A run that fails, made as small as it goes. Play it: longshore-sim replay FILE\n");
    if let Some(b) = &outcome.broken {
        text.push_str(&format!("# rule: {}\n# when: {}\n# what: {}\n", b.rule, b.at, b.what));
    }
    if let Some(u) = &outcome.unexpected {
        text.push_str(&format!("# what: {u}\n"));
    }
    text.push('\n');
    text.push_str(&toml::to_string(scenario).unwrap_or_else(|e| format!("# it cannot be written: {e}\n")));
    text.push_str("\n# What happened:\n");
    for line in outcome.timeline.iter().flat_map(|l| l.lines()) {
        text.push_str(&format!("# {line}\n"));
    }
    text.push_str("\n# What happened last, device by device:\n");
    for line in outcome.trace.iter().flat_map(|l| l.lines()) {
        text.push_str(&format!("# {line}\n"));
    }
    text
}
