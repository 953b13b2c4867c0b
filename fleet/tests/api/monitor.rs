//! Counters by cohort and hour, verdicts, and what the API says of them.

use std::collections::BTreeSet;

use axum::http::StatusCode;
use longshore_bundle::Manifest;
use longshore_fleet::jobs::monitor::round;
use longshore_fleet::monitor;
use longshore_fleet::store::monitor::{DAY_MS, HOUR_MS, Merger};
use longshore_fleet::store::{Store, catalogue, device, ingest};
use longshore_fleet::tls::{DeviceCertificate, Validity};
use longshore_fleet_core::monitor::shape::LEVEL;
use longshore_fleet_core::monitor::{Cohort, Span, State};
use longshore_stats::counters::Answers;
use longshore_stats::profile::Column;
use longshore_stats::quality::calibration::ReferenceQuality;
use longshore_stats::quality::scores::ScoreTable;
use longshore_stats::window::Recorder;
use longshore_stats::{Counters, Profile};
use longshore_trust::{Digest, Seq, SigningKey, StreamId, TimeQuality, UnixMs};
use longshore_wire::v1::{self, Header, Window, WindowKey};
use proptest::prelude::*;
use serde_json::json;

use crate::support::Fleet;

/// Begin of an hour, long ago enough to be over.
const START: u64 = 1_795_400_000_000 / DAY_MS * DAY_MS;

/// A published version whose reference has `features` features of 2,000 rows.
struct Published {
    bundle: Digest,
    reference: Profile,
    model: &'static str,
}

fn reference(features: u32) -> Profile {
    let column =
        |f: u32| Column::Numeric((0..2000u32).map(|i| Some(f64::from((i * 7 + f) % 2000))).collect());
    let columns: Vec<_> = (0..features).map(|f| (format!("f{f}"), column(f))).collect();
    let mut p = Profile::of(&columns).unwrap();
    let rows: Vec<(usize, usize, f64)> = (0..1000).map(|i| (usize::from(i % 10 == 0), 0, 0.9)).collect();
    p.quality = ReferenceQuality::of(&rows, 2);
    p
}

async fn publish(fleet: &Fleet, model: &'static str, features: u32) -> Published {
    let reference = reference(features);
    let sha256 = fleet.app.objects.put(&reference.to_bytes()).await.unwrap();
    let file = |path: &str, role: &str, sha256: Digest| json!({ "path": path, "role": role, "sha256": sha256, "length": 9 });
    let other = Digest::of(model.as_bytes());
    let text = json!({
        "schema": 1, "model": model, "version": "1.0.0", "created": "2026-01-31T12:00:00Z",
        "files": [file("model.onnx", "model", other), file("golden.safetensors", "golden", other),
            file("reference.lsp", "reference", sha256)],
        "inputs": [{ "name": "x", "dtype": "FP32", "shape": ["N", features] }],
        "outputs": [{ "name": "y", "dtype": "FP32", "shape": ["N", 2] }],
        "batch": { "axis": 0, "max": 16 },
        "monitor": { "classes": ["no", "yes"], "score_output": "y", "cohorts": ["site"], "group": "region",
            "groups": ["north", "south"], "features": (0..features).map(|i| json!({ "name": format!("f{i}"), "input": "x",
            "index": i })).collect::<Vec<_>>() },
    })
    .to_string();
    let manifest = Manifest::parse(text.as_bytes()).unwrap();
    let bundle = Digest::of(text.as_bytes());
    let mut tx = fleet.app.store.write().await.unwrap();
    let name = model.parse().unwrap();
    catalogue::insert_draft(&mut tx, &name, "1.0.0", &bundle, &text, 9, UnixMs(1)).await.unwrap();
    monitor::store_shape(&mut tx, &fleet.app.objects, &bundle, &manifest).await.unwrap();
    tx.commit().await.unwrap();
    Published { bundle, reference, model }
}

