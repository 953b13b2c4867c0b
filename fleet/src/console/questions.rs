//! What a person is asked before an act is done: what will follow, what to type, what else to say.

use axum::http::Method;

use super::badge::Badge;
use super::error::{PageError, sentence};
use super::shell::{Ctx, Section, encode};

/// A step of the path to the page.
pub(super) struct Step {
    pub(super) link: String,
    pub(super) name: String,
}

/// One of several ways.
pub(super) struct Choice {
    pub(super) value: &'static str,
    pub(super) name: &'static str,
    pub(super) text: &'static str,
}

/// What a person acts on, as it was when they were asked.
pub(super) struct Now {
    pub(super) state: Badge,
    pub(super) why: String,
    pub(super) etag: i64,
}

/// What a page asks before an act is done.
pub(super) struct Question {
    pub(super) section: Section,
    pub(super) title: &'static str,
    pub(super) path: Vec<Step>,
    pub(super) question: String,
    pub(super) consequences: Vec<String>,
    pub(super) choices: Vec<Choice>,
    /// Another rollout of the model that would have to give way.
    pub(super) occupied: Option<String>,
    /// Whether a reason is asked for, and must be given.
    pub(super) reason: Option<bool>,
    /// Whether it may be done later.
    pub(super) schedule: bool,
    /// How it is now, where that can change under the hand.
    pub(super) now: Option<Now>,
    /// To be typed; empty for acts that need no such care.
    pub(super) word: String,
    pub(super) button: &'static str,
    pub(super) class: &'static str,
    pub(super) back: String,
    pub(super) action: String,
    /// The call that does it.
    pub(super) method: Method,
    pub(super) api: String,
    pub(super) note: &'static str,
}

/// What is asked before an act on a rollout.
pub(super) async fn rollout_question(ctx: &Ctx, id: &str, name: &str) -> Result<Question, PageError> {
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

/// What is asked before an act on a version.
pub(super) async fn version_question(
    ctx: &Ctx,
    model: &str,
    version: &str,
    name: &str,
) -> Result<Question, PageError> {
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

/// What is asked before a device is revoked.
pub(super) async fn revoke_question(ctx: &Ctx, id: &str) -> Result<Question, PageError> {
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
