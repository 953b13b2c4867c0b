//! The agent as it ships (profile `edge`, this machine's own target): proportional set size of supervisor and engine with
//! one small model, idle, and what it is made of; its binary; its start.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use longshore_hil_tests::socket::Answer;
use longshore_hil_tests::stage::Stage;
use serde_json::{Value, json};

use super::{one_device, quantile, rounded};
use crate::run::{cargo, root, run as run_command};

/// Samples of the short form; the long one is 10 s apart for ten minutes.
const SAMPLES: usize = 20;

/// Measures.
///
/// # Errors
/// When the stage cannot be set up or `/proc` not be read.
pub fn run(programs: &Path) -> Result<Value> {
    run_command(cargo(&["build", "--profile", "edge", "--bins", "-p", "longshore-agent"]))?;
    let edge = root().join("target/edge");
    let together = tempfile::tempdir()?;
    for (from, name) in [(&*edge, "longshore-agent"), (programs, "longshore-fleet"), (programs, "longshore")]
    {
        std::fs::copy(from.join(name), together.path().join(name))?;
    }
    let mut stage = one_device(together.path(), &["1.0.0"])?;
    std::thread::sleep(Duration::from_secs(5));
    let (mut total, mut own) = (Vec::new(), Vec::new());
    for _ in 0..SAMPLES {
        total.push(pss_kib(&stage, "Pss:")?);
        own.push(pss_kib(&stage, "Pss_Anon:")?);
        std::thread::sleep(Duration::from_millis(500));
    }
    total.sort_by(f64::total_cmp);
    own.sort_by(f64::total_cmp);
    let binary = std::fs::metadata(stage.programs().join("longshore-agent"))?.len();

    let mut starts = Vec::new();
    for _ in 0..5 {
        stage.kill(&Stage::device(1))?;
        let begin = Instant::now();
        stage.start_agent(1)?;
        let socket = stage.socket(1);
        while !matches!(socket.get("/v2/models/meter-digits/ready"), Answer::Response(200, _)) {
            anyhow::ensure!(begin.elapsed() < Duration::from_secs(20), "the agent does not get ready");
            std::thread::sleep(Duration::from_millis(2));
        }
        starts.push(begin.elapsed().as_secs_f64() * 1000.0);
    }
    starts.sort_by(f64::total_cmp);
    stage.strike();
    Ok(json!({
        "pss_mib_median": rounded(quantile(&total, 0.5) / 1024.0),
        "pss_mib_max": rounded(quantile(&total, 1.0) / 1024.0),
        "of_it_anonymous_mib_median": rounded(quantile(&own, 0.5) / 1024.0),
        "binary_bytes": binary,
        "start_to_ready_ms_median": rounded(quantile(&starts, 0.5)),
    }))
}

/// One line of `smaps_rollup`, of the supervisor and its engine together.
fn pss_kib(stage: &Stage, what: &str) -> Result<f64> {
    let mut sum = 0.0;
    for pid in [i64::from(stage.pid(&Stage::device(1))?), i64::from(stage.engine_pid(1)?)] {
        let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
        let line = text
            .lines()
            .find(|l| l.starts_with(what))
            .with_context(|| format!("no {what} in smaps_rollup"))?;
        sum += line.split_whitespace().nth(1).context("no number behind Pss")?.parse::<f64>()?;
    }
    Ok(sum)
}
