//! Loads and trials that fail: a typed reason, and nothing else changes.

use std::os::fd::OwnedFd;

use longshore_agent::engine::protocol::{FromEngine, LoadId, ToEngine, TrialLimits};
use longshore_trust::Digest;
use serde_json::json;

use crate::rig::{AMPLE, Bundle, Engine, digits, digits_with, json_request, trial};

fn code(bundle: &Bundle) -> String {
    trial(bundle.request(1), &bundle.sealed(), AMPLE).expect("an answer").unwrap_err().code
}

/// The bundle with one file replaced behind the manifest's back.
fn tampered(role: &str, change: impl Fn(&mut Vec<u8>)) -> Bundle {
    let mut bundle = digits("1.0.0");
    let file = bundle.files.iter_mut().find(|(path, _)| path.contains(role)).unwrap();
    change(&mut file.1);
    bundle
}

#[test]
fn a_good_bundle_passes_its_trial_with_figures() {
    let bundle = digits("1.1.0");
    let report = trial(bundle.request(1), &bundle.sealed(), AMPLE).unwrap().unwrap();
    assert_eq!(report.golden_rows as usize, bundle.golden_inputs[0].shape[0]);
    assert!(!report.deviations.is_empty() && report.deviations.iter().all(|d| d.max_abs < 1e-3));
    assert!(report.p99_us >= report.p50_us && report.p50_us > 0 && report.rss_kib > 1000, "{report:?}");
}

#[test]
fn a_file_that_is_not_the_manifests_is_refused() {
    assert_eq!(code(&tampered("model", |m| m.push(0))), "bundle.length");
    assert_eq!(code(&tampered("model", |m| m[100] ^= 1)), "bundle.hash");
    assert_eq!(code(&tampered("golden", |g| g[100] ^= 1)), "bundle.hash");
    let mut lying = tampered("manifest", |m| m.extend(b"\n"));
    lying.files.truncate(3);
    let mut request = lying.request(1);
    request.digest = Digest::of(b"what was approved");
    let refused = trial(request, &lying.sealed(), AMPLE).unwrap().unwrap_err();
    assert_eq!(refused.code, "bundle.digest");
    let bundle = digits("1.0.0");
    let mut request = bundle.request(1);
    request.version = "2.0.0".into();
    assert_eq!(trial(request, &bundle.sealed(), AMPLE).unwrap().unwrap_err().code, "bundle.identity");
}

#[test]
fn an_unsealed_file_is_refused() {
    let bundle = digits("1.0.0");
    let mut fds = bundle.sealed();
    let mut open = tempfile::tempfile().unwrap();
    std::io::Write::write_all(&mut open, &bundle.files[1].1).unwrap();
    fds[1] = OwnedFd::from(open);
    assert_eq!(trial(bundle.request(1), &fds, AMPLE).unwrap().unwrap_err().code, "engine.not_sealed");
}

#[test]
fn answers_that_differ_from_the_golden_ones_fail_the_trial() {
    let wrong = digits_with("1.0.0", |vectors| {
        let output = vectors.iter_mut().find(|t| t.name.contains("output") && t.dtype.is_float()).unwrap();
        output.data[..4].copy_from_slice(&0.123f32.to_le_bytes());
    });
    assert_eq!(code(&wrong), "golden.deviates");
}

#[test]
fn a_model_that_wants_more_than_it_may_have_ends_with_its_trial() {
    let bundle = digits("1.0.0");
    // Less than the program itself needs to go on: whether it says so or dies, it does not pass.
    let tight = TrialLimits { memory_bytes: 1 << 20, cpu_s: 60 };
    let answer = trial(bundle.request(1), &bundle.sealed(), tight);
    assert!(!matches!(answer, Some(Ok(_))), "{answer:?}");
}

#[test]
fn a_failed_load_leaves_what_serves_alone() {
    let (engine, bundle, _page) = Engine::serving();
    let infer = || {
        engine.client().post("/v2/models/meter-digits/infer", &json_request(&bundle.rows(0, 1), &json!({})))
    };
    let broken = tampered("model", |m| m[100] ^= 1);
    let refusal = |engine: &Engine| match engine.event() {
        FromEngine::LoadFailed { load, reason } => (load, reason.code),
        other => panic!("{other:?}"),
    };
    let (_page, fd) = engine.load_page(50, &bundle);
    engine.send_load(broken.request(50), broken.sealed(), fd);
    assert_eq!(refusal(&engine), (LoadId(50), "bundle.hash".to_owned()));
    let (_page, fd) = engine.load_page(51, &bundle);
    engine.send_load(bundle.request(52), bundle.sealed(), fd);
    assert_eq!(refusal(&engine), (LoadId(52), "engine.page".to_owned()), "a page of another load");
    let (_page, fd) = engine.plain_page(53, 3);
    engine.send_load(bundle.request(53), bundle.sealed(), fd);
    assert_eq!(refusal(&engine), (LoadId(53), "engine.page".to_owned()), "a page with other classes");
    engine.send(&ToEngine::Activate(LoadId(50)));
    assert_eq!(refusal(&engine), (LoadId(50), "engine.unknown_load".to_owned()));
    assert_eq!(infer().status, 200);
}
