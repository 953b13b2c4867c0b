//! One device in one rollout: where it stands and why, what it was told and when, what it said, what it counts in its gate.

use askama::Template;
use axum::extract::Path;
use axum::response::Response;
use longshore_fleet_core::rollout::{DeviceState, Standing};
use longshore_wire::v1::TrialReport;

use super::badge::{Badge, Tone};
use super::device::trial_words;
use super::error::PageError;
use super::figures::{share, short, sum};
use super::shell::{Ctx, Section, Shell, encode, html};
use super::time::{When, span};
use crate::store::views::{InRollout, Said};

/// Reports that are shown.
const REPORTS: u32 = 200;

struct Line {
    at: i64,
    when: When,
    badge: Badge,
    text: String,
    more: Vec<String>,
}

struct Count {
    name: &'static str,
    version: String,
    rows: String,
    errors: String,
    right: String,
    labelled: String,
}

#[derive(Template)]
#[template(path = "rollout_device.html")]
struct Page {
    shell: Shell,
    rollout: String,
    what: String,
    rollout_state: Badge,
    device: String,
    state: Badge,
    code: String,
    wave: i64,
    counts_as: &'static str,
    attempts: i64,
    counts: Vec<Count>,
    lines: Vec<Line>,
}

/// `GET /rollouts/{rollout}/devices/{device}`.
pub(super) async fn page(
    ctx: Ctx,
    Path((rollout, device)): Path<(String, String)>,
) -> Result<Response, PageError> {
    let store = &ctx.app.store;
    let Some(row) = store.view_in_rollout(&rollout, &device).await? else {
        return Err(PageError::missing("device of this rollout", device, "/rollouts"));
    };
    let said = store.view_said_in_rollout(&rollout, &device, REPORTS).await?;
    let champion = match &row.champion {
        None => None,
        Some(digest) => Some(match store.view_version_of_bundle(digest).await? {
            Some((_, version)) => version,
            None => short(digest),
        }),
    };
    let standing = row.state.parse::<DeviceState>().map(DeviceState::standing);
    let shell = ctx.shell(Section::Rollouts, format!("{device} in {rollout}")).await?;
    let page = Page {
        shell: shell.listening("rollout", &rollout),
        what: format!("{} {}", row.model, row.version),
        rollout_state: Badge::state(&row.rollout_state),
        state: Badge::state(&row.state),
        code: row.code.clone(),
        wave: row.wave,
        counts_as: match standing {
            Ok(Standing::Ok) => "runs the version",
            Ok(Standing::Failed) => "a failure",
            Ok(Standing::OnItsWay) => "on its way: neither for nor against",
            Ok(Standing::Out) => "nothing: called back, or gone",
            Err(_) => "unknown",
        },
        attempts: row.attempts,
        counts: counts(&row, champion),
        lines: lines(&ctx, &row, said),
        rollout,
        device,
    };
    html(&page)
}

fn counts(row: &InRollout, champion: Option<String>) -> Vec<Count> {
    let positive = |n: i64| u64::try_from(n).unwrap_or(0);
    let count = |name, version: String, rows, errors, labelled, correct| Count {
        name,
        version,
        rows: sum(rows),
        errors: sum(errors),
        right: share(positive(correct), positive(labelled)),
        labelled: sum(labelled),
    };
    let mut out = vec![count(
        "with it, since the offer",
        row.version.clone(),
        row.rows,
        row.errors,
        row.labelled,
        row.correct,
    )];
    if let Some(version) = champion {
        let (rows, errors) = (row.champion_rows, row.champion_errors);
        out.push(count(
            "with what it ran before",
            version,
            rows,
            errors,
            row.champion_labelled,
            row.champion_correct,
        ));
    }
    out
}

/// What the fleet told it and what it said, newest first.
fn lines(ctx: &Ctx, row: &InRollout, said: Vec<Said>) -> Vec<Line> {
    let mut out: Vec<Line> = said
        .into_iter()
        .map(|s| {
            let mut more = Vec::new();
            if s.received > s.time.saturating_add(60_000) {
                more.push(format!("Told {} later", span(u64::try_from(s.received - s.time).unwrap_or(0))));
            }
            more.extend(Some(s.detail).filter(|d| !d.is_empty()));
            let trial = s.trial.as_deref().and_then(|t| serde_json::from_str::<TrialReport>(t).ok());
            more.extend(trial.as_ref().map(trial_words));
            let text =
                if s.code.is_empty() { "said by the device".into() } else { format!("reason: {}", s.code) };
            Line { at: s.time, when: ctx.when(s.time), badge: Badge::state(&s.state), text, more }
        })
        .collect();
    let told = [
        (row.offered_at, "offered", "the fleet signed the assignment"),
        (row.committed_at, "told to commit", "its wave has passed"),
        (row.renewed_at, "lease renewed", "the last time: it may go on in probation"),
        (row.halted_at, "called back", "the offer was revoked"),
    ];
    for (at, word, text) in told {
        if let Some(at) = at {
            let version = row.assignment_version.map(|v| format!("assignment {v}"));
            let more = version.into_iter().collect();
            out.push(Line {
                at,
                when: ctx.when(at),
                badge: Badge::new(Tone::Idle, word),
                text: text.into(),
                more,
            });
        }
    }
    out.sort_by_key(|l| std::cmp::Reverse(l.at));
    out
}

/// Where a device of a rollout is shown closely.
pub(super) fn address(rollout: &str, device: &str) -> String {
    format!("/rollouts/{}/devices/{}", encode(rollout), encode(device))
}
