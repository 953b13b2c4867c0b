//! What devices remember of the audit log, and what it was found not to be.

use longshore_trust::log::LogHead;
use longshore_trust::{DeviceId, Digest, UnixMs};
use sqlx::FromRow;

use super::{Store, StoreError, Tx, digest, record, to_i64, to_u64};

/// Keeps the newest checkpoint that a device says it saw.
///
/// # Errors
/// When the database refuses.
pub async fn saw(
    tx: &mut Tx,
    device: &DeviceId,
    head: &LogHead,
    time: UnixMs,
    now: UnixMs,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO audit_witness (device, epoch, size, root, time, received) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
         ON CONFLICT (device) DO UPDATE SET epoch = excluded.epoch, size = excluded.size, root = excluded.root,
             time = excluded.time, received = excluded.received
         WHERE (excluded.epoch, excluded.size) >= (epoch, size)",
    )
    .bind(device.as_str())
    .bind(to_i64(head.epoch))
    .bind(to_i64(head.size))
    .bind(head.root.0.as_slice())
    .bind(to_i64(time.0))
    .bind(to_i64(now.0))
    .execute(tx.conn())
    .await?;
    Ok(())
}

/// How the log is not what it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AlarmKind {
    /// It signed a checkpoint that it does not continue.
    Fork,
    /// An entry is not what its leaf was made of.
    Entry,
    /// A restore from a backup has cut entries off that a device had seen signed.
    RolledBack,
}

impl AlarmKind {
    /// As in the database and in the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fork => "fork",
            Self::Entry => "entry",
            Self::RolledBack => "rolled_back",
        }
    }
    fn parse(s: &str) -> Option<Self> {
        [Self::Fork, Self::Entry, Self::RolledBack].into_iter().find(|k| k.as_str() == s)
    }
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alarm {
    /// When it was found.
    pub time: UnixMs,
    /// What.
    pub kind: AlarmKind,
    /// The device whose report showed it, if one did.
    pub device: Option<DeviceId>,
    /// Of the checkpoint that does not fit.
    pub epoch: u64,
    /// Its size; the entry's number for [`AlarmKind::Entry`].
    pub size: u64,
    /// Its root.
    pub root: Digest,
    /// For people.
    pub detail: String,
}

/// Writes a finding down, and into the log itself. Whether it is new.
///
/// # Errors
/// When the database refuses.
pub async fn alarm(tx: &mut Tx, alarm: &Alarm) -> Result<bool, StoreError> {
    let done = sqlx::query(
        "INSERT OR IGNORE INTO audit_alarm (time, kind, device, epoch, size, root, detail)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )
    .bind(to_i64(alarm.time.0))
    .bind(alarm.kind.as_str())
    .bind(alarm.device.as_ref().map(DeviceId::as_str))
    .bind(to_i64(alarm.epoch))
    .bind(to_i64(alarm.size))
    .bind(alarm.root.0.as_slice())
    .bind(&alarm.detail)
    .execute(tx.conn())
    .await?;
    if done.rows_affected() == 0 {
        return Ok(false);
    }
    let object = alarm.device.as_ref().map_or("log", DeviceId::as_str);
    let action = format!("log.{}", alarm.kind.as_str());
    record(tx, alarm.time, "server", &action, object, &alarm.detail).await?;
    Ok(true)
}

#[derive(FromRow)]
struct AlarmRow {
    time: i64,
    kind: String,
    device: Option<String>,
    epoch: i64,
    size: i64,
    root: Vec<u8>,
    detail: String,
}

impl Store {
    /// The newest findings, newest first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn audit_alarms(&self, limit: u32) -> Result<Vec<Alarm>, StoreError> {
        let sql =
            "SELECT time, kind, device, epoch, size, root, detail FROM audit_alarm ORDER BY id DESC LIMIT ?1";
        let rows: Vec<AlarmRow> = sqlx::query_as(sql).bind(limit).fetch_all(self.read()).await?;
        rows.into_iter()
            .map(|r| {
                Ok(Alarm {
                    time: UnixMs(to_u64(r.time)),
                    kind: AlarmKind::parse(&r.kind)
                        .ok_or_else(|| StoreError::corrupt("kind of alarm", &r.kind))?,
                    device: r
                        .device
                        .map(DeviceId::new)
                        .transpose()
                        .map_err(|e| StoreError::corrupt("device id", e))?,
                    epoch: to_u64(r.epoch),
                    size: to_u64(r.size),
                    root: digest(r.root)?,
                    detail: r.detail,
                })
            })
            .collect()
    }
    /// How many findings of each kind there are: forks, entries, rollbacks.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn audit_alarm_counts(&self) -> Result<[u64; 3], StoreError> {
        let sql = "SELECT coalesce(sum(kind = 'fork'), 0), coalesce(sum(kind = 'entry'), 0),
             coalesce(sum(kind = 'rolled_back'), 0) FROM audit_alarm";
        let (forks, entries, back): (i64, i64, i64) = sqlx::query_as(sql).fetch_one(self.read()).await?;
        Ok([forks, entries, back].map(to_u64))
    }
    /// How many devices have said what they saw of the log, and the smallest size that any of them has seen.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn audit_witnesses(&self) -> Result<(u64, Option<u64>), StoreError> {
        let (count, least): (i64, Option<i64>) =
            sqlx::query_as("SELECT count(*), min(size) FROM audit_witness").fetch_one(self.read()).await?;
        Ok((to_u64(count), least.map(to_u64)))
    }
}
