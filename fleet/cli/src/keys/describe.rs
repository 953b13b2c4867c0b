//! What a draft changes, in words, against what the reader's own trust store says is published.

use longshore_trust::UnixMs;
use longshore_trust::tuf::ceremony::{Draft, Offline, Seat, Side};
use longshore_trust::tuf::edit::{self, DelegationSpec, RoleKeys, RootSpec, TargetsSpec};
use longshore_trust::tuf::key_id;
use serde_json::{Value, json};

use super::current::refused;
use crate::context::Failure;

/// One document of a draft.
pub(super) struct Document {
    role: String,
    version: u64,
    expires: UnixMs,
    changes: Vec<String>,
    seats: Vec<Seat>,
}

/// All documents of `draft`.
pub(super) fn documents(published: &Offline, draft: &Draft) -> Result<Vec<Document>, Failure> {
    let seats = published.seats(draft).map_err(|e| refused(&e))?;
    let malformed = |e| refused(&longshore_trust::tuf::ceremony::CeremonyError::Tuf(e));
    let mut out = Vec::new();
    for (role, document) in draft.documents() {
        let bytes = document.to_bytes();
        let (expires, changes) = if role == "root" {
            let new = edit::read_root(&bytes).map_err(malformed)?;
            (new.expires, root_changes(published.root(), &new))
        } else {
            let new = edit::read_targets(&bytes).map_err(malformed)?;
            let old = if role == "targets" { published.targets() } else { published.model(role) };
            (new.expires, targets_changes(old, &new))
        };
        out.push(Document {
            role: role.to_owned(),
            version: document.version(),
            expires,
            changes,
            seats: seats.iter().filter(|s| s.role == role).cloned().collect(),
        });
    }
    Ok(out)
}

/// As a person reads it.
pub(super) fn print(documents: &[Document]) {
    print!("{}", to_text(documents));
}
/// As a person reads it, without what a terminal would obey.
pub(super) fn to_text(documents: &[Document]) -> String {
    let mut lines = Vec::new();
    for d in documents {
        lines.push(format!("{} version {}, valid until {}", d.role, d.version, date(d.expires)));
        lines.extend(d.changes.iter().map(|change| format!("  {change}")));
        if d.changes.is_empty() {
            lines.push("  no change but its validity".into());
        }
        lines.extend(d.seats.iter().map(|seat| format!("  signatures: {}", seat_text(seat))));
    }
    let clean = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    lines.into_iter().map(|line| line.chars().map(clean).collect::<String>() + "\n").collect()
}
/// For machines.
pub(super) fn to_json(documents: &[Document]) -> Value {
    let list = documents.iter().map(|d| {
        let seats = d.seats.iter().map(|s| {
            json!({"keys": if s.side == Side::Present { "present" } else { "new" }, "signatures": s.signers.len(),
                "threshold": s.keys.threshold, "complete": s.complete()})
        });
        json!({"role": d.role, "version": d.version, "expires": date_time(d.expires), "changes": d.changes,
            "signatures": seats.collect::<Vec<_>>()})
    });
    list.collect()
}
/// Whether every signature is there.
pub(super) fn complete(documents: &[Document]) -> bool {
    documents.iter().flat_map(|d| &d.seats).all(Seat::complete)
}

fn seat_text(seat: &Seat) -> String {
    let whose = match seat.side {
        Side::Present => "present",
        Side::New => "new",
    };
    format!(
        "{} of {} needed from the {} {whose} keys{}",
        seat.signers.len(),
        seat.keys.threshold,
        seat.keys.keys.len(),
        if seat.complete() { "" } else { "  <- missing" }
    )
}

fn root_changes(old: &RootSpec, new: &RootSpec) -> Vec<String> {
    let mut out = Vec::new();
    for (role, old, new) in [
        ("root", &old.root, &new.root),
        ("targets", &old.targets, &new.targets),
        ("snapshot", &old.snapshot, &new.snapshot),
        ("timestamp", &old.timestamp, &new.timestamp),
        ("director", &old.director, &new.director),
    ] {
        keys_changes(role, old, new, &mut out);
    }
    if old.time != new.time {
        let none = RoleKeys { keys: Vec::new(), threshold: 1 };
        let (old, new) = (old.time.as_ref().unwrap_or(&none), new.time.as_ref().unwrap_or(&none));
        keys_changes("time", old, new, &mut out);
    }
    match (old.solo, new.solo) {
        (true, false) => out.push("the fleet is no longer marked as solo".into()),
        (false, true) => out.push("the fleet is marked as solo: one key alone can approve".into()),
        _ => {}
    }
    out
}