async fn enrol(store: &Store, id: &str, site: Option<&str>) {
    let labels = site.map_or_else(|| "{}".into(), |s| json!({ "site": s, "hw": "cam" }).to_string());
    let new = device::NewDevice {
        id: id.parse().unwrap(),
        report_key: SigningKey::from_seed(&[1; 32]).public(),
        certificate: DeviceCertificate {
            pem: String::new(),
            sha256: Digest::of(id.as_bytes()),
            validity: Validity::starting(UnixMs(START), 3600),
        },
        serial: String::new(),
        labels,
    };
    let mut tx = store.write().await.unwrap();
    device::enrol(&mut tx, &new, UnixMs(START)).await.unwrap();
    tx.commit().await.unwrap();
}

fn header(fleet: &Fleet, device: &str, seq: u64) -> Header {
    Header {
        schema: v1::SCHEMA,
        fleet: fleet.app.fleet.clone(),
        device: device.parse().unwrap(),
        stream: StreamId(1),
        seq: Seq(seq),
        time: UnixMs(START),
        time_quality: TimeQuality::Ntp,
    }
}

/// Rows like the reference; feature 0 moved by `shift`.
fn counters(p: &Published, rows: u64, shift: f64, seed: u64) -> Counters {
    let mut c = Counters::with_classes(2);
    let mut recorder = Recorder::new(&p.reference, LEVEL);
    c.scores = vec![ScoreTable::default(); 2];
    let mut state = seed;
    for _ in 0..rows {
        let row: Vec<f64> = (0..p.reference.features.len())
            .map(|f| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                ((state >> 33) % 2000) as f64 + if f == 0 { shift } else { 0.0 }
            })
            .collect();
        recorder.numbers(&row);
        c.scores[0].insert(0.9);
        c.latency_us.insert(100.0 + (state >> 50) as f64 % 50.0);
    }
    (c.requests, c.rows) = (rows, rows);
    c.classes[0] = rows;
    c.profile = Some(recorder.take());
    c.groups.rows = rows;
    c.groups.answers = vec![Answers { rows: rows / 2, selected: rows / 4 }; 2];
    c
}

fn window(p: &Published, start: u64, counters: Counters) -> Window {
    let key = WindowKey {
        model: p.model.parse().unwrap(),
        bundle: p.bundle,
        start: UnixMs(start),
        end: UnixMs(start + 60_000),
    };
    Window { key, supplement: false, counters }
}

async fn send(fleet: &Fleet, device: &str, w: &Window, now: u64) -> bool {
    let mut tx = fleet.app.store.write().await.unwrap();
    let added = ingest::window(&mut tx, &header(fleet, device, 1), w, UnixMs(now)).await.unwrap();
    tx.commit().await.unwrap();
    added
}

fn day(from: u64) -> Span {
    Span { from: UnixMs(from), to: UnixMs(from + DAY_MS) }
}

