//! `longshore audit`: search the audit log, take it away, and check it without believing the server.

mod memory;
mod source;
mod verify;

use std::path::PathBuf;

use longshore_trust::Digest;
use longshore_trust::log::{Checkpoint, Entry, verify_inclusion};
use serde_json::{Value, json};

use crate::context::{Context, Failure};
use crate::http::Client;
use crate::show::{table, text};
pub use memory::Memory;
use source::Export;
pub use source::{Server, Source, date, hashes};
pub use verify::key as log_key;

/// What can be done with the audit log.
#[derive(clap::Subcommand)]
pub enum Command {
    /// Check hashes, order, signatures, and that nothing seen before was changed
    ///
    /// Downloads every entry (or reads an export), rebuilds the Merkle tree, compares its root with every checkpoint that
    /// was signed and with the last one this machine saw, and remembers the newest. Exit code 1: the log was tampered
    /// with, or (code audit.rolled_back) a restore from a backup cut entries off.
    Verify(verify::Args),
    /// Search entries, newest first; with --index, show one and prove that it is in the log
    Show(ShowArgs),
    /// Write entries, checkpoints and key into a new directory that `verify --dir` checks offline
    Export(ExportArgs),
}

/// Which entries.
#[derive(clap::Args)]
pub struct ShowArgs {
    /// Number of one entry: it is shown with the proof that it is in the log
    #[arg(long, conflicts_with_all = ["search", "action", "actor"])]
    index: Option<u64>,
    /// Characters that occur in the entry
    #[arg(long, value_name = "TEXT")]
    search: Option<String>,
    /// An action (`rollout.start`) or a group of them (`rollout`)
    #[arg(long)]
    action: Option<String>,
    /// Who did it
    #[arg(long)]
    actor: Option<String>,
    /// At most so many
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=500))]
    limit: u32,
}

/// Where to.
#[derive(clap::Args)]
pub struct ExportArgs {
    /// New directory
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// The log's verifier key [default: the one this machine remembers, else the server's]
    #[arg(long, value_name = "KEY")]
    log_key: Option<String>,
}

/// Runs one of them.
pub fn run(context: &Context, command: Command) -> Result<(), Failure> {
    match command {
        Command::Verify(args) => verify::run(context, &args),
        Command::Show(args) => match args.index {
            Some(index) => show_one(context, index),
            None => show(context, &args),
        },
        Command::Export(args) => export(context, args),
    }
}

fn show(context: &Context, args: &ShowArgs) -> Result<(), Failure> {
    let client = Client::from_context(context)?;
    let mut query = format!("?limit={}", args.limit);
    for (name, value) in [("q", &args.search), ("action", &args.action), ("actor", &args.actor)] {
        if let Some(value) = value {
            query.push_str(&format!("&{name}={}", source::percent_encoded(value)));
        }
    }
    let page: Value = client.get(&format!("/audit/search{query}"))?;
    if context.json() {
        println!("{page}");
        return Ok(());
    }
    let items = page["items"].as_array().cloned().unwrap_or_default();
    if items.is_empty() {
        println!("No entry fits.");
        return Ok(());
    }
    let rows = items.iter().map(|e| {
        let when = e["time"].as_i64().map_or_else(|| "-".into(), source::date);
        vec![
            text(e, "index"),
            when,
            text(e, "actor"),
            text(e, "action"),
            text(e, "object"),
            text(e, "detail"),
        ]
    });
    println!("{}", table(&["#", "when", "who", "what", "to what", "detail"], rows.collect()));
    if !page["next"].is_null() {
        println!("There are more: narrow the search, or raise --limit.");
    }
    Ok(())
}

fn show_one(context: &Context, index: u64) -> Result<(), Failure> {
    let client = Client::from_context(context)?;
    let server = Server::new(&client);
    let memory = memory::Memory::of(context)?;
    let (key, _) = verify::key(None, memory.as_ref(), || server.claimed_key())?;
    let note = server.checkpoint()?;
    let checkpoint = Checkpoint::open(&note, &key).map_err(|e| verify::tampered(&e))?;
    let entry =
        server.entries(index, 1)?.into_iter().find(|e: &Entry| e.index == index).ok_or_else(|| {
            Failure::refused(
                "audit.no_entry",
                format!("the log has no entry {index} (it has {})", checkpoint.size),
            )
        })?;
    let path = format!("/audit/proof/inclusion?index={index}&size={}", checkpoint.size);
    let proof = source::hashes(&client.get::<Value>(&path)?)?;
    verify_inclusion(index, &entry.leaf(), checkpoint.size, &checkpoint.root, &proof)
        .map_err(|e| verify::tampered(&e))?;
    if context.json() {
        let proof: Vec<String> = proof.iter().map(Digest::to_hex).collect();
        let note = String::from_utf8_lossy(&note);
        println!("{}", json!({ "entry": entry, "leaf": entry.leaf(), "proof": proof, "checkpoint": note }));
        return Ok(());
    }
    println!("entry     {}", entry.index);
    println!("when      {}", source::date(i64::try_from(entry.time.0).unwrap_or(i64::MAX)));
    println!("who       {}", entry.actor);
    println!("what      {}", entry.action);
    println!("to what   {}", entry.object);
    println!("detail    {}", entry.detail);
    println!("leaf      {}", entry.leaf());
    println!(
        "proven    {} hashes lead to the root that {} signed over {} entries",
        proof.len(),
        key.name(),
        checkpoint.size
    );
    Ok(())
}

fn export(context: &Context, args: ExportArgs) -> Result<(), Failure> {
    let client = Client::from_context(context)?;
    source::export(&Server::new(&client), &args.out, context.json())?;
    let verify =
        verify::Args { dir: Some(args.out.clone()), log_key: args.log_key, ..verify::Args::default() };
    let report = verify::verify(context, &verify, &Export::open(&args.out)?)?;
    if context.json() {
        println!("{}", report.json());
    } else {
        println!(
            "Exported and checked {} entries into {}: an auditor runs `longshore audit verify --dir {} --log-key {}`.",
            report.size,
            args.out.display(),
            args.out.display(),
            report.key
        );
    }
    Ok(())
}
