//! `longshore models`: the catalogue and the life of a version in it.

mod quality;

use serde_json::{Value, json};

use crate::context::{Context, Failure};
use crate::drift::fleet::Which;
use crate::http::Client;
use crate::show::{ago, list, model_version, short, table, text, typed_confirmation};

/// What can be done with models.
#[derive(clap::Subcommand)]
pub enum Command {
    /// List models and their versions
    List,
    /// Show one version: what was checked, signed, and where it runs
    Show {
        /// MODEL@VERSION
        version: String,
    },
    /// Show how good a version is: with labels, and without them where that is honest; fairness; latency
    Quality {
        /// MODEL@VERSION, or MODEL for the version that runs on most devices
        model: String,
        /// Whose rows: `fleet`, `label=value` (several with commas), or `hw:NAME`
        #[arg(long, default_value = "fleet", value_name = "COHORT")]
        cohort: String,
        /// The last so many hours or days, like 24h or 7d [default: what the server is configured to judge]
        #[arg(long, value_name = "SPAN")]
        span: Option<String>,
    },
    /// Let a name such as `champion` point to a version
    Alias {
        /// MODEL@VERSION
        version: String,
        /// The name
        alias: String,
    },
    /// Mark a version as one to move away from
    Deprecate {
        /// MODEL@VERSION
        version: String,
        /// Why, for those who ask later
        #[arg(long, value_name = "TEXT", default_value = "")]
        reason: String,
    },
    /// Refuse a version in new plans; where it runs, it goes on
    Retire {
        /// MODEL@VERSION
        version: String,
        /// Why: whoever plans it later is told so
        #[arg(long, value_name = "TEXT")]
        reason: String,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
}

/// Runs one of them.
pub fn run(context: &Context, command: Command) -> Result<(), Failure> {
    let client = Client::from_context(context)?;
    match command {
        Command::Quality { model, cohort, span } => {
            quality::run(context, &client, &Which::new(model, cohort, span))
        }
        Command::List => show_list(context, &client),
        Command::Show { version } => show(context, &client, &version),
        Command::Alias { version, alias } => {
            let (model, number) = model_version(&version)?;
            let answer: Value =
                client.put(&format!("/models/{model}/aliases/{alias}"), &json!({ "version": number }))?;
            done(context, &answer, &format!("{alias} of {model} is now {number}"))
        }
        Command::Deprecate { version, reason } => {
            let (model, number) = model_version(&version)?;
            let answer: Value = client.post(
                &format!("/models/{model}/versions/{number}/deprecate"),
                &json!({ "reason": reason }),
            )?;
            done(context, &answer, &format!("{version} is deprecated"))
        }
        Command::Retire { version, reason, yes } => {
            let (model, number) = model_version(&version)?;
            typed_confirmation(&format!("{version} will be refused in every new plan."), &version, yes)?;
            let answer: Value = client
                .post(&format!("/models/{model}/versions/{number}/retire"), &json!({ "reason": reason }))?;
            let still = answer["running_on"].as_u64().unwrap_or(0);
            done(context, &answer, &format!("{version} is retired; devices that still run it: {still}"))
        }
    }
}

fn done(context: &Context, answer: &Value, said: &str) -> Result<(), Failure> {
    if context.json() {
        println!("{answer}")
    } else {
        println!("{said}")
    }
    Ok(())
}

fn show_list(context: &Context, client: &Client) -> Result<(), Failure> {
    let models = client.pages("/models")?;
    if context.json() {
        println!("{}", json!({ "items": models }));
        return Ok(());
    }
    if models.is_empty() {
        println!("No models yet. Build a bundle with `longshore bundle build`, then `longshore publish DIR`");
        return Ok(());
    }
    let mut rows = Vec::new();
    for model in &models {
        for version in list(model, "versions") {
            let number = text(version, "version");
            let aliases: Vec<String> = model["aliases"]
                .as_object()
                .into_iter()
                .flatten()
                .filter(|(_, v)| v.as_str() == Some(&number))
                .map(|(alias, _)| alias.clone())
                .collect();
            rows.push(vec![
                text(model, "name"),
                number,
                text(version, "state"),
                aliases.join(" "),
                text(version, "release_counter"),
                text(version, "running_on"),
                short(version, "bundle"),
            ]);
        }
    }
    println!("{}", table(&["model", "version", "state", "aliases", "release", "runs on", "bundle"], rows));
    Ok(())
}

fn show(context: &Context, client: &Client, version: &str) -> Result<(), Failure> {
    let (model, number) = model_version(version)?;
    let v: Value = client.get(&format!("/models/{model}/versions/{number}"))?;
    if context.json() {
        println!("{v}");
        return Ok(());
    }
    println!("{model}@{number}: {}, uploaded {}", text(&v, "state"), ago(&v, "created"));
    println!(
        "bundle {}, {} bytes, release {}",
        text(&v, "bundle"),
        text(&v, "bytes"),
        text(&v, "release_counter")
    );
    println!("devices that run it: {}", text(&v, "running_on"));
    if v["reason"].is_string() {
        println!("{}, because: {}", text(&v, "state"), text(&v, "reason"));
    }
    println!("check: {}", text(&v, "check_result"));
    Ok(())
}
