//! `longshore rollout watch`: a live view for people, a line of JSON a change for machines.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use longshore_trust::RolloutId;
use serde_json::Value;

use crate::context::{Context, Failure};
use crate::http::Client;
use crate::show::{list, text};

/// States in which a rollout moves no more.
const ENDS: &[&str] = &["completed", "halted", "reverted", "superseded"];
/// How often the server is asked.
const PAUSE: Duration = Duration::from_millis(500);
/// Failed askings in a row before giving up: a server that restarts is waited for.
const PATIENCE: u32 = 120;

/// Follows a rollout to its end, or to a pause (which only a person ends).
pub fn run(context: &Context, client: &Client, rollout: &RolloutId) -> Result<(), Failure> {
    let bar = if context.json() { ProgressBar::hidden() } else { ProgressBar::new(1) };
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} devices  {elapsed}  {msg}");
    bar.set_style(style.expect("the template is constant"));
    let (mut last, mut failures) = (Value::Null, 0);
    loop {
        let now: Value = match client.get(&format!("/rollouts/{rollout}")) {
            Ok(value) => value,
            Err(f) if f.exit == 3 && failures < PATIENCE => {
                failures += 1;
                bar.set_message("the server does not answer, waiting");
                std::thread::sleep(PAUSE);
                continue;
            }
            Err(f) => return Err(f),
        };
        failures = 0;
        if now != last {
            if context.json() {
                println!("{now}");
            }
            show(&bar, &now);
            last = now;
        }
        let state = text(&last, "state");
        if ENDS.contains(&state.as_str()) || state.starts_with("paused") {
            bar.finish_and_clear();
            return end(context, rollout, &state, &text(&last, "reason"));
        }
        std::thread::sleep(PAUSE);
    }
}

fn end(context: &Context, rollout: &RolloutId, state: &str, reason: &str) -> Result<(), Failure> {
    if state == "completed" {
        if !context.json() {
            println!("{rollout} completed");
        }
        return Ok(());
    }
    Err(Failure::refused(
        format!("rollout.{state}"),
        format!("{rollout} is {state}: {reason}. See `longshore rollout show {rollout}`"),
    ))
}

fn show(bar: &ProgressBar, rollout: &Value) {
    let devices: Vec<&Value> = list(rollout, "waves").iter().flat_map(|w| list(w, "devices")).collect();
    let done =
        devices.iter().filter(|d| matches!(text(d, "state").as_str(), "committed" | "already")).count();
    bar.set_length(devices.len() as u64);
    bar.set_position(done as u64);
    let wave = list(rollout, "waves")
        .iter()
        .find(|w| matches!(text(w, "state").as_str(), "offering" | "soaking" | "judging"))
        .map(|w| format!("wave {} {}", text(w, "wave"), text(w, "state")))
        .unwrap_or_default();
    bar.set_message(format!("{} {wave}", text(rollout, "state")));
}
