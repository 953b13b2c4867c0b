//! `longshore keys sign`: one holder's signature on a draft, offline; `longshore keys submit`: the finished draft to the
//! fleet.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::json;

use super::current::{Current, follow_release_keys, refused};
use super::{Keyring, SigningArgs, describe, draft_file};
use crate::approve::confirm;
use crate::context::{Context, Failure};
use crate::http::Client;
use crate::trust_store::{TrustStore, now};

/// `longshore keys sign`
#[derive(clap::Args)]
pub struct SignArgs {
    /// The draft
    #[arg(value_name = "DRAFT")]
    pub draft: PathBuf,
    #[command(flatten)]
    pub keys: SigningArgs,
    /// Do not ask before signing
    #[arg(long)]
    pub yes: bool,
}

/// `longshore keys submit`
#[derive(clap::Args)]
pub struct SubmitArgs {
    /// The draft; several copies that were signed apart are joined
    #[arg(value_name = "DRAFT", required = true)]
    pub draft: Vec<PathBuf>,
}

/// Runs `sign`.
pub(super) fn sign(context: &Context, args: &SignArgs) -> Result<(), Failure> {
    let mut keyring = Keyring::find(&args.keys)?;
    let current = Current::read(&context.trust_dir()?)?;
    let fleet = &current.fleet.fleet;
    let mut draft = draft_file::read(&args.draft, fleet)?;
    current.published.check(&draft, now()).map_err(|e| refused(&e))?;
    let before = describe::documents(&current.published, &draft)?;
    match context.json() {
        // Where the answer is for a machine, whoever confirms still sees what is signed.
        true => eprint!("{}", describe::to_text(&before)),
        false => println!("{}", describe::to_text(&before)),
    }
    let seats = current.published.seats(&draft).map_err(|e| refused(&e))?;
    if seats.iter().all(|s| keyring.count(&s.keys) == 0) {
        return Err(Failure::usage(
            "none of the keys at hand may sign this draft (`longshore keys show` tells which key is which)",
        ));
    }
    confirm(args.yes, "Sign this draft?")?;
    let mut added = 0;
    for seat in &seats {
        if let Some(document) = draft.get_mut(&seat.role) {
            added += keyring.sign(document, &seat.keys)?;
        }
    }
    let documents = describe::documents(&current.published, &draft)?;
    let complete = describe::complete(&documents);
    if added == 0 && !complete {
        return Err(Failure::refused(
            "keys.signed_before",
            "the keys at hand have already signed this draft: another holder must sign",
        ));
    }
    draft_file::write(&args.draft, &draft, fleet)?;
    if context.json() {
        let documents = describe::to_json(&documents);
        println!(
            "{}",
            json!({"ok": true, "draft": args.draft, "added": added, "complete": complete, "documents": documents})
        );
        return Ok(());
    }
    println!("{added} signature(s) added to {}\n", args.draft.display());
    describe::print(&documents);
    if complete {
        println!(
            "\nIt is complete. On a machine that reaches the server: longshore keys submit {}",
            args.draft.display()
        );
    } else {
        println!("\nThe next holder runs: longshore keys sign {} --key FILE", args.draft.display());
    }
    Ok(())
}

#[derive(Deserialize)]
struct Outcome {
    published: Vec<Published>,
}
#[derive(Deserialize, serde::Serialize)]
struct Published {
    role: String,
    version: u64,
}

/// Runs `submit`.
pub(super) fn submit(context: &Context, args: &SubmitArgs) -> Result<(), Failure> {
    let dir = context.trust_dir()?;
    let client = Client::from_context(context)?;
    refresh(&dir, &client)?;
    let current = Current::read(&dir)?;
    let draft = draft_file::join(&args.draft, &current.fleet.fleet)?;
    let documents: BTreeMap<&str, String> =
        draft.documents().map(|(role, d)| (role, STANDARD.encode(d.to_bytes()))).collect();
    let documents: Vec<_> =
        documents.into_iter().map(|(role, metadata)| json!({"role": role, "metadata": metadata})).collect();
    let outcome: Outcome = client.post("/trust/ceremony", &json!({ "documents": documents }))?;
    // The operator's own store follows at once, and proves that the server serves what was signed.
    refresh(&dir, &client)?;
    let current = Current::read(&dir)?;
    let changed = follow_release_keys(&dir, &current)?;
    if context.json() {
        println!("{}", json!({"ok": true, "published": outcome.published, "fleet_json_changed": changed}));
        return Ok(());
    }
    for p in &outcome.published {
        println!("{} version {} is published.", p.role, p.version);
    }
    if changed {
        println!(
            "{} names the new release keys: copy it into the trust folder of every operator.",
            dir.join("fleet.json").display()
        );
    }
    Ok(())
}

/// Brings the whole trust store up to date, with every model's role.
pub(super) fn refresh(dir: &Path, client: &Client) -> Result<(), Failure> {
    let mut store = TrustStore::refresh(dir.to_owned(), client)?;
    store.resolve_all()
}
