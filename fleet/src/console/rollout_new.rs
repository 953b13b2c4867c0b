//! The form that plans a rollout, and the rehearsal: what the plan would be, before anything is kept.

use askama::Template;
use axum::extract::Query;
use axum::response::Response;
use longshore_fleet_core::plan::{Rehearsal as Likely, WaveRehearsal};
use longshore_fleet_core::policy;
use serde::Deserialize;

use super::badge::Badge;
use super::error::{PageError, sentence};
use super::figures::{bytes, count, devices, percent};
use super::rollout::{Excluded, more_excluded};
use super::shell::{Ctx, Section, Shell, encode, html};
use super::time::span;
use crate::jobs::control::{self, ControlError};
use crate::store::rollout::{PlanBrief, WaveBrief};

/// The address of the form: what is chosen already.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct Asked {
    #[serde(default)]
    model: String,
    #[serde(default)]
    version: String,
    /// A policy that comes with the server, to start from.
    #[serde(default)]
    policy: String,
}

struct Choice {
    value: String,
    name: String,
    chosen: bool,
}

struct Shipped {
    name: &'static str,
    link: String,
    chosen: bool,
}

#[derive(Template)]
#[template(path = "rollout_new.html")]
struct Page {
    shell: Shell,
    refusal: Option<String>,
    versions: Vec<Choice>,
    shipped: Vec<Shipped>,
    policy: String,
    rehearsal: Option<Rehearsal>,
}

/// What would be planned.
struct Rehearsal {
    what: String,
    waves: Vec<Wave>,
    each: String,
    all: String,
    devices: String,
    eta: String,
    power: Vec<String>,
    traffic: String,
    left_out: Vec<Count>,
    excluded: Vec<Excluded>,
    excluded_more: Option<String>,
    warnings: Vec<String>,
}

struct Count {
    badge: Badge,
    devices: String,
}

struct Wave {
    number: usize,
    select: String,
    devices: String,
    online: String,
    cap: String,
    bytes: String,
    commits: &'static str,
    no_way_back: u64,
    /// When it has probably passed, after the start.
    passes: String,
    offering: String,
    reached: String,
}

/// `GET /rollouts/new`.
pub(super) async fn form(ctx: Ctx, Query(asked): Query<Asked>) -> Result<Response, PageError> {
    let name = if asked.policy.is_empty() { policy::SHIPPED[0].0 } else { asked.policy.as_str() };
    let text = policy::shipped(name).unwrap_or(policy::SHIPPED[0].1).to_owned();
    show(&ctx, &asked, name, text, None, None).await
}

/// The form again, with what was entered and why it was refused.
pub(super) async fn refused(
    ctx: &Ctx,
    model: &str,
    version: &str,
    text: String,
    why: String,
) -> Result<Response, PageError> {
    let asked = Asked { model: model.into(), version: version.into(), policy: String::new() };
    show(ctx, &asked, "", text, Some(why), None).await
}

/// The form again, with what its plan would be. Nothing is kept.
pub(super) async fn rehearse(
    ctx: &Ctx,
    model: &str,
    version: &str,
    text: String,
) -> Result<Response, PageError> {
    let asked = Asked { model: model.into(), version: version.into(), policy: String::new() };
    match make(ctx, model, version, &text).await {
        Ok(rehearsal) => show(ctx, &asked, "", text, None, Some(rehearsal)).await,
        Err(ControlError::Store(e)) => Err(e.into()),
        Err(e) => show(ctx, &asked, "", text, Some(sentence(&e.to_string())), None).await,
    }
}

async fn make(ctx: &Ctx, model: &str, version: &str, text: &str) -> Result<Rehearsal, ControlError> {
    let policy = control::policy(Some(text), None)?;
    let model = model.parse().map_err(|_| ControlError::Unknown(model.to_owned()))?;
    let actor = &ctx.visitor.actor.name;
    let (plan, likely) = control::make_plan(&ctx.app, actor, &model, version, policy, true, ctx.now).await?;
    Ok(rehearsal(&PlanBrief::from(&plan), &likely, format!("{} {}", plan.model, plan.version)))
}

