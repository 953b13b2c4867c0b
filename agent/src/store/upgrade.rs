//! What an older agent wrote into the database, as this one reads it.

use longshore_stats::{Counters, DdSketch};
use longshore_trust::UnixMs;
use longshore_wire::v1::{Gap, GapCause, GapKind};
use rusqlite::{Transaction, params};
use serde::Deserialize;

use super::windows::encode;
use super::{Op as _, StoreError, gap};

/// Counters of schema 1 of the database: before features, scores and groups were counted.
#[derive(Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
struct Schema1 {
    requests: u64,
    rows: u64,
    errors: u64,
    nan: u64,
    classes: Vec<u64>,
    confusion: Vec<u64>,
    labels_other: u64,
    latency_us: DdSketch,
}

impl From<Schema1> for Counters {
    fn from(old: Schema1) -> Self {
        let Schema1 { requests, rows, errors, nan, classes, confusion, labels_other, latency_us } = old;
        Self { requests, rows, errors, nan, classes, confusion, labels_other, latency_us, ..Self::default() }
    }
}

/// Writes all counters of schema 1 anew, as schema 2 has them. What cannot be read is dropped, and a row of the gap ledger says so: an agent that
/// does not start would lose everything.
pub(super) fn counters(tx: &Transaction<'_>, now: UnixMs) -> Result<(), StoreError> {
    for (read, write, drop) in [
        (
            r#"SELECT id, counters FROM "window" WHERE counters IS NOT NULL"#,
            r#"UPDATE "window" SET counters = ?2 WHERE id = ?1"#,
            r#"DELETE FROM "window" WHERE id = ?1"#,
        ),
        (
            "SELECT id, journalled FROM load",
            "UPDATE load SET journalled = ?2 WHERE id = ?1",
            "DELETE FROM load WHERE id = ?1",
        ),
    ] {
        let mut q = tx.prepare(read).op("read counters")?;
        let rows = q
            .query_map([], |r| Ok((r.get::<_, i64>(0)?, r.get::<_, Vec<u8>>(1)?)))
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .op("read counters")?;
        for (id, bytes) in rows {
            let Ok(old) = postcard::from_bytes::<Schema1>(&bytes) else {
                tx.execute(drop, [id]).op("drop counters")?;
                let (kind, cause) = (GapKind::Counters, GapCause::Corruption);
                gap(tx, now, Gap { kind, cause, count: 0, from: UnixMs(0), to: now })?;
                continue;
            };
            let mut bytes = encode(&old.into());
            // Schema 2 had no table of shadow at their end; the next step adds the byte that says so.
            bytes.pop();
            tx.execute(write, params![id, bytes]).op("write counters anew")?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use longshore_trust::StreamId;
    use rusqlite::Connection;

    use super::*;
    use crate::engine::protocol::LoadId;
    use crate::store::{Joined, LabelRow, LoadDelta, Store};

    /// A database as the agent before this one left it: a load, its open window, a closed one, and a prediction.
    fn old_database(dir: &std::path::Path) {
        let conn = Connection::open(dir.join("state.db")).unwrap();
        conn.execute_batch(include_str!("migrations/0001_init.sql")).unwrap();
        conn.pragma_update(None, "user_version", 1).unwrap();
        let mut latency_us = DdSketch::default();
        latency_us.insert(50.0);
        let old = Schema1 {
            requests: 4,
            rows: 4,
            errors: 1,
            nan: 0,
            classes: vec![1, 3],
            confusion: vec![0, 0, 1, 1],
            labels_other: 0,
            latency_us,
        };
        let (bytes, bundle) = (postcard::to_stdvec(&old).unwrap(), [9u8; 32]);
        conn.execute("INSERT INTO kv VALUES ('stream', ?1)", [77u64.to_be_bytes()]).unwrap();
        let zero = Schema1 { confusion: vec![], ..old };
        conn.execute(
            "INSERT INTO load VALUES (5, 'digits', ?1, 2, ?2, 4, 1000)",
            params![bundle, postcard::to_stdvec(&zero).unwrap()],
        )
        .unwrap();
        for end in [Some(2000), None] {
            conn.execute(
                r#"INSERT INTO "window" (model, bundle, start_ms, end_ms, classes, counters) VALUES ('digits', ?1, 1000, ?2, 2, ?3)"#,
                params![bundle, end, bytes],
            )
            .unwrap();
        }
        conn.execute("INSERT INTO prediction VALUES (5, 3, 1, 0.75, 1500, 2, 0)", []).unwrap();
    }

    #[test]
    fn what_an_older_agent_counted_is_kept_and_goes_on() {
        let dir = tempfile::tempdir().unwrap();
        old_database(dir.path());
        let mut store = Store::open(dir.path(), StreamId(1), UnixMs(3000)).unwrap();
        assert_eq!(store.stream(), StreamId(77));
        let row = store.loads().unwrap().remove(0);
        assert_eq!((row.journalled.rows, row.journalled.classes.clone(), row.next_seq), (4, vec![1, 3], 4));
        let mut snapshot = row.journalled;
        snapshot.rows += 2;
        snapshot.classes[0] += 2;
        let delta =
            LoadDelta { load: LoadId(5), snapshot, predictions: vec![], shadowed: Vec::new(), next_seq: 6 };
        let added = store.journal(&[delta], UnixMs(4000)).unwrap();
        assert_eq!(added[0].1.rows, 2);
        let label =
            LabelRow { load: LoadId(5), seq: 3, truth: crate::engine::protocol::Truth::Class(1), live: None };
        let joined = store.join(&[&[label]], UnixMs(4000)).unwrap();
        assert_eq!(joined, [Joined { joined: 1, ..Joined::default() }]);
        let again = Store::open(dir.path(), StreamId(1), UnixMs(5000)).unwrap();
        let windows: Vec<Vec<u8>> = again
            .conn
            .prepare(r#"SELECT counters FROM "window" ORDER BY id"#)
            .unwrap()
            .query_map([], |r| r.get(0))
            .unwrap()
            .map(Result::unwrap)
            .collect();
        let read: Vec<Counters> = windows.iter().map(|b| crate::store::windows::decode(b).unwrap()).collect();
        assert_eq!((read[0].rows, read[0].confusion.clone()), (4, vec![0, 0, 1, 1]));
        assert_eq!((read[1].rows, read[1].confusion.clone(), read[1].errors), (6, vec![0, 0, 1, 2], 1));
    }

    #[test]
    fn counters_that_cannot_be_read_leave_a_row_in_the_ledger() {
        let dir = tempfile::tempdir().unwrap();
        old_database(dir.path());
        let conn = Connection::open(dir.path().join("state.db")).unwrap();
        conn.execute(r#"UPDATE "window" SET counters = x'ff' WHERE id = 1"#, []).unwrap();
        drop(conn);
        let store = Store::open(dir.path(), StreamId(1), UnixMs(3000)).unwrap();
        assert_eq!(store.gaps().unwrap(), [("counters".to_owned(), "corruption".to_owned(), 0)]);
        assert_eq!(store.loads().unwrap().len(), 1, "all else is kept");
    }
}
