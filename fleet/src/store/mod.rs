//! The record: SQLite in WAL mode, one writer and several readers. All SQL of the fleet stands below this module.
//!
//! What always holds: every change is made in a transaction begun by [`Store::write`]; there is one at a time, so what
//! it read is still true when it commits; a commit has reached the disk (`synchronous = FULL`) before it returns.
//! Reads ([`Store::read`]) never wait for the writer.

mod migrate;

pub mod alert;
pub mod audit;
pub mod catalogue;
pub mod device;
pub mod director;
pub mod history;
pub mod identity;
pub mod ingest;
pub mod monitor;
pub mod people;
pub mod presence;
pub mod quarantine;
pub mod rollout;
pub mod signature;
pub mod stream;
pub mod trust;
pub mod views;

#[cfg(test)]
mod sums_tests;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{Sqlite, SqliteConnection, SqlitePool};

/// Why the record could not be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database refused or could not be reached.
    #[error("database: {0}")]
    Sql(#[from] sqlx::Error),
    /// A value in the database is not what this program writes.
    #[error("the database holds a {what} that cannot be read: {why}")]
    Corrupt {
        /// Which value.
        what: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// The database was made by a newer program.
    #[error(
        "{path} has schema version {found}, this program knows up to {known}: use the newer longshore-fleet"
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: i64,
        /// The newest known here.
        known: i64,
    },
    /// The database has not been migrated.
    #[error("{path} has schema version {found}, this program needs {known}: run `longshore-fleet migrate`")]
    Older {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: i64,
        /// The newest known here.
        known: i64,
    },
    /// The file cannot be opened.
    #[error("cannot open the database {path}: {source}")]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        source: sqlx::Error,
    },
}

impl StoreError {
    /// For a column whose text does not parse.
    pub fn corrupt(what: &'static str, why: impl std::fmt::Display) -> Self {
        Self::Corrupt { what, why: why.to_string() }
    }
    /// Whether a unique key was violated.
    #[must_use]
    pub fn is_unique_violation(&self) -> bool {
        matches!(self, Self::Sql(sqlx::Error::Database(e)) if e.is_unique_violation())
    }
}

/// The database.
#[derive(Debug, Clone)]
pub struct Store {
    writer: SqlitePool,
    readers: SqlitePool,
    path: PathBuf,
    shapes: Arc<monitor::Shapes>,
    plans: Arc<rollout::Plans>,
}

/// The one running write transaction; rolled back when dropped without [`Tx::commit`].
pub struct Tx {
    inner: sqlx::Transaction<'static, Sqlite>,
    shapes: Arc<monitor::Shapes>,
    plans: Arc<rollout::Plans>,
}

impl Tx {
    /// Makes it durable.
    ///
    /// # Errors
    /// When the disk refuses; nothing is changed then.
    pub async fn commit(self) -> Result<(), StoreError> {
        Ok(self.inner.commit().await?)
    }
    /// The connection, for the modules below.
    pub(in crate::store) fn conn(&mut self) -> &mut SqliteConnection {
        &mut self.inner
    }
    /// Plans that were read before.
    pub(in crate::store) fn plans(&self) -> Arc<rollout::Plans> {
        Arc::clone(&self.plans)
    }
    /// Shapes of bundles that were read before.
    pub(in crate::store) fn shapes(&self) -> &Arc<monitor::Shapes> {
        &self.shapes
    }
}

impl Store {
    /// Opens the database, makes it when it is missing, and brings its schema up to date.
    ///
    /// # Errors
    /// [`StoreError`] when the file cannot be opened or is of a newer program.
    pub async fn open(path: &Path) -> Result<Self, StoreError> {
        let store = Self::connect(path).await?;
        migrate::up(&store).await?;
        Ok(store)
    }

    /// Opens a database that is in use, without changing its schema.
    ///
    /// # Errors
    /// [`StoreError`] when the file cannot be opened or its schema is not the one this program knows.
    pub async fn open_current(path: &Path) -> Result<Self, StoreError> {
        let store = Self::connect(path).await?;
        let (found, known) = (migrate::version(&store).await?, migrate::KNOWN);
        let path = path.to_owned();
        match found.cmp(&known) {
            std::cmp::Ordering::Equal => Ok(store),
            std::cmp::Ordering::Less => Err(StoreError::Older { path, found, known }),
            std::cmp::Ordering::Greater => Err(StoreError::Newer { path, found, known }),
        }
    }

