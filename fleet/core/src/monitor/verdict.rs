//! Drift verdicts: each feature of each cohort against the bundle's reference, corrected over all of them together.
//!
//! The family of the correction (Benjamini and Hochberg, 1995) is everything judged in one call: features x cohorts of one
//! model version, or features x devices. The whole fleet and its cohorts share rows, so their tests depend on each other
//! positively, which the procedure allows.

use longshore_stats::drift::{self, Evidence, FeatureDrift, Policy, Verdict};
use longshore_stats::fdr;
use longshore_stats::window::{FeatureWindow, Recorder, ReferenceId, WindowMergeError, WindowProfile};
use longshore_stats::{Profile, bounds::Interval};
use longshore_trust::{Digest, ModelName, UnixMs};

use super::shape::LEVEL;
use super::{Cohort, DriftRow, Measured, Span, State};

/// What is known of one feature of one subject.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FeatureVerdict {
    /// Test, effect, distances, guaranteed intervals.
    pub drift: FeatureDrift,
    /// p corrected over the family; NaN where there was no test.
    pub p_adjusted: f64,
    /// The decision.
    pub verdict: Verdict,
}

impl FeatureVerdict {
    /// Its state.
    #[must_use]
    pub fn state(&self) -> State {
        State::from(&self.verdict)
    }
    /// Effect and interval; `None` without rows.
    #[must_use]
    pub fn effect(&self) -> Option<Measured> {
        let e = &self.drift.evidence;
        Measured::new(e.effect, e.interval, e.m)
    }
}

/// Everything of subjects (cohorts, hours, devices) against the reference: for each subject one verdict a feature, in the
/// reference's order. A subject without a profile has seen no row.
///
/// # Errors
/// [`WindowMergeError`] when a profile was counted against another reference or has another shape.
pub fn judge(
    reference: &Profile,
    subjects: &[Option<&WindowProfile>],
    policy: &Policy,
) -> Result<Vec<Vec<FeatureVerdict>>, WindowMergeError> {
    let empty = Recorder::new(reference, LEVEL).take();
    let mut found: Vec<Vec<FeatureDrift>> = Vec::with_capacity(subjects.len());
    for subject in subjects {
        let window = subject.unwrap_or(&empty);
        fits(&empty, window)?;
        let both = reference.features.iter().zip(&window.features);
        found.push(both.map(|(f, w)| drift::compare(f, w, window.level)).collect());
    }
    let p: Vec<f64> = found.iter().flatten().map(|d| d.evidence.p()).collect();
    let mut adjusted = fdr::adjusted(&p).into_iter();
    let decide = |drift: FeatureDrift, p_adjusted: f64| FeatureVerdict {
        drift,
        p_adjusted,
        verdict: drift::verdict(&drift.evidence, p_adjusted, policy),
    };
    Ok(found
        .into_iter()
        .map(|features| {
            features.into_iter().map(|d| decide(d, adjusted.next().unwrap_or(f64::NAN))).collect()
        })
        .collect())
}

/// Whether a window was counted against the reference of `empty`, an empty window that was.
///
/// # Errors
/// [`WindowMergeError`] when it was not.
pub fn fits(empty: &WindowProfile, window: &WindowProfile) -> Result<(), WindowMergeError> {
    if window.reference != empty.reference {
        return Err(WindowMergeError::OtherReference(empty.reference, window.reference));
    }
    if window.level != empty.level {
        return Err(WindowMergeError::OtherLevel(empty.level, window.level));
    }
    let lengths = |w: &WindowProfile| w.features.iter().map(|f| f.counts.len()).collect::<Vec<_>>();
    let (ours, theirs) = (lengths(empty), lengths(window));
    let other = ours.iter().zip(&theirs).position(|(a, b)| a != b);
    match other.or_else(|| (ours.len() != theirs.len()).then(|| ours.len().min(theirs.len()))) {
        Some(feature) => Err(WindowMergeError::OtherShape(feature)),
        None => Ok(()),
    }
}

/// One device against the rest of its cohort: the cohort's own counts without the device's, so that nothing is compared
/// with itself. Evidence a feature; verdicts come from [`outliers`].
#[must_use]
pub fn against_rest(reference: &Profile, cohort: &WindowProfile, device: &WindowProfile) -> Vec<Evidence> {
    let rest = |all: &FeatureWindow, one: &FeatureWindow| FeatureWindow {
        counts: all.counts.iter().zip(&one.counts).map(|(a, b)| a.saturating_sub(*b)).collect(),
        below: all.below.saturating_sub(one.below),
        above: all.above.saturating_sub(one.above),
        nan: all.nan.saturating_sub(one.nan),
        pos_inf: all.pos_inf.saturating_sub(one.pos_inf),
        neg_inf: all.neg_inf.saturating_sub(one.neg_inf),
        missing: all.missing.saturating_sub(one.missing),
        mistyped: all.mistyped.saturating_sub(one.mistyped),
    };
    let windows = cohort.features.iter().zip(&device.features);
    let with_reference = reference.features.iter().zip(windows);
    with_reference.map(|(f, (all, one))| drift::evidence(f, cohort.level, &rest(all, one), one)).collect()
}

/// Verdicts over a family of evidence, corrected together.
#[must_use]
pub fn outliers(evidence: &[Evidence], policy: &Policy) -> Vec<(f64, Verdict)> {
    let p: Vec<f64> = evidence.iter().map(Evidence::p).collect();
    let adjusted = fdr::adjusted(&p);
    evidence.iter().zip(adjusted).map(|(e, q)| (q, drift::verdict(e, q, policy))).collect()
}

/// Of which version rows are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// The model.
    pub model: ModelName,
    /// The bundle.
    pub bundle: Digest,
    /// Its version.
    pub version: String,
}

/// Verdicts of one cohort as rows.
#[must_use]
pub fn rows(
    of: &Version,
    cohort: &Cohort,
    reference: &Profile,
    verdicts: &[FeatureVerdict],
    span: Span,
    at: UnixMs,
) -> Vec<DriftRow> {
    let number = |v: f64| (!v.is_nan()).then_some(v);
    let row = |name: &str, v: &FeatureVerdict| {
        let e = &v.drift.evidence;
        DriftRow {
            model: of.model.clone(),
            bundle: of.bundle,
            version: of.version.clone(),
            cohort: cohort.clone(),
            feature: name.to_owned(),
            state: v.state(),
            effect: v.effect(),
            p: number(e.p()),
            p_adjusted: number(v.p_adjusted),
            n_reference: e.n,
            n: e.m,
            rows_needed: e.rows_needed,
            span,
            at,
        }
    };
    reference.features.iter().zip(verdicts).map(|(f, v)| row(&f.name, v)).collect()
}

/// Guaranteed interval of the Kolmogorov-Smirnov distance, where both sides have numbers.
#[must_use]
pub fn ks(v: &FeatureVerdict) -> Option<Interval> {
    v.drift.bounds.map(|b| b.ks)
}

/// Whether a profile is of this reference.
#[must_use]
pub fn is_of(reference: &Profile, window: &WindowProfile) -> bool {
    ReferenceId::of(reference) == window.reference
}

#[cfg(test)]
#[path = "verdict_tests.rs"]
mod tests;
