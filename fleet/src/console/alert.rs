//! One alert: what it is about, what it rests on, what happened to it, who was told; and the forms to take it on, call it over
//! or silence it.

use askama::Template;
use axum::Form;
use axum::extract::Path;
use axum::http::Method;
use axum::response::{IntoResponse, Redirect, Response};
use longshore_fleet_core::alert::State;
use longshore_fleet_core::alert::state::Ended;
use serde::Deserialize;
use serde_json::{Value, json};

use super::alerts::{state, tone};
use super::badge::Badge;
use super::calls::{call, words};
use super::error::PageError;
use super::figures::count;
use super::notices::Sent;
use super::shell::{Ctx, Section, Shell, encode, html};
use super::time::When;
use crate::store::alert::AlertRow;

struct Fact {
    name: &'static str,
    value: String,
}

struct Feature {
    name: String,
    effect: String,
    interval: String,
    p: String,
    rows: String,
}

struct Device {
    id: String,
    link: String,
}

struct Happened {
    when: When,
    what: String,
    who: String,
    text: String,
}

#[derive(Template)]
#[template(path = "alert.html")]
struct Page {
    shell: Shell,
    id: u64,
    etag: u64,
    severity: Badge,
    state: Badge,
    summary: String,
    said: Option<String>,
    facts: Vec<Fact>,
    model_link: Option<String>,
    features: Vec<Feature>,
    devices: Vec<Device>,
    more_devices: u64,
    history: Vec<Happened>,
    sent: Vec<Sent>,
    retrain: Option<String>,
    todo: &'static str,
    active: bool,
    taken: bool,
    rule: String,
    model: String,
    cohort: String,
    silenced: bool,
    refusal: Option<String>,
}

/// `GET /alerts/{alert}`.
pub(super) async fn page(ctx: Ctx, Path(id): Path<String>) -> Result<Response, PageError> {
    show(&ctx, &id, None).await
}

async fn show(ctx: &Ctx, id: &str, refusal: Option<String>) -> Result<Response, PageError> {
    let missing = || PageError::missing("alert", id, "/alerts");
    let number: u64 = id.parse().map_err(|_| missing())?;
    let store = &ctx.app.store;
    let row = store.alert(number).await?.ok_or_else(missing)?;
    let silences = store.silences_in_force(ctx.now).await?;
    let rule = ctx.app.config.alerting.rule(&row.cause.rule);
    let e = &row.evidence;
    let named = e.devices.as_ref();
    let page = Page {
        shell: ctx.shell(Section::Alerts, format!("Alert {number}")).await?.listening("alerts", id),
        id: number,
        etag: row.etag,
        severity: Badge::new(tone(row.severity.as_str()), row.severity.as_str()),
        state: state(row.alert.state.name()),
        summary: e.summary.clone(),
        said: said(ctx, &row),
        facts: facts(ctx, &row),
        model_link: Some(&row.cause.model)
            .filter(|m| !m.is_empty())
            .map(|m| format!("/models/{}", encode(m))),
        features: e
            .features
            .iter()
            .map(|f| Feature {
                name: f.name.clone(),
                effect: format!("{:.3}", f.effect),
                interval: format!("{:.3} to {:.3}", f.interval.0, f.interval.1),
                p: if f.p < 1e-4 { "< 0.0001".into() } else { format!("{:.4}", f.p) },
                rows: count(f.n),
            })
            .collect(),
        devices: named.map_or_else(Vec::new, |d| {
            let device = |id: &String| Device { id: id.clone(), link: format!("/devices/{}", encode(id)) };
            d.sample.iter().map(device).collect()
        }),
        more_devices: named.map_or(0, |d| d.count.saturating_sub(d.sample.len() as u64)),
        history: store
            .alert_history(number, 100)
            .await?
            .into_iter()
            .map(|h| Happened {
                when: ctx.when(h.time),
                what: h.what.replace('_', " "),
                who: h.who,
                text: h.text,
            })
            .collect(),
        sent: store
            .deliveries(Some(number), "", None, 50)
            .await?
            .into_iter()
            .map(|d| Sent::new(ctx, d))
            .collect(),
        retrain: store.retrain_of(number).await?.map(|r| {
            let request: Value = serde_json::from_str(&r.body).unwrap_or_default();
            format!(
                "version {} of {}, SHA-256 {}",
                request["data"]["version"].as_str().unwrap_or("?"),
                r.model,
                r.sha256
            )
        }),
        todo: todo(&row.kind),
        active: row.alert.state.is_active(),
        taken: matches!(row.alert.state, State::Acknowledged { .. }),
        silenced: rule.is_some_and(|r| {
            longshore_fleet_core::alert::silence::is_silenced(&silences, &row.cause, r, ctx.now)
        }),
        rule: row.cause.rule.clone(),
        model: row.cause.model.clone(),
        cohort: row.cause.cohort.clone(),
        refusal,
    };
    html(&page)
}

fn at(t: longshore_trust::UnixMs) -> i64 {
    i64::try_from(t.0).unwrap_or(i64::MAX)
}

/// Who has taken it on, or how it ended.
fn said(ctx: &Ctx, row: &AlertRow) -> Option<String> {
    let note = |n: &str| if n.is_empty() { String::new() } else { format!(": {n}") };
    match &row.alert.state {
        State::Acknowledged { ack, .. } => {
            Some(format!("{} took it on {}{}", ack.by, ctx.when(at(ack.at)).relative(), note(&ack.note)))
        }
        State::Resolved { at: end, ended, .. } => Some(match ended {
            Ended::Recovered => format!("The cause was gone {}", ctx.when(at(*end)).relative()),
            Ended::Unmeasured => "Nothing was measured for a day. That is not the same as good".into(),
            Ended::RuleGone => "Its rule is no longer in the configuration".into(),
            Ended::Person { who, note: text, .. } => {
                format!("{who} called it over {}{}", ctx.when(at(*end)).relative(), note(text))
            }
        }),
        State::Pending { .. } => Some("It holds, but not for long enough that anybody is told".into()),
        State::Firing { .. } => None,
    }
}

