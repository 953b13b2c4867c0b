//! A fleet in the middle of its life, written straight into the tables: what pages show does not depend on how it
//! came there.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use longshore_bundle::Requires;
use longshore_fleet::store::{Store, audit};
use longshore_fleet_core::gate::{Counts, GateResult, Outcome, Verdict};
use longshore_fleet_core::plan::{self, Candidate, Plan};
use longshore_fleet_core::policy::{Policy, shipped};
use longshore_stats::Counters;
use longshore_trust::tuf::TargetInfo;
use longshore_trust::tuf::edit::{self, DelegationSpec, RoleKeys, TargetsSpec};
use longshore_trust::{Digest, Generation, ReleaseCounter, SigningKey, UnixMs};
use longshore_wire::v1::{Deviation, Gap, GapCause, GapKind, Inventory, TrialReport};
use serde_json::{Value, json};
use sqlx::SqlitePool;
use sqlx::sqlite::SqliteConnectOptions;

/// A text that would do harm wherever it is not escaped.
pub const HOSTILE: &str = "<script>alert('x')</script>\"><img src=x onerror=alert(1)>";

const MINUTE: u64 = 60_000;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// The three versions and their bundles.
pub const VERSIONS: [&str; 3] = ["1.0.0", "1.1.0", "1.2.0"];

pub fn bundle(version: &str) -> String {
    Digest::of(version.as_bytes()).to_hex()
}

fn counters(rows: u64, right_permille: u64, p50_us: f64) -> Counters {
    let mut c = Counters::with_classes(10);
    c.requests = rows;
    c.rows = rows;
    c.errors = rows / 400;
    let labelled = rows / 2;
    c.classes.iter_mut().for_each(|n| *n = rows / 10);
    c.confusion[0] = labelled * right_permille / 1000;
    c.confusion[1] = labelled - c.confusion[0];
    c.latency_us.insert_bucket(longshore_stats::DdSketch::bucket(p50_us), rows * 98 / 100);
    c.latency_us.insert_bucket(longshore_stats::DdSketch::bucket(p50_us * 4.0), rows - rows * 98 / 100);
    c
}

fn inventory(n: usize) -> Inventory {
    let (arch, board, cpu) = [
        ("aarch64", "Raspberry Pi 4 Model B", "Cortex-A72"),
        ("x86_64", "", "Intel N100"),
        ("aarch64", "BeaglePlay", "Cortex-A53"),
    ][n % 3];
    Inventory {
        agent: "0.1.0".into(),
        os: "linux".into(),
        os_version: "Debian 12".into(),
        kernel: "6.1.0".into(),
        arch: arch.into(),
        cpu: cpu.into(),
        cores: 4,
        memory_kib: 4 << 20,
        disk_kib: 32 << 20,
        board: board.into(),
        labels: [("site".to_owned(), ["ams", "rtm"][n % 2].to_owned())].into(),
        features: vec!["onnx".into()],
        sandbox: vec!["no_new_privs".into(), "seccomp".into(), "landlock-v4".into()],
        zone: Some("Europe/Amsterdam".into()),
    }
}

fn manifest(version: &str, parent: Option<&str>) -> Value {
    let mut manifest = json!({
        "schema": 1, "model": "meter-digits", "version": version, "created": "2026-11-20T08:00:00Z",
        "files": [
            {"path": "model.onnx", "sha256": bundle("model"), "length": 48_213, "role": "model"},
            {"path": "golden.safetensors", "sha256": bundle("golden"), "length": 9_120, "role": "golden"},
            {"path": "card.md", "sha256": bundle("card"), "length": 2_210, "role": "card"},
        ],
        "inputs": [{"name": "image", "dtype": "FP32", "shape": ["N", 64]}],
        "outputs": [{"name": "scores", "dtype": "FP32", "shape": ["N", 10]}],
        "batch": {"axis": 0, "max": 256},
        "monitor": {"window_s": 60, "score_output": "scores", "classes": ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]},
        "lineage": {
            "dataset": [{"name": "Optical recognition of handwritten digits", "license": "CC BY 4.0"}],
            "metrics": {"accuracy": 0.9712, "log_loss": 0.094_31},
        },
        "policy": {"intended_use": "Reads digits of meters", "out_of_scope": HOSTILE},
    });
    if let Some(parent) = parent {
        manifest["parent"] = json!(bundle(parent));
    }
    manifest
}

