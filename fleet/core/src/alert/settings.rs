//! From the configuration to rules and receivers that can be carried out: every refusal names its line and what would be right.

use std::collections::BTreeMap;
use std::ops::Range;

use toml::Spanned;

use super::entry::{AlertsEntry, Amount, ReceiverEntry, RuleEntry};
use super::receiver::Receiver;
use super::rule::{Kind, Rule, Severity, Threshold};
use crate::policy::parse_duration;

mod receivers;

/// Rules and receivers at most.
const MOST: usize = 200;
const MINUTE_MS: u64 = 60_000;

/// Why an alert rule or a receiver is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {message}")]
pub struct AlertConfigError {
    /// Line of the file, from 1.
    pub line: usize,
    /// What is wrong, and what would be right.
    pub message: String,
}

/// What is in effect.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Rules, in the order of the file.
    pub rules: Vec<Rule>,
    /// Receivers, in the order of the file.
    pub receivers: Vec<Receiver>,
    /// Whether the rules are the ones that come with the server.
    pub shipped: bool,
}

impl Default for Settings {
    /// The shipped rules, and nobody who is told.
    fn default() -> Self {
        Self::parse(super::SHIPPED_RULES).map_or_else(
            |_| unreachable!("the shipped rules are valid: a test reads them"),
            |s| Self { shipped: true, ..s },
        )
    }
}

#[derive(serde::Deserialize)]
struct Tables {
    #[serde(default)]
    alert: Vec<Spanned<RuleEntry>>,
    #[serde(default)]
    receiver: Vec<Spanned<ReceiverEntry>>,
}

impl Settings {
    /// Rules and receivers of a configuration; other tables are not looked at. Without `[[alert]]` the shipped rules hold.
    ///
    /// # Errors
    /// [`AlertConfigError`] for the first thing that is wrong.
    pub fn parse(text: &str) -> Result<Self, AlertConfigError> {
        let lines = Lines(text);
        let tables: Tables = toml::from_str(text)
            .map_err(|e| lines.error(&e.span().unwrap_or(0..0), e.message().to_owned()))?;
        Self::of(text, &tables.alert, &tables.receiver)
    }

    /// The same, of tables that have been read; `text` is what their spans point into.
    ///
    /// # Errors
    /// [`AlertConfigError`] for the first thing that is wrong.
    pub fn of(
        text: &str,
        alerts: &[Spanned<RuleEntry>],
        told: &[Spanned<ReceiverEntry>],
    ) -> Result<Self, AlertConfigError> {
        let lines = Lines(text);
        for (n, what) in [(alerts.len(), "[[alert]]"), (told.len(), "[[receiver]]")] {
            if n > MOST {
                return Err(
                    lines.error(&(0..0), format!("{n} tables {what} are more than the {MOST} allowed"))
                );
            }
        }
        let mut found = Vec::<Receiver>::new();
        for entry in told {
            let receiver = receivers::receiver(&lines, &entry.span(), entry.as_ref())?;
            if found.iter().any(|r| r.name == receiver.name) {
                let message =
                    format!("there are two receivers {:?}: give each a name of its own", receiver.name);
                return Err(lines.error(&entry.as_ref().name.span(), message));
            }
            found.push(receiver);
        }
        let receivers = found;
        if alerts.is_empty() {
            return Ok(Self { rules: Self::default().rules, receivers, shipped: true });
        }
        let mut rules = Vec::<Rule>::new();
        for entry in alerts {
            let rule = self::rule(&lines, &entry.span(), entry.as_ref(), &receivers)?;
            if rules.iter().any(|r| r.name == rule.name) {
                let message = format!("there are two rules {:?}: give each a name of its own", rule.name);
                return Err(lines.error(&entry.as_ref().name.span(), message));
            }
            rules.push(rule);
        }
        Ok(Self { rules, receivers, shipped: false })
    }

    /// A rule by its name.
    #[must_use]
    pub fn rule(&self, name: &str) -> Option<&Rule> {
        self.rules.iter().find(|r| r.name == name)
    }
    /// A receiver by its name.
    #[must_use]
    pub fn receiver(&self, name: &str) -> Option<&Receiver> {
        self.receivers.iter().find(|r| r.name == name)
    }
}

