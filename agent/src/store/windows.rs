//! Journalling: counters of pages become counts of windows, each exactly once.
//!
//! A page counts upwards for as long as its load lives. One transaction adds the difference to the journalled snapshot
//! to the open window of the bundle and stores the new snapshot; killed before it, the difference is found again; after
//! it, there is none.

use std::collections::BTreeMap;

use longshore_stats::Counters;
use longshore_trust::{Digest, ModelName, UnixMs};
use longshore_wire::v1::{Gap, GapCause, GapKind};
use rusqlite::{OptionalExtension as _, Transaction, params};

use super::watched::{self, Watched, hold_answers};
use super::{Op as _, Store, StoreError, gap, number, put, sql, unsql};
use crate::engine::protocol::LoadId;
use crate::page::{Prediction, Shadowed};

/// Most classes of which true and predicted class are tabled against each other; labels of larger models count as
/// `labels_other`.
pub(super) const CONFUSION_CLASSES_MAX: usize = 128;

/// A load the journal knows.
#[derive(Debug, Clone, PartialEq)]
pub struct LoadRow {
    /// Its id.
    pub load: LoadId,
    /// Its model.
    pub model: ModelName,
    /// Its bundle.
    pub bundle: Digest,
    /// Classes of the bundle.
    pub classes: u32,
    /// The counters that were journalled.
    pub journalled: Counters,
    /// The first prediction that was not journalled.
    pub next_seq: u64,
    /// When it was last journalled.
    pub journalled_at: UnixMs,
}

/// What a page says now.
#[derive(Debug, Clone)]
pub struct LoadDelta {
    /// Which load.
    pub load: LoadId,
    /// All its counters since it began.
    pub snapshot: Counters,
    /// Predictions since `next_seq` that the ring still has.
    pub predictions: Vec<(u64, Prediction)>,
    /// Of a bundle in shadow: what it would have answered since `next_seq`.
    pub shadowed: Vec<Shadowed>,
    /// The next prediction's number.
    pub next_seq: u64,
}

/// What is summed up over all windows of a model, for people on the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Total {
    /// Rows answered.
    Rows,
    /// Rows with a feature outside of the reference's range.
    OutOfRange,
    /// Rows of low margin.
    LowMargin,
}

impl Total {
    fn key(self) -> &'static str {
        match self {
            Self::Rows => "rows_total",
            Self::OutOfRange => "rows_out_of_range",
            Self::LowMargin => "rows_low_margin",
        }
    }
    /// Where it is kept.
    pub(super) fn of(self, model: &ModelName) -> String {
        format!("{}/{model}", self.key())
    }
    fn add_all(tx: &Transaction<'_>, model: &ModelName, more: &Counters) -> Result<(), StoreError> {
        let out_of_range = more.profile.as_ref().map_or(0, |p| p.rows_out_of_range);
        for (total, n) in
            [(Self::Rows, more.rows), (Self::OutOfRange, out_of_range), (Self::LowMargin, more.low_margin)]
        {
            let key = total.of(model);
            if n > 0 || total == Self::Rows {
                put(tx, &key, number(tx, &key)?.unwrap_or(0).saturating_add(n))?;
            }
        }
        Ok(())
    }
}

/// Keeps an answer that labels can be joined to.
pub(super) fn keep_prediction(
    tx: &Transaction<'_>,
    load: LoadId,
    seq: u64,
    p: &Prediction,
    window: i64,
) -> Result<(), StoreError> {
    tx.prepare_cached(
        r#"INSERT OR IGNORE INTO prediction (load, seq, class, score, grp, time, "window") VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)"#,
    )
    .and_then(|mut q| {
        // A score that is no number is NULL.
        q.execute(params![sql(load.0), sql(seq), p.class, f64::from(p.score), p.group, sql(p.unix_ms), window])
    })
    .op("keep a prediction")?;
    Ok(())
}

