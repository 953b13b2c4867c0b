//! `longshore audit verify`: rebuilds the tree and holds it against everything that was ever signed or seen.

use std::collections::BTreeMap;
use std::path::PathBuf;

use longshore_trust::log::{Checkpoint, Entry, Frontier, LogKey, verify_consistency};
use serde_json::{Value, json};

use super::memory::{Memory, Remembered};
use super::source::{Export, PAGE, Server, Source, progress};
use crate::context::{Context, Failure};
use crate::http::Client;

/// How to check.
#[derive(Debug, Default, clap::Args)]
pub struct Args {
    /// Check an exported directory instead of the server; nothing is asked over the network
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// The log's verifier key, as `longshore-fleet init` printed it [default: the one this machine remembers; the first
    /// time, the source's own, which is then remembered]
    #[arg(long, value_name = "KEY")]
    pub log_key: Option<String>,
    /// Look only at what came after the checkpoint this machine remembers
    #[arg(long)]
    pub new: bool,
    /// Go on after a restore from a backup has cut off entries that this machine had seen
    #[arg(long)]
    pub accept_restore: bool,
}

/// The log is not what it should be.
pub fn tampered(why: &dyn std::fmt::Display) -> Failure {
    Failure::refused("audit.tampered", format!("the audit log does not hold: {why}"))
}

/// What held.
pub struct Report {
    /// Its verifier key.
    pub key: LogKey,
    /// Where the key came from.
    pub key_from: &'static str,
    /// Entries.
    pub size: u64,
    checkpoint: Checkpoint,
    entries: u64,
    checkpoints: usize,
    since: Option<Checkpoint>,
    restores: Vec<Entry>,
    alarms: Vec<Entry>,
    remembered: bool,
}

impl Report {
    /// For machines.
    pub fn json(&self) -> Value {
        json!({
            "ok": true, "log": self.key.name(), "key": self.key.to_string(), "key_from": self.key_from,
            "size": self.size, "epoch": self.checkpoint.epoch, "root": self.checkpoint.root,
            "entries_checked": self.entries, "checkpoints_checked": self.checkpoints,
            "consistent_since": self.since.as_ref().map(|c| json!({ "epoch": c.epoch, "size": c.size })),
            "restores": self.restores, "alarms": self.alarms, "remembered": self.remembered,
        })
    }
    fn print(&self) {
        println!("{}: {} entries, epoch {}", self.key.name(), self.size, self.checkpoint.epoch);
        println!("root      {}", self.checkpoint.root);
        println!("checked   {} entries, {} checkpoints", self.entries, self.checkpoints);
        match &self.since {
            Some(c) => println!("unchanged since the {} entries this machine saw before", c.size),
            None => println!("nothing was seen before on this machine to compare with"),
        }
        if self.key_from == "first use" {
            println!(
                "key       {} (taken from the source, this being the first time: compare it with what \
                 `longshore-fleet init` printed)",
                self.key
            );
        }
        if !self.remembered {
            println!("not remembered: no trust store is known (--trust DIR)");
        }
        for entry in &self.restores {
            println!("restore   entry {}: {}, {}", entry.index, entry.object, entry.detail);
        }
        for entry in &self.alarms {
            println!("ALARM     entry {}: {}: {}", entry.index, entry.action, entry.detail);
        }
    }
}

/// Runs it.
pub fn run(context: &Context, args: &Args) -> Result<(), Failure> {
    let report = match &args.dir {
        Some(dir) => verify(context, args, &Export::open(dir)?)?,
        None => {
            let client = Client::from_context(context)?;
            verify(context, args, &Server::new(&client))?
        }
    };
    if context.json() {
        println!("{}", report.json());
    } else {
        report.print();
    }
    Ok(())
}

/// Whose signatures count, and why.
pub fn key(
    given: Option<&str>,
    memory: Option<&Memory>,
    claimed: impl FnOnce() -> Result<String, Failure>,
) -> Result<(LogKey, &'static str), Failure> {
    let remembered = memory.and_then(|m| m.said.as_ref()).map(|r| r.key.as_str());
    let parse = |text: &str| text.trim().parse::<LogKey>().map_err(|e| Failure::usage(e.to_string()));
    match (given, remembered) {
        (Some(given), Some(known)) if parse(given)? != parse(known)? => Err(Failure::refused(
            "audit.other_key",
            format!("the trust store remembers another key of this log: {known}"),
        )),
        (Some(given), _) => Ok((parse(given)?, "given")),
        (None, Some(known)) => Ok((parse(known)?, "remembered")),
        (None, None) => Ok((parse(&claimed()?)?, "first use")),
    }
}

