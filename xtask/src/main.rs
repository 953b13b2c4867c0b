//! `cargo xtask`: everything a developer or CI runs. Nothing here is needed by a user of the programs.

#![forbid(unsafe_code)]

mod assets;
mod bench;
mod cross;
mod demo;
mod fuzz;
mod prerequisites;
mod run;
mod sim;
mod test;
mod tidy;

use clap::{Parser, Subcommand};

/// Longshore's development tasks.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Start a fleet and five agents and show the main job, end to end
    Demo(demo::Args),
    /// Format, lint, licences, tidy, unit, property and end-to-end tests
    Test(test::Args),
    /// Everything `test` runs, whole instead of sampled, and `test --slow`
    Nightly,
    /// Check dependency direction, file sizes, forbidden calls, attack folders and that every dependency is explained
    Tidy,
    /// Write the attack table of docs/security.md from the folders of hil-tests/tests/attacks
    AttacksTable,
    /// Install the console's assets by their lock file
    Assets,
    /// Build the agent for a board and check its budgets
    Cross {
        /// Target triple, one of `targets/*.toml` [default: all]
        target: Option<String>,
    },
    /// Throw mangled input at everything that reads what outsiders send
    Fuzz(fuzz::Args),
    /// Play the simulator at length, and show that it notices broken rules
    Sim(sim::Args),
    /// Measure, and print JSON
    Bench(bench::Args),
}

fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    match cli.task {
        Task::Demo(args) => demo::main(&args),
        Task::Test(args) => test::main(&args),
        Task::Nightly => test::nightly(),
        Task::Tidy => tidy::main(),
        Task::AttacksTable => tidy::attacks_table(),
        Task::Assets => assets::main(),
        Task::Cross { target } => cross::run(target.as_deref()),
        Task::Fuzz(args) => fuzz::main(&args),
        Task::Sim(args) => sim::main(&args),
        Task::Bench(args) => bench::main(&args),
    }
}