/// Every stored sum, as bytes.
async fn bytes(store: &Store, p: &Published) -> Vec<(String, u64, Vec<u8>)> {
    let mut out = Vec::new();
    for cohort in store.cohorts_of(p.model, &p.bundle.to_hex()).await.unwrap() {
        let hours = store.hours_of(p.model, &p.bundle.to_hex(), &cohort, day(START)).await.unwrap();
        out.extend(
            hours.iter().map(|h| (cohort.to_string(), h.from.0, ingest::encode_counters(&h.counters))),
        );
    }
    out
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(6))]
    #[test]
    fn in_whatever_order_windows_come_and_however_they_are_batched_the_sums_are_the_same_bytes(
        windows in prop::collection::vec((0usize..4, 0u64..5, 1u64..40, any::<u64>()), 1..24),
        cuts in prop::collection::vec(1usize..6, 24),
        order in any::<u64>(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut found = Vec::new();
            for turn in 0..2 {
                let fleet = Fleet::new().await;
                let p = publish(&fleet, "m", 2).await;
                for (id, site) in [("a", Some("ams")), ("b", Some("rtm")), ("c", None), ("d", Some("ams"))] {
                    enrol(&fleet.app.store, id, site).await;
                }
                let mut list: Vec<_> = windows.iter().enumerate().collect();
                if turn == 1 {
                    list.sort_by_key(|(i, _)| (*i as u64 + 1).wrapping_mul(order | 1).rotate_left(17));
                }
                let mut cuts = cuts.iter().cycle();
                let mut rest = list.as_slice();
                while !rest.is_empty() {
                    let (batch, after) = rest.split_at((*cuts.next().unwrap()).min(rest.len()));
                    rest = after;
                    let mut tx = fleet.app.store.write().await.unwrap();
                    let mut merger = Merger::default();
                    for (_, (device, hour, rows, seed)) in batch {
                        let id = ["a", "b", "c", "d"][*device];
                        let w = window(&p, START + hour * HOUR_MS, counters(&p, *rows, 0.0, *seed));
                        let (from, now) = (header(&fleet, id, 1), UnixMs(START + DAY_MS));
                        let added = ingest::add_window(&mut tx, &mut merger, &from, &w, now).await;
                        prop_assert!(added.unwrap());
                    }
                    merger.write(&mut tx, UnixMs(START + DAY_MS)).await.unwrap();
                    tx.commit().await.unwrap();
                }
                let all = bytes(&fleet.app.store, &p).await;
                let merged = fleet.app.store.hours_merged("m", &p.bundle.to_hex(), day(START)).await.unwrap();
                let rows: u64 = windows.iter().map(|w| w.2).sum();
                prop_assert_eq!(merged.cohorts[&Cohort::Fleet].rows, rows);
                let of = |labels: bool| merged.cohorts.iter()
                    .filter(|(c, _)| matches!(c, Cohort::Labels(_)) == labels && !c.is_fleet())
                    .map(|(_, c)| c.rows).sum::<u64>();
                prop_assert_eq!((of(true), of(false)), (rows, rows), "each row once by label and once by hardware");
                // The same sums after they were coarsened.
                let before = ingest::encode_counters(&merged.cohorts[&Cohort::Fleet]);
                let mut tx = fleet.app.store.write().await.unwrap();
                let hours = longshore_fleet::store::monitor::coarsen(&mut tx, UnixMs(START + DAY_MS)).await.unwrap();
                tx.commit().await.unwrap();
                prop_assert_eq!(hours as usize, all.len());
                let days = fleet.app.store.hours_merged("m", &p.bundle.to_hex(), day(START)).await.unwrap();
                prop_assert_eq!(ingest::encode_counters(&days.cohorts[&Cohort::Fleet]), before);
                found.push(all);
            }
            prop_assert_eq!(&found[0], &found[1]);
            Ok(())
        })?;
    }
}

#[tokio::test]
async fn a_lying_device_poisons_nothing_and_blocks_nobody() {
    let fleet = Fleet::new().await;
    let p = publish(&fleet, "m", 3).await;
    let other = Published { bundle: p.bundle, reference: reference(4), model: "m" };
    for id in ["liar", "honest"] {
        enrol(&fleet.app.store, id, Some("ams")).await;
    }
    let honest = counters(&p, 50, 0.0, 1);
    let mut narrow = honest.clone();
    narrow.profile.as_mut().unwrap().features[1].counts.pop();
    let mut groups = honest.clone();
    groups.groups.answers.push(Answers { rows: 1, selected: 1 });
    let mut scores = honest.clone();
    scores.scores.pop();
    let mut regression = honest.clone();
    regression.regression = longshore_stats::quality::regression::ErrorTable::new(1.0);
    let mut huge = honest.clone();
    huge.groups.outcomes.groups =
        vec![
            longshore_stats::quality::fairness::Outcomes { true_positive: u64::MAX, ..Default::default() };
            2
        ];
    let lies = [
        ("another reference", counters(&other, 50, 0.0, 1)),
        ("a narrow feature", narrow),
        ("three groups", groups),
        ("one table of scores", scores),
        ("errors of a regression", regression),
        ("no count is so large", huge),
        ("three classes", Counters::with_classes(3)),
    ];
    for (what, lie) in lies {
        assert!(!send(&fleet, "liar", &window(&p, START, lie), START).await, "{what}");
    }
    assert!(send(&fleet, "honest", &window(&p, START, honest.clone()), START).await);
    let hour =
        fleet.app.store.cohort_merged("m", &p.bundle.to_hex(), &Cohort::Fleet, day(START)).await.unwrap();
    assert_eq!(hour, honest);
    // An hour that is to come, and windows without anything in them.
    assert!(send(&fleet, "liar", &window(&p, START + 9 * DAY_MS, Counters::default()), START).await);
    let later =
        fleet.app.store.hours_of("m", &p.bundle.to_hex(), &Cohort::Fleet, day(START + DAY_MS)).await.unwrap();
    assert!(later.is_empty(), "no hour is to come");
}