fn trial() -> TrialReport {
    TrialReport {
        load_ms: 31,
        golden_rows: 32,
        deviations: vec![Deviation { output: "scores".into(), max_abs: 3.8e-7, max_rel: 2.1e-6 }],
        p50_us: 84,
        p99_us: 210,
        rss_kib: 11_264,
    }
}

fn gate(name: &str, outcome: Outcome, value: f64, limit: f64, text: &str) -> GateResult {
    GateResult {
        gate: name.into(),
        outcome,
        value: Some(value),
        limit: Some(limit),
        text: text.into(),
        method: (name == "accuracy").then(|| "paired devices, spread between devices".into()),
        numbers: if name == "accuracy" {
            [("alpha".to_owned(), 0.001_67), ("lower".to_owned(), 0.0412), ("upper".to_owned(), 0.121)].into()
        } else {
            Default::default()
        },
    }
}

fn verdict(outcome: Outcome, gates: Vec<GateResult>) -> String {
    let counts = Counts {
        devices: 2,
        ok: 2,
        rows: 812,
        labelled: 402,
        correct: 330,
        unreachable: 1,
        ..Counts::default()
    };
    serde_json::to_string(&Verdict { outcome, counts, gates }).unwrap()
}

/// Fills the tables.
pub async fn fill(path: &Path, store: Store) {
    let now = longshore_fleet::app::now().0;
    let pool = SqlitePool::connect_with(SqliteConnectOptions::new().filename(path)).await.unwrap();
    trust(&pool, now).await;
    catalogue(&pool, now).await;
    release_role(&pool, now).await;
    devices(&pool, now).await;
    rollouts(&pool, now).await;
    run(
        &pool,
        "UPDATE device SET quarantined_at = ?1, quarantine_reason = ?2, failures = 3 WHERE id = 'meter-050'",
        &[json!(now), json!(format!("3 assignments in a row failed: {HOSTILE}"))],
    )
    .await;
    run(
        &pool,
        "INSERT INTO ran (device, model, bundle, at, clock, received)
         SELECT device, model, active, changed, 'device', changed FROM device_model",
        &[],
    )
    .await;
    run(
        &pool,
        "INSERT INTO ran_minute SELECT model, bundle, at / 60000, count(*) FROM ran GROUP BY 1, 2, 3",
        &[],
    )
    .await;
    alerts(&pool, now).await;
    let mut tx = store.write().await.unwrap();
    for (i, (actor, action, object)) in [
        ("admin", "rollout.start", "r-3"),
        ("admin", "model.alias", "meter-digits champion"),
        (HOSTILE, "trust.publish", HOSTILE),
    ]
    .into_iter()
    .enumerate()
    {
        let time = UnixMs(now - i as u64 * MINUTE);
        audit::record(&mut tx, time, actor, action, object, "{}").await.unwrap();
    }
    tx.commit().await.unwrap();
    pool.close().await;
    // The reader of the server sees it.
    assert!(store.meta("none").await.unwrap().is_none());
}

async fn run(pool: &SqlitePool, sql: &'static str, values: &[Value]) {
    let mut query = sqlx::query(sql);
    for value in values {
        query = match value {
            Value::Null => query.bind(None::<String>),
            Value::Number(n) => query.bind(n.as_i64().unwrap()),
            Value::String(s) => query.bind(s.clone()),
            other => query.bind(other.to_string()),
        };
    }
    query.execute(pool).await.unwrap();
}

