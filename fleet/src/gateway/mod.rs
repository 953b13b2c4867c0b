//! MQTT: the embedded broker, and the gateway that is an ordinary client of whatever broker is configured.
//!
//! What always holds: nothing a broker says is believed without a signature of the device it names; nothing a broker
//! keeps is needed. rumqttc and mqtt5 are named only below this module.

use longshore_trust::DeviceId;
use tokio::sync::mpsc;

/// What other parts ask the gateway to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ask {
    /// Send a device its newest assignment and its unexpired commands.
    Push(DeviceId),
    /// Tell every online device that trust metadata has changed.
    Doorbell,
    /// Close the connection of a device (it was revoked).
    Disconnect(DeviceId),
}

/// Talks to the running gateway. Never blocks; what is asked after a commit may be lost with the process, and is made
/// good by the device's next `hello`.
#[derive(Debug, Clone)]
pub struct Handle(mpsc::UnboundedSender<Ask>);

impl Handle {
    /// A handle and the end where the gateway listens.
    #[must_use]
    pub fn new() -> (Self, mpsc::UnboundedReceiver<Ask>) {
        let (tx, rx) = mpsc::unbounded_channel();
        (Self(tx), rx)
    }
    fn ask(&self, ask: Ask) {
        // The gateway ends only with the process.
        let _ = self.0.send(ask);
    }
    /// Sends a device its newest assignment and its unexpired commands. Call it after the commit.
    pub fn push(&self, device: DeviceId) {
        self.ask(Ask::Push(device));
    }
    /// Tells every online device that trust metadata has changed.
    pub fn doorbell(&self) {
        self.ask(Ask::Doorbell);
    }
    /// Closes the connection of a revoked device.
    pub fn disconnect(&self, device: DeviceId) {
        self.ask(Ask::Disconnect(device));
    }
}
