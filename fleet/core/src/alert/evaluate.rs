//! What a rule finds in the facts: at most one condition for each cause, with the evidence for it.
//!
//! What always holds: a condition `Holds` only where the whole interval lies beyond the threshold, and is `Clear` only where
//! the value itself is back on the right side; between them it is `Near`, which changes nothing. Too few rows are `Unknown`.

use std::collections::BTreeMap;

use longshore_trust::{Digest, UnixMs};
use serde::{Deserialize, Serialize};

use super::Cause;
use super::facts::{Facts, FeatureFact, FeatureState, ModelFact, What};
use super::rule::{Kind, Rule, Threshold};
use crate::monitor::Measured;

mod others;

/// An effect that has fallen below this share of the threshold is over.
const OVER: f64 = 0.8;

/// What was seen of a cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Seen {
    /// It is so.
    Holds,
    /// Neither surely so nor over.
    Near,
    /// It is not so.
    Clear,
    /// It cannot be said.
    Unknown,
}

/// What a rule found about one cause.
#[derive(Debug, Clone, PartialEq)]
pub struct Condition {
    /// About what.
    pub cause: Cause,
    /// Whether it is so.
    pub seen: Seen,
    /// Evidence, worth keeping where it holds.
    pub evidence: Evidence,
    /// Features that are surely as they should be.
    pub stable: Vec<String>,
}

impl Condition {
    /// What this says about an alert that rests on `before`. Where some features cannot be judged, an alert is over all the
    /// same when each of those it was about is as it should be.
    #[must_use]
    pub fn seen_for(&self, before: Option<&Evidence>) -> Seen {
        let over =
            |e: &Evidence| !e.features.is_empty() && e.features.iter().all(|f| self.stable.contains(&f.name));
        if self.seen == Seen::Unknown && before.is_some_and(over) { Seen::Clear } else { self.seen }
    }
}

/// What an alert rests on.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Evidence {
    /// One sentence.
    pub summary: String,
    /// How large it is: devices, features or roles concerned.
    pub weight: u64,
    /// Value, in the unit of the threshold.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<f64>,
    /// Ends of the value's 95 % interval.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval: Option<(f64, f64)>,
    /// Threshold, in the same unit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threshold: Option<f64>,
    /// Rows it rests on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rows: Option<u64>,
    /// Features concerned, the largest effect first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub features: Vec<FeatureEvidence>,
    /// Versions concerned, the one with most rows first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub versions: Vec<VersionEvidence>,
    /// Devices concerned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub devices: Option<DeviceEvidence>,
    /// Roles concerned.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<String>,
}

/// One feature that drifted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FeatureEvidence {
    /// Its name.
    pub name: String,
    /// Population stability index.
    pub effect: f64,
    /// Its interval.
    pub interval: (f64, f64),
    /// Corrected p-value.
    pub p: f64,
    /// Rows.
    pub n: u64,
}

/// One version of the model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionEvidence {
    /// Version.
    pub version: String,
    /// Digest of the bundle's manifest.
    pub bundle: Digest,
}

/// Devices, counted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DeviceEvidence {
    /// Concerned.
    pub count: u64,
    /// Looked at.
    pub of: u64,
    /// Some of them.
    pub sample: Vec<String>,
}

/// What a rule finds. A cause that the facts say nothing about has no condition.
#[must_use]
pub fn conditions(rule: &Rule, facts: &Facts, now: UnixMs) -> Vec<Condition> {
    match rule.kind {
        kind if kind.is_of_devices() => {
            facts.devices.get(&rule.name).map(|d| others::devices(rule, d)).into_iter().collect()
        }
        Kind::TrustExpiry => vec![others::trust(rule, &facts.trust, now)],
        _ => models(rule, &facts.models),
    }
}

fn cause(rule: &Rule, model: &str, cohort: &str) -> Cause {
    Cause { rule: rule.name.clone(), model: model.to_owned(), cohort: cohort.to_owned() }
}

/// One finding about one version.
struct Finding {
    seen: Seen,
    evidence: Evidence,
    stable: Vec<String>,
}

