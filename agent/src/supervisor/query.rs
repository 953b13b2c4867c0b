//! Answers to what the engine cannot answer itself: status, metrics, labels.

use std::collections::BTreeMap;

use longshore_agent_core::update::ModelRecord;
use longshore_trust::ModelName;
use longshore_wire::v1::{ModelHealth, UpdateState};

use super::Supervisor;
use crate::engine::protocol::{Label, Query, ToEngine};
use crate::host::{self, HealthFacts, notify};
use crate::page::PredictionId;
use crate::status::{EngineStatus, LinkStatus, ModelStatus, Status};
use crate::store::{Joined, LabelRow, Total};
use longshore_wire::v1::ReportBody;

impl Supervisor {
    pub(super) fn on_query(&mut self, id: u64, query: Query) {
        match query {
            Query::Status => {
                let body = serde_json::to_vec(&self.status()).expect("a status always encodes");
                self.reply(id, 200, body);
            }
            Query::Metrics => {
                let text = super::metrics::text(&self.status());
                self.reply(id, 200, text.into_bytes());
            }
            Query::Feedback(labels) => self.feedback.push((self.serving.generation(), id, labels)),
        }
    }
    fn reply(&self, id: u64, status: u16, body: Vec<u8>) {
        self.serving.send(&ToEngine::Reply { id, status, body }, &[]);
    }

    /// Joins all labels that wait, in one transaction, then answers.
    pub(super) fn answer_feedback(&mut self) {
        let waiting = std::mem::take(&mut self.feedback);
        if waiting.is_empty() {
            return;
        }
        let rows: Vec<Result<Vec<LabelRow>, String>> =
            waiting.iter().map(|(_, _, labels)| labels.iter().map(|l| self.look_up(l)).collect()).collect();
        let good: Vec<&[LabelRow]> = rows.iter().flatten().map(Vec::as_slice).collect();
        let now = self.now();
        let joined = self.store.join(&good, now);
        let mut answers = joined.as_ref().map(|j| j.iter()).into_iter().flatten();
        for ((generation, id, _), row) in waiting.iter().zip(&rows) {
            if *generation != self.serving.generation() {
                continue;
            }
            let (status, body) = match (row, &joined) {
                (Err(e), _) => (400, serde_json::json!({ "error": e })),
                (Ok(_), Err(e)) => (503, serde_json::json!({ "error": e.to_string() })),
                (Ok(_), Ok(_)) => {
                    (200, serde_json::json!(answers.next().copied().unwrap_or_else(Joined::default)))
                }
            };
            self.reply(*id, status, body.to_string().into_bytes());
        }
        if let Err(e) = joined {
            tracing::error!("labels were not joined: {e}");
        }
        self.feed_sync(longshore_agent_core::sync::Input::Backlog);
    }
    fn look_up(&self, label: &Label) -> Result<LabelRow, String> {
        let id: PredictionId = label.prediction_id.parse().map_err(|e| format!("{e}"))?;
        let seq = id.seq.saturating_add(u64::from(label.row));
        let live = self.loads.prediction(id.load, seq).map(|(load, p)| crate::store::Live {
            model: load.model.clone(),
            bundle: load.bundle,
            classes: load.classes,
            prediction: p,
        });
        Ok(LabelRow { load: id.load, seq, truth: label.truth, live })
    }

    pub(super) fn status(&self) -> Status {
        let totals = |which| self.store.totals(which).unwrap_or_default();
        let (rows, out_of_range) = (totals(Total::Rows), totals(Total::OutOfRange));
        let (low_margin, held) = (totals(Total::LowMargin), self.store.held().unwrap_or_default());
        let model = |r: &ModelRecord| {
            let held = held.get(&r.model).copied().unwrap_or_default();
            let why = r.last.as_ref().and_then(|e| e.why.as_ref());
            let good = |s: UpdateState| matches!(s, UpdateState::Committed | UpdateState::Already);
            ModelStatus {
                model: r.model.clone(),
                version: r.serving().map(|i| i.version.clone()),
                active: r.serving().map(|i| i.bundle),
                candidate: r.update.as_ref().map(|u| u.wanted.bundle.bundle),
                state: Some(r.state()),
                reason: why.filter(|_| !good(r.state())).map(|w| format!("{}: {}", w.code, w.detail)),
                rows_total: total(&rows, &r.model),
                rows_out_of_range: total(&out_of_range, &r.model),
                rows_low_margin: total(&low_margin, &r.model),
                rows_held: held.rows,
                labels_held: held.labelled,
            }
        };
        Status {
            fleet: self.fleet.clone(),
            device: self.device.clone(),
            agent_version: env!("CARGO_PKG_VERSION").into(),
            pid: std::process::id(),
            started: self.started,
            written: self.now(),
            time_quality: self.told().quality,
            link: LinkStatus { up: self.link_up, since: self.link_since, error: self.link_error.clone() },
            trust: self.trusted.versions(),
            assignment_version: self.updates.assigned(),
            outbox_rows: self.store.waiting().unwrap_or(0),
            gaps: self.store.gap_rows().unwrap_or(0),
            engine: EngineStatus {
                pid: self.serving.pid(),
                starts: self.serving.starts,
                sandbox: self.sandbox.clone(),
            },
            models: self.updates.models().map(model).collect(),
        }
    }
    pub(super) fn write_status(&mut self) {
        self.status_dirty = false;
        let status = self.status();
        let served: Vec<String> = status
            .models
            .iter()
            .filter_map(|m| Some(format!("{} {}", m.model, m.version.as_ref()?)))
            .collect();
        let link = if self.link_up { "connected" } else { "not connected" };
        notify::status(&format!("{link}; {} waiting; {}", status.outbox_rows, served.join(", ")));
        if let Err(e) = crate::status::write(&self.config.run_dir, &status) {
            tracing::warn!("status: {e}");
        }
    }

    pub(super) fn report_inventory(&mut self) {
        let inventory = host::inventory(&self.config.state_dir, &self.config.labels, &self.sandbox);
        self.report("inventory", ReportBody::Inventory(inventory));
    }
    pub(super) fn report_health(&mut self) {
        self.code.let_go();
        let totals = self.store.rows_totals().unwrap_or_default();
        let models = self
            .updates
            .models()
            .filter_map(|r| {
                let serving = r.serving()?;
                Some(ModelHealth {
                    model: r.model.clone(),
                    active: serving.bundle,
                    version: serving.version.clone(),
                    state: r.state(),
                    rows_total: total(&totals, &r.model),
                })
            })
            .collect();
        let facts = HealthFacts {
            outbox_rows: self.store.waiting().unwrap_or(0),
            engine_starts: self.serving.starts,
            engine_pid: self.serving.pid(),
            models,
            log: self.log_seen(),
        };
        let health = host::health(&self.config.state_dir, facts);
        self.report("health", ReportBody::Health(health));
    }
    fn report(&mut self, slot: &str, body: ReportBody) {
        let now = self.now();
        if let Err(e) = self.store.report(now, Some(slot), &body) {
            tracing::error!("{e}");
        }
        self.feed_sync(longshore_agent_core::sync::Input::Backlog);
    }
}

fn total(totals: &BTreeMap<ModelName, u64>, model: &ModelName) -> u64 {
    totals.get(model).copied().unwrap_or(0)
}
