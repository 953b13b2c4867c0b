//! Devices as witnesses: what they saw signed must be how the log begins.
//!
//! A checkpoint counts only with this log's signature, so no device can cry wolf. A log that is shorter than what it
//! signed, or begins otherwise, has forked; unless a restore from a backup, which raises the epoch and is an entry itself,
//! has cut it: then that is said, with how much was lost at least.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use longshore_trust::log::LogHead;
use longshore_trust::{DeviceId, UnixMs};

use super::AuditLog;
use crate::store::StoreError;
use crate::store::audit::witness::{Alarm, AlarmKind};

/// Entries that are hashed again at a time.
const RECHECK: u32 = 20_000;
/// How often they are at most when devices report.
const RECHECK_EVERY: Duration = Duration::from_secs(10);
/// How long a verdict is remembered: a fleet reports the same few checkpoints over and over.
const REMEMBER: Duration = Duration::from_secs(10);
/// How many verdicts are.
const MAX_JUDGED: usize = 4_096;

/// What a device says it saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Who.
    pub device: DeviceId,
    /// What.
    pub heads: Vec<LogHead>,
}

/// What was judged lately.
#[derive(Debug, Default)]
pub(super) struct Judged(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    heads: HashMap<LogHead, Instant>,
    rechecked: Option<Instant>,
    next: u64,
}

impl AuditLog {
    /// Holds what devices saw against the log.
    ///
    /// # Errors
    /// When the database cannot be read; the reports should not be answered then.
    pub async fn witnessed(&self, seen: &[Seen], now: UnixMs) -> Result<(), StoreError> {
        let mut news = false;
        for Seen { device, heads } in seen {
            for head in heads {
                if self.is_news(head) {
                    news = true;
                    self.judge(device, head, now).await?;
                    self.remember(head);
                }
            }
        }
        if news && self.recheck_is_due() { self.recheck(now).await } else { Ok(()) }
    }

    fn is_news(&self, head: &LogHead) -> bool {
        let state = self.judged.0.lock().expect("nothing panics while it holds the verdicts");
        state.heads.get(head).is_none_or(|at| at.elapsed() > REMEMBER)
    }
    fn remember(&self, head: &LogHead) {
        let mut state = self.judged.0.lock().expect("nothing panics while it holds the verdicts");
        if state.heads.len() >= MAX_JUDGED {
            state.heads.clear();
        }
        state.heads.insert(*head, Instant::now());
    }
    fn recheck_is_due(&self) -> bool {
        let state = self.judged.0.lock().expect("nothing panics while it holds the verdicts");
        state.rechecked.is_none_or(|at| at.elapsed() > RECHECK_EVERY)
    }

    async fn judge(&self, device: &DeviceId, head: &LogHead, now: UnixMs) -> Result<(), StoreError> {
        if head.verify(&self.public).is_err() || head.epoch > self.epoch {
            self.refused.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(%device, size = head.size, "a device carries a checkpoint that this log never signed");
            return Ok(());
        }
        // What later restores have left of what was signed then.
        let cut = self.store.audit_restores().await?.into_iter().filter(|r| r.epoch > head.epoch);
        let cut = cut.min_by_key(|r| r.size).filter(|r| r.size < head.size);
        let alarm = |kind, detail| Alarm {
            time: now,
            kind,
            device: Some(device.clone()),
            epoch: head.epoch,
            size: head.size,
            root: head.root,
            detail,
        };
        if let Some(cut) = cut {
            let detail = format!(
                "log rolled back at restore, epoch {}: it kept {} entries, a device had seen {} signed in epoch {}; \
                 at least {} entries are lost",
                cut.epoch,
                cut.size,
                head.size,
                head.epoch,
                head.size - cut.size
            );
            return self.alarm(alarm(AlarmKind::RolledBack, detail)).await;
        }
        let size = self.store.audit_size().await?;
        if head.size <= size && self.root_is(head).await? {
            return Ok(());
        }
        let what = if head.size > size { "is shorter than" } else { "does not begin like" };
        let detail = format!(
            "the log {what} the one of {} entries that device {device} saw signed in epoch {}: entries were changed or \
             removed; the device's checkpoint is the proof",
            head.size, head.epoch
        );
        self.alarm(alarm(AlarmKind::Fork, detail)).await
    }

    /// Hashes some entries again, going on where the last time ended.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn recheck(&self, now: UnixMs) -> Result<(), StoreError> {
        let from = {
            let mut state = self.judged.0.lock().expect("nothing panics while it holds the verdicts");
            state.rechecked = Some(Instant::now());
            state.next
        };
        let next = match self.store.audit_recheck(from, RECHECK).await? {
            Ok(next) => next,
            Err(number) => {
                let detail = format!(
                    "entry {number} of the log is not what its hash was made of: it was changed or removed in the database"
                );
                let root = longshore_trust::log::tree::empty_root();
                let (epoch, size) = (self.epoch, number);
                self.alarm(Alarm {
                    time: now,
                    kind: AlarmKind::Entry,
                    device: None,
                    epoch,
                    size,
                    root,
                    detail,
                })
                .await?;
                number + 1
            }
        };
        self.judged.0.lock().expect("nothing panics while it holds the verdicts").next = next;
        Ok(())
    }
}