/// Versions of one model and cohort are one cause: the worst that was seen of them counts.
fn models(rule: &Rule, facts: &[ModelFact]) -> Vec<Condition> {
    let mut found: BTreeMap<(&str, &str), Finding> = BTreeMap::new();
    for fact in facts {
        let (model, cohort) = (fact.model.as_str(), fact.cohort.as_str());
        if !rule.is_for_model(model) || !rule.is_for_cohort(cohort) {
            continue;
        }
        let Some(mut finding) = of_model(rule, fact) else { continue };
        finding.evidence.versions =
            vec![VersionEvidence { version: fact.version.clone(), bundle: fact.bundle }];
        match found.remove(&(model, cohort)) {
            None => found.insert((model, cohort), finding),
            Some(before) => found.insert((model, cohort), worse(before, finding)),
        };
    }
    found
        .into_iter()
        .map(|((model, cohort), f)| Condition {
            cause: cause(rule, model, cohort),
            seen: f.seen,
            evidence: f.evidence,
            stable: f.stable,
        })
        .collect()
}

/// Of two versions: what holds comes before what is near, unknown or clear; of two that hold, the one with more rows is told
/// and the other one is named.
fn worse(a: Finding, b: Finding) -> Finding {
    let rank = |f: &Finding| match f.seen {
        Seen::Holds => 3,
        Seen::Near => 2,
        Seen::Unknown => 1,
        Seen::Clear => 0,
    };
    let (mut first, second) =
        if (rank(&a), a.evidence.rows) >= (rank(&b), b.evidence.rows) { (a, b) } else { (b, a) };
    first.stable.retain(|name| second.stable.contains(name));
    if second.seen == Seen::Holds {
        first.evidence.versions.extend(second.evidence.versions);
        for feature in second.evidence.features {
            if !first.evidence.features.iter().any(|f| f.name == feature.name) {
                first.evidence.features.push(feature);
            }
        }
        first.evidence.weight = first.evidence.weight.max(first.evidence.features.len() as u64);
    }
    first
}

fn of_model(rule: &Rule, fact: &ModelFact) -> Option<Finding> {
    let at = |text: String| match fact.cohort.as_str() {
        "fleet" => format!("{} {}: {text}", fact.model, fact.version),
        cohort => format!("{} {} at {cohort}: {text}", fact.model, fact.version),
    };
    let finding = |seen, m: &Measured, threshold: f64, text| Finding {
        seen,
        evidence: Evidence {
            summary: at(text),
            weight: 1,
            value: Some(m.value),
            interval: Some((m.lo, m.hi)),
            threshold: Some(threshold),
            rows: Some(m.n),
            ..Evidence::default()
        },
        stable: Vec::new(),
    };
    let few = |rows: u64| {
        let text =
            format!("{rows} rows are too few for a judgement (min_rows = {})", rows.max(rule.min_rows));
        let evidence = Evidence { summary: at(text), rows: Some(rows), ..Evidence::default() };
        Finding { seen: Seen::Unknown, evidence, stable: Vec::new() }
    };
    Some(match (rule.kind, &fact.what) {
        (Kind::Drift, What::Drift(features)) => {
            let mut found = drifted(rule, features);
            found.evidence.summary = at(std::mem::take(&mut found.evidence.summary));
            found
        }
        (Kind::Accuracy, What::Accuracy { share, reference }) => {
            let least = least_accuracy(rule, *reference)?;
            if share.n < rule.min_rows {
                return Some(few(share.n));
            }
            let Measured { value, lo, hi, n } = share;
            let text = format!(
                "accuracy {value:.3} ({lo:.3} to {hi:.3}, {n} labelled rows), wanted at least {least:.3}"
            );
            finding(low(share, least), share, least, text)
        }
        (Kind::AccuracyEstimated, What::Estimated { share, reference }) => {
            let least = least_accuracy(rule, *reference)?;
            let share = match share {
                Ok(share) if share.n >= rule.min_rows => share,
                Ok(share) => return Some(few(share.n)),
                Err(why) => {
                    let summary = at(format!("accuracy cannot be estimated: {why}"));
                    return Some(Finding {
                        seen: Seen::Unknown,
                        evidence: Evidence { summary, ..Evidence::default() },
                        stable: Vec::new(),
                    });
                }
            };
            let Measured { value, lo, hi, n } = share;
            let text = format!(
                "estimated accuracy {value:.3} ({lo:.3} to {hi:.3}, {n} rows, no labels), wanted at least {least:.3}"
            );
            finding(low(share, least), share, least, text)
        }
        (Kind::Fairness, What::Fairness { name, difference }) => {
            if difference.n < rule.min_rows {
                return Some(few(difference.n));
            }
            let (Measured { value, lo, hi, n }, most) = (difference, rule.value());
            let name = name.replace('_', " ");
            let text =
                format!("{name} {value:.3} ({lo:.3} to {hi:.3}, {n} labelled rows), wanted at most {most}");
            finding(high(difference, most), difference, most, text)
        }
        (Kind::Latency, What::Latency(p99)) => {
            if p99.n < rule.min_rows {
                return Some(few(p99.n));
            }
            let (Measured { value, lo, hi, n }, most) = (p99, rule.value());
            let text = format!(
                "p99 latency {value:.1} ms ({lo:.1} to {hi:.1}, {n} requests), wanted at most {most} ms"
            );
            finding(high(p99, most), p99, most, text)
        }
        (Kind::ErrorRate, What::Errors(share)) => {
            if share.n < rule.min_rows {
                return Some(few(share.n));
            }
            let most = rule.value();
            let text = format!(
                "{:.2} % of {} rows failed ({:.2} to {:.2} %), wanted at most {:.2} %",
                share.value * 100.0,
                share.n,
                share.lo * 100.0,
                share.hi * 100.0,
                most * 100.0
            );
            finding(high(share, most), share, most, text)
        }
        _ => return None,
    })
}

