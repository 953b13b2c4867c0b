//! What a shadow run says, in numbers for people: each with its rows and its interval.
//!
//! Rows of one device are not independent, so the intervals here are those of these rows, not of the fleet's next million;
//! whether a wave goes on is for the gate, which judges by device.

use longshore_stats::ShadowTable;
use longshore_stats::bounds::Interval;
use longshore_stats::quality::proportion::Share;
use longshore_stats::shadow::{Judged, Method};
use serde::{Deserialize, Serialize};

/// A figure with its 95 % interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    /// The figure.
    pub value: f64,
    /// Lower end.
    pub lower: f64,
    /// Upper end.
    pub upper: f64,
    /// Rows it is made of.
    pub n: u64,
}

impl Figure {
    fn of(value: f64, interval: Interval, n: u64) -> Self {
        Self { value, lower: interval.lo, upper: interval.hi, n }
    }
    fn share(s: Share) -> Self {
        Self::of(s.value, s.interval, s.n)
    }
}

/// Processor time of a run on the same rows, us, within 1 %.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// Median of the active version.
    pub active_p50_us: f64,
    /// Median of the candidate.
    pub candidate_p50_us: f64,
    /// 99th percentile of the active version.
    pub active_p99_us: f64,
    /// 99th percentile of the candidate.
    pub candidate_p99_us: f64,
    /// The candidate's 99th percentile over the active version's.
    pub ratio_p99: f64,
    /// Runs.
    pub n: u64,
}

/// McNemar's test of the labelled rows.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Test {
    /// Rows on which exactly one version was right.
    pub discordant: u64,
    /// Two-sided p.
    pub p: f64,
    /// How it was found.
    pub method: Method,
}

/// Everything about a shadow run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ShadowResult {
    /// Rows that both versions answered.
    pub rows: u64,
    /// Of these, with the same answer.
    pub agreed: u64,
    /// Rows in which the candidate failed.
    pub errors: u64,
    /// Rows whose answer of the candidate held a NaN.
    pub nan: u64,
    /// Rows that were not compared, because the budget was used up.
    pub skipped: u64,
    /// Classes of the candidate.
    pub classes: u32,
    /// Rows by the active version's class, the candidate's class: only pairs that were seen, and none for very many classes.
    pub matrix: Vec<(u32, u32, u64)>,
    /// Rows by the candidate's score less the active version's, in 41 steps.
    pub differences: Vec<u64>,
    /// Share of rows with the same answer.
    pub agreement: Option<Figure>,
    /// Cohen's kappa: agreement beyond chance.
    pub kappa: Option<Figure>,
    /// How long runs took.
    pub latency: Option<Latency>,
    /// Labelled rows by which version was right.
    pub labelled: Judged,
    /// The candidate's accuracy less the active version's.
    pub accuracy_difference: Option<Figure>,
    /// Whether one version is right more often.
    pub mcnemar: Option<Test>,
}

impl ShadowResult {
    /// Of what was counted; `None` when nothing was.
    #[must_use]
    pub fn of(t: &ShadowTable) -> Option<Self> {
        if t.counts().all(|n| n == 0) {
            return None;
        }
        let quantiles = |q: f64| Some((t.active_us.quantile(q)?, t.candidate_us.quantile(q)?));
        let latency = quantiles(0.5).zip(quantiles(0.99)).map(|(p50, p99)| Latency {
            active_p50_us: p50.0,
            candidate_p50_us: p50.1,
            active_p99_us: p99.0,
            candidate_p99_us: p99.1,
            ratio_p99: p99.1 / p99.0,
            n: t.candidate_us.count(),
        });
        Some(Self {
            rows: t.rows,
            agreed: t.agreed,
            errors: t.errors,
            nan: t.nan,
            skipped: t.skipped,
            classes: t.classes,
            matrix: t.matrix().map(|((active, candidate), n)| (active, candidate, n)).collect(),
            differences: t.differences().to_vec(),
            agreement: t.agreement().map(Figure::share),
            kappa: t.kappa().map(|k| Figure::of(k.kappa, k.interval, k.n)),
            latency,
            labelled: t.labelled,
            accuracy_difference: t.labelled.difference().map(|(d, i)| Figure::of(d, i, t.labelled.rows())),
            mcnemar: t.labelled.mcnemar().map(|m| Test {
                discordant: m.discordant,
                p: m.p,
                method: m.method,
            }),
        })
    }
}

#[cfg(test)]
mod tests {
    use longshore_stats::shadow::Compared;

    use super::*;

    #[test]
    fn numbers_of_a_run_and_nothing_of_none() {
        assert_eq!(ShadowResult::of(&ShadowTable::new(3)), None);
        let mut t = ShadowTable::new(3);
        for i in 0..100u32 {
            let (active, candidate) = (Some(i % 3), Some(if i < 90 { i % 3 } else { (i + 1) % 3 }));
            t.insert(&Compared { active, candidate, agree: active == candidate, nan: false, steps: None });
            t.active_us.insert(100.0);
            t.candidate_us.insert(250.0);
        }
        t.labelled = Judged { both: 50, only_candidate: 2, only_active: 12, neither: 1 };
        let r = ShadowResult::of(&t).unwrap();
        let agreement = r.agreement.unwrap();
        assert_eq!((agreement.value, agreement.n), (0.9, 100));
        assert!(agreement.lower < 0.9 && agreement.upper > 0.9);
        assert!((r.latency.unwrap().ratio_p99 - 2.5).abs() < 0.06);
        assert_eq!(r.matrix.iter().map(|(_, _, n)| n).sum::<u64>(), 100);
        assert_eq!(r.mcnemar.unwrap().discordant, 14);
        let d = r.accuracy_difference.unwrap();
        assert!(d.value < 0.0 && d.upper < 0.0, "{d:?}");
        let text = serde_json::to_string(&r).unwrap();
        assert_eq!(serde_json::from_str::<ShadowResult>(&text).unwrap().matrix, r.matrix);
    }
}
