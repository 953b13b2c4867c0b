//! The link to the fleet: a wire, not a store.
//!
//! The outbox is the only queue; what the link drops is offered again. So `publish` never waits: it takes a message or
//! refuses it. Messages from the fleet are acknowledged after what they caused has been committed.

mod mqtt;
pub mod twin;

pub use mqtt::{MqttLink, MqttSettings, parse_url};

/// The wire cannot take a message now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the link cannot take a message now")]
pub struct NotSent;

/// Acknowledges one message; dropping it unused means it may come again.
pub struct Ack(Box<dyn FnOnce() + Send>);

impl Ack {
    /// From what acknowledging does.
    #[must_use]
    pub fn new(f: impl FnOnce() + Send + 'static) -> Self {
        Self(Box::new(f))
    }
    /// Acknowledges.
    pub fn now(self) {
        (self.0)();
    }
}
impl std::fmt::Debug for Ack {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Ack")
    }
}

/// What the link tells.
#[derive(Debug)]
pub enum LinkEvent {
    /// Connected and subscribed.
    Up,
    /// Not connected any more, or still not.
    Down(String),
    /// A message from the fleet.
    Message {
        /// Its topic.
        topic: String,
        /// Its bytes.
        bytes: Vec<u8>,
        /// To be called after the commit.
        ack: Ack,
    },
}

/// A wire to the fleet.
pub trait Link: Send {
    /// Hands a message over.
    ///
    /// # Errors
    /// [`NotSent`] when there is no connection or no room; never waits.
    fn publish(&self, topic: &str, bytes: Vec<u8>) -> Result<(), NotSent>;
    /// Says good-bye.
    fn close(&self);
}
