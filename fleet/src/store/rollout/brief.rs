//! A plan in brief: what pages and lists show of it. A plan of a hundred thousand devices is many megabytes, and is read only by
//! who works through it.

use std::collections::BTreeMap;

use longshore_fleet_core::plan::{Excluded, Plan};
use longshore_trust::{Digest, RolloutId};
use serde::{Deserialize, Serialize};

use crate::store::{Store, StoreError};

/// Devices left out that are named in brief.
const NAMED: usize = 50;

/// What is shown of a plan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlanBrief {
    /// Name of the policy.
    pub policy: String,
    /// The rollout of this model before it.
    pub parent: Option<RolloutId>,
    /// Digest of what most devices ran when it was planned.
    pub previous: Option<Digest>,
    /// Bytes a device downloads.
    pub bytes: u64,
    /// What a person should know before the start.
    pub warnings: Vec<String>,
    /// The waves.
    pub waves: Vec<WaveBrief>,
    /// Devices that are left out, by verdict.
    pub left_out: BTreeMap<String, u64>,
    /// The first of them.
    pub excluded: Vec<Excluded>,
}

/// What is shown of a planned wave.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WaveBrief {
    /// Which devices the policy asked for, for people.
    pub select: String,
    /// The largest number of devices that may ever be in it.
    pub cap: Option<usize>,
    /// Whether its devices commit by themselves.
    pub commits_locally: bool,
    /// Devices when it was planned.
    pub devices: u64,
    /// Of these, connected then.
    pub online: u64,
    /// Of these, with nothing to go back to.
    pub no_way_back: u64,
}

impl From<&Plan> for PlanBrief {
    fn from(plan: &Plan) -> Self {
        let mut left_out: BTreeMap<String, u64> = BTreeMap::new();
        for e in &plan.excluded {
            *left_out.entry(e.verdict.clone()).or_default() += 1;
        }
        let waves = plan.waves.iter().map(|w| WaveBrief {
            select: w.select.clone(),
            cap: w.cap,
            commits_locally: w.commits_locally,
            devices: w.devices.len() as u64,
            online: w.devices.iter().filter(|d| d.online).count() as u64,
            no_way_back: w.devices.iter().filter(|d| d.champion.is_some() && d.previous.is_none()).count()
                as u64,
        });
        Self {
            policy: plan.policy.name.clone(),
            parent: plan.parent.clone(),
            previous: plan.previous,
            bytes: plan.bytes,
            warnings: plan.warnings.clone(),
            waves: waves.collect(),
            left_out,
            excluded: plan.excluded.iter().take(NAMED).cloned().collect(),
        }
    }
}

impl Store {
    /// A plan in brief.
    ///
    /// # Errors
    /// When the database cannot be read, or holds a plan that cannot.
    pub async fn plan_brief(&self, id: &str) -> Result<Option<PlanBrief>, StoreError> {
        let stored: Option<Option<String>> =
            sqlx::query_scalar("SELECT brief FROM rollout_plan WHERE rollout = ?1")
                .bind(id.to_owned())
                .fetch_optional(self.read())
                .await?;
        match stored {
            None => Ok(None),
            Some(Some(text)) => {
                serde_json::from_str(&text).map(Some).map_err(|e| StoreError::corrupt("plan in brief", e))
            }
            // Planned before plans had a brief form.
            Some(None) => Ok(self.rollout_plan(id).await?.as_ref().map(PlanBrief::from)),
        }
    }
}
