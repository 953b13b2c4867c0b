//! State changes with their reports, in one transaction.

use longshore_agent_core::update::{Batch, ModelRecord, Write};
use longshore_trust::{AssignmentVersion, Kind, Seq, UnixMs};
use longshore_wire::v1::ReportBody;
use rusqlite::{Transaction, params};

use super::{Op as _, Store, StoreError, event, put, queue, sql};

/// Rows of the local update log that are kept.
const LOG_ROWS: i64 = 500;

/// What the cores are restored from.
#[derive(Debug, Clone, PartialEq)]
pub struct Restored {
    /// The greatest assignment version accepted.
    pub assigned: AssignmentVersion,
    /// Epoch and number of the last command obeyed.
    pub commanded: (u64, u64),
    /// The models.
    pub models: Vec<ModelRecord>,
    /// The last fleet epoch.
    pub fleet_epoch: u64,
    /// The next free number of the stream.
    pub next: Seq,
    /// The end of the receipted prefix.
    pub receipted: Seq,
    /// Sealed rows without a receipt.
    pub unreceipted: Vec<Seq>,
}

impl Store {
    /// Commits a batch of the update core.
    ///
    /// # Errors
    /// [`StoreError`]; then nothing of it is stored.
    pub fn apply(&mut self, batch: &Batch, now: UnixMs) -> Result<(), StoreError> {
        self.write(|tx| batch.writes.iter().try_for_each(|w| apply(tx, w, now)))?;
        // It is committed: an error now would make the caller commit it again, with every report twice.
        self.keep_second();
        Ok(())
    }
    /// Queues a report outside of an update (inventory, health); it replaces an unsent one of the same `slot`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn report(&mut self, now: UnixMs, slot: Option<&str>, body: &ReportBody) -> Result<(), StoreError> {
        self.write(|tx| queue(tx, now, Kind::Report, slot, body))
    }
    /// What the cores start from.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn restored(&self) -> Result<Restored, StoreError> {
        Ok(Restored {
            assigned: AssignmentVersion(self.number("assigned")?.unwrap_or(0)),
            commanded: (
                self.number("commanded_epoch")?.unwrap_or(0),
                self.number("commanded_seq")?.unwrap_or(0),
            ),
            models: self.models()?,
            fleet_epoch: self.number("fleet_epoch")?.unwrap_or(0),
            next: Seq(self.number("sealed")?.unwrap_or(0) + 1),
            receipted: Seq(self.number("receipted")?.unwrap_or(0)),
            unreceipted: self.unreceipted()?,
        })
    }
    pub(super) fn models(&self) -> Result<Vec<ModelRecord>, StoreError> {
        let mut q =
            self.conn.prepare_cached("SELECT model, record FROM slot ORDER BY model").op("read slots")?;
        let rows =
            q.query_map([], |r| Ok((r.get::<_, String>(0)?, r.get::<_, String>(1)?))).op("read slots")?;
        rows.map(|row| {
            let (model, text) = row.op("read slots")?;
            serde_json::from_str(&text).map_err(|e| StoreError::Value(format!("the slot of {model} ({e})")))
        })
        .collect()
    }
}

pub(super) fn put_record(tx: &Transaction<'_>, record: &ModelRecord) -> Result<(), StoreError> {
    let text = serde_json::to_string(record).expect("a record always encodes");
    tx.prepare_cached(
        "INSERT INTO slot VALUES (?1, ?2) ON CONFLICT (model) DO UPDATE SET record = excluded.record",
    )
    .and_then(|mut q| q.execute(params![record.model.as_str(), text]))
    .op("write a slot")?;
    Ok(())
}

fn apply(tx: &Transaction<'_>, write: &Write, now: UnixMs) -> Result<(), StoreError> {
    match write {
        Write::Record(record) => put_record(tx, record),
        Write::Report(report) => {
            tx.prepare_cached(
                "INSERT INTO update_log (time, model, bundle, assignment, state, why) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )
            .and_then(|mut q| {
                let why = report.why.as_ref().map(|w| format!("{}: {}", w.code, w.detail));
                q.execute(params![
                    sql(now.0),
                    report.model.as_str(),
                    report.bundle.0,
                    sql(report.assignment_version.0),
                    report.state.as_str(),
                    why
                ])
            })
            .and_then(|_| {
                tx.execute("DELETE FROM update_log WHERE id <= (SELECT max(id) FROM update_log) - ?1", [LOG_ROWS])
            })
            .op("write the update log")?;
            queue(tx, now, Kind::Report, None, &ReportBody::Update((**report).clone()))
        }
        Write::Event(kind) => event(tx, now, kind.clone()),
        Write::Assigned(version) => put(tx, "assigned", version.0),
        Write::Commanded(epoch, seq) => {
            put(tx, "commanded_epoch", *epoch)?;
            put(tx, "commanded_seq", *seq)
        }
        Write::Obeyed(report) => queue(tx, now, Kind::Report, None, &ReportBody::Command(*report)),
        Write::Wiping(epoch, seq) => {
            put(tx, "wipe_epoch", *epoch)?;
            put(tx, "wipe_seq", *seq)
        }
    }
}
