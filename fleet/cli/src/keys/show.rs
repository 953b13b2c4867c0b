//! `longshore keys show`: what files hold, without opening what is encrypted.

use std::path::{Path, PathBuf};

use longshore_trust::tuf::{self, edit};
use serde_json::{Value, json};

use super::current::{Current, refused};
use super::private::{KeyFile, key_files};
use super::{describe, draft_file};
use crate::context::{Context, Failure};
use crate::trust_store::now;

/// Runs it.
pub(super) fn run(context: &Context, path: &Path) -> Result<(), Failure> {
    if path.extension().is_some_and(|e| e == "draft" || e == "json") {
        return draft(context, path);
    }
    let (keys, root) = if path.is_dir() {
        let mut files = Vec::new();
        for dir in [path.to_path_buf(), path.join("offline"), path.join("online")] {
            if dir.is_dir() {
                files.extend(key_files(&dir)?);
            }
        }
        let roots = ["trust", "online", "."].map(|d| path.join(d).join("1.root.json"));
        (files, roots.into_iter().find(|p| p.is_file()))
    } else {
        (vec![path.to_path_buf()], None)
    };
    if keys.is_empty() && root.is_none() {
        return Err(Failure::usage(format!("there are no keys in {}", path.display())));
    }
    let rows = keys.iter().map(row).collect::<Result<Vec<_>, _>>()?;
    let root = root.map(|file| read_root(&file)).transpose()?;
    if context.json() {
        println!("{}", json!({"ok": true, "keys": rows, "root": root}));
        return Ok(());
    }
    if let Some(root) = &root {
        let text = |field: &str| root[field].as_str().unwrap_or_default().to_owned();
        let solo = if root["solo"] == true { ", solo" } else { "" };
        println!(
            "Fleet {}{solo}: root version {}, expires {}",
            text("fleet"),
            root["version"],
            text("expires")
        );
        for role in ["root", "targets", "snapshot", "timestamp", "director", "time"] {
            if root["roles"][role].is_null() {
                continue;
            }
            println!("  {role}: {} of {}", root["roles"][role]["threshold"], root["roles"][role]["keys"]);
        }
        println!();
    }
    let mut table = comfy_table::Table::new();
    table.load_preset(comfy_table::presets::UTF8_HORIZONTAL_ONLY);
    table.set_header(["file", "role", "kind", "key id", "private part"]);
    for row in &rows {
        table.add_row(["file", "role", "kind", "id", "private"].map(|f| row[f].as_str().unwrap_or_default()));
    }
    println!("{table}");
    Ok(())
}

/// What a draft changes, against the operator's own trust store.
fn draft(context: &Context, path: &Path) -> Result<(), Failure> {
    let current = Current::read(&context.trust_dir()?)?;
    let draft = draft_file::read(path, &current.fleet.fleet)?;
    current.published.check(&draft, now()).map_err(|e| refused(&e))?;
    let documents = describe::documents(&current.published, &draft)?;
    let complete = describe::complete(&documents);
    if context.json() {
        println!("{}", json!({"ok": true, "complete": complete, "documents": describe::to_json(&documents)}));
    } else {
        describe::print(&documents);
        println!(
            "\n{}",
            if complete { "It has every signature it needs." } else { "Signatures are missing." }
        );
    }
    Ok(())
}

fn row(path: &PathBuf) -> Result<Value, Failure> {
    let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let text = std::fs::read_to_string(path).unwrap_or_default();
    if text.contains("PRIVATE KEY") {
        return Ok(
            json!({"file": name, "role": "ca", "kind": "P-256", "id": "", "private": "plain (server)"}),
        );
    }
    let file = KeyFile::read_any(path)?;
    let public = file.public(path)?;
    let role = match file.role.as_str() {
        "" => name.trim_end_matches(".key").to_owned(),
        role => role.to_owned(),
    };
    let private = match (file.is_private(), file.is_encrypted()) {
        (false, _) => "none: the public half",
        (true, true) => "encrypted",
        (true, false) => "plain",
    };
    let id = tuf::key_id(&public);
    Ok(json!({
        "file": name, "role": role, "kind": "ed25519", "id": id[..16], "key_id": id,
        "public": hex::encode(public.raw()), "private": private,
    }))
}

fn read_root(path: &Path) -> Result<Value, Failure> {
    let bytes = std::fs::read(path)?;
    let spec = edit::read_root(&bytes)
        .map_err(|e| Failure::refused("trust.root", format!("{} cannot be used: {e}", path.display())))?;
    let expires = jiff::Timestamp::from_millisecond(i64::try_from(spec.expires.0).unwrap_or(i64::MAX));
    let role = |keys: &edit::RoleKeys| json!({"keys": keys.keys.len(), "threshold": keys.threshold});
    Ok(json!({
        "fleet": spec.fleet, "solo": spec.solo, "version": spec.version,
        "expires": expires.map(|t| t.to_string()).unwrap_or_default(),
        "sha256": longshore_trust::Digest::of(&bytes),
        "roles": {
            "root": role(&spec.root), "targets": role(&spec.targets), "snapshot": role(&spec.snapshot),
            "timestamp": role(&spec.timestamp), "director": role(&spec.director),
            "time": spec.time.as_ref().map(role),
        },
    }))
}
