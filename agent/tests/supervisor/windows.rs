//! How long windows are: as the author wishes, within what the configuration allows.

use std::fs;

use longshore_bundle::Tensor;
use serde_json::json;

use crate::compared::{compared_digits, field_rows};
use crate::device::Device;
use crate::rig::json_request;

/// Closed windows of a device whose configuration allows `longest` and whose model wants `wish_s` seconds, when there is one.
fn until_closed(longest: &str, wish_s: u32) {
    let wish = |m: &mut longshore_bundle::Manifest| m.monitor.window_s = wish_s;
    let device =
        Device::of(&compared_digits("1.0.0", "0.9.0", |_| {}), compared_digits("1.0.0", "1.0.0", wish));
    let text = fs::read_to_string(device.config()).unwrap();
    assert!(text.contains("window = \"400ms\""));
    fs::write(device.config(), text.replace("window = \"400ms\"", &format!("window = \"{longest}\"")))
        .unwrap();
    let _agent = device.start();
    device.until_ready();
    let row = &field_rows()[0];
    let body = json_request(&Tensor::from_f32("pixels", &[1, row.len()], row), &json!({}));
    assert_eq!(device.client().post("/v2/models/meter-digits/infer", &body).status, 200);
    let db = rusqlite::Connection::open(device.state().join("state.db")).unwrap();
    device.until("closed", || {
        let closed = r#"SELECT count(*) FROM "window" WHERE end_ms IS NOT NULL"#;
        db.query_row(closed, [], |r| r.get::<_, i64>(0)).is_ok_and(|n| n > 0)
    });
}

#[test]
fn a_model_gets_the_shorter_windows_that_its_manifest_wants() {
    until_closed("1h", 1);
}

#[test]
fn a_model_that_wants_longer_windows_gets_those_of_the_configuration() {
    until_closed("300ms", 24 * 3600);
}