fn facts(ctx: &Ctx, row: &AlertRow) -> Vec<Fact> {
    let e = &row.evidence;
    let mut facts = vec![
        Fact { name: "Rule", value: format!("{} ({})", row.cause.rule, row.kind.replace('_', " ")) },
        Fact { name: "Cohort", value: row.cause.cohort.clone() },
        Fact { name: "First seen", value: ctx.when(at(row.opened)).iso() },
    ];
    facts.extend(row.fired.map(|t| Fact { name: "Fired", value: ctx.when(at(t)).iso() }));
    if row.alert.flaps > 0 {
        facts.push(Fact { name: "Came back", value: format!("{} times", row.alert.flaps) });
    }
    facts.extend(e.rows.map(|n| Fact { name: "Rows", value: count(n) }));
    let of_models = e.devices.is_none() && e.roles.is_empty();
    if let (Some(v), true) = (e.value, of_models) {
        let interval = e.interval.map_or_else(String::new, |(lo, hi)| format!(" ({lo:.4} to {hi:.4}, 95 %)"));
        facts.push(Fact { name: "Value", value: format!("{v:.4}{interval}") });
        facts.extend(e.threshold.map(|t| Fact { name: "Threshold", value: format!("{t}") }));
    }
    for v in &e.versions {
        facts.push(Fact {
            name: "Version",
            value: format!("{} (bundle {})", v.version, super::figures::short(&v.bundle.to_hex())),
        });
    }
    if let Some(d) = &e.devices {
        facts.push(Fact { name: "Devices", value: format!("{} of {}", count(d.count), count(d.of)) });
    }
    facts.extend(e.roles.iter().map(|r| Fact { name: "Role", value: r.clone() }));
    facts
}

/// What usually helps.
fn todo(kind: &str) -> &'static str {
    match kind {
        "drift" => {
            "Compare the cohorts: drift at one site points to a sensor or its light, drift everywhere to the world or to the model's data. Then decide whether to train anew."
        }
        "accuracy" | "accuracy_estimated" => {
            "Look at the model's page for the version and cohort that got worse. A rollout can be reverted while you look for the cause."
        }
        "fairness" => {
            "Look at the rates of each group on the model's page, with the rows they rest on, before you draw a conclusion."
        }
        "latency" => "Look at the devices' temperature and load, and at what was rolled out lately.",
        "error_rate" => {
            "Look at the timeline of one device: refused inputs come from the caller, failures from the model."
        }
        "silence" => {
            "Devices work on without the fleet. Check power and network of the site; a device that is gone for good should be revoked."
        }
        "trust_expiry" => {
            "Sign the metadata anew: longshore keys renew ROLE --draft FILE (docs/guides/keys.md). Running models are not touched by expiry."
        }
        "gaps" => {
            "Look at the timeline of the devices: it says what was lost, when and why. Reports show the loss."
        }
        "disk" => "The device sheds detail before it loses counts. Free space, or lower its quota.",
        "temperature" => "Check cooling and place of the device. A hot processor slows down before it stops.",
        _ => "",
    }
}

/// What the forms of the page send.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Told {
    csrf: String,
    #[serde(default)]
    note: String,
    #[serde(default)]
    hours: u64,
    #[serde(default)]
    etag: String,
}

/// `POST /alerts/{alert}/{act}`: `acknowledge`, `resolve` or `silence`.
pub(super) async fn act(
    ctx: Ctx,
    Path((id, name)): Path<(String, String)>,
    Form(form): Form<Told>,
) -> Result<Response, PageError> {
    ctx.check(&form.csrf)?;
    let missing = || PageError::missing("alert", id.as_str(), "/alerts");
    let number: u64 = id.parse().map_err(|_| missing())?;
    let row = ctx.app.store.alert(number).await?.ok_or_else(missing)?;
    let note = form.note.replace("\r\n", "\n");
    let (path, body) = match name.as_str() {
        "acknowledge" | "resolve" => (format!("/api/v1/alerts/{number}/{name}"), json!({ "note": note })),
        "silence" => {
            let mut matcher = json!({ "rule": row.cause.rule, "cohort": row.cause.cohort });
            if !row.cause.model.is_empty() {
                matcher["model"] = row.cause.model.clone().into();
            }
            let until = ctx.now.plus_ms(form.hours.saturating_mul(3_600_000));
            ("/api/v1/silences".to_owned(), json!({ "matcher": matcher, "until": until.0, "why": note }))
        }
        other => return Err(PageError::missing("act", other, "/alerts")),
    };
    // A form that was open while the alert became another one must not be taken for an answer to what it is now.
    if name == "resolve" && form.etag != row.etag.to_string() {
        let text = "The alert has changed since you opened this page. Look again, then decide.";
        return show(&ctx, &id, Some(text.into())).await;
    }
    match call(&ctx, &form.csrf, Method::POST, &path, Some(&body)).await? {
        Ok(_) => Ok(Redirect::to(&format!("/alerts/{number}?note={name}")).into_response()),
        Err(problem) => show(&ctx, &id, Some(words(&problem))).await,
    }
}
