//! The device's database: one SQLite file, one connection, used by one thread.
//!
//! Always true here: a state change and the report of it are one transaction; a sealed row never changes; counters are
//! added exactly once, whatever is killed; a database that cannot be read is moved aside, never deleted, and the loss is
//! written into the gap ledger. WAL with `synchronous=FULL`: what was confirmed survives a power cut.

mod batch;
mod labels;
mod outbox;
mod quota;
mod second;
mod shadow;
mod upgrade;
mod watched;
mod windows;
mod witness;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use longshore_trust::{StreamId, UnixMs};
use longshore_wire::v1::{EventKind, Gap, GapCause, GapKind};
use rusqlite::{Connection, ErrorCode, OptionalExtension as _, Transaction, TransactionBehavior, params};

pub use batch::Restored;
pub use labels::{Joined, LabelRow, Live};
pub use outbox::{Pending, SealOutcome};
pub use quota::Quota;
pub use watched::{Held, Watched};
pub use windows::{LoadDelta, LoadRow, Total};

/// Schema changes, in order, and what must be written anew in Rust; `user_version` counts the ones applied.
const MIGRATIONS: &[(&str, Option<Upgrade>)] = &[
    (include_str!("migrations/0001_init.sql"), None),
    (include_str!("migrations/0002_watched.sql"), Some(upgrade::counters)),
    (include_str!("migrations/0003_shadow.sql"), None),
];
type Upgrade = fn(&Transaction<'_>, UnixMs) -> Result<(), StoreError>;
/// Room that is given back when the disk is full: SQLite needs some even to delete.
const BALLAST_BYTES: usize = 1024 * 1024;

/// What the store could not do.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// SQLite refused.
    #[error("state database: cannot {op}: {source}")]
    Sql {
        /// What was tried.
        op: &'static str,
        /// Its answer.
        source: rusqlite::Error,
    },
    /// A file beside the database.
    #[error("{path}: {source}", path = path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// Made by a newer agent.
    #[error(
        "state database is of schema {found}, this agent knows {known}: install the newer agent again, or move the file aside"
    )]
    Newer {
        /// Its version.
        found: i64,
        /// Ours.
        known: usize,
    },
    /// A value that this agent did not write.
    #[error("state database: {0} cannot be read")]
    Value(String),
}

impl StoreError {
    /// Whether room on the disk would help.
    #[must_use]
    pub fn is_full(&self) -> bool {
        match self {
            Self::Sql { source, .. } => source.sqlite_error_code() == Some(ErrorCode::DiskFull),
            Self::File { source, .. } => source.kind() == io::ErrorKind::StorageFull,
            _ => false,
        }
    }
}

/// Names the operation of a failed statement.
pub(crate) trait Op<T> {
    /// Adds what was tried.
    fn op(self, op: &'static str) -> Result<T, StoreError>;
}
impl<T> Op<T> for Result<T, rusqlite::Error> {
    fn op(self, op: &'static str) -> Result<T, StoreError> {
        self.map_err(|source| StoreError::Sql { op, source })
    }
}

/// The open database.
#[derive(Debug)]
pub struct Store {
    conn: Connection,
    dir: PathBuf,
    stream: StreamId,
    /// The second copy could not be written: it is behind.
    second_due: bool,
}

impl Store {
    /// Opens the database of a state directory, or begins one; `stream` is a fresh random number for the latter.
    ///
    /// # Errors
    /// [`StoreError`]; a corrupt database is no error: it is moved aside and its loss recorded.
    pub fn open(dir: &Path, stream: StreamId, now: UnixMs) -> Result<Self, StoreError> {
        let file = dir.join("state.db");
        let mut lost = None;
        let mut store = match Self::open_file(&file, dir, now) {
            Ok(store) => store,
            Err(e) if is_corrupt(&e) => {
                lost = Some(e.to_string());
                set_aside(&file, now)?;
                Self::open_file(&file, dir, now)?
            }
            Err(e) => return Err(e),
        };
        match store.number("stream")? {
            Some(known) => store.stream = StreamId(known),
            None => store.begin(stream, lost, now)?,
        }
        store.lay_ballast();
        Ok(store)
    }

