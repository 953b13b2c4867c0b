//! The machine: clock, inventory, health, service manager.

pub mod facts;
pub mod notify;

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use longshore_agent_core::clock::Reading;
use longshore_trust::{TimeQuality, UnixMs};

pub use crate::page::boot_id;
pub use facts::{HealthFacts, health, inventory, memory_kib};

/// The wall clock, and how far it can be believed.
#[must_use]
pub fn now() -> (UnixMs, TimeQuality) {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let synchronised = ["/run/systemd/timesync/synchronized", "/run/chrony/chronyd.pid", "/run/chronyd.pid"];
    let ntp = synchronised.iter().any(|p| Path::new(p).exists());
    let now = UnixMs(u64::try_from(since.as_millis()).unwrap_or(u64::MAX));
    (now, if ntp { TimeQuality::Ntp } else { TimeQuality::None })
}

/// No build of this program is older: the floor of a device that knows nothing else (2026-05-28).
pub const BUILT: UnixMs = UnixMs::from_secs(1_780_000_000);

/// What the machine's clocks say.
#[must_use]
pub fn reading() -> Reading {
    let (wall, quality) = now();
    let since = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let secs = u64::try_from(since.tv_sec).unwrap_or(0);
    let boot_ms = secs * 1000 + u64::try_from(since.tv_nsec).unwrap_or(0) / 1_000_000;
    Reading { wall, synchronised: quality == TimeQuality::Ntp, boot_ms }
}

/// Random bytes from the kernel.
///
/// # Panics
/// When the kernel has none: nothing here could be trusted then.
#[must_use]
pub fn random<const N: usize>() -> [u8; N] {
    let mut out = [0; N];
    getrandom::fill(&mut out).expect("the kernel gives random bytes");
    out
}
