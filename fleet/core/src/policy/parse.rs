//! From TOML to a [`Policy`]: every refusal names its line.

use std::collections::BTreeMap;
use std::ops::Range;

use serde::Deserialize;
use toml::Spanned;

use super::gate::{Gate, RawGate, gate};
use super::lines::{Lines, PolicyError};
use super::{GuardPolicy, Policy, Select, WavePolicy};

/// Keys that a later version understands. Ignoring them would promise a protection that is not there.
const LATER: [(&str, &str); 6] = [
    ("shadow", "running a candidate in shadow"),
    ("max_per_minute", "pacing of offers"),
    ("latency_p99_ratio", "the latency gate"),
    ("error_rate_increase", "the error rate gate"),
    ("score_shift", "the score shift gate"),
    ("window", "maintenance windows"),
];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPolicy {
    name: Spanned<String>,
    #[serde(default)]
    wave: Vec<Spanned<RawWave>>,
    gate: Spanned<RawGate>,
    #[serde(default)]
    guard: Option<RawGuard>,
}
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawWave {
    select: Spanned<RawSelect>,
    #[serde(default)]
    optional: bool,
    soak: Option<Spanned<String>>,
    probation: Option<Spanned<String>>,
    lease: Option<Spanned<String>>,
}
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSelect {
    count: Option<i64>,
    percent: Option<f64>,
    rest: Option<bool>,
    ring: Option<String>,
    labels: Option<BTreeMap<String, String>>,
}
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawGuard {
    error_rate: Option<Spanned<f64>>,
    crashes: Option<Spanned<i64>>,
    p99_percent: Option<Spanned<i64>>,
}

impl Policy {
    /// Reads a policy.
    ///
    /// # Errors
    /// [`PolicyError`] for the first thing that is wrong.
    pub fn parse(text: &str) -> Result<Self, PolicyError> {
        let lines = Lines(text);
        let raw: RawPolicy = toml::from_str(text).map_err(|e| {
            let span = e.span().unwrap_or(0..0);
            lines.error(&span, explain(e.message()))
        })?;
        if raw.name.as_ref().is_empty() || raw.name.as_ref().len() > 64 {
            return Err(lines.error(&raw.name.span(), "a policy's name has 1 to 64 characters"));
        }
        if raw.wave.is_empty() {
            return Err(lines.error(&(0..0), "a policy needs at least one [[wave]]"));
        }
        let gate = gate(&lines, raw.gate.as_ref())?;
        let mut waves = Vec::new();
        for (i, wave) in raw.wave.iter().enumerate() {
            waves.push(self::wave(&lines, wave.as_ref(), &gate, i)?);
            if waves[i].select == Select::Rest && i + 1 != raw.wave.len() {
                let span = wave.as_ref().select.span();
                return Err(
                    lines.error(&span, "a wave after `rest = true` would be empty: make it the last one")
                );
            }
        }
        let guard = guard(&lines, raw.guard.as_ref())?;
        Ok(Self {
            name: raw.name.into_inner(),
            waves,
            gate,
            guard,
            window: None,
            bandwidth: None,
            priority: 0,
            authorize: false,
        })
    }
}

/// Adds what is meant, where serde only says "unknown field".
fn explain(message: &str) -> String {
    let got = message.strip_prefix("unknown field `").and_then(|m| m.split('`').next());
    match got.and_then(|g| LATER.iter().find(|(key, _)| *key == g)) {
        Some((key, what)) => format!(
            "`{key}` ({what}) is not carried out by this version of the server, so it is refused rather than ignored: remove it"
        ),
        None => message.to_owned(),
    }
}

fn wave(lines: &Lines<'_>, raw: &RawWave, gate: &Gate, index: usize) -> Result<WavePolicy, PolicyError> {
    let span = raw.select.span();
    let select = select(lines, &span, raw.select.as_ref())?;
    if let Select::Count(n) = select
        && n < gate.min_devices
    {
        let message = format!(
            "wave {index} takes {n} device(s), but the gate asks for min_devices = {}: it could never pass",
            gate.min_devices
        );
        return Err(lines.error(&span, message));
    }
    let soak_ms = raw.soak.as_ref().map_or(Ok(0), |s| lines.time(s))?;
    if let Some(s) = &raw.soak
        && soak_ms >= gate.deadline_ms
    {
        return Err(lines.error(
            &s.span(),
            "the soak is not shorter than the gate's deadline: the wave could never pass",
        ));
    }
    let probation_ms = match &raw.probation {
        Some(p) => lines.time(p)?,
        None => soak_ms.min(600_000),
    };
    let lease_ms = match &raw.lease {
        Some(l) => {
            let ms = lines.time(l)?;
            if ms < 10_000 {
                return Err(
                    lines.error(&l.span(), "a lease shorter than 10s would lapse between two messages")
                );
            }
            ms
        }
        None => 3_600_000,
    };
    Ok(WavePolicy {
        select,
        optional: raw.optional,
        shadow_ms: 0,
        max_per_minute: None,
        soak_ms,
        probation_ms,
        lease_ms,
    })
}

fn select(lines: &Lines<'_>, span: &Range<usize>, raw: &RawSelect) -> Result<Select, PolicyError> {
    let mut given = Vec::new();
    if let Some(n) = raw.count {
        if !(1..=10_000_000).contains(&n) {
            return Err(lines.error(span, format!("count = {n} is impossible: give a number from 1")));
        }
        given.push(Select::Count(u32::try_from(n).unwrap_or(u32::MAX)));
    }
    if let Some(p) = raw.percent {
        if !(p > 0.0 && p <= 100.0) {
            return Err(lines.error(span, format!("percent = {p} is impossible: more than 0, at most 100")));
        }
        given.push(Select::Percent(p));
    }
    match raw.rest {
        Some(true) => given.push(Select::Rest),
        Some(false) => return Err(lines.error(span, "`rest = false` selects nothing: leave it out")),
        None => {}
    }
    given.extend(raw.ring.clone().map(Select::Ring));
    if let Some(labels) = &raw.labels {
        if labels.is_empty() {
            return Err(lines.error(span, "`labels` is empty: name at least one label"));
        }
        given.push(Select::Labels(labels.clone()));
    }
    match given.len() {
        1 => Ok(given.remove(0)),
        n => Err(lines.error(
            span,
            format!("a wave selects by exactly one of count, percent, rest, ring and labels; {n} are given"),
        )),
    }
}

fn guard(lines: &Lines<'_>, raw: Option<&RawGuard>) -> Result<GuardPolicy, PolicyError> {
    let mut guard = GuardPolicy::default();
    let Some(raw) = raw else { return Ok(guard) };
    let small = |key: &str, v: &Spanned<i64>, least: i64| {
        Ok(u16::try_from(lines.whole(key, v, least..=10_000)?).unwrap_or(u16::MAX))
    };
    if let Some(v) = &raw.error_rate {
        guard.error_rate = lines.share("error_rate", v, 0.001)?;
    }
    if let Some(v) = &raw.crashes {
        guard.crashes = small("crashes", v, 1)?;
    }
    if let Some(v) = &raw.p99_percent {
        guard.p99_percent = small("p99_percent", v, 0)?;
    }
    Ok(guard)
}
