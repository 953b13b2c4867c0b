//! The promotion record of a rollout: fetched with everything that proves it, and checked without asking anybody.
//!
//! What always holds: nothing in the file is believed. The record's hash must stand in the entry, the entry must be in the log
//! that the checkpoint signs, and the plan must have the hash that the record names.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use longshore_trust::log::{Checkpoint, Entry, verify_inclusion};
use longshore_trust::{Digest, RolloutId};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::audit::{Memory, Server, Source as _, hashes, log_key};
use crate::context::{Context, Failure};
use crate::http::Client;
use crate::show::{list, table, text};

const FORMAT: &str = "longshore-promotion-record/1";
const ACTION: &str = "rollout.record";
/// Longest file: a plan of a hundred thousand devices is some megabytes.
const MAX_BYTES: u64 = 256 << 20;

/// A record with its proof, as a file.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Proven {
    format: String,
    /// The record: JSON, hashed as it stands.
    record: String,
    /// The plan: JSON, hashed as it stands.
    plan: String,
    /// The entry that names the record's hash.
    entry: Entry,
    /// Hashes that lead from the entry to the checkpoint's root.
    proof: Vec<Digest>,
    /// The signed checkpoint.
    checkpoint: String,
    /// The log's key, for who does not know it: it proves nothing.
    log_key: String,
}

fn tampered(why: impl std::fmt::Display) -> Failure {
    Failure::refused("record.tampered", format!("the promotion record does not hold: {why}"))
}

/// `longshore rollout record`.
pub fn fetch(
    context: &Context,
    client: &Client,
    rollout: &RolloutId,
    out: Option<&Path>,
) -> Result<(), Failure> {
    let found: Value = client.get(&format!("/rollouts/{rollout}/record"))?;
    let server = Server::new(client);
    let strange = || Failure::refused("api.answer", "the server answered with a record that cannot be read");
    let index = found["entry"].as_u64().ok_or_else(strange)?;
    let memory = Memory::of(context)?;
    let (key, key_from) = log_key(None, memory.as_ref(), || server.claimed_key())?;
    let note = server.checkpoint()?;
    let size = Checkpoint::open(&note, &key).map_err(tampered)?.size;
    let entry = server.entries(index, 1)?.into_iter().find(|e| e.index == index).ok_or_else(strange)?;
    let proof = hashes(&client.get(&format!("/audit/proof/inclusion?index={index}&size={size}"))?)?;
    let file = Proven {
        format: FORMAT.to_owned(),
        record: text(&found, "record"),
        plan: text(&found, "plan"),
        entry,
        proof,
        checkpoint: String::from_utf8(note).map_err(tampered)?,
        log_key: key.to_string(),
    };
    let record = file.verify(&key)?;
    let bytes = serde_json::to_vec_pretty(&file).expect("text and hashes always encode");
    match out {
        Some(path) => {
            std::fs::write(path, bytes)
                .map_err(|e| Failure::usage(format!("cannot write {}: {e}", path.display())))?;
            if context.json() {
                println!("{}", json!({ "ok": true, "file": path, "entry": index, "record": record }));
            } else {
                print!("{}", show(&record, &file.entry));
                println!(
                    "\nWritten to {}: anybody checks it with `longshore rollout verify-record {} --log-key {key}`.",
                    path.display(),
                    path.display()
                );
            }
        }
        None if context.json() => println!("{}", String::from_utf8_lossy(&bytes)),
        None => print!("{}", show(&record, &file.entry)),
    }
    if key_from == "first use" && !context.json() {
        println!(
            "The log's key was taken from the server: compare it with what `longshore-fleet init` printed."
        );
    }
    Ok(())
}

/// Which file, and whose signature counts.
#[derive(Debug, clap::Args)]
pub struct Check {
    /// A file that `longshore rollout record --out` wrote
    file: PathBuf,
    /// The log's verifier key, as `longshore-fleet init` printed it [default: the one this machine remembers]
    #[arg(long, value_name = "KEY")]
    log_key: Option<String>,
    /// Be content with the key in the file, if no other is known: whoever made the file may have made the key as well
    #[arg(long, conflicts_with = "log_key")]
    without_log_key: bool,
}

/// Exit code when everything fits together and nobody knows who signed it.
const UNVERIFIED: u8 = 5;
/// What is not verified then.
const NOT_VERIFIED: &str = "log_key";

/// `longshore rollout verify-record`: nothing is asked over the network.
pub fn verify(context: &Context, args: &Check) -> Result<(), Failure> {
    let path = args.file.display();
    let cannot = |e: std::io::Error| Failure::usage(format!("cannot read {path}: {e}"));
    if std::fs::metadata(&args.file).map_err(cannot)?.len() > MAX_BYTES {
        return Err(tampered(format!("{path} is longer than any record")));
    }
    let bytes = std::fs::read(&args.file).map_err(cannot)?;
    let file: Proven = serde_json::from_slice(&bytes)
        .map_err(|e| tampered(format!("{path} is not what `longshore rollout record` writes: {e}")))?;
    let memory = Memory::of(context)?;
    let (key, key_from) = log_key(args.log_key.as_deref(), memory.as_ref(), || Ok(file.log_key.clone()))?;
    let record = file.verify(&key)?;
    let known = key_from != "first use";
    let accepted = known || args.without_log_key;
    if context.json() {
        let said = json!({
            "ok": accepted, "verified": known, "not_verified": if known { vec![] } else { vec![NOT_VERIFIED] },
            "log": key.name(), "key": key.to_string(), "key_from": if known { key_from } else { "the file" },
            "entry": file.entry.index, "record": record,
        });
        println!("{said}");
    } else {
        print!("{}", show(&record, &file.entry));
        let whose = if known { "whose signature holds" } else { "signed by a key that nobody vouches for" };
        println!("\nproven    its hash stands in entry {} of {}, {whose}", file.entry.index, key.name());
        println!("          its plan has the hash {}", text(&record, "plan_hash"));
        if !known {
            println!("key       {key}");
            println!(
                "          taken from the file itself: compare it with what `longshore-fleet init` printed"
            );
        }
    }
    if accepted {
        return Ok(());
    }
    let message = format!(
        "{path} is not verified: nobody knows whether {key} is the log's key; pass --log-key with what `longshore-fleet \
         init` printed, or accept the key in the file with --without-log-key"
    );
    // As JSON it has been said.
    let message = if context.json() { String::new() } else { message };
    Err(Failure { exit: UNVERIFIED, code: "record.unverified".into(), message })
}

