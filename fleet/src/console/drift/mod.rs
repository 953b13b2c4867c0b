//! Drift: which versions have drifted, the heat map of one version, one feature closely.
//!
//! What always holds: a cell that shows nothing says why (no rows, too few rows); lists are paged; the heat map reads stored
//! verdicts only, so that it costs the same whatever the number of devices.

mod feature;
mod heat;
mod histogram;
mod version;

use std::collections::BTreeMap;

use askama::Template;
use axum::response::Response;
use longshore_fleet_core::monitor::{Cohort, Estimate, Measured, QualityRow, State};

use super::badge::{Badge, Tone};
use super::error::PageError;
use super::figures::{count, number, percent};
use super::shell::{Ctx, Section, Shell, encode, html};
use super::time::{Ago, span};
use crate::store::monitor::StateCount;

pub(super) use feature::page as feature_page;
pub(super) use version::{page as version_page, words};

/// A figure with its interval: `0.31 (0.28 to 0.35)`.
pub(super) fn figure(m: Option<Measured>) -> String {
    m.map_or_else(|| "–".into(), |m| format!("{} ({} to {})", number(m.value), number(m.lo), number(m.hi)))
}

/// An effect with its interval: `0.074 (0.030 to 0.103)`.
pub(super) fn effect(m: Option<Measured>) -> String {
    m.map_or_else(|| "–".into(), |m| format!("{:.3} ({:.3} to {:.3})", m.value, m.lo, m.hi))
}

/// A share with its interval: `92.5 % (88.0 % to 95.1 %)`.
pub(super) fn share_of(m: Option<Measured>) -> String {
    m.map_or_else(|| "–".into(), |m| format!("{} ({} to {})", percent(m.value), percent(m.lo), percent(m.hi)))
}

/// A verdict as a badge: its word is there, and drift alone is a colour of alarm.
pub(super) fn verdict(state: State) -> Badge {
    let tone = match state {
        State::Stable => Tone::Ok,
        State::Drifted => Tone::Bad,
        State::Undecided => Tone::Warn,
        State::Insufficient => Tone::Idle,
    };
    let words = if state == State::Insufficient { "too few rows" } else { state.name() };
    Badge::new(tone, words)
}

/// Accuracy in short: with labels, else estimated, else a dash.
pub(super) fn accuracy(q: &QualityRow) -> String {
    if q.accuracy.is_some() {
        return format!("{}, n {}", share_of(q.accuracy), count(q.labelled));
    }
    match &q.estimated {
        Estimate::Estimable { accuracy, .. } => {
            format!("est. {}, n {}", share_of(Some(*accuracy)), count(accuracy.n))
        }
        Estimate::NotEstimable { .. } => "–".into(),
    }
}

/// Counts of verdicts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct States {
    pub(super) drifted: u64,
    pub(super) undecided: u64,
    pub(super) stable: u64,
    pub(super) insufficient: u64,
}

impl States {
    pub(super) fn add(&mut self, state: State, n: u64) {
        match state {
            State::Drifted => self.drifted += n,
            State::Undecided => self.undecided += n,
            State::Stable => self.stable += n,
            State::Insufficient => self.insufficient += n,
        }
    }
    /// In words: `1 drifted, 29 stable`.
    pub(super) fn words(&self) -> String {
        let parts = [
            (self.drifted, "drifted"),
            (self.undecided, "undecided"),
            (self.stable, "stable"),
            (self.insufficient, "with too few rows"),
        ];
        let there: Vec<String> =
            parts.into_iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}")).collect();
        if there.is_empty() { "none".into() } else { there.join(", ") }
    }
    /// The state that matters most of those there are.
    pub(super) fn worst(&self) -> Option<State> {
        let there = [
            (self.drifted, State::Drifted),
            (self.undecided, State::Undecided),
            (self.stable, State::Stable),
            (self.insufficient, State::Insufficient),
        ];
        there.into_iter().find(|(n, _)| *n > 0).map(|(_, s)| s)
    }
}

