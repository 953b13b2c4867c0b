//! `longshore alerts`: the inbox from a terminal: what fires, what it rests on, who is told; take on, silence, test.

mod deliveries;

use longshore_trust::Digest;
use serde_json::{Value, json};

use crate::context::{Context, Failure};
use crate::http::Client;
use crate::show::{ago, list, table, text};

/// What can be done with alerts.
#[derive(clap::Subcommand)]
pub enum Command {
    /// List alerts: what fires first, then what somebody has taken on, then what is over
    ///
    /// Exit code 0 also when alerts fire; scripts look at the JSON.
    List(ListArgs),
    /// Show one alert: what it rests on, what happened to it, whom it told
    Show {
        /// Its number
        alert: u64,
        /// Also list the devices it counts now
        #[arg(long)]
        devices: bool,
    },
    /// Take an alert on, so that it is not told again while it stays as large as it is
    Acknowledge {
        /// Its number
        alert: u64,
        /// What you do about it
        #[arg(long, default_value = "")]
        note: String,
    },
    /// Call an alert over although it was not seen to be; it fires again if it still holds after a day
    Resolve {
        /// Its number
        alert: u64,
        /// Why
        #[arg(long)]
        note: String,
    },
    /// Tell nobody of some alerts until a time; without options, list the silences
    Silence(SilenceArgs),
    /// Show what was sent where; with --retry, try what was given up again
    Deliveries(deliveries::Args),
    /// Show the rules and receivers in effect
    Rules,
    /// Show requests for a new training
    Retraining {
        /// Only this SHA-256: whether a request that you hold came from this fleet
        #[arg(long, value_name = "HEX")]
        sha256: Option<Digest>,
    },
    /// Send a test to a receiver and say what came of it
    Test {
        /// The receiver, as it is named in the server's configuration
        receiver: String,
    },
}

/// Which alerts.
#[derive(clap::Args)]
pub struct ListArgs {
    /// firing, acknowledged, active (both), pending or resolved [default: all but pending]
    #[arg(long, value_parser = ["firing", "acknowledged", "active", "pending", "resolved"])]
    state: Option<String>,
    /// critical, warning or info
    #[arg(long, value_parser = ["critical", "warning", "info"])]
    severity: Option<String>,
    /// Only those of this model
    #[arg(long)]
    model: Option<String>,
    /// Only those of this rule
    #[arg(long)]
    rule: Option<String>,
}

/// What is silenced.
#[derive(clap::Args)]
pub struct SilenceArgs {
    /// Name of the rule; `*` stands for anything
    #[arg(long)]
    rule: Option<String>,
    /// Model; `*` stands for anything
    #[arg(long)]
    model: Option<String>,
    /// Cohort, as alerts name it
    #[arg(long)]
    cohort: Option<String>,
    /// critical, warning or info
    #[arg(long, value_parser = ["critical", "warning", "info"])]
    severity: Option<String>,
    /// For so many hours
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=2160))]
    hours: Option<u32>,
    /// Why
    #[arg(long)]
    why: Option<String>,
    /// End the silence with this number instead
    #[arg(long, value_name = "NUMBER", conflicts_with_all = ["rule", "model", "cohort", "severity", "hours", "why"])]
    end: Option<u64>,
}

/// Runs one of them.
pub fn run(context: &Context, command: Command) -> Result<(), Failure> {
    match command {
        Command::List(args) => show_list(context, &args),
        Command::Show { alert, devices } => show(context, alert, devices),
        Command::Acknowledge { alert, note } => act(context, alert, "acknowledge", &note),
        Command::Resolve { alert, note } => act(context, alert, "resolve", &note),
        Command::Silence(args) => silence(context, args),
        Command::Deliveries(args) => deliveries::run(context, args),
        Command::Rules => rules(context),
        Command::Retraining { sha256 } => retraining(context, sha256),
        Command::Test { receiver } => deliveries::test(context, &receiver),
    }
}

fn show_list(context: &Context, args: &ListArgs) -> Result<(), Failure> {
    let given =
        [("state", &args.state), ("severity", &args.severity), ("model", &args.model), ("rule", &args.rule)];
    let query: Vec<String> =
        given.iter().filter_map(|(key, v)| v.as_ref().map(|v| format!("{key}={}", plain(v)))).collect();
    let path = if query.is_empty() { "/alerts".into() } else { format!("/alerts?{}", query.join("&")) };
    let alerts = Client::from_context(context)?.pages(&path)?;
    if context.json() {
        println!("{}", json!({ "items": alerts }));
        return Ok(());
    }
    if alerts.is_empty() {
        println!("No alerts. `longshore alerts rules` shows what is watched and who is told.");
        return Ok(());
    }
    let row = |a: &Value| {
        vec![
            text(a, "id"),
            text(a, "state"),
            text(a, "severity"),
            ago(a, "fired"),
            text(a, "rule"),
            text(a, "summary"),
        ]
    };
    println!(
        "{}",
        table(&["alert", "state", "severity", "fired", "rule", "what"], alerts.iter().map(row).collect())
    );
    Ok(())
}

