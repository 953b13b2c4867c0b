//! What a verified message changes. Called once for every new message, inside the batch's transaction.
//!
//! What always holds: counters only ever add, by exact merging; of everything that has a latest state, an older message of
//! the same stream never overwrites what a newer one said.

use longshore_stats::Counters;
use longshore_trust::{AssignmentVersion, DeviceId, StreamId, UnixMs};
use longshore_wire::v1::{
    EventKind, Events, Header, Health, Hello, Inventory, Reason, ReportBody, UpdateReport, UpdateState,
    Window,
};

use super::monitor::Merger;
use super::stream::stream_text;
use super::{Store, StoreError, Tx, audit, presence, to_i64, to_u64};

/// No counter of an honest window comes near this.
const MAX_COUNT: u64 = 1 << 44;
/// Most classes of a model, as many as a device's counters hold.
const MAX_CLASSES: usize = 1 << 16;
/// No assignment was ever signed with a greater version. A device that claims one must not use up the numbers.
const MAX_VERSION: u64 = 1 << 53;
const HOUR_MS: u64 = 3_600_000;

/// A hello: the device is there and says what it has.
///
/// # Errors
/// When the database refuses.
pub async fn hello(tx: &mut Tx, device: &DeviceId, hello: &Hello, now: UnixMs) -> Result<(), StoreError> {
    let versions = serde_json::to_string(&hello.tuf_versions).expect("numbers by name always encode");
    sqlx::query(
        "UPDATE device SET online = 1, last_seen = ?2, boot = ?3,
             inventory_seq = CASE WHEN stream = ?4 THEN inventory_seq ELSE 0 END,
             health_seq = CASE WHEN stream = ?4 THEN health_seq ELSE 0 END,
             told_up_to = CASE WHEN stream = ?4 THEN max(told_up_to, ?7) ELSE ?7 END,
             heard_epoch = coalesce((SELECT CAST(value AS INTEGER) FROM meta WHERE key = 'epoch'), 1),
             stream = ?4, assignment_version = max(assignment_version, ?5), tuf_versions = ?6
         WHERE id = ?1",
    )
    .bind(device.as_str())
    .bind(to_i64(now.0))
    .bind(format!("{:016x}", hello.boot))
    .bind(stream_text(hello.stream))
    .bind(said(hello.assignment_version))
    .bind(versions)
    .bind(to_i64(hello.first_unreceipted.0.saturating_sub(1)))
    .execute(tx.conn())
    .await?;
    presence::heard(tx, device, now).await
}

/// The assignment version a device speaks of; 0 when there can be no such version.
fn said(version: AssignmentVersion) -> i64 {
    if version.0 > MAX_VERSION { 0 } else { to_i64(version.0) }
}

/// The device was heard.
///
/// # Errors
/// When the database refuses.
pub async fn seen(tx: &mut Tx, device: &DeviceId, now: UnixMs) -> Result<(), StoreError> {
    sqlx::query("UPDATE device SET online = 1, last_seen = ?2 WHERE id = ?1")
        .bind(device.as_str())
        .bind(to_i64(now.0))
        .execute(tx.conn())
        .await?;
    presence::heard(tx, device, now).await
}

/// A report.
///
/// # Errors
/// When the database refuses.
pub async fn report(tx: &mut Tx, header: &Header, body: &ReportBody, now: UnixMs) -> Result<(), StoreError> {
    match body {
        ReportBody::Update(update) => update_report(tx, header, update, now).await,
        ReportBody::Inventory(inventory) => store_inventory(tx, header, inventory).await,
        ReportBody::Health(health) => store_health(tx, header, health, now).await,
        ReportBody::Command(obeyed) => super::director::obeyed(tx, &header.device, obeyed, now).await,
    }
}

