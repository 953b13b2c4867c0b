//! `longshore keys rotate`, `revoke` and `renew`: drafts, made on a machine that needs no network.

use std::path::{Path, PathBuf};

use longshore_trust::PublicKey;
use longshore_trust::tuf::ceremony::{Draft, KeyChange, KeyRole};
use longshore_trust::tuf::key_id;
use serde_json::json;

use super::current::{Current, refused};
use super::private::KeyFile;
use super::{describe, draft_file};
use crate::context::{Context, Failure};
use crate::trust_store::now;

/// Shortest part of a key id that names a key.
const MIN_ID: usize = 8;

/// `longshore keys rotate`
#[derive(clap::Args)]
pub struct RotateArgs {
    /// root, targets, release (all models), models/<name>, snapshot, timestamp, director or time
    #[arg(value_name = "ROLE")]
    pub role: KeyRole,
    /// A key that comes: its .pub (or .key) file; may be given several times
    #[arg(long, value_name = "FILE")]
    pub add: Vec<PathBuf>,
    /// A key that leaves: its .pub or .key file, or the beginning of its id; may be given several times
    #[arg(long, value_name = "FILE|ID")]
    pub remove: Vec<String>,
    /// How many of the keys must sign from now on [default: as before]
    #[arg(long, value_name = "N")]
    pub threshold: Option<u32>,
    #[command(flatten)]
    pub draft: DraftArg,
}

/// `longshore keys revoke`
#[derive(clap::Args)]
pub struct RevokeArgs {
    /// The key: its .pub or .key file, or the beginning of its id
    #[arg(value_name = "FILE|ID")]
    pub key: String,
    #[command(flatten)]
    pub draft: DraftArg,
}

/// `longshore keys renew`
#[derive(clap::Args)]
pub struct RenewArgs {
    /// root, targets, release (all models) or models/<name>; may be given several times
    #[arg(value_name = "ROLE", required = true)]
    pub role: Vec<KeyRole>,
    #[command(flatten)]
    pub draft: DraftArg,
}

/// Where a draft is kept.
#[derive(clap::Args)]
pub struct DraftArg {
    /// Draft file to make, or to add this change to while nobody has signed it
    #[arg(long, value_name = "FILE")]
    pub draft: PathBuf,
}

/// Runs `rotate`.
pub(super) fn rotate(context: &Context, args: &RotateArgs) -> Result<(), Failure> {
    if args.add.is_empty() && args.remove.is_empty() && args.threshold.is_none() {
        return Err(Failure::usage("nothing to change: pass --add, --remove or --threshold"));
    }
    let dir = context.trust_dir()?;
    let current = Current::read(&dir)?;
    let change = KeyChange {
        add: args.add.iter().map(|f| KeyFile::read_public(f)).collect::<Result<_, _>>()?,
        remove: args.remove.iter().map(|k| named_key(k, &current)).collect::<Result<_, _>>()?,
        threshold: args.threshold,
    };
    let no_models = current.published.targets().is_none_or(|t| t.delegations.is_empty());
    if args.role == KeyRole::Release && no_models {
        return release_before_models(context, &dir, &current, &change);
    }
    make(context, &current, &args.draft.draft, |draft| {
        draft.rotate(&current.published, &args.role, &change, Some(release_threshold(&current)), now())
    })
}

/// Runs `revoke`.
pub(super) fn revoke(context: &Context, args: &RevokeArgs) -> Result<(), Failure> {
    let current = Current::read(&context.trust_dir()?)?;
    let key = named_key(&args.key, &current)?;
    make(context, &current, &args.draft.draft, |draft| {
        let threshold = Some(release_threshold(&current));
        draft.revoke(&current.published, &key, threshold, now()).map(drop)
    })
}

/// Runs `renew`.
pub(super) fn renew(context: &Context, args: &RenewArgs) -> Result<(), Failure> {
    let current = Current::read(&context.trust_dir()?)?;
    make(context, &current, &args.draft.draft, |draft| {
        let threshold = Some(release_threshold(&current));
        args.role.iter().try_for_each(|role| draft.renew(&current.published, role, threshold, now()))
    })
}

fn release_threshold(current: &Current) -> u32 {
    current.fleet.release_threshold
}

fn make(
    context: &Context,
    current: &Current,
    path: &Path,
    change: impl FnOnce(&mut Draft) -> Result<(), longshore_trust::tuf::ceremony::CeremonyError>,
) -> Result<(), Failure> {
    let fleet = &current.fleet.fleet;
    let mut draft = draft_file::read_or_new(path, fleet)?;
    change(&mut draft).map_err(|e| refused(&e))?;
    current.published.check(&draft, now()).map_err(|e| refused(&e))?;
    draft_file::write(path, &draft, fleet)?;
    let documents = describe::documents(&current.published, &draft)?;
    if context.json() {
        println!("{}", json!({"ok": true, "draft": path, "documents": describe::to_json(&documents)}));
    } else {
        println!("Draft {}\n", path.display());
        describe::print(&documents);
        println!(
            "\nNext, each holder of a key named above: longshore keys sign {} --key FILE",
            path.display()
        );
    }
    Ok(())
}

/// While no model has its role, the release keys stand in no signed metadata, only in `fleet.json`.
fn release_before_models(
    context: &Context,
    dir: &Path,
    current: &Current,
    change: &KeyChange,
) -> Result<(), Failure> {
    let keys = change.apply("release", &current.fleet.release()?).map_err(|e| refused(&e))?;
    let mut fleet = current.fleet.clone();
    fleet.set_release(&keys);
    fleet.write_if_changed(dir, &current.fleet)?;
    let path = dir.join("fleet.json");
    if context.json() {
        println!("{}", json!({"ok": true, "fleet_json": path, "documents": []}));
    } else {
        println!(
            "No model has its role yet, so nothing needs a signature: {} names the new release keys ({} of {}).\n\
             Copy it into the trust folder of every operator.",
            path.display(),
            keys.threshold,
            keys.keys.len()
        );
    }
    Ok(())
}

/// A key by file, or by the beginning of its id among all keys that published metadata names.
fn named_key(name: &str, current: &Current) -> Result<PublicKey, Failure> {
    let path = Path::new(name);
    if path.is_file() {
        return KeyFile::read_public(path);
    }
    let root = current.published.root();
    let roles = [&root.root, &root.targets, &root.snapshot, &root.timestamp, &root.director];
    let delegated = current.published.targets().into_iter().flat_map(|t| &t.delegations).map(|d| &d.keys);
    let mut found: Vec<&PublicKey> = Vec::new();
    for key in roles.into_iter().chain(&root.time).chain(delegated).flat_map(|r| &r.keys) {
        if key_id(key).starts_with(&name.to_ascii_lowercase()) && !found.contains(&key) {
            found.push(key);
        }
    }
    match found.as_slice() {
        [key] if name.len() >= MIN_ID => Ok((*key).clone()),
        [] => Err(Failure::usage(format!(
            "{name} is neither a file nor the beginning of the id of a key in use (`longshore keys status` lists them)"
        ))),
        _ => Err(Failure::usage(format!(
            "{name} is too short to name one key: give at least {MIN_ID} digits of its id"
        ))),
    }
}
