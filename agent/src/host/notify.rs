//! The service manager: ready, alive, what goes on.

use std::time::Duration;

use sd_notify::NotifyState;

/// Says that the service is ready. Without a service manager this does nothing.
pub fn ready(status: &str) {
    send(&[NotifyState::Ready, NotifyState::Status(status)]);
}
/// Says what goes on.
pub fn status(status: &str) {
    send(&[NotifyState::Status(status)]);
}
/// Says that the main loop turns.
pub fn watchdog() {
    send(&[NotifyState::Watchdog]);
}
/// Says that the service is about to end.
pub fn stopping() {
    send(&[NotifyState::Stopping]);
}
/// How often [`watchdog`] has to be said, if at all: half of what the manager waits.
#[must_use]
pub fn watchdog_interval() -> Option<Duration> {
    let mut usec = 0;
    sd_notify::watchdog_enabled(false, &mut usec).then(|| Duration::from_micros(usec / 2))
}

fn send(states: &[NotifyState<'_>]) {
    if let Err(e) = sd_notify::notify(false, states) {
        tracing::debug!("the service manager was not reached: {e}");
    }
}
