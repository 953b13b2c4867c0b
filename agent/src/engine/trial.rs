//! The trial: does this bundle load here, answer as its author promised, and stay within its limits? Runs in an engine of
//! its own that does nothing else and ends afterwards.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt as _;

use longshore_runtime::golden;
use longshore_wire::v1::{Deviation, Reason, TrialReport};

use super::load::{load, reason};
use super::protocol::LoadRequest;

/// Peak memory of this process, readable after the sandbox has closed `/proc`.
pub struct PeakMemory(Option<File>);

impl PeakMemory {
    /// Opens the figures; call it before the sandbox stands.
    #[must_use]
    pub fn open() -> Self {
        Self(File::open("/proc/self/status").ok())
    }
    /// Largest resident set so far, KiB; 0 where the kernel does not tell.
    #[must_use]
    pub fn kib(&self) -> u32 {
        let mut text = [0u8; 8192];
        let n = self.0.as_ref().and_then(|f| f.read_at(&mut text, 0).ok()).unwrap_or(0);
        peak_kib(&String::from_utf8_lossy(&text[..n])).unwrap_or(0)
    }
}

fn peak_kib(status: &str) -> Option<u32> {
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Runs the trial of one bundle.
///
/// # Errors
/// Why the bundle failed: the reasons of [`load`], `golden.…` when its answers are wrong, `trial.memory` when it takes more
/// than its manifest allows.
pub fn run(request: &LoadRequest, fds: Vec<OwnedFd>, memory: &PeakMemory) -> Result<TrialReport, Reason> {
    let bundle = load(request, fds)?;
    let vectors = bundle
        .golden
        .as_ref()
        .ok_or_else(|| reason("engine.request", "the golden vectors were not handed over"))?;
    let report = golden::run(&bundle.model, &bundle.manifest, vectors).map_err(|e| reason(e.code(), e))?;
    let rss_kib = memory.kib();
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peak_memory_is_read_from_the_status_file() {
        assert_eq!(peak_kib("Name:\tx\nVmHWM:\t   12345 kB\nVmRSS:\t 1 kB\n"), Some(12345));
        assert_eq!(peak_kib("Name:\tx\n"), None);
        assert!(PeakMemory::open().kib() > 0);
    }
}
