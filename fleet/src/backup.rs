//! Backup while the server runs, and restore.
//!
//! What always holds: a backup is the record at one moment and every file it names; it holds the online keys, so it is as
//! secret as the server. A restore raises the fleet epoch, which makes devices offer again what they still hold: nothing
//! they hold is lost, and nothing counts twice, because the restored record knows what it has.

use std::path::Path;

use longshore_trust::UnixMs;
use serde::{Deserialize, Serialize};

use crate::init::{self, DataDir, DataError, copy_file, copy_online, io, make_private_dir};
use crate::store::{self, Store, StoreError};

/// What a backup says about itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// Whose it is.
    pub fleet: String,
    /// The epoch it was taken in.
    pub epoch: u64,
    /// When it was taken.
    pub taken: UnixMs,
    /// Files in `objects`.
    pub objects: u64,
}

/// Why a backup or restore failed.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// Files and directories.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There is something already.
    #[error("{0} exists and is not empty: name a new directory")]
    NotEmpty(std::path::PathBuf),
    /// Not a backup.
    #[error("{path} is not a backup of longshore-fleet: {why}")]
    NotABackup {
        /// The directory.
        path: std::path::PathBuf,
        /// Why not.
        why: String,
    },
    /// There is a fleet in the data directory.
    #[error("{0} holds a fleet: pass --replace to move its database aside, or choose another --data")]
    Occupied(std::path::PathBuf),
}

/// Writes a backup of `data` into the new directory `out`. The server may run meanwhile.
///
/// # Errors
/// [`BackupError`]; what was written so far stays under `out` without `backup.json`, and is refused by restore.
pub async fn backup(data: &DataDir, out: &Path, now: UnixMs) -> Result<About, BackupError> {
    if out.exists() && std::fs::read_dir(out).map_err(io("read", out))?.next().is_some() {
        return Err(BackupError::NotEmpty(out.to_owned()));
    }
    if !data.database().exists() {
        return Err(DataError::NotInitialised { path: data.root().to_owned() }.into());
    }
    make_private_dir(out)?;
    let store = Store::open_current(&data.database()).await?;
    // The record first: every file it names is there already, and files never change.
    store.copy_into(&out.join("fleet.db")).await?;
    let fleet = store.meta("fleet").await?.unwrap_or_default();
    let epoch = store.epoch().await?;
    store.close().await;
    copy_online(&data.online(), &out.join("online"))?;
    let log_key = data.root().join(crate::audit::KEY_FILE);
    if log_key.exists() {
        copy_file(&log_key, &out.join(crate::audit::KEY_FILE), true)?;
    }
    let config = data.root().join("config.toml");
    if config.exists() {
        copy_file(&config, &out.join("config.toml"), false)?;
    }
    let objects = copy_objects(&data.objects(), &out.join("objects"))?;
    let about = About { fleet, epoch, taken: now, objects };
    let text = serde_json::to_string_pretty(&about).expect("numbers and text always encode");
    let path = out.join("backup.json");
    std::fs::write(&path, text).map_err(io("write", &path))?;
    Ok(about)
}