/// What cannot stand in a query is no name of ours anyway.
fn plain(text: &str) -> String {
    text.chars().filter(|c| c.is_ascii_alphanumeric() || "-_.*".contains(*c)).collect()
}

fn show(context: &Context, alert: u64, devices: bool) -> Result<(), Failure> {
    let client = Client::from_context(context)?;
    let mut a: Value = client.get(&format!("/alerts/{alert}"))?;
    if devices {
        a["devices"] = client.pages(&format!("/alerts/{alert}/devices"))?.into();
    }
    let sent = client.pages(&format!("/deliveries?alert={alert}"))?;
    if context.json() {
        a["deliveries"] = sent.into();
        println!("{a}");
        return Ok(());
    }
    println!("{} {}: {}", text(&a, "severity"), text(&a, "state"), text(&a, "summary"));
    println!(
        "rule {} ({}), cohort {}, fired {}",
        text(&a, "rule"),
        text(&a, "kind"),
        text(&a, "cohort"),
        ago(&a, "fired")
    );
    if a["acknowledged"].is_object() {
        let ack = &a["acknowledged"];
        println!("taken on by {} at {}: {}", text(ack, "by"), text(ack, "at"), text(ack, "note"));
    }
    if a["resolved"].is_object() {
        let end = &a["resolved"];
        println!("over at {} ({}): {}", text(end, "at"), text(end, "by"), text(end, "note"));
    }
    let features = list(&a["evidence"], "features");
    if !features.is_empty() {
        let row = |f: &Value| {
            let number = |key: &str| f[key].as_f64().map_or_else(|| "-".into(), |v| format!("{v:.4}"));
            let interval = format!(
                "{:.4} to {:.4}",
                f["interval"][0].as_f64().unwrap_or(f64::NAN),
                f["interval"][1].as_f64().unwrap_or(f64::NAN)
            );
            vec![text(f, "name"), number("effect"), interval, number("p"), text(f, "n")]
        };
        println!(
            "\n{}",
            table(&["feature", "effect", "95 % interval", "p", "rows"], features.iter().map(row).collect())
        );
    }
    let row = |h: &Value| vec![ago(h, "time"), text(h, "what"), text(h, "who"), text(h, "text")];
    println!("\n{}", table(&["when", "what", "who", "text"], list(&a, "history").iter().map(row).collect()));
    if !sent.is_empty() {
        println!("\n{}", deliveries::lines(&sent));
    }
    if devices {
        let row = |d: &Value| vec![text(d, "id"), text(d, "value")];
        println!("\n{}", table(&["device", "value"], list(&a, "devices").iter().map(row).collect()));
    }
    Ok(())
}

fn act(context: &Context, alert: u64, what: &str, note: &str) -> Result<(), Failure> {
    let body = json!({ "note": note });
    let answer: Value = Client::from_context(context)?.post(&format!("/alerts/{alert}/{what}"), &body)?;
    if context.json() {
        println!("{answer}");
    } else {
        println!("Alert {alert} is {}: {}", text(&answer, "state"), text(&answer, "summary"));
    }
    Ok(())
}

fn silence(context: &Context, args: SilenceArgs) -> Result<(), Failure> {
    let client = Client::from_context(context)?;
    if let Some(id) = args.end {
        let _: Value = client.delete(&format!("/silences/{id}"))?;
        if context.json() {
            println!("{}", json!({ "ok": true, "ended": id }));
        } else {
            println!("Silence {id} has ended");
        }
        return Ok(());
    }
    let mut matcher = serde_json::Map::new();
    let given =
        [("rule", args.rule), ("model", args.model), ("cohort", args.cohort), ("severity", args.severity)];
    matcher.extend(given.into_iter().filter_map(|(key, v)| v.map(|v| (key.to_owned(), v.into()))));
    if matcher.is_empty() && args.hours.is_none() && args.why.is_none() {
        return silences(context, &client);
    }
    let (Some(hours), Some(why)) = (args.hours, args.why) else {
        return Err(Failure::usage(
            "a silence needs --hours and --why, and at least one of --rule, --model, --cohort, --severity",
        ));
    };
    let until = jiff::Timestamp::now().as_millisecond() + i64::from(hours) * 3_600_000;
    let body = json!({ "matcher": matcher, "until": until, "why": why });
    let answer: Value = client.post("/silences", &body)?;
    if context.json() {
        println!("{answer}");
    } else {
        let id = text(&answer, "id");
        println!(
            "Silenced for {hours} h (number {id}). To end it before: longshore alerts silence --end {id}"
        );
    }
    Ok(())
}