#[tokio::test]
async fn a_device_that_changes_its_labels_all_the_time_does_not_use_up_the_cohorts() {
    let fleet = Fleet::new().await;
    let p = publish(&fleet, "m", 1).await;
    enrol(&fleet.app.store, "usual", Some("ams")).await;
    for i in 0..30 {
        enrol(&fleet.app.store, "liar", Some(&format!("site-{i}"))).await;
        assert!(send(&fleet, "liar", &window(&p, START, counters(&p, 10, 0.0, i)), START).await);
    }
    assert!(send(&fleet, "usual", &window(&p, START, counters(&p, 10, 0.0, 99)), START).await);
    let found = fleet.app.store.hours_merged("m", &p.bundle.to_hex(), day(START)).await.unwrap().cohorts;
    assert!(found.len() <= 12, "{:?}", found.keys().collect::<Vec<_>>());
    assert_eq!(found[&Cohort::Other].rows, 220, "what is too much is counted together");
    assert_eq!(found[&"site=ams".parse().unwrap()].rows, 10);
    assert_eq!(found[&Cohort::Fleet].rows, 310);
}

#[tokio::test]
async fn verdicts_are_made_on_schedule_and_an_hour_is_judged_again_when_late_rows_come() {
    let fleet = Fleet::new().await;
    let (p, q) = (publish(&fleet, "m", 3).await, publish(&fleet, "other", 2).await);
    let now = START + 20 * HOUR_MS;
    for (id, site) in [("a", "ams"), ("b", "rtm"), ("c", "rtm")] {
        enrol(&fleet.app.store, id, Some(site)).await;
    }
    for (i, (id, shift)) in [("a", 500.0), ("b", 0.0), ("c", 0.0)].into_iter().enumerate() {
        for hour in 0..3 {
            let c = counters(&p, 700, shift, 10 * i as u64 + hour);
            assert!(send(&fleet, id, &window(&p, now - hour * HOUR_MS, c), now).await);
        }
        assert!(send(&fleet, id, &window(&q, now, counters(&q, 900, 0.0, 7 + i as u64)), now).await);
    }
    round(&fleet.app, UnixMs(0), UnixMs(now + 1)).await.unwrap();
    let store = &fleet.app.store;
    let ams: Cohort = "site=ams".parse().unwrap();
    let rows = store.drift_current(Some("m"), None, Some(&ams)).await.unwrap();
    assert_eq!(
        rows.iter().map(|r| r.state).collect::<Vec<_>>(),
        [State::Drifted, State::Stable, State::Stable]
    );
    assert_eq!((rows[0].n, rows[0].n_reference), (2100, 2000));
    assert!(rows[0].effect.unwrap().lo > 0.02 && rows[0].p_adjusted.unwrap() < 1e-9);
    let cohorts: BTreeSet<String> = store
        .drift_current(Some("m"), None, None)
        .await
        .unwrap()
        .iter()
        .map(|r| r.cohort.to_string())
        .collect();
    assert_eq!(cohorts.into_iter().collect::<Vec<_>>(), ["fleet", "hw:cam", "site=ams", "site=rtm"]);
    let drifted = store.drift_in_state(State::Drifted, 10).await.unwrap();
    assert!(drifted.iter().all(|r| r.feature == "f0" && r.model.as_str() == "m"), "{drifted:?}");
    assert_eq!(drifted[0].cohort, ams, "the largest effect comes first");
    let quality = store.quality_current(Some("m"), None, Some(&Cohort::Fleet)).await.unwrap();
    assert_eq!((quality[0].rows, quality[0].latency.unwrap().p99.n), (6300, 6300));

    let bundle = p.bundle.to_hex();
    let cells = store.cells_of("m", &bundle, &ams, day(START)).await.unwrap();
    assert_eq!((cells.len(), cells[0].cells.len(), cells[0].cells[0].n), (3, 3, 700));
    assert_eq!(cells[0].cells[0].state, State::Drifted);
    // Nothing new: nothing is judged again. A late window: its hour is.
    assert!(store.hours_to_judge(UnixMs(0), 100).await.unwrap().is_empty());
    let late = window(&p, now - 2 * HOUR_MS, counters(&p, 5000, 0.0, 3));
    assert!(send(&fleet, "a", &late, now + 5).await);
    assert_eq!(store.hours_to_judge(UnixMs(now), 100).await.unwrap().len(), 1);
    round(&fleet.app, UnixMs(now), UnixMs(now + 6)).await.unwrap();
    let cells = store.cells_of("m", &bundle, &ams, day(START)).await.unwrap();
    assert_eq!((cells[0].cells[0].n, cells[1].cells[0].n), (5700, 700));
    // A day on, the rows are out of the span and nobody runs it: there is no present verdict, but its history.
    round(&fleet.app, UnixMs(now), UnixMs(now + 2 * DAY_MS)).await.unwrap();
    assert!(store.drift_current(None, None, None).await.unwrap().is_empty());
    assert_eq!(store.cells_of("m", &bundle, &ams, day(START)).await.unwrap().len(), 3);
    // A month on, hours are days, whose verdicts are made anew.
    round(&fleet.app, UnixMs(now), UnixMs(now + 40 * DAY_MS)).await.unwrap();
    round(&fleet.app, UnixMs(0), UnixMs(now + 40 * DAY_MS)).await.unwrap();
    let cells = store.cells_of("m", &bundle, &ams, day(START)).await.unwrap();
    assert_eq!((cells.len(), cells[0].hours, cells[0].cells[0].n), (1, 24, 7100));
}

