//! MQTT: the embedded broker, and the gateway that is an ordinary client of whatever broker is configured.
//!
//! What always holds: nothing a broker says is believed without a signature of the device it names; nothing a broker
//! keeps is needed. rumqttc and mqtt5 are named only below this module.
//!
//! The way of a message: [`client`] takes it from the broker and bounds its rate, [`ingest`] verifies it and stores a
//! batch in one transaction, [`outbox`] answers after the commit.

pub mod broker;
mod client;
mod ingest;
mod outbox;
mod rate;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use longshore_trust::DeviceId;
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;

pub use broker::Broker;
pub use client::Link;
pub use ingest::{Accepted, Outcome, Refusal, store_batch, verify};

use crate::app::Shared;

/// Messages that wait for the database at most; more are dropped, counted, and sent again by their devices.
const QUEUE: usize = 8192;

/// What other parts ask the gateway to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ask {
    /// Send a device its newest assignment and its unexpired commands.
    Push(DeviceId),
    /// Tell every online device that trust metadata has changed.
    Doorbell,
    /// Close the connection of a device (it was revoked).
    Disconnect(DeviceId),
    /// A device has new keys: look them up again.
    Forget(DeviceId),
}

/// What the gateway has done since the start.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Whether it is connected to its broker.
    pub linked: AtomicBool,
    /// Messages received.
    pub received: AtomicU64,
    /// Messages stored for the first time.
    pub stored: AtomicU64,
    /// Messages that were stored before.
    pub duplicates: AtomicU64,
    /// Messages that their devices signed and nobody here can read: kept and receipted.
    pub quarantined: AtomicU64,
    /// Messages refused: not signed, not for here, of a revoked device.
    pub refused: AtomicU64,
    /// Messages over a device's rate.
    pub limited: AtomicU64,
    /// Messages dropped because the database did not keep up.
    pub overrun: AtomicU64,
    /// Receipts sent.
    pub receipts: AtomicU64,
    /// Hellos answered.
    pub hellos: AtomicU64,
    /// Transactions.
    pub batches: AtomicU64,
}

impl Metrics {
    fn add(counter: &AtomicU64, n: u64) {
        counter.fetch_add(n, Ordering::Relaxed);
    }
}

/// Talks to the running gateway. Never blocks; what is asked after a commit may be lost with the process, and is made
/// good by the device's next `hello`.
#[derive(Debug, Clone)]
pub struct Handle {
    asks: mpsc::UnboundedSender<Ask>,
    metrics: Arc<Metrics>,
}

impl Handle {
    /// A handle and the end where the gateway listens.
    #[must_use]
    pub fn new() -> (Self, mpsc::UnboundedReceiver<Ask>) {
        let (asks, rx) = mpsc::unbounded_channel();
        let metrics = Arc::default();
        (Self { asks, metrics }, rx)
    }
    fn ask(&self, ask: Ask) {
        // The gateway ends only with the process.
        let _ = self.asks.send(ask);
    }
    /// Sends a device its newest assignment and its unexpired commands. Call it after the commit.
    pub fn push(&self, device: DeviceId) {
        self.ask(Ask::Push(device));
    }
    /// Tells every online device that trust metadata has changed.
    pub fn doorbell(&self) {
        self.ask(Ask::Doorbell);
    }
    /// A device has new keys: they are looked up again.
    pub fn forget(&self, device: DeviceId) {
        self.ask(Ask::Forget(device));
    }
    /// Closes the connection of a revoked device.
    pub fn disconnect(&self, device: DeviceId) {
        self.ask(Ask::Disconnect(device));
    }
    /// What the gateway has done.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }
}

/// The ends that the gateway's tasks listen on.
pub struct Ends {
    /// From [`Handle`].
    pub asks: mpsc::UnboundedReceiver<Ask>,
    /// Devices that left the embedded broker.
    pub left: mpsc::UnboundedReceiver<DeviceId>,
    /// The embedded broker, if it is used.
    pub broker: Option<Broker>,
}

/// Starts the gateway's tasks; they end when `app.stop` is cancelled.
pub fn spawn(app: &Shared, link: &Link, ends: Ends, tasks: &TaskTracker) {
    let (queue, incoming) = mpsc::channel(QUEUE);
    let (publisher, connection) = client::connect(link, app);
    let identities = Arc::new(ingest::Identities::new(app.store.clone()));
    tasks.spawn(client::run(Arc::clone(app), connection, publisher.clone(), queue));
    tasks.spawn(ingest::run(Arc::clone(app), incoming, Arc::clone(&identities), publisher.clone()));
    tasks.spawn(outbox::run(Arc::clone(app), ends, identities, publisher));
}
