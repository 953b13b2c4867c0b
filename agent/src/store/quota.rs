//! What is done when buffered data outgrows its room: resolution falls first, counts last.
//!
//! Neighbouring windows of a bundle are merged to an hour, then to a day; only then the oldest are dropped, and reports
//! last. Every step leaves a row in the gap ledger.

use longshore_trust::UnixMs;
use longshore_wire::v1::{Gap, GapCause, GapKind};
use rusqlite::{Transaction, params};

use super::windows::{add, decode, encode};
use super::{Op as _, Store, StoreError, gap, sql, unsql};

const HOUR_MS: i64 = 3_600_000;

/// Limits of what waits unsealed, and of what is kept for a fleet that was restored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// Bytes of counters of closed windows; as many again may be in the replay ring.
    pub window_bytes: u64,
    /// Reports and events.
    pub reports: u64,
}

impl Store {
    /// Brings what waits under its limits.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn enforce(&mut self, quota: &Quota, now: UnixMs) -> Result<(), StoreError> {
        if self.window_bytes()? > quota.window_bytes {
            for span in [HOUR_MS, 24 * HOUR_MS] {
                self.coarsen(span, now)?;
                if self.window_bytes()? <= quota.window_bytes {
                    break;
                }
            }
            let over = self.window_bytes()?.saturating_sub(quota.window_bytes);
            if over > 0 {
                self.drop_oldest(over, now)?;
            }
        }
        self.turn_ring(quota.window_bytes)?;
        self.drop_reports(quota.reports, now)
    }
    /// Forgets the oldest receipted rows beyond `bytes`. Nothing is lost by it: the fleet has them. One that was restored
    /// learns what the ring no longer holds.
    fn turn_ring(&mut self, bytes: u64) -> Result<(), StoreError> {
        self.write(|tx| {
            tx.prepare_cached(
                "DELETE FROM outbox WHERE (stream, seq) IN (
                     SELECT stream, seq FROM (
                         SELECT stream, seq, sum(length(bytes)) OVER (ORDER BY receipted DESC, seq DESC) AS newer
                         FROM outbox WHERE receipted IS NOT NULL)
                     WHERE newer > ?1)",
            )
            .and_then(|mut q| q.execute([sql(bytes)]))
            .op("turn the ring")?;
            Ok(())
        })
    }
    fn window_bytes(&self) -> Result<u64, StoreError> {
        self.conn
            .prepare_cached(
                r#"SELECT coalesce(sum(length(counters)), 0) FROM "window"
                   WHERE counters IS NOT NULL AND end_ms IS NOT NULL"#,
            )
            .and_then(|mut q| q.query_row([], |r| r.get::<_, i64>(0)))
            .map(unsql)
            .op("measure windows")
    }

    /// Merges closed windows of one bundle that start in the same span.
    fn coarsen(&mut self, span: i64, now: UnixMs) -> Result<(), StoreError> {
        self.write(|tx| {
            let groups: Vec<(String, [u8; 32], i64)> = {
                let mut q = tx
                    .prepare_cached(
                        r#"SELECT model, bundle, start_ms / ?1 FROM "window"
                           WHERE counters IS NOT NULL AND end_ms IS NOT NULL AND supplement = 0 AND sent = 0
                           GROUP BY 1, 2, 3 HAVING count(*) > 1"#,
                    )
                    .op("group windows")?;
                let rows =
                    q.query_map([span], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?))).op("group windows")?;
                rows.collect::<Result<_, _>>().op("group windows")?
            };
            let (mut merged, mut from, mut to) = (0u64, i64::MAX, 0i64);
            for (model, bundle, bucket) in groups {
                let (n, start, end) = merge_group(tx, &model, &bundle, bucket, span)?;
                merged += n;
                from = from.min(start);
                to = to.max(end);
            }
            if merged > 0 {
                let row = Gap {
                    kind: GapKind::Resolution,
                    cause: GapCause::Quota,
                    count: merged,
                    from: UnixMs(unsql(from)),
                    to: UnixMs(unsql(to)),
                };
                gap(tx, now, row)?;
            }
            Ok(())
        })
    }

    fn drop_oldest(&mut self, bytes: u64, now: UnixMs) -> Result<(), StoreError> {
        self.write(|tx| {
            let mut freed = 0;
            let (mut rows_lost, mut from, mut to) = (0, UnixMs(u64::MAX), UnixMs(0));
            let oldest: Vec<(i64, i64, i64, Vec<u8>)> = {
                let mut q = tx
                    .prepare_cached(
                        r#"SELECT id, start_ms, end_ms, counters FROM "window"
                           WHERE counters IS NOT NULL AND end_ms IS NOT NULL ORDER BY end_ms LIMIT 1000"#,
                    )
                    .op("find the oldest windows")?;
                let rows = q
                    .query_map([], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?)))
                    .op("find the oldest windows")?;
                rows.collect::<Result<_, _>>().op("find the oldest windows")?
            };
            for (id, start, end, counters) in oldest {
                if freed >= bytes {
                    break;
                }
                freed += counters.len() as u64;
                rows_lost += decode(&counters)?.rows;
                from = from.min(UnixMs(unsql(start)));
                to = to.max(UnixMs(unsql(end)));
                tx.execute(r#"DELETE FROM "window" WHERE id = ?1"#, [id]).op("drop a window")?;
            }
            if freed > 0 {
                let row = Gap { kind: GapKind::Windows, cause: GapCause::Quota, count: rows_lost, from, to };
                gap(tx, now, row)?;
            }
            Ok(())
        })
    }

    fn drop_reports(&mut self, keep: u64, now: UnixMs) -> Result<(), StoreError> {
        let n: i64 =
            self.conn.query_row("SELECT count(*) FROM report", [], |r| r.get(0)).op("count reports")?;
        let over = n - sql(keep);
        if over <= 0 {
            return Ok(());
        }
        self.write(|tx| {
            tx.execute(
                "DELETE FROM report WHERE id IN (SELECT id FROM report ORDER BY id LIMIT ?1)",
                [over + 1],
            )
            .op("drop reports")?;
            let row = Gap {
                kind: GapKind::Reports,
                cause: GapCause::Quota,
                count: unsql(over + 1),
                from: UnixMs(0),
                to: now,
            };
            gap(tx, now, row)
        })
    }
}

