//! Which tables a bundle's counters have: what a window of a device must fit before it is added to anything.
//!
//! What always holds: tables come from the bundle alone, never from the first device that speaks, so no device can keep
//! others out of an hour; a table that the bundle has no use for stays empty.

use longshore_bundle::Manifest;
use longshore_stats::counters::{Answers, MergeError, score_tables};
use longshore_stats::nesting::Level;
use longshore_stats::quality::answers::ReferenceAnswers;
use longshore_stats::quality::attribution::{self, AttributionTable};
use longshore_stats::quality::calibration::Calibration;
use longshore_stats::quality::cbpe;
use longshore_stats::quality::fairness::Outcomes;
use longshore_stats::quality::regression::ErrorTable;
use longshore_stats::quality::scores::{LabelledScores, ScoreTable};
use longshore_stats::window::{Recorder, WindowProfile};
use longshore_stats::{Counters, Profile, ShadowTable};
use serde::{Deserialize, Serialize};

use crate::gate::Figures;

/// How fine profiles are that devices send.
pub const LEVEL: Level = Level::Bins32;

/// The tables of one bundle.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BundleShape {
    /// Number of classes; 0 for none.
    pub classes: usize,
    /// Number of declared groups.
    pub groups: usize,
    /// Unit of errors of a regression.
    pub error_unit: Option<f64>,
    /// Labels of devices by which cohorts are kept apart.
    pub cohorts: Vec<String>,
    /// An empty profile of the monitored features; `None` where nothing is monitored.
    pub profile: Option<WindowProfile>,
    /// What the version answered to its reference.
    pub answers: Option<ReferenceAnswers>,
    /// What the score of an answer is worth, where the reference was labelled.
    pub calibration: Option<Calibration>,
}

