//! What a person can do from the console: forms, the pages that ask again, and the way back.
//!
//! What always holds: nothing is changed by looking at a page; an act that devices feel asks for a typed word; after an
//! act the browser is sent on, so that reloading repeats nothing.

use askama::Template;
use axum::Form;
use axum::extract::Path;
use axum::http::Method;
use axum::response::{IntoResponse, Redirect, Response};
use serde::Deserialize;
use serde_json::json;

use super::calls::{call, call_seeing, words};
use super::error::PageError;
use super::questions::{Choice, Now, Question, Step, revoke_question, rollout_question, version_question};
use super::rollout_new;
use super::shell::{Ctx, Section, Shell, encode, html};

/// What a page that asks again sends.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Confirmed {
    csrf: String,
    #[serde(default)]
    confirm: String,
    /// Only for resuming: `retry` or `skip`.
    wave: Option<String>,
    /// Only for starting: take the place of the rollout that occupies the model.
    supersede: Option<String>,
    /// Only for starting: when, UTC, as the browser's field has it; empty for now.
    #[serde(default)]
    at: String,
    /// Why.
    #[serde(default)]
    reason: String,
    /// The etag of what the person looked at.
    etag: Option<i64>,
}

#[derive(Template)]
#[template(path = "confirm.html")]
struct Page {
    shell: Shell,
    path: Vec<Step>,
    question: String,
    consequences: Vec<String>,
    choices: Vec<Choice>,
    occupied: Option<String>,
    reason: Option<bool>,
    schedule: bool,
    now: Option<Now>,
    word: String,
    button: &'static str,
    class: &'static str,
    back: String,
    action: String,
    refusal: Option<String>,
}

async fn ask(ctx: &Ctx, q: Question, refusal: Option<String>) -> Result<Response, PageError> {
    html(&Page {
        shell: ctx.shell(q.section, q.title).await?.still(),
        path: q.path,
        question: q.question,
        consequences: q.consequences,
        choices: q.choices,
        occupied: q.occupied,
        reason: q.reason,
        schedule: q.schedule,
        now: q.now,
        word: q.word,
        button: q.button,
        class: q.class,
        back: q.back,
        action: q.action,
        refusal,
    })
}

async fn act(ctx: &Ctx, q: Question, form: Confirmed) -> Result<Response, PageError> {
    ctx.check(&form.csrf)?;
    if !q.word.is_empty() && form.confirm.trim() != q.word {
        let refusal = format!("You typed “{}”, but “{}” is asked for.", form.confirm.trim(), q.word);
        return ask(ctx, q, Some(refusal)).await;
    }
    let body = (!q.choices.is_empty()).then(|| json!({"wave": form.wave}));
    let at = match (q.schedule, form.at.trim()) {
        (true, text) if !text.is_empty() => match super::history::utc(text) {
            Some(at) => Some(at.0),
            None => {
                let refusal = format!("“{text}” is no moment: give date and time in UTC.");
                return ask(ctx, q, Some(refusal)).await;
            }
        },
        _ => None,
    };
    let start = match (form.supersede.is_some(), at) {
        (false, None) => None,
        (supersede, None) => Some(json!({ "supersede": supersede })),
        (supersede, Some(at)) => Some(json!({ "supersede": supersede, "at": at })),
    };
    let body = body.or(start);
    let body = body.or_else(|| q.reason.map(|_| json!({"reason": form.reason})));
    let seen = q.now.as_ref().and(form.etag);
    match call_seeing(ctx, &form.csrf, q.method.clone(), &q.api, body.as_ref(), seen).await? {
        Ok(_) => Ok(Redirect::to(&format!("{}?note={}", q.back, q.note)).into_response()),
        Err(problem) => ask(ctx, q, Some(words(&problem))).await,
    }
}

/// `GET /rollouts/{id}/{act}`.
pub(super) async fn ask_rollout(
    ctx: Ctx,
    Path((id, name)): Path<(String, String)>,
) -> Result<Response, PageError> {
    let question = rollout_question(&ctx, &id, &name).await?;
    ask(&ctx, question, None).await
}

/// `POST /rollouts/{id}/{act}`.
pub(super) async fn do_rollout(
    ctx: Ctx,
    Path((id, name)): Path<(String, String)>,
    Form(form): Form<Confirmed>,
) -> Result<Response, PageError> {
    let question = rollout_question(&ctx, &id, &name).await?;
    act(&ctx, question, form).await
}

