//! The machine: clock, inventory, health, service manager.

pub mod facts;
pub mod notify;

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

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
