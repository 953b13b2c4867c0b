//! From TOML to a [`Policy`]: every refusal names its line.

use std::collections::BTreeMap;
use std::ops::Range;

use serde::Deserialize;
use toml::Spanned;

use super::explain::explain;
use super::gate::{Gate, RawGate, gate};
use super::lines::{Lines, PolicyError};
use super::{Expression, GuardPolicy, Policy, Select, WavePolicy, Window, parse_bandwidth};
use crate::wording::counted;

/// No policy of a person is longer.
const LONGEST: usize = 100_000;
/// Nor has more waves.
const MOST_WAVES: usize = 50;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPolicy {
    name: Spanned<String>,
    #[serde(default)]
    wave: Vec<Spanned<RawWave>>,
    gate: Spanned<RawGate>,
    guard: Option<RawGuard>,
    window: Option<RawWindow>,
    bandwidth: Option<Spanned<String>>,
    priority: Option<Spanned<i64>>,
    #[serde(default)]
    authorize: bool,
}
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawWave {
    select: Spanned<RawSelect>,
    #[serde(default)]
    optional: bool,
    shadow: Option<Spanned<String>>,
    max_per_minute: Option<Spanned<i64>>,
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
    #[serde(rename = "where")]
    holds: Option<Spanned<String>>,
}
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawWindow {
    cron: Spanned<String>,
    duration: Spanned<String>,
}
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawGuard {
    error_rate: Option<Spanned<f64>>,
    crashes: Option<Spanned<i64>>,
    p99_percent: Option<Spanned<i64>>,
    score_shift: Option<Spanned<f64>>,
}

impl Policy {
    /// Reads a policy.
    ///
    /// # Errors
    /// [`PolicyError`] for the first thing that is wrong; [`Policy::check`] names all of them.
    pub fn parse(text: &str) -> Result<Self, PolicyError> {
        Self::check(text).map_err(|mut all| all.remove(0))
    }
    /// Reads a policy.
    ///
    /// # Errors
    /// Everything that is wrong, in the order of the lines; never an empty list.
    pub fn check(text: &str) -> Result<Self, Vec<PolicyError>> {
        let lines = Lines(text);
        if text.len() > LONGEST {
            return Err(vec![lines.error(&(0..0), format!("a policy has at most {LONGEST} characters"))]);
        }
        let raw: RawPolicy = toml::from_str(text).map_err(|e| {
            let span = e.span().unwrap_or(0..0);
            let at = lines.error(&span, "").line;
            let line = text.lines().nth(at - 1).unwrap_or_default();
            vec![lines.error(&span, explain(e.message(), line))]
        })?;
        let mut wrong = Vec::new();
        let policy = build(&lines, &raw, &mut wrong);
        wrong.sort_by_key(|e| e.line);
        match policy {
            Some(policy) if wrong.is_empty() => Ok(policy),
            _ => Err(wrong),
        }
    }
}

/// Keeps what is wrong for later.
fn keep<T>(result: Result<T, PolicyError>, wrong: &mut Vec<PolicyError>) -> Option<T> {
    result.map_err(|e| wrong.push(e)).ok()
}

