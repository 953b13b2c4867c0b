//! `longshore policy`: is a rollout policy right, and what do the shipped ones say? Needs no server.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use longshore_fleet_core::plan::policy_lint;
use longshore_fleet_core::policy::{Policy, PolicyError, SHIPPED, human_bandwidth, human_duration, shipped};
use longshore_trust::UnixMs;
use serde_json::json;

use crate::context::{Context, Failure};

/// No policy file is longer.
const LONGEST: u64 = 1 << 20;

/// What can be done with policies.
#[derive(clap::Subcommand)]
pub enum Command {
    /// Say all that is wrong with a policy file, each with its line; exit code 1 when something is
    Check {
        /// The file; `-` reads standard input
        file: PathBuf,
    },
    /// Show a shipped policy (careful, fast, emergency): a file to begin with
    Show {
        /// Its name
        name: String,
    },
}

/// Runs one of them.
pub fn run(context: &Context, command: Command) -> Result<(), Failure> {
    match command {
        Command::Check { file } => check(context, &file),
        Command::Show { name } => show(context, &name),
    }
}

fn read(file: &Path) -> Result<String, Failure> {
    let named = |e: std::io::Error| Failure::usage(format!("cannot read the policy {}: {e}", file.display()));
    let mut text = String::new();
    if file == Path::new("-") {
        std::io::stdin().take(LONGEST).read_to_string(&mut text).map_err(named)?;
    } else {
        std::fs::File::open(file).and_then(|f| f.take(LONGEST).read_to_string(&mut text)).map_err(named)?;
    }
    Ok(text)
}

fn check(context: &Context, file: &Path) -> Result<(), Failure> {
    match Policy::check(&read(file)?) {
        Ok(policy) => {
            let notes = policy_lint(&policy, now());
            if context.json() {
                println!("{}", json!({ "ok": true, "mistakes": [], "lint": notes, "policy": policy }));
            } else {
                print!("{}", describe(&policy));
                for note in notes {
                    println!("note: {note}");
                }
            }
            Ok(())
        }
        Err(wrong) => {
            if context.json() {
                let mistakes: Vec<_> =
                    wrong.iter().map(|e| json!({ "line": e.line, "message": e.message })).collect();
                println!("{}", json!({ "ok": false, "code": "policy.invalid", "mistakes": mistakes }));
                return Err(Failure::reported());
            }
            for PolicyError { line, message } in &wrong {
                println!("{}:{line}: {message}", file.display());
            }
            let n = wrong.len();
            Err(Failure::refused("policy.invalid", format!("{} has {n} mistake(s)", file.display())))
        }
    }
}

fn now() -> UnixMs {
    UnixMs(u64::try_from(jiff::Timestamp::now().as_millisecond()).unwrap_or(0))
}

/// What a policy does, one line a wave.
fn describe(p: &Policy) -> String {
    let mut out = format!("{}: {} wave(s)\n", p.name, p.waves.len());
    for (i, w) in p.waves.iter().enumerate() {
        let mut line = format!("  wave {i}: {}", w.select);
        if w.shadow_ms > 0 {
            line += &format!(", in shadow for {}", human_duration(w.shadow_ms));
        }
        line += &format!(", soak {}", human_duration(w.soak_ms));
        if let Some(n) = w.max_per_minute {
            line += &format!(", at most {n} devices a minute");
        }
        if w.optional {
            line += ", optional";
        }
        out += &line;
        out.push('\n');
    }
    if let Some(w) = &p.window {
        out += &format!(
            "  window: {:?} for {}, in each device's own time zone\n",
            w.cron,
            human_duration(w.duration_ms)
        );
    }
    if let Some(b) = p.bandwidth {
        out += &format!("  bandwidth: {}\n", human_bandwidth(b));
    }
    if p.priority != 0 {
        out += &format!("  priority: {}\n", p.priority);
    }
    if p.authorize {
        out += "  a second person must say yes to each plan\n";
    }
    let gate = &p.gate;
    out += &format!(
        "  each wave has {}; when it fails: {}; when it is inconclusive: {}\n",
        human_duration(gate.deadline_ms),
        gate.on_fail.as_str(),
        gate.on_inconclusive.as_str()
    );
    out
}

fn show(context: &Context, name: &str) -> Result<(), Failure> {
    let Some(text) = shipped(name) else {
        let names: Vec<_> = SHIPPED.iter().map(|(name, _)| *name).collect();
        return Err(Failure::usage(format!(
            "there is no shipped policy {name:?}; there are {}",
            names.join(", ")
        )));
    };
    if context.json() {
        println!("{}", json!({ "name": name, "text": text, "policy": Policy::parse(text).ok() }));
    } else {
        print!("{text}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_described_is_all_that_a_policy_says() {
        let text = format!(
            "bandwidth = \"20MB/s\"\npriority = 5\nauthorize = true\n{}\n[window]\ncron = \"0 1 * * *\"\nduration = \"3h\"\n",
            shipped("careful").unwrap()
        );
        let said = describe(&Policy::parse(&text).unwrap());
        for part in
            ["20MB/s", "priority: 5", "second person", "0 1 * * *", "3h", "soak 30m", "the rest", "optional"]
        {
            assert!(said.contains(part), "{part}: {said}");
        }
    }
}
