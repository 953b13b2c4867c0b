//! A trial: a short-lived engine of its own runs the golden vectors of a bundle, under memory and time limits.

use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use longshore_agent_core::assignment::reason;
use longshore_agent_core::update::Installed;
use longshore_trust::ModelName;
use longshore_wire::v1::{Reason, TrialReport};

use super::heard;
use super::process::{Process, Told};
use super::sealed;
use crate::engine::protocol::{FromEngine, LoadId, LoadRequest, ToEngine, TrialLimits};
use crate::fetch::bundle_dir;

/// Code of the answer of a trial that was cancelled.
pub const CANCELLED: &str = "trial.cancelled";

/// One trial.
#[derive(Debug, Clone)]
pub struct Trial {
    /// This program, which is its own engine.
    pub program: PathBuf,
    /// The model.
    pub model: ModelName,
    /// The bundle.
    pub wanted: Installed,
    /// Where bundles are.
    pub state_dir: PathBuf,
    /// Id of the load.
    pub load: LoadId,
    /// Longest time.
    pub limit: Duration,
    /// Address space, bytes.
    pub memory_bytes: u64,
    /// Set when nobody wants it any more.
    pub cancel: Arc<AtomicBool>,
}

impl Trial {
    /// Runs to the end, or to the deadline; blocking.
    ///
    /// # Errors
    /// Why the bundle failed. Nothing else has changed then.
    pub fn run(&self) -> Result<TrialReport, Reason> {
        let broken = |e: &dyn std::fmt::Display| reason("trial.start", e.to_string());
        let digest = self.wanted.bundle;
        let sealed = sealed::bundle(&bundle_dir(&self.state_dir, &digest), &digest)
            .map_err(|e| reason("trial.verify", e.to_string()))?;
        let (told, hear) = channel();
        let process = Process::start(&self.program, true, move |t| {
            // Nobody listens any more once the trial is over.
            let _ = told.send(t);
        })
        .map_err(|e| broken(&e))?;
        let request = LoadRequest {
            load: self.load,
            model: self.model.clone(),
            version: self.wanted.version.clone(),
            digest,
            files: sealed.paths.clone(),
        };
        let limits = TrialLimits { memory_bytes: self.memory_bytes, cpu_s: self.limit.as_secs().max(1) };
        let packet = ToEngine::Trial { request, limits };
        let fds: Vec<_> = sealed.fds.iter().map(|f| f.as_fd()).collect();
        process.send(&packet, &fds).map_err(|e| broken(&e))?;

        let begun = Instant::now();
        loop {
            match hear.recv_timeout(Duration::from_millis(100)) {
                Ok(Told::Packet(FromEngine::Trial(result))) => {
                    return result.map(heard::report).map_err(heard::reason);
                }
                Ok(Told::Packet(_)) => {}
                Ok(Told::Gone(ending)) => {
                    let text = format!("the trial engine ended without an answer: {}", ending.detail);
                    return Err(reason(&format!("trial.{}", ending.name()), text));
                }
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(reason("trial.crash", "the trial engine ended without an answer"));
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
            if begun.elapsed() > self.limit {
                let text = format!("no result after {} s; the trial engine was killed", self.limit.as_secs());
                return Err(reason("trial.deadline", text));
            }
            if self.cancel.load(Ordering::Relaxed) {
                return Err(reason(CANCELLED, "nobody wants this bundle any more"));
            }
        }
    }
}
