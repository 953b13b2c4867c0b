//! A large fleet, made by SQL alone: always the same one.

use std::path::Path;

use longshore_stats::Counters;
use serde_json::json;
use sqlx::SqlitePool;
use sqlx::sqlite::SqliteConnectOptions;

/// Versions of the one model.
pub const VERSIONS: u64 = 20;
/// Rollouts, each with every device.
pub const ROLLOUTS: u64 = 30;
/// Model.
const MODEL: &str = "meter-digits";

/// The bundle of a version, as SQL and as text.
fn bundle(version: u64) -> String {
    format!("{:064x}", 0xb000 + version)
}

/// Addresses that the benchmark asks for.
pub fn pages(devices: u64) -> Vec<String> {
    let middle = format!("dev-{:06}", devices / 2);
    let fixed = [
        "/",
        "/devices",
        "/devices?status=silent",
        "/devices?status=trouble",
        "/devices?q=site-07",
        "/devices?model=meter-digits&version=1.18.0",
        "/models",
        "/models/meter-digits",
        "/models/meter-digits/1.19.0",
        "/models/meter-digits/1.19.0/quality",
        "/models/meter-digits/compare?a=1.18.0&b=1.19.0",
        "/rollouts",
        "/rollouts?state=open",
        "/rollouts/r-29",
        "/rollouts/r-29?wave=3&state=offered",
        "/rollouts/r-29?state=failed",
        "/rollouts/r-29/halt",
        "/rollouts/new",
        "/history",
        "/history?model=meter-digits&version=1.18.0",
        "/drift",
        "/alerts",
        "/audit",
    ];
    let mut all: Vec<String> = fixed.map(str::to_owned).into();
    all.push(format!("/devices?after={middle}"));
    all.push(format!("/devices/{middle}"));
    all.push(format!("/rollouts/r-29?after={middle}"));
    all.push(format!("/rollouts/r-29/devices/{middle}"));
    all.push(format!("/history?device={middle}"));
    all.push(format!("/history?model=meter-digits&after={middle}"));
    all.push(format!("/history?model=meter-digits&at={}", NOW - 5 * 86_400_000));
    all
}

/// The fleet's present.
const NOW: u64 = 1_795_400_000_000;
/// Devices by number.
const EACH: &str = "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < ?1)";

