//! Doing what the update core wishes.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use longshore_agent_core::assignment::reason;
use longshore_agent_core::update::{Batch, FetchFailure, Input, Installed, Output, Phase, Write};
use longshore_agent_core::{TargetsView, sync};
use longshore_trust::tuf::{Trusted, TufError};
use longshore_trust::{Digest, ModelName};

use super::Supervisor;
use super::event::Happening;
use super::process::program;
use super::trial::Trial;
use crate::fetch::{self, BundleJob};

/// Wait before the database is tried again.
const RETRY: Duration = Duration::from_secs(2);
/// Wait before a hint is followed when there were too many.
const HINTED_LATER: Duration = Duration::from_secs(60);

impl Supervisor {
    /// Hands a fact to the update core and does what it wishes. What that causes is handed over in its turn.
    pub(super) fn feed(&mut self, input: Input) {
        self.inputs.push_back(input);
        if self.feeding {
            return;
        }
        self.feeding = true;
        while let Some(input) = self.inputs.pop_front() {
            let at = self.moment();
            self.updates.handle(at, input);
            loop {
                match self.updates.poll() {
                    Output::WakeAt(at) => {
                        self.wake.0 = at;
                        break;
                    }
                    wish => self.act(wish),
                }
            }
        }
        self.feeding = false;
    }

    fn act(&mut self, wish: Output) {
        match wish {
            Output::Persist(batch) => {
                self.unwritten.push_back(batch);
                self.write_waiting();
            }
            Output::Refresh(paths) => self.refresh(paths),
            Output::Fetch(model, wanted) => self.fetch(model, wanted),
            Output::CancelFetch(model) => {
                if let Some(flag) = self.fetching.remove(&model) {
                    flag.store(true, Ordering::Relaxed);
                }
            }
            Output::Trial(model, wanted) => self.try_out(model, wanted),
            Output::CancelTrial(model) => {
                if let Some(flag) = self.trying.get(&model) {
                    flag.store(true, Ordering::Relaxed);
                }
            }
            Output::Serve(model, wanted) => self.serve(model, wanted),
            Output::Shadow(model, wanted) => self.shadow(model, wanted),
            Output::Collect => self.collect(),
            Output::Flush => self.flush(),
            Output::Wipe(epoch, seq) => {
                tracing::warn!(epoch, seq, "the fleet decommissions this device");
                self.wiping = Some((epoch, seq));
            }
            Output::WakeAt(at) => self.wake.0 = at,
        }
        self.status_dirty = true;
    }

    /// Commits batches in their order; what the database cannot take yet waits.
    pub(super) fn write_waiting(&mut self) {
        while let Some(batch) = self.unwritten.front() {
            let now = self.now();
            match self.store.apply(batch, now) {
                Ok(()) => {
                    let batch = self.unwritten.pop_front().expect("it was just looked at");
                    log_batch(&batch);
                    if batch.writes.iter().any(|w| matches!(w, Write::Record(_))) {
                        // Deadlines were set by the steady clock: it must be found where it was.
                        self.save_clock();
                    }
                    self.feed(Input::Persisted(batch.token));
                    self.feed_sync(sync::Input::Backlog);
                }
                Err(e) => {
                    tracing::error!("{e}; trying again");
                    self.timers.retry = Some(Instant::now() + RETRY);
                    return;
                }
            }
        }
    }

