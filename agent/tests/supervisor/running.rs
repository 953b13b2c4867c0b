//! In service, with the fleet out of reach.

use std::time::Instant;

use rustix::process::Signal;
use serde_json::json;

use crate::device::Device;
use crate::rig::json_request;

const INFER: &str = "/v2/models/meter-digits/infer";

#[test]
fn it_serves_counts_and_keeps_what_it_has_to_tell() {
    let device = Device::new();
    let mut agent = device.start();
    device.until_ready();
    let body = json_request(&device.active.rows(0, 5), &json!({}));
    let mut client = device.client();
    let mut ids = Vec::new();
    for _ in 0..20 {
        let r = client.post(INFER, &body);
        assert_eq!(r.status, 200, "{r:?}");
        ids.push(r.json()["parameters"]["prediction_id"].as_str().unwrap().to_owned());
    }
    for id in &ids[..3] {
        let label = json!({ "prediction_id": id, "row": 1, "label": 4 });
        let r = client.post("/longshore/v1/feedback", label.to_string().as_bytes());
        assert_eq!((r.status, &r.json()["joined"]), (200, &json!(1)), "{r:?}");
    }
    let again = json!({ "prediction_id": ids[0], "row": 1, "label": 4 });
    let r = client.post("/longshore/v1/feedback", again.to_string().as_bytes());
    assert_eq!(r.json()["repeated"], json!(1));
    device.until("counted", || device.rows_total() == 100);
    let status = client.get("/longshore/v1/status").json();
    assert_eq!(status["link"]["up"], json!(false));
    assert!(status["outbox_rows"].as_u64().unwrap() > 0, "windows and reports wait for the fleet");
    let metrics = String::from_utf8(client.get("/metrics").body).unwrap();
    assert!(metrics.contains("longshore_link_up 0"), "{metrics}");

    let begun = Instant::now();
    agent.signal(Signal::TERM);
    assert!(agent.child.wait().unwrap().success(), "{}", device.log());
    assert!(begun.elapsed() < crate::device::PATIENCE);
    assert!(device.log().contains("stopped"), "{}", device.log());
    // The next start knows that this end was a clean one, and the total goes on.
    let _agent = device.start();
    device.until_ready();
    assert!(
        device.log().contains("last_end=\"clean\"") || device.log().contains("clean"),
        "{}",
        device.log()
    );
    assert_eq!(device.rows_total(), 100);
}
#[test]
fn a_reload_takes_up_what_it_can_and_says_why_not() {
    let device = Device::new();
    let agent = device.start();
    device.until_ready();
    device.configure("labells = 3");
    agent.signal(Signal::HUP);
    device.until("refused", || device.log().contains("stays as it was"));
    assert!(device.log().contains("labells"), "{}", device.log());
    device.configure("labels = { site = \"north\" }");
    agent.signal(Signal::HUP);
    device.until("taken up", || device.log().contains("configuration reloaded"));
    device.until_ready();
}
