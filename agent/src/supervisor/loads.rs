//! Loads and their counter pages.
//!
//! Always true here: a page is deleted only after its last count was journalled; a load that the journal knows and
//! whose page is lost leaves a gap row.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use longshore_stats::quality::attribution::{AttributionTable, FEATURES_MAX};
use longshore_stats::{Counters, DdSketch, ShadowTable};
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
    /// It runs beside what answers.
    Shadow,
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
    /// Whether it is one that answers nobody.
    pub in_shadow: bool,
    /// How long its author wants a window to be.
    wish: Duration,
    /// When its open window began.
    since: Instant,
    /// Sums over explained rows since it began; what a page has no room for.
    explained: AttributionTable,
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
                        in_shadow: page.spec().shadow,
                        model: row.model,
                        bundle: row.bundle,
                        classes: row.classes,
                        page,
                        state: State::Left,
                        wish: Duration::MAX,
                        since: Instant::now(),
                        explained: row.journalled.attribution,
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
    /// Adds a load that begins; its author wants windows of length `wish`.
    pub fn insert(&mut self, id: LoadId, model: ModelName, bundle: Digest, page: Page, wish: Duration) {
        let (classes, since) = (page.spec().classes, Instant::now());
        let in_shadow = page.spec().shadow;
        let (state, explained, journalled_seq) = (State::Loading, AttributionTable::default(), 0);
        let load =
            Load { model, bundle, classes, page, state, in_shadow, wish, since, explained, journalled_seq };
        self.map.insert(id, load);
    }
    /// When the next window is full as its author wants it: bundle and time. None is shorter than `least`.
    pub fn next_window(&self, least: Duration) -> Option<(Digest, Instant)> {
        let answering = self.map.values().filter(|l| l.state == State::Active);
        let full = answering.filter_map(|l| Some((l.bundle, l.since.checked_add(l.wish.max(least))?)));
        full.min_by_key(|(_, at)| *at)
    }
    /// Windows were closed: of one bundle, or of all.
    pub fn windows_closed(&mut self, only: Option<&Digest>, now: Instant) {
        let closed = self.map.values_mut().filter(|l| only.is_none_or(|b| *b == l.bundle));
        closed.for_each(|l| l.since = now);
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
    /// Whether this bundle is being loaded: to answer, or to run in shadow.
    pub fn loading(&self, model: &ModelName, bundle: &Digest, in_shadow: bool) -> bool {
        let is_it = |l: &Load| l.model == *model && l.bundle == *bundle && l.in_shadow == in_shadow;
        self.map.values().any(|l| is_it(l) && l.state == State::Loading)
    }
    /// The load that runs beside what answers for a model, or is being loaded to.
    pub fn beside(&self, model: &ModelName) -> Option<(LoadId, &Load)> {
        let is_it =
            |l: &Load| l.model == *model && l.in_shadow && matches!(l.state, State::Loading | State::Shadow);
        self.map.iter().find(|(_, l)| is_it(l)).map(|(id, l)| (*id, l))
    }
    /// Rows of a load were explained. A table of other features than the load's is not believed.
    pub fn explained(&mut self, id: LoadId, more: &AttributionTable) {
        let Some(load) = self.map.get_mut(&id) else { return };
        let features = load.page.spec().shape.map_or(0, |s| s.counts.len());
        if load.explained.features() == 0 {
            load.explained = AttributionTable::new(features);
        }
        if features > FEATURES_MAX || load.explained.merge(more).is_err() {
            tracing::warn!(load = id.0, "explanations of other features are not counted");
        }
    }
    /// No engine has this load any more.
    pub fn leave(&mut self, id: LoadId) {
        if let Some(load) = self.map.get_mut(&id) {
            load.state = State::Left;
        }
    }
    /// The engine died: in whose requests it was; then every page is made whole.
    pub fn engine_died(&mut self) -> Vec<Digest> {
        let mut busy: Vec<Digest> = self
            .map
            .values()
            .filter(|l| l.state != State::Left && l.page.in_flight() > 0)
            .map(|l| l.bundle)
            .collect();
        busy.sort_unstable();
        busy.dedup();
        for (id, load) in &mut self.map {
            if let Err(e) = load.page.recover() {
                tracing::error!(load = id.0, "{e}");
            }
            load.state = State::Left;
        }
        busy
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
            if !deltas.iter().any(|d| d.load == id)
                && let Some(row) = store.loads()?.into_iter().find(|r| r.load == id)
            {
                tracing::error!(load = id.0, "a counter page cannot be read; its last counts are lost");
                let (kind, cause) = (GapKind::Counters, GapCause::Corruption);
                store.gap(now, &Gap { kind, cause, count: 0, from: row.journalled_at, to: now })?;
            }
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
    /// Everything that was counted of a bundle in shadow.
    pub fn shadowed(&self, model: &ModelName, bundle: &Digest) -> Option<ShadowTable> {
        let (_, load) = self.beside(model).filter(|(_, l)| l.bundle == *bundle)?;
        load.page.snapshot().ok()?.shadow
    }
    /// p99 of a bundle's requests, us, when there are enough of them.
    pub fn p99_us(&self, bundle: &Digest) -> Option<u64> {
        let sketch =
            self.latencies.get(bundle).filter(|s| s.count() >= longshore_agent_core::guard::MIN_REQUESTS)?;
        sketch.quantile(0.99).map(|v| v as u64)
    }
    /// A prediction that a page still has.
    pub fn prediction(&self, id: LoadId, seq: u64) -> Option<(&Load, Prediction)> {
        let load = self.map.get(&id).filter(|l| !l.in_shadow)?;
        Some((load, load.page.prediction(seq).ok()??))
    }
}

fn delta(id: LoadId, load: &Load) -> Option<LoadDelta> {
    // A page that is too busy now is read the next time. Counters last: they may be ahead of the ring, never behind.
    let next_seq = load.page.next_seq().ok()?;
    let (mut predictions, mut shadowed) = (Vec::new(), Vec::new());
    if load.in_shadow {
        shadowed = load.page.shadowed(load.journalled_seq).ok()?;
        shadowed.retain(|(seq, _)| *seq < next_seq);
    } else {
        predictions = load.page.predictions(load.journalled_seq).ok()?;
        predictions.retain(|(seq, _)| *seq < next_seq);
    }
    let shadowed = shadowed.into_iter().map(|(_, s)| s).collect();
    let snapshot = Counters { attribution: load.explained.clone(), ..load.page.snapshot().ok()? };
    Some(LoadDelta { load: id, snapshot, predictions, shadowed, next_seq })
}

/// Whom to blame when the engine died in requests of these bundles: the only one, or else the only one of them that is
/// not proven yet. A busy neighbour must not save a candidate that crashes.
pub fn blame(busy: Vec<Digest>, on_trial: &[Digest]) -> Option<Digest> {
    if let [one] = busy[..] {
        return Some(one);
    }
    let mut unproven = busy.into_iter().filter(|b| on_trial.contains(b));
    let first = unproven.next()?;
    unproven.next().is_none().then_some(first)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt as _;

    use longshore_trust::StreamId;

    use super::*;
    use crate::page::{PageSpec, RequestOutcome};

    #[test]
    fn a_candidate_is_blamed_for_a_crash_even_beside_a_busy_neighbour() {
        let [old, new, other] = [1u8, 2, 3].map(|n| Digest([n; 32]));
        assert_eq!(blame(vec![], &[new]), None);
        assert_eq!(blame(vec![old], &[new]), Some(old));
        assert_eq!(blame(vec![old, new], &[new]), Some(new));
        assert_eq!(blame(vec![old, other], &[new]), None);
        assert_eq!(blame(vec![new, other], &[new, other]), None);
    }

    #[test]
    fn a_page_that_cannot_be_read_at_its_end_leaves_a_row_in_the_ledger() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = Store::open(dir.path(), StreamId(1), UnixMs(5)).unwrap();
        let boot_id = [7; 16];
        let mut loads = Loads::take_up(&mut store, dir.path().join("pages"), boot_id, UnixMs(5)).unwrap();
        fs::create_dir(dir.path().join("pages")).unwrap();
        let (model, bundle): (ModelName, _) = ("digits".parse().unwrap(), Digest([1; 32]));
        let load = store.begin_load(&model, &bundle, 2, UnixMs(5)).unwrap();
        let path = loads.page_path(load);
        let (page, _fd) = Page::create(&path, &PageSpec::plain(load, 2, 8, boot_id)).unwrap();
        page.record(&RequestOutcome { rows: 1, classes: &[1], ..RequestOutcome::default() });
        // A redo slot that is committed, and longer than it can be.
        let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
        let (state, redo) = page.state_and_redo();
        file.write_all_at(&6u64.to_ne_bytes(), state).unwrap();
        file.write_all_at(&u64::MAX.to_ne_bytes(), redo).unwrap();
        loads.insert(load, model, bundle, page, Duration::MAX);
        loads.engine_died();
        loads.journal(&mut store, UnixMs(9)).unwrap();
        assert_eq!(store.gaps().unwrap(), [("counters".to_owned(), "corruption".to_owned(), 0)]);
        assert!(store.loads().unwrap().is_empty());
    }
}
