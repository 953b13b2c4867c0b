//! `longshore bundle test`: what a device would say of a bundle, for people and for pipelines.

use std::path::PathBuf;

use longshore_runtime::{CheckReport, Limits, recheck};

use super::{failed, junit, size, table};
use crate::context::{Context, Failure};

/// Which bundle, and where to report.
#[derive(clap::Args)]
pub struct Args {
    /// Directory of the bundle
    dir: PathBuf,
    /// Also write the result as JUnit XML
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
}

/// Checks a bundle.
///
/// # Errors
/// The first thing a device would refuse.
pub fn run(context: &Context, args: &Args) -> Result<(), Failure> {
    let begin = std::time::Instant::now();
    let result = recheck(&args.dir, &Limits::default());
    if let Some(path) = &args.junit {
        let case = junit::case(&args.dir.display().to_string(), &result, begin.elapsed());
        crate::junit::write(path, "longshore bundle test", &[case])?;
    }
    let report = result.map_err(|e| failed(&e))?;
    if context.json() {
        let mut value = serde_json::to_value(&report)
            .map_err(|e| Failure::refused("io", format!("cannot write the report as JSON: {e}")))?;
        value["ok"] = true.into();
        println!("{value}");
    } else {
        show(&report);
    }
    Ok(())
}

fn show(r: &CheckReport) {
    println!("{} {} passes  digest {}", r.model, r.version, r.digest);
    let mut t = table();
    t.add_row(["files".to_owned(), format!("{}, {}", r.files, size(r.total_bytes))]);
    t.add_row(["loads in".to_owned(), format!("{} ms", r.load_ms)]);
    t.add_row(["golden vectors".to_owned(), format!("{} rows", r.golden.rows)]);
    for d in &r.golden.outputs {
        t.add_row([
            format!("  {}", d.name),
            format!("off by at most {:.1e} ({:.1e} relative)", d.max_abs, d.max_rel),
        ]);
    }
    t.add_row(["latency here".to_owned(), format!("p50 {} us, p99 {} us", r.golden.p50_us, r.golden.p99_us)]);
    if let Some(kb) = r.peak_rss_kb {
        t.add_row(["peak memory".to_owned(), size(kb * 1024)]);
    }
    println!("{t}");
}