async fn trust(pool: &SqlitePool, now: u64) {
    let expires =
        |ms: u64| jiff::Timestamp::from_millisecond(i64::try_from(now + ms).unwrap()).unwrap().to_string();
    for (role, left) in [("root", 400 * DAY), ("snapshot", 20 * DAY), ("timestamp", 30 * HOUR)] {
        let text = json!({
            "signed": {"_type": role, "expires": expires(left), "version": 3, "x-solo": role == "root"},
            "signatures": [{"keyid": bundle(role), "sig": "00"}],
        });
        sqlx::query("INSERT INTO role_metadata (role, version, bytes, created) VALUES (?1, 3, ?2, ?3)")
            .bind(role)
            .bind(text.to_string().into_bytes())
            .bind(now as i64)
            .execute(pool)
            .await
            .unwrap();
    }
}

/// The roles as people sign them offline: who may approve versions of the model, and that every version may give way to every
/// other.
async fn release_role(pool: &SqlitePool, now: u64) {
    let digest = |version: &str| Digest::of(version.as_bytes());
    let targets = VERSIONS.iter().enumerate().map(|(i, version)| {
        let others = VERSIONS.iter().filter(|v| *v != version);
        let ways: Vec<Value> =
            others.map(|to| json!({ "from": digest(version).to_hex(), "to": digest(to).to_hex() })).collect();
        let custom = json!({ "release_counter": i + 1, "rollback_ok": ways, "hw": [] });
        let custom = custom.as_object().unwrap().clone();
        (
            format!("meter-digits/{version}/manifest.json"),
            TargetInfo { length: 1, sha256: digest(version), custom },
        )
    });
    let (manager, above) = (SigningKey::from_seed(&[3; 32]), SigningKey::from_seed(&[4; 32]));
    let delegation = DelegationSpec {
        role: "models/meter-digits".into(),
        keys: RoleKeys { keys: vec![manager.public()], threshold: 1 },
        paths: vec!["meter-digits/*/*".into()],
        terminating: true,
    };
    let document = |days: u64, targets, delegations| {
        let expires = UnixMs(now + days * DAY);
        edit::targets(&TargetsSpec { version: 3, expires, targets, delegations })
    };
    for (role, mut document, key) in [
        ("targets", document(12, BTreeMap::new(), vec![delegation]), above),
        ("models/meter-digits", document(200, targets.collect(), Vec::new()), manager),
    ] {
        document.sign(&key);
        sqlx::query("INSERT INTO role_metadata (role, version, bytes, created) VALUES (?1, 3, ?2, ?3)")
            .bind(role)
            .bind(document.to_bytes())
            .bind(now as i64)
            .execute(pool)
            .await
            .unwrap();
    }
}

async fn catalogue(pool: &SqlitePool, now: u64) {
    run(pool, "INSERT INTO model VALUES ('meter-digits', ?1)", &[json!(now - 9 * DAY)]).await;
    let check = json!({"golden_rows": 32, "load_ms": 22, "p50_us": 61.2, "outputs": [{"name": "scores", "max_abs": 2.4e-7}]});
    for (i, version) in VERSIONS.into_iter().enumerate() {
        run(
            pool,
            "INSERT INTO bundle_version VALUES ('meter-digits', ?1, ?2, ?3, 900, 60443, 'approved', ?4, ?5, ?6, ?7, ?7, '')",
            &[
                json!(version),
                json!(bundle(version)),
                manifest(version, (i > 0).then(|| VERSIONS[i - 1])),
                check.clone(),
                json!(i + 1),
                json!(now - (6 - i as u64) * DAY),
                json!(now - (7 - i as u64) * DAY),
            ],
        )
        .await;
    }
    for (version, state) in [("1.3.0", "checked"), ("1.4.0", "refused")] {
        run(
            pool,
            "INSERT INTO bundle_version VALUES ('meter-digits', ?1, ?2, ?3, 900, 60443, ?4, ?5, NULL, NULL, ?6, ?6, '')",
            &[
                json!(version),
                json!(bundle(version)),
                manifest(version, None),
                json!(state),
                json!({"reason": {"code": "golden.mismatch", "detail": HOSTILE}}),
                json!(now - 20 * MINUTE),
            ],
        )
        .await;
    }
    for (alias, version) in [("champion", "1.1.0"), ("candidate", "1.2.0")] {
        run(
            pool,
            "INSERT INTO alias VALUES ('meter-digits', ?1, ?2, ?3)",
            &[json!(alias), json!(version), json!(now - DAY)],
        )
        .await;
    }
    for hour in 0..40u64 {
        let c = counters(1200 + (hour * 37) % 400, 964, 85.0);
        sqlx::query(
            "INSERT INTO model_hour (model, bundle, hour, counters) VALUES ('meter-digits', ?1, ?2, ?3)",
        )
        .bind(bundle("1.1.0"))
        .bind(((now / HOUR - hour) * HOUR) as i64)
        .bind(postcard::to_allocvec(&c).unwrap())
        .execute(pool)
        .await
        .unwrap();
    }
}

