//! What monitoring has judged, as facts for rules.

use std::collections::BTreeMap;

use longshore_trust::Digest;

use super::facts::{FeatureFact, FeatureState, ModelFact, What};
use crate::monitor::quality::Estimate;
use crate::monitor::{DriftRow, Measured, QualityRow, State};

/// Microseconds as milliseconds.
fn ms(us: &Measured) -> Measured {
    Measured { value: us.value / 1e3, lo: us.lo / 1e3, hi: us.hi / 1e3, n: us.n }
}

/// Facts out of the current verdicts. `reference` is the accuracy that a bundle's manifest names.
#[must_use]
pub fn facts(
    drift: &[DriftRow],
    quality: &[QualityRow],
    reference: impl Fn(&Digest) -> Option<f64>,
) -> Vec<ModelFact> {
    let mut facts = Vec::new();
    let mut features: BTreeMap<(Digest, String), (&DriftRow, Vec<FeatureFact>)> = BTreeMap::new();
    for row in drift {
        let key = (row.bundle, row.cohort.to_string());
        features.entry(key).or_insert((row, Vec::new())).1.push(feature(row));
    }
    for ((bundle, cohort), (row, features)) in features {
        facts.push(ModelFact {
            model: row.model.clone(),
            version: row.version.clone(),
            bundle,
            cohort,
            what: What::Drift(features),
        });
    }
    for row in quality {
        let reference = reference(&row.bundle);
        let fairest = row.fairness.as_ref().and_then(|f| {
            let differences = f.measures.iter().filter(|m| m.name.ends_with("_difference"));
            differences.max_by(|a, b| a.measured.lo.total_cmp(&b.measured.lo))
        });
        let share = match &row.estimated {
            Estimate::Estimable { accuracy, .. } => Ok(*accuracy),
            Estimate::NotEstimable { reason } => Err(reason.clone()),
        };
        let found = [
            row.accuracy.map(|share| What::Accuracy { share, reference }),
            Some(What::Estimated { share, reference }),
            fairest.map(|m| What::Fairness { name: m.name.clone(), difference: m.measured }),
            row.latency.as_ref().map(|l| What::Latency(ms(&l.p99))),
            row.error_rate.map(What::Errors),
        ];
        facts.extend(found.into_iter().flatten().map(|what| ModelFact {
            model: row.model.clone(),
            version: row.version.clone(),
            bundle: row.bundle,
            cohort: row.cohort.to_string(),
            what,
        }));
    }
    facts
}

fn feature(row: &DriftRow) -> FeatureFact {
    let effect = row.effect.unwrap_or(Measured { value: 0.0, lo: 0.0, hi: 0.0, n: row.n });
    FeatureFact {
        name: row.feature.clone(),
        state: match row.state {
            State::Drifted => FeatureState::Drifted,
            State::Stable => FeatureState::Stable,
            State::Undecided | State::Insufficient => FeatureState::Unknown,
        },
        effect: effect.value,
        interval: (effect.lo, effect.hi),
        p: row.p_adjusted.or(row.p).unwrap_or(1.0),
        rows: row.n,
    }
}
