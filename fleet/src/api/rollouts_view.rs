//! How the API shows a rollout.

use std::collections::BTreeMap;

use longshore_fleet_core::gate::Verdict;
use longshore_fleet_core::rollout::RevertPlan;
use serde::Serialize;
use utoipa::ToSchema;

use crate::app::App;
use crate::store::StoreError;
use crate::store::rollout::Rollout;
use crate::store::views::{Cursor, RolloutDeviceRow, RolloutEventRow};

/// Devices shown of one rollout; more are in `device_counts`.
pub(super) const DEVICES: u32 = 5_000;

/// A rollout in short.
#[derive(Serialize, ToSchema)]
pub struct RolloutSummary {
    /// Its id.
    id: String,
    /// The model.
    model: String,
    /// The version.
    version: String,
    /// Digest of the bundle.
    bundle: String,
    /// Generation of its plan.
    generation: u64,
    /// `planned`, `awaiting_authorization`, `scheduled`, `running`, `paused`, `halting`, `halted`, `reverting`, `reverted`, `completed`, `superseded`.
    state: String,
    /// Why.
    reason: Option<String>,
    /// When it was planned, ms.
    created: u64,
    /// When it was started, ms.
    started: Option<u64>,
    /// When it ended, ms.
    ended: Option<u64>,
    /// As in the `ETag` header.
    etag: u64,
    /// Why it is paused, for machines: `operator`, `gate`, `error_budget` or `quorum`.
    pause: Option<String>,
    /// Which rollout of a model gets a device that two of them want.
    priority: i32,
    /// Who planned it.
    planned_by: Option<String>,
    /// The second person who said yes to the plan.
    authorized_by: Option<String>,
    /// When it is to start, ms, where that was said.
    start_at: Option<u64>,
}

impl RolloutSummary {
    pub(super) fn new(r: &Rollout) -> Self {
        Self {
            id: r.id.to_string(),
            model: r.model.to_string(),
            version: r.version.clone(),
            bundle: r.bundle.to_hex(),
            generation: r.generation.0,
            state: r.state.to_string(),
            reason: r.reason.clone(),
            created: r.created.0,
            started: r.started.map(|t| t.0),
            ended: r.ended.map(|t| t.0),
            etag: r.etag,
            pause: r.pause.map(|p| p.to_string()),
            priority: r.priority,
            planned_by: r.planned_by.clone(),
            authorized_by: r.authorized_by.clone(),
            start_at: r.start_at.map(|t| t.0),
        }
    }
}

/// A rollout with its waves.
#[derive(Serialize, ToSchema)]
pub struct RolloutDetail {
    /// In short.
    #[serde(flatten)]
    summary: RolloutSummary,
    /// Name of the policy.
    policy: String,
    /// The rollout of this model before it.
    parent: Option<String>,
    /// Digest of the bundle a revert gives back.
    previous: Option<String>,
    /// Its waves.
    waves: Vec<Wave>,
    /// Plans of taking it back, newest first.
    reverts: Vec<Revert>,
    /// What it did in shadow, over the whole fleet; null where it was not.
    #[schema(value_type = Option<Object>)]
    shadow: Option<longshore_fleet_core::shadow::ShadowResult>,
    /// Its log, newest first.
    log: Vec<LogLine>,
}

/// A plan of taking a rollout back.
#[derive(Serialize, ToSchema)]
pub struct Revert {
    /// Generation of its assignments.
    generation: u64,
    /// SHA-256 over the plan.
    hash: String,
    /// Hash of the plan that is taken back.
    parent_hash: String,
    /// When it was made, ms.
    made: u64,
    /// Devices that get their previous version back.
    devices: usize,
    /// Of these, how many go in each wave.
    waves: Vec<usize>,
    /// Least share of the first wave that must get it back; none when a person said to go on regardless.
    success: Option<f64>,
}

impl Revert {
    fn new(plan: &RevertPlan) -> Self {
        Self {
            generation: plan.generation.0,
            hash: plan.hash.to_hex(),
            parent_hash: plan.parent_hash.to_hex(),
            made: plan.made.0,
            devices: plan.devices(),
            waves: plan.waves.iter().map(Vec::len).collect(),
            success: plan.success,
        }
    }
}

/// A wave.
#[derive(Serialize, ToSchema)]
pub struct Wave {
    /// Its number, from 0.
    wave: usize,
    /// Which devices the policy asked for.
    select: String,
    /// `waiting`, `shadowing`, `offering`, `soaking`, `judging`, `passed`, `failed`, `inconclusive`.
    state: String,
    /// A person said to go on although it did not pass.
    skipped: bool,
    /// When it was opened, ms.
    opened: Option<u64>,
    /// When it was judged, ms.
    judged: Option<u64>,
    /// The verdict so far: `pass`, `not_yet`, `inconclusive`, `fail`.
    outcome: Option<String>,
    /// Devices and rows.
    #[schema(value_type = Object)]
    counts: Option<longshore_fleet_core::gate::Counts>,
    /// Each gate with its numbers.
    gates: Vec<Gate>,
    /// How many devices are in which state.
    device_counts: BTreeMap<String, u64>,
    /// Its devices.
    devices: Vec<WaveDevice>,
}