async fn devices(pool: &SqlitePool, now: u64) {
    for n in 0..120usize {
        let id = format!("meter-{n:03}");
        let online = n % 10 != 7;
        let seen = if n % 10 == 7 { now - 3 * DAY } else { now - (n as u64 % 7) * 3_000 };
        let labels = if n == 3 {
            json!({"note": HOSTILE})
        } else {
            json!({"ring": if n < 2 { "hil" } else { "field" }})
        };
        sqlx::query(
            "INSERT INTO device (id, report_key, cert_sha256, serial, labels, enrolled_at, last_seen, online, stream,
             assignment_version, tuf_versions, inventory, health) VALUES (?1, x'00', '', ?2, ?3, ?4, ?5, ?6, 'a1b2', 4,
             '{\"root\":1,\"timestamp\":44}', ?7, ?8)",
        )
        .bind(&id)
        .bind(if n == 3 { HOSTILE.to_owned() } else { format!("SN-{n:05}") })
        .bind(labels.to_string())
        .bind((now - 8 * DAY) as i64)
        .bind(seen as i64)
        .bind(online)
        .bind(serde_json::to_string(&inventory(n)).unwrap())
        .bind(health().to_string())
        .execute(pool)
        .await
        .unwrap();
        let version = if n < 4 {
            "1.2.0"
        } else if n < 100 {
            "1.1.0"
        } else {
            "1.0.0"
        };
        let state = match n {
            2 => "probation",
            17 => "rolled_back",
            _ => "committed",
        };
        run(
            pool,
            "INSERT INTO device_model (device, model, active, version, wanted, state, code, assignment_version,
             rows_journal, changed) VALUES (?1, 'meter-digits', ?2, ?3, ?2, ?4, ?5, 4, ?6, ?7)",
            &[
                json!(id),
                json!(bundle(version)),
                json!(version),
                json!(state),
                if n == 17 { json!("probation.error_rate") } else { Value::Null },
                json!(12_000 + n),
                json!(now - HOUR),
            ],
        )
        .await;
        let c = counters(400 + n as u64 * 3, if version == "1.2.0" { 820 } else { 963 }, 85.0);
        sqlx::query("INSERT INTO device_total (device, model, bundle, requests, rows, errors, labelled, correct, counters)
             VALUES (?1, 'meter-digits', ?2, ?3, ?3, ?4, ?5, ?6, ?7)")
            .bind(&id)
            .bind(bundle(version))
            .bind(c.rows as i64)
            .bind(c.errors as i64)
            .bind(c.labelled() as i64)
            .bind(c.correct() as i64)
            .bind(postcard::to_allocvec(&c).unwrap())
            .execute(pool)
            .await
            .unwrap();
    }
    for n in [2usize, 3, 17] {
        let id = format!("meter-{n:03}");
        for (i, state) in
            ["accepted", "downloading", "verified", "trial", "probation"].into_iter().enumerate()
        {
            run(
                pool,
                "INSERT INTO update_report (device, model, bundle, assignment_version, generation, rollout, state, code,
                 detail, trial, active, time, received) VALUES (?1, 'meter-digits', ?2, 4, 3, 'r-3', ?3, ?4, ?5, ?6, NULL, ?7, ?8)",
                &[
                    json!(id),
                    json!(bundle("1.2.0")),
                    json!(state),
                    if i == 2 { json!("fetch.retried") } else { Value::Null },
                    if i == 2 { json!(HOSTILE) } else { Value::Null },
                    if i >= 3 { json!(serde_json::to_string(&trial()).unwrap()) } else { Value::Null },
                    json!(now - 40 * MINUTE + i as u64 * 4_000),
                    json!(now - 40 * MINUTE + i as u64 * 4_000 + if n == 17 { HOUR } else { 90 }),
                ],
            )
            .await;
        }
        let gap = Gap {
            kind: GapKind::Counters,
            cause: GapCause::PowerCut,
            count: 0,
            from: UnixMs(now - 2 * HOUR),
            to: UnixMs(now - 2 * HOUR + MINUTE),
        };
        for (kind, body) in [
            ("gap", serde_json::to_value(&gap).unwrap()),
            ("agent_start", json!({"last_end": "killed"})),
            ("refused", json!({"code": "assignment.unknown_target", "detail": HOSTILE})),
        ] {
            run(
                pool,
                "INSERT INTO device_event (device, time, kind, body, received) VALUES (?1, ?2, ?3, ?4, ?2)",
                &[json!(id), json!(now - 2 * HOUR), json!(kind), body],
            )
            .await;
        }
    }
}