fn build(lines: &Lines<'_>, raw: &RawPolicy, wrong: &mut Vec<PolicyError>) -> Option<Policy> {
    let name = raw.name.as_ref();
    if name.is_empty() || name.chars().count() > 64 {
        wrong.push(lines.error(&raw.name.span(), "a policy's name has 1 to 64 characters"));
    }
    if raw.wave.is_empty() {
        wrong.push(lines.error(&(0..0), "a policy needs at least one [[wave]]"));
    }
    if raw.wave.len() > MOST_WAVES {
        wrong.push(
            lines.error(&raw.wave[MOST_WAVES].span(), format!("a policy has at most {MOST_WAVES} waves")),
        );
    }
    let gate = gate(lines, raw.gate.as_ref(), wrong);
    let mut waves = Vec::new();
    for (i, wave) in raw.wave.iter().enumerate() {
        let wave = wave.as_ref();
        if i + 1 != raw.wave.len() && wave.select.as_ref().rest == Some(true) {
            let span = wave.select.span();
            wrong.push(lines.error(&span, "a wave after `rest = true` would be empty: make it the last one"));
        }
        // Without a gate its limits cannot be compared with; what is wrong with the gate is said first.
        if let Some(gate) = &gate {
            waves.extend(keep(self::wave(lines, wave, gate, i), wrong));
        }
    }
    let guard = keep(guard(lines, raw.guard.as_ref()), wrong);
    let window = match &raw.window {
        Some(w) => keep(window(lines, w), wrong).map(Some),
        None => Some(None),
    };
    let bandwidth = match &raw.bandwidth {
        Some(b) => keep(parse_bandwidth(b.as_ref()).map_err(|m| lines.error(&b.span(), m)), wrong).map(Some),
        None => Some(None),
    };
    let priority = match &raw.priority {
        Some(p) if (-1000..=1000).contains(p.as_ref()) => i32::try_from(*p.as_ref()).unwrap_or(0),
        Some(p) => {
            let message =
                format!("priority = {} is impossible: give a number from -1000 to 1000", p.as_ref());
            wrong.push(lines.error(&p.span(), message));
            0
        }
        None => 0,
    };
    Some(Policy {
        name: name.clone(),
        waves,
        gate: gate?,
        guard: guard?,
        window: window?,
        bandwidth: bandwidth?,
        priority,
        authorize: raw.authorize,
    })
}

fn window(lines: &Lines<'_>, raw: &RawWindow) -> Result<Window, PolicyError> {
    let duration_ms = lines.time(&raw.duration)?;
    if !(60_000..=7 * 86_400_000).contains(&duration_ms) {
        return Err(lines.error(&raw.duration.span(), "a window stays open for 1 minute to 7 days"));
    }
    let window = Window { cron: raw.cron.as_ref().clone(), duration_ms };
    window.schedule().map_err(|e| lines.error(&raw.cron.span(), e.to_string()))?;
    Ok(window)
}

fn wave(lines: &Lines<'_>, raw: &RawWave, gate: &Gate, index: usize) -> Result<WavePolicy, PolicyError> {
    let span = raw.select.span();
    let select = select(lines, &span, raw.select.as_ref())?;
    if let Select::Count(n) = select
        && n < gate.min_devices
    {
        let message = format!(
            "wave {index} takes {}, but the gate asks for min_devices = {}: it could never pass",
            counted(n, "device"),
            gate.min_devices
        );
        return Err(lines.error(&span, message));
    }
    let soak_ms = raw.soak.as_ref().map_or(Ok(0), |s| lines.time(s))?;
    let shadow_ms = raw.shadow.as_ref().map_or(Ok(0), |s| lines.time(s))?;
    if let Some(s) = raw.soak.as_ref().or(raw.shadow.as_ref())
        && soak_ms + shadow_ms >= gate.deadline_ms
    {
        let message = if shadow_ms == 0 {
            "the soak is not shorter than the gate's deadline: the wave could never pass"
        } else {
            "soak and shadow together are not shorter than the gate's deadline: the wave could never pass"
        };
        return Err(lines.error(&s.span(), message));
    }
    let max_per_minute = match &raw.max_per_minute {
        Some(n) => Some(u32::try_from(lines.whole("max_per_minute", n, 1..=1_000_000)?).unwrap_or(u32::MAX)),
        None => None,
    };
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
        shadow_ms,
        max_per_minute,
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
    if let Some(holds) = &raw.holds {
        let expression =
            Expression::parse(holds.as_ref()).map_err(|e| lines.error(&holds.span(), e.to_string()))?;
        given.push(Select::Where(expression));
    }
    match given.len() {
        1 => Ok(given.remove(0)),
        n => Err(lines.error(
            span,
            format!(
                "a wave selects by exactly one of count, percent, rest, ring, labels and where; {n} are given"
            ),
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
    if let Some(v) = &raw.score_shift {
        let shift = *v.as_ref();
        if shift != 0.0 && !(0.05..=10.0).contains(&shift) {
            let text = format!(
                "score_shift = {shift} is impossible: give a PSI from 0.05 (0.25 is a clear shift, 1 a gross one) to 10, or 0 for off"
            );
            return Err(lines.error(&v.span(), text));
        }
        guard.score_shift = shift;
    }
    Ok(guard)
}
