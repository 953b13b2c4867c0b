//! What a release changes, for the person who is about to sign it.

use std::collections::BTreeMap;

use comfy_table::{Table, presets};
use indicatif::HumanBytes;
use longshore_bundle::Manifest;
use longshore_trust::tuf::target_url;

use super::candidate::{Candidate, MANIFEST};
use super::draft::{Approved, Draft};
use crate::context::Failure;
use crate::http::Client;

/// Prints everything a signature would vouch for.
pub(super) fn release(client: &Client, draft: &Draft, candidate: &Candidate) -> Result<(), Failure> {
    let name = &candidate.name;
    match &draft.previous {
        Some(previous) => println!("{name}, against {} (the release before)\n", previous.version),
        None => println!("{name}, the first release of {}\n", name.model),
    }
    println!("{}\n", files(draft, candidate));
    println!("{}\n", facts(draft, candidate, previous_manifest(client, draft, candidate)?.as_ref()));
    if draft.pending {
        println!("Others have begun to sign exactly this; your signature is added to theirs.\n");
    }
    Ok(())
}

fn files(draft: &Draft, candidate: &Candidate) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::UTF8_HORIZONTAL_ONLY);
    table.set_header(["file", "size", "before", "sha256", "change"]);
    let before: BTreeMap<&str, _> = draft.previous_files.iter().map(|(p, i)| (p.as_str(), i)).collect();
    let prefix = candidate.path_of("");
    let now = candidate.targets();
    for (path, info) in &now {
        let file = path.strip_prefix(&prefix).unwrap_or(path);
        let old = before.get(file);
        let change = match old {
            None => "new",
            Some(old) if old.sha256 == info.sha256 => "same",
            Some(_) => "changed",
        };
        let size = HumanBytes(info.length).to_string();
        let old = old.map(|o| HumanBytes(o.length).to_string()).unwrap_or_default();
        table.add_row([file, &size, &old, &info.sha256.short(), change]);
    }
    for (file, info) in before {
        if !now.contains_key(&candidate.path_of(file)) {
            table.add_row([file, "", &HumanBytes(info.length).to_string(), "", "gone"]);
        }
    }
    table
}

fn facts(draft: &Draft, candidate: &Candidate, previous: Option<&Manifest>) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    let mut row = |what: &str, now: String, before: Option<String>| {
        let now = match before {
            Some(before) if before != now => format!("{now}   (was {before})"),
            _ => now,
        };
        table.add_row([what.to_owned(), now]);
    };
    let tensors = |m: &Manifest| {
        let list = |specs: &[longshore_bundle::TensorSpec]| {
            specs.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
        };
        (list(&m.inputs), list(&m.outputs))
    };
    let (inputs, outputs) = tensors(&candidate.manifest);
    let before = previous.map(tensors);
    row("bundle", candidate.digest.to_hex(), None);
    row("inputs", inputs, before.as_ref().map(|b| b.0.clone()));
    row("outputs", outputs, before.map(|b| b.1));
    if let Some(parent) = &candidate.manifest.parent {
        row("made from", draft.version_of(parent), None);
    }
    let counter = |a: &Approved| a.release.release_counter.to_string();
    row("release counter", draft.release.release_counter.to_string(), draft.previous.as_ref().map(counter));
    let back = draft.release.rollback_ok.iter().map(|r| draft.version_of(&r.to));
    let back = back.collect::<Vec<_>>().join(", ");
    let back = match (back.is_empty(), draft.previous.is_some()) {
        (false, _) => format!("to {back}, without offline keys"),
        (true, true) => "none: devices cannot be sent back without offline keys".to_owned(),
        (true, false) => "none: there is no release before".to_owned(),
    };
    row("way back", back, None);
    let expires = jiff::Timestamp::from_millisecond(i64::try_from(draft.expires.0).unwrap_or(i64::MAX));
    row("valid until", expires.map(|t| t.strftime("%Y-%m-%d").to_string()).unwrap_or_default(), None);
    table
}

/// The manifest of the release before, if the server still serves it: checked against the signed hash.
fn previous_manifest(
    client: &Client,
    draft: &Draft,
    candidate: &Candidate,
) -> Result<Option<Manifest>, Failure> {
    let Some(previous) = &draft.previous else { return Ok(None) };
    let info = draft.previous_files.iter().find(|(file, _)| file == MANIFEST).map(|(_, info)| info);
    let Some(info) = info else { return Ok(None) };
    let path = format!("{}/{}/{MANIFEST}", candidate.name.model, previous.version);
    let url = format!("/targets/{}", target_url(&path, Some(&info.sha256.to_hex())));
    let Some(bytes) = client.get_bytes(&url, info.length)? else {
        return Ok(None);
    };
    if longshore_trust::Digest::of(&bytes) != info.sha256 {
        return Err(Failure::refused(
            "trust.refused",
            format!(
                "the server serves a manifest of {} that does not match its signed hash",
                previous.version
            ),
        ));
    }
    Ok(Manifest::parse(&bytes).ok())
}