/// What is wrong with `[alerts]`, if anything: the key, its value, and what would be right.
#[must_use]
pub fn wrong_entry(entry: &AlertsEntry) -> Option<(&'static str, String, &'static str)> {
    let numbers = [
        ("alerts.every_s", entry.every_s, 1..=3_600, "judge every second to every hour"),
        ("alerts.keep_d", entry.keep_d, 1..=3_650, "keep alerts for 1 to 3650 days"),
        ("alerts.queue", entry.queue, 10..=1_000_000, "give each receiver room for 10 to 1000000 deliveries"),
    ];
    for (key, value, range, why) in numbers {
        if !range.contains(&value) {
            return Some((key, value.to_string(), why));
        }
    }
    let url = &entry.console_url;
    let good = url.is_empty() || url.starts_with("https://") || url.starts_with("http://");
    (!good).then(|| {
        ("alerts.console_url", format!("{url:?}"), "give http://HOST or https://HOST, or leave it out")
    })
}

struct Lines<'a>(&'a str);

impl Lines<'_> {
    fn error(&self, span: &Range<usize>, message: impl Into<String>) -> AlertConfigError {
        let start = span.start.min(self.0.len());
        let line = self.0.as_bytes()[..start].iter().filter(|b| **b == b'\n').count() + 1;
        AlertConfigError { line, message: message.into() }
    }
    fn time(&self, value: &Spanned<String>) -> Result<u64, AlertConfigError> {
        parse_duration(value.as_ref()).map_err(|m| self.error(&value.span(), m))
    }
    fn time_or(&self, value: Option<&Spanned<String>>, default: u64) -> Result<u64, AlertConfigError> {
        value.map_or(Ok(default), |v| self.time(v))
    }
    fn within(
        &self,
        key: &str,
        value: Option<&Spanned<i64>>,
        default: u64,
        range: std::ops::RangeInclusive<i64>,
    ) -> Result<u64, AlertConfigError> {
        match value {
            None => Ok(default),
            Some(v) if range.contains(v.as_ref()) => Ok(v.as_ref().unsigned_abs()),
            Some(v) => {
                let (from, to) = range.into_inner();
                let message =
                    format!("{key} = {} is impossible: give a number from {from} to {to}", v.as_ref());
                Err(self.error(&v.span(), message))
            }
        }
    }
    fn name(&self, what: &str, value: &Spanned<String>) -> Result<String, AlertConfigError> {
        let name = value.as_ref();
        let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
        if name.is_empty() || name.len() > 64 || !name.chars().all(good) {
            let message = format!("{what} {name:?} is not valid: use 1 to 64 of a-z, 0-9, '-' and '_'");
            return Err(self.error(&value.span(), message));
        }
        Ok(name.clone())
    }
    /// One of several words.
    fn word<T: Copy>(
        &self,
        key: &str,
        value: &Spanned<String>,
        words: &[(&str, T)],
    ) -> Result<T, AlertConfigError> {
        if let Some((_, found)) = words.iter().find(|(w, _)| w == value.as_ref()) {
            return Ok(*found);
        }
        let known: Vec<String> = words.iter().map(|(w, _)| format!("{w:?}")).collect();
        let message = format!("{key} = {:?} is not known: say {}", value.as_ref(), known.join(", "));
        Err(self.error(&value.span(), message))
    }
}

