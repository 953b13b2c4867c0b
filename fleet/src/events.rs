//! The bus inside the process: says *that* something changed, never what. Whoever listens reads the store.
//!
//! A slow listener loses events, not truth: it is told that it lagged and reads the store again.

use longshore_trust::{DeviceId, ModelName, RolloutId};
use tokio::sync::broadcast;

/// Something changed and has been committed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum FleetEvent {
    /// A device was enrolled, revoked, seen, lost, or reported something.
    Device(DeviceId),
    /// A rollout or one of its waves moved.
    Rollout(RolloutId),
    /// A model, version or alias changed.
    Model(ModelName),
    /// The verdicts on a model's versions were made anew.
    Judged(ModelName),
    /// An alert, a delivery or a silence changed.
    Alerts,
    /// Totals changed (rows counted, devices online, trust metadata).
    Summary,
}

/// Sends to everybody who listens; never blocks.
#[derive(Debug, Clone)]
pub struct Bus(broadcast::Sender<FleetEvent>);

impl Bus {
    /// A bus that keeps the last 1024 events for slow listeners.
    #[must_use]
    pub fn new() -> Self {
        Self(broadcast::channel(1024).0)
    }
    /// Tells everybody. Without listeners nothing happens.
    pub fn publish(&self, event: FleetEvent) {
        // An error means that nobody listens, which is fine.
        let _ = self.0.send(event);
    }
    /// Listens from now on.
    #[must_use]
    pub fn subscribe(&self) -> broadcast::Receiver<FleetEvent> {
        self.0.subscribe()
    }
}

impl Default for Bus {
    fn default() -> Self {
        Self::new()
    }
}
