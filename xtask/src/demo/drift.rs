//! The act in which two cameras are knocked: drift is found at their site, told once, taken on in the console, and a new
//! training is asked for.

use std::time::Duration;

use anyhow::{Context as _, Result};
use longshore_hil_tests::console::Console;
use longshore_hil_tests::receiver::Receiver;
use longshore_hil_tests::script::MODEL;
use longshore_hil_tests::stage::{Api, Stage};
use serde::Serialize;
use serde_json::Value;

/// Site of the devices with even numbers: two of five.
const KNOCKED: &str = "amsterdam";
/// Site of the others.
const OTHERS: &str = "rotterdam";
/// How long the fleet may take to notice.
const LIMIT: Duration = Duration::from_secs(40);

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Drift {
    /// Features that drifted at the site of the knocked cameras.
    pub features: usize,
    /// The same with an effect of at least 0.1 at the other site.
    pub features_elsewhere: usize,
    /// Alerts about drift at the knocked site.
    pub alerts: usize,
    /// Alerts about drift anywhere else.
    pub alerts_elsewhere: usize,
    /// Messages `alert.fired` that the webhook's receiver got for them.
    pub told: usize,
    /// State of the alert after it was taken on in the console.
    pub state: String,
    /// Requests for a new training that the receiver got.
    pub retraining: usize,
}

impl Drift {
    /// Found where it is and nowhere else, told once, taken on, and asked for.
    #[must_use]
    pub fn is_right(&self) -> bool {
        self.features > 0
            && self.features_elsewhere == 0
            && (self.alerts, self.alerts_elsewhere) == (1, 0)
            && (self.told, self.retraining) == (1, 1)
            && self.state == "acknowledged"
    }
}

/// Starts a receiver of webhooks and tells the server's configuration of it: verdicts and alerts every second or two,
/// because a minute has to show what hours would.
///
/// # Errors
/// When a file cannot be written.
pub fn prepare(stage: &mut Stage) -> Result<Receiver> {
    let receiver = Receiver::start()?;
    let secret = stage.dir.join("hook.secret");
    std::fs::write(&secret, "a secret of the demo, not of yours\n")?;
    stage.fleet_config.push_str(&format!(
        r#"
[monitor]
every_s = 2

[alerts]
every_s = 1

[[alert]]
name = "drift-by-site"
kind = "drift"
model = "meter-*"
cohort = {{ site = "*" }}
threshold = 0.1
min_rows = 200
for = "2s"
severity = "critical"
retrain = true

[[receiver]]
name = "demo"
kind = "webhook"
url = "{}"
secret_file = "{}"
"#,
        receiver.url("/hook"),
        secret.display()
    ));
    Ok(receiver)
}

/// Waits until the alert fires, takes it on in the console, and counts.
///
/// # Errors
/// When nothing is noticed in time.
pub fn notice(stage: &mut Stage, receiver: &Receiver, version: &str) -> Result<Drift> {
    let api = Api::of(stage)?;
    let mut fired = None;
    stage.wait("an alert about drift", LIMIT, || {
        fired = drift_alerts(&api)?.into_iter().find(|a| is_at(a, KNOCKED) && a["state"] == "firing");
        Ok(fired.is_some())
    })?;
    let id = fired.as_ref().and_then(|a| a["id"].as_i64()).context("an alert without an id")?;
    let sent =
        |kind: &str| receiver.kept().iter().filter(|d| d.body["type"] == kind && is_drift(&d.body)).count();
    stage.wait("the webhook", LIMIT, || Ok(sent("alert.fired") > 0 && sent("model.retrain") > 0))?;
    let page = format!("/alerts/{id}");
    let console = Console::sign_in(stage)?;
    console.submit(&page, &format!("{page}/acknowledge"), &[("note", "the camera was knocked")])?;
    // Time for anything that would be told twice.
    std::thread::sleep(Duration::from_secs(3));
    let alerts = drift_alerts(&api)?;
    let state = alerts.iter().find(|a| a["id"] == id).map_or(Value::Null, |a| a["state"].clone());
    Ok(Drift {
        features: drifted(&api, version, KNOCKED)?,
        features_elsewhere: drifted(&api, version, OTHERS)?,
        alerts: alerts.iter().filter(|a| is_at(a, KNOCKED)).count(),
        alerts_elsewhere: alerts.iter().filter(|a| !is_at(a, KNOCKED)).count(),
        told: sent("alert.fired"),
        state: state.as_str().unwrap_or_default().to_owned(),
        retraining: sent("model.retrain"),
    })
}

/// Whether a message of the receiver is about drift.
fn is_drift(body: &Value) -> bool {
    body["data"]["kind"] == "drift"
}

fn is_at(alert: &Value, site: &str) -> bool {
    alert["cohort"].as_str().is_some_and(|c| c == format!("site={site}"))
}

fn drift_alerts(api: &Api) -> Result<Vec<Value>> {
    let answer = api.get("/api/v1/alerts?limit=500")?;
    let items = answer["items"].as_array().cloned().unwrap_or_default();
    Ok(items.into_iter().filter(|a| a["kind"] == "drift").collect())
}

/// Features that drifted at a site, with an effect that somebody would be told of.
fn drifted(api: &Api, version: &str, site: &str) -> Result<usize> {
    let path = format!("/api/v1/models/{MODEL}/versions/{version}/drift?cohort=site%3D{site}&limit=500");
    let answer = api.get(&path)?;
    let items = answer["items"].as_array().context("no verdicts")?;
    let matters = |v: &&Value| {
        v["state"] == "drifted" && v.pointer("/effect/value").and_then(Value::as_f64) >= Some(0.1)
    };
    Ok(items.iter().filter(matters).count())
}