async fn update_report(
    tx: &mut Tx,
    header: &Header,
    u: &UpdateReport,
    now: UnixMs,
) -> Result<(), StoreError> {
    if u.state == UpdateState::Rejected
        && let Some(why) = &u.why
    {
        let object = format!("{}, assignment {}", header.device, u.assignment_version);
        let detail = format!("{}: {}", why.code, why.detail);
        audit::record(tx, now, header.device.as_str(), "device.rejected", &object, &detail).await?;
    }
    let trial = u.trial.as_ref().and_then(|t| serde_json::to_string(t).ok());
    let code = u.why.as_ref().map(|w| w.code.as_str());
    let detail = u.why.as_ref().map(|w| w.detail.chars().take(500).collect::<String>());
    let active = u.active.map(|d| d.to_hex());
    sqlx::query(
        "INSERT INTO update_report (device, model, bundle, assignment_version, generation, rollout, state, code,
             detail, trial, active, time, received)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
    )
    .bind(header.device.as_str())
    .bind(u.model.as_str())
    .bind(u.bundle.to_hex())
    .bind(said(u.assignment_version))
    .bind(to_i64(u.generation.0))
    .bind(u.rollout.as_ref().map(longshore_trust::RolloutId::as_str))
    .bind(u.state.as_str())
    .bind(code)
    .bind(detail)
    .bind(trial)
    .bind(&active)
    .bind(to_i64(header.time.0))
    .bind(to_i64(now.0))
    .execute(tx.conn())
    .await?;
    // The device tried the bundle on its golden vectors: how far off it was.
    let golden = u.trial.iter().flat_map(|t| &t.deviations).map(|d| d.max_abs).reduce(f64::max);
    if let (Some(rollout), Some(golden)) = (&u.rollout, golden.filter(|g| g.is_finite())) {
        sqlx::query(
            "UPDATE rollout_device SET golden = ?3 WHERE rollout = ?1 AND device = ?2
                 AND EXISTS (SELECT 1 FROM rollout o WHERE o.id = ?1 AND o.bundle = ?4)",
        )
        .bind(rollout.as_str())
        .bind(header.device.as_str())
        .bind(golden)
        .bind(u.bundle.to_hex())
        .execute(tx.conn())
        .await?;
    }
    sqlx::query("UPDATE device SET assignment_version = max(assignment_version, ?2) WHERE id = ?1")
        .bind(header.device.as_str())
        .bind(said(u.assignment_version))
        .execute(tx.conn())
        .await?;
    super::rollout::heard_generation(tx, &header.device, u.generation, now).await?;
    sqlx::query(
        "INSERT INTO device_model (device, model, active, version, wanted, state, code, assignment_version, changed,
             stream, state_seq)
         VALUES (?1, ?2, ?3, (SELECT version FROM bundle_version WHERE bundle = ?3), ?4, ?5, ?6, ?7, ?8, ?9, ?10)
         ON CONFLICT (device, model) DO UPDATE SET active = excluded.active, version = excluded.version,
             wanted = excluded.wanted, state = excluded.state, code = excluded.code,
             assignment_version = excluded.assignment_version, changed = excluded.changed,
             health_seq = CASE WHEN stream = excluded.stream THEN health_seq ELSE 0 END,
             stream = excluded.stream, state_seq = excluded.state_seq
         WHERE stream <> excluded.stream OR state_seq < excluded.state_seq",
    )
    .bind(header.device.as_str())
    .bind(u.model.as_str())
    .bind(&active)
    .bind(u.bundle.to_hex())
    .bind(u.state.as_str())
    .bind(code)
    .bind(said(u.assignment_version))
    .bind(to_i64(now.0))
    .bind(stream_text(header.stream))
    .bind(to_i64(header.seq.0))
    .execute(tx.conn())
    .await?;
    let brought = u.rollout.as_ref().filter(|_| u.active == Some(u.bundle));
    super::history::note(tx, header, &u.model, u.active, brought, now).await
}

async fn store_inventory(tx: &mut Tx, header: &Header, inventory: &Inventory) -> Result<(), StoreError> {
    let json = serde_json::to_string(inventory).expect("an inventory always encodes");
    let labels = serde_json::to_string(&inventory.labels).expect("text by name always encodes");
    sqlx::query(
        "UPDATE device SET inventory = ?2, inventory_seq = ?3,
             labels = CASE WHEN ?5 = '{}' THEN labels ELSE ?5 END
         WHERE id = ?1 AND (stream <> ?4 OR inventory_seq < ?3)",
    )
    .bind(header.device.as_str())
    .bind(json)
    .bind(to_i64(header.seq.0))
    .bind(stream_text(header.stream))
    .bind(labels)
    .execute(tx.conn())
    .await?;
    Ok(())
}

