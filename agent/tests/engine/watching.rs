//! What the engine counts of requests besides their answers, in the page that the supervisor made.

use longshore_agent::engine::protocol::FromEngine;
use longshore_bundle::{DType, Role, Tensor};
use longshore_stats::nesting::Level;
use longshore_stats::profile::{Categories, FeatureValues};
use longshore_stats::quality::attribution::AttributionTable;
use longshore_stats::{Profile, Recorder};
use longshore_trust::Digest;
use serde_json::json;

use crate::rig::{AMPLE, Bundle, Engine, binary_request, digits, json_request, trial, watched_digits};

const INFER: &str = "/v2/models/meter-digits/infer";

fn reference(bundle: &Bundle) -> Profile {
    let path = bundle.manifest.file(Role::Reference).unwrap().path.as_str();
    Profile::from_bytes(&bundle.files.iter().find(|(p, _)| p == path).unwrap().1).unwrap()
}

#[test]
fn features_scores_and_groups_of_answered_rows_are_counted() {
    let (engine, bundle) = (Engine::start(), watched_digits());
    let (load, page) = engine.load(&bundle);
    engine.activate(load);
    let mut client = engine.client();
    let infer = |client: &mut crate::http::Client<_>, rows: &Tensor, group: serde_json::Value| {
        client.post(INFER, &json_request(rows, &json!({ "parameters": { "group": group } }))).status
    };
    let good = bundle.rows(0, 3);
    assert_eq!(infer(&mut client, &good, json!("south")), 200);
    assert_eq!(infer(&mut client, &good, json!(["north", "east", "south"])), 200);
    // A row far outside of what the model was made for is answered, and counted as that.
    let strange = Tensor { data: vec![0x7e; 64 * 4], shape: vec![1, 64], ..good.clone() };
    assert_eq!((strange.dtype, strange.number(0).unwrap() > 1e37), (DType::Fp32, true));
    assert_eq!(client.post(INFER, &json_request(&strange, &json!({}))).status, 200);
    assert_eq!(infer(&mut client, &good, json!(["north", "south"])), 400, "two groups for three rows");

    let c = page.snapshot().unwrap();
    let mut recorder = Recorder::new(&reference(&bundle), Level::Bins32);
    for tensor in [&good, &good, &strange] {
        let values: Vec<f64> = tensor.values().collect();
        values.chunks(64).for_each(|row| recorder.numbers(row));
    }
    let want = recorder.take();
    assert_eq!(want.features.len(), 64);
    assert_eq!(c.profile, Some(want));
    assert_eq!((c.rows, c.errors), (7, 3));
    assert_eq!(c.scores.len(), 10);
    assert_eq!(c.scores.iter().map(|t| t.rows() + t.invalid).sum::<u64>(), c.classes.iter().sum::<u64>());
    assert_eq!(
        (c.groups.rows, c.groups.undeclared),
        (5, 2),
        "east was not declared, and one row said nothing"
    );
    assert_eq!(c.groups.answers.iter().map(|a| a.rows).collect::<Vec<_>>(), [1, 4]);
    let digit_one = c.groups.answers.iter().map(|a| a.selected).sum::<u64>();
    assert!(digit_one <= c.classes[1]);
}

#[test]
fn what_is_not_a_number_is_counted_before_it_is_refused() {
    let (engine, bundle) = (Engine::start(), watched_digits());
    let (load, page) = engine.load(&bundle);
    engine.activate(load);
    let (mut body, length) = binary_request(&bundle.rows(0, 2), &json!({}));
    let last = body.len() - 4;
    body[last..].copy_from_slice(&f32::NAN.to_le_bytes());
    let length = length.to_string();
    let headers = [("Inference-Header-Content-Length", length.as_str())];
    let r = engine.client().send("POST", INFER, &headers, &body).unwrap();
    assert_eq!(r.status, 400);
    assert!(r.error().contains("`pixels`: data: holds NaN"), "{}", r.error());
    let c = page.snapshot().unwrap();
    let seen = c.profile.unwrap();
    assert_eq!((c.requests, c.rows, c.errors), (1, 0, 2));
    assert_eq!((seen.rows, seen.features[63].nan, seen.features[63].counted()), (2, 1, 1));
    assert_eq!(seen.features[0].counted(), 2);
}

