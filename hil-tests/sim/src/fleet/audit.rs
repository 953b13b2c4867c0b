//! The audit log: a real Merkle tree over what happened, and what devices have seen of it.

use longshore_trust::Digest;
use longshore_trust::log::tree::{Frontier, empty_root, leaf_hash};

use super::Fleet;
use crate::env::Env;
use crate::message::Head;
use crate::queue::Ix;

/// The log of one fleet.
#[derive(Debug, Clone)]
pub struct Log {
    frontier: Frontier,
    /// The root after so many entries.
    roots: Vec<Digest>,
    epoch: u64,
    /// Where each restore has cut the log: the last epoch before it, and what was left.
    cuts: Vec<(u64, u64)>,
    /// Devices that have seen entries which a restore has lost.
    pub noticed: u64,
}

impl Default for Log {
    fn default() -> Self {
        let frontier = Frontier::from_peaks(0, Vec::new()).expect("an empty tree");
        Self { frontier, roots: vec![empty_root()], epoch: 1, cuts: Vec::new(), noticed: 0 }
    }
}

impl Log {
    /// One entry more.
    pub fn append(&mut self, entry: &str) {
        self.frontier.append(leaf_hash(entry.as_bytes()));
        self.roots.push(self.frontier.root());
    }
    /// Its head.
    #[must_use]
    pub fn head(&self) -> Head {
        Head { epoch: self.epoch, size: self.frontier.size(), root: self.frontier.root() }
    }
    /// A restore has lost everything behind this.
    pub fn restored(&mut self, epoch: u64) {
        // The same backup may be restored again: what any epoch before this one has added is lost.
        self.cuts.push((epoch - 1, self.frontier.size()));
        self.epoch = epoch;
        self.append(&format!("restored, epoch {epoch}"));
    }
    /// Whether the log, as it is, can know what a head says: a restore may have lost it.
    #[must_use]
    pub fn knows(&self, head: &Head) -> bool {
        self.cuts.iter().all(|(epoch, size)| head.epoch > *epoch || head.size <= *size)
    }
    /// The root after so many entries.
    #[must_use]
    pub fn root(&self, size: u64) -> Option<Digest> {
        usize::try_from(size).ok().and_then(|n| self.roots.get(n)).copied()
    }
}

impl Fleet {
    /// A device tells what it saw of the log.
    pub(super) fn witness(&mut self, env: &mut Env, ix: Ix, head: &Head) {
        if self.log.knows(head) {
            let root = self.log.root(head.size);
            env.oracle.witnesses(env.now, ix, head, root);
        } else {
            self.log.noticed += 1;
            if self.log.noticed == 1 {
                self.say(env, "a device has seen entries of the audit log that the backup does not hold");
            }
        }
    }
    /// An entry of the log.
    pub(super) fn record(&mut self, env: &Env, what: &str) {
        self.log.append(&format!("{} {what}", env.now));
    }
}
