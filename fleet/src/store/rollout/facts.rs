//! The facts of a rollout, as one state of the record has them.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::tz::TimeZone;
use longshore_fleet_core::gate::{Beside, Tally};
use longshore_fleet_core::plan::Plan;
use longshore_fleet_core::rollout::{
    DeviceFact, Facts, LateDevice, Offer, Report, RevertPlan, RolloutState, WaveFact,
};
use longshore_trust::{AssignmentVersion, DeviceId, Digest, RolloutId, UnixMs};
use longshore_wire::v1::UpdateState;
use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;

use super::evidence::Reader;
use super::start::find_revert;
use super::zone::{Zones, zone_of};
use super::{Rollout, find, find_waves, time};
use crate::store::{StoreError, Tx, to_i64, to_u64};

/// The facts, with what they borrow.
#[derive(Debug)]
pub struct OwnedFacts {
    /// The rollout.
    pub rollout: Rollout,
    /// Its plan.
    pub plan: Arc<Plan>,
    /// Its waves.
    pub waves: Vec<WaveFact>,
    /// Its devices.
    pub devices: Vec<DeviceFact>,
    /// The last plan of taking it back.
    pub revert: Option<RevertPlan>,
    /// The zones its devices are in.
    pub zones: Vec<TimeZone>,
}

impl OwnedFacts {
    /// Reads everything the executor asks about one rollout. A device counts as heard of when it is connected or was
    /// heard after `heard_after`.
    ///
    /// # Errors
    /// When the database refuses or holds something that cannot be read.
    pub async fn load(tx: &mut Tx, id: &RolloutId, heard_after: UnixMs) -> Result<Option<Self>, StoreError> {
        let Some(rollout) = find(tx.conn(), id.as_str()).await? else { return Ok(None) };
        let Some(plan) = tx.plans().get(tx.conn(), id).await? else { return Ok(None) };
        let waves = find_waves(tx.conn(), id.as_str())
            .await?
            .into_iter()
            .map(|w| WaveFact {
                state: w.state,
                opened: w.opened,
                since: w.since,
                skipped: w.skipped,
                verdict: w.verdict,
            })
            .collect();
        let epoch = super::epoch(tx).await?;
        let rows = sqlx::query(
            "SELECT r.*, coalesce(d.failures, 0) AS failures, d.quarantined_at IS NOT NULL AS quarantined,
                    CASE WHEN ?5 THEN json_extract(d.labels, '$.tz') END AS zone_label,
                    CASE WHEN ?5 THEN json_extract(d.inventory, '$.zone') END AS zone_told,
                    CASE WHEN ?6 THEN coalesce(d.labels ->> '$.hw', d.inventory ->> '$.labels.hw', d.inventory ->> '$.arch')
                         END AS hardware,
                    n.p99_us AS new_p99_us, n.score_shift AS new_score_shift, n.estimated AS new_estimated,
                    o.p99_us AS old_p99_us, o.score_shift AS old_score_shift, o.estimated AS old_estimated,
                    d.revoked_at IS NOT NULL OR d.id IS NULL AS revoked,
                    coalesce(d.assignment_version, 0) AS accepted,
                    coalesce(d.online = 1 OR d.last_seen > ?4, 0) AS heard,
                    coalesce(d.heard_epoch < ?7 OR d.told_up_to > coalesce((SELECT p.up_to FROM stream_prefix p
                        WHERE p.device = d.id AND p.stream = d.stream), 0), 0) AS untold,
                    coalesce((SELECT max(a.version) FROM assignment a WHERE a.device = r.device), 0) AS assigned,
                    m.assignment_version AS said_version, m.state AS said_state, m.code AS said_code, m.active,
                    n.rows AS new_rows, n.errors AS new_errors, n.labelled AS new_labelled, n.correct AS new_correct,
                    coalesce(n.shadow_rows, 0) AS shadow_rows, n.shadow_agreed, n.shadow_errors, n.shadow_labelled,
                    n.shadow_only_candidate, n.shadow_only_active,
                    o.rows AS old_rows, o.errors AS old_errors, o.labelled AS old_labelled, o.correct AS old_correct
             FROM rollout_device r
             LEFT JOIN device d ON d.id = r.device
             LEFT JOIN device_model m ON m.device = r.device AND m.model = ?2
             LEFT JOIN device_total n ON n.device = r.device AND n.model = ?2 AND n.bundle = ?3
             LEFT JOIN device_total o ON o.device = r.device AND o.model = ?2 AND o.bundle = r.champion
             WHERE r.rollout = ?1 ORDER BY r.device",
        )
        .bind(id.as_str())
        .bind(rollout.model.as_str())
        .bind(rollout.bundle.to_hex())
        .bind(to_i64(heard_after.0))
        .bind(plan.policy.window.is_some())
        .bind(plan.policy.gate.golden_deviation.is_some())
        .bind(to_i64(epoch))
        .fetch_all(tx.conn())
        .await?;
        let mut zones = Zones::default();
        let mut reader = Reader::new(tx, &rollout).await?;
        let held = held(tx, &rollout).await?;
        let devices = rows
            .iter()
            .map(|r| {
                let mut fact = device(r, &mut reader)?;
                if plan.policy.window.is_some() {
                    let text = |name: &str| r.try_get::<Option<String>, _>(name);
                    fact.zone =
                        zones.place(zone_of(text("zone_label")?.as_deref(), text("zone_told")?.as_deref()));
                }
                if plan.policy.waves.get(fact.wave).is_some_and(|w| w.shadow_ms > 0) {
                    fact.measured.shadow = Some(beside(r)?);
                }
                fact.held = held.contains(&fact.device);
                Ok(fact)
            })
            .collect::<Result<_, StoreError>>()?;
        let revert = find_revert(tx.conn(), id.as_str()).await?;
        Ok(Some(Self { rollout, plan, waves, devices, revert, zones: zones.into_inner() }))
    }

