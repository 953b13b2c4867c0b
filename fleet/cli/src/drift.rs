//! `longshore drift`: compares two tables with the code that judges devices (no server, no keys), and shows what a fleet
//! found.

mod compare;
pub mod fleet;
mod html;
mod json;

use std::path::PathBuf;
use std::time::Duration;

use longshore_stats::drift::{Policy, Verdict};

use crate::context::{Context, Failure};
use crate::show;
use crate::tables::FloatPrecision;

pub use json::interval;

/// What can be done about drift.
#[derive(clap::Subcommand)]
pub enum Command {
    /// Compare two tables, feature by feature: distances, guaranteed intervals, a calibrated test, a verdict
    Compare(Args),
    /// Show what the fleet found: verdicts of a model version by feature and cohort
    Show {
        #[command(flatten)]
        which: fleet::Which,
        /// Look at one feature: bins, guaranteed intervals, the same elsewhere, devices that stand out
        #[arg(long, value_name = "NAME")]
        feature: Option<String>,
    },
    /// Follow the verdicts of a model version: a line for each that changes
    Watch {
        #[command(flatten)]
        which: fleet::Which,
        /// Seconds between two looks
        #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=86_400))]
        every: u64,
        /// End when a feature has drifted
        #[arg(long)]
        until_drift: bool,
    },
}

/// Which tables.
#[derive(clap::Args)]
pub struct Args {
    /// What the current data are compared with (training or validation data): CSV with a header, or NPZ
    #[arg(long, value_name = "FILE")]
    reference: PathBuf,
    /// The data to judge, with the same columns
    #[arg(long, value_name = "FILE")]
    current: PathBuf,
    /// Quantile bins of the reference for the distances (the test has its own, 8 or 16)
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(2..=1000))]
    bins: u32,
    /// Columns whose numbers stand for kinds; repeatable, or a list
    #[arg(long, value_name = "COLUMN", value_delimiter = ',')]
    categorical: Vec<String>,
    /// Rate of false alarms, over all features together (Benjamini-Hochberg)
    #[arg(long, default_value_t = Policy::default().alpha, value_parser = share)]
    alpha: f64,
    /// Smallest effect (population stability index) that is called drift
    #[arg(long, default_value_t = Policy::default().effect_min, value_parser = positive)]
    min_effect: f64,
    /// How the numbers of CSV files are read
    #[arg(long, value_enum, default_value_t = FloatPrecision::High)]
    float_precision: FloatPrecision,
    /// Also write a page to look at: one file that needs nothing else
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Exit with code 1 when a feature has drifted
    #[arg(long)]
    fail_on_drift: bool,
}

fn share(text: &str) -> Result<f64, String> {
    let value = text.parse::<f64>().map_err(|e| e.to_string())?;
    (value > 0.0 && value < 1.0).then_some(value).ok_or_else(|| "must be between 0 and 1".to_owned())
}
fn positive(text: &str) -> Result<f64, String> {
    let value = text.parse::<f64>().map_err(|e| e.to_string())?;
    (value.is_finite() && value >= 0.0).then_some(value).ok_or_else(|| "must be 0 or more".to_owned())
}

/// Runs it.
///
/// # Errors
/// When a table cannot be read, the page cannot be written, or `--fail-on-drift` finds drift.
pub fn run(context: &Context, command: Command) -> Result<(), Failure> {
    let args = match command {
        Command::Compare(args) => args,
        Command::Show { which, feature } => return fleet::show(context, &which, feature.as_deref()),
        Command::Watch { which, every, until_drift } => {
            return fleet::watch(context, &which, Duration::from_secs(every), until_drift);
        }
    };
    let policy = Policy { alpha: args.alpha, effect_min: args.min_effect, ..Policy::default() };
    let report = compare::run(&compare::Request {
        reference: &args.reference,
        current: &args.current,
        bins: args.bins,
        categorical: &args.categorical,
        digits: args.float_precision.digits(),
        policy,
    })?;
    if let Some(path) = &args.html {
        std::fs::write(path, html::page(&report))
            .map_err(|e| Failure::refused("io", format!("cannot write {}: {e}", path.display())))?;
    }
    if context.json() {
        println!("{}", json::report(&report));
    } else {
        print(&report);
    }
    let drifted = report.features.iter().filter(|f| matches!(f.verdict, Verdict::Drifted { .. })).count();
    if args.fail_on_drift && drifted > 0 {
        if !context.json() {
            eprintln!("error: {drifted} of {} features drifted", report.features.len());
        }
        return Err(Failure::reported());
    }
    Ok(())
}

fn print(report: &compare::Report) {
    let mut features: Vec<&compare::FeatureReport> = report.features.iter().collect();
    features.sort_by(|a, b| b.effect().total_cmp(&a.effect()));
    let rows = features
        .iter()
        .map(|f| {
            let e = &f.drift.evidence;
            let ks = f.drift.bounds.map_or("-".into(), |b| format!("{:.3} to {:.3}", b.ks.lo, b.ks.hi));
            vec![
                f.name.clone(),
                f.verdict.name().into(),
                if e.effect.is_nan() { "-".into() } else { format!("{:.3}", e.effect) },
                if e.effect.is_nan() {
                    "-".into()
                } else {
                    format!("{:.3} to {:.3}", e.interval.lo, e.interval.hi)
                },
                if f.q.is_nan() { "-".into() } else { format!("{:.1e}", f.q) },
                ks,
                e.n.to_string(),
                e.m.to_string(),
            ]
        })
        .collect();
    let header = ["feature", "verdict", "PSI", "95 %", "q", "KS, guaranteed", "reference", "current"];
    println!("{}", show::table(&header, rows));
    println!("{}", report.summary());
    for (_, reason) in &report.skipped {
        println!("note: not compared: {reason}");
    }
    for name in &report.only_in_current {
        println!("note: column `{name}` is in the current table only");
    }
}
