//! What a version did in shadow, as a table: how often it answers as the active one, where not, how long it takes, and which of
//! both is right.

use longshore_fleet_core::shadow::{Figure, ShadowResult};
use longshore_stats::shadow::Method;

use super::figures::count;

/// One figure with what it is made of.
pub(super) struct Fact {
    pub(super) name: &'static str,
    pub(super) value: String,
    /// Rows and interval.
    pub(super) more: String,
}

/// What the active version answered with one class.
pub(super) struct Row {
    pub(super) class: u32,
    pub(super) cells: Vec<Cell>,
}

/// How many of these the version in shadow answered with another.
pub(super) struct Cell {
    pub(super) rows: String,
    pub(super) same: bool,
}

/// All of it.
pub(super) struct Shadow {
    pub(super) facts: Vec<Fact>,
    /// Classes, by number.
    pub(super) classes: Vec<u32>,
    pub(super) rows: Vec<Row>,
}

fn percent(f: &Figure) -> (String, String) {
    let show = |x: f64| format!("{:.2} %", x * 100.0);
    (show(f.value), format!("{} to {} (95 %), n = {}", show(f.lower), show(f.upper), f.n))
}

impl Shadow {
    pub(super) fn of(s: &ShadowResult) -> Self {
        let mut facts = Vec::new();
        let mut fact = |name, (value, more)| facts.push(Fact { name, value, more });
        let more = format!("{} skipped by the budget, {} failed in it, {} NaN", s.skipped, s.errors, s.nan);
        fact("Rows compared", (s.rows.to_string(), more));
        if let Some(f) = &s.agreement {
            fact("The same answer", percent(f));
        }
        if let Some(f) = &s.kappa {
            let more =
                format!("{:.3} to {:.3} (95 %), n = {}; 0 is chance, 1 is always", f.lower, f.upper, f.n);
            fact("Cohen's kappa", (format!("{:.3}", f.value), more));
        }
        if let Some(l) = &s.latency {
            let more = format!(
                "p99 {:.0} against {:.0} us, median {:.0} against {:.0} us, n = {}",
                l.candidate_p99_us, l.active_p99_us, l.candidate_p50_us, l.active_p50_us, l.n
            );
            fact("Latency ratio (p99)", (format!("{:.2}", l.ratio_p99), more));
        }
        if let Some(f) = &s.accuracy_difference {
            fact("Accuracy less the active version's", percent(f));
        }
        if let Some(m) = &s.mcnemar {
            let how = match m.method {
                Method::ExactBinomial => "exact binomial",
                Method::Edwards => "chi-square, Edwards' correction",
            };
            let labelled = &s.labelled;
            let more = format!(
                "only it was right on {}, only the active version on {}; {how}",
                labelled.only_candidate, labelled.only_active
            );
            let p = if m.p < 1e-4 { "p < 0.0001".to_owned() } else { format!("p = {:.4}", m.p) };
            fact("McNemar's test", (p, more));
        }
        let classes: Vec<u32> = if s.matrix.is_empty() { Vec::new() } else { (0..s.classes).collect() };
        let cell = |active: u32, candidate: u32| {
            let n =
                s.matrix.iter().find(|(a, c, _)| (*a, *c) == (active, candidate)).map_or(0, |(_, _, n)| *n);
            Cell { rows: count(n), same: active == candidate }
        };
        let row =
            |class: &u32| Row { class: *class, cells: classes.iter().map(|c| cell(*class, *c)).collect() };
        let rows = classes.iter().map(row).collect();
        Self { facts, classes, rows }
    }
}