fn targets_changes(old: Option<&TargetsSpec>, new: &TargetsSpec) -> Vec<String> {
    let mut out = Vec::new();
    let nothing = TargetsSpec { version: 0, expires: UnixMs(0), targets: [].into(), delegations: vec![] };
    let old = old.unwrap_or(&nothing);
    for d in &new.delegations {
        match old.delegations.iter().find(|o| o.role == d.role) {
            None => {
                out.push(format!("NEW ROLE {}, {} of {} keys", d.role, d.keys.threshold, d.keys.keys.len()));
                out.push(format!("{}: may name {}", d.role, d.paths.join(", ")));
                out.extend(d.keys.keys.iter().map(|k| format!("{}: key {} comes", d.role, &key_id(k)[..16])));
            }
            Some(o) => {
                keys_changes(&d.role, &o.keys, &d.keys, &mut out);
                if (&o.paths, o.terminating) != (&d.paths, d.terminating) {
                    out.push(format!("{}: may name OTHER PATHS: {}", d.role, d.paths.join(", ")));
                }
            }
        }
    }
    for o in old.delegations.iter().filter(|o| new.delegations.iter().all(|d| d.role != o.role)) {
        out.push(format!("ROLE {} IS GONE", o.role));
    }
    let kept = |d: &&DelegationSpec| new.delegations.iter().any(|n| n.role == d.role);
    let before = old.delegations.iter().filter(kept).map(|d| &d.role);
    let after = new.delegations.iter().filter(|d| old.delegations.iter().any(|o| o.role == d.role));
    if !before.eq(after.map(|d| &d.role)) {
        let order: Vec<&str> = new.delegations.iter().map(|d| d.role.as_str()).collect();
        out.push(format!("OTHER ORDER OF PRECEDENCE: {}", order.join(", ")));
    }
    // All of them: what is only counted is where a file could hide.
    for (path, file) in new.targets.iter().filter(|(path, file)| old.targets.get(*path) != Some(file)) {
        let custom = match file.custom.is_empty() {
            true => String::new(),
            false => format!(", {}", Value::Object(file.custom.clone())),
        };
        out.push(format!("APPROVES {path}: SHA-256 {}, {} bytes{custom}", file.sha256, file.length));
    }
    let gone = old.targets.keys().filter(|path| !new.targets.contains_key(*path));
    out.extend(gone.map(|path| format!("NO LONGER APPROVES {path}")));
    out
}

fn keys_changes(role: &str, old: &RoleKeys, new: &RoleKeys, out: &mut Vec<String>) {
    for key in new.keys.iter().filter(|k| !old.keys.contains(k)) {
        out.push(format!("{role}: key {} comes", &key_id(key)[..16]));
    }
    for key in old.keys.iter().filter(|k| !new.keys.contains(k)) {
        out.push(format!("{role}: key {} leaves", &key_id(key)[..16]));
    }
    if (old.threshold, old.keys.len()) != (new.threshold, new.keys.len()) {
        let of = |k: &RoleKeys| format!("{} of {}", k.threshold, k.keys.len());
        out.push(format!("{role}: {} must sign (was {})", of(new), of(old)));
    }
}

/// A day, for people.
pub(super) fn date(at: UnixMs) -> String {
    timestamp(at).strftime("%Y-%m-%d").to_string()
}
/// A moment, for machines.
pub(super) fn date_time(at: UnixMs) -> String {
    timestamp(at).to_string()
}
fn timestamp(at: UnixMs) -> jiff::Timestamp {
    let ms = i64::try_from(at.0).unwrap_or(i64::MAX);
    jiff::Timestamp::from_millisecond(ms).unwrap_or(jiff::Timestamp::MAX)
}
