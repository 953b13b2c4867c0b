//! The data directory: made once by `init`, used by one process at a time.
//!
//! `fleet.db`, `objects/`, `online/` (keys, mode 0600), `config.toml` (optional), `lock`.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use longshore_trust::FleetId;

use crate::app;
use crate::audit::{self, AuditError, AuditLog};
use crate::config::{Config, ConfigError};
use crate::director::Director;
use crate::events::Bus;
use crate::gateway;
use crate::online::{self, OnlineError, OnlineKeys};
use crate::store::{self, Store, StoreError};
use crate::trust_repo::{OnlineSigners, TrustRepo, TrustRepoError};

/// Why a data directory cannot be made or used.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// The disk.
    #[error("cannot {doing} {path}: {source}")]
    Io {
        /// What was tried.
        doing: &'static str,
        /// With what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Another process has it.
    #[error(
        "{0} is in use by another longshore-fleet process: stop that one first, or choose another --data"
    )]
    InUse(PathBuf),
    /// The online keys.
    #[error(transparent)]
    Online(#[from] OnlineError),
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The trust metadata.
    #[error(transparent)]
    Trust(#[from] TrustRepoError),
    /// The audit log.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// The directory belongs to another fleet.
    #[error("{path} holds fleet {there}, the online keys are of fleet {keys}: choose another --data")]
    OtherFleet {
        /// The directory.
        path: PathBuf,
        /// Its fleet.
        there: String,
        /// The keys' fleet.
        keys: FleetId,
    },
    /// It has not been initialised.
    #[error("{0} has no fleet yet: run `longshore-fleet init --online KEYS/online --data DIR` first", path.display())]
    NotInitialised {
        /// The directory.
        path: PathBuf,
    },
}

/// Adds what was tried to an I/O error.
pub(crate) fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> DataError {
    let path = path.to_owned();
    move |source| DataError::Io { doing, path, source }
}

/// The paths in a data directory.
#[derive(Debug, Clone)]
pub struct DataDir {
    root: PathBuf,
}

impl DataDir {
    /// Names it; nothing is touched.
    #[must_use]
    pub fn new(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }
    /// The directory.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }
    /// The database.
    #[must_use]
    pub fn database(&self) -> PathBuf {
        self.root.join("fleet.db")
    }
    /// Bundle files.
    #[must_use]
    pub fn objects(&self) -> PathBuf {
        self.root.join("objects")
    }
    /// Online keys.
    #[must_use]
    pub fn online(&self) -> PathBuf {
        self.root.join("online")
    }
    /// Makes it, readable for its owner only.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn make(&self) -> Result<(), DataError> {
        make_private_dir(&self.root)
    }
    /// Takes it for this process; given back when the file is dropped.
    ///
    /// # Errors
    /// [`DataError::InUse`] when another process has it.
    pub fn lock(&self) -> Result<File, DataError> {
        let path = self.root.join("lock");
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(io("open", &path))?;
        match file.try_lock() {
            Ok(()) => Ok(file),
            Err(std::fs::TryLockError::WouldBlock) => Err(DataError::InUse(self.root.clone())),
            Err(std::fs::TryLockError::Error(e)) => Err(io("lock", &path)(e)),
        }
    }
}

/// Makes a directory (and its parents) with mode 0700.
pub(crate) fn make_private_dir(path: &Path) -> Result<(), DataError> {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(io("make", path))
}

/// Copies a file; private ones get mode 0600 before they have content.
pub(crate) fn copy_file(from: &Path, to: &Path, private: bool) -> Result<(), DataError> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let bytes = std::fs::read(from).map_err(io("read", from))?;
    let mut file = File::options()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(if private { 0o600 } else { 0o644 })
        .open(to)
        .map_err(io("write", to))?;
    io::Write::write_all(&mut file, &bytes).map_err(io("write", to))?;
    file.sync_all().map_err(io("write", to))
}

/// Copies the online keys from one directory to another.
pub(crate) fn copy_online(from: &Path, to: &Path) -> Result<(), DataError> {
    make_private_dir(to)?;
    for name in online::files(from) {
        let private = Path::new(&name).extension().is_some_and(|e| e == "key");
        copy_file(&from.join(&name), &to.join(&name), private)?;
    }
    Ok(())
}

