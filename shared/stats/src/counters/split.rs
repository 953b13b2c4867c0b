//! One window in several messages: summands that merge to the whole.

use super::Counters;
use crate::WindowProfile;
use crate::quality::attribution::AttributionTable;
use crate::quality::scores::{LabelledScores, ScoreTable};
use crate::shadow::ShadowTable;
use crate::window::FeatureWindow;

/// Bytes of counters as they travel.
#[must_use]
pub fn encoded_bytes(counters: &Counters) -> usize {
    postcard::to_stdvec(counters).expect("counters always encode").len()
}

/// A table of which only one entry is kept.
fn only<T: Default + Clone>(table: &[T], at: usize) -> Vec<T> {
    let keep = |(i, entry): (usize, &T)| if i == at { entry.clone() } else { T::default() };
    table.iter().enumerate().map(keep).collect()
}

impl Counters {
    /// Cuts off as much as `most` bytes hold, when this is longer: what was cut off, and the rest (`None` when there is
    /// none). Merging both gives this again. A table whose smallest part alone is longer than `most` is not cut further:
    /// that part comes alone.
    #[must_use]
    pub fn split_off(self, most: usize) -> (Self, Option<Self>) {
        if encoded_bytes(&self) <= most {
            return (self, None);
        }
        let (mut first, mut rest) = (None::<Self>, None::<Self>);
        let join = |sum: Option<&Self>, part: Self| match sum {
            None => part,
            Some(sum) => {
                let mut sum = sum.clone();
                sum.merge(&part).expect("parts of one whole have one shape");
                sum
            }
        };
        for part in self.parts() {
            let longer = join(first.as_ref(), part.clone());
            if first.is_none() || encoded_bytes(&longer) <= most {
                first = Some(longer);
            } else {
                rest = Some(join(rest.as_ref(), part));
            }
        }
        (first.unwrap_or_default(), rest)
    }

    /// The smallest summands there are, most important first.
    fn parts(self) -> Vec<Self> {
        let Self { scores, judged, confusion, attribution, profile, regression, groups, shadow, .. } = self;
        let k = self.classes.len();
        let head = Self {
            classes: self.classes,
            latency_us: self.latency_us,
            groups,
            regression,
            requests: self.requests,
            rows: self.rows,
            errors: self.errors,
            nan: self.nan,
            low_margin: self.low_margin,
            labels_other: self.labels_other,
            ..Self::default()
        };
        let mut out = vec![head];
        let shadow = shadow.into_iter().flat_map(ShadowTable::parts);
        out.extend(shadow.map(|t| Self { shadow: Some(t), ..Self::default() }));
        out.extend(profile.iter().flat_map(features).map(|p| Self { profile: Some(p), ..Self::default() }));
        out.extend(
            (0..scores.len()).map(|i| Self { scores: only::<ScoreTable>(&scores, i), ..Self::default() }),
        );
        out.extend(
            (0..judged.len()).map(|i| Self { judged: only::<LabelledScores>(&judged, i), ..Self::default() }),
        );
        out.extend(rows_of(&confusion).map(|c| Self {
            classes: vec![0; k],
            confusion: c,
            ..Self::default()
        }));
        if attribution != AttributionTable::default() {
            out.push(Self { attribution, ..Self::default() });
        }
        out
    }
}

/// The rows of a square table, each in an empty table; an empty row is in none, and an empty table is one part.
fn rows_of(table: &[u64]) -> impl Iterator<Item = Vec<u64>> + '_ {
    let k = table.len().isqrt().max(1);
    let empty = !table.is_empty() && table.iter().all(|n| *n == 0);
    let rows = table.chunks(k).enumerate().filter(|(_, row)| row.iter().any(|n| *n != 0));
    let parts = rows.map(move |(i, row)| {
        let mut part = vec![0; table.len()];
        part[i * k..i * k + row.len()].copy_from_slice(row);
        part
    });
    parts.chain(empty.then(|| table.to_vec()))
}

/// A profile's number of rows, then each feature that counted anything.
fn features(p: &WindowProfile) -> Vec<WindowProfile> {
    let empty: Vec<FeatureWindow> = p.features.iter().map(FeatureWindow::emptied).collect();
    let mut out = vec![WindowProfile { features: empty.clone(), ..*p }];
    for (i, feature) in p.features.iter().enumerate().filter(|(i, f)| **f != empty[*i]) {
        let mut part = WindowProfile { rows: 0, rows_out_of_range: 0, features: empty.clone(), ..*p };
        part.features[i] = feature.clone();
        out.push(part);
    }
    out
}
