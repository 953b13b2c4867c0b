//! What a client notices when the model under it is replaced: latency while a swap goes on against steady, and failures.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;
use longshore_hil_tests::load;
use longshore_hil_tests::root;
use longshore_hil_tests::script::{await_state, roll_out};
use longshore_hil_tests::socket::{Answer, Socket};
use serde_json::{Value, json};

use super::{AT_ONCE, one_device, quantile, rounded};

/// Measures.
///
/// # Errors
/// When the stage cannot be set up or a rollout does not complete.
pub fn run(programs: &Path) -> Result<Value> {
    let mut stage = one_device(programs, &["1.0.0", "1.1.0"])?;
    let rows = load::read(&root().join("examples/meter-digits/field/stream.csv"))?;
    let steady = sample(&stage.socket(1), &rows, Duration::from_secs(5));
    let socket = stage.socket(1);
    let during = std::thread::scope(|scope| {
        let sampler = scope.spawn(|| sample(&socket, &rows, Duration::from_secs(8)));
        let rollout = roll_out(&stage, "1.1.0", AT_ONCE)?;
        await_state(&mut stage, &rollout, "completed", Duration::from_secs(30))?;
        anyhow::Ok(sampler.join().expect("the sampler does not panic"))
    })?;
    stage.strike();
    let ratio = quantile(&during.us, 0.99) / quantile(&steady.us, 0.99);
    Ok(json!({
        "steady_us_p99": rounded(quantile(&steady.us, 0.99)),
        "swap_us_p99": rounded(quantile(&during.us, 0.99)),
        "ratio_p99": rounded(ratio),
        "requests": during.us.len(),
        "failed": steady.failed + during.failed,
    }))
}

struct Sample {
    us: Vec<f64>,
    failed: u64,
}

fn sample(socket: &Socket, rows: &[load::Row], time: Duration) -> Sample {
    let mut sample = Sample { us: Vec::new(), failed: 0 };
    let start = Instant::now();
    let Ok(mut connection) = socket.connect() else { return Sample { us: Vec::new(), failed: 1 } };
    for i in 0.. {
        if start.elapsed() > time {
            break;
        }
        let body = load::request(&[&rows[i % rows.len()]]).to_string();
        let begin = Instant::now();
        match connection.exchange("POST", "/v2/models/meter-digits/infer", body.as_bytes()) {
            Answer::Response(200, _) => sample.us.push(begin.elapsed().as_secs_f64() * 1e6),
            _ => sample.failed += 1,
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    sample.us.sort_by(f64::total_cmp);
    sample
}
