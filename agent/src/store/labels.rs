//! Joining labels to predictions, durably and once each.
//!
//! A label counts in the window of its prediction while that window is here; after the window was sealed, it goes into
//! a *supplement* with the same key. A label for the same row again changes nothing.

use longshore_stats::Counters;
use longshore_stats::quality::regression::ErrorTable;
use longshore_stats::quality::scores::LabelledScores;
use longshore_trust::{Digest, ModelName, UnixMs};
use longshore_wire::v1::{Gap, GapCause, GapKind};
use rusqlite::{OptionalExtension as _, Transaction, params};

use super::watched::{self, Watched};
use super::windows::{add, blank, counters_of, keep_prediction, open_window, set_counters};
use super::{Op as _, Store, StoreError, gap, number, put, sql, unsql};
use crate::engine::protocol::{LoadId, Truth};
use crate::page::Prediction;

/// One label, looked up in the pages already.
#[derive(Debug, Clone, PartialEq)]
pub struct LabelRow {
    /// The load that answered.
    pub load: LoadId,
    /// The prediction's number.
    pub seq: u64,
    /// What was true.
    pub truth: Truth,
    /// The prediction, when a page still has it.
    pub live: Option<Live>,
}

/// A prediction that a page still has.
#[derive(Debug, Clone, PartialEq)]
pub struct Live {
    /// Its model.
    pub model: ModelName,
    /// Its bundle.
    pub bundle: Digest,
    /// Classes of the bundle.
    pub classes: u32,
    /// What was answered.
    pub prediction: Prediction,
}

/// What became of labels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
pub struct Joined {
    /// Counted.
    pub joined: u64,
    /// Their prediction is not known (any more).
    pub unknown: u64,
    /// Labelled before.
    pub repeated: u64,
}

/// Labels without a known prediction that are not in the ledger yet, and since when.
const UNKNOWN: &str = "labels_unknown";
const UNKNOWN_SINCE: &str = "labels_unknown_since";

/// Writes labels that found no prediction into the gap ledger: one row a window, however many an application sends.
pub(super) fn account_unknown(tx: &Transaction<'_>, now: UnixMs) -> Result<(), StoreError> {
    let count = number(tx, UNKNOWN)?.unwrap_or(0);
    if count == 0 {
        return Ok(());
    }
    let from = UnixMs(number(tx, UNKNOWN_SINCE)?.unwrap_or(now.0));
    put(tx, UNKNOWN, 0)?;
    gap(tx, now, Gap { kind: GapKind::Labels, cause: GapCause::RingTurned, count, from, to: now })
}

struct Known {
    class: u32,
    score: f64,
    group: u8,
    window: i64,
    labelled: bool,
}

fn known(tx: &Transaction<'_>, l: &LabelRow) -> Result<Option<Known>, StoreError> {
    tx.prepare_cached(
        r#"SELECT class, score, grp, "window", labelled FROM prediction WHERE load = ?1 AND seq = ?2"#,
    )
    .and_then(|mut q| {
        q.query_row([sql(l.load.0), sql(l.seq)], |r| {
            Ok(Known {
                class: r.get(0)?,
                score: r.get::<_, Option<f64>>(1)?.unwrap_or(f64::NAN),
                group: r.get(2)?,
                window: r.get(3)?,
                labelled: r.get(4)?,
            })
        })
        .optional()
    })
    .op("find a prediction")
}

/// Where a label counts.
pub(super) struct Place {
    pub window: i64,
    bundle: Digest,
    pub classes: u32,
    /// It goes on counting answers.
    open: bool,
}

