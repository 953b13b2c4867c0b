//! `longshore keys status`: who must sign what, and until when it holds.

use std::path::PathBuf;

use longshore_trust::UnixMs;
use longshore_trust::tuf::edit::RoleKeys;
use longshore_trust::tuf::key_id;
use serde_json::{Value, json};

use super::current::{Current, follow_release_keys};
use super::{describe, sign};
use crate::context::{Context, Failure};
use crate::http::Client;
use crate::trust_store::now;

const DAY_MS: u64 = 24 * 3600 * 1000;
/// Exit code when something must be signed soon.
const ATTENTION: u8 = 4;

/// `longshore keys status`
#[derive(clap::Args)]
pub struct StatusArgs {
    /// Do not ask the server: judge the trust store as it is
    #[arg(long)]
    pub offline: bool,
    /// Days ahead in which an expiry is reported (exit code 4)
    #[arg(long, value_name = "DAYS", default_value_t = 30)]
    pub within: u64,
}

struct Row {
    role: String,
    version: u64,
    expires: Option<UnixMs>,
    keys: Option<RoleKeys>,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Ok,
    Soon,
    Expired,
    /// Signed by the server, which renews it; or a list of keys without a document of its own.
    Online,
}

impl State {
    fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Soon => "sign soon",
            Self::Expired => "expired",
            Self::Online => "online",
        }
    }
}

/// Runs it.
pub(super) fn run(context: &Context, args: &StatusArgs) -> Result<(), Failure> {
    let dir: PathBuf = context.trust_dir()?;
    if !args.offline {
        let client = Client::from_context(context)?;
        sign::refresh(&dir, &client)?;
        follow_release_keys(&dir, &Current::read(&dir)?)?;
    }
    let current = Current::read(&dir)?;
    let rows = rows(&current, args, now());
    let attention = rows.iter().any(|r| matches!(r.state, State::Soon | State::Expired));
    let root = current.published.root();
    if context.json() {
        let list: Vec<Value> = rows.iter().map(to_json).collect();
        let value = json!({"ok": !attention, "fleet": root.fleet, "solo": root.solo, "within_days": args.within,
            "root_sha256": current.trusted.root_sha256(), "roles": list});
        println!("{value}");
    } else {
        print(&rows, root.solo, args);
    }
    if attention { Err(Failure { exit: ATTENTION, ..Failure::reported() }) } else { Ok(()) }
}

fn rows(current: &Current, args: &StatusArgs, now: UnixMs) -> Vec<Row> {
    let root = current.published.root();
    let (versions, expires) = (current.trusted.versions(), current.trusted.expires());
    let delegations = current.published.targets().map(|t| t.delegations.as_slice()).unwrap_or_default();
    let top = [
        ("root", &root.root),
        ("targets", &root.targets),
        ("snapshot", &root.snapshot),
        ("timestamp", &root.timestamp),
        ("director", &root.director),
    ];
    let time = root.time.as_ref().map(|keys| ("time", keys));
    let all = top.into_iter().chain(time).chain(delegations.iter().map(|d| (d.role.as_str(), &d.keys)));
    let rows = all.map(|(role, keys)| {
        let online = matches!(role, "snapshot" | "timestamp" | "director" | "time");
        let at = expires.get(role).copied();
        let state = match at {
            Some(at) if at <= now && (!online || !args.offline) => State::Expired,
            Some(_) if online => State::Online,
            Some(at) if at <= now.plus_ms(args.within.saturating_mul(DAY_MS)) => State::Soon,
            Some(_) => State::Ok,
            None if online => State::Online,
            None => State::Ok,
        };
        let version = versions.get(role).copied().unwrap_or(0);
        Row { role: role.to_owned(), version, expires: at, keys: Some(keys.clone()), state }
    });
    rows.collect()
}

fn days(expires: UnixMs) -> i64 {
    let now = now();
    let left = if expires > now { expires.since(now) } else { now.since(expires) };
    let days = i64::try_from(left / DAY_MS).unwrap_or(i64::MAX);
    if expires > now { days } else { -days }
}

fn to_json(row: &Row) -> Value {
    let keys = row.keys.as_ref().map(|k| k.keys.iter().map(key_id).collect::<Vec<_>>());
    json!({
        "role": row.role, "version": row.version, "expires": row.expires.map(describe::date_time),
        "days_left": row.expires.map(days), "state": row.state.as_str(),
        "threshold": row.keys.as_ref().map(|k| k.threshold), "keys": keys,
    })
}

fn print(rows: &[Row], solo: bool, args: &StatusArgs) {
    let mut table = comfy_table::Table::new();
    table.load_preset(comfy_table::presets::UTF8_HORIZONTAL_ONLY);
    table.set_header(["role", "version", "must sign", "expires", "days left", "state", "keys"]);
    for row in rows {
        let (threshold, ids) = row.keys.as_ref().map_or_else(Default::default, |k| {
            let ids: Vec<String> = k.keys.iter().map(|k| key_id(k)[..16].to_owned()).collect();
            (format!("{} of {}", k.threshold, k.keys.len()), ids.join("\n"))
        });
        let version = if row.version == 0 { "-".to_owned() } else { row.version.to_string() };
        let expires = row.expires.map_or_else(|| "-".into(), describe::date);
        let left = row.expires.map_or_else(|| "-".into(), |at| days(at).to_string());
        table.add_row([&row.role, &version, &threshold, &expires, &left, row.state.as_str(), &ids]);
    }
    println!("{table}");
    if solo {
        println!(
            "The fleet is solo: one key alone can approve. Raise its thresholds with `longshore keys rotate`."
        );
    }
    let due: Vec<&str> = rows
        .iter()
        .filter(|r| {
            matches!(r.state, State::Soon | State::Expired)
                && !matches!(r.role.as_str(), "snapshot" | "timestamp")
        })
        .map(|r| r.role.as_str())
        .collect();
    if !due.is_empty() {
        println!(
            "Expired, or within {} days: sign anew with\n  longshore keys renew {} --draft FILE",
            args.within,
            due.join(" ")
        );
    }
}
