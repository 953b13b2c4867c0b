//! What a bundle in shadow would have answered, until a label says which of both was right.
//!
//! The label may come before or after the answer is journalled; whichever comes second counts the row, once, in the window of
//! the bundle in shadow.

use longshore_stats::{Counters, ShadowTable};
use rusqlite::{OptionalExtension as _, Transaction, params};

use super::labels::place;
use super::windows::{add, counters_of, set_counters};
use super::{Op as _, StoreError, sql};
use crate::engine::protocol::LoadId;
use crate::page::Shadowed;

/// Counts an answer whose label is here, or keeps it for one.
pub(super) fn keep(tx: &Transaction<'_>, s: &Shadowed, window: i64) -> Result<(), StoreError> {
    let known: Option<(u32, bool, Option<u32>)> = tx
        .prepare_cached("SELECT class, labelled, truth FROM prediction WHERE load = ?1 AND seq = ?2")
        .and_then(|mut q| {
            q.query_row([sql(s.load.0), sql(s.seq)], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?))).optional()
        })
        .op("find a prediction")?;
    match known {
        Some((class, true, Some(truth))) => count(tx, window, class == truth, s.class == truth),
        // A number, or the label of an agent that did not keep it.
        Some((_, true, None)) => Ok(()),
        _ => {
            tx.prepare_cached("INSERT OR REPLACE INTO shadowed VALUES (?1, ?2, ?3, ?4)")
                .and_then(|mut q| q.execute(params![sql(s.load.0), sql(s.seq), s.class, window]))
                .op("keep an answer in shadow")?;
            Ok(())
        }
    }
}

/// A prediction of `class` was labelled: counts what a bundle in shadow would have answered.
pub(super) fn label(
    tx: &Transaction<'_>,
    load: LoadId,
    seq: u64,
    class: u32,
    truth: u32,
) -> Result<(), StoreError> {
    let found: Option<(u32, i64)> = tx
        .prepare_cached(r#"DELETE FROM shadowed WHERE load = ?1 AND seq = ?2 RETURNING class, "window""#)
        .and_then(|mut q| q.query_row([sql(load.0), sql(seq)], |r| Ok((r.get(0)?, r.get(1)?))).optional())
        .op("find an answer in shadow")?;
    let Some((answer, window)) = found else { return Ok(()) };
    count(tx, window, class == truth, answer == truth)
}

fn count(tx: &Transaction<'_>, window: i64, active: bool, candidate: bool) -> Result<(), StoreError> {
    let Some(at) = place(tx, window)? else { return Ok(()) };
    let mut table = ShadowTable::new(at.classes);
    table.labelled.insert(active, candidate);
    let mut counters = counters_of(tx, at.window)?.unwrap_or_default();
    if add(&mut counters, &Counters { shadow: Some(table), ..Counters::default() }) {
        set_counters(tx, at.window, &counters)?;
    }
    Ok(())
}

/// Forgets the oldest beyond `keep`.
pub(super) fn prune(tx: &Transaction<'_>, keep: u64) -> Result<(), StoreError> {
    tx.prepare_cached(
        "DELETE FROM shadowed WHERE (load, seq) IN (SELECT load, seq FROM shadowed ORDER BY load DESC, seq DESC LIMIT -1 OFFSET ?1)",
    )
    .and_then(|mut q| q.execute([sql(keep)]))
    .op("forget answers in shadow")?;
    Ok(())
}