impl Proven {
    /// The record, if everything leads to the signature.
    fn verify(&self, key: &longshore_trust::log::LogKey) -> Result<Value, Failure> {
        if self.format != FORMAT {
            return Err(tampered(format!("{:?} is a format that this program does not know", self.format)));
        }
        let checkpoint = Checkpoint::open(self.checkpoint.as_bytes(), key).map_err(tampered)?;
        let (entry, leaf) = (&self.entry, self.entry.leaf());
        verify_inclusion(entry.index, &leaf, checkpoint.size, &checkpoint.root, &self.proof)
            .map_err(|e| tampered(format!("its entry is not in the log that was signed: {e}")))?;
        let digest = Digest::of(self.record.as_bytes());
        let sealed = entry.detail.strip_prefix("sha256:").and_then(|d| d.get(..64));
        if entry.action != ACTION || sealed != Some(digest.to_hex().as_str()) {
            return Err(tampered(format!(
                "its text has SHA-256 {digest}, which entry {} does not name",
                entry.index
            )));
        }
        let record: Value = serde_json::from_str(&self.record).map_err(tampered)?;
        let plan: Value = serde_json::from_str(&self.plan).map_err(tampered)?;
        let found = Digest::of(self.plan.as_bytes()).to_hex();
        if record["plan_hash"].as_str() != Some(found.as_str()) {
            return Err(tampered(format!(
                "its plan has the hash {found}, the record names {}",
                record["plan_hash"]
            )));
        }
        if record["rollout"].as_str() != Some(entry.object.as_str()) {
            return Err(tampered(format!(
                "it is of rollout {}, its entry of {}",
                record["rollout"], entry.object
            )));
        }
        for (in_record, in_plan) in [
            ("rollout", "id"),
            ("generation", "generation"),
            ("model", "model"),
            ("version", "version"),
            ("bundle", "bundle"),
        ] {
            if record[in_record] != plan[in_plan] {
                return Err(tampered(format!("its {in_record} is not the one of its plan")));
            }
        }
        if record["policy"] != plan["policy"]["name"] {
            return Err(tampered("its policy is not the one of its plan"));
        }
        Ok(record)
    }
}

/// The record, for people.
fn show(r: &Value, entry: &Entry) -> String {
    let mut out = String::new();
    let mut line = |name: &str, said: String| {
        let _ = writeln!(out, "{name:<10}{said}");
    };
    line("promoted", format!("{}@{}, rollout {}", text(r, "model"), text(r, "version"), text(r, "rollout")));
    line("bundle", text(r, "bundle"));
    line("plan", format!("{} (policy {})", text(r, "plan_hash"), text(r, "policy")));
    line("completed", crate::audit::date(i64::try_from(entry.time.0).unwrap_or(i64::MAX)));
    for deed in list(r, "people") {
        let when = crate::audit::date(deed["time"].as_i64().unwrap_or(0));
        line("", format!("{} by {}, {when}", text(deed, "action"), text(deed, "actor")));
    }
    let keys: Vec<String> = list(&r["approved"], "keys")
        .iter()
        .filter_map(|k| k.as_str())
        .map(|k| k.chars().take(12).collect())
        .collect();
    if !keys.is_empty() {
        line(
            "approved",
            format!("{} {} by {}", text(&r["approved"], "role"), r["approved"]["version"], keys.join(", ")),
        );
    }
    let devices = r["devices"].as_object().into_iter().flatten();
    let devices: Vec<String> = devices.map(|(state, n)| format!("{n} {state}")).collect();
    line("devices", devices.join(", "));
    for (name, of) in [("with it", "candidate"), ("before", "champion")] {
        let t = &r[of];
        line(
            name,
            format!(
                "{} rows, {} errors, {} of {} labelled right",
                t["rows"], t["errors"], t["correct"], t["labelled"]
            ),
        );
    }
    if let Some(said) = super::show::shadow(&r["shadow"]) {
        line("in shadow", said.join("\n          "));
    }
    let rows: Vec<Vec<String>> = list(r, "waves")
        .iter()
        .flat_map(|w| {
            let gates = list(&w["verdict"], "gates");
            gates.iter().map(move |g| {
                vec![text(w, "wave"), text(w, "state"), text(g, "gate"), text(g, "outcome"), text(g, "text")]
            })
        })
        .collect();
    if !rows.is_empty() {
        let _ = writeln!(out, "{}", table(&["wave", "state", "gate", "outcome", "why"], rows));
    }
    out
}

#[cfg(test)]
#[path = "record_tests.rs"]
mod tests;