    fn fetch(&mut self, model: ModelName, wanted: Installed) {
        if let Some(old) = self.fetching.remove(&model) {
            old.store(true, Ordering::Relaxed);
        }
        let cancel = Arc::new(AtomicBool::new(false));
        self.fetching.insert(model.clone(), Arc::clone(&cancel));
        let facts = crate::host::inventory(&self.config.state_dir, &self.config.labels, &self.sandbox);
        let job = BundleJob {
            model: model.clone(),
            wanted,
            trusted: Arc::clone(&self.trusted),
            state_dir: self.config.state_dir.clone(),
            keep_free_bytes: self.config.limits.min_free_bytes,
            attempt_bytes: self.config.limits.fetch_bytes_per_attempt,
            memory_mb: Some(facts.memory_kib / 1024).filter(|mb| *mb > 0),
            features: facts.features,
            cancel,
        };
        let remote = self.remote.clone();
        let bundle = job.wanted.bundle;
        self.spawn("fetch", move || {
            let result = job.run(&remote);
            if let Err(FetchFailure::Transient(why) | FetchFailure::NoSpace(why)) = &result {
                tracing::warn!(model = %job.model, version = job.wanted.version, "download: {}", why.detail);
            }
            Happening::Fetched(model, bundle, result)
        });
    }

    fn try_out(&mut self, model: ModelName, wanted: Installed) {
        let mut begin = || -> anyhow::Result<_> { Ok((self.store.uncounted_load()?, program()?)) };
        let (load, program) = match begin() {
            Ok(begun) => begun,
            Err(e) => {
                let why = reason("trial.start", e.to_string());
                return self.feed(Input::Tried(model, wanted.bundle, Err(why)));
            }
        };
        let cancel = Arc::new(AtomicBool::new(false));
        self.trying.insert(model.clone(), Arc::clone(&cancel));
        let trial = Trial {
            program,
            model: model.clone(),
            state_dir: self.config.state_dir.clone(),
            load,
            limit: self.config.limits.trial,
            memory_bytes: self.config.limits.trial_memory_bytes,
            cancel,
            wanted,
        };
        self.spawn("trial", move || {
            let result = trial.run();
            Happening::Tried(model, trial.wanted.bundle, result)
        });
    }

    /// Runs blocking work in a thread of its own, which answers into the queue.
    pub(super) fn spawn(&mut self, name: &str, work: impl FnOnce() -> Happening + Send + 'static) {
        let queue = self.queue.clone();
        let thread = std::thread::Builder::new().name(name.into()).spawn(move || {
            // The receiver is gone only when the process ends.
            let _ = queue.send(work());
        });
        if let Err(e) = thread {
            tracing::error!("cannot start a thread for {name}: {e}");
        }
    }

    /// Refreshes metadata for an offer, which wants to look at these paths.
    fn refresh(&mut self, paths: Vec<String>) {
        self.refresh.offer = paths;
        self.start_refresh();
    }
    /// Refreshes metadata. One refresh runs at a time; wishes that come meanwhile are one more refresh after it.
    pub(super) fn start_refresh(&mut self) {
        if self.refresh.running.is_some() {
            self.refresh.again = true;
            return;
        }
        // What runs is looked at as well: a way back is signed in its metadata.
        let active = self.updates.models().filter_map(|r| r.active.as_ref()).map(|i| i.manifest_path.clone());
        let mut paths: Vec<String> = self.refresh.offer.iter().cloned().chain(active).collect();
        paths.sort();
        paths.dedup();
        self.refresh.running = Some(paths.clone());
        let (remote, dir, now) =
            (self.remote.clone(), self.config.state_dir.join("trust"), self.moment().now);
        self.spawn("refresh", move || {
            Happening::Refreshed(fetch::refresh(&remote, &dir, &paths, now).map(Box::new))
        });
    }
    /// Whether something unsigned may cause a refresh now: a broker that sends such things all day must not make this
    /// device ask the fleet all day. What is too much is made up for once, a little later.
    pub(super) fn takes_a_hint(&mut self) -> bool {
        let taken = self.hints.take(self.steady());
        if !taken {
            self.timers.refresh = self.timers.refresh.min(Instant::now() + HINTED_LATER);
        }
        taken
    }
    pub(super) fn on_refreshed(&mut self, result: Result<Box<(Trusted, TargetsView)>, TufError>) {
        let looked_at = self.refresh.running.take().unwrap_or_default();
        let answer = match result {
            Ok(found) => {
                let (trusted, view) = *found;
                self.trusted = Arc::new(trusted);
                Ok(view)
            }
            Err(e) => {
                tracing::warn!("trust metadata: {e}");
                // Roles that did verify have been kept.
                if let Ok(trusted) = fetch::load_trusted(&self.config.state_dir.join("trust")) {
                    self.trusted = Arc::new(trusted);
                }
                let why = reason(refresh_code(&e), e.to_string());
                if why.code == REFUSED {
                    // The fleet hears of it even when no assignment waits: it may not know what it serves.
                    self.refused(why.clone());
                }
                Err(why)
            }
        };
        self.follow_trust();
        self.follow_director();
        // An answer that did not look at what the offer names says nothing about it.
        if self.refresh.offer.iter().all(|p| looked_at.contains(p)) {
            self.feed(Input::Targets(answer));
        } else {
            self.refresh.again = true;
        }
        if std::mem::take(&mut self.refresh.again) {
            self.start_refresh();
        }
        self.status_dirty = true;
    }

