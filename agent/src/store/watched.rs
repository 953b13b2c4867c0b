//! What is watched of each bundle, and what is held back of its groups.
//!
//! Always true here: cells of a group leave the device with a window of the bundle, and only when there are enough rows of
//! the group; what is held is in the database in the same transaction that counted it.

use longshore_bundle::Manifest;
use longshore_stats::Counters;
use longshore_stats::counters::{Answers, score_tables};
use longshore_stats::quality::hold::Hold;
use longshore_trust::{Digest, ModelName};
use rusqlite::{OptionalExtension as _, Transaction, params};
use serde::{Deserialize, Serialize};

use super::{Op as _, Store, StoreError};

/// What is watched of a bundle.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Watched {
    /// Classes, 0 for none.
    pub classes: u32,
    /// Whether the score of the answered class is counted.
    pub scored: bool,
    /// Declared groups, 0 for none.
    pub groups: u32,
    /// The class that is good for whom it is given to, where there are groups.
    pub favourable: u32,
    /// Smallest error of a regression that matters.
    pub error_unit: Option<f64>,
}

impl From<u32> for Watched {
    fn from(classes: u32) -> Self {
        Self { classes, ..Self::default() }
    }
}

impl Watched {
    /// Of a bundle.
    #[must_use]
    pub fn of(manifest: &Manifest) -> Self {
        let monitor = &manifest.monitor;
        let favourable = monitor.favourable_class();
        Self {
            classes: manifest.classes(),
            scored: monitor.score_output.is_some() && !monitor.classes.is_empty(),
            groups: if favourable.is_some() { monitor.groups.len() as u32 } else { 0 },
            favourable: favourable.unwrap_or(0) as u32,
            error_unit: monitor.error_unit,
        }
    }
    /// Tables of scores.
    #[must_use]
    pub fn score_tables(&self) -> usize {
        if self.scored { score_tables(self.classes as usize) } else { 0 }
    }
}

/// Rows and labels of a model that are held back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Held {
    /// Rows.
    pub rows: u64,
    /// Labelled rows.
    pub labelled: u64,
}

fn encode(value: &impl Serialize) -> Vec<u8> {
    postcard::to_stdvec(value).expect("tables always encode")
}

pub(super) fn remember(tx: &Transaction<'_>, bundle: &Digest, watched: &Watched) -> Result<(), StoreError> {
    tx.prepare_cached(
        "INSERT INTO watched (bundle, spec) VALUES (?1, ?2) ON CONFLICT (bundle) DO UPDATE SET spec = excluded.spec",
    )
    .and_then(|mut q| q.execute(params![bundle.0, encode(watched)]))
    .op("remember what is watched")?;
    Ok(())
}

/// What is watched of a bundle; of one that an older agent began, only the classes are known.
pub(super) fn watched(tx: &Transaction<'_>, bundle: &Digest, classes: u32) -> Result<Watched, StoreError> {
    let found: Option<Vec<u8>> = tx
        .prepare_cached("SELECT spec FROM watched WHERE bundle = ?1")
        .and_then(|mut q| q.query_row([bundle.0], |r| r.get(0)).optional())
        .op("read what is watched")?;
    let unreadable = |_| StoreError::Value("what is watched of a bundle".into());
    found.map_or(Ok(classes.into()), |bytes| postcard::from_bytes(&bytes).map_err(unreadable))
}

fn hold_of(tx: &Transaction<'_>, bundle: &Digest, groups: usize) -> Result<Hold, StoreError> {
    let found: Option<Option<Vec<u8>>> = tx
        .prepare_cached("SELECT hold FROM watched WHERE bundle = ?1")
        .and_then(|mut q| q.query_row([bundle.0], |r| r.get(0)).optional())
        .op("read what is held")?;
    let hold = found.flatten().map(|b| decode_hold(&b)).transpose()?;
    Ok(hold.filter(|h| h.groups() == groups).unwrap_or_else(|| Hold::new(groups)))
}
fn decode_hold(bytes: &[u8]) -> Result<Hold, StoreError> {
    postcard::from_bytes(bytes).map_err(|_| StoreError::Value("what is held of groups".into()))
}
fn set_hold(tx: &Transaction<'_>, bundle: &Digest, hold: &Hold) -> Result<(), StoreError> {
    tx.prepare_cached("UPDATE watched SET hold = ?2 WHERE bundle = ?1")
        .and_then(|mut q| q.execute(params![bundle.0, encode(hold)]))
        .op("hold back")?;
    Ok(())
}

/// Holds answers, one entry a group.
pub(super) fn hold_answers(
    tx: &Transaction<'_>,
    bundle: &Digest,
    answers: &[Answers],
) -> Result<(), StoreError> {
    if answers.iter().all(|a| a.rows == 0) {
        return Ok(());
    }
    let mut hold = hold_of(tx, bundle, answers.len())?;
    hold.answered(answers);
    set_hold(tx, bundle, &hold)
}

/// Holds one labelled row of a group.
pub(super) fn hold_outcome(
    tx: &Transaction<'_>,
    bundle: &Digest,
    watched: &Watched,
    group: u8,
    outcome: (bool, bool),
) -> Result<(), StoreError> {
    let mut hold = hold_of(tx, bundle, watched.groups as usize)?;
    hold.insert(usize::from(group), outcome.0, outcome.1);
    set_hold(tx, bundle, &hold)
}

/// Lets go of the groups with rows enough, into `counters`.
pub(super) fn release(
    tx: &Transaction<'_>,
    bundle: &Digest,
    counters: &mut Counters,
) -> Result<(), StoreError> {
    let groups = watched(tx, bundle, 0)?.groups as usize;
    if groups == 0 {
        return Ok(());
    }
    let mut hold = hold_of(tx, bundle, groups)?;
    let free = hold.release();
    if free.answers.iter().all(|a| a.rows == 0) && free.table.groups.iter().all(|o| o.rows() == 0) {
        return Ok(());
    }
    let mut more = Counters::default();
    more.groups.answers = free.answers;
    more.groups.outcomes = free.table;
    if counters.merge(&more).is_err() {
        return Err(StoreError::Value("the groups of a window".into()));
    }
    set_hold(tx, bundle, &hold)
}

impl Store {
    /// What is held back, by model.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn held(&self) -> Result<std::collections::BTreeMap<ModelName, Held>, StoreError> {
        let mut q = self
            .conn
            .prepare_cached(
                r#"SELECT DISTINCT w.model, h.bundle, h.hold FROM watched h JOIN "window" w ON w.bundle = h.bundle
                   WHERE h.hold IS NOT NULL"#,
            )
            .op("read what is held")?;
        let rows = q
            .query_map([], |r| Ok((r.get::<_, String>(0)?, r.get::<_, Vec<u8>>(2)?)))
            .op("read what is held")?;
        let mut out = std::collections::BTreeMap::<ModelName, Held>::new();
        for row in rows {
            let (model, bytes) = row.op("read what is held")?;
            let model = ModelName::new(model).map_err(|e| StoreError::Value(e.to_string()))?;
            let (rows, labelled) = decode_hold(&bytes)?.held();
            let held = out.entry(model).or_default();
            held.rows = held.rows.saturating_add(rows);
            held.labelled = held.labelled.saturating_add(labelled);
        }
        Ok(out)
    }
}
