//! Sums that the database keeps by itself equal what they sum, whatever is done to it.

use sqlx::Row as _;

use super::Store;

/// What the sums should be, and what they are.
const PAIRS: [(&str, &str); 3] = [
    (
        "SELECT model || '/' || coalesce(active, '') AS k, count(*) AS n FROM device_model m JOIN device d ON d.id = m.device
             AND d.revoked_at IS NULL GROUP BY 1 ORDER BY 1",
        "SELECT model || '/' || bundle AS k, devices AS n FROM serving WHERE devices <> 0 ORDER BY 1",
    ),
    (
        "SELECT model || '/' || bundle AS k, count(*) * 1000000 + sum(rows) * 1000 + sum(correct) AS n FROM device_total
             GROUP BY 1 ORDER BY 1",
        "SELECT model || '/' || bundle AS k, devices * 1000000 + rows * 1000 + correct AS n FROM bundle_total
             WHERE devices <> 0 ORDER BY 1",
    ),
    (
        "SELECT rollout || '/' || wave || '/' || state AS k, count(*) AS n FROM rollout_device GROUP BY 1 ORDER BY 1",
        "SELECT rollout || '/' || wave || '/' || state AS k, devices AS n FROM rollout_count WHERE devices <> 0 ORDER BY 1",
    ),
];

/// Things that happen to devices, with `?1` a device, `?2` a bundle and `?3` a small number.
const HAPPENS: [&str; 11] = [
    "INSERT OR IGNORE INTO device (id, report_key, cert_sha256, enrolled_at) VALUES (?1, x'00', ?2, ?3)",
    "UPDATE device SET revoked_at = ?3, serial = ?2 WHERE id = ?1 AND revoked_at IS NULL",
    "UPDATE device SET revoked_at = NULL, serial = ?2 || ?3 WHERE id = ?1",
    "INSERT INTO device_model (device, model, active, state, changed) VALUES (?1, 'm', ?2, 'committed', ?3)
         ON CONFLICT (device, model) DO UPDATE SET active = excluded.active",
    "INSERT INTO device_model (device, model, active, state, changed) VALUES (?1, 'n', ?2, 'committed', ?3)
         ON CONFLICT (device, model) DO UPDATE SET active = NULL",
    "DELETE FROM device_model WHERE device = ?1 AND ?3 = 3 AND ?2 <> ''",
    "INSERT INTO device_total (device, model, bundle, requests, rows, errors, labelled, correct, counters)
         VALUES (?1, 'm', ?2, 1, ?3, 0, 1, 1, x'00') ON CONFLICT (device, model, bundle)
         DO UPDATE SET rows = rows + excluded.rows, correct = correct + 1",
    "DELETE FROM device_total WHERE device = ?1 AND bundle = ?2 AND ?3 = 5",
    "INSERT INTO rollout_device (rollout, device, wave, state, changed) VALUES (?2, ?1, ?3 % 3, 'waiting', 0)
         ON CONFLICT (rollout, device) DO UPDATE SET state = 'offered'",
    "UPDATE rollout_device SET state = 'committed', wave = ?3 % 2 WHERE rollout = ?2 AND device = ?1",
    "DELETE FROM rollout_device WHERE rollout = ?2 AND device = ?1 AND ?3 = 1",
];

#[tokio::test]
async fn sums_follow_what_they_sum() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("fleet.db")).await.unwrap();
    let mut tx = store.write().await.unwrap();
    let mut seed: u32 = 7;
    let mut draw = |n: u32| {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (seed >> 16) % n
    };
    // A device enrols before anything is known of it.
    for n in 0..9 {
        sqlx::query(HAPPENS[0]).bind(format!("d{n}")).bind("").bind(n).execute(tx.conn()).await.unwrap();
    }
    for step in 0..4_000 {
        let sql = HAPPENS[draw(HAPPENS.len() as u32) as usize];
        let (device, bundle) = (format!("d{}", draw(9)), format!("b{}", draw(4)));
        sqlx::query(sql).bind(device).bind(bundle).bind(draw(7)).execute(tx.conn()).await.unwrap();
        if step % 500 == 499 {
            for (truth, kept) in PAIRS {
                let mut both = Vec::new();
                for sql in [truth, kept] {
                    let rows = sqlx::query(sql).fetch_all(tx.conn()).await.unwrap();
                    let of = |r: &sqlx::sqlite::SqliteRow| (r.get::<String, _>("k"), r.get::<i64, _>("n"));
                    both.push(rows.iter().map(of).collect::<Vec<_>>());
                }
                assert!(!both[0].is_empty());
                assert_eq!(both[0], both[1], "after {step} steps: {kept}");
            }
        }
    }
}