async fn store_health(tx: &mut Tx, header: &Header, health: &Health, now: UnixMs) -> Result<(), StoreError> {
    // What it saw of the log is kept with the log.
    let json = serde_json::to_string(&Health { log: Vec::new(), ..health.clone() })
        .expect("a health sample always encodes");
    sqlx::query(
        "UPDATE device SET health = ?2, health_seq = ?3 WHERE id = ?1 AND (stream <> ?4 OR health_seq < ?3)",
    )
    .bind(header.device.as_str())
    .bind(json)
    .bind(to_i64(header.seq.0))
    .bind(stream_text(header.stream))
    .execute(tx.conn())
    .await?;
    for m in &health.models {
        sqlx::query(
            "INSERT INTO device_model (device, model, active, version, state, rows_journal, changed, stream, health_seq)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
             ON CONFLICT (device, model) DO UPDATE SET rows_journal = excluded.rows_journal,
                 active = CASE WHEN stream <> excluded.stream OR state_seq < excluded.health_seq
                               THEN excluded.active ELSE active END,
                 version = CASE WHEN stream <> excluded.stream OR state_seq < excluded.health_seq
                               THEN excluded.version ELSE version END,
                 state_seq = CASE WHEN stream = excluded.stream THEN state_seq ELSE 0 END,
                 stream = excluded.stream, health_seq = excluded.health_seq
             WHERE stream <> excluded.stream OR health_seq < excluded.health_seq",
        )
        .bind(header.device.as_str())
        .bind(m.model.as_str())
        .bind(m.active.to_hex())
        .bind(&m.version)
        .bind(m.state.as_str())
        .bind(to_i64(m.rows_total))
        .bind(to_i64(now.0))
        .bind(stream_text(header.stream))
        .bind(to_i64(header.seq.0))
        .execute(tx.conn())
        .await?;
        super::history::note(tx, header, &m.model, Some(m.active), None, now).await?;
    }
    Ok(())
}

/// Events, gap rows among them.
///
/// # Errors
/// When the database refuses.
pub async fn events(tx: &mut Tx, device: &DeviceId, events: &Events, now: UnixMs) -> Result<(), StoreError> {
    for event in &events.events {
        let body = match &event.kind {
            EventKind::Gap(g) => serde_json::to_value(g),
            EventKind::EngineCrash { blamed, how } => Ok(serde_json::json!({"blamed": blamed, "how": how})),
            EventKind::AgentStart { last_end } => Ok(serde_json::json!({"last_end": last_end})),
            EventKind::DatabaseReset { detail } => Ok(serde_json::json!({"detail": detail})),
            EventKind::Refused(reason) => serde_json::to_value(reason),
            EventKind::StreamRestarted { fleet_had, sealed } => {
                Ok(serde_json::json!({"fleet_had": fleet_had, "sealed": sealed}))
            }
        }
        .expect("an event always encodes");
        if let EventKind::Refused(why) = &event.kind {
            audit_refusal(tx, device, why, now).await?;
        }
        insert_event(tx, device, event.time, event_kind(&event.kind), &body, now).await?;
    }
    Ok(())
}

/// A device refused something that was signed or should have been: worth a line of the log, but one a kind and hour, or a
/// hostile broker could fill it.
async fn audit_refusal(tx: &mut Tx, device: &DeviceId, why: &Reason, now: UnixMs) -> Result<(), StoreError> {
    let known: bool = sqlx::query_scalar(
        "SELECT EXISTS (SELECT 1 FROM device_event WHERE device = ?1 AND kind = 'refused' AND received > ?2
             AND json_extract(body, '$.code') = ?3)",
    )
    .bind(device.as_str())
    .bind(to_i64(now.0.saturating_sub(HOUR_MS)))
    .bind(&why.code)
    .fetch_one(tx.conn())
    .await?;
    if known {
        return Ok(());
    }
    let detail = format!("{}: {}", why.code, why.detail);
    audit::record(tx, now, device.as_str(), "device.refused", device.as_str(), &detail).await
}

fn event_kind(kind: &EventKind) -> &'static str {
    match kind {
        EventKind::Gap(_) => "gap",
        EventKind::EngineCrash { .. } => "engine_crash",
        EventKind::AgentStart { .. } => "agent_start",
        EventKind::DatabaseReset { .. } => "database_reset",
        EventKind::Refused(_) => "refused",
        EventKind::StreamRestarted { .. } => "stream_restarted",
    }
}

