//! What devices were told: assignments and commands, as signed.

use longshore_trust::{AssignmentVersion, DeviceId, Generation, RolloutId, Seq, UnixMs};
use longshore_wire::v1::CommandReport;
use sqlx::Row as _;

use super::{Store, StoreError, Tx, to_i64, to_u64};

/// One signed assignment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredAssignment {
    /// For whom.
    pub device: DeviceId,
    /// Its version.
    pub version: AssignmentVersion,
    /// Its plan.
    pub generation: Generation,
    /// Its rollout.
    pub rollout: Option<RolloutId>,
    /// The signed envelope.
    pub bytes: Vec<u8>,
    /// When it was signed.
    pub created: UnixMs,
    /// Until when it is accepted.
    pub not_after: UnixMs,
}

/// No number of epoch `e` is below this: a restored fleet has forgotten what it gave out, devices have not.
fn floor(epoch: u64) -> u64 {
    epoch.saturating_sub(1).min(1 << 20) << 32
}

/// The greatest generation signed for a device, and at least the epoch's floor: a device accepts none below what it has
/// accepted, so an assignment of an older plan that is still good carries this one.
///
/// # Errors
/// When the database refuses.
pub async fn newest_generation(tx: &mut Tx, device: &DeviceId, epoch: u64) -> Result<Generation, StoreError> {
    let n: Option<i64> = sqlx::query_scalar("SELECT max(generation) FROM assignment WHERE device = ?1")
        .bind(device.as_str())
        .fetch_one(tx.conn())
        .await?;
    Ok(Generation(to_u64(n.unwrap_or(0)).max(super::rollout::first_generation(epoch))))
}

/// Takes the next sequence number towards a device; `None` when it is unknown or revoked.
///
/// # Errors
/// When the database refuses.
pub async fn next_down_seq(tx: &mut Tx, device: &DeviceId, epoch: u64) -> Result<Option<Seq>, StoreError> {
    let n: Option<i64> = sqlx::query_scalar(
        "UPDATE device SET down_seq = max(down_seq, ?2) + 1 WHERE id = ?1 AND revoked_at IS NULL RETURNING down_seq",
    )
    .bind(device.as_str())
    .bind(to_i64(floor(epoch)))
    .fetch_optional(tx.conn())
    .await?;
    Ok(n.map(|n| Seq(to_u64(n))))
}

/// One more than the greatest version signed for a device, or that it says it accepted.
///
/// # Errors
/// When the database refuses.
pub async fn next_assignment_version(
    tx: &mut Tx,
    device: &DeviceId,
    epoch: u64,
) -> Result<AssignmentVersion, StoreError> {
    let n: i64 = sqlx::query_scalar(
        "SELECT 1 + max(?2,
            coalesce((SELECT max(version) FROM assignment WHERE device = ?1), 0),
            coalesce((SELECT assignment_version FROM device WHERE id = ?1), 0))",
    )
    .bind(device.as_str())
    .bind(to_i64(floor(epoch)))
    .fetch_one(tx.conn())
    .await?;
    Ok(AssignmentVersion(to_u64(n)))
}

/// Stores a signed assignment.
///
/// # Errors
/// When the database refuses.
pub async fn insert_assignment(tx: &mut Tx, a: &StoredAssignment) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO assignment (device, version, generation, rollout, bytes, created, not_after)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )
    .bind(a.device.as_str())
    .bind(to_i64(a.version.0))
    .bind(to_i64(a.generation.0))
    .bind(a.rollout.as_ref().map(RolloutId::as_str))
    .bind(&a.bytes)
    .bind(to_i64(a.created.0))
    .bind(to_i64(a.not_after.0))
    .execute(tx.conn())
    .await?;
    Ok(())
}

/// Stores a signed command.
///
/// # Errors
/// When the database refuses.
pub async fn insert_command(
    tx: &mut Tx,
    device: &DeviceId,
    seq: Seq,
    bytes: &[u8],
    created: UnixMs,
    not_after: UnixMs,
) -> Result<(), StoreError> {
    sqlx::query("INSERT INTO command (device, seq, bytes, created, not_after) VALUES (?1, ?2, ?3, ?4, ?5)")
        .bind(device.as_str())
        .bind(to_i64(seq.0))
        .bind(bytes)
        .bind(to_i64(created.0))
        .bind(to_i64(not_after.0))
        .execute(tx.conn())
        .await?;
    Ok(())
}

/// A device has obeyed a command: it need not be sent again.
///
/// # Errors
/// When the database refuses.
pub async fn obeyed(
    tx: &mut Tx,
    device: &DeviceId,
    report: &CommandReport,
    now: UnixMs,
) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE command SET obeyed_at = ?3, changed = ?4 WHERE device = ?1 AND seq = ?2 AND obeyed_at IS NULL",
    )
    .bind(device.as_str())
    .bind(to_i64(report.seq.0))
    .bind(to_i64(now.0))
    .bind(i64::from(report.changed))
    .execute(tx.conn())
    .await?;
    Ok(())
}

/// What a device is to be sent: its newest assignment and its unexpired commands, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pending {
    /// The newest assignment, if it is still accepted.
    pub assignment: Option<Vec<u8>>,
    /// Commands, oldest first.
    pub commands: Vec<Vec<u8>>,
}

impl Store {
    /// Devices that accepted assignments which this record never signed; only a restored record has any.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn devices_ahead(&self) -> Result<u64, StoreError> {
        if self.epoch().await? <= 1 {
            return Ok(0);
        }
        let n: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM device d WHERE d.revoked_at IS NULL AND d.assignment_version >
                 coalesce((SELECT max(version) FROM assignment a WHERE a.device = d.id), 0)",
        )
        .fetch_one(self.read())
        .await?;
        Ok(to_u64(n))
    }
    /// What a device is to be sent now.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn pending_for(&self, device: &DeviceId, now: UnixMs) -> Result<Pending, StoreError> {
        let newest = sqlx::query(
            "SELECT bytes, not_after FROM assignment WHERE device = ?1 ORDER BY version DESC LIMIT 1",
        )
        .bind(device.as_str())
        .fetch_optional(self.read())
        .await?;
        let assignment = match newest {
            Some(row) if to_u64(row.try_get("not_after")?) >= now.0 => Some(row.try_get("bytes")?),
            _ => None,
        };
        let commands = sqlx::query_scalar(
            "SELECT bytes FROM command WHERE device = ?1 AND not_after >= ?2 AND obeyed_at IS NULL ORDER BY seq",
        )
        .bind(device.as_str())
        .bind(to_i64(now.0))
        .fetch_all(self.read())
        .await?;
        Ok(Pending { assignment, commands })
    }
    /// Online devices that have not said a word about their newest assignment, signed before `before`.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn unanswered_assignments(
        &self,
        before: UnixMs,
        now: UnixMs,
    ) -> Result<Vec<DeviceId>, StoreError> {
        let ids: Vec<String> = sqlx::query_scalar(
            "SELECT d.id FROM device d JOIN assignment a ON a.device = d.id
             WHERE d.online = 1 AND d.revoked_at IS NULL AND a.version > d.assignment_version
               AND a.version = (SELECT max(version) FROM assignment WHERE device = d.id)
               AND a.created < ?1 AND a.not_after >= ?2",
        )
        .bind(to_i64(before.0))
        .bind(to_i64(now.0))
        .fetch_all(self.read())
        .await?;
        ids.into_iter().map(|id| id.parse().map_err(|e| StoreError::corrupt("device id", e))).collect()
    }
}