    async fn connect(path: &Path) -> Result<Self, StoreError> {
        let open = |source| StoreError::Open { path: path.to_owned(), source };
        private_file(path).map_err(|e| open(sqlx::Error::Io(e)))?;
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(Duration::from_secs(10))
            .foreign_keys(true)
            .pragma("wal_autocheckpoint", "2000")
            .pragma("cache_size", "-16000");
        let writer = SqlitePoolOptions::new()
            .max_connections(1)
            .acquire_timeout(Duration::from_secs(60))
            .connect_with(options.clone())
            .await
            .map_err(open)?;
        let readers = SqlitePoolOptions::new()
            .max_connections(4)
            .connect_with(options.pragma("query_only", "ON"))
            .await
            .map_err(open)?;
        Ok(Self { writer, readers, path: path.to_owned(), shapes: Arc::default(), plans: Arc::default() })
    }

    /// Begins the write transaction; waits until the one before it has ended.
    ///
    /// # Errors
    /// When the database cannot be locked.
    pub async fn write(&self) -> Result<Tx, StoreError> {
        let inner = self.writer.begin_with("BEGIN IMMEDIATE").await?;
        Ok(Tx { inner, shapes: Arc::clone(&self.shapes), plans: Arc::clone(&self.plans) })
    }
    /// One state of the whole database, to read from beside the writer: nothing can be written through it.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn snapshot(&self) -> Result<Tx, StoreError> {
        let inner = self.readers.begin().await?;
        Ok(Tx { inner, shapes: Arc::clone(&self.shapes), plans: Arc::clone(&self.plans) })
    }
    /// For reading, beside the writer.
    pub(in crate::store) fn read(&self) -> &SqlitePool {
        &self.readers
    }
    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
    /// Closes all connections, which writes the log back into the file.
    pub async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }
    /// A consistent copy of the whole database into a new file, while the server runs.
    ///
    /// # Errors
    /// When the file exists or cannot be written.
    pub async fn copy_into(&self, to: &Path) -> Result<(), StoreError> {
        private_file(to).map_err(|e| StoreError::Open { path: to.to_owned(), source: sqlx::Error::Io(e) })?;
        sqlx::query("VACUUM INTO ?1").bind(to.to_string_lossy().into_owned()).execute(&self.writer).await?;
        Ok(())
    }
    /// A value of the `meta` table.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn meta(&self, key: &str) -> Result<Option<String>, StoreError> {
        Ok(sqlx::query_scalar("SELECT value FROM meta WHERE key = ?1")
            .bind(key)
            .fetch_optional(&self.readers)
            .await?)
    }
    /// The fleet's epoch: raised by every restore from a backup.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn epoch(&self) -> Result<u64, StoreError> {
        match self.meta("epoch").await? {
            None => Ok(1),
            Some(text) => text.parse().map_err(|e| StoreError::corrupt("fleet epoch", e)),
        }
    }
}

/// Makes the file if there is none, readable for its owner only: it will hold the hashes of passwords and tokens. SQLite
/// gives its side files the same mode. A file that is there is not opened: to close it would give up the locks that this
/// process has on it.
fn private_file(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt as _;
    match std::fs::OpenOptions::new().create_new(true).write(true).mode(0o600).open(path) {
        Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => Err(e),
        _ => Ok(()),
    }
}

/// Sets a value of the `meta` table.
///
/// # Errors
/// When the database refuses.
pub async fn set_meta(tx: &mut Tx, key: &str, value: &str) -> Result<(), StoreError> {
    sqlx::query("INSERT INTO meta (key, value) VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET value = excluded.value")
        .bind(key)
        .bind(value)
        .execute(tx.conn())
        .await?;
    Ok(())
}

/// A value of the `meta` table, inside a transaction.
///
/// # Errors
/// When the database refuses.
pub async fn get_meta(tx: &mut Tx, key: &str) -> Result<Option<String>, StoreError> {
    Ok(sqlx::query_scalar("SELECT value FROM meta WHERE key = ?1")
        .bind(key)
        .fetch_optional(tx.conn())
        .await?)
}

/// SQLite's integers are signed; ours fit.
pub(crate) fn to_i64(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}
/// Back from [`to_i64`].
pub(crate) fn to_u64(n: i64) -> u64 {
    u64::try_from(n).unwrap_or(0)
}
