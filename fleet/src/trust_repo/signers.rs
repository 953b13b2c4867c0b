//! The online keys that sign here: of those on the disk, the ones that the published root names.
//!
//! What always holds: a root is published only when this server holds a key for each online role in it; from then on
//! that key signs. A key that is put beside the others is found without a restart.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use longshore_trust::SigningKey;
use longshore_trust::tuf::edit::{RoleKeys, RootSpec};

use super::TrustRepoError;
use crate::director::Director;
use crate::online::OnlineKeys;

/// The online keys this server holds: several a role while one takes over from another.
pub struct OnlineSigners {
    held: RwLock<Held>,
    director: Director,
    dir: Option<PathBuf>,
}

struct Held {
    snapshot: Vec<Arc<SigningKey>>,
    timestamp: Vec<Arc<SigningKey>>,
}

impl Held {
    fn new(snapshot: Vec<SigningKey>, timestamp: Vec<SigningKey>) -> Self {
        let shared = |keys: Vec<SigningKey>| keys.into_iter().map(Arc::new).collect();
        Self { snapshot: shared(snapshot), timestamp: shared(timestamp) }
    }
}

/// The key that `named` names; of several the last, which is the one that came last.
fn pick(held: &[Arc<SigningKey>], named: &RoleKeys) -> Option<Arc<SigningKey>> {
    held.iter().rev().find(|k| named.keys.contains(&k.public())).cloned()
}

impl OnlineSigners {
    /// With these keys; `dir` is where more may be found when a root names one that is not among them.
    #[must_use]
    pub fn new(
        snapshot: Vec<SigningKey>,
        timestamp: Vec<SigningKey>,
        director: Director,
        dir: Option<PathBuf>,
    ) -> Self {
        Self { held: RwLock::new(Held::new(snapshot, timestamp)), director, dir }
    }
    /// Signs snapshots under this root.
    pub(super) fn snapshot(&self, root: &RootSpec) -> Result<Arc<SigningKey>, TrustRepoError> {
        let held = self.held.read().unwrap_or_else(PoisonError::into_inner);
        pick(&held.snapshot, &root.snapshot).ok_or_else(|| missing("snapshot"))
    }
    /// Signs timestamps under this root.
    pub(super) fn timestamp(&self, root: &RootSpec) -> Result<Arc<SigningKey>, TrustRepoError> {
        let held = self.held.read().unwrap_or_else(PoisonError::into_inner);
        pick(&held.timestamp, &root.timestamp).ok_or_else(|| missing("timestamp"))
    }
    /// Whether this server can sign everything that `root` leaves to it. Looks at the directory again if not.
    pub(super) fn can_serve(&self, root: &RootSpec) -> Result<(), TrustRepoError> {
        if self.has_all(root).is_err() {
            self.look_again();
        }
        self.has_all(root)
    }
    fn has_all(&self, root: &RootSpec) -> Result<(), TrustRepoError> {
        self.snapshot(root)?;
        self.timestamp(root)?;
        if !self.director.holds(&root.director) {
            return Err(missing("director"));
        }
        match &root.time {
            Some(time) if !self.director.holds_time(time) => Err(missing("time")),
            _ => Ok(()),
        }
    }
    /// From now on the director's and the time key of `root` sign.
    pub(super) fn follow(&self, root: &RootSpec) {
        self.director.follow(&root.director);
        self.director.follow_time(root.time.as_ref());
    }
    fn look_again(&self) {
        let Some(dir) = &self.dir else { return };
        match OnlineKeys::load(dir) {
            Ok(keys) => {
                *self.held.write().unwrap_or_else(PoisonError::into_inner) =
                    Held::new(keys.snapshot, keys.timestamp);
                self.director.hold(keys.director);
                self.director.hold_time(keys.time);
            }
            Err(error) => tracing::warn!(%error, "the online keys cannot be read again"),
        }
    }
}

fn missing(role: &str) -> TrustRepoError {
    TrustRepoError::refused(
        "root",
        format!(
            "its role {role} names no key that is in this server's `online` directory: copy the key there (beside the others, \
             as {role}-2.key) and try again"
        ),
    )
}
