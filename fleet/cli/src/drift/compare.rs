//! The comparison itself: two tables in, one report out.

use std::path::{Path, PathBuf};

use longshore_bundle::author::Digits;
use longshore_stats::contingency::{ChiSquare, Pooling, chi_square};
use longshore_stats::distance::Distances;
use longshore_stats::drift::{self, FeatureDrift, Policy, Verdict};
use longshore_stats::nesting::Level;
use longshore_stats::profile::{Column, FeatureValues};
use longshore_stats::window::{FeatureWindow, Recorder, Value};
use longshore_stats::{Profile, ProfileError, fdr, kolmogorov, rows};

use crate::context::Failure;
use crate::tables;

/// What to compare, and how.
pub struct Request<'a> {
    pub reference: &'a Path,
    pub current: &'a Path,
    pub bins: u32,
    pub categorical: &'a [String],
    pub digits: Digits,
    pub policy: Policy,
}

/// The result.
pub struct Report {
    pub reference: PathBuf,
    pub current: PathBuf,
    pub bins: u32,
    pub policy: Policy,
    pub rows: (usize, usize),
    pub features: Vec<FeatureReport>,
    pub only_in_current: Vec<String>,
    /// Columns of the reference that cannot be compared, with the reason.
    pub skipped: Vec<(String, String)>,
}

/// One feature.
pub struct FeatureReport {
    pub name: String,
    pub kind: Kind,
    /// Values with a place on the scale (or words).
    pub n: (u64, u64),
    pub counts: (Vec<u64>, Vec<u64>),
    pub windows: (FeatureWindow, FeatureWindow),
    /// Over the bins of this report; `None` when a side is empty.
    pub distances: Option<Distances>,
    pub chi2: ChiSquare,
    pub drift: FeatureDrift,
    /// p of the drift test, corrected for the number of features; NaN without a test.
    pub q: f64,
    pub verdict: Verdict,
}

/// What only one kind of feature has.
pub enum Kind {
    Numeric { edges: Vec<f64>, exact: Option<Exact> },
    Categorical { vocabulary: Vec<String> },
}

/// Figures of raw rows.
pub struct Exact {
    pub ks: f64,
    pub p: f64,
    pub w1: f64,
}

impl FeatureReport {
    /// The effect, nothing known counting as least.
    pub fn effect(&self) -> f64 {
        let effect = self.drift.evidence.effect;
        if effect.is_nan() { -1.0 } else { effect }
    }
}

impl Report {
    /// One sentence.
    pub fn summary(&self) -> String {
        let count = |name: &str| self.features.iter().filter(|f| f.verdict.name() == name).count();
        format!(
            "{} features: {} drifted, {} stable, {} undecided, {} with too few rows (alpha {}, smallest effect {}).",
            self.features.len(),
            count("drifted"),
            count("stable"),
            count("undecided"),
            count("insufficient"),
            self.policy.alpha,
            self.policy.effect_min
        )
    }
}

/// Compares.
///
/// # Errors
/// When a table cannot be read or a column that is named does not exist.
pub fn run(request: &Request<'_>) -> Result<Report, Failure> {
    let reference = tables::read(request.reference, request.digits)?;
    let mut current = tables::read(request.current, request.digits)?;
    for name in request.categorical {
        if !reference.iter().any(|(n, _)| n == name) {
            let path = request.reference.display();
            return Err(Failure::usage(format!("--categorical {name}: {path} has no such column")));
        }
    }
    let length =
        |columns: &[(String, Column)]| columns.iter().map(|(_, c)| tables::rows(c)).max().unwrap_or(0);
    let rows = (length(&reference), length(&current));
    let only_in_current =
        current.iter().map(|(n, _)| n).filter(|n| !reference.iter().any(|(r, _)| r == *n)).cloned().collect();
    let (mut features, mut skipped) = (Vec::new(), Vec::new());
    for (name, column) in reference {
        let at = current.iter().position(|(n, _)| *n == name);
        let other = at.map_or_else(|| Column::Numeric(vec![None; rows.1]), |i| current.swap_remove(i).1);
        let (column, other) = as_one_kind(request, &name, column, other);
        match feature(request, &name, &column, &other) {
            Ok(f) => features.push(f),
            Err(e) => skipped.push((name, e.to_string())),
        }
    }
    let p: Vec<f64> = features.iter().map(|f| f.drift.evidence.p()).collect();
    for (f, q) in features.iter_mut().zip(fdr::adjusted(&p)) {
        f.q = q;
        f.verdict = drift::verdict(&f.drift.evidence, q, &request.policy);
    }
    Ok(Report {
        reference: request.reference.to_owned(),
        current: request.current.to_owned(),
        bins: request.bins,
        policy: request.policy,
        rows,
        features,
        only_in_current,
        skipped,
    })
}