#[test]
fn answers_are_explained_beside_the_requests() {
    let (engine, bundle) = (Engine::start(), watched_digits());
    let (load, page) = engine.load(&bundle);
    engine.activate(load);
    assert_eq!(engine.client().post(INFER, &json_request(&bundle.rows(0, 2), &json!({}))).status, 200);
    let mut sum = AttributionTable::new(64);
    while sum.rows + sum.failed < 2 {
        match engine.event() {
            FromEngine::Explained { load: of, table } => {
                assert_eq!(of, load);
                sum.merge(&table).unwrap();
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((sum.rows, sum.failed), (2, 0));
    let (mean, shares) = (sum.mean().unwrap(), sum.shares().unwrap());
    assert!(mean.iter().any(|m| *m != 0.0) && shares.iter().filter(|s| **s > 0.0).count() > 5, "{shares:?}");
    // What was run to explain is no answer.
    assert_eq!(page.snapshot().unwrap().rows, 2);
    // A pixel that is the same in all of the reference, and so in its median and here, did nothing.
    let reference = reference(&bundle);
    let first = bundle.rows(0, 2);
    for (i, f) in reference.features.iter().enumerate() {
        let middle = f.values.middle().unwrap();
        if (0..2).all(|row| first.number(row * 64 + i) == Some(middle)) {
            // Runs of several rows are rounded by where in the run a row is.
            assert!(mean[i].abs() < 1e-6, "{}: {}", f.name, mean[i]);
        }
    }
}

#[test]
fn a_request_can_ask_why() {
    let (engine, bundle) = (Engine::start(), watched_digits());
    let (load, _page) = engine.load(&bundle);
    engine.activate(load);
    let mut client = engine.client();
    let why = json!({ "parameters": { "explain": true } });
    let rows = bundle.rows(0, 2);
    let answer = client.post(INFER, &json_request(&rows, &why));
    assert_eq!(answer.status, 200, "{answer:?}");
    let said = answer.json()["parameters"]["attributions"].clone();
    assert_eq!(said["features"].as_array().unwrap().len(), 64);
    assert!(said["method"].as_str().unwrap().contains("Shapley") && said["baseline"].is_string());
    // The parts of a row add up to what its score differs by from that of the medians.
    let medians: Vec<f32> =
        reference(&bundle).features.iter().map(|f| f.values.middle().unwrap() as f32).collect();
    let scores = |r: &crate::http::Response| -> Vec<f64> {
        let outputs = r.json()["outputs"].as_array().unwrap().clone();
        let output = outputs.iter().find(|o| o["shape"].as_array().unwrap().len() == 2).unwrap().clone();
        output["data"].as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
    };
    let baseline =
        client.post(INFER, &json_request(&Tensor::from_f32(&rows.name, &[1, 64], &medians), &json!({})));
    let (baseline, answered) = (scores(&baseline), scores(&answer));
    for row in 0..2 {
        let own = &answered[row * 10..row * 10 + 10];
        let class = (0..10).max_by(|a, b| own[*a].total_cmp(&own[*b])).unwrap();
        let parts = said["rows"][row].as_array().unwrap();
        let sum: f64 = parts.iter().map(|p| p.as_f64().unwrap()).sum();
        assert!(
            (sum - (own[class] - baseline[class])).abs() < 1e-5,
            "{sum} {} {}",
            own[class],
            baseline[class]
        );
    }
    let refused = |r: crate::http::Response| (r.status, r.error().contains("parameters.explain"));
    assert_eq!(refused(client.post(INFER, &json_request(&bundle.rows(0, 9), &why))), (400, true));
    let (engine, bundle, _page) = Engine::serving();
    assert_eq!(refused(engine.client().post(INFER, &json_request(&bundle.rows(0, 1), &why))), (400, true));
}

#[test]
fn a_bundle_without_a_reference_counts_the_rest() {
    let (engine, bundle, page) = Engine::serving();
    assert_eq!(engine.client().post(INFER, &json_request(&bundle.rows(0, 2), &json!({}))).status, 200);
    let c = page.snapshot().unwrap();
    assert_eq!((c.rows, c.profile, c.groups.undeclared), (2, None, 0));
    assert_eq!(c.scores.iter().map(longshore_stats::quality::scores::ScoreTable::rows).sum::<u64>(), 2);
}

#[test]
fn a_page_of_another_reference_is_refused() {
    let (engine, bundle) = (Engine::start(), watched_digits());
    let refused = |load: u64, page: std::os::fd::OwnedFd| {
        engine.send_load(bundle.request(load), bundle.sealed(), page);
        match engine.event() {
            FromEngine::LoadFailed { reason, .. } => assert_eq!(reason.code, "engine.page", "{reason:?}"),
            other => panic!("{other:?}"),
        }
    };
    let (_plain, fd) = engine.plain_page(70, 10);
    refused(70, fd);
    let (good, _fd) = engine.load_page(71, &bundle);
    let mut spec = good.spec();
    spec.load.0 = 72;
    spec.shape.as_mut().unwrap().reference.0 ^= 1;
    let (_other, fd) = engine.page(&spec);
    refused(72, fd);
}

/// A bundle with another reference file, whose manifest says so.
fn with_reference(bytes: Vec<u8>) -> Bundle {
    let mut bundle = watched_digits();
    let entry = bundle.manifest.files.iter_mut().find(|f| f.role == Role::Reference).unwrap();
    (entry.sha256, entry.length) = (Digest::of(&bytes), bytes.len() as u64);
    let path = entry.path.as_str().to_owned();
    bundle.files.iter_mut().find(|(p, _)| *p == path).unwrap().1 = bytes;
    bundle.files[0].1 = bundle.manifest.to_json();
    bundle
}

#[test]
fn a_broken_reference_is_a_typed_refusal_in_the_trial() {
    let good = reference(&watched_digits());
    let report = trial(watched_digits().request(1), &watched_digits().sealed(), AMPLE).unwrap();
    assert!(report.is_ok(), "{report:?}");
    let mut fewer = good.clone();
    fewer.features.pop();
    let mut bent = good.clone();
    if let FeatureValues::Numeric(h) = &mut bent.features[30].values {
        h.edges.reverse();
    }
    let mut kinds = good.clone();
    let (vocabulary, counts) = (vec!["1".to_owned()], vec![7]);
    kinds.features[30].values = FeatureValues::Categorical(Categories { vocabulary, counts, other: 0 });
    let bytes = good.to_bytes();
    for (what, bytes) in [
        ("no profile", b"PK nothing".to_vec()),
        ("cut short", bytes[..bytes.len() / 2].to_vec()),
        ("one feature too few", fewer.to_bytes()),
        ("edges that fall", bent.to_bytes()),
        ("a feature of another type", kinds.to_bytes()),
    ] {
        let bundle = with_reference(bytes);
        let answer = trial(bundle.request(1), &bundle.sealed(), AMPLE).expect("the trial does not crash");
        assert_eq!(answer.unwrap_err().code, "bundle.reference", "{what}");
    }
    assert!(digits("1.0.0").shape().is_none());
}