    fn open_file(file: &Path, dir: &Path, now: UnixMs) -> Result<Self, StoreError> {
        let mut conn = Connection::open(file).op("open")?;
        conn.pragma_update(None, "journal_mode", "WAL").op("switch to WAL")?;
        conn.pragma_update(None, "synchronous", "FULL").op("set synchronous")?;
        conn.pragma_update(None, "cache_size", -512).op("set the cache size")?;
        conn.pragma_update(None, "journal_size_limit", 1024 * 1024).op("limit the WAL")?;
        conn.pragma_update(None, "foreign_keys", true).op("set foreign keys")?;
        let ok: String = conn.query_row("PRAGMA quick_check(1)", [], |r| r.get(0)).op("check")?;
        if ok != "ok" {
            let source = rusqlite::Error::SqliteFailure(
                rusqlite::ffi::Error { code: ErrorCode::DatabaseCorrupt, extended_code: 11 },
                Some(ok),
            );
            return Err(StoreError::Sql { op: "check", source });
        }
        migrate(&mut conn, now)?;
        Ok(Self { conn, dir: dir.to_owned(), stream: StreamId(0), second_due: false })
    }

    /// Begins the stream of a new database; after a loss with what the second copy knows, and a row that says so. One
    /// transaction: killed before its end, it is done anew, and floors are not forgotten.
    fn begin(&mut self, stream: StreamId, lost: Option<String>, now: UnixMs) -> Result<(), StoreError> {
        let second = second::read(&self.dir);
        let missing = || second.as_ref().map(|_| "the database was missing".to_owned());
        let detail = lost.or_else(missing).map(|d| d.chars().take(500).collect::<String>());
        self.stream = stream;
        self.write(|tx| {
            put(tx, "stream", stream.0)?;
            if let Some(second) = &second {
                second.restore(tx)?;
            }
            let Some(detail) = &detail else { return Ok(()) };
            event(tx, now, EventKind::DatabaseReset { detail: detail.clone() })?;
            let lost = Gap {
                kind: GapKind::Counters,
                cause: GapCause::Corruption,
                count: 0,
                from: UnixMs(0),
                to: now,
            };
            gap(tx, now, lost)
        })
    }

    /// The stream of this database.
    #[must_use]
    pub fn stream(&self) -> StreamId {
        self.stream
    }
    /// One transaction. When the disk is full the ballast is given up and the transaction tried once more.
    pub(crate) fn write<T>(
        &mut self,
        mut f: impl FnMut(&Transaction<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let first = self.attempt(&mut f);
        match first {
            Err(e) if e.is_full() && fs::remove_file(self.dir.join("ballast")).is_ok() => {
                self.attempt(&mut f)
            }
            other => other,
        }
    }
    fn attempt<T>(
        &mut self,
        f: &mut impl FnMut(&Transaction<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let tx = self.conn.transaction_with_behavior(TransactionBehavior::Immediate).op("begin")?;
        let out = f(&tx)?;
        tx.commit().op("commit")?;
        Ok(out)
    }
    /// Puts the ballast back when there is room. Failing to is no error: it will be tried again.
    pub fn lay_ballast(&self) {
        let path = self.dir.join("ballast");
        if !path.exists() && fs::write(&path, vec![0x5a; BALLAST_BYTES]).is_err() {
            // Half a ballast is none.
            let _ = fs::remove_file(&path);
        }
    }
    /// A number of `kv`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn number(&self, key: &str) -> Result<Option<u64>, StoreError> {
        number(&self.conn, key)
    }
    /// Sets a number of `kv`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn set_number(&mut self, key: &str, value: u64) -> Result<(), StoreError> {
        self.write(|tx| put(tx, key, value))
    }
    /// Sets several numbers of `kv`, in one transaction.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn set_numbers(&mut self, numbers: &[(&str, u64)]) -> Result<(), StoreError> {
        self.write(|tx| numbers.iter().try_for_each(|(key, value)| put(tx, key, *value)))
    }
    /// Queues an event.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn event(&mut self, now: UnixMs, kind: &EventKind) -> Result<(), StoreError> {
        self.write(|tx| event(tx, now, kind.clone()))
    }
    /// Writes a row of the gap ledger and queues it for the fleet.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn gap(&mut self, now: UnixMs, row: &Gap) -> Result<(), StoreError> {
        self.write(|tx| gap(tx, now, row.clone()))
    }
    /// Rows of the gap ledger.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn gap_rows(&self) -> Result<u64, StoreError> {
        let n: Result<i64, _> = self.conn.query_row("SELECT count(*) FROM gap", [], |r| r.get(0));
        n.map(unsql).op("count gaps")
    }
    /// All gap rows: kind, cause, count.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn gaps(&self) -> Result<Vec<(String, String, u64)>, StoreError> {
        let mut q =
            self.conn.prepare_cached("SELECT kind, cause, count FROM gap ORDER BY id").op("read gaps")?;
        let rows =
            q.query_map([], |r| Ok((r.get(0)?, r.get(1)?, r.get::<_, i64>(2)? as u64))).op("read gaps")?;
        rows.collect::<Result<_, _>>().op("read gaps")
    }
}

