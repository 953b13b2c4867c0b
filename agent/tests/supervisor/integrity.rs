//! What lies on the disk is compared with what was approved at every start of an engine, not only when it arrives.

use std::fs;
use std::path::PathBuf;

use longshore_trust::Digest;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use crate::device::Device;
use crate::rig::{Bundle, digits, json_request};

const INFER: &str = "/v2/models/meter-digits/infer";

fn stored(device: &Device, bundle: &Bundle, path: &str) -> PathBuf {
    device.state().join("bundles").join(Digest::of(&bundle.files[0].1).to_hex()).join(path)
}
/// One bit of one file on the disk, in the middle of it.
fn flip(device: &Device, bundle: &Bundle, path: &str) {
    let file = stored(device, bundle, path);
    let mut bytes = fs::read(&file).unwrap();
    let at = bytes.len() / 2;
    bytes[at] ^= 1;
    fs::write(&file, bytes).unwrap();
}
/// Waits until the previous bundle serves, with the reason told.
fn fell_back(device: &Device) {
    device.until("rolled back", || device.status()["models"][0]["state"] == json!("rolled_back"));
    device.until_ready();
    let model = &device.status()["models"][0];
    assert_eq!(model["version"], json!("1.0.0"), "{model}");
    assert!(model["reason"].as_str().unwrap().contains("activate.verify"), "{model}");
    let r = device.client().post(INFER, &json_request(&device.active.rows(0, 1), &json!({})));
    assert_eq!((r.status, &r.json()["model_version"]), (200, &json!("1.0.0")));
}

#[test]
fn a_flipped_byte_in_any_file_is_found_at_the_next_start_and_the_previous_bundle_comes_back() {
    let paths: Vec<String> = Device::new().active.files.iter().map(|(p, _)| p.clone()).collect();
    assert!(paths.len() >= 3, "manifest, model and golden vectors: {paths:?}");
    for path in &paths {
        let device = Device::new();
        flip(&device, &device.active, path);
        let _agent = device.start();
        fell_back(&device);
        assert!(device.log().contains(path.as_str()), "the log names {path}:\n{}", device.log());
    }
}

#[test]
fn a_file_that_is_cut_grown_or_gone_is_found_as_well() {
    let change: [fn(&PathBuf); 3] = [
        |file| fs::write(file, &fs::read(file).unwrap()[1..]).unwrap(),
        |file| fs::write(file, [fs::read(file).unwrap(), vec![0]].concat()).unwrap(),
        |file| fs::remove_file(file).unwrap(),
    ];
    for change in change {
        let device = Device::new();
        change(&stored(&device, &device.active, device.active.manifest.model_path()));
        let _agent = device.start();
        fell_back(&device);
    }
}

#[test]
fn a_byte_that_flips_while_an_engine_serves_is_found_when_that_engine_is_replaced() {
    for path in ["manifest.json", "model.onnx", "golden.safetensors"] {
        let device = Device::new();
        let _agent = device.start();
        device.until_ready();
        device.until("told", || device.status()["models"][0]["version"] == json!("1.1.0"));
        flip(&device, &device.active, path);
        // What serves is a sealed copy in memory: it goes on.
        let r = device.client().post(INFER, &json_request(&device.active.rows(0, 1), &json!({})));
        assert_eq!((r.status, &r.json()["model_version"]), (200, &json!("1.1.0")));
        let engine = device.engine_pid().and_then(Pid::from_raw).unwrap();
        kill_process(engine, Signal::KILL).unwrap();
        fell_back(&device);
    }
}

#[test]
fn without_an_intact_bundle_nothing_serves_and_a_repaired_one_serves_again() {
    let device = Device::new();
    let previous = digits("1.0.0");
    let model = device.active.manifest.model_path();
    let whole = fs::read(stored(&device, &previous, model)).unwrap();
    flip(&device, &device.active, model);
    flip(&device, &previous, model);
    let _agent = device.start();
    device.until("told", || device.status()["models"][0]["state"] == json!("unable_to_roll_back"));
    let told = &device.status()["models"][0];
    assert!(told["reason"].as_str().unwrap().contains("activate.verify"), "{told}");
    let r = device.client().post(INFER, &json_request(&device.active.rows(0, 1), &json!({})));
    assert_eq!(r.status, 404, "damaged bytes are not served: {r:?}");
    fs::write(stored(&device, &previous, model), whole).unwrap();
    device.until_ready();
    assert_eq!(device.status()["models"][0]["version"], json!("1.0.0"));
}