/// A gate of a wave.
#[derive(Serialize, ToSchema)]
pub struct Gate {
    /// Its name.
    gate: String,
    /// `pass`, `not_yet`, `inconclusive`, `fail`, `not_applicable`.
    verdict: String,
    /// One sentence for people.
    said: String,
    /// What was measured.
    value: Option<f64>,
    /// What it is held against.
    limit: Option<f64>,
    /// How it was decided.
    method: Option<String>,
    /// More numbers.
    numbers: BTreeMap<String, f64>,
}

/// A device of a wave.
#[derive(Serialize, ToSchema)]
pub struct WaveDevice {
    /// The device.
    device: String,
    /// Its state.
    state: String,
    /// Why.
    code: String,
    /// Why, for people.
    detail: String,
    /// Connected now.
    online: bool,
    /// When its state changed, ms.
    changed: i64,
    /// Rows it counted with the version.
    rows: i64,
    /// Of these, labelled.
    labelled: i64,
    /// Of these, right.
    correct: i64,
}

impl From<RolloutDeviceRow> for WaveDevice {
    fn from(d: RolloutDeviceRow) -> Self {
        Self {
            device: d.device,
            state: d.state,
            code: d.code,
            detail: d.detail,
            online: d.online.unwrap_or(false),
            changed: d.changed,
            rows: d.rows,
            labelled: d.labelled,
            correct: d.correct,
        }
    }
}

/// A line of the log.
#[derive(Serialize, ToSchema)]
pub struct LogLine {
    /// Its number; later lines have greater ones.
    pub(super) id: i64,
    /// The wave it is about; null for the rollout itself.
    wave: Option<i64>,
    /// Whether a state was entered: `code` is the rollout's, or the wave's with `wave_` before it.
    transition: bool,
    /// When, ms.
    time: i64,
    /// For machines.
    code: String,
    /// For people.
    text: String,
}

impl From<RolloutEventRow> for LogLine {
    fn from(e: RolloutEventRow) -> Self {
        Self {
            transition: e.entered().is_some(),
            id: e.id,
            wave: e.wave,
            time: e.time,
            code: e.code,
            text: e.text,
        }
    }
}

fn word(value: impl Serialize) -> String {
    serde_json::to_value(value).ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default()
}

fn gates(verdict: Option<&Verdict>) -> Vec<Gate> {
    verdict
        .into_iter()
        .flat_map(|v| &v.gates)
        .map(|g| Gate {
            gate: g.gate.clone(),
            verdict: word(g.outcome),
            said: g.text.clone(),
            value: g.value,
            limit: g.limit,
            method: g.method.clone(),
            numbers: g.numbers.clone(),
        })
        .collect()
}

impl RolloutDetail {
    /// Reads a rollout, with at most so many devices.
    pub(super) async fn load(app: &App, id: &str, most: u32) -> Result<Option<Self>, StoreError> {
        let Some(rollout) = app.store.rollout(id).await? else { return Ok(None) };
        let Some(plan) = app.store.plan_brief(id).await? else { return Ok(None) };
        let mut devices: BTreeMap<usize, Vec<WaveDevice>> = BTreeMap::new();
        for d in app.store.view_rollout_devices(id, None, "", &Cursor::Start, most.min(DEVICES)).await?.0 {
            devices.entry(usize::try_from(d.wave).unwrap_or(0)).or_default().push(d.into());
        }
        let mut counts: BTreeMap<usize, BTreeMap<String, u64>> = BTreeMap::new();
        for c in app.store.view_wave_states(id).await? {
            let n = u64::try_from(c.devices).unwrap_or(0);
            counts.entry(usize::try_from(c.wave).unwrap_or(0)).or_default().insert(c.state, n);
        }
        let waves = app.store.rollout_waves(id).await?;
        let waves = waves
            .into_iter()
            .zip(&plan.waves)
            .enumerate()
            .map(|(i, (w, planned))| Wave {
                wave: i,
                select: planned.select.clone(),
                state: w.state.to_string(),
                skipped: w.skipped,
                opened: w.opened.map(|t| t.0),
                judged: w.judged.map(|t| t.0),
                outcome: w.verdict.as_ref().map(|v| word(v.outcome)),
                counts: w.verdict.as_ref().map(|v| v.counts),
                gates: gates(w.verdict.as_ref()),
                device_counts: counts.remove(&i).unwrap_or_default(),
                devices: devices.remove(&i).unwrap_or_default(),
            })
            .collect();
        let log = app.store.view_rollout_events(id, 200).await?.into_iter().map(LogLine::from).collect();
        let shadow = app.store.rollout_shadow(&rollout).await?;
        Ok(Some(Self {
            shadow: shadow.as_ref().and_then(longshore_fleet_core::shadow::ShadowResult::of),
            summary: RolloutSummary::new(&rollout),
            policy: plan.policy,
            parent: plan.parent.map(|p| p.to_string()),
            previous: plan.previous.map(|d| d.to_hex()),
            waves,
            reverts: app.store.rollout_reverts(id).await?.iter().map(Revert::new).collect(),
            log,
        }))
    }
    pub(super) fn etag(&self) -> u64 {
        self.summary.etag
    }
}
