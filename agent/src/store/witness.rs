//! The checkpoints of the fleet's audit log that this device saw: one value of `kv`.

use longshore_agent_core::witness;
use longshore_trust::log::LogHead;
use rusqlite::{Connection, OptionalExtension as _, Transaction, params};

use super::{Op as _, Store, StoreError};

const KEY: &str = "log_seen";

fn read(conn: &Connection) -> Result<Vec<LogHead>, StoreError> {
    let value: Option<Vec<u8>> = conn
        .prepare_cached("SELECT value FROM kv WHERE key = ?1")
        .and_then(|mut q| q.query_row([KEY], |r| r.get(0)).optional())
        .op("read checkpoints")?;
    let unreadable = |_| StoreError::Value(format!("kv {KEY}"));
    value.map_or(Ok(Vec::new()), |v| postcard::from_bytes(&v).map_err(unreadable))
}

fn write(tx: &Transaction<'_>, seen: &Vec<LogHead>) -> Result<(), StoreError> {
    let bytes = postcard::to_stdvec(seen).expect("numbers and hashes always encode");
    tx.prepare_cached(
        "INSERT INTO kv VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
    )
    .and_then(|mut q| q.execute(params![KEY, bytes]))
    .op("keep checkpoints")?;
    Ok(())
}

/// A report with these was sealed.
pub(super) fn said(tx: &Transaction<'_>, reported: &[LogHead]) -> Result<(), StoreError> {
    if reported.len() < 2 {
        return Ok(());
    }
    let mut seen = read(tx)?;
    if witness::said(&mut seen, reported) { write(tx, &seen) } else { Ok(()) }
}

impl Store {
    /// What the next report says of the audit log, oldest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn log_seen(&self) -> Result<Vec<LogHead>, StoreError> {
        read(&self.conn)
    }
    /// A receipt carried this checkpoint.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn saw_log(&mut self, head: LogHead) -> Result<(), StoreError> {
        let mut seen = self.log_seen()?;
        if witness::saw(&mut seen, head) { self.write(|tx| write(tx, &seen)) } else { Ok(()) }
    }
}
