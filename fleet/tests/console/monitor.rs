//! Drift, quality and fairness as people see them.

use axum::http::StatusCode;
use longshore_bundle::Manifest;
use longshore_fleet::app::{App, now};
use longshore_fleet::jobs::monitor::round;
use longshore_fleet::monitor::store_shape;
use longshore_fleet::store::monitor::{Cell, HOUR_MS, JudgedVersion, UnjudgedHour, put_cells};
use longshore_fleet::store::{catalogue, device, ingest};
use longshore_fleet::tls::{DeviceCertificate, Validity};
use longshore_fleet_core::monitor::shape::LEVEL;
use longshore_fleet_core::monitor::{Cohort, State};
use longshore_stats::counters::Answers;
use longshore_stats::profile::Column;
use longshore_stats::quality::calibration::ReferenceQuality;
use longshore_stats::quality::fairness::Outcomes;
use longshore_stats::quality::scores::{LabelledScores, ScoreTable};
use longshore_stats::window::Recorder;
use longshore_stats::{Counters, Profile};
use longshore_trust::{Digest, Seq, SigningKey, StreamId, TimeQuality, UnixMs};
use longshore_wire::v1::{self, Header, Window, WindowKey};
use serde_json::json;

use crate::app::Server;
use crate::browser::Browser;
use crate::fill::HOSTILE;
use crate::pages::{holds_the_policy, is_well_made};

/// A version that is watched, and devices that send rows of it.
struct Watched<'a> {
    app: &'a App,
    bundle: Digest,
    reference: Profile,
}

impl<'a> Watched<'a> {
    /// Names of features are those of an author who means harm.
    async fn new(app: &'a App, features: u32) -> Self {
        let column =
            |f: u32| Column::Numeric((0..1000u32).map(|i| Some(f64::from((i * 7 + f) % 1000))).collect());
        let name = |f: u32| if f == 0 { HOSTILE.to_owned() } else { format!("feature {f}") };
        let columns: Vec<_> = (0..features).map(|f| (name(f), column(f))).collect();
        let mut reference = Profile::of(&columns).unwrap();
        let rows: Vec<(usize, usize, f64)> = (0..1000).map(|i| (usize::from(i % 10 == 0), 0, 0.9)).collect();
        reference.quality = ReferenceQuality::of(&rows, 2);
        let sha256 = app.objects.put(&reference.to_bytes()).await.unwrap();
        let file = |path: &str, role: &str, sha256: Digest| json!({ "path": path, "role": role, "sha256": sha256, "length": 9 });
        let other = Digest::of(b"model");
        let text = json!({
            "schema": 1, "model": "lock", "version": "2.0.0", "created": "2026-01-31T12:00:00Z",
            "files": [file("model.onnx", "model", other), file("golden.safetensors", "golden", other),
                file("reference.lsp", "reference", sha256)],
            "inputs": [{ "name": "x", "dtype": "FP32", "shape": ["N", features] }],
            "outputs": [{ "name": "y", "dtype": "FP32", "shape": ["N", 2] }],
            "batch": { "axis": 0, "max": 16 },
            "monitor": { "classes": ["shut", "open"], "score_output": "y", "cohorts": ["site"], "group": "region",
                "groups": ["north", "south"], "features": (0..features).map(|i| json!({ "name": name(i), "input": "x",
                "index": i })).collect::<Vec<_>>() },
        })
        .to_string();
        let manifest = Manifest::parse(text.as_bytes()).unwrap();
        let bundle = Digest::of(text.as_bytes());
        let mut tx = app.store.write().await.unwrap();
        catalogue::insert_draft(&mut tx, &manifest.model, "2.0.0", &bundle, &text, 9, UnixMs(1))
            .await
            .unwrap();
        store_shape(&mut tx, &app.objects, &bundle, &manifest).await.unwrap();
        tx.commit().await.unwrap();
        Self { app, bundle, reference }
    }
    async fn device(&self, id: &str, site: &str) {
        let new = device::NewDevice {
            id: id.parse().unwrap(),
            report_key: SigningKey::from_seed(&[1; 32]).public(),
            certificate: DeviceCertificate {
                pem: String::new(),
                sha256: Digest::of(id.as_bytes()),
                validity: Validity::starting(now(), 3600),
            },
            serial: String::new(),
            labels: json!({ "site": site, "hw": "cam" }).to_string(),
        };
        let mut tx = self.app.store.write().await.unwrap();
        device::enrol(&mut tx, &new, now()).await.unwrap();
        tx.commit().await.unwrap();
    }
    fn counters(&self, rows: u64, shift: f64, seed: u64) -> Counters {
        let mut c = Counters::with_classes(2);
        let mut recorder = Recorder::new(&self.reference, LEVEL);
        c.scores = vec![ScoreTable::default(); 2];
        c.judged = vec![LabelledScores::default(); 2];
        let mut state = seed;
        for i in 0..rows {
            let row: Vec<f64> = (0..self.reference.features.len())
                .map(|f| {
                    state =
                        state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    ((state >> 33) % 1000) as f64 + if f == 0 { shift } else { 0.0 }
                })
                .collect();
            recorder.numbers(&row);
            c.scores[0].insert(0.9);
            c.judged[0].insert(0.9, i % 10 != 0);
            c.latency_us.insert(900.0 + (state >> 50) as f64 % 80.0);
        }
        (c.requests, c.rows) = (rows, rows);
        c.classes[0] = rows;
        c.confusion = vec![rows - rows / 10, 0, rows / 10, 0];
        c.profile = Some(recorder.take());
        c.groups.rows = rows;
        c.groups.labelled = rows;
        c.groups.answers = vec![Answers { rows: rows / 2 - 3, selected: rows / 4 }; 2];
        c.groups.outcomes.groups = vec![
            Outcomes {
                true_positive: rows / 4,
                false_positive: 2,
                false_negative: 9,
                true_negative: rows / 8,
            },
            Outcomes {
                true_positive: rows / 8,
                false_positive: 9,
                false_negative: 30,
                true_negative: rows / 8,
            },
        ];
        c
    }
    async fn send(&self, device: &str, at: u64, counters: Counters) {
        let header = Header {
            schema: v1::SCHEMA,
            fleet: self.app.fleet.clone(),
            device: device.parse().unwrap(),
            stream: StreamId(1),
            seq: Seq(1),
            time: now(),
            time_quality: TimeQuality::Ntp,
        };
        let key = WindowKey {
            model: "lock".parse().unwrap(),
            bundle: self.bundle,
            start: UnixMs(at),
            end: UnixMs(at + 60_000),
        };
        let mut tx = self.app.store.write().await.unwrap();
        let w = Window { key, supplement: false, counters };
        assert!(ingest::window(&mut tx, &header, &w, now()).await.unwrap());
        tx.commit().await.unwrap();
    }
}