/// `GET /models/{model}/{version}/{act}`.
pub(super) async fn ask_version(
    ctx: Ctx,
    Path((model, version, name)): Path<(String, String, String)>,
) -> Result<Response, PageError> {
    let question = version_question(&ctx, &model, &version, &name).await?;
    ask(&ctx, question, None).await
}

/// `POST /models/{model}/{version}/{act}`.
pub(super) async fn do_version(
    ctx: Ctx,
    Path((model, version, name)): Path<(String, String, String)>,
    Form(form): Form<Confirmed>,
) -> Result<Response, PageError> {
    let question = version_question(&ctx, &model, &version, &name).await?;
    act(&ctx, question, form).await
}

/// `GET /devices/{device}/revoke`.
pub(super) async fn ask_revoke(ctx: Ctx, Path(id): Path<String>) -> Result<Response, PageError> {
    let question = revoke_question(&ctx, &id).await?;
    ask(&ctx, question, None).await
}

/// `POST /devices/{device}/revoke`.
pub(super) async fn do_revoke(
    ctx: Ctx,
    Path(id): Path<String>,
    Form(form): Form<Confirmed>,
) -> Result<Response, PageError> {
    let question = revoke_question(&ctx, &id).await?;
    act(&ctx, question, form).await
}

/// What a form that only acts sends.
#[derive(Debug, Deserialize)]
pub(super) struct Plain {
    csrf: String,
}

/// `POST /devices/{device}/release`.
pub(super) async fn release(
    ctx: Ctx,
    Path(id): Path<String>,
    Form(form): Form<Plain>,
) -> Result<Response, PageError> {
    ctx.check(&form.csrf)?;
    let page = format!("/devices/{}", encode(&id));
    match call(&ctx, &form.csrf, Method::POST, &format!("/api/v1{page}/release"), None).await? {
        Ok(_) => Ok(Redirect::to(&format!("{page}?note=release")).into_response()),
        Err(problem) => {
            Err(PageError::Refused { title: "The device was not released".into(), why: words(&problem) })
        }
    }
}

/// What the form for an alias sends.
#[derive(Debug, Deserialize)]
pub(super) struct Alias {
    csrf: String,
    alias: String,
    version: String,
}

/// `POST /models/{model}/aliases`.
pub(super) async fn set_alias(
    ctx: Ctx,
    Path(model): Path<String>,
    Form(form): Form<Alias>,
) -> Result<Response, PageError> {
    ctx.check(&form.csrf)?;
    let page = format!("/models/{}", encode(&model));
    let path = format!("/api/v1{page}/aliases/{}", encode(form.alias.trim()));
    let body = json!({"version": form.version});
    match call(&ctx, &form.csrf, Method::PUT, &path, Some(&body)).await? {
        Ok(_) => Ok(Redirect::to(&format!("{page}?note=alias")).into_response()),
        Err(problem) => {
            Err(PageError::Refused { title: "The alias was not moved".into(), why: words(&problem) })
        }
    }
}

/// What the form for a plan sends.
#[derive(Debug, Deserialize)]
pub(super) struct NewPlan {
    csrf: String,
    /// `model@version`.
    what: String,
    policy: String,
    /// `rehearse` shows what would be planned; anything else plans.
    #[serde(default, rename = "do")]
    act: String,
}

/// `POST /rollouts/new`.
pub(super) async fn plan(ctx: Ctx, Form(form): Form<NewPlan>) -> Result<Response, PageError> {
    ctx.check(&form.csrf)?;
    let (model, version) = form.what.split_once('@').unwrap_or((&form.what, ""));
    // Browsers send lines of a text field with CR LF.
    let policy = form.policy.replace("\r\n", "\n");
    if form.act == "rehearse" {
        return rollout_new::rehearse(&ctx, model, version, policy).await;
    }
    let body = json!({"model": model, "version": version, "policy": policy, "brief": true});
    match call(&ctx, &form.csrf, Method::POST, "/api/v1/rollouts", Some(&body)).await? {
        Ok(answer) => {
            let id = answer["id"].as_str().ok_or_else(|| PageError::Failed("the plan has no id".into()))?;
            Ok(Redirect::to(&format!("/rollouts/{}?note=planned", encode(id))).into_response())
        }
        Err(problem) => {
            let why = words(&problem);
            rollout_new::refused(&ctx, model, version, policy, why).await
        }
    }
}
