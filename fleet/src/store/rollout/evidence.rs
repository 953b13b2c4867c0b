//! What gates ask of a device besides counts, and which devices are the control.
//!
//! What always holds: single figures, never tables; an estimate from scores only while the inputs of both versions are those
//! of their references.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use longshore_fleet_core::gate::{Figures, Measured};
use longshore_trust::RolloutId;
use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;

use super::Rollout;
use super::facts::tally;
use crate::store::{StoreError, Tx, to_i64};

/// Versions of the model whose accuracy can honestly be estimated from scores now: their inputs are those of the reference.
async fn estimable(tx: &mut Tx, rollout: &Rollout) -> Result<HashSet<String>, StoreError> {
    let bundles: Vec<String> = sqlx::query_scalar(
        "SELECT bundle FROM quality_verdict
         WHERE model = ?1 AND cohort = 'fleet' AND row ->> '$.estimated.state' = 'estimable'",
    )
    .bind(rollout.model.as_str())
    .fetch_all(tx.conn())
    .await?;
    // A new version that cannot be estimated is compared with nothing.
    let all: HashSet<String> = bundles.into_iter().collect();
    Ok(if all.contains(&rollout.bundle.to_hex()) { all } else { HashSet::new() })
}

/// Writes what devices of later waves have counted with the version they run, now that `wave` is opened: they are its
/// control devices, and what they count from here on is what changes without the new version.
pub(super) async fn note_controls(tx: &mut Tx, id: &RolloutId, wave: usize) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE rollout_device AS r SET
             (control_rows, control_errors, control_labelled, control_correct) =
               (SELECT t.rows, t.errors, t.labelled, t.correct
                FROM device_total t JOIN rollout o ON o.id = r.rollout
                WHERE t.device = r.device AND t.model = o.model AND t.bundle = r.champion)
         WHERE rollout = ?1 AND wave > ?2 AND offered_at IS NULL",
    )
    .bind(id.as_str())
    .bind(to_i64(wave as u64))
    .execute(tx.conn())
    .await?;
    Ok(())
}

/// What is the same for many rows.
pub(super) struct Reader {
    estimable: HashSet<String>,
    hardware: HashMap<String, Arc<str>>,
}

impl Reader {
    /// For one rollout.
    pub(super) async fn new(tx: &mut Tx, rollout: &Rollout) -> Result<Self, StoreError> {
        Ok(Self { estimable: estimable(tx, rollout).await?, hardware: HashMap::new() })
    }
    fn figures(&self, r: &SqliteRow, prefix: &str, is_estimable: bool) -> Result<Figures, StoreError> {
        let n = |what: &str| r.try_get::<Option<f64>, _>(format!("{prefix}_{what}").as_str());
        let estimated = n("estimated")?.filter(|_| is_estimable);
        Ok(Figures { p99_us: n("p99_us")?, score_shift: n("score_shift")?, estimated })
    }
    /// What is known of the device of this row.
    pub(super) fn measured(&mut self, r: &SqliteRow) -> Result<Measured, StoreError> {
        let champion: Option<String> = r.try_get("champion")?;
        let is_estimable = champion.is_some_and(|c| self.estimable.contains(&c));
        let hardware = r.try_get::<Option<String>, _>("hardware")?.map(|name| {
            let known = self.hardware.entry(name).or_insert_with_key(|name| Arc::from(name.as_str()));
            Arc::clone(known)
        });
        let noted = r.try_get::<Option<i64>, _>("control_rows")?.is_some();
        Ok(Measured {
            now: self.figures(r, "new", is_estimable)?,
            before: self.figures(r, "old", is_estimable)?,
            control: if noted { Some(tally(r, "control")?) } else { None },
            golden: r.try_get("golden")?,
            hardware,
            shadow: None,
        })
    }
}
