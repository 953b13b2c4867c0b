//! `longshore bundle doctor`.

use std::path::PathBuf;

use longshore_runtime::doctor::{Diagnosis, Finding};
use longshore_runtime::{Limits, Model, doctor};
use longshore_trust::ModelName;
use serde_json::json;

use super::graph::{self, Identity, Shape};
use super::{read, table};
use crate::context::{Context, Failure};

/// Which model.
#[derive(clap::Args)]
pub struct Args {
    /// The model, one ONNX file
    model: PathBuf,
    /// Shape of an input where the file leaves it open: NAME=1,3,224,224 (letters stand for any length); repeatable
    #[arg(long, value_name = "NAME=DIMS", value_parser = graph::parse_shape)]
    shape: Vec<Shape>,
}

/// Examines a model.
///
/// # Errors
/// Exit code 1 when it does not load.
pub fn run(context: &Context, args: &Args) -> Result<(), Failure> {
    let onnx = read(&args.model)?;
    let file = args.model.display().to_string();
    let limits = Limits::default();
    let mut loaded = None;
    let mut diagnosis = doctor::examine(&onnx, &limits, |_| {
        // The trial load is the one that `bundle build` would make, so that both judge alike.
        let name = ModelName::new("model").map_err(|e| e.to_string())?;
        let identity = Identity {
            name,
            version: semver::Version::new(0, 0, 0),
            created: "1970-01-01T00:00:00Z".to_owned(),
        };
        let drafted = graph::draft(&onnx, &file, &args.shape, identity);
        match drafted {
            Ok(d) => {
                loaded = Some(d.notes);
                Ok(d.manifest)
            }
            // Draw the typed reason from a plain load of what the file says.
            Err(failure) => {
                let identity = Identity {
                    name: ModelName::new("model").map_err(|e| e.to_string())?,
                    version: semver::Version::new(0, 0, 0),
                    created: "1970-01-01T00:00:00Z".to_owned(),
                };
                let described = longshore_runtime::describe::describe(&onnx).map_err(|e| e.to_string())?;
                let manifest =
                    graph::from_description(&described, &args.shape, identity).map_err(|f| f.message)?;
                if Model::probe(&manifest, &onnx, &limits).is_ok() {
                    return Err(failure.message);
                }
                Ok(manifest)
            }
        }
    });
    diagnosis.findings.dedup();
    show(context, &file, &diagnosis, loaded.unwrap_or_default());
    match diagnosis.findings.len() {
        0 => Ok(()),
        _ if context.json() => Err(Failure::reported()),
        n => Err(Failure::refused("model.doctor", format!("{file} does not load: {n} finding(s) above"))),
    }
}

fn show(context: &Context, file: &str, d: &Diagnosis, notes: Vec<String>) {
    if context.json() {
        println!("{}", json!({ "ok": d.findings.is_empty(), "file": file, "diagnosis": d, "notes": notes }));
        return;
    }
    if let Some(about) = &d.description {
        let mut t = table();
        let mut operators: Vec<(&String, &usize)> = about.operators.iter().collect();
        operators.sort_by(|a, b| b.1.cmp(a.1).then(a.0.cmp(b.0)));
        let shown: Vec<String> = operators.iter().take(12).map(|(o, n)| format!("{o} x{n}")).collect();
        t.add_row(["written by".to_owned(), format!("{}, opset {}", about.producer, about.opset)]);
        t.add_row(["nodes".to_owned(), format!("{}: {}", about.nodes, shown.join(", "))]);
        for i in &about.inputs {
            t.add_row(["input".to_owned(), i.to_string()]);
        }
        for o in &about.outputs {
            t.add_row(["output".to_owned(), format!("{o} (as the file says)")]);
        }
        println!("{t}");
    }
    for Finding { node, operator, reason, advice } in &d.findings {
        match (node, operator) {
            (Some(node), Some(operator)) => println!("\nnode `{node}` (operator `{operator}`)"),
            _ => println!("\nthe model as a whole"),
        }
        println!("  what:  {reason}\n  to do: {advice}");
    }
    for note in notes {
        println!("note: {note}");
    }
    if d.findings.is_empty() {
        println!("it loads");
    }
}
