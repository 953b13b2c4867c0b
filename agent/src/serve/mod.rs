//! The local API: the Open Inference Protocol on the sockets that the supervisor bound, and a little of our own.
//!
//! One thread does all input and output; a few compute. Always true here: every queue and every body is bounded, nothing
//! waits for ever, no request can make the process panic or end, and a request is counted before it is answered.

mod body;
mod describe;
mod explain;
mod feedback;
mod infer;
mod listen;
mod metrics;
pub mod models;
pub mod oip;
mod pool;
pub mod queries;
mod refusal;
mod routes;
pub mod shadow;
pub mod watch;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::Sender;
use std::time::Duration;

use longshore_trust::Digest;

use crate::engine::protocol::FromEngine;
use explain::Explainer;
use models::Models;
use pool::Pool;
use queries::Queries;
use shadow::Shadows;

pub use listen::{Listeners, Stop, serve};

/// Most threads that compute.
const THREADS_MAX: usize = 4;

/// What the supervisor decides about serving.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Longest request body, bytes.
    pub max_body_bytes: u64,
    /// Requests that may wait.
    pub queue: u32,
    /// Token for labels over TCP; empty for none.
    pub feedback_token: String,
    /// Longest computation of one request.
    pub longest: Duration,
}

/// Everything a request can reach.
pub struct Service {
    /// What is loaded and what answers.
    pub models: Models,
    /// Questions to the supervisor.
    pub queries: Queries,
    pool: Pool,
    explainer: Explainer,
    shadows: Shadows,
    bounds: body::BodyBounds,
    figures: metrics::Figures,
    feedback_token: Option<Digest>,
    longest: Duration,
    draining: AtomicBool,
}

impl Service {
    /// A service without models; starts its threads.
    ///
    /// # Errors
    /// When a thread cannot be started.
    pub fn start(settings: &Settings, outbox: Sender<FromEngine>) -> std::io::Result<Arc<Self>> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let token = &settings.feedback_token;
        Ok(Arc::new(Self {
            models: Models::default(),
            explainer: Explainer::start(outbox.clone())?,
            shadows: Shadows::start(settings.longest, outbox.clone())?,
            queries: Queries::new(outbox),
            pool: Pool::start(cores.min(THREADS_MAX), settings.queue as usize)?,
            bounds: body::BodyBounds::new(settings.max_body_bytes),
            figures: metrics::Figures::default(),
            feedback_token: (!token.is_empty()).then(|| Digest::of(token.as_bytes())),
            longest: settings.longest,
            draining: AtomicBool::new(false),
        }))
    }

    fn is_draining(&self) -> bool {
        self.draining.load(Relaxed)
    }
}