/// Keeps a message that cannot be read, and says so among the device's events.
///
/// # Errors
/// When the database refuses.
pub async fn quarantine(
    tx: &mut Tx,
    header: &Header,
    kind: u8,
    bytes: &[u8],
    now: UnixMs,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO quarantine (device, stream, seq, kind, bytes, received) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
         ON CONFLICT DO NOTHING",
    )
    .bind(header.device.as_str())
    .bind(stream_text(header.stream))
    .bind(to_i64(header.seq.0))
    .bind(kind)
    .bind(bytes)
    .bind(to_i64(now.0))
    .execute(tx.conn())
    .await?;
    let body = serde_json::json!({"kind": "unreadable", "cause": "schema", "count": 1, "schema": header.schema,
        "stream": stream_text(header.stream), "seq": header.seq});
    insert_event(tx, &header.device, header.time, "gap", &body, now).await?;
    let detail = format!("seq {}: signed, kept, not readable by this server", header.seq);
    super::audit::record(
        tx,
        now,
        header.device.as_str(),
        "device.quarantine",
        header.device.as_str(),
        &detail,
    )
    .await
}

/// Stores one event of a device: its own, or what the fleet noticed about it.
///
/// # Errors
/// When the database refuses.
pub async fn insert_event(
    tx: &mut Tx,
    device: &DeviceId,
    time: UnixMs,
    kind: &str,
    body: &serde_json::Value,
    now: UnixMs,
) -> Result<(), StoreError> {
    sqlx::query("INSERT INTO device_event (device, time, kind, body, received) VALUES (?1, ?2, ?3, ?4, ?5)")
        .bind(device.as_str())
        .bind(to_i64(time.0))
        .bind(kind)
        .bind(body.to_string())
        .bind(to_i64(now.0))
        .execute(tx.conn())
        .await?;
    Ok(())
}

/// Counts of groups, and of rows that were explained.
fn group_cells(c: &Counters) -> impl Iterator<Item = u64> + '_ {
    let (g, a) = (&c.groups, &c.attribution);
    let answers = g.answers.iter().flat_map(|a| [a.rows, a.selected]);
    let outcomes = g.outcomes.groups.iter();
    let outcomes =
        outcomes.flat_map(|o| [o.true_positive, o.false_positive, o.false_negative, o.true_negative]);
    [g.rows, g.undeclared, g.labelled, a.rows, a.failed].into_iter().chain(answers).chain(outcomes)
}

/// Whether the tables of a window fit together and its numbers can be added without running over.
#[must_use]
pub fn window_is_sane(w: &Window) -> bool {
    let c = &w.counters;
    let k = c.classes.len();
    let mut sum = 0u64;
    k <= MAX_CLASSES
        && (c.confusion.is_empty() || c.confusion.len() == k * k)
        && w.key.start <= w.key.end
        && c.cells().chain(group_cells(c)).all(|n| {
            sum = sum.saturating_add(n);
            n <= MAX_COUNT && sum <= MAX_COUNT
        })
}

/// Adds a window to its device's rows, its device's totals and the hours of its cohorts, at once. `false` when it does not
/// fit its bundle, or what this device sent under the same bundle before: then nothing is changed.
///
/// # Errors
/// When the database refuses.
pub async fn window(tx: &mut Tx, header: &Header, w: &Window, now: UnixMs) -> Result<bool, StoreError> {
    let mut merger = Merger::default();
    let added = add_window(tx, &mut merger, header, w, now).await?;
    merger.write(tx, now).await?;
    Ok(added)
}