#[tokio::test]
async fn the_api_answers_by_cohort_and_span() {
    let fleet = Fleet::new().await;
    let p = publish(&fleet, "m", 3).await;
    let now = longshore_fleet::app::now().0;
    for (i, (id, site, shift)) in
        [("a", "ams", 500.0), ("b", "rtm", 0.0), ("c", "rtm", 0.0)].into_iter().enumerate()
    {
        enrol(&fleet.app.store, id, Some(site)).await;
        let mut c = counters(&p, 2000, shift, i as u64);
        c.confusion = vec![90, 0, 10, 0];
        assert!(send(&fleet, id, &window(&p, now, c), now).await);
    }
    let path = "/models/m/versions/1.0.0";
    let all = fleet.get(&format!("{path}/drift?cohort=all&limit=4")).await;
    assert_eq!(all.status, StatusCode::OK, "{}", all.json);
    assert_eq!(all.json["items"].as_array().unwrap().len(), 4);
    assert_eq!((all.json["next"].as_str(), &all.json["alpha"]), (Some("4"), &json!(0.01)));
    assert_eq!(all.json["items"][0]["cohort"], "site=ams");
    assert_eq!(all.json["states"]["drifted"], 3, "fleet, hardware and site: {}", all.json);
    let fleet_only = fleet.get(&format!("{path}/drift?span=7d")).await.json;
    assert_eq!(fleet_only["to"].as_u64().unwrap() - fleet_only["from"].as_u64().unwrap(), 7 * DAY_MS);
    assert_eq!(fleet_only["items"].as_array().unwrap().len(), 3);

    let close = fleet.get(&format!("{path}/drift/f0?cohort=site%3Dams")).await;
    assert_eq!(close.status, StatusCode::OK, "{}", close.json);
    assert_eq!(close.json["verdict"]["state"], "drifted");
    assert!(
        close.json["ks"]["lo"].as_f64().unwrap() > 0.1 && close.json["w1"]["hi"].as_f64().unwrap() < 600.0
    );
    let sums = |key: &str| {
        close.json["bins"].as_array().unwrap().iter().map(|b| b[key].as_u64().unwrap()).sum::<u64>()
    };
    assert_eq!((sums("reference"), sums("current")), (2000, 2000));
    let axes: Vec<String> = close.json["comparison"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| {
            format!(
                "{} {} {}",
                c["axis"].as_str().unwrap(),
                c["cohort"].as_str().unwrap(),
                c["state"].as_str().unwrap()
            )
        })
        .collect();
    assert_eq!(axes[0], "itself site=ams drifted");
    assert!(
        axes.contains(&"other_site site=rtm stable".to_owned())
            && axes.contains(&"hardware hw:cam drifted".to_owned()),
        "{axes:?}"
    );
    let whole = fleet.get(&format!("{path}/drift/f0")).await.json;
    assert_eq!(
        (&whole["devices"][0]["device"], &whole["devices"][0]["state"]),
        (&json!("a"), &json!("drifted"))
    );
    assert_eq!(whole["devices"].as_array().unwrap().len(), 3);

    let quality = fleet.get(&format!("{path}/quality?cohort=site%3Drtm")).await.json;
    assert_eq!(quality["quality"]["accuracy"]["n"], 200, "{quality}");
    assert_eq!(quality["quality"]["estimated"]["state"], "estimable");
    let refused = fleet.get(&format!("{path}/quality?cohort=site%3Dams")).await.json;
    assert!(
        refused["quality"]["estimated"]["reason"].as_str().unwrap().contains("not estimable"),
        "{refused}"
    );
    let fairness = fleet.get(&format!("{path}/fairness")).await.json;
    assert_eq!(fairness["fairness"]["groups"][0]["group"], "north");
    let cohorts = fleet.get(&format!("{path}/cohorts")).await.json;
    assert_eq!(
        (cohorts["items"].as_array().unwrap().len(), &cohorts["declared"][0], &cohorts["overflow"]),
        (4, &json!("site"), &json!(false))
    );

    for (path, status, code) in [
        (
            "/models/m/versions/1.0.0/drift?cohort=nonsense",
            StatusCode::UNPROCESSABLE_ENTITY,
            "cohort.invalid",
        ),
        ("/models/m/versions/1.0.0/drift?cohort=site%3Dmars", StatusCode::NOT_FOUND, "cohort.unknown"),
        ("/models/m/versions/1.0.0/drift?span=soon", StatusCode::UNPROCESSABLE_ENTITY, "span.invalid"),
        ("/models/m/versions/1.0.0/drift?from=5&to=5", StatusCode::UNPROCESSABLE_ENTITY, "span.invalid"),
        ("/models/m/versions/1.0.0/drift?cursor=x", StatusCode::UNPROCESSABLE_ENTITY, "page.cursor"),
        ("/models/m/versions/1.0.0/drift/nothing", StatusCode::NOT_FOUND, "feature.unknown"),
        ("/models/m/versions/9.0.0/drift", StatusCode::NOT_FOUND, "version.unknown"),
        ("/models/m/versions/1.0.0/quality?cohort=all", StatusCode::UNPROCESSABLE_ENTITY, "cohort.invalid"),
    ] {
        let answer = fleet.get(path).await;
        assert_eq!(
            (answer.status, answer.json["code"].as_str()),
            (status, Some(code)),
            "{path}: {}",
            answer.json
        );
    }
    let metrics = {
        round(&fleet.app, UnixMs(0), UnixMs(now + 1)).await.unwrap();
        monitor::metrics(&fleet.app.store).await.unwrap()
    };
    for line in [
        "longshore_model_rows{model=\"m\",version=\"1.0.0\"} 6000",
        "longshore_model_accuracy{model=\"m\",version=\"1.0.0\"} 0.9",
        "longshore_drift_features{model=\"m\",version=\"1.0.0\",state=\"drifted\"} 1",
        "longshore_drift_drifted{model=\"m\",version=\"1.0.0\",feature=\"f0\"} 1",
    ] {
        assert!(metrics.contains(line), "{line}\n{metrics}");
    }
}

#[tokio::test]
async fn shapes_of_bundles_that_were_there_before_are_made_at_the_start() {
    let fleet = Fleet::new().await;
    fleet.release("1.0.0", 1, &[]).await;
    assert_eq!(monitor::store_missing_shapes(&fleet.app.store, &fleet.app.objects).await.unwrap(), 1);
    assert_eq!(monitor::store_missing_shapes(&fleet.app.store, &fleet.app.objects).await.unwrap(), 0);
}