    /// As the executor wants them.
    #[must_use]
    pub fn facts<'a>(&'a self, late: &'a [LateDevice]) -> Facts<'a> {
        Facts {
            plan: &self.plan,
            state: self.rollout.state,
            since: self.rollout.since,
            start_at: self.rollout.start_at,
            waves: &self.waves,
            devices: &self.devices,
            late,
            zones: &self.zones,
            revert: self.revert.as_ref(),
        }
    }
}

/// Devices that another rollout of the model has: one under way that comes first, or a later one that was completed.
async fn held(tx: &mut Tx, rollout: &Rollout) -> Result<BTreeSet<DeviceId>, StoreError> {
    let ids: Vec<String> = sqlx::query_scalar(
        "SELECT d.device FROM rollout o JOIN rollout_device d ON d.rollout = o.id
         WHERE o.model = ?1 AND o.id <> ?2
           AND ((o.state IN ('running', 'paused', 'halting', 'reverting')
                 AND (o.priority > ?3 OR (o.priority = ?3 AND o.generation < ?4))
                 AND (?6 OR d.offered_at IS NOT NULL))
             OR ((o.state = 'completed' OR ?7) AND d.offered_at IS NOT NULL AND o.started > ?5))",
    )
    .bind(rollout.model.as_str())
    .bind(rollout.id.as_str())
    .bind(rollout.priority)
    .bind(to_i64(rollout.generation.0))
    .bind(rollout.started.map_or(i64::MAX, |t| to_i64(t.0)))
    // What is taken back is taken back from every device that the other has not offered anything yet.
    .bind(!matches!(rollout.state, RolloutState::Halting | RolloutState::Reverting))
    // Once it is taken back, whatever came after it has the device.
    .bind(rollout.state == RolloutState::Reverted)
    .fetch_all(tx.conn())
    .await?;
    ids.into_iter().map(|id| id.parse().map_err(|e| StoreError::corrupt("device id", e))).collect()
}

fn digest(r: &SqliteRow, name: &str) -> Result<Option<Digest>, StoreError> {
    r.try_get::<Option<String>, _>(name)?
        .map(|t| t.parse())
        .transpose()
        .map_err(|e| StoreError::corrupt("bundle digest", e))
}