/// What a threshold of each kind is, and what it is when none is given.
fn threshold(
    lines: &Lines<'_>,
    span: &Range<usize>,
    raw: &RuleEntry,
    kind: Kind,
) -> Result<Threshold, AlertConfigError> {
    let accuracy = matches!(kind, Kind::Accuracy | Kind::AccuracyEstimated);
    let (least, most, default, example) = match kind {
        Kind::Drift => (0.0, 100.0, Some(0.1), "an effect size (PSI): threshold = 0.1"),
        Kind::Accuracy | Kind::AccuracyEstimated => {
            (0.0, 1.0, None, "the least share of right answers: threshold = 0.9")
        }
        Kind::Fairness => (0.0, 1.0, Some(0.1), "the largest difference between groups: threshold = 0.1"),
        Kind::Latency => (0.0, 1e9, None, "milliseconds: threshold = 50"),
        Kind::ErrorRate => (0.0, 1.0, Some(0.01), "the largest share of failed rows: threshold = 0.01"),
        Kind::Disk => (0.0, 1.0, Some(0.05), "the least share of free disk: threshold = 0.05"),
        Kind::Temperature => (-50.0, 200.0, Some(85.0), "degrees Celsius: threshold = 85"),
        Kind::Gaps => {
            (1.0, 1e15, Some(1.0), "lost rows or messages of a device within an hour: threshold = 1")
        }
        Kind::Silence | Kind::TrustExpiry => (0.0, 0.0, None, "a length of time: threshold = \"15m\""),
    };
    if let Some(drop) = &raw.drop {
        let v = *drop.as_ref();
        return match () {
            () if !accuracy => {
                Err(lines.error(&drop.span(), format!("`drop` is for accuracy; {kind} takes {example}")))
            }
            () if raw.threshold.is_some() => Err(lines.error(
                &drop.span(),
                "give either `threshold` (least accuracy) or `drop` (against the manifest's), not both",
            )),
            () if v > 0.0 && v <= 1.0 => Ok(Threshold::Drop(v)),
            () => Err(lines.error(&drop.span(), format!("drop = {v} is impossible: more than 0, at most 1"))),
        };
    }
    let of_time = matches!(kind, Kind::Silence | Kind::TrustExpiry);
    match raw.threshold.as_ref().map(|t| (t.as_ref(), t.span())) {
        None if kind == Kind::Silence => Ok(Threshold::LongerMs(15 * MINUTE_MS)),
        None if kind == Kind::TrustExpiry => Ok(Threshold::LongerMs(14 * 1440 * MINUTE_MS)),
        None if accuracy => Ok(Threshold::Drop(0.05)),
        None => default
            .map(Threshold::Value)
            .ok_or_else(|| lines.error(span, format!("{kind} needs a threshold, {example}"))),
        Some((Amount::Words(text), at)) if of_time => match parse_duration(text) {
            Ok(ms) if ms >= 1_000 => Ok(Threshold::LongerMs(ms)),
            Ok(_) => Err(lines.error(&at, format!("threshold = {text:?} is shorter than a second"))),
            Err(m) => Err(lines.error(&at, m)),
        },
        Some((Amount::Words(text), at)) => {
            Err(lines.error(&at, format!("threshold = {text:?}: {kind} takes a number, {example}")))
        }
        Some((_, at)) if of_time => Err(lines.error(&at, format!("{kind} takes {example}"))),
        Some((amount, at)) => {
            let v = match amount {
                Amount::Whole(n) => *n as f64,
                Amount::Number(v) => *v,
                Amount::Words(_) => f64::NAN,
            };
            if v >= least && v <= most && v.is_finite() {
                Ok(Threshold::Value(v))
            } else {
                let message =
                    format!("threshold = {v} is impossible from {least} to {most}: {kind} takes {example}");
                Err(lines.error(&at, message))
            }
        }
    }
}

