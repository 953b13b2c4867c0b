//! One rollout, live: its waves with their gates and numbers, its devices, its log, and what a person can do about it.

use std::collections::BTreeMap;

use askama::Template;
use axum::extract::{Path, Query};
use axum::response::Response;
use longshore_fleet_core::plan::Plan;
use longshore_fleet_core::shadow::ShadowResult;
use serde::Deserialize;

use super::badge::{Badge, Tone};
use super::bar::{Bar, Part};
use super::error::{PageError, sentence};
use super::figures::{bytes, count, devices, share, short, sum};
use super::gates::{WaveVerdict, verdict};
use super::shadow::Shadow;
use super::shell::{Ctx, Section, Shell, encode, html};
use super::time::{Ago, When};
use crate::store::views::{Cursor, RolloutDeviceRow, RolloutFull, WaveRow, WaveStateCount};

/// Devices on one page of the table.
const PAGE: u32 = 50;
/// Lines of the log.
const LOG: u32 = 100;

/// The address of the page.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct Asked {
    wave: Option<i64>,
    #[serde(default)]
    state: String,
    after: Option<String>,
    before: Option<String>,
}

/// Something a person can do now.
pub(super) struct Act {
    pub(super) name: &'static str,
    text: &'static str,
    class: &'static str,
    /// Without a page that asks again.
    at_once: bool,
}

struct Notice {
    class: &'static str,
    title: &'static str,
    text: String,
}

struct Wave {
    number: i64,
    state: Badge,
    skipped: bool,
    select: String,
    opened: Option<Ago>,
    judged: Option<Ago>,
    bar: Bar,
    counts: Vec<Count>,
    verdict: WaveVerdict,
}

struct Count {
    badge: Badge,
    devices: String,
    link: String,
}

struct Line {
    device: String,
    link: String,
    wave: i64,
    state: Badge,
    code: String,
    detail: String,
    online: &'static str,
    rows: String,
    accuracy: String,
    labelled: String,
    changed: Ago,
}

struct Event {
    when: When,
    code: String,
    text: String,
}

struct Pager {
    first: Option<String>,
    previous: Option<String>,
    next: Option<String>,
}

#[derive(Template)]
#[template(path = "rollout.html")]
struct Page {
    shell: Shell,
    id: String,
    model: String,
    version: String,
    version_link: String,
    state: Badge,
    created: When,
    started: Option<When>,
    ended: Option<When>,
    acts: Vec<Act>,
    notice: Option<Notice>,
    passed: usize,
    devices: String,
    done: String,
    moving: String,
    wrong: String,
    previous: String,
    waves: Vec<Wave>,
    shadow: Option<Shadow>,
    filtered: bool,
    lines: Vec<Line>,
    pager: Option<Pager>,
    log: Vec<Event>,
    warnings: Vec<String>,
    excluded: Vec<Excluded>,
    excluded_more: Option<String>,
    size: String,
    policy: String,
    generation: i64,
}

struct Excluded {
    device: String,
    link: String,
    verdict: Badge,
    reason: String,
}

/// Devices left out that are listed one by one.
const EXCLUDED: usize = 50;

