//! Hostile candidates through the whole agent: supervisor, database, trial engine and serving engine are the real ones.

use serde_json::json;

use crate::device::Device;
use crate::rig::{digits, json_request};
use crate::{bundle, corpus};

/// One of each way to end: refused by the guard, by the engine, out of memory in the engine's way and in the kernel's, out of
/// time, with wrong answers.
const SAMPLE: [&str; 7] =
    ["garbage-6", "external-data-0", "cycle-0", "run-time-growth-4", "growth-21", "deep-4", "control-flow-0"];

#[test]
fn an_agent_refuses_hostile_candidates_and_serves_on() {
    let honest = digits("1.0.0");
    let path = honest.manifest.model_path().to_owned();
    let real = honest.files.iter().find(|(p, _)| *p == path).unwrap().1.clone();
    let files = corpus::all(3, &real);
    for name in SAMPLE {
        let hostile = files.iter().find(|f| f.name == name).unwrap();
        let device = Device::with_candidate(Some(&bundle::of(hostile, &honest)));
        let mut agent = device.start();
        device.until("over", || device.status()["models"][0]["state"] == json!("failed"));
        let told = device.status()["models"][0].clone();
        println!("{name}: {}", told["reason"].as_str().unwrap());
        assert!(told["reason"].as_str().unwrap().contains(": "), "{told}");
        assert_eq!(told["version"], json!("1.1.0"), "{told}");
        device.until_ready();
        let r = device
            .client()
            .post("/v2/models/meter-digits/infer", &json_request(&device.active.rows(0, 1), &json!({})));
        assert_eq!((r.status, &r.json()["model_version"]), (200, &json!("1.1.0")));
        assert_eq!(device.status()["engine"]["starts"], json!(1), "the serving engine never noticed");
        assert!(agent.child.try_wait().unwrap().is_none(), "the supervisor lives");
    }
}
