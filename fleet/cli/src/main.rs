//! `longshore`: build, test, sign, publish and approve bundles; plan and watch rollouts. Talks to the API and to files,
//! never to the database.

#![forbid(unsafe_code)]

mod alerts;
mod approve;
mod audit;
mod bundle;
mod context;
mod devices;
mod drift;
mod http;
mod junit;
mod keys;
mod login;
mod metrics;
mod models;
mod oms;
mod page;
mod policy;
mod profile;
mod publish;
mod rollout;
mod show;
mod tables;
mod token;
mod trust_store;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use context::{Context, Failure, GlobalArgs};

/// Build, sign, publish and roll out machine-learning models to fleets of devices.
#[derive(Parser)]
#[command(name = "longshore", version, propagate_version = true, arg_required_else_help = true)]
struct Cli {
    #[command(flatten)]
    global: GlobalArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make and look after signing keys (files only; works on an air-gapped machine)
    #[command(subcommand)]
    Keys(keys::Command),
    /// Build, inspect and test bundles (no server needed)
    #[command(subcommand)]
    Bundle(bundle::Command),
    /// Show reference profiles (no server needed)
    #[command(subcommand)]
    Profile(profile::Command),
    /// Has the data drifted? Compare two tables (no server needed), or see what the fleet found
    #[command(subcommand)]
    Drift(drift::Command),
    /// Quality and fairness of predictions, from a table of labels and scores (no server needed)
    #[command(subcommand)]
    Metrics(metrics::Command),
    /// Sign and check any model directory by OpenSSF Model Signing (no server needed)
    #[command(subcommand)]
    Oms(oms::Command),
    /// Remember a server and a token for the other commands
    Login(login::Args),
    /// Upload a bundle as a draft
    Publish(publish::Args),
    /// Show what a version changes, then sign it for release
    Approve(approve::Args),
    /// List devices, make claim tokens, release from quarantine, decommission, revoke
    #[command(subcommand)]
    Devices(devices::Command),
    /// List models and versions; move aliases; deprecate and retire
    #[command(subcommand)]
    Models(models::Command),
    /// What needs somebody: list, take on, silence; who was told
    #[command(subcommand)]
    Alerts(alerts::Command),
    /// Search, export and check the audit log
    #[command(subcommand)]
    Audit(audit::Command),
    /// Check rollout policies and show the shipped ones (no server needed)
    #[command(subcommand)]
    Policy(policy::Command),
    /// Plan, start, watch and stop rollouts
    #[command(subcommand)]
    Rollout(rollout::Command),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let context = Context::new(cli.global);
    let done: Result<(), Failure> = match cli.command {
        Command::Keys(c) => keys::run(&context, c),
        Command::Bundle(c) => bundle::run(&context, c),
        Command::Profile(c) => profile::run(&context, c),
        Command::Drift(c) => drift::run(&context, c),
        Command::Metrics(c) => metrics::run(&context, c),
        Command::Oms(c) => oms::run(&context, c),
        Command::Login(a) => login::run(&context, a),
        Command::Publish(a) => publish::run(&context, a),
        Command::Approve(a) => approve::run(&context, a),
        Command::Devices(c) => devices::run(&context, c),
        Command::Models(c) => models::run(&context, c),
        Command::Alerts(c) => alerts::run(&context, c),
        Command::Audit(c) => audit::run(&context, c),
        Command::Policy(c) => policy::run(&context, c),
        Command::Rollout(c) => rollout::run(&context, c),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(context.json()),
    }
}