/// Fills an empty database.
pub async fn fill(path: &Path, devices: u64) {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .pragma("synchronous", "OFF")
        .pragma("cache_size", "-200000");
    let pool = SqlitePool::connect_with(options).await.unwrap();
    let run = async |sql: String, values: &[&str]| {
        let mut query = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(i64::try_from(devices).unwrap());
        for value in values {
            query = query.bind((*value).to_owned());
        }
        query.execute(&pool).await.unwrap();
    };
    let inventory = json!({
        "agent": "0.1.0", "os": "linux", "os_version": "Debian 12", "kernel": "6.1.0", "arch": "aarch64",
        "cpu": "Cortex-A72", "cores": 4, "memory_kib": 4_194_304, "disk_kib": 33_554_432, "board": "Raspberry Pi 4",
        "labels": {}, "features": ["onnx"], "sandbox": ["seccomp"],
    })
    .to_string();
    run(format!("{EACH} INSERT INTO device (id, report_key, cert_sha256, serial, labels, enrolled_at, last_seen, online,
        stream, inventory, health) SELECT printf('dev-%06d', i), x'00', '', printf('SN-%08d', i * 7919),
        printf('{{\"site\":\"site-%02d\",\"ring\":\"field\"}}', i % 50), {NOW} - 8640000000, {NOW} - i % 600000,
        i % 20 <> 7, '00000000000000a1', ?2, NULL FROM n"), &[&inventory]).await;
    run(format!("INSERT INTO model SELECT '{MODEL}', {NOW} - 8640000000 WHERE ?1 > 0"), &[]).await;
    let manifest = json!({
        "schema": 1, "model": MODEL, "version": "VERSION", "created": "2026-01-31T12:00:00Z",
        "files": [{ "path": "model.onnx", "role": "model", "sha256": bundle(99), "length": 48_213 }],
        "inputs": [{ "name": "image", "dtype": "FP32", "shape": ["N", 64] }],
        "outputs": [{ "name": "scores", "dtype": "FP32", "shape": ["N", 10] }],
        "batch": { "axis": 0, "max": 256 },
        "monitor": { "window_s": 300, "score_output": "scores", "classes": ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"] },
    })
    .to_string();
    for v in 0..VERSIONS {
        let (name, bundle) = (format!("1.{v}.0"), bundle(v));
        let text = manifest.replace("VERSION", &name);
        run(format!("INSERT INTO bundle_version (model, version, bundle, manifest, manifest_length, bytes, state,
            release_counter, approved_at, created, changed) SELECT '{MODEL}', ?2, ?3, ?4, length(?4), 60443, 'approved',
            {v} + 1, {NOW} - 86400000, {NOW} - 864000000, {NOW} WHERE ?1 > 0"), &[&name, &bundle, &text]).await;
    }
    // Most devices run the two newest versions, some lag behind; some updates went wrong.
    let runs = "CASE WHEN i % 10 < 6 THEN 19 WHEN i % 10 < 9 THEN 18 ELSE i / 10 % 20 END";
    let digest = |of: &str| format!("printf('%064x', {} + {of})", 0xb000);
    run(format!("{EACH} INSERT INTO device_model (device, model, active, version, wanted, state, assignment_version,
        rows_journal, changed) SELECT printf('dev-%06d', i), '{MODEL}', {}, printf('1.%d.0', {runs}), {},
        CASE WHEN i % 997 = 5 THEN 'rolled_back' ELSE 'committed' END, 30, 10000 + i, {NOW} - i FROM n",
        digest(runs), digest(runs)), &[]).await;
    let counters = {
        let mut c = Counters::with_classes(10);
        (c.requests, c.rows) = (5_000, 5_000);
        c.confusion[0] = 900;
        c.latency_us.insert_bucket(longshore_stats::DdSketch::bucket(85.0), 5_000);
        postcard::to_allocvec(&c).unwrap()
    };
    for version in ["17", "18", "19"] {
        let sql = format!("{EACH} INSERT INTO device_total (device, model, bundle, requests, rows, errors, labelled, correct,
            counters) SELECT printf('dev-%06d', i), '{MODEL}', {}, 5000, 5000, 3, 1000, 900 + i % 60, ?2 FROM n", digest(version));
        sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(i64::try_from(devices).unwrap())
            .bind(counters.clone())
            .execute(&pool)
            .await
            .unwrap();
        for hour in 0..48u64 {
            sqlx::query("INSERT INTO model_hour (model, bundle, hour, counters) VALUES (?1, ?2, ?3, ?4)")
                .bind(MODEL)
                .bind(bundle(version.parse().unwrap()))
                .bind(i64::try_from((NOW / 3_600_000 - hour) * 3_600_000).unwrap())
                .bind(counters.clone())
                .execute(&pool)
                .await
                .unwrap();
        }
    }
    rollouts(&pool, devices, &run).await;
    // Five versions served on each device, one after the other.
    for step in 0..5u64 {
        let of = if step == 4 { format!("({runs})") } else { format!("({step} * 4 + i % 4)") };
        let at = NOW - (5 - step) * 4 * 86_400_000;
        run(
            format!(
                "{EACH} INSERT INTO ran (device, model, bundle, at, clock, received)
            SELECT printf('dev-%06d', i), '{MODEL}', {}, {at} + i * 600, 'device', {at} + i * 600 FROM n",
                digest(&of)
            ),
            &[],
        )
        .await;
    }
    run("INSERT INTO ran_minute SELECT model, bundle, minute, sum(d) FROM (
            SELECT model, bundle, at / 60000 AS minute, 1 AS d FROM ran WHERE ?1 > 0
            UNION ALL SELECT l.model, r.bundle, l.at / 60000, -1 FROM ran l JOIN ran r ON r.device = l.device AND r.model = l.model
                AND r.id = (SELECT max(b.id) FROM ran b WHERE b.device = l.device AND b.model = l.model AND b.id < l.id))
        GROUP BY 1, 2, 3".into(), &[]).await;
    run("ANALYZE".into(), &[]).await;
    pool.close().await;
}

async fn rollouts(pool: &SqlitePool, devices: u64, run: &impl AsyncFn(String, &[&str])) {
    let gate = |name: &str| json!({ "gate": name, "outcome": "pass", "value": 0.99, "limit": 0.95, "text": "it holds" });
    let verdict =
        json!({ "outcome": "pass", "counts": { "devices": devices, "ok": devices, "failed": 0, "pending": 0,
        "unreachable": 0, "out": 0, "rows": 1000, "errors": 0, "labelled": 0, "correct": 0 },
        "gates": [gate("success"), gate("rows"), gate("devices"), gate("accuracy")] })
        .to_string();
    let wave = |n: u64| {
        json!({ "select": "part of the fleet", "cap": null, "commits_locally": n == 4, "devices": devices / 5,
        "online": devices / 6, "no_way_back": 0 })
    };
    let brief =
        json!({ "policy": "careful", "parent": null, "previous": bundle(18), "bytes": 60_443, "warnings": [],
        "waves": (0..5).map(wave).collect::<Vec<_>>(), "left_out": {}, "excluded": [] })
        .to_string();
    // As large as the plan of such a fleet.
    let plan = "x".repeat(usize::try_from(devices).unwrap() * 180);
    for r in 0..ROLLOUTS {
        let state = if r + 1 == ROLLOUTS { "running" } else { "completed" };
        let (id, bundle) = (format!("r-{r}"), bundle(r % VERSIONS));
        run(format!("INSERT INTO rollout (id, model, version, bundle, generation, state, reason, policy, since, created, started)
            SELECT ?2, '{MODEL}', '1.{}.0', ?3, {r} + 1, '{state}', '', 'name = \"careful\"', {NOW}, {NOW} - {} , {NOW}
            WHERE ?1 > 0", r % VERSIONS, (ROLLOUTS - r) * 86_400_000), &[&id, &bundle]).await;
        run(
            "INSERT INTO rollout_plan (rollout, brief, plan) SELECT ?2, ?3, ?4 WHERE ?1 > 0".into(),
            &[&id, &brief, &plan],
        )
        .await;
        for w in 0..5 {
            let state = if r + 1 < ROLLOUTS || w < 3 {
                "passed"
            } else if w == 3 {
                "offering"
            } else {
                "waiting"
            };
            run(
                format!(
                    "INSERT INTO rollout_wave (rollout, wave, state, since, opened, verdict)
                SELECT ?2, {w}, '{state}', {NOW}, {NOW}, ?3 WHERE ?1 > 0"
                ),
                &[&id, &verdict],
            )
            .await;
        }
        let state = if r + 1 < ROLLOUTS {
            "'committed'"
        } else {
            "CASE i % 5 WHEN 4 THEN 'waiting' WHEN 3 THEN CASE WHEN i % 2 = 0 THEN 'offered' ELSE 'probation' END ELSE
                CASE WHEN i % 499 = 0 THEN 'failed' ELSE 'committed' END END"
        };
        run(format!("{EACH} INSERT INTO rollout_device (rollout, device, wave, state, assignment_version, offered_at, attempts,
            changed) SELECT ?2, printf('dev-%06d', i), i % 5, {state}, 30, {NOW}, 1, {NOW} - i FROM n"), &[&id]).await;
        for line in 0..40 {
            sqlx::query("INSERT INTO rollout_event (rollout, time, code, text) VALUES (?1, ?2, 'late_device', 'a device joined')")
                .bind(&id)
                .bind(i64::try_from(NOW).unwrap() + line)
                .execute(pool)
                .await
                .unwrap();
        }
    }
    run(format!("{EACH} INSERT INTO update_report (device, model, bundle, assignment_version, generation, rollout, state, trial,
        active, time, received) SELECT printf('dev-%06d', i), '{MODEL}', printf('%064x', {}), 30, 30, 'r-29', 'committed', ?2,
        NULL, {NOW} - i, {NOW} - i FROM n", 0xb000 + 19),
        &[&json!({ "load_ms": 31, "golden_rows": 32, "deviations": [], "p50_us": 84, "p99_us": 210, "rss_kib": 11_264 }).to_string()]).await;
}