fn rule(
    lines: &Lines<'_>,
    span: &Range<usize>,
    raw: &RuleEntry,
    receivers: &[Receiver],
) -> Result<Rule, AlertConfigError> {
    let kinds = Kind::ALL.map(|k| (k.as_str(), k));
    let severities = Severity::ALL.map(|s| (s.as_str(), s));
    let kind = lines.word("kind", &raw.kind, &kinds)?;
    let severity =
        raw.severity.as_ref().map_or(Ok(Severity::Warning), |s| lines.word("severity", s, &severities))?;
    if let Some(m) = &raw.model {
        let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_*".contains(c);
        if m.as_ref().is_empty() || m.as_ref().len() > 64 || !m.as_ref().chars().all(good) {
            let message =
                format!("model = {:?}: write a model's name, where `*` stands for anything", m.as_ref());
            return Err(lines.error(&m.span(), message));
        }
        if kind == Kind::TrustExpiry {
            return Err(
                lines.error(&m.span(), "`model` does nothing here: trust metadata is the fleet's; remove it")
            );
        }
    }
    if let Some(c) = &raw.cohort {
        let bad = c.as_ref().is_empty() || c.as_ref().len() > 3 || c.as_ref().keys().any(String::is_empty);
        if bad || kind == Kind::TrustExpiry {
            let message = "`cohort` names one to three labels of devices, e.g. cohort = { site = \"ams\" }; `*` is every value";
            return Err(lines.error(&c.span(), message));
        }
        if kind.is_of_devices() && c.as_ref().values().any(|v| v.contains('*')) {
            let message =
                "a rule about devices counts one group: name the label's value, or leave `cohort` out";
            return Err(lines.error(&c.span(), message));
        }
    }
    if let Some(m) = raw.min_rows.as_ref().filter(|_| !kind.is_of_models()) {
        return Err(lines.error(&m.span(), format!("min_rows does nothing for {kind}: remove it")));
    }
    if let Some(m) = raw.min_devices.as_ref().filter(|_| !kind.is_of_devices()) {
        return Err(lines.error(&m.span(), format!("min_devices does nothing for {kind}: remove it")));
    }
    let retrain = raw.retrain.as_ref().is_some_and(|r| *r.as_ref());
    if let Some(r) = raw.retrain.as_ref().filter(|_| retrain && !kind.is_of_models()) {
        return Err(lines.error(&r.span(), format!("no training helps against {kind}: remove `retrain`")));
    }
    if let Some(routes) = &raw.routes {
        let unknown = routes.as_ref().iter().find(|name| !receivers.iter().any(|r| r.name == **name));
        if let Some(name) = unknown {
            let known: Vec<&str> = receivers.iter().map(|r| r.name.as_str()).collect();
            let known = if known.is_empty() {
                "there is none".into()
            } else {
                format!("there are {}", known.join(", "))
            };
            return Err(
                lines.error(&routes.span(), format!("there is no [[receiver]] named {name:?}: {known}"))
            );
        }
    }
    let repeat_ms = match &raw.repeat_interval {
        None if severity == Severity::Critical => Some(60 * MINUTE_MS),
        None if severity == Severity::Warning => Some(24 * 60 * MINUTE_MS),
        None => None,
        Some(v) => match lines.time(v)? {
            ms if ms < MINUTE_MS => {
                return Err(lines
                    .error(&v.span(), "repeat_interval is at least \"1m\": people are told, not machines"));
            }
            ms => Some(ms),
        },
    };
    let rows = match kind {
        Kind::Accuracy | Kind::Fairness => 200,
        Kind::AccuracyEstimated => 500,
        _ => 100,
    };
    let many = 1_000_000_000_000;
    Ok(Rule {
        name: lines.name("the name of a rule", &raw.name)?,
        kind,
        model: raw.model.as_ref().map_or_else(|| "*".to_owned(), |m| m.as_ref().clone()),
        cohort: raw.cohort.as_ref().map(|c| c.as_ref().clone()),
        threshold: threshold(lines, span, raw, kind)?,
        min_rows: lines.within("min_rows", raw.min_rows.as_ref(), rows, 1..=many)?,
        min_devices: lines.within("min_devices", raw.min_devices.as_ref(), 1, 1..=many)?,
        for_ms: lines.time_or(raw.hold.as_ref(), 5 * MINUTE_MS)?,
        resolve_ms: lines.time_or(raw.resolve_after.as_ref(), 15 * MINUTE_MS)?,
        repeat_ms,
        severity,
        labels: labels(lines, span, &raw.labels)?,
        routes: raw.routes.as_ref().map(|r| r.as_ref().clone()),
        retrain,
    })
}

fn labels(
    lines: &Lines<'_>,
    span: &Range<usize>,
    raw: &BTreeMap<String, String>,
) -> Result<BTreeMap<String, String>, AlertConfigError> {
    const OURS: [&str; 7] = ["alertname", "severity", "kind", "fleet", "model", "cohort", "alert"];
    for (key, value) in raw {
        let good = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if key.is_empty() || key.len() > 64 || value.len() > 200 || !key.chars().all(good) {
            let message = format!(
                "the label {key:?} is not valid: keys are 1 to 64 of a-z, 0-9 and '_', values at most 200"
            );
            return Err(lines.error(span, message));
        }
        if OURS.contains(&key.as_str()) {
            return Err(
                lines.error(span, format!("the label {key:?} is set by the server: take another name"))
            );
        }
    }
    Ok(raw.clone())
}
