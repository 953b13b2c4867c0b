//! Old hours become days: exact sums, fewer rows. Nothing is dropped.

use std::collections::BTreeMap;

use longshore_stats::Counters;
use longshore_trust::UnixMs;

use super::DAY_MS;
use crate::store::ingest::{decode_counters, encode_counters};
use crate::store::{StoreError, Tx, to_i64, to_u64};

/// Rows looked at in one transaction.
const AT_ONCE: u32 = 500;

/// Model, bundle, cohort, begin of the day.
type DayKey = (String, String, String, u64);
/// When rows were last added, and its hours.
type Day = (i64, Vec<(i64, Counters)>);

/// Turns hours of days that ended before `before` into days, at most some hundred in one call. How many hours it was; 0 when
/// there are none left.
///
/// # Errors
/// When the database refuses.
pub async fn coarsen(tx: &mut Tx, before: UnixMs) -> Result<u64, StoreError> {
    type Row = (String, String, String, i64, i64, Vec<u8>);
    let limit = to_i64(before.0 / DAY_MS * DAY_MS);
    let hours: Vec<Row> = sqlx::query_as(
        "SELECT model, bundle, cohort, hour, changed, counters FROM model_hour
         WHERE span_h = 1 AND hour < ?1 ORDER BY hour LIMIT ?2",
    )
    .bind(limit)
    .bind(AT_ONCE)
    .fetch_all(tx.conn())
    .await?;
    let count = hours.len() as u64;
    let mut days: BTreeMap<DayKey, Day> = BTreeMap::new();
    for (model, bundle, cohort, hour, changed, bytes) in hours {
        let day = to_u64(hour) / DAY_MS * DAY_MS;
        let sums = days.entry((model, bundle, cohort, day)).or_default();
        sums.0 = sums.0.max(changed);
        sums.1.push((hour, decode_counters(&bytes)?));
    }
    for ((model, bundle, cohort, day), (changed, parts)) in days {
        let stored: Option<Vec<u8>> = sqlx::query_scalar(
            "SELECT counters FROM model_hour
             WHERE model = ?1 AND bundle = ?2 AND cohort = ?3 AND hour = ?4 AND span_h = 24",
        )
        .bind(model.clone())
        .bind(bundle.clone())
        .bind(cohort.clone())
        .bind(to_i64(day))
        .fetch_optional(tx.conn())
        .await?;
        let mut sum = stored.map_or_else(|| Ok(Counters::default()), |b| decode_counters(&b))?;
        for (hour, part) in parts {
            // What fits no sum (see `Merger::add`) stays an hour, but is not looked at again and again.
            let fits = sum.merge(&part).is_ok();
            let statement = if fits {
                "DELETE FROM model_hour
                 WHERE model = ?1 AND bundle = ?2 AND cohort = ?3 AND hour = ?4 AND span_h = 1"
            } else {
                "UPDATE model_hour SET span_h = 2
                 WHERE model = ?1 AND bundle = ?2 AND cohort = ?3 AND hour = ?4 AND span_h = 1"
            };
            sqlx::query(statement)
                .bind(model.clone())
                .bind(bundle.clone())
                .bind(cohort.clone())
                .bind(hour)
                .execute(tx.conn())
                .await?;
        }
        sqlx::query(
            "INSERT INTO model_hour (model, bundle, cohort, hour, span_h, changed, counters)
             VALUES (?1, ?2, ?3, ?4, 24, ?5, ?6)
             ON CONFLICT (model, bundle, cohort, hour, span_h)
             DO UPDATE SET changed = max(changed, excluded.changed), counters = excluded.counters",
        )
        .bind(model.clone())
        .bind(bundle.clone())
        .bind(cohort.clone())
        .bind(to_i64(day))
        .bind(changed)
        .bind(encode_counters(&sum))
        .execute(tx.conn())
        .await?;
        // The verdicts of these hours give way to that of the day, which is judged anew.
        sqlx::query(
            "DELETE FROM drift_hour WHERE model = ?1 AND bundle = ?2 AND cohort = ?3 AND hour >= ?4 AND hour < ?5",
        )
        .bind(model)
        .bind(bundle)
        .bind(cohort)
        .bind(to_i64(day))
        .bind(to_i64(day + DAY_MS))
        .execute(tx.conn())
        .await?;
    }
    Ok(count)
}