/// The same, with sums that `merger` keeps until it is written.
///
/// # Errors
/// When the database refuses.
pub async fn add_window(
    tx: &mut Tx,
    merger: &mut Merger,
    header: &Header,
    w: &Window,
    now: UnixMs,
) -> Result<bool, StoreError> {
    if !window_is_sane(w) || !merger.add(tx, header, w, now).await? {
        return Ok(false);
    }
    sqlx::query(
        "INSERT INTO device_window (device, model, bundle, start, \"end\", supplement, requests, rows, errors,
             labelled, correct, counters, received)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
    )
    .bind(header.device.as_str())
    .bind(w.key.model.as_str())
    .bind(w.key.bundle.to_hex())
    .bind(to_i64(w.key.start.0))
    .bind(to_i64(w.key.end.0))
    .bind(i64::from(w.supplement))
    .bind(to_i64(w.counters.requests))
    .bind(to_i64(w.counters.rows))
    .bind(to_i64(w.counters.errors))
    .bind(to_i64(w.counters.labelled()))
    .bind(to_i64(w.counters.correct()))
    .bind(encode_counters(&w.counters))
    .bind(to_i64(now.0))
    .execute(tx.conn())
    .await?;
    Ok(true)
}

/// Counters as they are stored.
#[must_use]
pub fn encode_counters(c: &Counters) -> Vec<u8> {
    postcard::to_stdvec(c).expect("counters always encode")
}

/// Counters from a row.
///
/// # Errors
/// [`StoreError::Corrupt`].
pub fn decode_counters(bytes: &[u8]) -> Result<Counters, StoreError> {
    postcard::from_bytes(bytes).map_err(|e| StoreError::corrupt("counters", e))
}

/// Forgets single windows, reports and events beyond what is kept for each device. Totals and hours stay.
///
/// # Errors
/// When the database refuses.
pub async fn prune(tx: &mut Tx, windows: u32, reports: u32) -> Result<(), StoreError> {
    sqlx::query(
        "DELETE FROM device_window WHERE id IN (SELECT id FROM (
             SELECT id, row_number() OVER (PARTITION BY device, model ORDER BY id DESC) AS n FROM device_window)
           WHERE n > ?1)",
    )
    .bind(windows)
    .execute(tx.conn())
    .await?;
    sqlx::query(
        "DELETE FROM update_report WHERE id IN (SELECT id FROM (
             SELECT id, row_number() OVER (PARTITION BY device ORDER BY id DESC) AS n FROM update_report)
           WHERE n > ?1)",
    )
    .bind(reports)
    .execute(tx.conn())
    .await?;
    sqlx::query(
        "DELETE FROM device_event WHERE id IN (SELECT id FROM (
             SELECT id, row_number() OVER (PARTITION BY device ORDER BY id DESC) AS n FROM device_event)
           WHERE n > ?1)",
    )
    .bind(reports)
    .execute(tx.conn())
    .await?;
    Ok(())
}

impl Store {
    /// All rows ever counted, over all devices and bundles.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn rows_counted(&self) -> Result<u64, StoreError> {
        let n: i64 = sqlx::query_scalar("SELECT coalesce(sum(rows), 0) FROM bundle_total")
            .fetch_one(self.read())
            .await?;
        Ok(to_u64(n))
    }
    /// The same by the devices' own journals, as their last health samples said.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn rows_journalled(&self) -> Result<u64, StoreError> {
        let n: i64 = sqlx::query_scalar("SELECT coalesce(sum(rows_journal), 0) FROM device_model")
            .fetch_one(self.read())
            .await?;
        Ok(to_u64(n))
    }
    /// The merged counters of one device and bundle; `None` when it has counted nothing.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn device_total(
        &self,
        device: &DeviceId,
        model: &longshore_trust::ModelName,
        bundle: &longshore_trust::Digest,
    ) -> Result<Option<Counters>, StoreError> {
        let bytes: Option<Vec<u8>> = sqlx::query_scalar(
            "SELECT counters FROM device_total WHERE device = ?1 AND model = ?2 AND bundle = ?3",
        )
        .bind(device.as_str())
        .bind(model.as_str())
        .bind(bundle.to_hex())
        .fetch_optional(self.read())
        .await?;
        bytes.map(|b| decode_counters(&b)).transpose()
    }
    /// How many messages of a stream wait behind a hole.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn stored_beyond_prefix(&self, device: &DeviceId, stream: StreamId) -> Result<u64, StoreError> {
        let n: i64 = sqlx::query_scalar("SELECT count(*) FROM message WHERE device = ?1 AND stream = ?2")
            .bind(device.as_str())
            .bind(stream_text(stream))
            .fetch_one(self.read())
            .await?;
        Ok(to_u64(n))
    }
}