/// What a process needs of an initialised data directory.
pub struct Opened {
    /// Keeps others out.
    pub lock: File,
    /// The record.
    pub store: Store,
    /// Trust metadata.
    pub trust: TrustRepo,
    /// Signs for devices.
    pub director: Director,
    /// Signs the audit log.
    pub audit: AuditLog,
    /// Issues certificates.
    pub ca: crate::tls::Ca,
    /// Whose it is.
    pub fleet: FleetId,
    /// Tells listeners.
    pub events: Bus,
    /// To the gateway.
    pub gateway: gateway::Handle,
    /// For the gateway.
    pub asks: tokio::sync::mpsc::UnboundedReceiver<gateway::Ask>,
}

/// Makes a data directory out of online keys; again with the same keys changes nothing.
///
/// # Errors
/// [`DataError`].
pub async fn init(online: &Path, data: &DataDir, config: &Config) -> Result<Opened, DataError> {
    let keys = OnlineKeys::load(online)?;
    data.make()?;
    let lock = data.lock()?;
    let target = data.online();
    if target.exists() {
        let there = OnlineKeys::load(&target)?;
        if there.fleet != keys.fleet || there.root != keys.root {
            return Err(DataError::OtherFleet {
                path: data.root.clone(),
                there: there.fleet.to_string(),
                keys: keys.fleet,
            });
        }
    } else {
        // Under another name first: half a set of keys would look like a damaged one.
        let partial = data.root.join("online.partial");
        copy_online(online, &partial)?;
        std::fs::rename(&partial, &target).map_err(io("move", &partial))?;
    }
    let store = Store::open(&data.database()).await?;
    let mut tx = store.write().await?;
    if store::get_meta(&mut tx, "fleet").await?.is_none() {
        store::set_meta(&mut tx, "fleet", keys.fleet.as_str()).await?;
        store::set_meta(&mut tx, "epoch", "1").await?;
    }
    tx.commit().await?;
    let (root, targets) = (keys.root.clone(), keys.targets.clone());
    let opened = assemble(data, lock, store, keys, config).await?;
    opened.trust.import(&root, &targets, app::now()).await?;
    Ok(opened)
}

/// Opens an initialised data directory.
///
/// # Errors
/// [`DataError`].
pub async fn open(data: &DataDir, config: &Config) -> Result<Opened, DataError> {
    if !data.online().exists() && !data.database().exists() {
        // The error of the keys teaches both commands.
        OnlineKeys::load(&data.online())?;
    }
    let keys = OnlineKeys::load(&data.online())?;
    if !data.database().exists() {
        return Err(DataError::NotInitialised { path: data.root.clone() });
    }
    let lock = data.lock()?;
    let store = Store::open(&data.database()).await?;
    assemble(data, lock, store, keys, config).await
}

async fn assemble(
    data: &DataDir,
    lock: File,
    store: Store,
    keys: OnlineKeys,
    config: &Config,
) -> Result<Opened, DataError> {
    match store.meta("fleet").await? {
        None => return Err(DataError::NotInitialised { path: data.root.clone() }),
        Some(there) if there != keys.fleet.as_str() => {
            return Err(DataError::OtherFleet { path: data.root.clone(), there, keys: keys.fleet });
        }
        Some(_) => {}
    }
    let epoch = store.epoch().await?;
    let audit = AuditLog::open(store.clone(), audit::open_key(data.root())?, &keys.fleet, epoch).await?;
    let events = Bus::new();
    let (gateway, asks) = gateway::Handle::new();
    let director = Director::with_keys(keys.director, keys.fleet.clone(), epoch).with_time_keys(keys.time);
    let signers = OnlineSigners::new(keys.snapshot, keys.timestamp, director.clone(), Some(data.online()));
    let trust = TrustRepo::new(store.clone(), signers, config.trust.clone(), events.clone(), gateway.clone());
    trust.follow_root().await?;
    Ok(Opened { lock, trust, director, store, audit, ca: keys.ca, fleet: keys.fleet, events, gateway, asks })
}