/// Finds the window's present place: itself while it is unsealed, a supplement after that.
pub(super) fn place(tx: &Transaction<'_>, window: i64) -> Result<Option<Place>, StoreError> {
    type Row = (String, [u8; 32], i64, Option<i64>, bool, u32);
    let row: Option<Row> = tx
        .prepare_cached(
            r#"SELECT model, bundle, start_ms, end_ms, counters IS NULL, classes FROM "window" WHERE id = ?1"#,
        )
        .and_then(|mut q| {
            q.query_row([window], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?, r.get(4)?, r.get(5)?))).optional()
        })
        .op("find a window")?;
    let Some((model, bundle, start, end, sealed, classes)) = row else { return Ok(None) };
    let at = |window| Some(Place { window, bundle: Digest(bundle), classes, open: end.is_none() });
    if !sealed {
        return Ok(at(window));
    }
    let unsealed: Option<i64> = tx
        .prepare_cached(
            r#"SELECT id FROM "window" WHERE supplement = 1 AND counters IS NOT NULL
               AND model = ?1 AND bundle = ?2 AND start_ms = ?3 AND end_ms = ?4"#,
        )
        .and_then(|mut q| q.query_row(params![model, bundle, start, end], |r| r.get(0)).optional())
        .op("find a supplement")?;
    if let Some(id) = unsealed {
        return Ok(at(id));
    }
    tx.prepare_cached(
        r#"INSERT INTO "window" (model, bundle, start_ms, end_ms, supplement, classes, counters)
           VALUES (?1, ?2, ?3, ?4, 1, ?5, ?6)"#,
    )
    .and_then(|mut q| {
        let empty = super::windows::encode(&longshore_stats::Counters::default());
        q.execute(params![model, bundle, start, end, classes, empty])
    })
    .op("open a supplement")?;
    Ok(at(tx.last_insert_rowid()))
}

/// Counts one label; `false` when its window is not known any more.
fn count(tx: &Transaction<'_>, k: &Known, truth: Truth) -> Result<bool, StoreError> {
    let Some(at) = place(tx, k.window)? else { return Ok(false) };
    let watched = watched::watched(tx, &at.bundle, at.classes)?;
    let mut counters = counters_of(tx, at.window)?.unwrap_or_default();
    if counters.classes.is_empty() {
        let counted = std::mem::replace(&mut counters, blank(at.classes));
        if !add(&mut counters, &counted) {
            return Ok(false);
        }
    }
    let one = judge(k, truth, &watched, counters.confusion.len());
    if let Some(outcome) = one.outcome {
        watched::hold_outcome(tx, &at.bundle, &watched, k.group, outcome)?;
        if !at.open {
            watched::release(tx, &at.bundle, &mut counters)?;
        }
    }
    if !add(&mut counters, &one.counters) {
        return Ok(false);
    }
    set_counters(tx, at.window, &counters)?;
    Ok(true)
}

/// What one label adds.
struct Judged {
    counters: Counters,
    /// Whether the favourable class was true, and whether it was answered, of a row with a declared group.
    outcome: Option<(bool, bool)>,
}

/// The class that a label names.
fn class_of(truth: Truth) -> Option<u32> {
    match truth {
        Truth::Class(class) => Some(class),
        Truth::Number(n) if n >= 0.0 && n.fract() == 0.0 && n < f64::from(u32::MAX) => Some(n as u32),
        Truth::Number(_) => None,
    }
}

fn judge(k: &Known, truth: Truth, watched: &Watched, cells: usize) -> Judged {
    let mut one = Counters::default();
    let mut outcome = None;
    let right = class_of(truth).filter(|t| *t < watched.classes && k.class < watched.classes);
    if let Some(truth) = right {
        let cell = truth as usize * watched.classes as usize + k.class as usize;
        if cell < cells {
            one.confusion = vec![0; cells];
            one.confusion[cell] = 1;
        } else {
            one.labels_other = 1;
        }
        let tables = watched.score_tables();
        if tables > 0 {
            one.judged = vec![LabelledScores::default(); tables];
            one.judged[if tables == 1 { 0 } else { k.class as usize }].insert(k.score, truth == k.class);
        }
        if u32::from(k.group) < watched.groups {
            one.groups.labelled = 1;
            outcome = Some((truth == watched.favourable, k.class == watched.favourable));
        }
    } else if let Some(mut errors) =
        watched.error_unit.filter(|_| watched.classes == 0).and_then(ErrorTable::new)
    {
        let truth = match truth {
            Truth::Class(n) => f64::from(n),
            Truth::Number(n) => n,
        };
        errors.insert(truth, k.score);
        one.regression = Some(errors);
    } else {
        one.labels_other = 1;
    }
    Judged { counters: one, outcome }
}