fn health() -> Value {
    json!({
        "uptime_s": 432_000, "load1_centi": 42, "memory_free_kib": 2_800_000, "disk_free_kib": 20_000_000,
        "temperature_centi_c": 4820, "agent_pss_kib": 23_400, "written_bytes": 18_000_000, "outbox_rows": 3,
        "engine_starts": 1, "models": [],
    })
}

/// As the planner makes it for the devices of this fleet.
fn plan_of(id: &str, version: &str, previous: Option<&str>) -> Plan {
    let digest = |version: &str| Digest::of(version.as_bytes());
    let inventory: Vec<Candidate> = (0..120usize)
        .map(|n| Candidate {
            labels: [("ring".to_owned(), if n < 2 { "hil" } else { "field" }.to_owned())].into(),
            arch: Some("aarch64".into()),
            agent: None,
            memory_mb: None,
            features: Vec::new(),
            online: n % 10 != 7,
            active: previous.map(digest),
            active_counter: None,
            ..Candidate::new(format!("meter-{n:03}").parse().unwrap())
        })
        .collect();
    let ways_back: BTreeSet<(Digest, Digest)> =
        previous.map(|p| (digest(version), digest(p))).into_iter().collect();
    let request = plan::Request {
        id: id.parse().unwrap(),
        parent: None,
        generation: Generation(3),
        model: "meter-digits".parse().unwrap(),
        version: version.into(),
        bundle: digest(version),
        release_counter: ReleaseCounter(3),
        bytes: 60_443,
        requires: &Requires::default(),
        ways_back: &ways_back,
        policy: Policy::parse(shipped("careful").unwrap()).unwrap(),
    };
    plan::plan(request, &inventory).unwrap()
}

