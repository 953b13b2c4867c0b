//! How good predictions are: with labels from counts, without them by scores, where that is honest.

use longshore_bundle::Manifest;
use longshore_stats::bounds::Interval;
use longshore_stats::quality::calibration::ROWS_MIN;
use longshore_stats::quality::cbpe::{self, FeatureState, NotEstimable};
use longshore_stats::quality::confusion::Confusion;
use longshore_stats::quality::proportion::{Share, Z95};
use longshore_stats::quality::scores::{Binned, LabelledScores, ScoreTable};
use longshore_stats::{Counters, DdSketch, Profile};
use longshore_trust::UnixMs;
use serde::{Deserialize, Serialize};

use super::verdict::Version;
use super::{Cohort, DriftRow, Measured, QualityRow, Span, State, fairness};

/// Relative accuracy of the latency sketch.
const SKETCH_ACCURACY: f64 = 0.01;

/// Accuracy without labels.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Estimate {
    /// It can be estimated from scores.
    Estimable {
        /// The estimate.
        accuracy: Measured,
        /// What it assumes.
        assumption: String,
    },
    /// It cannot.
    NotEstimable {
        /// Why.
        reason: String,
    },
}

/// Figures of labelled answers of a classification.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Classification {
    /// Mean F1 of all classes that appear or are predicted.
    pub macro_f1: Option<f64>,
    /// Each class.
    pub classes: Vec<OfClass>,
    /// Score of the answer against "it was right": expected calibration error, held by counts.
    pub ece: Option<Measured>,
    /// Its Brier score, held by counts.
    pub brier: Option<Measured>,
    /// Area under the ROC curve of that score: do right answers score higher than wrong ones?
    pub auc: Option<Measured>,
    /// Labelled rows by true class, then answered class; empty when there are too many classes.
    pub confusion: Vec<Vec<u64>>,
}

/// One class against all others.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OfClass {
    /// Its name.
    pub class: String,
    /// Right among those answered so.
    pub precision: Option<Measured>,
    /// Found among those there are.
    pub recall: Option<Measured>,
    /// Harmonic mean of both.
    pub f1: Option<f64>,
}

/// Figures of labelled answers of a regression.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Regression {
    /// Labelled rows.
    pub rows: u64,
    /// Mean absolute error, held by counts.
    pub mae: Option<Measured>,
    /// Root mean squared error, likewise.
    pub rmse: Option<Measured>,
    /// Labels or answers that are no number.
    pub invalid: u64,
}

/// Latency quantiles, microseconds. Intervals are those of order statistics, widened by the sketch's 1 %.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct LatencyUs {
    /// Half of the requests are faster.
    pub p50: Measured,
    /// 99 of 100 are.
    pub p99: Measured,
}

fn share(hits: u64, n: u64) -> Option<Measured> {
    Share::of(hits, n).and_then(of_share)
}
fn of_share(s: Share) -> Option<Measured> {
    Measured::new(s.value, s.interval, s.n)
}
fn of_binned(b: Option<Binned>, n: u64) -> Option<Measured> {
    b.and_then(|b| Measured::new(b.estimate, b.confidence, n))
}

/// A quantile with its interval; `None` without a request.
fn quantile(sketch: &DdSketch, q: f64) -> Option<Measured> {
    let n = sketch.count();
    let reach = Z95 * (q * (1.0 - q) / n as f64).sqrt();
    let at = |q: f64| sketch.quantile(q.clamp(0.0, 1.0));
    let interval = Interval {
        lo: at(q - reach)? * (1.0 - SKETCH_ACCURACY),
        hi: at(q + reach)? * (1.0 + SKETCH_ACCURACY),
    };
    Measured::new(at(q)?, interval, n)
}

/// All scores of answered classes together.
#[must_use]
pub fn all_scores(tables: &[ScoreTable]) -> ScoreTable {
    ScoreTable::sum(tables)
}
fn all_judged(tables: &[LabelledScores]) -> LabelledScores {
    tables.iter().fold(LabelledScores::default(), |mut sum, t| {
        let _ = sum.merge(t);
        sum
    })
}

/// How much each feature matters: to rows that devices explained, or to rows of the reference when the bundle was built,
/// whichever says more. What mattered to either is important.
fn shares(counters: &Counters, reference: Option<&Profile>, features: usize) -> Option<Vec<f64>> {
    let built = reference.and_then(|r| r.attribution.as_ref());
    let known = [Some(&counters.attribution), built].into_iter().flatten();
    let shares = known.filter_map(|table| table.shares().filter(|s| s.len() == features));
    shares.reduce(|a, b| a.iter().zip(&b).map(|(a, b)| a.max(*b)).collect())
}