/// A length of time that is an estimate.
fn about(ms: Option<u64>) -> String {
    ms.map_or_else(|| "not known".into(), |ms| format!("about {}", span(ms)))
}

fn rehearsal(plan: &PlanBrief, likely: &Likely, what: String) -> Rehearsal {
    let total: u64 = plan.waves.iter().map(|w| w.devices).sum();
    let wave = |(number, w): (usize, &WaveBrief)| Wave {
        number,
        select: w.select.clone(),
        devices: count(w.devices),
        online: count(w.online),
        cap: w.cap.map_or_else(|| "–".into(), |n| count(n as u64)),
        bytes: bytes(plan.bytes.saturating_mul(w.devices)),
        commits: if w.commits_locally { "by themselves" } else { "on the fleet's word" },
        no_way_back: w.no_way_back,
        passes: likely.waves.get(number).map_or_else(|| "–".into(), |l| about(l.passes_ms)),
        offering: likely.waves.get(number).map_or_else(|| "–".into(), |l| span(l.offering_ms)),
        reached: likely.waves.get(number).map_or_else(|| "–".into(), |l| reached(l, w.devices)),
    };
    let power = |l: &WaveRehearsal| {
        let number = l.wave;
        l.power.iter().map(move |p| format!("Wave {number}: {}", sentence(&p.text))).collect::<Vec<_>>()
    };
    Rehearsal {
        eta: about(likely.eta_ms),
        power: likely.waves.iter().flat_map(power).collect(),
        traffic: likely.traffic.map_or_else(String::new, |t| {
            format!(
                "From what {} did with their present version: {} rows an hour each, {} of them labelled, {} right, {} failed.",
                devices(t.devices),
                count(t.rows_per_hour.round() as u64),
                percent(t.labelled_share),
                percent(t.accuracy),
                percent(t.error_rate)
            )
        }),
        what,
        waves: plan.waves.iter().enumerate().map(wave).collect(),
        each: bytes(plan.bytes),
        all: bytes(plan.bytes.saturating_mul(total)),
        devices: devices(total),
        left_out: plan
            .left_out
            .iter()
            .map(|(verdict, n)| Count { badge: Badge::state(verdict), devices: count(*n) })
            .collect(),
        excluded: plan.excluded.iter().map(Excluded::new).collect(),
        excluded_more: more_excluded(plan),
        warnings: likely.lint.iter().map(|w| sentence(w)).collect(),
    }
}

/// How many devices of a wave will probably have been there.
fn reached(likely: &WaveRehearsal, devices: u64) -> String {
    let known = devices.saturating_sub(likely.unknown);
    let there = format!("{} of {}", count(likely.reached.round() as u64), count(known));
    if likely.unknown == 0 { there } else { format!("{there}; {} never heard of", count(likely.unknown)) }
}

async fn show(
    ctx: &Ctx,
    asked: &Asked,
    from: &str,
    text: String,
    refusal: Option<String>,
    rehearsal: Option<Rehearsal>,
) -> Result<Response, PageError> {
    let approved = ctx.app.store.view_approved().await?;
    // Without a version, the newest one of the model is meant: it comes first.
    let wanted = approved.iter().position(|(model, version)| {
        *model == asked.model && (asked.version.is_empty() || *version == asked.version)
    });
    let page = Page {
        shell: ctx.shell(Section::Rollouts, "Plan").await?.still(),
        refusal,
        versions: approved
            .into_iter()
            .enumerate()
            .map(|(i, (model, version))| Choice {
                chosen: Some(i) == wanted,
                value: format!("{model}@{version}"),
                name: format!("{model} {version}"),
            })
            .collect(),
        shipped: policy::SHIPPED
            .iter()
            .map(|(name, _)| Shipped {
                name,
                link: format!(
                    "/rollouts/new?model={}&version={}&policy={}",
                    encode(&asked.model),
                    encode(&asked.version),
                    encode(name)
                ),
                chosen: *name == from,
            })
            .collect(),
        policy: text,
        rehearsal,
    };
    html(&page)
}
