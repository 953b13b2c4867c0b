//! `longshore rollout`: plan, start, watch, stop. Every command takes the id that `plan` or `start` printed.

mod changes;
mod record;
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
    /// Rehearse: show waves, verdicts, bytes, time, the canary's power and what could go wrong; nothing is started
    Plan {
        #[command(flatten)]
        what: What,
        /// Keep the plan, to be authorized or started later by its id
        #[arg(long)]
        keep: bool,
    },
    /// Say yes to a plan of somebody else, where its policy says `authorize = true`
    Authorize {
        /// The rollout
        rollout: RolloutId,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
    /// Plan and start; with --wait, exit codes tell a pipeline how it ended (see `watch`)
    Start {
        /// A plan that was kept, instead of a new one
        #[arg(conflicts_with_all = ["model", "policy"])]
        rollout: Option<RolloutId>,
        /// MODEL@VERSION; the version must be approved
        #[arg(long, value_name = "MODEL@VERSION", required_unless_present = "rollout", requires = "policy")]
        model: Option<String>,
        /// A policy file, or the name of a shipped policy: careful, fast, emergency
        #[arg(long, value_name = "FILE|NAME", requires = "model")]
        policy: Option<String>,
        /// Start at this time instead of now: 2027-01-31T02:00:00Z, or with a zone's offset
        #[arg(long, value_name = "TIME")]
        at: Option<jiff::Timestamp>,
        /// Wait for the end, like `watch`
        #[arg(long)]
        wait: bool,
        #[command(flatten)]
        until: watch::Until,
        /// Take the place of rollouts of the model that have some of the devices
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
    /// List the devices of one, all or those of a wave or in a state
    Devices {
        /// The rollout
        rollout: RolloutId,
        /// Only those of this wave, from 0 on
        #[arg(long)]
        wave: Option<u32>,
        /// Only those in this state, such as rolled_back or waiting
        #[arg(long)]
        state: Option<String>,
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
    /// The promotion record of one that completed: what it was judged by, and who wanted it, sealed in the audit log
    Record {
        /// The rollout
        rollout: RolloutId,
        /// Write it, with everything that proves it, into a file
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Check a promotion record offline: its entry, the log's signature, the hash of its plan
    ///
    /// Exit codes: 0 verified; 1 something in it is not what was sealed (record.tampered); 2 usage; 5 everything fits
    /// together, but no key of the log is known that could say who signed it: see --log-key and --without-log-key.
    #[command(verbatim_doc_comment)]
    VerifyRecord(record::Check),
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
    // This one asks nobody.
    let command = match command {
        Command::VerifyRecord(check) => return record::verify(context, &check),
        command => command,
    };
    let client = Client::from_context(context)?;
    match command {
        Command::Plan { what, keep } => {
            let plan = request(&client, &what, !keep)?;
            print(context, &plan, show::plan);
            if keep && !context.json() {
                let id = text(&plan, "id");
                println!("Kept as {id}. Start it with `longshore rollout start {id}`");
            }
            Ok(())
        }
        Command::Authorize { rollout, yes } => {
            if !yes {
                let plan: Value = client.get(&format!("/rollouts/{rollout}/plan"))?;
                eprint!("{}", show::plan(&plan));
            }
            typed_confirmation("You say yes to the plan of somebody else.", rollout.as_str(), yes)?;
            act(context, &client, &rollout, "authorize", &json!({}))
        }
        Command::Start { rollout, model, policy, at, wait, until, supersede, yes } => {
            if !wait && until.asks() {
                return Err(Failure::usage("--timeout and --junit are for waiting: add --wait"));
            }
            let what = match (rollout, model.zip(policy)) {
                (Some(rollout), _) => Begin::Kept(rollout),
                (None, Some((model, policy))) => Begin::New(What { model, policy }),
                (None, None) => {
                    return Err(Failure::usage("say what to start: a plan's id, or --model and --policy"));
                }
            };
            let at = at.map(|at| at.as_millisecond());
            let how = json!({ "supersede": supersede, "at": at });
            start(context, &client, &what, wait.then_some(&until), &how, yes)
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
        Command::Devices { rollout, wave, state } => {
            if let Some(odd) =
                state.as_ref().filter(|s| !s.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'))
            {
                return Err(Failure::usage(format!("{odd:?} is no state of a device; one is rolled_back")));
            }
            let asked = [wave.map(|w| format!("wave={w}")), state.map(|s| format!("state={s}"))];
            let asked: Vec<String> = asked.into_iter().flatten().collect();
            let devices = client.pages(&format!("/rollouts/{rollout}/devices?{}", asked.join("&")))?;
            print(context, &json!({ "items": devices }), show::devices);
            Ok(())
        }
        Command::Record { rollout, out } => record::fetch(context, &client, &rollout, out.as_deref()),
        Command::VerifyRecord(check) => record::verify(context, &check),
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

/// What is to be started.
enum Begin {
    New(What),
    Kept(RolloutId),
}

fn start(
    context: &Context,
    client: &Client,
    what: &Begin,
    wait: Option<&watch::Until>,
    how: &Value,
    yes: bool,
) -> Result<(), Failure> {
    if !yes {
        let (plan, name): (Value, &str) = match what {
            Begin::New(what) => (request(client, what, true)?, &what.model),
            Begin::Kept(id) => (client.get(&format!("/rollouts/{id}/plan"))?, id.as_str()),
        };
        eprint!("{}", show::plan(&plan));
        typed_confirmation(&format!("{name} will be rolled out as planned above."), "start", false)?;
    }
    let id: RolloutId = match what {
        Begin::Kept(id) => id.clone(),
        Begin::New(what) => text(&request(client, what, false)?, "id").parse().map_err(|_| {
            Failure::refused("api.answer", "the server answered without the id of the rollout")
        })?,
    };
    let started: Value = client.post(&format!("/rollouts/{id}/start"), how)?;
    if let Some(until) = wait {
        return watch::run(context, client, &id, until);
    }
    if context.json() {
        println!("{started}");
        return Ok(());
    }
    match text(&started, "state").as_str() {
        "awaiting_authorization" => println!(
            "{id} waits for the yes of a second person: `longshore rollout authorize {id}`, by somebody else than {}",
            text(&started, "planned_by")
        ),
        "scheduled" => println!("{id} is scheduled ({}).", text(&started, "reason")),
        _ => println!("Started {id}. Follow it with `longshore rollout watch {id}`"),
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
