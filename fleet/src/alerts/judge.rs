//! One look at the fleet: facts, conditions, steps, and what is to be told, in one transaction.

use std::collections::{BTreeMap, HashMap};

use longshore_fleet_core::alert::evaluate::conditions;
use longshore_fleet_core::alert::facts::TrustFact;
use longshore_fleet_core::alert::silence::is_silenced;
use longshore_fleet_core::alert::state::{Look, Step, step};
use longshore_fleet_core::alert::{
    Cause, Change, Condition, Evidence, Facts, Kind, Notice, Rule, Seen, Silence, Topic,
};
use longshore_trust::{Digest, UnixMs};

use super::message;
use crate::app::{App, Shared};
use crate::events::FleetEvent;
use crate::store::alert::delivery::{self, About, NewDelivery};
use crate::store::alert::{self, AlertRow, retrain, silence};
use crate::store::{self, StoreError, Tx, audit};

/// Where the time of the last look is kept.
const LOOKED: &str = "alerts_looked";

/// Verdicts are looked at for so long after they were made at least, ms.
const FRESH_MS: u64 = 15 * 60_000;

/// Why a look failed.
#[derive(Debug, thiserror::Error)]
pub enum LookError {
    /// The record.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The trust metadata.
    #[error(transparent)]
    Trust(#[from] crate::trust_repo::TrustRepoError),
}

/// Looks once. How many alerts changed.
///
/// # Errors
/// [`LookError`]; nothing is changed then.
pub async fn look(app: &Shared, now: UnixMs) -> Result<usize, LookError> {
    let facts = facts(app, now).await?;
    Ok(judge(app, &facts, now).await?)
}

/// What the rules in effect look at.
///
/// # Errors
/// When the record cannot be read.
pub async fn facts(app: &App, now: UnixMs) -> Result<Facts, LookError> {
    let rules = &app.config.alerting.rules;
    let mut facts = Facts::default();
    for rule in rules.iter().filter(|r| r.kind.is_of_devices()) {
        if let Some(found) = app.store.alert_devices(rule, now).await? {
            facts.devices.insert(rule.name.clone(), found);
        }
    }
    if rules.iter().any(|r| r.kind.is_of_models()) {
        // Older verdicts are of versions that nobody runs any more.
        let fresh = app.config.monitor.every_s.saturating_mul(3_000).max(FRESH_MS);
        let cohorts = rules.iter().any(|r| r.kind.is_of_models() && r.cohort.is_some());
        facts.models = app.store.alert_judged(UnixMs(now.0.saturating_sub(fresh)), cohorts).await?;
    }
    if rules.iter().any(|r| r.kind == Kind::TrustExpiry) {
        let roles = app.trust.roles().await?;
        let fact = |r: crate::trust_repo::RoleStatus| TrustFact {
            online: r.is_online(),
            role: r.role,
            version: r.version,
            expires: r.expires,
        };
        facts.trust = roles.into_iter().map(fact).collect();
    }
    Ok(facts)
}

/// Judges facts: every cause moves on by one step, and what follows is stored. How many alerts changed.
///
/// # Errors
/// When the record refuses; nothing is changed then.
pub async fn judge(app: &App, facts: &Facts, now: UnixMs) -> Result<usize, StoreError> {
    let settings = &app.config.alerting;
    let mut found: BTreeMap<Cause, (&Rule, Condition)> = BTreeMap::new();
    for rule in &settings.rules {
        for condition in conditions(rule, facts, now) {
            found.insert(condition.cause.clone(), (rule, condition));
        }
    }
    let mut tx = app.store.write().await?;
    let blind_ms = blind(&mut tx, app.config.alerts.every_s, now).await?;
    let silences = silence::in_force(&mut tx, now).await?;
    let mut open: HashMap<Cause, AlertRow> =
        alert::open(&mut tx).await?.into_iter().map(|a| (a.cause.clone(), a)).collect();
    let mut changed = 0;
    let look = Looking { app, silences, blind_ms, now };
    for (cause, (rule, condition)) in found {
        changed += look.at(&mut tx, open.remove(&cause), Some(rule), Some(condition)).await?;
    }
    // Causes that the facts say nothing about: not measured, or their rule is gone.
    let mut rest: Vec<AlertRow> = open.into_values().collect();
    rest.sort_by_key(|a| a.id);
    for row in rest {
        let rule = settings.rule(&row.cause.rule);
        changed += look.at(&mut tx, Some(row), rule, None).await?;
    }
    tx.commit().await?;
    if changed > 0 {
        app.events.publish(FleetEvent::Alerts);
    }
    Ok(changed)
}

/// How long nobody looked: the server was down, or the database was not to be had.
async fn blind(tx: &mut Tx, every_s: u64, now: UnixMs) -> Result<u64, StoreError> {
    let last = store::get_meta(tx, LOOKED).await?.and_then(|t| t.parse().ok()).map(UnixMs);
    let usual = every_s.saturating_mul(3_000).max(60_000);
    let away = last.map_or(0, |at| now.since(at));
    // Not at every look: a commit that changes nothing else costs a write to the disk.
    if last.is_none_or(|at| now.since(at) >= usual / 3 || at > now) {
        store::set_meta(tx, LOOKED, &now.0.to_string()).await?;
    }
    Ok(if away > usual { away } else { 0 })
}

struct Looking<'a> {
    app: &'a App,
    silences: Vec<Silence>,
    blind_ms: u64,
    now: UnixMs,
}