struct Line {
    model: String,
    version: String,
    link: String,
    quality_link: String,
    state: Option<Badge>,
    states: States,
    features: String,
    cohorts_drifted: u64,
    worst: String,
    effect: String,
    rows: String,
    accuracy: String,
    judged: Ago,
}

#[derive(Template)]
#[template(path = "drift.html")]
struct Page {
    shell: Shell,
    lines: Vec<Line>,
    every: String,
    span: u64,
}

/// `GET /drift`.
pub(super) async fn page(ctx: Ctx) -> Result<Response, PageError> {
    let store = &ctx.app.store;
    let quality = store.quality_current(None, None, Some(&Cohort::Fleet)).await?;
    let mut counts: BTreeMap<String, Vec<StateCount>> = BTreeMap::new();
    for c in store.drift_counts(None).await? {
        counts.entry(c.bundle.clone()).or_default().push(c);
    }
    let mut lines = Vec::new();
    for q in quality {
        let bundle = q.bundle.to_hex();
        let found = counts.remove(&bundle).unwrap_or_default();
        let worst = store.drift_worst(q.model.as_str(), &bundle).await?;
        lines.push(line(&ctx, &q, &found, worst));
    }
    lines.sort_by_key(|l| std::cmp::Reverse((l.states.drifted, l.cohorts_drifted, l.states.undecided)));
    let page = Page {
        shell: ctx.shell(Section::Drift, "Drift").await?.listening("judged", ""),
        lines,
        every: span(ctx.app.config.monitor.every_s * 1000),
        span: ctx.app.config.monitor.span_h,
    };
    html(&page)
}

fn line(
    ctx: &Ctx,
    q: &QualityRow,
    counts: &[StateCount],
    worst: Option<longshore_fleet_core::monitor::DriftRow>,
) -> Line {
    let mut states = States::default();
    for c in counts.iter().filter(|c| c.cohort.is_fleet()) {
        states.add(c.state, c.features);
    }
    let drifted = |c: &&StateCount| !c.cohort.is_fleet() && c.state == State::Drifted;
    let cohorts_drifted = counts.iter().filter(drifted).count() as u64;
    // A drift of one place is diluted in the whole fleet: it must not look like calm.
    let state = match states.worst() {
        Some(worst) if worst != State::Drifted && cohorts_drifted > 0 => {
            let cohorts = if cohorts_drifted == 1 { "cohort" } else { "cohorts" };
            Some(Badge::new(Tone::Bad, format!("drifted in {cohorts_drifted} {cohorts}")))
        }
        worst => worst.map(verdict),
    };
    Line {
        model: q.model.to_string(),
        version: q.version.clone(),
        link: format!("/drift/{}/{}", encode(q.model.as_str()), encode(&q.version)),
        quality_link: format!("/models/{}/{}/quality", encode(q.model.as_str()), encode(&q.version)),
        state,
        features: states.words(),
        cohorts_drifted,
        states,
        worst: worst.as_ref().map_or_else(|| "–".into(), |w| w.feature.clone()),
        effect: effect(worst.and_then(|w| w.effect)),
        rows: count(q.rows),
        accuracy: accuracy(q),
        judged: ctx.when(i64::try_from(q.at.0).unwrap_or(i64::MAX)).brief(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_state_is_shown_and_too_few_rows_are_no_good_news() {
        let mut s = States::default();
        assert_eq!(s.worst(), None);
        s.add(State::Insufficient, 3);
        assert_eq!(s.worst(), Some(State::Insufficient));
        s.add(State::Stable, 1);
        s.add(State::Undecided, 1);
        assert_eq!(s.worst(), Some(State::Undecided));
        s.add(State::Drifted, 1);
        assert_eq!(s.worst(), Some(State::Drifted));
        assert!(verdict(State::Insufficient).to_string().contains("badge idle"));
    }
    #[test]
    fn figures_carry_their_interval() {
        let m = Measured { value: 0.925, lo: 0.88, hi: 0.951, n: 200 };
        assert_eq!(figure(Some(m)), "0.925 (0.88 to 0.951)");
        assert_eq!(share_of(Some(m)), "92.5 % (88.0 % to 95.1 %)");
        assert_eq!(figure(None), "–");
    }
}