/// Five devices on two sites; on one of them a feature has moved for three hours.
async fn with_drift(server: &Server) {
    let watched = Watched::new(&server.app, 4).await;
    let at = now().0;
    for (i, (id, site)) in
        [("d1", "ams"), ("d2", "ams"), ("d3", "rtm"), ("d4", "rtm"), ("d5", "rtm")].into_iter().enumerate()
    {
        watched.device(id, site).await;
        for hour in 0..6 {
            let shift = if site == "ams" && hour < 3 { 300.0 } else { 0.0 };
            let c = watched.counters(400, shift, 100 * i as u64 + hour);
            watched.send(id, at - hour * HOUR_MS, c).await;
        }
    }
    round(&server.app, UnixMs(0), now()).await.unwrap();
}

#[tokio::test]
async fn a_stranger_reads_what_changed_how_sure_we_are_and_what_to_do() {
    let server = Server::empty().await;
    with_drift(&server).await;
    let browser = Browser::signed_in(&server).await;
    let map = "/drift/lock/2.0.0";
    let hostile =
        "%3Cscript%3Ealert%28%27x%27%29%3C%2Fscript%3E%22%3E%3Cimg%20src%3Dx%20onerror%3Dalert%281%29%3E";
    let feature = format!("{map}/{hostile}?cohort=site%3Dams");
    let pages = [
        "/drift".to_owned(),
        map.to_owned(),
        format!("{map}?cohort=site%3Dams&hours=168"),
        format!("{map}?hours=720"),
        format!("{map}?cohort=site%3Dmars&page=99&cohorts=99&hours=5"),
        feature.clone(),
        format!("{map}/feature%201"),
        "/models/lock/2.0.0".to_owned(),
        "/models/lock/2.0.0/quality".to_owned(),
        "/models/lock/2.0.0/quality?cohort=hw%3Acam".to_owned(),
        "/models/lock/2.0.0/fairness".to_owned(),
        "/models/lock/2.0.0/fairness?cohort=nonsense".to_owned(),
    ];
    for path in &pages {
        let page = browser.get(path).await;
        is_well_made(path, &page);
        holds_the_policy(path, &page);
    }
    let overview = browser.get("/drift").await.text;
    assert!(overview.contains("lock 2.0.0") && overview.contains("badge bad"), "{overview}");
    let text = browser.get(&format!("{map}?cohort=site%3Dams")).await.text;
    for part in
        ["drifted, PSI ", ", 800 rows", "no rows", "badge ok", "4 monitored features in site=ams", "Cohorts"]
    {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(text.find("alert(").unwrap() < text.find("feature 1").unwrap(), "the largest effect comes first");
    let text = browser.get(&feature).await.text;
    for part in [
        "The difference from the reference is neither chance nor small.",
        "Same model in other cohorts: 1 of 2 drifted.",
        "next training",
        "KS distance, guaranteed",
        "4,800, 1,000",
        "<svg class=\"hist\"",
        "The numbers behind the chart",
        "hardware cam",
        "/devices/d1",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let text = browser.get("/models/lock/2.0.0/quality").await.text;
    for part in [
        "90.0 % (",
        "12,000 labelled rows",
        "not estimable: ",
        "Calibration error",
        "Latency p99",
        "What is taken for what",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let text = browser.get("/models/lock/2.0.0/quality?cohort=site%3Drtm").await.text;
    assert!(text.contains("no concept drift") && text.contains("from the scores of 7,200 rows"), "{text}");
    let text = browser.get("/models/lock/2.0.0/fairness").await.text;
    for part in [
        "parity difference",
        "Rows held on devices",
        "north",
        "disparate impact",
        "all pairs of groups together",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    for path in [
        "/drift/lock/9.0.0",
        "/drift/lock/2.0.0/nothing",
        "/models/lock/9/quality",
        "/models/none/1/fairness",
    ] {
        assert_eq!(browser.get(path).await.status, StatusCode::NOT_FOUND, "{path}");
    }
}

#[tokio::test]
async fn empty_pages_teach_what_to_do() {
    let server = Server::filled().await;
    let browser = Browser::signed_in(&server).await;
    assert!(browser.get("/drift").await.text.contains("bundle build"));
    let quality = browser.get("/models/meter-digits/1.1.0/quality").await.text;
    assert!(quality.contains("longshore models quality"), "{quality}");
    let fairness = browser.get("/models/meter-digits/1.1.0/fairness").await.text;
    assert!(fairness.contains("declared, never inferred"), "{fairness}");
}

#[tokio::test]
async fn a_week_of_256_features_is_paged() {
    let server = Server::empty().await;
    let watched = Watched::new(&server.app, 256).await;
    watched.device("d1", "ams").await;
    let at = now().0;
    let of = JudgedVersion { model: "lock".into(), bundle: watched.bundle.to_hex() };
    watched.send("d1", at, watched.counters(200, 0.0, 1)).await;
    round(&server.app, UnixMs(0), now()).await.unwrap();
    let cell = Cell { state: State::Drifted, effect: 0.3, p_adjusted: 0.001, n: 900 };
    let mut tx = server.app.store.write().await.unwrap();
    for hour in 1..168 {
        let hour = UnjudgedHour {
            of: of.clone(),
            hour: at / HOUR_MS * HOUR_MS - hour * HOUR_MS,
            hours: 1,
            changed: 0,
        };
        put_cells(&mut tx, &hour, &Cohort::Fleet, &[cell; 256], now()).await.unwrap();
    }
    tx.commit().await.unwrap();
    let browser = Browser::signed_in(&server).await;
    let mut features = 0;
    let mut next = Some("/drift/lock/2.0.0?hours=168".to_owned());
    while let Some(path) = next {
        let page = browser.get(&path).await;
        is_well_made(&path, &page);
        let cells = page.text.matches("<td class=\"h ").count();
        assert!(cells <= 24 * 168 && cells.is_multiple_of(168), "{cells}");
        assert!(page.text.len() < 1_500_000, "{} bytes", page.text.len());
        features += cells / 168;
        let to = page.text.split("rel=\"next\" href=\"").nth(1).and_then(|t| t.split('"').next());
        next = to.map(|t| t.replace("&#38;", "&").replace("&amp;", "&"));
    }
    assert_eq!(features, 256);
}
