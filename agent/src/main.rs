//! `longshore-agent`: the commands of the device agent.
//!
//! Nothing here starts a thread before `engine` has been told apart from the rest: its sandbox must stand first.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use longshore_agent::{config, doctor, engine, enroll, status, supervisor, trust_cmd};

/// Longshore's device agent: verified models, served locally, counted and reported.
#[derive(Debug, Parser)]
#[command(name = "longshore-agent", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// Where the configuration is.
#[derive(Debug, Clone, clap::Args)]
struct ConfigArg {
    /// Configuration file (TOML).
    #[arg(long, value_name = "FILE", default_value = "/etc/longshore/agent.toml", env = "LONGSHORE_CONFIG")]
    config: PathBuf,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the service.
    Run(ConfigArg),
    /// Join a fleet with a claim token from `longshore devices token`.
    Enroll {
        #[command(flatten)]
        config: ConfigArg,
        /// The device plane, if not the one named in the token.
        #[arg(long)]
        url: Option<String>,
        /// File that holds the claim token (a command line would show it to every user of the machine).
        #[arg(long, value_name = "FILE")]
        token_file: PathBuf,
        /// Device id to ask for; taken from the token or the host name otherwise.
        #[arg(long, value_name = "ID")]
        device: Option<String>,
    },
    /// Show what this device runs and what it still has to send.
    Status {
        #[command(flatten)]
        config: ConfigArg,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Read the configuration and say what is wrong with it.
    CheckConfig(ConfigArg),
    /// Check network, clock, disk, permissions and kernel; each line says what to do.
    Doctor(ConfigArg),
    /// The trust client: initialise, refresh and download with TUF metadata.
    #[command(disable_help_flag = true)]
    Trust {
        /// Arguments of the trust client.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Internal: the process that parses and runs models.
    #[command(hide = true, disable_help_flag = true)]
    Engine {
        /// Arguments of the engine.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Engine { args } => return engine::run(args),
        Command::Trust { args } => return trust_cmd::run(args),
        Command::CheckConfig(c) => config::check(&c.config),
        Command::Run(c) => supervisor::run(&c.config),
        Command::Enroll { config, url, token_file, device } => {
            enroll::run(&config.config, url.as_deref(), &token_file, device.as_deref())
        }
        Command::Status { config, json } => status::run(&config.config, json),
        Command::Doctor(c) => doctor::run(&c.config),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("longshore-agent: {error:#}");
            ExitCode::FAILURE
        }
    }
}
