//! What every part of the server shares.

use std::sync::Arc;

use longshore_trust::{FleetId, UnixMs};

use crate::audit::AuditLog;
use crate::config::Config;
use crate::director::Director;
use crate::events::Bus;
use crate::gateway;
use crate::objects::ObjectDir;
use crate::store::Store;
use crate::trust_repo::TrustRepo;

/// The parts of one running server.
pub struct App {
    /// The record.
    pub store: Store,
    /// Tells listeners that something changed.
    pub events: Bus,
    /// Sends to devices.
    pub gateway: gateway::Handle,
    /// Trust metadata.
    pub trust: TrustRepo,
    /// Bundle files.
    pub objects: ObjectDir,
    /// Signs what devices are told.
    pub director: Director,
    /// Signs and guards the audit log.
    pub audit: AuditLog,
    /// As configured.
    pub config: Config,
    /// The fleet this server serves.
    pub fleet: FleetId,
    /// Set when the server is asked to stop; background tasks end then.
    pub stop: tokio_util::sync::CancellationToken,
}

/// How the parts are handed around.
pub type Shared = Arc<App>;

/// From 0 to 1, drawn anew each time: so that those who wait for the same thing do not all come at once.
#[must_use]
pub fn jitter() -> f64 {
    let mut bytes = [0u8; 4];
    // Without a random source everybody waits the longest.
    getrandom::fill(&mut bytes).map_or(1.0, |()| f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX))
}

/// The wall clock. The one place where this crate reads it.
#[must_use]
pub fn now() -> UnixMs {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    UnixMs(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