/// Why a window does not fit its bundle.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ShapeError {
    /// A table of another size, unit or reference.
    #[error(transparent)]
    Table(#[from] MergeError),
    /// A table that the bundle has no use for.
    #[error("it has {0}, which this bundle does not declare")]
    Undeclared(&'static str),
}

impl BundleShape {
    /// Of a manifest and the reference profile of its bundle.
    #[must_use]
    pub fn of(manifest: &Manifest, reference: Option<&Profile>) -> Self {
        let monitored = reference.map(|p| longshore_bundle::reference::monitored(p, manifest));
        let monitored = monitored.filter(|p| !p.features.is_empty());
        Self {
            classes: manifest.monitor.classes.len(),
            groups: manifest.monitor.groups.len(),
            error_unit: manifest.monitor.error_unit,
            cohorts: manifest.monitor.cohorts.clone(),
            profile: monitored.map(|p| Recorder::new(&p, LEVEL).take()),
            answers: reference.and_then(|p| p.answers.clone()),
            calibration: reference.and_then(|p| p.quality.as_ref()).map(|q| q.top.clone()),
        }
    }
    /// What gates ask of a device that has counted this, besides counts.
    #[must_use]
    pub fn figures(&self, counters: &Counters) -> Figures {
        let scores = ScoreTable::sum(&counters.scores);
        let shifts = self.answers.as_ref().map(|a| a.shifts(&counters.classes, &scores));
        let shift = shifts.into_iter().flat_map(|s| [s.classes, s.scores]).flatten();
        let rows = scores.rows();
        let estimated = self.calibration.as_ref().filter(|_| rows >= cbpe::ROWS_MIN).map(|c| {
            let right =
                c.values().iter().zip(scores.counts()).map(|(value, n)| value * *n as f64).sum::<f64>();
            right / rows as f64
        });
        Figures {
            p99_us: counters.latency_us.quantile(0.99),
            score_shift: shift.map(|s| s.psi - s.chance).reduce(f64::max),
            estimated,
        }
    }
    /// Whether counters fit. Empty tables always do.
    ///
    /// # Errors
    /// [`ShapeError`].
    pub fn check(&self, counters: &Counters) -> Result<(), ShapeError> {
        let k = self.classes;
        // A merge into full empty tables checks every size, unit, level and reference there is.
        let mut tables = Counters::with_classes(k);
        tables.scores = vec![ScoreTable::default(); score_tables(k)];
        tables.judged = vec![LabelledScores::default(); score_tables(k)];
        tables.regression = self.error_unit.and_then(ErrorTable::new);
        tables.groups.answers = vec![Answers::default(); self.groups];
        tables.groups.outcomes.groups = vec![Outcomes::default(); self.groups];
        tables.profile = self.profile.clone();
        let features = self.profile.as_ref().map_or(0, |p| p.features.len());
        let explained = if features <= attribution::FEATURES_MAX { features } else { 0 };
        tables.attribution = AttributionTable::new(explained);
        tables.shadow = Some(ShadowTable::new(u32::try_from(k).unwrap_or(u32::MAX)));
        let undeclared = |there: bool, declared: bool, what| {
            if there && !declared { Err(ShapeError::Undeclared(what)) } else { Ok(()) }
        };
        undeclared(!counters.classes.is_empty(), k > 0, "classes")?;
        undeclared(!counters.confusion.is_empty(), k > 0, "a table of classes")?;
        undeclared(!(counters.scores.is_empty() && counters.judged.is_empty()), k > 0, "scores")?;
        undeclared(counters.regression.is_some(), self.error_unit.is_some(), "a table of errors")?;
        undeclared(!counters.groups.answers.is_empty(), self.groups > 0, "groups")?;
        undeclared(!counters.groups.outcomes.groups.is_empty(), self.groups > 0, "groups")?;
        undeclared(counters.profile.is_some(), self.profile.is_some(), "a profile")?;
        undeclared(counters.attribution.features() > 0, explained > 0, "explained features")?;
        Ok(tables.merge(counters)?)
    }
}

#[cfg(test)]
mod tests {
    use longshore_stats::profile::Column;

    use super::*;

    fn reference(offset: f64) -> Profile {
        let column = |o: f64| Column::Numeric((0..500).map(|i| Some(f64::from(i) + o)).collect());
        Profile::of(&[("a".into(), column(offset)), ("b".into(), column(0.0))]).unwrap()
    }
    fn shape(groups: usize, error_unit: Option<f64>, classes: usize) -> BundleShape {
        let profile = Some(Recorder::new(&reference(0.0), LEVEL).take());
        BundleShape {
            classes,
            groups,
            error_unit,
            cohorts: Vec::new(),
            profile,
            answers: None,
            calibration: None,
        }
    }

    #[test]
    fn what_the_bundle_declares_fits_and_an_empty_window_always_does() {
        let s = shape(2, None, 3);
        assert_eq!(s.check(&Counters::default()), Ok(()));
        let mut c = Counters::with_classes(3);
        c.scores = vec![ScoreTable::default(); 3];
        c.groups.answers = vec![Answers { rows: 20, selected: 3 }; 2];
        let mut recorder = Recorder::new(&reference(0.0), LEVEL);
        recorder.numbers(&[1.0, 2.0]);
        c.profile = Some(recorder.take());
        c.attribution = AttributionTable::new(2);
        assert_eq!(s.check(&c), Ok(()));
    }
    #[test]
    fn another_reference_level_or_size_is_refused_with_its_reason() {
        let s = shape(0, Some(0.5), 0);
        let with = |profile: WindowProfile| Counters { profile: Some(profile), ..Counters::default() };
        let other = s.check(&with(Recorder::new(&reference(0.5), LEVEL).take()));
        assert!(matches!(other, Err(ShapeError::Table(MergeError::Profile(_)))), "{other:?}");
        assert!(s.check(&with(Recorder::new(&reference(0.0), Level::Bins64).take())).is_err());
        let mut narrow = Recorder::new(&reference(0.0), LEVEL).take();
        narrow.features[1].counts.pop();
        assert!(s.check(&with(narrow)).is_err());
        let error = |unit| Counters { regression: ErrorTable::new(unit), ..Counters::default() };
        assert_eq!((s.check(&error(0.5)), s.check(&error(0.25)).is_err()), (Ok(()), true));
        assert_eq!(s.check(&Counters::with_classes(2)), Err(ShapeError::Undeclared("classes")));
        let mut groups = Counters::default();
        groups.groups.answers = vec![Answers::default(); 2];
        assert_eq!(s.check(&groups), Err(ShapeError::Undeclared("groups")));
        let shadow = |classes| Counters { shadow: Some(ShadowTable::new(classes)), ..Counters::default() };
        assert_eq!(shape(2, None, 3).check(&shadow(3)), Ok(()));
        assert!(shape(2, None, 3).check(&shadow(4)).is_err(), "of another model");
        let explained = Counters { attribution: AttributionTable::new(3), ..Counters::default() };
        assert!(s.check(&explained).is_err());
        assert!(shape(0, None, 3).check(&Counters::with_classes(2)).is_err());
        assert!(shape(0, None, 0).check(&error(0.5)).is_err());
    }
    #[test]
    fn figures_are_of_what_was_counted_and_absent_where_nothing_is_known() {
        let mut s = shape(0, None, 2);
        let mut c = Counters::with_classes(2);
        c.scores = vec![ScoreTable::default(); 2];
        assert_eq!(s.figures(&c), Figures::default());
        for i in 0..1000u32 {
            let class = (i % 2) as usize;
            c.classes[class] += 1;
            c.scores[class].insert(0.905);
            c.latency_us.insert(if i < 980 { 100.0 } else { 900.0 });
        }
        let p99 = s.figures(&c).p99_us.unwrap();
        assert!((p99 - 900.0).abs() < 9.0 && s.figures(&c).estimated.is_none(), "{p99}");
        // The same answers as in the reference: no shift but chance; other ones: a large one.
        let like = |score: f64| ReferenceAnswers::of((0..5000).map(|i| (i % 2, score)), 2);
        s.answers = Some(like(0.905));
        assert!(s.figures(&c).score_shift.unwrap().abs() < 0.05);
        s.answers = Some(like(0.55));
        assert!(s.figures(&c).score_shift.unwrap() > 1.0);
        let mut judged = LabelledScores::default();
        (0..400).for_each(|i| judged.insert(0.905, i % 4 != 0));
        s.calibration = Calibration::of(&judged);
        assert!((s.figures(&c).estimated.unwrap() - 0.75).abs() < 1e-9);
    }
}
