//! What single devices saw lately, as far as their windows are kept: to be judged against the rest of their cohort.

use longshore_fleet_core::monitor::{Cohort, Span};
use longshore_stats::{Counters, WindowProfile};

use super::cohort::Traits;
use crate::store::ingest::decode_counters;
use crate::store::{Store, StoreError, to_i64};

/// Devices whose cohort is looked up at most: those heard of last.
const LOOKED_AT: u32 = 2_000;

/// Newest windows (of any device and model) among which devices are looked for.
const WINDOWS_LOOKED_AT: i64 = 200_000;

/// The profile of one device over a span.
#[derive(Debug, Clone, PartialEq)]
pub struct DeviceProfile {
    /// The device.
    pub device: String,
    /// Sum of its windows that are kept.
    pub profile: WindowProfile,
}

impl Store {
    /// Devices of a cohort with kept windows in a span, at most `limit`, those first whose windows came last.
    ///
    /// # Errors
    /// When the database cannot be read or holds counters that do not decode.
    pub async fn device_profiles(
        &self,
        bundle: &str,
        cohort: &Cohort,
        declared: &[String],
        span: Span,
        limit: usize,
    ) -> Result<Vec<DeviceProfile>, StoreError> {
        let devices: Vec<String> = sqlx::query_scalar(
            // The newest windows by their number: not by the index of the bundle, which has those of all time.
            "SELECT device FROM device_window WHERE id > (SELECT max(id) FROM device_window) - ?5
                 AND +bundle = ?1 AND start >= ?2 AND start < ?3
             GROUP BY device ORDER BY max(id) DESC LIMIT ?4",
        )
        .bind(bundle.to_owned())
        .bind(to_i64(span.from.0))
        .bind(to_i64(span.to.0))
        .bind(LOOKED_AT)
        .bind(WINDOWS_LOOKED_AT)
        .fetch_all(self.read())
        .await?;
        let mut out = Vec::new();
        for device in devices {
            if out.len() >= limit {
                break;
            }
            if !cohort.is_fleet() && !self.traits(&device).await?.cohorts(declared).contains(cohort) {
                continue;
            }
            let windows: Vec<Vec<u8>> = sqlx::query_scalar(
                "SELECT counters FROM device_window WHERE bundle = ?1 AND device = ?2 AND start >= ?3 AND start < ?4",
            )
            .bind(bundle.to_owned())
            .bind(device.clone())
            .bind(to_i64(span.from.0))
            .bind(to_i64(span.to.0))
            .fetch_all(self.read())
            .await?;
            let mut sum = Counters::default();
            for bytes in windows {
                let window = decode_counters(&bytes)?;
                // One of a bundle that nobody had uploaded when it came may have another shape.
                let _ = sum.merge(&window);
            }
            if let Some(profile) = sum.profile {
                out.push(DeviceProfile { device, profile });
            }
        }
        Ok(out)
    }
    async fn traits(&self, device: &str) -> Result<Traits, StoreError> {
        let mut connection = self.read().acquire().await?;
        Traits::read(&mut connection, device).await
    }
}