/// Both sides of a feature in words that can be compared. A reader takes a column of nothing but numbers for numbers; one odd
/// word on one side alone must not make every `01` of the other a stranger.
fn as_one_kind(request: &Request<'_>, name: &str, reference: Column, current: Column) -> (Column, Column) {
    let of_numbers = tables::is_of_numbers(&reference) || tables::is_of_numbers(&current);
    let (reference, current) = if request.categorical.iter().any(|c| c == name) {
        (tables::as_words(reference), tables::as_words(current))
    } else {
        (reference, current)
    };
    if of_numbers && matches!(reference, Column::Categorical(_)) {
        let plain = |c| tables::with_plain_numbers(c, request.digits);
        return (plain(reference), plain(current));
    }
    (reference, current)
}

fn feature(
    request: &Request<'_>,
    name: &str,
    reference: &Column,
    current: &Column,
) -> Result<FeatureReport, ProfileError> {
    let profile = Profile::of(&[(name.to_owned(), reference.clone())])?;
    let known = &profile.features[0];
    let is_scale = matches!(known.values, FeatureValues::Numeric(_));
    let cells = tables::cells(current, is_scale, request.digits);
    let mut recorder = Recorder::new(&profile, Level::Bins64);
    cells.iter().for_each(|v| recorder.row(&[*v]));
    let window = recorder.take().features.swap_remove(0);
    let whole = FeatureWindow::from(known);
    let drift = drift::compare(known, &window, Level::Bins64);
    let (kind, counts, pooling) = match (&known.values, reference) {
        (FeatureValues::Numeric(_), Column::Numeric(values)) => {
            let a = rows::sorted_finite(values.iter().flatten().copied());
            let b = rows::sorted_finite(cells.iter().filter_map(|v| match v {
                Value::Number(n) => Some(*n),
                _ => None,
            }));
            let edges = rows::quantile_edges(&a, request.bins);
            let counts = (rows::counts(&a, &edges), rows::counts(&b, &edges));
            let exact = rows::ks_statistic(&a, &b).zip(rows::wasserstein(&a, &b)).map(|(ks, w1)| Exact {
                ks,
                p: kolmogorov::two_sample_p(ks, a.len() as u64, b.len() as u64),
                w1,
            });
            (Kind::Numeric { edges, exact }, counts, Pooling::Neighbours)
        }
        (FeatureValues::Categorical(c), _) => {
            let vocabulary = c.vocabulary.clone();
            (
                Kind::Categorical { vocabulary },
                (whole.counts.clone(), window.counts.clone()),
                Pooling::Together,
            )
        }
        (FeatureValues::Numeric(_), Column::Categorical(_)) => {
            unreachable!("profiles keep the kind of a column")
        }
    };
    Ok(FeatureReport {
        name: name.to_owned(),
        kind,
        n: (whole.counted(), window.counted()),
        distances: Distances::of(&counts.0, &counts.1),
        chi2: chi_square(&counts.0, &counts.1, pooling),
        verdict: drift::verdict(&drift.evidence, f64::NAN, &request.policy),
        counts,
        windows: (whole, window),
        drift,
        q: f64::NAN,
    })
}
