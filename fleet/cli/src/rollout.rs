//! `longshore rollout`: plan, start, watch, stop. Every command takes the id that `plan` or `start` printed.

mod changes;
mod report;
mod show;
mod watch;

use std::path::PathBuf;

use longshore_trust::RolloutId;
use serde_json::{Value, json};

use crate::context::{Context, Failure};
use crate::http::Client;
use crate::show::{model_version, text, typed_confirmation};

/// What a rollout brings, and how.
#[derive(clap::Args)]
pub struct What {
    /// MODEL@VERSION; the version must be approved
    #[arg(long, value_name = "MODEL@VERSION")]
    model: String,
    /// A policy file, or the name of a shipped policy: careful, fast, emergency
    #[arg(long, value_name = "FILE|NAME")]
    policy: String,
}

/// What can be done with rollouts.
#[derive(clap::Subcommand)]
pub enum Command {
    /// Rehearse: show waves, devices and what could go wrong; nothing is started
    Plan {
        #[command(flatten)]
        what: What,
    },
    /// Plan and start; with --wait, exit codes tell a pipeline how it ended (see `watch`)
    Start {
        #[command(flatten)]
        what: What,
        /// Wait for the end, like `watch`
        #[arg(long)]
        wait: bool,
        #[command(flatten)]
        until: watch::Until,
        /// Take the place of the rollout that occupies the model
        #[arg(long)]
        supersede: bool,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
    /// List rollouts, newest first
    List,
    /// Show one: waves, gates with their numbers, devices
    Show {
        /// The rollout
        rollout: RolloutId,
    },
    /// Follow one to its end; with --json, a stream of events
    ///
    /// Exit codes: 0 completed; 1 refused; 2 usage; 3 the server cannot be reached; 10 paused, a person must decide;
    /// 11 halted; 12 reverted; 13 superseded; 14 the time is over and the rollout goes on.
    #[command(verbatim_doc_comment)]
    Watch {
        /// The rollout
        rollout: RolloutId,
        #[command(flatten)]
        until: watch::Until,
    },
    /// Offer nothing new until resumed
    Pause {
        /// The rollout
        rollout: RolloutId,
    },
    /// Go on after a pause
    #[command(group(clap::ArgGroup::new("wave").required(true)))]
    Resume {
        /// The rollout
        rollout: RolloutId,
        /// Judge the present wave again
        #[arg(long, group = "wave")]
        retry_wave: bool,
        /// Take the present wave as passed
        #[arg(long, group = "wave")]
        skip_wave: bool,
    },
    /// Stop for good and take back what has not been committed
    Halt {
        /// The rollout
        rollout: RolloutId,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
    /// Bring every device of it back to what it ran before
    Revert {
        /// The rollout
        rollout: RolloutId,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
}

/// Runs one of them.
pub fn run(context: &Context, command: Command) -> Result<(), Failure> {
    let client = Client::from_context(context)?;
    match command {
        Command::Plan { what } => {
            let plan = request(&client, &what, true)?;
            print(context, &plan, show::plan);
            Ok(())
        }
        Command::Start { what, wait, until, supersede, yes } => {
            if !wait && until.asks() {
                return Err(Failure::usage("--timeout and --junit are for waiting: add --wait"));
            }
            start(context, &client, &what, wait.then_some(&until), supersede, yes)
        }
        Command::List => {
            let rollouts = client.pages("/rollouts")?;
            print(context, &json!({ "items": rollouts }), show::list_of);
            Ok(())
        }
        Command::Show { rollout } => {
            let value: Value = client.get(&format!("/rollouts/{rollout}"))?;
            print(context, &value, show::rollout);
            Ok(())
        }
        Command::Watch { rollout, until } => watch::run(context, &client, &rollout, &until),
        Command::Pause { rollout } => act(context, &client, &rollout, "pause", &json!({})),
        Command::Resume { rollout, retry_wave, .. } => {
            let wave = if retry_wave { "retry" } else { "skip" };
            act(context, &client, &rollout, "resume", &json!({ "wave": wave }))
        }
        Command::Halt { rollout, yes } => {
            let what = format!("Rollout {rollout} will end; devices that have not committed go back.");
            typed_confirmation(&what, rollout.as_str(), yes)?;
            act(context, &client, &rollout, "halt", &json!({}))
        }
        Command::Revert { rollout, yes } => {
            let what = format!("Every device of rollout {rollout} will go back to what it ran before.");
            typed_confirmation(&what, rollout.as_str(), yes)?;
            act(context, &client, &rollout, "revert", &json!({}))
        }
    }
}

fn print(context: &Context, value: &Value, people: fn(&Value) -> String) {
    if context.json() { println!("{value}") } else { print!("{}", people(value)) }
}

/// A policy file if there is one of that name, else the name of a shipped policy.
fn request(client: &Client, what: &What, dry_run: bool) -> Result<Value, Failure> {
    let (model, version) = model_version(&what.model)?;
    let file = PathBuf::from(&what.policy);
    let mut body = json!({ "model": model, "version": version, "dry_run": dry_run });
    if file.exists() {
        let policy = std::fs::read_to_string(&file)
            .map_err(|e| Failure::usage(format!("cannot read the policy {}: {e}", file.display())))?;
        body["policy"] = policy.into();
    } else if what.policy.contains(['/', '.']) {
        return Err(Failure::usage(format!("there is no policy file {}", file.display())));
    } else {
        body["policy_name"] = what.policy.clone().into();
    }
    client.post("/rollouts", &body)
}

fn start(
    context: &Context,
    client: &Client,
    what: &What,
    wait: Option<&watch::Until>,
    supersede: bool,
    yes: bool,
) -> Result<(), Failure> {
    if !yes {
        eprint!("{}", show::plan(&request(client, what, true)?));
        typed_confirmation(&format!("{} will be rolled out as planned above.", what.model), "start", false)?;
    }
    let planned = request(client, what, false)?;
    let id: RolloutId = text(&planned, "id")
        .parse()
        .map_err(|_| Failure::refused("api.answer", "the server answered without the id of the rollout"))?;
    let started: Value = client.post(&format!("/rollouts/{id}/start"), &json!({ "supersede": supersede }))?;
    if let Some(until) = wait {
        return watch::run(context, client, &id, until);
    }
    if context.json() {
        println!("{started}");
    } else {
        println!("Started {id}. Follow it with `longshore rollout watch {id}`");
    }
    Ok(())
}

fn act(
    context: &Context,
    client: &Client,
    rollout: &RolloutId,
    action: &str,
    body: &Value,
) -> Result<(), Failure> {
    let answer: Value = client.post(&format!("/rollouts/{rollout}/{action}"), body)?;
    if context.json() {
        println!("{answer}");
    } else {
        println!("{rollout} is {}", text(&answer, "state"));
    }
    Ok(())
}