/// One alert that fires, one that somebody has taken on, one that is over; what was told; a silence.
async fn alerts(pool: &SqlitePool, now: u64) {
    let since = now - 40 * MINUTE;
    let ack = json!({"at": now - 30 * MINUTE, "by": "ann", "note": HOSTILE});
    let told = json!({"at": since, "firing": true, "weight": 2});
    let drift = json!({
        "summary": "meter-digits 1.1.0: pixel_9, pixel_3 drifted (largest effect: PSI 0.90, 0.80 to 1.00, p < 0.0001, 5000 rows)",
        "weight": 2, "value": 0.9, "interval": [0.8, 1.0], "threshold": 0.1, "rows": 5000,
        "features": [
            {"name": "pixel_9", "effect": 0.9, "interval": [0.8, 1.0], "p": 1e-12, "n": 5000},
            {"name": HOSTILE, "effect": 0.4, "interval": [0.3, 0.5], "p": 0.0004, "n": 5000},
        ],
        "versions": [{"version": "1.1.0", "bundle": bundle("1.1.0")}],
    });
    let silence = json!({
        "summary": "12 devices of 120 silent for more than 30m, the longest for 2h", "weight": 12, "value": 7_200_000.0,
        "threshold": 1_800_000.0, "devices": {"count": 12, "of": 120, "sample": ["meter-040", "meter-041"]},
    });
    let trust = json!({"summary": format!("Trust metadata: {HOSTILE}"), "weight": 1, "roles": ["targets"]});
    let firing =
        json!({"state": "firing", "since": since, "now": {"is": "holding"}, "flaps": 2, "told": told});
    let taken = json!({"state": "acknowledged", "since": since, "now": {"is": "clearing", "since": now}, "ack": ack,
        "flaps": 0, "told": told});
    let over = json!({"state": "resolved", "since": since, "at": now - MINUTE, "again": null, "ack": ack, "flaps": 0,
        "ended": {"by": "person", "who": "ann", "note": HOSTILE, "gone": true},
        "told": {"at": now, "firing": false, "weight": 1}});
    for (rule, kind, model, severity, state, rank, machine, evidence) in [
        ("drift", "drift", "meter-digits", "critical", "firing", 0, firing, drift),
        ("silence", "silence", "", "warning", "acknowledged", 11, taken, silence),
        ("trust-expiry", "trust_expiry", "", "critical", "resolved", 30, over, trust),
    ] {
        run(
            pool,
            "INSERT INTO alert (fingerprint, rule, kind, model, cohort, severity, state, rank, open, machine, evidence,
                 labels, opened, fired, changed)
             VALUES (?1 || '|', ?1, ?2, ?3, 'fleet', ?4, ?5, ?6, 1, ?7, ?8, '{}', ?9, ?9, ?9)",
            &[
                json!(rule),
                json!(kind),
                json!(model),
                json!(severity),
                json!(state),
                json!(rank),
                machine,
                evidence,
                json!(since),
            ],
        )
        .await;
    }
    for (alert, what, who, text) in [
        (1, "fired", "fleet", "two features"),
        (1, "told", "fleet", "fired to ops"),
        (2, "acknowledge", HOSTILE, HOSTILE),
    ] {
        run(
            pool,
            "INSERT INTO alert_event (alert, time, what, who, text) VALUES (?1, ?2, ?3, ?4, ?5)",
            &[json!(alert), json!(since), json!(what), json!(who), json!(text)],
        )
        .await;
    }
    for (n, state, attempts, last) in
        [(1, "delivered", 1, "answered 204"), (2, "dead", 1, "answered 404"), (3, "queued", 4, HOSTILE)]
    {
        run(
            pool,
            "INSERT INTO delivery (message, receiver, alert, what, body, state, attempts, due, queued, changed, last)
             VALUES ('msg_' || ?1, 'ops', 1, 'fired', '{}', ?2, ?3, ?4, ?4, ?4, ?5)",
            &[json!(n), json!(state), json!(attempts), json!(now), json!(last)],
        )
        .await;
    }
    run(
        pool,
        "INSERT INTO silence (matcher, until, who, why, created) VALUES (?1, ?2, 'ann', ?3, ?4)",
        &[json!({"rule": "latency", "cohort": HOSTILE}), json!(now + HOUR), json!(HOSTILE), json!(now)],
    )
    .await;
}

