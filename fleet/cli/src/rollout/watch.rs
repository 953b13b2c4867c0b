//! Follows a rollout to its end: a live view for people, a line of JSON an event for machines, a report for CI.
//!
//! What always holds: the exit code tells how it ended, and no two endings share one; a server that restarts is waited for;
//! running out of time or being killed changes nothing about the rollout.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use longshore_trust::RolloutId;
use serde_json::{Value, json};

use super::changes::{self, Log};
use super::report;
use crate::context::{Context, Failure};
use crate::http::Client;
use crate::show::{list, text};

/// How often the server is asked.
const PAUSE: Duration = Duration::from_millis(500);
/// Failed askings in a row before giving up: a server that restarts is waited for.
const PATIENCE: u32 = 120;

/// What a pipeline needs beside the rollout.
#[derive(Debug, Default, clap::Args)]
pub struct Until {
    /// Stop watching after so long, like 90m or 2h; the rollout goes on (exit code 14)
    #[arg(long, value_name = "TIME")]
    timeout: Option<jiff::SignedDuration>,
    /// Write the result as JUnit XML: a test case for each wave and each of its gates
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
}

impl Until {
    /// Whether anything was asked for.
    pub fn asks(&self) -> bool {
        self.timeout.is_some() || self.junit.is_some()
    }
}

/// How watching ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Completed,
    Paused,
    Halted,
    Reverted,
    Superseded,
    Timeout,
}

impl End {
    /// Of a state in which a rollout moves no more, or only when a person says so.
    fn of(state: &str) -> Option<Self> {
        Some(match state {
            "completed" => Self::Completed,
            "paused" => Self::Paused,
            "halted" => Self::Halted,
            "reverted" => Self::Reverted,
            "superseded" => Self::Superseded,
            _ => return None,
        })
    }
    /// 1 to 3 are what every command means by them.
    const fn exit(self) -> u8 {
        match self {
            Self::Completed => 0,
            Self::Paused => 10,
            Self::Halted => 11,
            Self::Reverted => 12,
            Self::Superseded => 13,
            Self::Timeout => 14,
        }
    }
}

/// Follows a rollout to its end, or to a pause (which only a person ends).
///
/// # Errors
/// Every end but `completed`, with the exit code that tells which.
pub fn run(context: &Context, client: &Client, rollout: &RolloutId, until: &Until) -> Result<(), Failure> {
    let limit = until.timeout.map(|t| t.unsigned_abs());
    let begin = Instant::now();
    let bar = if context.json() { ProgressBar::hidden() } else { ProgressBar::new(1) };
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} devices  {elapsed}  {msg}");
    bar.set_style(style.expect("the template is constant"));
    let (mut last, mut log) = (Value::Null, Log::default());
    let end = loop {
        let (now, lines) = patiently(&bar, || look(client, rollout, &log))?;
        let said = log.take(&lines).into_iter().chain(changes::between(&last, &now));
        if context.json() {
            said.for_each(|event| println!("{event}"));
        }
        show(&bar, &now);
        last = now;
        if let Some(end) = End::of(&text(&last, "state")) {
            break end;
        }
        if limit.is_some_and(|limit| begin.elapsed() >= limit) {
            break End::Timeout;
        }
        std::thread::sleep(PAUSE);
    };
    bar.finish_and_clear();
    if let Some(path) = &until.junit {
        crate::junit::write(path, &format!("longshore rollout {rollout}"), &report::cases(&last))?;
    }
    ended(context, rollout, &last, end)
}

/// The rollout without its devices, and the lines of its log that were not seen yet.
fn look(client: &Client, rollout: &RolloutId, log: &Log) -> Result<(Value, Vec<Value>), Failure> {
    let now: Value = client.get(&format!("/rollouts/{rollout}?devices=0"))?;
    let mut lines = Vec::new();
    let mut after = log.seen();
    loop {
        let page: Value = client.get(&format!("/rollouts/{rollout}/log?cursor={after}"))?;
        lines.extend(list(&page, "items").iter().cloned());
        match page["next"].as_str().and_then(|n| n.parse().ok()) {
            Some(next) => after = next,
            None => return Ok((now, lines)),
        }
    }
}

/// Tries again while the server cannot be reached.
fn patiently<T>(bar: &ProgressBar, ask: impl Fn() -> Result<T, Failure>) -> Result<T, Failure> {
    for _ in 0..PATIENCE {
        match ask() {
            Err(f) if f.exit == 3 => bar.set_message("the server does not answer, waiting"),
            other => return other,
        }
        std::thread::sleep(PAUSE);
    }
    ask()
}

fn ended(context: &Context, rollout: &RolloutId, last: &Value, end: End) -> Result<(), Failure> {
    let (state, reason) = (text(last, "state"), text(last, "reason"));
    let code = if end == End::Timeout { "timeout" } else { state.as_str() };
    if context.json() {
        let exit = end.exit();
        println!(
            "{}",
            json!({ "event": "end", "rollout": rollout, "state": state, "reason": reason, "end": code, "exit": exit })
        );
        return if exit == 0 { Ok(()) } else { Err(Failure { exit, ..Failure::reported() }) };
    }
    match end {
        End::Completed => {
            println!("{rollout} completed");
            Ok(())
        }
        End::Timeout => Err(Failure {
            exit: end.exit(),
            code: "rollout.timeout".into(),
            message: format!(
                "{rollout} is still {state}; it goes on. Follow it with `longshore rollout watch {rollout}`"
            ),
        }),
        _ => Err(Failure {
            exit: end.exit(),
            code: format!("rollout.{code}"),
            message: format!("{rollout} is {state}: {reason}. See `longshore rollout show {rollout}`"),
        }),
    }
}

fn show(bar: &ProgressBar, rollout: &Value) {
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    for wave in list(rollout, "waves") {
        for (state, n) in wave["device_counts"].as_object().into_iter().flatten() {
            *counts.entry(state).or_default() += n.as_u64().unwrap_or(0);
        }
    }
    let done = ["committed", "already"].iter().filter_map(|s| counts.get(s)).sum();
    bar.set_length(counts.values().sum());
    bar.set_position(done);
    let wave = list(rollout, "waves")
        .iter()
        .find(|w| matches!(text(w, "state").as_str(), "shadowing" | "offering" | "soaking" | "judging"))
        .map(|w| format!("wave {} {}", text(w, "wave"), text(w, "state")))
        .unwrap_or_default();
    bar.set_message(format!("{} {wave}", text(rollout, "state")));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_end_has_an_exit_code_of_its_own() {
        let ends = ["completed", "paused", "halted", "reverted", "superseded"].map(|s| End::of(s).unwrap());
        let codes: std::collections::BTreeSet<u8> =
            ends.into_iter().chain([End::Timeout]).map(End::exit).chain([1, 2, 3]).collect();
        assert_eq!(codes.len(), 9, "{codes:?}");
        for state in ["planned", "awaiting_authorization", "scheduled", "running", "halting", "reverting"] {
            assert_eq!(End::of(state), None, "{state} goes on by itself or is waited for");
        }
    }
}