/// `GET /rollouts/{id}`.
pub(super) async fn page(
    ctx: Ctx,
    Path(id): Path<String>,
    Query(asked): Query<Asked>,
) -> Result<Response, PageError> {
    let store = &ctx.app.store;
    let Some(rollout) = store.view_rollout(&id).await? else {
        return Err(PageError::missing("rollout", id, "/rollouts"));
    };
    let waves = store.view_waves(&id).await?;
    let states = store.view_wave_states(&id).await?;
    let cursor = match (&asked.after, &asked.before) {
        (Some(id), _) => Cursor::After(id.clone()),
        (None, Some(id)) => Cursor::Before(id.clone()),
        (None, None) => Cursor::Start,
    };
    let (rows, more) = store.view_rollout_devices(&id, asked.wave, &asked.state, &cursor, PAGE).await?;
    let log = store.view_rollout_events(&id, LOG).await?;
    let stored = store.rollout(&id).await?;
    let counted = match &stored {
        Some(rollout) => store.rollout_shadow(rollout).await?,
        None => None,
    };
    let shadow = counted.as_ref().and_then(ShadowResult::of).map(|s| Shadow::of(&s));
    let previous = match &rollout.previous {
        None => "nothing".to_owned(),
        Some(digest) => match store.view_version_of_bundle(digest).await? {
            Some((_, version)) => version,
            None => short(digest),
        },
    };
    // Written by the planner of this program; an older one's plan may lack what this page shows of it.
    let plan: Option<Plan> = serde_json::from_str(&rollout.plan).ok();
    let left_out = plan.as_ref().map_or(&[][..], |p| &p.excluded);
    let name = format!("{} {}", rollout.model, rollout.version);
    let of = |tones: &[Tone]| {
        let devices: i64 =
            states.iter().filter(|s| tones.contains(&Tone::of(&s.state))).map(|s| s.devices).sum();
        sum(devices)
    };
    let page = Page {
        shell: ctx.shell(Section::Rollouts, name).await?.listening("rollout", &id),
        version_link: format!("/models/{}/{}", encode(&rollout.model), encode(&rollout.version)),
        state: Badge::state(&rollout.state),
        created: ctx.when(rollout.created),
        started: rollout.started.map(|at| ctx.when(at)),
        ended: rollout.ended.map(|at| ctx.when(at)),
        acts: acts(&rollout.state),
        notice: notice(&rollout),
        passed: waves.iter().filter(|w| w.state == "passed").count(),
        devices: sum(states.iter().map(|s| s.devices).sum()),
        done: of(&[Tone::Ok]),
        moving: of(&[Tone::Busy]),
        wrong: of(&[Tone::Bad]),
        previous,
        waves: wave_lines(&ctx, &rollout.id, plan.as_ref(), &waves, &states),
        shadow,
        filtered: asked.wave.is_some() || !asked.state.is_empty(),
        pager: pager(&id, &asked, &cursor, &rows, more),
        lines: rows.iter().map(|r| device_line(&ctx, r)).collect(),
        log: log
            .into_iter()
            .map(|e| Event { when: ctx.when(e.time), code: e.code, text: sentence(&e.text) })
            .collect(),
        // They speak of the moment of planning.
        warnings: match &plan {
            Some(plan) if rollout.state == "planned" => plan.warnings.iter().map(|w| sentence(w)).collect(),
            _ => Vec::new(),
        },
        excluded: left_out
            .iter()
            .take(EXCLUDED)
            .map(|e| Excluded {
                device: e.device.to_string(),
                link: format!("/devices/{}", encode(e.device.as_str())),
                verdict: Badge::state(&e.verdict),
                reason: sentence(&e.reason),
            })
            .collect(),
        excluded_more: left_out
            .len()
            .checked_sub(EXCLUDED)
            .filter(|n| *n > 0)
            .map(|n| format!("and {} more", devices(n as u64))),
        size: plan.as_ref().map_or_else(String::new, |p| bytes(p.bytes)),
        generation: rollout.generation,
        policy: rollout.policy,
        model: rollout.model,
        version: rollout.version,
        id,
    };
    html(&page)
}

/// What can be done in a state. The server decides again when it is asked to.
pub(super) fn acts(state: &str) -> Vec<Act> {
    const START: Act = Act { name: "start", text: "Start…", class: "primary", at_once: false };
    const PAUSE: Act = Act { name: "pause", text: "Pause", class: "", at_once: true };
    const RESUME: Act = Act { name: "resume", text: "Resume…", class: "primary", at_once: false };
    const HALT: Act = Act { name: "halt", text: "Halt…", class: "danger", at_once: false };
    const DISCARD: Act = Act { text: "Discard…", class: "", ..HALT };
    const REVERT: Act = Act { name: "revert", text: "Revert…", class: "danger", at_once: false };
    match state {
        "planned" => vec![START, DISCARD],
        "running" => vec![PAUSE, HALT, REVERT],
        "paused" => vec![RESUME, HALT, REVERT],
        "completed" | "halted" => vec![REVERT],
        _ => Vec::new(),
    }
}

fn notice(rollout: &RolloutFull) -> Option<Notice> {
    let why = sentence(&rollout.reason);
    let (class, title, text) = match rollout.state.as_str() {
        "planned" => (
            "",
            "Not started.",
            "Look at the waves below. Nothing has been offered to any device; start it when you are content."
                .to_owned(),
        ),
        "paused" => (
            "warn",
            "Paused: nothing new is offered.",
            format!("{why} Resume it by trying the wave again or by skipping it, halt it, or revert it."),
        ),
        "halting" | "halted" => ("bad", "Halted.", why),
        "reverting" => ("bad", "Going back to the version before.", why),
        "reverted" => ("bad", "Reverted: its devices run the version before.", why),
        "superseded" => ("", "Another rollout of this model took its place.", why),
        "completed" => ("ok", "Completed: every wave passed.", String::new()),
        _ => return None,
    };
    Some(Notice { class, title, text })
}

