//! `longshore bundle inspect`.

use std::path::PathBuf;

use longshore_bundle::{Role, read_dir};
use longshore_stats::profile::FeatureValues;
use serde_json::json;

use super::{refused, size, table};
use crate::context::{Context, Failure};

/// Which bundle.
#[derive(clap::Args)]
pub struct Args {
    /// Directory of the bundle
    dir: PathBuf,
}

/// Shows a bundle.
///
/// # Errors
/// When its files are not what its manifest says.
pub fn run(context: &Context, args: &Args) -> Result<(), Failure> {
    let bundle = read_dir(&args.dir).map_err(|e| refused(&e))?;
    let m = &bundle.manifest;
    let profile = match bundle.read_role(Role::Reference).map_err(|e| refused(&e))? {
        Some(bytes) => Some(longshore_bundle::reference::parse(&bytes, m).map_err(|e| refused(&e))?),
        None => None,
    };
    if context.json() {
        let features = profile.as_ref().map(|p| p.features.len());
        let value = json!({
            "digest": bundle.digest,
            "manifest": m,
            "reference": profile.as_ref().map(|p| json!({ "rows": p.rows, "features": features })),
        });
        println!("{value}");
        return Ok(());
    }
    println!("{} {}  digest {}", m.model, m.version, bundle.digest);
    let mut t = table();
    t.add_row(["created".to_owned(), m.created.clone()]);
    t.add_row(["parent".to_owned(), m.parent.map_or("none".to_owned(), |p| p.to_hex())]);
    for f in &m.files {
        t.add_row([
            f.role.name().to_owned(),
            format!("{}  {}  sha256 {}", f.path, size(f.length), f.sha256.short()),
        ]);
    }
    for i in m.api_inputs() {
        t.add_row(["input".to_owned(), i.to_string()]);
    }
    for o in m.api_outputs().map_err(|e| refused(&e))? {
        t.add_row(["output".to_owned(), o.to_string()]);
    }
    if let Some(b) = m.batch {
        t.add_row(["batch".to_owned(), format!("up to {} rows along axis {}", b.max, b.axis)]);
    }
    if !m.monitor.classes.is_empty() {
        t.add_row(["classes".to_owned(), m.monitor.classes.join(", ")]);
    }
    t.add_row(["window".to_owned(), format!("{} s", m.monitor.window_s)]);
    if let Some(p) = &profile {
        let numeric = p.features.iter().filter(|f| matches!(f.values, FeatureValues::Numeric(_))).count();
        let others = p.features.len() - numeric;
        t.add_row([
            "reference".to_owned(),
            format!("{} rows, {numeric} numeric and {others} categorical features", p.rows),
        ]);
    }
    let r = &m.requires;
    let mut needs = Vec::new();
    if !r.targets.is_empty() {
        needs.push(r.targets.join(" or "));
    }
    needs.extend(r.min_agent.as_ref().map(|v| format!("agent {v} or newer")));
    needs.extend(r.max_rss_mb.map(|v| format!("{v} MB of memory")));
    needs.extend(r.max_p99_ms.map(|v| format!("p99 of at most {v} ms")));
    needs.extend(r.features.iter().cloned());
    t.add_row([
        "requires".to_owned(),
        if needs.is_empty() { "nothing".to_owned() } else { needs.join(", ") },
    ]);
    for (name, value) in &m.lineage.metrics {
        t.add_row(["metric".to_owned(), format!("{name} = {value}")]);
    }
    for d in &m.lineage.dataset {
        t.add_row(["dataset".to_owned(), format!("{} {}", d.name, d.license.as_deref().unwrap_or(""))]);
    }
    println!("{t}");
    Ok(())
}