/// Checks everything, and remembers the newest checkpoint.
pub fn verify(context: &Context, args: &Args, source: &dyn Source) -> Result<Report, Failure> {
    let memory = Memory::of(context)?;
    let (key, key_from) = key(args.log_key.as_deref(), memory.as_ref(), || source.claimed_key())?;
    // First, so that none of them is newer than the newest: a server goes on signing.
    let listed = source.checkpoints()?;
    let note = source.checkpoint()?;
    let newest = Checkpoint::open(&note, &key).map_err(|e| tampered(&e))?.into_inner();
    let before = memory.as_ref().and_then(|m| m.said.as_ref()).map(|r| r.open(&key)).transpose()?;
    if let Some((b, _)) = &before
        && (b.epoch > newest.epoch || (b.epoch == newest.epoch && b.size > newest.size))
    {
        return Err(tampered(&format!(
            "this machine has seen {} entries signed in epoch {}, now there are {} in epoch {}",
            b.size, b.epoch, newest.size, newest.epoch
        )));
    }
    let mut walk = Walk { expected: BTreeMap::new(), restores: Vec::new(), alarms: Vec::new() };
    let mut checkpoints = 0;
    for text in listed {
        let c = Checkpoint::open(text.as_bytes(), &key).map_err(|e| tampered(&e))?.into_inner();
        checkpoints += 1;
        if c.size <= newest.size {
            walk.expected.entry(c.size).or_default().push(c);
        } else if c.epoch >= newest.epoch {
            return Err(tampered(&format!(
                "a checkpoint of {} entries was signed, which is more than the newest",
                c.size
            )));
        }
    }
    walk.expected.entry(newest.size).or_default().push(newest.clone());
    let start = match &before {
        Some((_, frontier)) if args.new => frontier.clone(),
        _ => Frontier::default(),
    };
    let seen = before.as_ref().map(|(b, _)| b.clone());
    let first = start.size();
    let walked = walk.through(source, start, &newest, seen.as_ref(), context.json())?;
    let cut = seen.as_ref().filter(|_| !walked.continues);
    if let Some(b) = cut
        && !args.accept_restore
    {
        return Err(rolled_back(b, &newest, &walk.restores));
    }
    if let (Some(b), None) = (&seen, cut)
        && let Some(proof) = source.consistency(b.size, newest.size)?
    {
        verify_consistency(b.size, &b.root, newest.size, &newest.root, &proof).map_err(|e| tampered(&e))?;
    }
    if let Some(memory) = &memory {
        memory.write(&Remembered {
            key: key.to_string(),
            checkpoint: String::from_utf8(note).map_err(|e| tampered(&e))?,
            peaks: walked.frontier.peaks().to_vec(),
        })?;
    }
    Ok(Report {
        key,
        key_from,
        size: newest.size,
        entries: newest.size - first.min(newest.size),
        checkpoints,
        since: seen.filter(|_| walked.continues),
        restores: walk.restores,
        alarms: walk.alarms,
        remembered: memory.is_some(),
        checkpoint: newest,
    })
}

fn rolled_back(seen: &Checkpoint, newest: &Checkpoint, restores: &[Entry]) -> Failure {
    let restored = restores.iter().map(|e| e.object.as_str()).collect::<Vec<_>>().join(", ");
    Failure::refused(
        "audit.rolled_back",
        format!(
            "the log was rolled back at a restore from a backup ({restored}): this machine had seen {} entries in epoch {}, \
             which the log of epoch {} does not continue. Entries are lost. If the restore was yours, go on with \
             --accept-restore; keep an export from before it.",
            seen.size, seen.epoch, newest.epoch
        ),
    )
}

struct Walk {
    /// Checkpoints by size.
    expected: BTreeMap<u64, Vec<Checkpoint>>,
    restores: Vec<Entry>,
    alarms: Vec<Entry>,
}

struct Walked {
    frontier: Frontier,
    /// Whether the log continues what this machine saw.
    continues: bool,
}

impl Walk {
    /// Appends every entry and compares roots on the way.
    fn through(
        &mut self,
        source: &dyn Source,
        mut frontier: Frontier,
        newest: &Checkpoint,
        seen: Option<&Checkpoint>,
        quiet: bool,
    ) -> Result<Walked, Failure> {
        let mut continues = seen.is_none_or(|s| s.size <= newest.size);
        let bar = progress(newest.size, quiet);
        self.compare(&frontier)?;
        while frontier.size() < newest.size {
            let page = source.entries(frontier.size(), PAGE)?;
            if page.is_empty() {
                return Err(tampered(&format!("entry {} is missing", frontier.size())));
            }
            for entry in page {
                if frontier.size() == newest.size {
                    break;
                }
                if entry.index != frontier.size() {
                    return Err(tampered(&format!("entry {} is missing", frontier.size())));
                }
                frontier.append(entry.leaf());
                match entry.action.as_str() {
                    "fleet.restore" => self.restores.push(entry),
                    a if a.starts_with("log.") => self.alarms.push(entry),
                    _ => {}
                }
                self.compare(&frontier)?;
                if seen.is_some_and(|s| s.size == frontier.size() && s.root != frontier.root()) {
                    continues = false;
                }
            }
            bar.set_position(frontier.size());
        }
        bar.finish_and_clear();
        if let Some(seen) = seen.filter(|_| !continues)
            && !self.was_restored_since(seen, newest)
        {
            return Err(tampered(&format!(
                "it does not continue the {} entries that this machine has seen signed: entries were changed or removed",
                seen.size
            )));
        }
        Ok(Walked { frontier, continues })
    }

    fn compare(&self, frontier: &Frontier) -> Result<(), Failure> {
        for c in self.expected.get(&frontier.size()).into_iter().flatten() {
            if c.root != frontier.root() {
                return Err(tampered(&format!(
                    "its first {} entries are not those that were signed in epoch {}: one of them was changed, removed or \
                     put in another place",
                    c.size, c.epoch
                )));
            }
        }
        Ok(())
    }

    /// Whether each epoch since then began with a restore that is an entry of the log.
    fn was_restored_since(&self, seen: &Checkpoint, newest: &Checkpoint) -> bool {
        newest.epoch > seen.epoch
            && self.restores.iter().any(|e| {
                let epoch = e.object.strip_prefix("epoch ").and_then(|n| n.parse::<u64>().ok());
                epoch.is_some_and(|n| n > seen.epoch && n <= newest.epoch)
            })
    }
}

#[cfg(test)]
#[path = "verify_tests.rs"]
mod tests;
