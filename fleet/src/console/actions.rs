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

use super::badge::Badge;
use super::calls::{call, call_seeing, words};
use super::error::{PageError, sentence};
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

struct Step {
    link: String,
    name: String,
}

struct Choice {
    value: &'static str,
    name: &'static str,
    text: &'static str,
}

/// What a person acts on, as it was when they were asked.
struct Now {
    state: Badge,
    why: String,
    etag: i64,
}

/// What a page asks before an act is done.
struct Question {
    section: Section,
    title: &'static str,
    path: Vec<Step>,
    question: String,
    consequences: Vec<String>,
    choices: Vec<Choice>,
    /// Another rollout of the model that would have to give way.
    occupied: Option<String>,
    /// Whether a reason is asked for, and must be given.
    reason: Option<bool>,
    /// Whether it may be done later.
    schedule: bool,
    /// How it is now, where that can change under the hand.
    now: Option<Now>,
    /// To be typed; empty for acts that need no such care.
    word: String,
    button: &'static str,
    class: &'static str,
    back: String,
    action: String,
    /// The call that does it.
    method: Method,
    api: String,
    note: &'static str,
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

async fn rollout_question(ctx: &Ctx, id: &str, name: &str) -> Result<Question, PageError> {
    let Some(rollout) = ctx.app.store.view_rollout(id).await? else {
        return Err(PageError::missing("rollout", id, "/rollouts"));
    };
    let what = format!("{}@{}", rollout.model, rollout.version);
    let back = format!("/rollouts/{}", encode(id));
    let question = |title, asks: &str, consequences: &[&str], button, class, note, typed: bool| Question {
        section: Section::Rollouts,
        title,
        path: vec![
            Step { link: "/rollouts".into(), name: "Rollouts".into() },
            Step { link: back.clone(), name: id.to_owned() },
        ],
        question: format!("{asks} {} {}?", rollout.model, rollout.version),
        consequences: consequences.iter().map(|c| (*c).to_owned()).collect(),
        choices: Vec::new(),
        occupied: None,
        reason: None,
        schedule: false,
        now: None,
        word: if typed { what.clone() } else { String::new() },
        button,
        class,
        action: format!("{back}/{note}"),
        api: format!("/api/v1{back}/{note}"),
        method: Method::POST,
        back: back.clone(),
        note,
    };
    // What takes the brake off is refused when somebody else was quicker; what puts it on never is.
    let now = || {
        Some(Now { state: Badge::state(&rollout.state), why: sentence(&rollout.reason), etag: rollout.etag })
    };
    Ok(match name {
        "start" => Question {
            now: now(),
            schedule: rollout.state == "planned",
            occupied: occupied(ctx, &rollout.model, id).await?,
            ..question(
                "Start",
                "Start the rollout of",
                &[
                    "The devices of the first wave are offered the version; each verifies it and tries it before it serves.",
                    "Each further wave opens only when the one before has passed its gates.",
                    "You can pause, halt or revert it at any time.",
                ],
                "Start it",
                "primary",
                "start",
                true,
            )
        },
        "authorize" => Question {
            now: now(),
            ..question(
                "Authorize",
                "Say yes, as the second person, to the rollout of",
                &[
                    "You say that this plan is right: its waves, its gates, and the version it brings. Your name goes into the log.",
                    "Whoever planned it cannot authorize it.",
                    "It starts at once, or at its time when it is scheduled.",
                ],
                "Authorize it",
                "primary",
                "authorize",
                true,
            )
        },
        "pause" => question(
            "Pause",
            "Pause the rollout of",
            &["Nothing new is offered. What devices have begun they finish."],
            "Pause it",
            "primary",
            "pause",
            false,
        ),
        "resume" => Question {
            now: now(),
            choices: vec![
                Choice {
                    value: "retry",
                    name: "Try the wave again.",
                    text: "Devices that ended without the version are offered it once more, and the wave is judged anew.",
                },
                Choice {
                    value: "skip",
                    name: "Go on without its verdict.",
                    text: "The next wave opens although this one has not passed. The log says that you decided so.",
                },
            ],
            ..question(
                "Resume",
                "Resume the rollout of",
                &["Say what becomes of the wave at which it stopped."],
                "Resume it",
                "primary",
                "resume",
                true,
            )
        },
        "halt" if matches!(rollout.state.as_str(), "planned" | "awaiting_authorization" | "scheduled") => {
            question(
                "Discard",
                "Discard the plan for",
                &["It was never started: no device has heard of it. It stays in the list as halted."],
                "Discard it",
                "danger",
                "halt",
                false,
            )
        }
        "halt" => question(
            "Halt",
            "Halt the rollout of",
            &[
                "Offers that are not committed yet are revoked; those devices go back to the version before.",
                "Devices that have committed it keep it. To take it from them too, revert instead.",
                "A halted rollout cannot be resumed.",
            ],
            "Halt it",
            "danger",
            "halt",
            true,
        ),
        "revert" => question(
            "Revert",
            "Take back",
            &[
                "Every device of this rollout goes back to the version it ran before, committed or not.",
                "The ways back were signed by the offline keys when the version was approved; if one is missing, nothing is done and you are told.",
                "Devices that are offline go back when they are heard of again.",
            ],
            "Revert it",
            "danger",
            "revert",
            true,
        ),
        other => return Err(PageError::missing("act", other, "/rollouts")),
    })
}

/// The rollout that occupies a model, other than this one.
async fn occupied(ctx: &Ctx, model: &str, id: &str) -> Result<Option<String>, PageError> {
    let open = ctx.app.store.view_rollouts(model, "open", None, 50).await?;
    let other = open.into_iter().find(|r| r.id != id && r.state != "planned");
    Ok(other.map(|r| format!("{} of version {}, which is {}", r.id, r.version, r.state)))
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

async fn version_question(ctx: &Ctx, model: &str, version: &str, name: &str) -> Result<Question, PageError> {
    if ctx.app.store.view_version(model, version).await?.is_none() {
        return Err(PageError::missing("version", format!("{model} {version}"), "/models"));
    }
    let of_model = format!("/models/{}", encode(model));
    let back = format!("{of_model}/{}", encode(version));
    let (title, asks, consequences, button, class, note, word, must) = match name {
        "deprecate" => (
            "Deprecate",
            "Deprecate",
            "It can still be rolled out and goes on where it runs; people are told to choose another.",
            "Deprecate it",
            "primary",
            "deprecate",
            String::new(),
            false,
        ),
        "retire" => (
            "Retire",
            "Retire",
            "New plans refuse it for good. It goes on where it runs, and is listed there until something replaces it.",
            "Retire it",
            "danger",
            "retire",
            format!("{model}@{version}"),
            true,
        ),
        other => return Err(PageError::missing("act", other, "/models")),
    };
    Ok(Question {
        section: Section::Models,
        title,
        path: vec![
            Step { link: "/models".into(), name: "Models".into() },
            Step { link: of_model.clone(), name: model.to_owned() },
            Step { link: back.clone(), name: version.to_owned() },
        ],
        question: format!("{asks} {model} {version}?"),
        consequences: vec![consequences.to_owned()],
        choices: Vec::new(),
        occupied: None,
        reason: Some(must),
        schedule: false,
        now: None,
        word,
        button,
        class,
        action: format!("{back}/{note}"),
        api: format!("/api/v1{of_model}/versions/{}/{note}", encode(version)),
        method: Method::POST,
        back,
        note,
    })
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

async fn revoke_question(ctx: &Ctx, id: &str) -> Result<Question, PageError> {
    if ctx.app.store.view_device(id).await?.is_none() {
        return Err(PageError::missing("device", id, "/devices"));
    }
    let back = format!("/devices/{}", encode(id));
    Ok(Question {
        section: Section::Devices,
        title: "Revoke",
        path: vec![
            Step { link: "/devices".into(), name: "Devices".into() },
            Step { link: back.clone(), name: id.to_owned() },
        ],
        question: format!("Revoke {id}?"),
        consequences: vec![
            "Its certificate is no longer accepted: it can send nothing and receives nothing.".into(),
            "The model on it goes on running until somebody stops it there.".into(),
            "To join again it needs a new claim token.".into(),
        ],
        choices: Vec::new(),
        occupied: None,
        reason: None,
        schedule: false,
        now: None,
        word: id.to_owned(),
        button: "Revoke it",
        class: "danger",
        action: format!("{back}/revoke"),
        api: format!("/api/v1{back}"),
        method: Method::DELETE,
        back,
        note: "revoke",
    })
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
