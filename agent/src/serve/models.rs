//! What is loaded and what answers. A swap exchanges one pointer: a request keeps the load it began with, so none fails and
//! none is counted twice; a load is gone when the last request that holds it has ended.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use longshore_bundle::Manifest;
use longshore_runtime::Model;
use longshore_trust::Digest;

use super::shadow::Beside;
use super::watch::Watch;
use crate::engine::protocol::{FromEngine, LoadId};
use crate::page::{Page, PredictionId, RequestOutcome};

/// Class names of this many former loads are remembered, for labels that arrive late.
const REMEMBERED: usize = 256;

/// One load that can answer.
#[derive(Debug)]
pub struct Served {
    /// Its id.
    pub load: LoadId,
    /// Digest of its manifest.
    pub digest: Digest,
    /// What it is.
    pub manifest: Manifest,
    /// Its version, as text.
    pub version: String,
    /// How it answers.
    pub model: Model,
    /// What is watched of its requests.
    pub watch: Option<Watch>,
    page: Page,
    busy_us: AtomicU64,
    _gone: Gone,
}

/// Told when a load is gone.
#[derive(Debug)]
pub struct Gone {
    load: LoadId,
    tell: Sender<FromEngine>,
}

impl Gone {
    /// Will report `load` as unloaded to `tell` when it is dropped.
    #[must_use]
    pub fn new(load: LoadId, tell: Sender<FromEngine>) -> Self {
        Self { load, tell }
    }
}

impl Drop for Gone {
    fn drop(&mut self) {
        // When nobody listens any more the engine is ending, and with it every load.
        let _ = self.tell.send(FromEngine::Unloaded(self.load));
    }
}

impl Served {
    /// A load with its counter page.
    #[must_use]
    pub fn new(
        load: LoadId,
        digest: Digest,
        manifest: Manifest,
        model: Model,
        watch: Option<Watch>,
        page: Page,
        gone: Gone,
    ) -> Self {
        let version = manifest.version.to_string();
        Self { load, digest, version, manifest, model, watch, page, busy_us: AtomicU64::new(0), _gone: gone }
    }
    /// The model's name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.manifest.model.as_str()
    }
    /// Counts an answered request; call it before the answer is written.
    pub fn record(&self, outcome: &RequestOutcome<'_>) -> PredictionId {
        self.busy_us.fetch_add(outcome.latency_us, Relaxed);
        PredictionId { load: self.load, seq: self.page.record(outcome) }
    }
    /// Counts a request that was refused or failed, with `rows` rows.
    pub fn record_errors(&self, rows: u32, latency_us: u64) {
        self.record(&RequestOutcome { errors: rows, latency_us, ..RequestOutcome::default() });
    }
    /// Its counters.
    #[must_use]
    pub fn page(&self) -> &Page {
        &self.page
    }
    /// Time spent answering, microseconds.
    #[must_use]
    pub fn busy_us(&self) -> u64 {
        self.busy_us.load(Relaxed)
    }
}

/// Why a load cannot be touched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("load {} is not here", .0.0)]
pub struct UnknownLoad(pub LoadId);

/// Every load of this engine.
#[derive(Debug, Default)]
pub struct Models {
    loads: Mutex<BTreeMap<LoadId, Arc<Served>>>,
    active: RwLock<BTreeMap<String, Arc<Served>>>,
    /// Candidates in shadow: they see what is answered for their model.
    beside: RwLock<BTreeMap<String, Arc<Beside>>>,
    former: Mutex<VecDeque<(LoadId, Vec<String>)>>,
}

impl Models {
    /// Adds a load; it does not answer yet.
    pub fn add(&self, served: Served) {
        let mut loads = self.loads.lock().unwrap_or_else(PoisonError::into_inner);
        loads.insert(served.load, Arc::new(served));
    }
    /// Lets a load answer for its model from the next request on.
    ///
    /// # Errors
    /// [`UnknownLoad`].
    pub fn activate(&self, load: LoadId) -> Result<(), UnknownLoad> {
        let served = self.loads.lock().unwrap_or_else(PoisonError::into_inner).get(&load).cloned();
        // The page of a bundle in shadow counts no answer: such a load never gives one.
        let served = served.filter(|s| !s.page().spec().shadow).ok_or(UnknownLoad(load))?;
        let name = served.name().to_owned();
        let old = self.active.write().unwrap_or_else(PoisonError::into_inner).insert(name, served);
        drop(old);
        Ok(())
    }
    /// Lets a load see what is answered for its model from the next request on.
    ///
    /// # Errors
    /// [`UnknownLoad`].
    pub fn shadow(&self, load: LoadId, permille: u16) -> Result<(), UnknownLoad> {
        let served = self.loads.lock().unwrap_or_else(PoisonError::into_inner).get(&load).cloned();
        let served = served.filter(|s| s.page().spec().shadow).ok_or(UnknownLoad(load))?;
        let name = served.name().to_owned();
        let beside = Arc::new(Beside::new(served, permille));
        let old = self.beside.write().unwrap_or_else(PoisonError::into_inner).insert(name, beside);
        drop(old);
        Ok(())
    }
    /// What runs beside the bundle that answers for a model.
    #[must_use]
    pub fn beside(&self, model: &str) -> Option<Arc<Beside>> {
        self.beside.read().unwrap_or_else(PoisonError::into_inner).get(model).cloned()
    }
    /// No candidate sees anything any more.
    pub fn end_shadows(&self) {
        let all = std::mem::take(&mut *self.beside.write().unwrap_or_else(PoisonError::into_inner));
        drop(all);
    }
    /// Forgets a load; if it answers for its model, that model is no longer served.
    ///
    /// # Errors
    /// [`UnknownLoad`].
    pub fn unload(&self, load: LoadId) -> Result<(), UnknownLoad> {
        let served = self.loads.lock().unwrap_or_else(PoisonError::into_inner).remove(&load);
        let served = served.ok_or(UnknownLoad(load))?;
        {
            let mut active = self.active.write().unwrap_or_else(PoisonError::into_inner);
            if active.get(served.name()).is_some_and(|s| s.load == load) {
                active.remove(served.name());
            }
        }
        let gone = {
            let mut beside = self.beside.write().unwrap_or_else(PoisonError::into_inner);
            let is_it = beside.get(served.name()).is_some_and(|b| b.served.load == load);
            if is_it { beside.remove(served.name()) } else { None }
        };
        drop(gone);
        let mut former = self.former.lock().unwrap_or_else(PoisonError::into_inner);
        former.push_back((load, served.manifest.monitor.classes.clone()));
        if former.len() > REMEMBERED {
            former.pop_front();
        }
        Ok(())
    }
    /// What answers for a model.
    #[must_use]
    pub fn get(&self, model: &str) -> Option<Arc<Served>> {
        self.active.read().unwrap_or_else(PoisonError::into_inner).get(model).cloned()
    }
    /// Everything that answers, by model.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<Served>> {
        self.active.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }
    /// Class names of a load that is here or was here.
    #[must_use]
    pub fn classes_of(&self, load: LoadId) -> Option<Vec<String>> {
        if let Some(s) = self.loads.lock().unwrap_or_else(PoisonError::into_inner).get(&load) {
            return Some(s.manifest.monitor.classes.clone());
        }
        let former = self.former.lock().unwrap_or_else(PoisonError::into_inner);
        former.iter().find(|(l, _)| *l == load).map(|(_, classes)| classes.clone())
    }
}
