//! A link in memory, for tests: it loses, doubles and reorders as it is told.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use super::{Link, NotSent};

/// A message on its way.
pub type Sent = (String, Vec<u8>);

/// The device's end and the test's end of a wire.
#[derive(Debug, Clone, Default)]
pub struct TwinLink {
    queue: Arc<Mutex<VecDeque<Sent>>>,
    capacity: Option<usize>,
}

impl TwinLink {
    /// A wire that holds at most `capacity` messages.
    #[must_use]
    pub fn with_capacity(capacity: usize) -> Self {
        Self { capacity: Some(capacity), ..Self::default() }
    }
    /// What was sent since the last call, in order.
    #[must_use]
    pub fn take(&self) -> Vec<Sent> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).drain(..).collect()
    }
}

impl Link for TwinLink {
    fn publish(&self, topic: &str, bytes: Vec<u8>) -> Result<(), NotSent> {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        if self.capacity.is_some_and(|c| queue.len() >= c) {
            return Err(NotSent);
        }
        queue.push_back((topic.to_owned(), bytes));
        Ok(())
    }
    fn close(&self) {}
}
