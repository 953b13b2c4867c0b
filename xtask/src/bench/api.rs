//! What the local API adds to the model's own run: one client, one connection, one row.

use std::path::Path;
use std::time::Instant;

use anyhow::{Result, bail};
use longshore_hil_tests::load;
use longshore_hil_tests::root;
use longshore_hil_tests::socket::Answer;
use serde_json::{Value, json};

use super::{one_device, quantile, rounded};

const REQUESTS: usize = 5000;

/// Measures.
///
/// # Errors
/// When the stage cannot be set up or a request fails.
pub fn run(programs: &Path) -> Result<Value> {
    let stage = one_device(programs, &["1.0.0"])?;
    let rows = load::read(&root().join("examples/meter-digits/field/stream.csv"))?;
    let mut connection = stage.socket(1).connect()?;
    let mut took = Vec::with_capacity(REQUESTS);
    for i in 0..REQUESTS + 500 {
        let body = load::request(&[&rows[i % rows.len()]]).to_string();
        let begin = Instant::now();
        let answer = connection.exchange("POST", "/v2/models/meter-digits/infer", body.as_bytes());
        let us = begin.elapsed().as_secs_f64() * 1e6;
        if !matches!(answer, Answer::Response(200, _)) {
            bail!("a request failed: {answer:?}");
        }
        if i >= 500 {
            took.push(us);
        }
    }
    took.sort_by(f64::total_cmp);
    // The same engine code, without HTTP: what `bundle test` measures on the golden rows, in the same minute.
    let tested = stage.json(&["bundle", "test", "bundles/1.0.0"])?;
    let bare = tested.pointer("/golden/p50_us").and_then(Value::as_f64);
    stage.strike();
    let p50 = quantile(&took, 0.5);
    Ok(json!({
        "request_us_p50": rounded(p50),
        "request_us_p99": rounded(quantile(&took, 0.99)),
        "bare_run_us_p50": bare,
        "added_us_p50": bare.map(|b| rounded(p50 - b)),
    }))
}