fn merge_group(
    tx: &Transaction<'_>,
    model: &str,
    bundle: &[u8; 32],
    bucket: i64,
    span: i64,
) -> Result<(u64, i64, i64), StoreError> {
    let members: Vec<(i64, i64, i64, Vec<u8>)> = {
        let mut q = tx
            .prepare_cached(
                r#"SELECT id, start_ms, end_ms, counters FROM "window"
                   WHERE counters IS NOT NULL AND end_ms IS NOT NULL AND supplement = 0 AND sent = 0
                   AND model = ?1 AND bundle = ?2 AND start_ms / ?4 = ?3 ORDER BY start_ms, id"#,
            )
            .op("read windows")?;
        let rows = q
            .query_map(params![model, bundle, bucket, span], |r| {
                Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?))
            })
            .op("read windows")?;
        rows.collect::<Result<_, _>>().op("read windows")?
    };
    let Some(((keep, start, mut end, first), rest)) = members.split_first().map(|(a, b)| (a.clone(), b))
    else {
        return Ok((0, i64::MAX, 0));
    };
    let mut sum = decode(&first)?;
    let mut merged = 1;
    for (id, _, e, counters) in rest {
        let mut longer = sum.clone();
        if !add(&mut longer, &decode(counters)?) {
            // Never seen of one bundle; it stays as it is rather than lose a count.
            continue;
        }
        (sum, merged) = (longer, merged + 1);
        end = end.max(*e);
        tx.execute(r#"UPDATE prediction SET "window" = ?1 WHERE "window" = ?2"#, [keep, *id])
            .op("merge windows")?;
        tx.execute(r#"DELETE FROM "window" WHERE id = ?1"#, [id]).op("merge windows")?;
    }
    tx.execute(
        r#"UPDATE "window" SET end_ms = ?2, counters = ?3 WHERE id = ?1"#,
        params![keep, end, encode(&sum)],
    )
    .op("merge windows")?;
    Ok((merged, start, end))
}
