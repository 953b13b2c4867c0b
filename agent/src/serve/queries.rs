//! Questions that only the supervisor can answer. None waits for ever.

use std::collections::HashMap;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::Sender;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use crate::engine::protocol::{FromEngine, Query};

/// How long an answer may take. Feedback waits for a disk.
const PATIENCE: Duration = Duration::from_secs(5);
/// Questions that may be open; this also bounds what waits to be sent.
const OPEN_MAX: usize = 256;

/// An answer of the supervisor: HTTP status and body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// HTTP status.
    pub status: u16,
    /// JSON or text.
    pub body: Vec<u8>,
}

/// No answer came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// Too many questions are open.
    #[error("the agent is busy; try again later")]
    Busy,
    /// The supervisor did not answer in time. Whether it acted is not known.
    #[error("the agent's supervisor did not answer in time; try again")]
    Timeout,
}

/// The open questions.
pub struct Queries {
    outbox: Sender<FromEngine>,
    next: AtomicU64,
    open: Mutex<HashMap<u64, oneshot::Sender<Reply>>>,
}

impl Queries {
    /// Questions go out through `outbox`.
    #[must_use]
    pub fn new(outbox: Sender<FromEngine>) -> Self {
        Self { outbox, next: AtomicU64::new(1), open: Mutex::default() }
    }
    /// Asks and waits.
    ///
    /// # Errors
    /// [`QueryError`].
    pub async fn ask(&self, query: Query) -> Result<Reply, QueryError> {
        let id = self.next.fetch_add(1, Relaxed);
        let (tell, told) = oneshot::channel();
        {
            let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
            // Those whose caller went away are still here.
            open.retain(|_, tell| !tell.is_closed());
            if open.len() >= OPEN_MAX {
                return Err(QueryError::Busy);
            }
            open.insert(id, tell);
        }
        self.outbox.send(FromEngine::Query { id, query }).map_err(|_| QueryError::Timeout)?;
        match tokio::time::timeout(PATIENCE, told).await {
            Ok(Ok(reply)) => Ok(reply),
            _ => Err(QueryError::Timeout),
        }
    }
    /// The supervisor's answer has come.
    pub fn answered(&self, id: u64, reply: Reply) {
        if let Some(tell) = self.open.lock().unwrap_or_else(PoisonError::into_inner).remove(&id) {
            // The caller may have given up.
            let _ = tell.send(reply);
        }
    }
}