/// What a device compared in shadow since the rollout's first offer.
fn beside(r: &SqliteRow) -> Result<Beside, StoreError> {
    let n = |what: &str| {
        let of = |name: String| r.try_get::<Option<i64>, _>(name.as_str()).map(|n| n.unwrap_or(0));
        Ok::<_, StoreError>(to_u64(of(format!("shadow_{what}"))? - of(format!("base_shadow_{what}"))?))
    };
    Ok(Beside {
        rows: n("rows")?,
        agreed: n("agreed")?,
        errors: n("errors")?,
        labelled: n("labelled")?,
        only_candidate: n("only_candidate")?,
        only_active: n("only_active")?,
    })
}

pub(super) fn tally(r: &SqliteRow, prefix: &str) -> Result<Tally, StoreError> {
    let n = |what: &str| -> Result<u64, StoreError> {
        let column = format!("{prefix}_{what}");
        Ok(to_u64(r.try_get::<Option<i64>, _>(column.as_str())?.unwrap_or(0)))
    };
    Ok(Tally { rows: n("rows")?, errors: n("errors")?, labelled: n("labelled")?, correct: n("correct")? })
}

fn device(r: &SqliteRow, reader: &mut Reader) -> Result<DeviceFact, StoreError> {
    let champion = digest(r, "champion")?;
    let accepted = r.try_get::<i64, _>("accepted")?;
    let said_version = r.try_get::<Option<i64>, _>("said_version")?;
    let offer = match (r.try_get::<Option<i64>, _>("assignment_version")?, time(r, "offered_at")?) {
        (Some(version), Some(at)) => Some(Offer {
            version: AssignmentVersion(to_u64(version)),
            at,
            attempts: u32::try_from(r.try_get::<i64, _>("attempts")?).unwrap_or(u32::MAX),
            committed_at: time(r, "committed_at")?,
            renewed_at: time(r, "renewed_at")?,
            halted_at: time(r, "halted_at")?,
            until: time(r, "activate_by")?,
            shadow: r.try_get::<i64, _>("shadow")? != 0,
            passed_over: accepted > version && said_version.is_none_or(|said| said < version),
        }),
        _ => None,
    };
    let report = match r.try_get::<Option<String>, _>("said_state")? {
        None => None,
        // A device that has told its health but no update has no state of one.
        Some(text) => serde_json::from_value::<UpdateState>(serde_json::Value::String(text))
            .ok()
            .map(|state| {
                Ok::<_, StoreError>(Report {
                    version: AssignmentVersion(to_u64(said_version.unwrap_or(0))),
                    state,
                    code: r.try_get("said_code")?,
                    active: digest(r, "active")?,
                })
            })
            .transpose()?,
    };
    let device =
        r.try_get::<String, _>("device")?.parse().map_err(|e| StoreError::corrupt("device id", e))?;
    let wave = usize::try_from(r.try_get::<i64, _>("wave")?).unwrap_or(0);
    Ok(DeviceFact {
        state: r
            .try_get::<String, _>("state")?
            .parse()
            .map_err(|e| StoreError::corrupt("device state", e))?,
        code: r.try_get("code")?,
        offer,
        report,
        online: r.try_get::<i64, _>("heard")? != 0,
        revoked: r.try_get::<i64, _>("revoked")? != 0,
        previous: digest(r, "previous")?,
        candidate: tally(r, "new")?.since(&tally(r, "base")?),
        champion: champion.map(|_| tally(r, "old")).transpose()?,
        measured: reader.measured(r)?,
        shadow_rows: beside(r)?.rows,
        // One that another model's assignment overtook is refused as old: it is signed once more.
        revert: r
            .try_get::<Option<i64>, _>("revert_version")?
            .filter(|v| accepted <= *v || said_version.is_some_and(|said| said >= *v))
            .map(|v| AssignmentVersion(to_u64(v))),
        failures: u32::try_from(r.try_get::<i64, _>("failures")?).unwrap_or(u32::MAX),
        quarantined: r.try_get::<i64, _>("quarantined")? != 0,
        untold: r.try_get::<i64, _>("untold")? != 0,
        assigned: AssignmentVersion(to_u64(r.try_get("assigned")?)),
        ..DeviceFact::new(device, wave)
    })
}