impl Looking<'_> {
    /// One step of one cause; 1 when something changed.
    async fn at(
        &self,
        tx: &mut Tx,
        before: Option<AlertRow>,
        rule: Option<&Rule>,
        condition: Option<Condition>,
    ) -> Result<usize, StoreError> {
        let cause = match (&before, &condition) {
            (Some(row), _) => row.cause.clone(),
            (None, Some(c)) => c.cause.clone(),
            (None, None) => return Ok(0),
        };
        let resting = before.as_ref().map(|b| &b.evidence);
        let seen = condition.as_ref().map_or(Seen::Unknown, |c| c.seen_for(resting));
        let evidence = condition.filter(|c| c.seen == Seen::Holds).map(|c| c.evidence);
        let weight = evidence
            .as_ref()
            .map(|e| e.weight)
            .or_else(|| before.as_ref().map(|b| b.evidence.weight))
            .unwrap_or(0);
        let silenced = rule.is_some_and(|r| is_silenced(&self.silences, &cause, r, self.now));
        let look = Look { seen, weight, silenced, blind_ms: self.blind_ms };
        let machine = before.as_ref().map(|b| b.alert.clone());
        let was = machine.clone();
        let next = step(machine, rule, look, self.now);
        match (before, next) {
            (None, Step { alert: None, .. }) => Ok(0),
            (None, Step { alert: Some(new), change, notice, .. }) => {
                let (Some(rule), Some(evidence)) = (rule, evidence) else { return Ok(0) };
                let id = alert::insert(tx, rule, &cause, &new, &evidence, self.now).await?;
                let Some(row) = alert::get(tx, id).await? else { return Ok(0) };
                self.follow(tx, &row, Some(rule), change, notice).await?;
                Ok(1)
            }
            (Some(row), Step { alert: None, .. }) => {
                alert::forget(tx, row.id).await?;
                Ok(1)
            }
            (Some(mut row), Step { alert: Some(new), change, notice, closed }) => {
                let fresher = evidence
                    .filter(|e| worth_storing(&row.evidence, e) || change.is_some() || notice.is_some());
                if was.as_ref() == Some(&new) && !closed && fresher.is_none() {
                    return Ok(0);
                }
                if matches!(change, Some(Change::Fired | Change::Again)) {
                    row.fired = Some(self.now);
                }
                row.evidence = fresher.unwrap_or(row.evidence);
                row.alert = new;
                row.open = !closed;
                alert::update(tx, &row, self.now).await?;
                self.follow(tx, &row, rule, change, notice).await?;
                Ok(1)
            }
        }
    }

    /// History, deliveries and a request for a new training.
    async fn follow(
        &self,
        tx: &mut Tx,
        row: &AlertRow,
        rule: Option<&Rule>,
        change: Option<Change>,
        notice: Option<Notice>,
    ) -> Result<(), StoreError> {
        if let Some(change) = change {
            let text = match change {
                Change::Fired | Change::Again | Change::Grown => row.evidence.summary.as_str(),
                Change::Recovered => "the cause is gone",
                Change::Unmeasured => "nothing was measured for a day: this is not the same as good",
                Change::RuleGone => "the rule is no longer in the configuration",
            };
            alert::add_event(tx, row.id, change.as_str(), "fleet", text, self.now).await?;
            let fires = matches!(change, Change::Fired | Change::Again);
            if let Some(rule) = rule.filter(|r| fires && r.retrain) {
                self.ask_for_training(tx, row, rule).await?;
            }
            tracing::info!(
                alert = row.id,
                rule = row.cause.rule,
                change = change.as_str(),
                "{}",
                row.evidence.summary
            );
        }
        let Some(notice) = notice else { return Ok(()) };
        let body = message::alert(self.app, row, notice.as_str(), self.now).to_string();
        // Without its rule, the end is told to those who were told of the beginning.
        let told = if rule.is_none() { delivery::receivers_of(tx, row.id).await? } else { Vec::new() };
        let mut names = Vec::new();
        for receiver in &self.app.config.alerting.receivers {
            let goes = rule.map_or_else(|| told.contains(&receiver.name), |r| r.goes_to(&receiver.name));
            if receiver.takes(Topic::Alerts) && goes {
                self.queue(tx, row, &receiver.name, notice.as_str(), &body).await?;
                names.push(receiver.name.as_str());
            }
        }
        if !names.is_empty() {
            let text = format!("{} to {}", notice.as_str(), names.join(", "));
            alert::add_event(tx, row.id, "told", "fleet", &text, self.now).await?;
        }
        Ok(())
    }

    async fn queue(
        &self,
        tx: &mut Tx,
        row: &AlertRow,
        receiver: &str,
        what: &str,
        body: &str,
    ) -> Result<(), StoreError> {
        let queue = self.app.config.alerts.queue;
        let new = NewDelivery { receiver, about: About::Alert(row.id), what, body, queue };
        delivery::enqueue(tx, &new, self.now).await?;
        Ok(())
    }

    /// Once an alert. The audit log holds the digest of the request: who receives it can have its authenticity proven later
    /// without knowing any of the fleet's keys.
    async fn ask_for_training(&self, tx: &mut Tx, row: &AlertRow, rule: &Rule) -> Result<(), StoreError> {
        let body = message::retraining(self.app, row, self.now).to_string();
        let sha256 = Digest::of(body.as_bytes()).to_hex();
        if !retrain::insert(tx, row.id, &row.cause.model, &body, &sha256, self.now).await? {
            return Ok(());
        }
        let detail = format!("alert {}, SHA-256 of the request {sha256}: {}", row.id, row.evidence.summary);
        audit::record(tx, self.now, "fleet", "model.retrain", &row.cause.model, &detail).await?;
        let mut names = Vec::new();
        for receiver in &self.app.config.alerting.receivers {
            if receiver.takes(Topic::Retraining) && rule.goes_to(&receiver.name) {
                self.queue(tx, row, &receiver.name, "retrain", &body).await?;
                names.push(receiver.name.as_str());
            }
        }
        let to = if names.is_empty() { "nobody: no receiver takes it".to_owned() } else { names.join(", ") };
        alert::add_event(
            tx,
            row.id,
            "retrain",
            "fleet",
            &format!("a new training is asked of {to}"),
            self.now,
        )
        .await
    }
}

/// Evidence changes a little with every look; what people would not tell apart is not written again.
fn worth_storing(before: &Evidence, now: &Evidence) -> bool {
    before.weight != now.weight
        || before.versions != now.versions
        || before.roles != now.roles
        || {
            let names = |e: &Evidence| e.features.iter().map(|f| f.name.clone()).collect::<Vec<_>>();
            names(before) != names(now)
        }
        || match (before.value, now.value) {
            (Some(a), Some(b)) => (a - b).abs() > 0.1 * a.abs().max(b.abs()),
            (a, b) => a.is_some() != b.is_some(),
        }
}
