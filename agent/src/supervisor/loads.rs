//! Loads and their counter pages.
//!
//! Always true here: a page is deleted only after its last count was journalled; a load that the journal knows and
//! whose page is lost leaves a gap row.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use longshore_stats::{Counters, DdSketch};
use longshore_trust::{Digest, ModelName, UnixMs};
use longshore_wire::v1::{Gap, GapCause, GapKind};

use crate::engine::protocol::LoadId;
use crate::page::{Page, Prediction};
use crate::store::{LoadDelta, Store, StoreError};

/// How far a load has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// The engine is loading it.
    Loading,
    /// It answers.
    Active,
    /// Another one answers; the engine is finishing its requests.
    Leaving,
    /// No engine has it any more; its last counts are to be journalled.
    Left,
}

/// One load.
#[derive(Debug)]
pub struct Load {
    /// Its model.
    pub model: ModelName,
    /// Its bundle.
    pub bundle: Digest,
    /// Classes of the bundle.
    pub classes: u32,
    /// Its counters.
    pub page: Page,
    /// How far it has come.
    pub state: State,
    journalled_seq: u64,
}

/// All loads.
#[derive(Debug)]
pub struct Loads {
    dir: PathBuf,
    map: BTreeMap<LoadId, Load>,
    /// Latencies of bundles since this process started: the baseline of the guard.
    latencies: BTreeMap<Digest, DdSketch>,
}

impl Loads {
    /// Takes up what the last run left: its pages are read a last time.
    pub fn take_up(
        store: &mut Store,
        dir: PathBuf,
        boot_id: [u8; 16],
        now: UnixMs,
    ) -> Result<Self, StoreError> {
        let mut loads = Self { dir, map: BTreeMap::new(), latencies: BTreeMap::new() };
        for row in store.loads()? {
            let path = loads.page_path(row.load);
            let page =
                Page::open(&path).ok().filter(|p| p.spec().boot_id == boot_id && p.spec().load == row.load);
            match page {
                Some(page) if page.recover().is_ok() => {
                    let load = Load {
                        model: row.model,
                        bundle: row.bundle,
                        classes: row.classes,
                        page,
                        state: State::Left,
                        journalled_seq: row.next_seq,
                    };
                    loads.map.insert(row.load, load);
                }
                _ => {
                    let gap = Gap {
                        kind: GapKind::Counters,
                        cause: GapCause::PowerCut,
                        count: 0,
                        from: row.journalled_at,
                        to: now,
                    };
                    store.gap(now, &gap)?;
                    store.end_load(row.load)?;
                }
            }
        }
        loads.journal(store, now)?;
        // Pages of trials and of loads that never began.
        for entry in fs::read_dir(&loads.dir).into_iter().flatten().flatten() {
            if !loads.map.keys().any(|l| loads.page_path(*l) == entry.path()) {
                let _ = fs::remove_file(entry.path());
            }
        }
        Ok(loads)
    }
    /// Where the page of a load is.
    pub fn page_path(&self, load: LoadId) -> PathBuf {
        self.dir.join(format!("{:x}.page", load.0))
    }
    /// Adds a load that begins.
    pub fn insert(&mut self, id: LoadId, model: ModelName, bundle: Digest, page: Page) {
        let classes = page.spec().classes;
        self.map.insert(id, Load { model, bundle, classes, page, state: State::Loading, journalled_seq: 0 });
    }
    /// One load.
    pub fn get(&self, id: LoadId) -> Option<&Load> {
        self.map.get(&id)
    }
    /// One load, to be changed.
    pub fn get_mut(&mut self, id: LoadId) -> Option<&mut Load> {
        self.map.get_mut(&id)
    }
    /// The load that answers for a model.
    pub fn active(&self, model: &ModelName) -> Option<(LoadId, &Load)> {
        self.map.iter().find(|(_, l)| l.model == *model && l.state == State::Active).map(|(id, l)| (*id, l))
    }
    /// The load of this bundle that is being loaded.
    pub fn loading(&self, model: &ModelName, bundle: &Digest) -> bool {
        self.map.values().any(|l| l.model == *model && l.bundle == *bundle && l.state == State::Loading)
    }
    /// No engine has this load any more.
    pub fn leave(&mut self, id: LoadId) {
        if let Some(load) = self.map.get_mut(&id) {
            load.state = State::Left;
        }
    }
    /// The engine died: whose request it was in, if it can be told; then every page is made whole.
    pub fn engine_died(&mut self) -> Option<Digest> {
        let mut busy: Vec<Digest> = self
            .map
            .values()
            .filter(|l| l.state != State::Left && l.page.in_flight() > 0)
            .map(|l| l.bundle)
            .collect();
        busy.dedup();
        for (id, load) in &mut self.map {
            if let Err(e) = load.page.recover() {
                tracing::error!(load = id.0, "{e}");
            }
            load.state = State::Left;
        }
        match busy[..] {
            [one] => Some(one),
            _ => None,
        }
    }

    /// Makes durable what was counted since the last time, then forgets loads that are over.
    pub fn journal(&mut self, store: &mut Store, now: UnixMs) -> Result<(), StoreError> {
        let deltas: Vec<LoadDelta> = self.map.iter().filter_map(|(id, load)| delta(*id, load)).collect();
        for (id, more) in store.journal(&deltas, now)? {
            if let Some(load) = self.map.get(&id) {
                self.latencies.entry(load.bundle).or_default().merge(&more.latency_us);
            }
        }
        for d in &deltas {
            if let Some(load) = self.map.get_mut(&d.load) {
                load.journalled_seq = d.next_seq;
            }
        }
        let over: Vec<LoadId> =
            self.map.iter().filter(|(_, l)| l.state == State::Left).map(|(id, _)| *id).collect();
        for id in over {
            store.end_load(id)?;
            self.map.remove(&id);
            let path = self.page_path(id);
            if let Err(e) = fs::remove_file(&path) {
                tracing::warn!("{}: {e}", path.display());
            }
        }
        Ok(())
    }
    /// Everything a load has counted.
    pub fn snapshot(&self, model: &ModelName, bundle: &Digest) -> Option<Counters> {
        let (_, load) = self.active(model).filter(|(_, l)| l.bundle == *bundle)?;
        load.page.snapshot().ok()
    }
    /// p99 of a bundle's requests, us, when there are enough of them.
    pub fn p99_us(&self, bundle: &Digest) -> Option<u64> {
        let sketch =
            self.latencies.get(bundle).filter(|s| s.count() >= longshore_agent_core::guard::MIN_REQUESTS)?;
        sketch.quantile(0.99).map(|v| v as u64)
    }
    /// A prediction that a page still has.
    pub fn prediction(&self, id: LoadId, seq: u64) -> Option<(&Load, Prediction)> {
        let load = self.map.get(&id)?;
        Some((load, load.page.prediction(seq).ok()??))
    }
}

fn delta(id: LoadId, load: &Load) -> Option<LoadDelta> {
    // A page that is too busy now is read the next time. Counters last: they may be ahead of the ring, never behind.
    let next_seq = load.page.next_seq().ok()?;
    let ring = u64::from(load.page.spec().ring_rows);
    let from = load.journalled_seq.max(next_seq.saturating_sub(ring));
    let predictions =
        (from..next_seq).filter_map(|seq| Some((seq, load.page.prediction(seq).ok()??))).collect();
    let snapshot = load.page.snapshot().ok()?;
    Some(LoadDelta { load: id, snapshot, predictions, next_seq })
}
