//! A candidate whose answers have left its own reference goes back by itself; a sensor that broke condemns nobody.

use longshore_bundle::Tensor;
use longshore_wire::v1::Guard;
use serde_json::json;

use crate::compared::{blind, compared_digits, field_rows};
use crate::device::Device;
use crate::rig::{Bundle, json_request};

const INFER: &str = "/v2/models/meter-digits/infer";
const GUARD: Guard =
    Guard { max_error_permille: 100, max_crashes: 1, max_p99_percent: 0, max_score_shift_permille: 250 };

/// Answers 50 rows, which must be answered.
fn ask(device: &Device, rows: &[Vec<f32>]) {
    let values: Vec<f32> = rows.concat();
    let tensor = Tensor::from_f32("pixels", &[rows.len(), rows[0].len()], &values);
    let r = device.client().post(INFER, &json_request(&tensor, &json!({})));
    assert_eq!(r.status, 200, "{}", r.error());
}

/// The device after the version before has answered all `rows`; then the candidate is put on trial and the agent started
/// again, and asked until it is in `state`. The answers of the candidate.
fn on_probation(device: &Device, rows: &[Vec<f32>], candidate: &Bundle, state: &str) -> u64 {
    {
        let agent = device.start();
        device.until_ready();
        rows.chunks(50).for_each(|part| ask(device, part));
        device.until("counted", || device.rows_total() == rows.len() as u64);
        agent.signal(rustix::process::Signal::TERM);
    }
    device.put_on_trial(candidate, GUARD, 4_000);
    let _agent = device.start();
    device.until("on probation", || device.status()["models"][0]["state"] == json!("probation"));
    let mut answered = 0;
    device.until(state, || {
        let part = rows.chunks(50).nth(answered as usize / 50 % (rows.len() / 50)).unwrap();
        ask(device, part);
        answered += 50;
        device.status()["models"][0]["state"] == json!(state)
    });
    answered
}

fn device() -> Device {
    Device::of(&compared_digits("1.0.0", "0.9.0", |_| {}), compared_digits("1.0.0", "1.0.0", |_| {}))
}

#[test]
fn a_candidate_that_answers_the_same_to_everything_goes_back_without_the_fleet() {
    let device = device();
    on_probation(&device, &field_rows(), &compared_digits("1.1.0", "1.1.0", blind), "rolled_back");
    let model = &device.status()["models"][0];
    let reason = model["reason"].as_str().unwrap();
    eprintln!("{reason}");
    assert!(model["version"] == json!("1.0.0") && reason.starts_with("guard.score_shift"), "{model}");
}

#[test]
fn a_better_version_stays() {
    let device = device();
    let answered =
        on_probation(&device, &field_rows(), &compared_digits("1.1.0", "1.1.0", |_| {}), "committed");
    assert!(answered >= 500, "{answered} answers say nothing");
    assert_eq!(device.status()["models"][0]["version"], json!("1.1.0"));
}

#[test]
fn a_sensor_that_broke_before_condemns_no_candidate() {
    let device = device();
    // A camera that is covered: nearly the same dark picture again and again.
    let dark = |i: usize| (0..64).map(|p| if (p + i).is_multiple_of(37) { 2.0 } else { 0.0 }).collect();
    let rows: Vec<Vec<f32>> = (0..800).map(dark).collect();
    let answered = on_probation(&device, &rows, &compared_digits("1.1.0", "1.1.0", |_| {}), "committed");
    assert!(answered >= 500, "{answered} answers say nothing");
    assert_eq!(device.status()["models"][0]["version"], json!("1.1.0"));
}

#[test]
fn a_version_of_few_writers_is_found_without_a_label() {
    let device = device();
    on_probation(&device, &field_rows(), &compared_digits("1.2.0", "1.2.0", |_| {}), "rolled_back");
    let reason = device.status()["models"][0]["reason"].as_str().unwrap().to_owned();
    eprintln!("{reason}");
    assert!(reason.starts_with("guard.score_shift"), "{reason}");
}
