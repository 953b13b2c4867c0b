//! Which cohorts a device's rows count for, and how many cohorts there may be.

use std::collections::BTreeMap;

use longshore_fleet_core::monitor::Cohort;
use longshore_fleet_core::monitor::cohort::COHORTS_MAX;
use longshore_trust::UnixMs;
use sqlx::SqliteConnection;

use crate::store::{StoreError, Tx, to_i64};

/// Most kinds of hardware of a model that are kept apart.
const HARDWARE_MAX: u32 = 64;
/// Most cohorts that one device may bring into being: one that changes its labels all the time must not use them up.
const BY_ONE_DEVICE: u32 = 8;
/// What further kinds of hardware are counted under.
const OTHER_HARDWARE: &str = "other";

/// Labels and hardware of a device, as it is known now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Traits {
    labels: BTreeMap<String, String>,
    board: String,
    arch: String,
}

impl Traits {
    /// Labels given at enrolment and told by the device; the latter win.
    pub(super) async fn of(tx: &mut Tx, device: &str) -> Result<Self, StoreError> {
        Self::read(tx.conn(), device).await
    }
    pub(super) async fn read(connection: &mut SqliteConnection, device: &str) -> Result<Self, StoreError> {
        type Row = (String, Option<String>, Option<String>, Option<String>);
        let row: Option<Row> = sqlx::query_as(
            "SELECT labels, json_extract(inventory, '$.labels'), json_extract(inventory, '$.board'),
                 json_extract(inventory, '$.arch') FROM device WHERE id = ?1",
        )
        .bind(device.to_owned())
        .fetch_optional(connection)
        .await?;
        let Some((given, told, board, arch)) = row else { return Ok(Self::default()) };
        let read = |text: &str| serde_json::from_str::<BTreeMap<String, String>>(text).unwrap_or_default();
        let mut labels = read(&given);
        labels.extend(told.as_deref().map(read).unwrap_or_default());
        Ok(Self { labels, board: board.unwrap_or_default(), arch: arch.unwrap_or_default() })
    }
    /// The cohorts its rows belong to besides the whole fleet.
    pub(super) fn cohorts(&self, declared: &[String]) -> Vec<Cohort> {
        let hardware = Cohort::of_hardware(&self.labels, &self.board, &self.arch);
        Cohort::of_labels(declared, &self.labels).into_iter().chain([hardware]).collect()
    }
}

fn kind(cohort: &Cohort) -> &'static str {
    match cohort {
        Cohort::Fleet => "fleet",
        Cohort::Labels(_) | Cohort::Other => "labels",
        Cohort::Hardware(_) => "hardware",
    }
}

/// The cohort itself, or the one for what is too many.
pub(super) async fn admit(
    tx: &mut Tx,
    model: &str,
    device: &str,
    cohort: &Cohort,
    now: UnixMs,
) -> Result<Cohort, StoreError> {
    if cohort.is_fleet() {
        return Ok(Cohort::Fleet);
    }
    let (name, kind) = (cohort.to_string(), kind(cohort));
    let known: Option<i64> = sqlx::query_scalar("SELECT 1 FROM cohort WHERE model = ?1 AND name = ?2")
        .bind(model.to_owned())
        .bind(name.clone())
        .fetch_optional(tx.conn())
        .await?;
    if known.is_some() {
        return Ok(cohort.clone());
    }
    let (all, own): (i64, i64) = sqlx::query_as(
        "SELECT count(*), coalesce(sum(device = ?3), 0) FROM cohort WHERE model = ?1 AND kind = ?2",
    )
    .bind(model.to_owned())
    .bind(kind)
    .bind(device.to_owned())
    .fetch_one(tx.conn())
    .await?;
    let most = if kind == "hardware" { HARDWARE_MAX } else { COHORTS_MAX };
    if all >= i64::from(most) || own >= i64::from(BY_ONE_DEVICE) {
        return Ok(match cohort {
            Cohort::Hardware(_) => Cohort::Hardware(OTHER_HARDWARE.to_owned()),
            _ => Cohort::Other,
        });
    }
    sqlx::query("INSERT INTO cohort (model, name, kind, device, created) VALUES (?1, ?2, ?3, ?4, ?5)")
        .bind(model.to_owned())
        .bind(name)
        .bind(kind)
        .bind(device.to_owned())
        .bind(to_i64(now.0))
        .execute(tx.conn())
        .await?;
    Ok(cohort.clone())
}
