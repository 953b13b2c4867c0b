//! The trial: does this bundle load here, answer as its author promised, and stay within its limits? Runs in an engine of
//! its own that does nothing else and ends afterwards.

use std::os::fd::OwnedFd;

use longshore_runtime::{MemoryFigures, golden};
use longshore_wire::v1::{Deviation, Reason, TrialReport};

use super::load::{load, reason};
use super::protocol::LoadRequest;

/// Runs the trial of one bundle.
///
/// # Errors
/// Why the bundle failed: the reasons of [`load`], `golden.…` when its answers are wrong, `trial.memory` when it takes more
/// than its manifest allows.
pub fn run(request: &LoadRequest, fds: Vec<OwnedFd>, memory: &MemoryFigures) -> Result<TrialReport, Reason> {
    let bundle = load(request, fds, None)?;
    let vectors = bundle
        .golden
        .as_ref()
        .ok_or_else(|| reason("engine.request", "the golden vectors were not handed over"))?;
    let report = golden::run(&bundle.model, &bundle.manifest, vectors).map_err(|e| reason(e.code(), e))?;
    let rss_kib = memory.peak_kib().and_then(|kib| u32::try_from(kib).ok()).unwrap_or(0);
    if let Some(max) = bundle.manifest.requires.max_rss_mb
        && u64::from(rss_kib) * 1024 > u64::from(max) * 1_000_000
    {
        let detail =
            format!("it took {} MB, its manifest allows {max} MB", u64::from(rss_kib) * 1024 / 1_000_000);
        return Err(reason("trial.memory", detail));
    }
    let narrow = |us: u64| u32::try_from(us).unwrap_or(u32::MAX);
    Ok(TrialReport {
        load_ms: bundle.load_ms,
        golden_rows: u32::try_from(report.rows).unwrap_or(u32::MAX),
        deviations: report
            .outputs
            .into_iter()
            .map(|d| Deviation { output: d.name, max_abs: d.max_abs, max_rel: d.max_rel })
            .collect(),
        p50_us: narrow(report.p50_us),
        p99_us: narrow(report.p99_us),
        rss_kib,
    })
}