/// Most that any counter of a page can have risen between two journals: no engine is as fast.
const RISE_MAX: u64 = 1 << 48;

/// What `new` counted since `old`, of the same page. `None` when the page was written by something else.
fn since(new: &Counters, old: &Counters) -> Option<Counters> {
    let mut more = new.since(old)?;
    more.confusion = Vec::new();
    let plausible = more.cells().all(|n| n <= RISE_MAX);
    plausible.then_some(more)
}

pub(super) fn encode(counters: &Counters) -> Vec<u8> {
    postcard::to_stdvec(counters).expect("counters always encode")
}
pub(super) fn decode(bytes: &[u8]) -> Result<Counters, StoreError> {
    postcard::from_bytes(bytes).map_err(|_| StoreError::Value("a window's counters".into()))
}
/// Empty counters in the shape windows have.
pub(super) fn blank(classes: u32) -> Counters {
    let k = classes as usize;
    let mut counters = Counters::with_classes(if k <= CONFUSION_CLASSES_MAX { k } else { 0 });
    counters.classes = vec![0; k];
    counters
}

/// The open window of a bundle, made when there is none.
pub(super) fn open_window(
    tx: &Transaction<'_>,
    model: &ModelName,
    bundle: &Digest,
    classes: u32,
    now: UnixMs,
) -> Result<i64, StoreError> {
    let found = tx
        .prepare_cached(r#"SELECT id FROM "window" WHERE model = ?1 AND bundle = ?2 AND end_ms IS NULL"#)
        .and_then(|mut q| q.query_row(params![model.as_str(), bundle.0], |r| r.get(0)).optional())
        .op("find a window")?;
    if let Some(id) = found {
        return Ok(id);
    }
    // Not before the end of the window before it, whatever the clock does.
    let start: i64 = tx
        .prepare_cached(
            r#"SELECT coalesce(max(end_ms), 0) FROM "window" WHERE model = ?1 AND bundle = ?2 AND supplement = 0"#,
        )
        .and_then(|mut q| q.query_row(params![model.as_str(), bundle.0], |r| r.get(0)))
        .op("find a window")?;
    tx.prepare_cached(
        r#"INSERT INTO "window" (model, bundle, start_ms, classes, counters) VALUES (?1, ?2, ?3, ?4, ?5)"#,
    )
    .and_then(|mut q| {
        let start = start.max(sql(now.0));
        q.execute(params![model.as_str(), bundle.0, start, classes, encode(&blank(classes))])
    })
    .op("open a window")?;
    Ok(tx.last_insert_rowid())
}

pub(super) fn counters_of(tx: &Transaction<'_>, window: i64) -> Result<Option<Counters>, StoreError> {
    let bytes: Option<Option<Vec<u8>>> = tx
        .prepare_cached(r#"SELECT counters FROM "window" WHERE id = ?1"#)
        .and_then(|mut q| q.query_row([window], |r| r.get(0)).optional())
        .op("read a window")?;
    bytes.flatten().map(|b| decode(&b)).transpose()
}
pub(super) fn set_counters(tx: &Transaction<'_>, window: i64, counters: &Counters) -> Result<(), StoreError> {
    tx.prepare_cached(r#"UPDATE "window" SET counters = ?2 WHERE id = ?1"#)
        .and_then(|mut q| q.execute(params![window, encode(counters)]))
        .op("write a window")?;
    Ok(())
}

/// Adds without ever growing a table that was left out; whether it could be added.
#[must_use]
pub(super) fn add(into: &mut Counters, more: &Counters) -> bool {
    let mut more = more.clone();
    if into.confusion.is_empty() {
        more.confusion = Vec::new();
    }
    // Windows of one bundle have one shape; a difference could only come from a page that lied.
    into.merge(&more).is_ok()
}

fn load_of(tx: &Transaction<'_>, load: LoadId) -> Result<Option<LoadRow>, StoreError> {
    tx.prepare_cached(
        "SELECT id, model, bundle, classes, journalled, next_seq, journalled_at FROM load WHERE id = ?1",
    )
    .and_then(|mut q| q.query_row([sql(load.0)], raw_load).optional())
    .op("read a load")?
    .map(cook_load)
    .transpose()
}
type RawLoad = (i64, String, [u8; 32], u32, Vec<u8>, i64, i64);
fn raw_load(r: &rusqlite::Row<'_>) -> rusqlite::Result<RawLoad> {
    Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?, r.get(4)?, r.get(5)?, r.get(6)?))
}
fn cook_load(raw: RawLoad) -> Result<LoadRow, StoreError> {
    let (load, model, bundle, classes, journalled, next_seq, at) = raw;
    Ok(LoadRow {
        load: LoadId(unsql(load)),
        model: ModelName::new(model).map_err(|e| StoreError::Value(e.to_string()))?,
        bundle: Digest(bundle),
        classes,
        journalled: decode(&journalled)?,
        next_seq: unsql(next_seq),
        journalled_at: UnixMs(unsql(at)),
    })
}

impl Store {
    /// Gives out a load id that was never used before, and remembers the load.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn begin_load(
        &mut self,
        model: &ModelName,
        bundle: &Digest,
        watched: impl Into<Watched>,
        now: UnixMs,
    ) -> Result<LoadId, StoreError> {
        let watched = watched.into();
        self.write(|tx| {
            watched::remember(tx, bundle, &watched)?;
            let id = number(tx, "next_load")?.unwrap_or(1);
            put(tx, "next_load", id + 1)?;
            tx.prepare_cached("INSERT INTO load VALUES (?1, ?2, ?3, ?4, ?5, 0, ?6)")
                .and_then(|mut q| {
                    let zero = encode(&Counters::default());
                    q.execute(params![sql(id), model.as_str(), bundle.0, watched.classes, zero, sql(now.0)])
                })
                .op("begin a load")?;
            Ok(LoadId(id))
        })
    }
    /// A load id for something that is never counted (a trial).
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn uncounted_load(&mut self) -> Result<LoadId, StoreError> {
        self.write(|tx| {
            let id = number(tx, "next_load")?.unwrap_or(1);
            put(tx, "next_load", id + 1)?;
            Ok(LoadId(id))
        })
    }
    /// Loads whose page may hold more than the journal.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn loads(&self) -> Result<Vec<LoadRow>, StoreError> {
        let mut q = self
            .conn
            .prepare_cached("SELECT id, model, bundle, classes, journalled, next_seq, journalled_at FROM load ORDER BY id")
            .op("read loads")?;
        let rows = q.query_map([], raw_load).op("read loads")?;
        rows.map(|r| cook_load(r.op("read loads")?)).collect()
    }
    /// Adds what the pages counted since they were last journalled. Answers what was added, by load.
    ///
    /// # Errors
    /// [`StoreError`]; then nothing was added.
    pub fn journal(
        &mut self,
        deltas: &[LoadDelta],
        now: UnixMs,
    ) -> Result<Vec<(LoadId, Counters)>, StoreError> {
        self.write(|tx| {
            let mut added = Vec::new();
            for d in deltas {
                let Some(row) = load_of(tx, d.load)? else { continue };
                // Of a page that something else than an engine wrote, nothing is believed but what it counts from now on.
                let more = since(&d.snapshot, &row.journalled);
                let mut lied = more.is_none();
                let mut more = more.unwrap_or_default();
                if more.is_empty() && !lied && d.next_seq == row.next_seq {
                    continue;
                }
                let window = open_window(tx, &row.model, &row.bundle, row.classes, row.journalled_at)?;
                let mut counters = counters_of(tx, window)?.unwrap_or_else(|| blank(row.classes));
                let by_group = std::mem::take(&mut more.groups.answers);
                if add(&mut counters, &more) {
                    hold_answers(tx, &row.bundle, &by_group)?;
                    set_counters(tx, window, &counters)?;
                    Total::add_all(tx, &row.model, &more)?;
                } else {
                    (lied, more) = (true, Counters::default());
                }
                if lied {
                    let (kind, cause) = (GapKind::Counters, GapCause::Corruption);
                    gap(tx, now, Gap { kind, cause, count: 0, from: row.journalled_at, to: now })?;
                }
                for (seq, p) in &d.predictions {
                    keep_prediction(tx, d.load, *seq, p, window)?;
                }
                for s in &d.shadowed {
                    super::shadow::keep(tx, s, window)?;
                }
                tx.prepare_cached(
                    "UPDATE load SET journalled = ?2, next_seq = ?3, journalled_at = ?4 WHERE id = ?1",
                )
                .and_then(|mut q| {
                    q.execute(params![sql(d.load.0), encode(&d.snapshot), sql(d.next_seq), sql(now.0)])
                })
                .op("journal a load")?;
                added.push((d.load, more));
            }
            Ok(added)
        })
    }
    /// Forgets a load whose page was journalled to the end, or is lost.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn end_load(&mut self, load: LoadId) -> Result<(), StoreError> {
        self.write(|tx| {
            tx.execute("DELETE FROM load WHERE id = ?1", [sql(load.0)]).op("end a load")?;
            Ok(())
        })
    }
    /// Closes open windows (of one bundle, or all) that counted something. Answers how many were closed.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn close_windows(&mut self, only: Option<&Digest>, now: UnixMs) -> Result<usize, StoreError> {
        if self.second_due {
            self.keep_second();
        }
        self.write(|tx| {
            super::labels::account_unknown(tx, now)?;
            let open: Vec<(i64, i64, Vec<u8>, [u8; 32])> = {
                let mut q = tx
                    .prepare_cached(
                        r#"SELECT id, start_ms, counters, bundle FROM "window" WHERE end_ms IS NULL"#,
                    )
                    .op("read open windows")?;
                let rows = q
                    .query_map([], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?)))
                    .op("read open windows")?;
                rows.collect::<Result<_, _>>().op("read open windows")?
            };
            let mut closed = 0;
            for (id, start, bytes, bundle) in open {
                let mut counters = decode(&bytes)?;
                if only.is_some_and(|d| d.0 != bundle) || counters.is_empty() {
                    continue;
                }
                watched::release(tx, &Digest(bundle), &mut counters)?;
                set_counters(tx, id, &counters)?;
                let end = sql(now.0).max(start + 1);
                tx.prepare_cached(r#"UPDATE "window" SET end_ms = ?2 WHERE id = ?1"#)
                    .and_then(|mut q| q.execute(params![id, end]))
                    .op("close a window")?;
                closed += 1;
            }
            Ok(closed)
        })
    }
    /// Rows ever journalled, by model.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn rows_totals(&self) -> Result<BTreeMap<ModelName, u64>, StoreError> {
        self.totals(Total::Rows)
    }
    /// Everything of one kind that was ever journalled, by model.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn totals(&self, which: Total) -> Result<BTreeMap<ModelName, u64>, StoreError> {
        let mut q = self
            .conn
            .prepare_cached("SELECT key, value FROM kv WHERE key GLOB ?1 || '/*'")
            .op("read totals")?;
        let rows = q
            .query_map([which.key()], |r| Ok((r.get::<_, String>(0)?, r.get::<_, [u8; 8]>(1)?)))
            .op("read totals")?;
        let mut totals = BTreeMap::new();
        for row in rows {
            let (key, value) = row.op("read totals")?;
            let name = key.split_once('/').and_then(|(_, m)| ModelName::new(m).ok());
            totals.insert(name.ok_or(StoreError::Value(key))?, u64::from_be_bytes(value));
        }
        Ok(totals)
    }
}