fn silences(context: &Context, client: &Client) -> Result<(), Failure> {
    let all = client.pages("/silences")?;
    if context.json() {
        println!("{}", json!({ "items": all }));
        return Ok(());
    }
    if all.is_empty() {
        println!("Nothing is silenced.");
        return Ok(());
    }
    let row = |s: &Value| {
        let what: Vec<String> = s["matcher"]
            .as_object()
            .into_iter()
            .flatten()
            .map(|(k, v)| format!("{k} {}", v.as_str().unwrap_or_default()))
            .collect();
        let state = if s["in_force"] == true { "in force" } else { "ended" };
        vec![text(s, "id"), state.into(), what.join(", "), text(s, "who"), text(s, "why")]
    };
    println!("{}", table(&["silence", "state", "what", "who", "why"], all.iter().map(row).collect()));
    Ok(())
}

/// As in the configuration.
fn threshold(t: &Value) -> String {
    match (t["longer_ms"].as_u64(), t["drop"].as_f64()) {
        (Some(ms), _) if ms % 86_400_000 == 0 => format!("{}d", ms / 86_400_000),
        (Some(ms), _) => format!("{}m", ms / 60_000),
        (None, Some(drop)) => format!("drop {drop}"),
        (None, None) => t["value"].to_string(),
    }
}

fn rules(context: &Context) -> Result<(), Failure> {
    let all: Value = Client::from_context(context)?.get("/alerts/rules")?;
    if context.json() {
        println!("{all}");
        return Ok(());
    }
    let row = |r: &Value| {
        let routes = match r["routes"].as_array() {
            None => "all receivers".to_owned(),
            Some(names) => names.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", "),
        };
        let retrain = if r["retrain"] == true { "yes" } else { "-" };
        vec![
            text(r, "name"),
            text(r, "kind"),
            text(r, "severity"),
            text(r, "model"),
            threshold(&r["threshold"]),
            routes,
            retrain.into(),
        ]
    };
    let head = ["rule", "kind", "severity", "models", "threshold", "told", "retrain"];
    println!("{}", table(&head, list(&all, "rules").iter().map(row).collect()));
    if all["shipped"] == true {
        println!("These rules come with the server; a configuration with [[alert]] replaces them.");
    }
    let receivers = list(&all, "receivers");
    if receivers.is_empty() {
        println!("\nNobody is told: the configuration names no [[receiver]].");
        return Ok(());
    }
    let row = |r: &Value| {
        vec![text(r, "name"), text(r, "kind"), text(r, "place"), text(r, "queued"), text(r, "dead")]
    };
    println!(
        "\n{}",
        table(&["receiver", "kind", "where", "waiting", "given up"], receivers.iter().map(row).collect())
    );
    Ok(())
}

fn retraining(context: &Context, sha256: Option<Digest>) -> Result<(), Failure> {
    let mut all = Client::from_context(context)?.pages("/retraining")?;
    if let Some(wanted) = sha256 {
        all.retain(|r| text(r, "sha256") == wanted.to_hex());
        if all.is_empty() {
            let message = format!("this fleet has sent no request with SHA-256 {wanted}");
            return Err(Failure::refused("retraining.unknown", message));
        }
    }
    if context.json() {
        println!("{}", json!({ "items": all }));
        return Ok(());
    }
    if all.is_empty() {
        println!("No training was asked for. Rules with `retrain = true` do so when they fire.");
        return Ok(());
    }
    let row = |r: &Value| {
        let data = &r["request"]["data"];
        let features: Vec<&str> = list(data, "features").iter().filter_map(Value::as_str).collect();
        vec![
            ago(r, "created"),
            text(r, "model"),
            text(data, "version"),
            text(data, "cohort"),
            features.join(", "),
            text(r, "alert"),
            text(r, "sha256"),
        ]
    };
    println!(
        "{}",
        table(
            &["when", "model", "version", "cohort", "features", "alert", "sha256"],
            all.iter().map(row).collect()
        )
    );
    Ok(())
}
