//! How much memory this process has taken, as the kernel counts it.

use std::fs::File;
use std::os::unix::fs::FileExt as _;

/// The memory figures of this process, readable after a sandbox has closed `/proc`.
#[derive(Debug)]
pub struct MemoryFigures(Option<File>);

impl MemoryFigures {
    /// Opens the figures; call it before a sandbox stands. Where there is no `/proc` every figure is `None`.
    #[must_use]
    pub fn open() -> Self {
        Self(File::open("/proc/self/status").ok())
    }
    /// Largest resident set so far, KiB (`VmHWM`).
    #[must_use]
    pub fn peak_kib(&self) -> Option<u64> {
        self.figure("VmHWM:")
    }
    /// Memory that only this process can write, KiB (`VmData`): what `RLIMIT_DATA` counts.
    #[must_use]
    pub fn private_kib(&self) -> Option<u64> {
        self.figure("VmData:")
    }
    fn figure(&self, name: &str) -> Option<u64> {
        let mut text = [0u8; 8192];
        let n = self.0.as_ref()?.read_at(&mut text, 0).ok()?;
        kib(&String::from_utf8_lossy(&text[..n]), name)
    }
}

fn kib(status: &str, name: &str) -> Option<u64> {
    status.lines().find_map(|l| l.strip_prefix(name))?.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_read_from_the_status_file() {
        let status = "Name:\tx\nVmHWM:\t   12345 kB\nVmRSS:\t 1 kB\nVmData:\t 7 kB\n";
        assert_eq!((kib(status, "VmHWM:"), kib(status, "VmData:")), (Some(12345), Some(7)));
        assert_eq!(kib("Name:\tx\n", "VmHWM:"), None);
        let figures = MemoryFigures::open();
        assert!(figures.peak_kib().is_some_and(|k| k > 0) && figures.private_kib().is_some_and(|k| k > 0));
    }
}