fn wave_lines(
    ctx: &Ctx,
    rollout: &str,
    plan: Option<&Plan>,
    waves: &[WaveRow],
    states: &[WaveStateCount],
) -> Vec<Wave> {
    waves
        .iter()
        .map(|wave| {
            let mine: Vec<&WaveStateCount> = states.iter().filter(|s| s.wave == wave.wave).collect();
            let mut tones: BTreeMap<u8, (Tone, u64)> = BTreeMap::new();
            for state in &mine {
                let tone = Tone::of(&state.state);
                tones.entry(tone as u8).or_insert((tone, 0)).1 += u64::try_from(state.devices).unwrap_or(0);
            }
            Wave {
                number: wave.wave,
                state: Badge::state(&wave.state),
                skipped: wave.skipped,
                select: usize::try_from(wave.wave)
                    .ok()
                    .and_then(|n| plan?.waves.get(n))
                    .map(|planned| {
                        let online = planned.devices.iter().filter(|d| d.online).count();
                        let commits = if planned.commits_locally {
                            "commit by themselves"
                        } else {
                            "commit on the fleet's word"
                        };
                        format!(
                            "{}: {} of {} were online when it was planned; they {commits}",
                            planned.select,
                            online,
                            devices(planned.devices.len() as u64)
                        )
                    })
                    .unwrap_or_default(),
                opened: wave.opened.map(|at| ctx.when(at).brief()),
                judged: wave.judged.map(|at| ctx.when(at).brief()),
                bar: Bar {
                    parts: tones
                        .into_values()
                        .map(|(tone, value)| Part { class: fill(tone), name: words(tone).into(), value })
                        .collect(),
                },
                counts: mine
                    .iter()
                    .map(|s| Count {
                        badge: Badge::state(&s.state),
                        devices: sum(s.devices),
                        link: format!(
                            "/rollouts/{}?wave={}&state={}#devices",
                            encode(rollout),
                            s.wave,
                            encode(&s.state)
                        ),
                    })
                    .collect(),
                verdict: verdict(wave.verdict.as_deref()),
            }
        })
        .collect()
}

const fn fill(tone: Tone) -> &'static str {
    match tone {
        Tone::Ok => "f-ok",
        Tone::Busy => "f-busy",
        Tone::Warn => "f-warn",
        Tone::Bad => "f-bad",
        Tone::Idle => "f-idle",
    }
}

const fn words(tone: Tone) -> &'static str {
    match tone {
        Tone::Ok => "done",
        Tone::Busy => "on their way",
        Tone::Warn => "held up",
        Tone::Bad => "went wrong",
        Tone::Idle => "waiting",
    }
}

fn device_line(ctx: &Ctx, row: &RolloutDeviceRow) -> Line {
    Line {
        device: row.device.clone(),
        link: format!("/devices/{}", encode(&row.device)),
        wave: row.wave,
        state: Badge::state(&row.state),
        code: row.code.clone(),
        detail: row.detail.clone(),
        online: match row.online {
            Some(true) => "yes",
            Some(false) => "no",
            None => "gone",
        },
        rows: sum(row.rows),
        accuracy: share(u64::try_from(row.correct).unwrap_or(0), u64::try_from(row.labelled).unwrap_or(0)),
        labelled: count(u64::try_from(row.labelled).unwrap_or(0)),
        changed: ctx.when(row.changed).brief(),
    }
}

fn pager(id: &str, asked: &Asked, cursor: &Cursor, rows: &[RolloutDeviceRow], more: bool) -> Option<Pager> {
    let address = |cursor: Option<(&str, &str)>| {
        let mut parts: Vec<String> = asked.wave.iter().map(|w| format!("wave={w}")).collect();
        if !asked.state.is_empty() {
            parts.push(format!("state={}", encode(&asked.state)));
        }
        parts.extend(cursor.map(|(key, id)| format!("{key}={}", encode(id))));
        format!("/rollouts/{}?{}#devices", encode(id), parts.join("&"))
    };
    let (before, after) = match cursor {
        Cursor::Start => (false, more),
        Cursor::After(_) => (true, more),
        Cursor::Before(_) => (more, true),
    };
    (before || after).then(|| Pager {
        first: before.then(|| address(None)),
        previous: before.then(|| rows.first().map(|r| address(Some(("before", &r.device))))).flatten(),
        next: after.then(|| rows.last().map(|r| address(Some(("after", &r.device))))).flatten(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rollout_that_has_ended_well_can_only_be_reverted() {
        let names = |state| acts(state).iter().map(|a| a.name).collect::<Vec<_>>();
        assert_eq!(names("planned"), ["start", "halt"]);
        assert_eq!(names("running"), ["pause", "halt", "revert"]);
        assert_eq!(names("paused"), ["resume", "halt", "revert"]);
        assert_eq!(names("completed"), ["revert"]);
        assert!(names("reverted").is_empty());
    }
}
