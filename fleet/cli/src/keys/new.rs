//! `longshore keys new`: one key, and beside it its public half for those who are to trust it.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use longshore_trust::tuf::ceremony::KeyRole;
use longshore_trust::tuf::key_id;
use serde_json::json;

use super::private::{KeyFile, generate};
use super::{NewPassphraseArgs, passphrase};
use crate::context::{Context, Failure};

/// `longshore keys new`
#[derive(clap::Args)]
pub struct NewArgs {
    /// What it is for: root, targets, release, or an online role (snapshot, timestamp, director, time)
    #[arg(long, value_name = "ROLE")]
    pub role: KeyRole,
    /// File to make, ending in .key; its public half goes beside it as .pub
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    #[command(flatten)]
    pub passphrase: NewPassphraseArgs,
}

/// Runs it.
pub(super) fn run(context: &Context, args: &NewArgs) -> Result<(), Failure> {
    if args.out.extension().is_none_or(|e| e != "key") {
        return Err(Failure::usage("--out must end in .key"));
    }
    let public_path = args.out.with_extension("pub");
    for path in [&args.out, &public_path] {
        if path.exists() {
            let path = path.display();
            return Err(Failure::usage(format!("{path} is there already, and keys are never overwritten")));
        }
    }
    let role = match &args.role {
        KeyRole::Model(_) => KeyRole::Release,
        role => role.clone(),
    };
    let key = generate()?;
    let file = if role.is_online() {
        if args.passphrase.passphrase_file.is_some() {
            return Err(Failure::usage(format!(
                "a {role} key is used by the server alone and has no passphrase"
            )));
        }
        KeyFile::online(&key)
    } else {
        let passphrase = passphrase::for_new_keys(&args.passphrase)?;
        KeyFile::seal(&role.to_string(), &key, passphrase.as_ref().map(|p| p.as_str()))?
    };
    let public = KeyFile::public_only(&role.to_string(), &key.public());
    create(&args.out, &file.to_json(), 0o600)?;
    create(&public_path, &public.to_json(), 0o644)?;
    let id = key_id(&key.public());
    if context.json() {
        let value = json!({"ok": true, "role": role.to_string(), "key_id": id, "key": args.out, "public": public_path,
            "encrypted": file.is_encrypted()});
        println!("{value}");
        return Ok(());
    }
    println!("Made {role} key {}", &id[..16]);
    println!(
        "  {}   {}",
        args.out.display(),
        if role.is_online() {
            "for the server's `online` folder, and nowhere else"
        } else if file.is_encrypted() {
            "the key, encrypted with your passphrase: it stays with its holder"
        } else {
            "the key, NOT ENCRYPTED: whoever copies it can sign"
        }
    );
    println!("  {}   its public half, for `longshore keys rotate {role} --add`", public_path.display());
    Ok(())
}

fn create(path: &Path, bytes: &[u8], mode: u32) -> Result<(), Failure> {
    let written = std::fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
    let written = written.and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    written.map_err(|e| Failure::refused("io", format!("cannot write {}: {e}", path.display())))
}