    /// A download ended: of an update, or of a bundle that was damaged.
    pub(super) fn on_fetched(&mut self, model: ModelName, bundle: Digest, result: Result<(), FetchFailure>) {
        if matches!(&result, Err(FetchFailure::Transient(why)) if why.code == fetch::CANCELLED) {
            // Nobody waits for it, and another download for this model may be running.
            return;
        }
        self.fetching.remove(&model);
        let repaired = result.is_ok() && self.loads.active(&model).is_none();
        self.feed(Input::Fetched(model.clone(), bundle, result));
        let serving =
            self.updates.model(&model).and_then(|r| r.serving()).filter(|i| i.bundle == bundle).cloned();
        if repaired && let Some(installed) = serving {
            self.serve(model, Some(installed));
        }
    }
    /// A bundle that should serve has lost bytes: they are fetched again, if nothing else is being fetched.
    pub(super) fn repair(&mut self, model: &ModelName, wanted: &Installed) {
        let serving = self.updates.model(model).and_then(|r| r.serving()).map(|i| i.bundle);
        if serving == Some(wanted.bundle) && !self.fetching.contains_key(model) {
            tracing::warn!(%model, bundle = wanted.bundle.short(), "fetching the damaged bundle again");
            self.fetch(model.clone(), wanted.clone());
        }
    }

    fn collect(&mut self) {
        let keep: BTreeSet<_> = self.updates.models().flat_map(|r| r.kept().collect::<Vec<_>>()).collect();
        // Between two attempts nothing is being fetched, and what has arrived is needed all the same.
        let waiting = self
            .updates
            .models()
            .filter_map(|r| r.update.as_ref())
            .any(|u| matches!(u.at, Phase::Downloading { .. } | Phase::Deferred { .. }));
        fetch::collect(&self.config.state_dir, &keep, waiting || !self.fetching.is_empty());
    }
    /// Whether something serves on probation.
    pub(super) fn on_probation(&self) -> bool {
        self.updates
            .models()
            .any(|r| matches!(r.update.as_ref().map(|u| &u.at), Some(Phase::Probation { .. })))
    }
}

/// Code of metadata that came and was not accepted.
const REFUSED: &str = "trust.refused";

/// Metadata that did not come is told from metadata that is wrong.
fn refresh_code(e: &TufError) -> &'static str {
    match e {
        TufError::Fetch { .. } | TufError::NotFound { .. } | TufError::Store { .. } | TufError::NoRoot => {
            "trust.refresh"
        }
        _ => REFUSED,
    }
}

fn log_batch(batch: &Batch) {
    for write in &batch.writes {
        match write {
            Write::Report(r) => {
                let why = r.why.as_ref().map_or("", |w| &w.detail);
                tracing::info!(model = %r.model, bundle = r.bundle.short(), state = r.state.as_str(), why, "update");
            }
            Write::Event(e) => tracing::warn!("{e:?}"),
            _ => {}
        }
    }
}