/// Features whose verdict is drift and whose effect is large enough.
fn drifted(rule: &Rule, features: &[FeatureFact]) -> Finding {
    let least = rule.value();
    let is = |f: &&FeatureFact, least: f64| f.state == FeatureState::Drifted && f.effect >= least;
    let mut over: Vec<&FeatureFact> =
        features.iter().filter(|f| is(f, least) && f.rows >= rule.min_rows).collect();
    over.sort_by(|a, b| b.effect.total_cmp(&a.effect).then_with(|| a.name.cmp(&b.name)));
    let seen = if !over.is_empty() {
        Seen::Holds
    } else if features.iter().any(|f| is(&f, least * OVER)) {
        Seen::Near
    } else if features.is_empty() || features.iter().any(|f| f.state == FeatureState::Unknown) {
        Seen::Unknown
    } else {
        Seen::Clear
    };
    let names: Vec<&str> = over.iter().take(3).map(|f| f.name.as_str()).collect();
    let more = if over.len() > 3 { format!(" and {} more", over.len() - 3) } else { String::new() };
    let worst = over.first();
    let summary = worst.map_or_else(
        || "no feature drifts".to_owned(),
        |w| {
            format!(
                "{}{more} drifted (largest effect: PSI {:.2}, {:.2} to {:.2}, p {}, {} rows)",
                names.join(", "),
                w.effect,
                w.interval.0,
                w.interval.1,
                p_value(w.p),
                w.rows
            )
        },
    );
    let evidence = Evidence {
        summary,
        weight: over.len() as u64,
        value: worst.map(|w| w.effect),
        interval: worst.map(|w| w.interval),
        threshold: Some(least),
        rows: features.iter().map(|f| f.rows).max(),
        features: over
            .iter()
            .map(|f| FeatureEvidence {
                name: f.name.clone(),
                effect: f.effect,
                interval: f.interval,
                p: f.p,
                n: f.rows,
            })
            .collect(),
        ..Evidence::default()
    };
    let stable = features.iter().filter(|f| f.state == FeatureState::Stable).map(|f| f.name.clone());
    Finding { seen, evidence, stable: stable.collect() }
}

fn p_value(p: f64) -> String {
    if p < 1e-4 { "< 0.0001".into() } else { format!("{p:.4}") }
}

/// Least accuracy that is accepted; `None` where the manifest names none to compare with.
fn least_accuracy(rule: &Rule, reference: Option<f64>) -> Option<f64> {
    match rule.threshold {
        Threshold::Drop(drop) => reference.map(|r| r - drop),
        Threshold::Value(v) => Some(v),
        Threshold::LongerMs(_) => None,
    }
}

/// For values that must not be low.
fn low(m: &Measured, least: f64) -> Seen {
    match () {
        () if m.hi < least => Seen::Holds,
        () if m.value >= least => Seen::Clear,
        () => Seen::Near,
    }
}

/// For values that must not be high.
fn high(m: &Measured, most: f64) -> Seen {
    match () {
        () if m.lo > most => Seen::Holds,
        () if m.value <= most => Seen::Clear,
        () => Seen::Near,
    }
}
