//! Plans that were read and found intact: a plan never changes, and one of a large fleet is long.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use longshore_fleet_core::plan::Plan;
use longshore_trust::RolloutId;
use sqlx::SqliteConnection;

use super::find_plan;
use crate::store::StoreError;

/// Rollouts under way are few; more are read again.
const MOST: usize = 8;

/// The plans that were read last.
#[derive(Debug, Default)]
pub(in crate::store) struct Plans(Mutex<BTreeMap<RolloutId, Arc<Plan>>>);

impl Plans {
    /// A plan, read once.
    ///
    /// # Errors
    /// When the database refuses, or the plan was changed.
    pub(in crate::store) async fn get(
        &self,
        c: &mut SqliteConnection,
        id: &RolloutId,
    ) -> Result<Option<Arc<Plan>>, StoreError> {
        if let Some(known) = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(id) {
            return Ok(Some(Arc::clone(known)));
        }
        let Some(plan) = find_plan(c, id.as_str()).await?.map(Arc::new) else { return Ok(None) };
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MOST {
            // Whichever: it is only read once more.
            known.pop_first();
        }
        known.insert(id.clone(), Arc::clone(&plan));
        Ok(Some(plan))
    }
}