/// Makes a data directory out of a backup, under a higher epoch. The new epoch.
///
/// # Errors
/// [`BackupError`].
pub async fn restore(from: &Path, data: &DataDir, replace: bool, now: UnixMs) -> Result<u64, BackupError> {
    let not_a_backup = |why: String| BackupError::NotABackup { path: from.to_owned(), why };
    let text = std::fs::read_to_string(from.join("backup.json"))
        .map_err(|e| not_a_backup(format!("backup.json cannot be read: {e}")))?;
    let about: About = serde_json::from_str(&text).map_err(|e| not_a_backup(format!("backup.json: {e}")))?;
    data.make()?;
    let _lock = data.lock()?;
    let mut known_epoch = about.epoch;
    if data.database().exists() {
        if !replace {
            return Err(BackupError::Occupied(data.root().to_owned()));
        }
        known_epoch = known_epoch.max(set_aside(data, now).await?);
    }
    let epoch = known_epoch + 1;
    // The same backup may be restored again where this database is not: the epoch must rise then, too.
    let raised = serde_json::to_string_pretty(&About { epoch, ..about.clone() })
        .expect("numbers and text always encode");
    let part = from.join("backup.json.part");
    let marked =
        std::fs::write(&part, raised).and_then(|()| std::fs::rename(&part, from.join("backup.json")));
    if let Err(error) = marked {
        tracing::warn!(%error, epoch, "the backup cannot be marked as restored; restore it only here, with --replace");
    }
    copy_online(&from.join("online"), &data.online())?;
    let log_key = from.join(crate::audit::KEY_FILE);
    if log_key.exists() {
        copy_file(&log_key, &data.root().join(crate::audit::KEY_FILE), true)?;
    }
    let config = from.join("config.toml");
    if config.exists() && !data.root().join("config.toml").exists() {
        copy_file(&config, &data.root().join("config.toml"), false)?;
    }
    copy_objects(&from.join("objects"), &data.objects())?;
    // Under another name until its epoch has risen: a server on the old epoch would take what devices know as receipted
    // for lost.
    let staged = data.root().join("fleet.db.restoring");
    for suffix in ["", "-wal", "-shm"] {
        let left = data.root().join(format!("fleet.db.restoring{suffix}"));
        if left.exists() {
            std::fs::remove_file(&left).map_err(io("remove", &left))?;
        }
    }
    copy_file(&from.join("fleet.db"), &staged, true)?;
    let store = Store::open(&staged).await?;
    let mut tx = store.write().await?;
    store::set_meta(&mut tx, "epoch", &epoch.to_string()).await?;
    let left = store::audit::checkpoint::restored(&mut tx, epoch, now).await?;
    let detail = format!("from a backup taken at {}; {left} entries of this log are left", about.taken.0);
    store::audit::record(&mut tx, now, "server", "fleet.restore", &format!("epoch {epoch}"), &detail).await?;
    store::device::set_all_offline(&mut tx).await?;
    tx.commit().await?;
    store.close().await;
    // Closing has emptied the log into the file.
    std::fs::rename(&staged, data.database()).map_err(io("move", &staged))?;
    std::fs::File::open(data.root()).and_then(|d| d.sync_all()).map_err(io("write", data.root()))?;
    Ok(epoch)
}

/// Moves the present database aside; its epoch, if it can still be read.
async fn set_aside(data: &DataDir, now: UnixMs) -> Result<u64, BackupError> {
    let epoch = match Store::open_current(&data.database()).await {
        Ok(store) => {
            let epoch = store.epoch().await.unwrap_or(0);
            store.close().await;
            epoch
        }
        Err(error) => {
            tracing::warn!(%error, "the present database cannot be read; its epoch is not known");
            0
        }
    };
    for suffix in ["", "-wal", "-shm"] {
        let path = data.root().join(format!("fleet.db{suffix}"));
        if path.exists() {
            let aside = data.root().join(format!("fleet.db.replaced-{}{suffix}", now.0));
            std::fs::rename(&path, &aside).map_err(io("move", &path))?;
        }
    }
    Ok(epoch)
}

/// Copies the objects that are not there yet. How many there are.
fn copy_objects(from: &Path, to: &Path) -> Result<u64, DataError> {
    make_private_dir(to)?;
    let mut count = 0;
    if !from.exists() {
        return Ok(count);
    }
    for shard in std::fs::read_dir(from).map_err(io("read", from))? {
        let shard = shard.map_err(io("read", from))?;
        if shard.file_name().len() != 2 {
            continue;
        }
        let to_shard = to.join(shard.file_name());
        make_private_dir(&to_shard)?;
        for file in std::fs::read_dir(shard.path()).map_err(io("read", from))? {
            let file = file.map_err(io("read", from))?;
            let target = to_shard.join(file.file_name());
            if !target.exists() {
                let partial = to_shard.join("partial");
                std::fs::copy(file.path(), &partial).map_err(io("copy", &file.path()))?;
                std::fs::rename(&partial, &target).map_err(io("move", &partial))?;
            }
            count += 1;
        }
    }
    Ok(count)
}

/// Brings the database of a data directory up to date.
///
/// # Errors
/// [`BackupError`].
pub async fn migrate(data: &DataDir) -> Result<(), BackupError> {
    if !data.database().exists() {
        return Err(DataError::NotInitialised { path: data.root().to_owned() }.into());
    }
    let _lock = init::DataDir::lock(data)?;
    Store::open(&data.database()).await?.close().await;
    Ok(())
}
