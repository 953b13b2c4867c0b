//! Conditions of devices, which the store has counted, and of trust metadata.

use longshore_trust::UnixMs;

use super::{Condition, DeviceEvidence, Evidence, Seen, cause};
use crate::alert::facts::{DeviceFact, TrustFact};
use crate::alert::rule::{Kind, Rule, Threshold};
use crate::policy::human_duration;
use crate::wording::counted;

/// The server signs its own roles long before this is left of them.
const ONLINE_LEFT_MS: u64 = 6 * 3_600_000;

pub(super) fn devices(rule: &Rule, fact: &DeviceFact) -> Condition {
    let least = rule.min_devices.max(1);
    let seen = if fact.hits >= least {
        Seen::Holds
    } else if fact.near >= least {
        Seen::Near
    } else {
        Seen::Clear
    };
    let n = fact.hits;
    let devices = counted(n, "device");
    let of = format!("of {}", fact.of);
    let threshold = match rule.threshold {
        Threshold::LongerMs(ms) => human_duration(ms),
        Threshold::Value(v) | Threshold::Drop(v) => v.to_string(),
    };
    let worst = fact.worst.unwrap_or_default();
    let (summary, value) = match rule.kind {
        Kind::Silence => {
            let longest = human_duration((worst.max(0.0) as u64) / 60_000 * 60_000);
            (format!("{devices} {of} silent for more than {threshold}, the longest for {longest}"), worst)
        }
        Kind::Disk => (
            format!(
                "{devices} {of} with less than {:.0} % of the disk free, the least {:.1} %",
                rule.value() * 100.0,
                worst * 100.0
            ),
            worst,
        ),
        Kind::Temperature => {
            (format!("{devices} {of} hotter than {threshold} °C, the hottest {worst:.1} °C"), worst)
        }
        _ => (
            format!("{devices} {of} lost data: {} rows or messages in the gap ledger", fact.total),
            fact.total as f64,
        ),
    };
    let cohort = rule.cohort.as_ref().map_or_else(
        || "fleet".to_owned(),
        |labels| labels.iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>().join(","),
    );
    let summary = if cohort == "fleet" { summary } else { format!("{cohort}: {summary}") };
    Condition {
        cause: cause(rule, "", &cohort),
        seen,
        stable: Vec::new(),
        evidence: Evidence {
            summary,
            weight: n,
            value: Some(value),
            threshold: Some(rule.value()),
            devices: Some(DeviceEvidence {
                count: n,
                of: fact.of,
                sample: fact.sample.iter().map(ToString::to_string).collect(),
            }),
            ..Evidence::default()
        },
    }
}

/// In whole days, or hours when little is left.
fn left_in_words(ms: u64) -> String {
    let unit = if ms >= 2 * 86_400_000 { 86_400_000 } else { 3_600_000 };
    human_duration(ms / unit * unit)
}

pub(super) fn trust(rule: &Rule, facts: &[TrustFact], now: UnixMs) -> Condition {
    let limit = rule.value() as u64;
    let limit_of = |f: &TrustFact| if f.online { limit.min(ONLINE_LEFT_MS) } else { limit };
    let mut ending: Vec<(u64, &TrustFact)> =
        facts.iter().map(|f| (f.expires.since(now), f)).filter(|(left, f)| *left < limit_of(f)).collect();
    ending.sort_by(|a, b| a.0.cmp(&b.0).then_with(|| a.1.role.cmp(&b.1.role)));
    let words = |(left, f): &(u64, &TrustFact)| match left {
        0 => format!("{} version {} has expired", f.role, f.version),
        ms => format!("{} version {} expires in {}", f.role, f.version, left_in_words(*ms)),
    };
    let first: Vec<String> = ending.iter().take(3).map(words).collect();
    let more = if ending.len() > 3 { format!(" and {} more", ending.len() - 3) } else { String::new() };
    let seen = match (facts.is_empty(), ending.is_empty()) {
        (true, _) => Seen::Unknown,
        (_, true) => Seen::Clear,
        (_, false) => Seen::Holds,
    };
    Condition {
        cause: cause(rule, "", "fleet"),
        seen,
        stable: Vec::new(),
        evidence: Evidence {
            summary: format!("Trust metadata: {}{more}", first.join(", ")),
            weight: ending.len() as u64,
            value: ending.first().map(|(left, _)| *left as f64),
            threshold: Some(limit as f64),
            roles: ending.iter().map(|(_, f)| f.role.clone()).collect(),
            ..Evidence::default()
        },
    }
}
