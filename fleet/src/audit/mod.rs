//! The audit log as others see it: checkpoints signed with the log's own key, and devices that remember them.
//!
//! What always holds: a checkpoint is signed over what has been committed, never over a log that does not continue the
//! checkpoint before it; what is signed is stored before anybody is given it.

mod key;
mod witness;

use std::sync::RwLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use longshore_trust::log::{Checkpoint, LogHead, LogKey, NoteError, origin};
use longshore_trust::{FleetId, SigningKey, UnixMs};

pub use key::{FILE as KEY_FILE, open as open_key};
pub use witness::Seen;

use crate::app::Shared;
use crate::store::audit::witness::{Alarm, AlarmKind};
use crate::store::{Store, StoreError, audit};

/// How often a log that has grown is signed.
const EVERY: Duration = Duration::from_secs(30);

/// Why the log cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Its key or newest checkpoint.
    #[error("the newest checkpoint of the audit log, or the log's key, cannot be used: {0}")]
    Note(String),
}

impl From<NoteError> for AuditError {
    fn from(e: NoteError) -> Self {
        Self::Note(e.to_string())
    }
}

/// Signs what the log is and judges what devices say it was.
pub struct AuditLog {
    store: Store,
    key: SigningKey,
    public: LogKey,
    epoch: u64,
    latest: RwLock<Option<LogHead>>,
    signing: tokio::sync::Mutex<()>,
    judged: witness::Judged,
    refused: AtomicU64,
}

impl AuditLog {
    /// Of this fleet, in this epoch.
    ///
    /// # Errors
    /// [`AuditError`].
    pub async fn open(
        store: Store,
        key: SigningKey,
        fleet: &FleetId,
        epoch: u64,
    ) -> Result<Self, AuditError> {
        let public = LogKey::new(&origin(fleet), key.public())?;
        let newest = store.audit_checkpoint().await?;
        // One of another key is left behind: whoever replaces the key begins to be believed anew.
        let latest = newest.as_ref().and_then(|c| LogHead::from_note(c.note.as_bytes(), &public).ok());
        let log = Self {
            store,
            key,
            public,
            epoch,
            latest: RwLock::new(latest),
            signing: tokio::sync::Mutex::default(),
            judged: witness::Judged::default(),
            refused: AtomicU64::new(0),
        };
        if let Some(foreign) = newest.filter(|_| latest.is_none()) {
            log.key_was_replaced(&foreign).await?;
        }
        Ok(log)
    }
    async fn key_was_replaced(&self, foreign: &audit::checkpoint::Signed) -> Result<(), StoreError> {
        let detail = format!(
            "the newest checkpoint, of {} entries, is not signed by the key in {KEY_FILE}: the key was replaced or the \
             checkpoint changed. Nothing that was signed before can be checked with this key: put the old one back \
             (every backup holds it)",
            foreign.size
        );
        let root = longshore_trust::log::tree::empty_root();
        let (time, epoch, size) = (crate::app::now(), foreign.epoch, foreign.size);
        self.alarm(Alarm { time, kind: AlarmKind::Fork, device: None, epoch, size, root, detail }).await
    }
    /// Whose signatures count.
    #[must_use]
    pub fn public(&self) -> &LogKey {
        &self.public
    }
    /// The fleet's epoch.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.epoch
    }
    /// The newest checkpoint.
    #[must_use]
    pub fn latest(&self) -> Option<LogHead> {
        *self.latest.read().expect("nothing panics while it holds the checkpoint")
    }
    /// Checkpoints of devices that this log never signed.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// The newest checkpoint, after signing one if the log has grown since. `None` when nothing may be signed: the log is
    /// empty, or no longer what was signed before.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn checkpoint(&self, now: UnixMs) -> Result<Option<LogHead>, StoreError> {
        let _turn = self.signing.lock().await;
        let before = self.latest();
        let size = self.store.audit_size().await?;
        match before {
            Some(b) if !self.continues(&b, size, now).await? => return Ok(None),
            Some(b) if b.epoch == self.epoch && b.size == size => return Ok(before),
            None if size == 0 => return Ok(None),
            _ => {}
        }
        let root = self.store.audit_root(size).await?;
        let origin = self.public.name().to_owned();
        let head = Checkpoint { origin, size, root, epoch: self.epoch }.sign(&self.key);
        let mut tx = self.store.write().await?;
        audit::checkpoint::insert(&mut tx, &head, &head.to_note(&self.public), now).await?;
        tx.commit().await?;
        *self.latest.write().expect("nothing panics while it holds the checkpoint") = Some(head);
        Ok(Some(head))
    }

    /// Whether the log still begins with what was signed.
    async fn continues(&self, before: &LogHead, size: u64, now: UnixMs) -> Result<bool, StoreError> {
        // A restored record continues what was signed in it, too.
        if before.size <= size && self.root_is(before).await? {
            return Ok(true);
        }
        let detail = format!(
            "the log does not continue the checkpoint of {} entries that it signed before: entries were changed or \
             removed in the database; nothing more is signed until a backup is restored",
            before.size
        );
        self.alarm(Alarm {
            time: now,
            kind: AlarmKind::Fork,
            device: None,
            epoch: before.epoch,
            size: before.size,
            root: before.root,
            detail,
        })
        .await?;
        Ok(false)
    }

    async fn root_is(&self, head: &LogHead) -> Result<bool, StoreError> {
        match self.store.audit_root(head.size).await {
            Ok(root) => Ok(root == head.root),
            // Nodes that are gone are no root.
            Err(StoreError::Corrupt { .. }) => Ok(false),
            Err(e) => Err(e),
        }
    }

    async fn alarm(&self, alarm: Alarm) -> Result<(), StoreError> {
        let mut tx = self.store.write().await?;
        if audit::witness::alarm(&mut tx, &alarm).await? {
            tracing::error!(kind = alarm.kind.as_str(), "{}", alarm.detail);
        }
        tx.commit().await
    }
}

/// Signs checkpoints and looks at entries again, until the server stops.
pub async fn run(app: Shared) {
    let mut tick = tokio::time::interval(EVERY);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = app.stop.cancelled() => return,
            _ = tick.tick() => {}
        }
        let now = crate::app::now();
        let looked = async {
            app.audit.recheck(now).await?;
            app.audit.checkpoint(now).await
        };
        if let Err(error) = looked.await {
            tracing::error!(%error, "cannot sign a checkpoint of the audit log; trying again");
        }
    }
}