/// Accuracy without labels; `drift` are the verdicts of the same rows, in the order of the monitored features.
#[must_use]
pub fn estimate(
    counters: &Counters,
    manifest: &Manifest,
    reference: Option<&Profile>,
    drift: &[DriftRow],
) -> Estimate {
    let no = |reason: &str| Estimate::NotEstimable { reason: format!("not estimable: {reason}") };
    if manifest.monitor.classes.is_empty() {
        return no("this is a regression; only labels tell how good it is");
    }
    let Some(quality) = reference.and_then(|r| r.quality.as_ref()) else {
        return no(&format!(
            "the bundle's reference has fewer than {ROWS_MIN} labelled rows to calibrate scores with; build it with a \
             reference table that has at least so many, and a column `label`"
        ));
    };
    let Some(profile) = counters.profile.as_ref().filter(|p| p.rows > 0 && !drift.is_empty()) else {
        return no("no feature was counted, so nothing shows whether the inputs are still the reference's");
    };
    let shares = shares(counters, reference, drift.len());
    let states: Vec<FeatureState> = drift
        .iter()
        .enumerate()
        .map(|(i, row)| FeatureState {
            drifted: row.state == State::Drifted,
            attribution: shares.as_ref().and_then(|s| s.get(i).copied()),
        })
        .collect();
    let scores = all_scores(&counters.scores);
    match cbpe::accuracy(&scores, &quality.top, profile.rows_out_of_range, &states) {
        Ok(e) => match Measured::new(e.value, e.interval, e.rows) {
            Some(accuracy) => Estimate::Estimable { accuracy, assumption: cbpe::ASSUMPTION.to_owned() },
            None => no("the calibration is none"),
        },
        Err(NotEstimable::Drifted { feature }) => {
            let name = drift.get(feature).map_or("?", |r| r.feature.as_str());
            let weight = shares.and_then(|s| s.get(feature).copied());
            let why = weight
                .map_or("nobody explained how much it matters, so it counts as important".to_owned(), |w| {
                    format!("it carries {:.0} % of the attribution", w * 100.0)
                });
            no(&format!("feature `{name}` has drifted, and {why}"))
        }
        Err(why) => Estimate::NotEstimable { reason: why.to_string() },
    }
}

fn classification(counters: &Counters, names: &[String]) -> Option<Classification> {
    let k = names.len();
    let confusion =
        Confusion::from_counts(k, counters.confusion.clone()).filter(|c| k > 0 && c.rows() > 0)?;
    let of_class = |(i, name): (usize, &String)| {
        let one = confusion.one_class(i);
        OfClass {
            class: name.clone(),
            precision: one.precision.and_then(of_share),
            recall: one.recall.and_then(of_share),
            f1: one.f1,
        }
    };
    let judged = all_judged(&counters.judged);
    let n = judged.rows();
    Some(Classification {
        macro_f1: confusion.macro_f1(),
        classes: names.iter().enumerate().map(of_class).collect(),
        ece: of_binned(judged.ece(), n),
        brier: of_binned(judged.brier(), n),
        auc: of_binned(judged.auc(), n),
        confusion: (0..k).map(|t| (0..k).map(|p| confusion.count(t, p)).collect()).collect(),
    })
}

/// Devices of a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Devices {
    /// That run it.
    pub running: u64,
    /// Of these, not heard of for the configured time.
    pub silent: u64,
}

/// Of which rows a question is.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// The version.
    pub of: &'a Version,
    /// Whose rows.
    pub cohort: &'a Cohort,
    /// The bundle's manifest.
    pub manifest: &'a Manifest,
    /// What the author's data showed.
    pub reference: Option<&'a Profile>,
    /// Devices that run it.
    pub devices: Devices,
    /// Which rows.
    pub span: Span,
    /// When it is asked.
    pub at: UnixMs,
}

/// Everything about one cohort of one version. `drift` are the verdicts of the same rows.
#[must_use]
pub fn row(subject: &Subject<'_>, counters: &Counters, drift: &[DriftRow]) -> QualityRow {
    let c = counters;
    let m = &subject.manifest.monitor;
    let favourable = m.favourable_class().and_then(|i| m.classes.get(i));
    let latency = quantile(&c.latency_us, 0.5).zip(quantile(&c.latency_us, 0.99));
    let regression = c.regression.as_ref().filter(|r| r.rows() > 0 || r.invalid > 0);
    QualityRow {
        model: subject.of.model.clone(),
        bundle: subject.of.bundle,
        version: subject.of.version.clone(),
        cohort: subject.cohort.clone(),
        requests: c.requests,
        rows: c.rows,
        errors: c.errors,
        error_rate: share(c.errors, c.rows.saturating_add(c.errors)),
        nan: c.nan,
        low_margin: share(c.low_margin, c.rows),
        out_of_range: c.profile.as_ref().and_then(|p| share(p.rows_out_of_range, p.rows)),
        labelled: c.labelled(),
        accuracy: share(c.correct(), c.labelled()),
        classification: classification(c, &m.classes),
        regression: regression.map(|r| Regression {
            rows: r.rows(),
            mae: of_binned(r.mae(), r.rows()),
            rmse: of_binned(r.rmse(), r.rows()),
            invalid: r.invalid,
        }),
        estimated: estimate(c, subject.manifest, subject.reference, drift),
        fairness: fairness::report(c, m.group.as_deref(), &m.groups, favourable.map(String::as_str)),
        latency: latency.map(|(p50, p99)| LatencyUs { p50, p99 }),
        devices: subject.devices.running,
        silent_devices: subject.devices.silent,
        span: subject.span,
        at: subject.at,
    }
}

#[cfg(test)]
#[path = "quality_tests.rs"]
mod tests;