async fn rollouts(pool: &SqlitePool, now: u64) {
    let policy = shipped("careful").unwrap();
    let rows = [
        ("r-1", "1.0.0", None, "completed", "", 6 * DAY, Some(5 * DAY)),
        ("r-2", "1.1.0", Some("1.0.0"), "completed", "", 2 * DAY, Some(DAY)),
        ("r-3", "1.2.0", Some("1.1.0"), "paused", "gate: wave 1 failed: accuracy", 50 * MINUTE, None),
        ("r-4", "1.1.0", Some("1.0.0"), "planned", HOSTILE, 5 * MINUTE, None),
    ];
    for (id, version, previous, state, reason, ago, ended) in rows {
        run(
            pool,
            "INSERT INTO rollout (id, model, version, bundle, previous, generation, state, reason, policy, created,
             since, started, ended) VALUES (?1, 'meter-digits', ?2, ?3, ?4, 3, ?5, ?6, ?7, ?8, ?8, ?9, ?10)",
            &[
                json!(id),
                json!(version),
                json!(bundle(version)),
                previous.map_or(Value::Null, |p| json!(bundle(p))),
                json!(state),
                json!(reason),
                json!(policy),
                json!(now - ago),
                if state == "planned" { Value::Null } else { json!(now - ago + MINUTE) },
                ended.map_or(Value::Null, |e: u64| json!(now - e)),
            ],
        )
        .await;
        // As one that was planned before plans had a brief form.
        let plan = json!(plan_of(id, version, previous).text());
        run(pool, "INSERT INTO rollout_plan (rollout, plan) VALUES (?1, ?2)", &[json!(id), plan]).await;
    }
    let passed = verdict(
        Outcome::Pass,
        vec![gate("success", Outcome::Pass, 1.0, 0.95, "2 of 2 devices came up with it")],
    );
    let failed = verdict(
        Outcome::Fail,
        vec![
            gate("success", Outcome::Pass, 1.0, 0.95, "2 of 2 devices came up with it"),
            gate("rows", Outcome::Pass, 812.0, 500.0, "812 rows answered"),
            gate("failed_devices", Outcome::NotYet, 1.0, 3.0, "1 device failed in the whole rollout"),
            gate("accuracy", Outcome::Fail, 0.081, 0.02, HOSTILE),
        ],
    );
    for (wave, state, verdict) in [
        (0, "passed", json!(passed)),
        (1, "failed", json!(failed)),
        (2, "waiting", Value::Null),
        (3, "waiting", Value::Null),
    ] {
        let opened = if state == "waiting" { Value::Null } else { json!(now - 45 * MINUTE) };
        run(
            pool,
            "INSERT INTO rollout_wave (rollout, wave, state, since, opened, judged, verdict)
             VALUES ('r-3', ?1, ?2, 0, ?3, ?3, ?4)",
            &[json!(wave), json!(state), opened, verdict],
        )
        .await;
    }
    for n in 0..120usize {
        let (wave, state) = match n {
            0 | 1 => (0, "committed"),
            2 => (1, "probation"),
            3 => (1, "rolled_back"),
            4..16 => (2, "waiting"),
            _ => (3, "waiting"),
        };
        run(
            pool,
            "INSERT INTO rollout_device (rollout, device, wave, state, code, changed) VALUES ('r-3', ?1, ?2, ?3, ?4, ?5)",
            &[
                json!(format!("meter-{n:03}")),
                json!(wave),
                json!(state),
                if n == 3 { json!("probation.error_rate") } else { Value::Null },
                json!(now - 30 * MINUTE),
            ],
        )
        .await;
    }
    run(
        pool,
        "INSERT INTO rollout_device (rollout, device, wave, state, changed) VALUES ('r-4', 'meter-000', 0, 'waiting', ?1)",
        &[json!(now - 5 * MINUTE)],
    )
    .await;
    // It ran that version once, long before.
    run(
        pool,
        "INSERT INTO device_total (device, model, bundle, requests, rows, errors, labelled, correct, counters)
         SELECT 'meter-000', model, bundle, requests, rows, errors, labelled, correct, counters FROM device_total
         WHERE device = 'meter-050'",
        &[],
    )
    .await;
    for (i, text) in ["started by admin", "wave 0 opened", "wave 0 passed", "wave 1 opened", HOSTILE]
        .into_iter()
        .enumerate()
    {
        run(
            pool,
            "INSERT INTO rollout_event (rollout, time, code, text) VALUES ('r-3', ?1, 'rollout.step', ?2)",
            &[json!(now - 49 * MINUTE + i as u64 * MINUTE), json!(text)],
        )
        .await;
    }
}