impl Store {
    /// Joins the labels of several requests, all in one transaction; answers one result a request.
    ///
    /// # Errors
    /// [`StoreError`]; then no label was joined.
    pub fn join(&mut self, requests: &[&[LabelRow]], now: UnixMs) -> Result<Vec<Joined>, StoreError> {
        self.write(|tx| {
            let joined =
                requests.iter().map(|rows| join_rows(tx, rows, now)).collect::<Result<Vec<_>, _>>()?;
            let unknown: u64 = joined.iter().map(|j| j.unknown).sum();
            if unknown > 0 {
                if number(tx, UNKNOWN)?.unwrap_or(0) == 0 {
                    put(tx, UNKNOWN_SINCE, now.0)?;
                }
                put(tx, UNKNOWN, number(tx, UNKNOWN)?.unwrap_or(0) + unknown)?;
            }
            Ok(joined)
        })
    }
    /// Class and score of the newest answers of a bundle that are still known, at most `most`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn answers_of(&self, bundle: &Digest, most: u64) -> Result<Vec<(usize, f64)>, StoreError> {
        let mut q = self
            .conn
            .prepare_cached(
                r#"SELECT p.class, p.score FROM prediction p JOIN "window" w ON w.id = p."window"
                   WHERE w.bundle = ?1 AND p.score IS NOT NULL ORDER BY p.time DESC LIMIT ?2"#,
            )
            .op("read answers")?;
        let rows = q
            .query_map(params![bundle.0, sql(most)], |r| Ok((r.get::<_, i64>(0)?, r.get(1)?)))
            .op("read answers")?;
        let pairs = rows.map(|r| r.map(|(class, score)| (unsql(class) as usize, score)).op("read answers"));
        pairs.collect()
    }
    /// Forgets the oldest predictions beyond `keep`, and windows that nothing refers to any more.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn prune_predictions(&mut self, keep: u64) -> Result<(), StoreError> {
        self.write(|tx| {
            let n: i64 = tx.query_row("SELECT count(*) FROM prediction", [], |r| r.get(0)).op("count predictions")?;
            let over = n - sql(keep);
            if over > 0 {
                tx.prepare_cached(
                    "DELETE FROM prediction WHERE (load, seq) IN (SELECT load, seq FROM prediction ORDER BY load, seq LIMIT ?1)",
                )
                .and_then(|mut q| q.execute([over]))
                .op("forget predictions")?;
            }
            super::shadow::prune(tx, keep)?;
            tx.prepare_cached(
                r#"DELETE FROM "window" WHERE counters IS NULL
                   AND id NOT IN (SELECT DISTINCT "window" FROM prediction)
                   AND id NOT IN (SELECT DISTINCT "window" FROM shadowed)
                   AND id NOT IN (SELECT max(id) FROM "window" WHERE supplement = 0 GROUP BY model, bundle)"#,
            )
            .and_then(|mut q| q.execute([]))
            .op("forget windows")?;
            Ok(())
        })
    }
}

fn join_rows(tx: &Transaction<'_>, rows: &[LabelRow], now: UnixMs) -> Result<Joined, StoreError> {
    let mut out = Joined::default();
    for l in rows {
        let found = match known(tx, l)? {
            Some(k) => Some(k),
            None => live(tx, l, now)?,
        };
        match found {
            None => out.unknown += 1,
            Some(k) if k.labelled => out.repeated += 1,
            Some(k) => {
                if count(tx, &k, l.truth)? {
                    let truth = class_of(l.truth);
                    tx.prepare_cached(
                        "UPDATE prediction SET labelled = 1, truth = ?3 WHERE load = ?1 AND seq = ?2",
                    )
                    .and_then(|mut q| q.execute(params![sql(l.load.0), sql(l.seq), truth]))
                    .op("mark a prediction")?;
                    if let Some(truth) = truth {
                        super::shadow::label(tx, l.load, l.seq, k.class, truth)?;
                    }
                    out.joined += 1;
                } else {
                    out.unknown += 1;
                }
            }
        }
    }
    Ok(out)
}

/// A prediction that only a page knows yet.
fn live(tx: &Transaction<'_>, l: &LabelRow, now: UnixMs) -> Result<Option<Known>, StoreError> {
    let Some(Live { model, bundle, classes, prediction: p }) = &l.live else { return Ok(None) };
    // Journalled, and yet not known: it was forgotten, and whether it was labelled with it. A page's ring may be longer
    // than this memory.
    let journalled: Option<i64> = tx
        .prepare_cached("SELECT next_seq FROM load WHERE id = ?1")
        .and_then(|mut q| q.query_row([sql(l.load.0)], |r| r.get(0)).optional())
        .op("find a load")?;
    if journalled.is_none_or(|next| l.seq < unsql(next)) {
        return Ok(None);
    }
    let window = open_window(tx, model, bundle, *classes, now)?;
    keep_prediction(tx, l.load, l.seq, p, window)?;
    Ok(Some(Known { class: p.class, score: f64::from(p.score), group: p.group, window, labelled: false }))
}