fn is_corrupt(e: &StoreError) -> bool {
    let StoreError::Sql { source, .. } = e else { return false };
    matches!(source.sqlite_error_code(), Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
}

fn set_aside(file: &Path, now: UnixMs) -> Result<(), StoreError> {
    for suffix in ["", "-wal", "-shm"] {
        let from = PathBuf::from(format!("{}{suffix}", file.display()));
        if from.exists() {
            let to = PathBuf::from(format!("{}.corrupt-{}{suffix}", file.display(), now.0));
            fs::rename(&from, &to).map_err(|source| StoreError::File { path: from, source })?;
        }
    }
    Ok(())
}

fn migrate(conn: &mut Connection, now: UnixMs) -> Result<(), StoreError> {
    let found: i64 = conn.query_row("PRAGMA user_version", [], |r| r.get(0)).op("read its version")?;
    let applied = usize::try_from(found).unwrap_or(usize::MAX);
    if applied > MIGRATIONS.len() {
        return Err(StoreError::Newer { found, known: MIGRATIONS.len() });
    }
    for (i, (sql, upgrade)) in MIGRATIONS.iter().enumerate().skip(applied) {
        let tx = conn.transaction().op("begin a migration")?;
        tx.execute_batch(sql).op("migrate")?;
        upgrade.map_or(Ok(()), |upgrade| upgrade(&tx, now))?;
        tx.pragma_update(None, "user_version", i as i64 + 1).op("set its version")?;
        tx.commit().op("commit a migration")?;
    }
    Ok(())
}

pub(crate) fn number(conn: &Connection, key: &str) -> Result<Option<u64>, StoreError> {
    let mut q = conn.prepare_cached("SELECT value FROM kv WHERE key = ?1").op("read a value")?;
    let value: Option<Vec<u8>> = q.query_row([key], |r| r.get(0)).optional().op("read a value")?;
    value
        .map(|v| v.try_into().map(u64::from_be_bytes).map_err(|_| StoreError::Value(format!("kv {key}"))))
        .transpose()
}
pub(crate) fn put(tx: &Transaction<'_>, key: &str, value: u64) -> Result<(), StoreError> {
    tx.prepare_cached(
        "INSERT INTO kv VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
    )
    .and_then(|mut q| q.execute(params![key, value.to_be_bytes()]))
    .op("write a value")?;
    Ok(())
}
/// SQLite's integers are signed; ours that need all 64 bits keep their bits.
pub(crate) fn sql(n: u64) -> i64 {
    n as i64
}
pub(crate) fn unsql(n: i64) -> u64 {
    n as u64
}

/// Queues a body for sealing.
pub(crate) fn queue(
    tx: &Transaction<'_>,
    now: UnixMs,
    kind: longshore_trust::Kind,
    slot: Option<&str>,
    body: &impl serde::Serialize,
) -> Result<(), StoreError> {
    let bytes = postcard::to_stdvec(body).expect("wire types always encode");
    tx.prepare_cached("INSERT OR REPLACE INTO report (time, kind, slot, body) VALUES (?1, ?2, ?3, ?4)")
        .and_then(|mut q| q.execute(params![sql(now.0), kind as u8, slot, bytes]))
        .op("queue a report")?;
    Ok(())
}
pub(crate) fn event(tx: &Transaction<'_>, now: UnixMs, kind: EventKind) -> Result<(), StoreError> {
    queue(tx, now, longshore_trust::Kind::Events, None, &longshore_wire::v1::Event { time: now, kind })
}
pub(crate) fn gap(tx: &Transaction<'_>, now: UnixMs, row: Gap) -> Result<(), StoreError> {
    let name = |v: serde_json::Value| v.as_str().unwrap_or_default().to_owned();
    let kind = name(serde_json::to_value(row.kind).expect("an enum encodes"));
    let cause = name(serde_json::to_value(row.cause).expect("an enum encodes"));
    tx.prepare_cached(
        "INSERT INTO gap (time, kind, cause, count, from_ms, to_ms) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )
    .and_then(|mut q| {
        q.execute(params![sql(now.0), kind, cause, sql(row.count), sql(row.from.0), sql(row.to.0)])
    })
    .op("write a gap row")?;
    event(tx, now, EventKind::Gap(row))
}
