//! `cargo xtask bench stats`: what the statistics promise, measured. Seeded: the same figures every time, but for times.
//!
//! Prints one line of JSON. With `--table FILE` only the cost per value on the numbers of that CSV is measured.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a benchmark that panics has failed")]

mod calibration;
mod cost;
mod draw;
mod honesty;

use serde_json::json;

fn main() {
    let args: Vec<String> = std::env::args().collect();
    if let Some(at) = args.iter().position(|a| a == "--table") {
        println!("{}", cost::table(std::path::Path::new(&args[at + 1])));
        return;
    }
    let figures = json!({
        "false_alarms": calibration::false_alarms(),
        "power": calibration::power(),
        "effect_interval": calibration::coverage(),
        "many_features": calibration::many_features(),
        "cbpe": honesty::synthetic(),
        "cbpe_digits": honesty::digits(),
        "cost": cost::all(),
    });
    println!("{figures}");
}
