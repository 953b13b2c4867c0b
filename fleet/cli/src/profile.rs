//! `longshore profile`: what a reference profile holds. No server, no keys.

use std::path::{Path, PathBuf};

use longshore_bundle::{Role, read_dir};
use longshore_stats::Profile;
use longshore_stats::profile::{FeatureProfile, FeatureValues};
use longshore_stats::quality::calibration::{Calibration, ReferenceQuality};
use longshore_stats::window::{FeatureWindow, ReferenceId};
use serde_json::{Value, json};

use crate::context::{Context, Failure};
use crate::page::number;
use crate::show;

/// What can be done with profiles.
#[derive(clap::Subcommand)]
pub enum Command {
    /// Show a reference profile: bins, counts, categories of each feature
    Show(Args),
}

/// Which profile.
#[derive(clap::Args)]
pub struct Args {
    /// A `reference.lsp` file, or the directory of a bundle
    path: PathBuf,
    /// Show the bins of this feature only
    #[arg(long, value_name = "NAME")]
    feature: Option<String>,
}

/// Shows it.
///
/// # Errors
/// When there is no profile, or none of such a feature.
pub fn run(context: &Context, command: Command) -> Result<(), Failure> {
    let Command::Show(args) = command;
    let profile = read(&args.path)?;
    let features: Vec<&FeatureProfile> = match &args.feature {
        None => profile.features.iter().collect(),
        Some(name) => vec![profile.feature(name).ok_or_else(|| {
            let names: Vec<&str> = profile.features.iter().map(|f| f.name.as_str()).collect();
            Failure::usage(format!(
                "--feature {name}: the profile has no such feature (it has: {})",
                names.join(", ")
            ))
        })?],
    };
    if context.json() {
        let list: Vec<Value> = features.iter().map(|f| json(f)).collect();
        println!(
            "{}",
            json!({
                "rows": profile.rows,
                "reference_id": format!("{:016x}", ReferenceId::of(&profile).0),
                "quality": profile.quality.as_ref().map(quality),
                "answers": profile.answers.as_ref().map(|a| json!({
                    "rows": a.scores.rows(), "classes": a.classes, "scores": a.scores.counts(),
                })),
                "attribution": profile.attribution.as_ref().map(|t| json!({
                    "rows": t.rows, "shares": t.shares(),
                })),
                "features": list,
            })
        );
        return Ok(());
    }
    println!("{} rows, {} features", profile.rows, profile.features.len());
    match &profile.quality {
        Some(q) => {
            let share = q.right as f64 / q.rows as f64;
            println!(
                "{} labelled rows, {:.1} % answered rightly; scores are calibrated",
                q.rows,
                share * 100.0
            );
        }
        None => println!("not labelled: accuracy cannot be estimated without labels"),
    }
    if let Some(answers) = &profile.answers {
        println!("answers to {} rows: devices tell when they leave them", answers.scores.rows());
    }
    if let Some(table) = &profile.attribution {
        println!("{} rows were explained: it is known which features matter", table.rows);
    }
    match (&args.feature, features.first()) {
        (Some(_), Some(f)) => println!("{}", bins(f)),
        _ => println!("{}", overview(&features)),
    }
    Ok(())
}

fn read(path: &Path) -> Result<Profile, Failure> {
    let refuse = |text: String| Failure::refused("profile", format!("{}: {text}", path.display()));
    if path.is_dir() {
        let bundle = read_dir(path).map_err(|e| Failure::refused(e.reason.code(), e.to_string()))?;
        let bytes = bundle
            .read_role(Role::Reference)
            .map_err(|e| Failure::refused(e.reason.code(), e.to_string()))?
            .ok_or_else(|| {
                refuse("the bundle has no reference profile; build it with --reference".to_owned())
            })?;
        return Profile::from_bytes(&bytes).map_err(|e| refuse(e.to_string()));
    }
    let bytes =
        std::fs::read(path).map_err(|e| Failure::usage(format!("cannot read {}: {e}", path.display())))?;
    Profile::from_bytes(&bytes).map_err(|e| refuse(e.to_string()))
}

fn overview(features: &[&FeatureProfile]) -> comfy_table::Table {
    let rows = features
        .iter()
        .map(|f| match &f.values {
            FeatureValues::Numeric(h) => vec![
                f.name.clone(),
                "numeric".into(),
                h.counts.len().to_string(),
                h.atoms.len().to_string(),
                format!("{} to {}", number(h.min), number(h.max)),
                FeatureWindow::from(*f).absent().to_string(),
            ],
            FeatureValues::Categorical(c) => vec![
                f.name.clone(),
                "categories".into(),
                c.vocabulary.len().to_string(),
                "-".into(),
                c.vocabulary.iter().take(6).cloned().collect::<Vec<_>>().join(", "),
                f.missing.to_string(),
            ],
        })
        .collect();
    show::table(&["feature", "kind", "bins", "atoms", "range", "without a value"], rows)
}

fn bins(f: &FeatureProfile) -> comfy_table::Table {
    let rows = match &f.values {
        FeatureValues::Numeric(h) => {
            let edge = |i: usize| h.edges.get(i).map_or(h.max, |e| *e);
            (0..h.counts.len())
                .map(|i| {
                    let from = i.checked_sub(1).map_or(h.min, edge);
                    let atom = if h.atoms.contains(&(i as u16)) { "atom" } else { "" };
                    vec![from.to_string(), edge(i).to_string(), h.counts[i].to_string(), atom.into()]
                })
                .collect()
        }
        FeatureValues::Categorical(c) => {
            let known = c.vocabulary.iter().zip(&c.counts);
            let other = [vec!["anything else".to_owned(), String::new(), c.other.to_string(), String::new()]];
            known
                .map(|(w, n)| vec![w.clone(), String::new(), n.to_string(), String::new()])
                .chain(other)
                .collect()
        }
    };
    show::table(&["from", "to, without", "rows", ""], rows)
}

fn quality(q: &ReferenceQuality) -> Value {
    let calibration = |c: &Calibration| json!({ "values": c.values(), "rows": c.rows() });
    json!({
        "rows": q.rows,
        "right": q.right,
        "top": calibration(&q.top),
        "positive": q.positive.as_ref().map(calibration),
    })
}

fn json(f: &FeatureProfile) -> Value {
    match &f.values {
        FeatureValues::Numeric(h) => json!({
            "name": f.name,
            "kind": "numeric",
            "edges": h.edges,
            "counts": h.counts,
            "atoms": h.atoms,
            "min": h.min,
            "max": h.max,
            "missing": f.missing,
            "nan": h.nan,
            "pos_inf": h.pos_inf,
            "neg_inf": h.neg_inf,
        }),
        FeatureValues::Categorical(c) => json!({
            "name": f.name,
            "kind": "categorical",
            "categories": c.vocabulary,
            "counts": c.counts,
            "other": c.other,
            "missing": f.missing,
        }),
    }
}
