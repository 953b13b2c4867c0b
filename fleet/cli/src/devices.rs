//! `longshore devices`: who is in the fleet, how one joins, how one leaves.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use longshore_trust::DeviceId;
use serde_json::{Value, json};

use crate::context::{Context, Failure};
use crate::http::Client;
use crate::show::{ago, list, short, table, text, typed_confirmation};
use crate::token;

/// What can be done with devices.
#[derive(clap::Subcommand)]
pub enum Command {
    /// List the devices
    List {
        /// Only those whose id contains this
        #[arg(long)]
        filter: Option<String>,
    },
    /// Show one device: what it is, how it is, what it runs, what happened
    Show {
        /// The device
        device: DeviceId,
    },
    /// Make a claim token: one device joins with it, once
    Token {
        /// The server's address for devices [default: the host of the server, port 8443]
        #[arg(long, value_name = "URL")]
        device_url: Option<String>,
        /// Only this device may use it
        #[arg(long, value_name = "ID")]
        device: Option<DeviceId>,
        /// A new board for this device: it keeps its id and what it should run, the old keys end when the token is used
        #[arg(long, value_name = "ID", conflicts_with = "device")]
        replace: Option<DeviceId>,
        /// Only the board with this serial number may use it
        #[arg(long)]
        serial: Option<String>,
        /// How long it is good, in hours
        #[arg(long, default_value_t = 24, value_parser = clap::value_parser!(u32).range(1..=8760))]
        hours: u32,
        /// Write it to this file (mode 0600) instead of printing it
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// End a device's quarantine: rollouts offer it versions again
    Release {
        /// The device
        device: DeviceId,
    },
    /// Tell a device to wipe itself: it deletes models, data and keys, sends a signed receipt, and is shut out
    Decommission {
        /// The device
        device: DeviceId,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
    /// Shut a device out: its certificate is refused from now on
    Revoke {
        /// The device
        device: DeviceId,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
}

/// Runs one of them.
pub fn run(context: &Context, command: Command) -> Result<(), Failure> {
    match command {
        Command::List { filter } => show_list(context, filter.as_deref()),
        Command::Show { device } => show(context, &device),
        Command::Release { device } => release(context, &device),
        Command::Decommission { device, yes } => decommission(context, &device, yes),
        Command::Token { device_url, device, replace, serial, hours, out } => {
            let url = device_url.map_or_else(|| default_device_url(&context.url()?), Ok)?;
            let whom = Whom { replaces: replace.is_some(), device: device.or(replace), serial };
            make_token(context, &url, whom, hours, out)
        }
        Command::Revoke { device, yes } => revoke(context, &device, yes),
    }
}

fn show_list(context: &Context, filter: Option<&str>) -> Result<(), Failure> {
    let client = Client::from_context(context)?;
    let mut devices = client.pages("/devices")?;
    if let Some(part) = filter {
        devices.retain(|d| text(d, "id").contains(part));
    }
    if context.json() {
        println!("{}", json!({ "items": devices }));
        return Ok(());
    }
    if devices.is_empty() {
        println!(
            "No devices yet. Make a token with `longshore devices token`, then on the device: longshore-agent enroll --token-file FILE"
        );
        return Ok(());
    }
    let rows = devices
        .iter()
        .map(|d| {
            let models: Vec<String> = list(d, "models")
                .iter()
                .map(|m| format!("{}@{} {}", text(m, "model"), text(m, "version"), text(m, "state")))
                .collect();
            vec![text(d, "id"), presence(d), ago(d, "last_seen"), models.join(", "), text(d, "agent")]
        })
        .collect();
    println!("{}", table(&["device", "link", "seen", "models", "agent"], rows));
    Ok(())
}

fn presence(device: &Value) -> String {
    let link = if device["online"].as_bool().unwrap_or(false) { "online" } else { "offline" };
    match device["standing"].as_str() {
        _ if device["quarantine"].is_string() => format!("{link}, in quarantine"),
        Some("active") | None => link.into(),
        Some("wiping") => format!("{link}, being wiped"),
        Some(ended) => ended.into(),
    }
}

/// Whom a token is for.
struct Whom {
    device: Option<DeviceId>,
    replaces: bool,
    serial: Option<String>,
}

fn show(context: &Context, device: &DeviceId) -> Result<(), Failure> {
    let d: Value = Client::from_context(context)?.get(&format!("/devices/{device}"))?;
    if context.json() {
        println!("{d}");
        return Ok(());
    }
    println!("{device}: {}, seen {}", presence(&d), ago(&d, "last_seen"));
    let inventory = &d["inventory"];
    if inventory.is_object() {
        println!(
            "{} {} on {}, {} cores, agent {}",
            text(inventory, "arch"),
            text(inventory, "os_version"),
            text(inventory, "board"),
            text(inventory, "cores"),
            text(inventory, "agent")
        );
    }
    if d["quarantine"].is_string() {
        println!("in quarantine: {}; `longshore devices release {device}` ends that", text(&d, "quarantine"));
    }
    if d["wipe"].is_object() {
        println!("told to wipe itself {}", ago(&d["wipe"], "asked_at"));
        for receipt in list(&d["wipe"], "receipts") {
            println!("  signed receipt: {}, {}", text(receipt, "stage"), ago(receipt, "received"));
        }
    }
    let rows = list(&d, "models")
        .iter()
        .map(|m| {
            vec![
                text(m, "model"),
                text(m, "version"),
                text(m, "state"),
                short(m, "active"),
                text(m, "rows_journal"),
            ]
        })
        .collect();
    println!("\n{}", table(&["model", "version", "state", "bundle", "rows"], rows));
    let rows = list(&d, "updates")
        .iter()
        .take(20)
        .map(|u| {
            vec![
                ago(u, "time"),
                text(u, "model"),
                text(u, "version"),
                text(u, "state"),
                text(u, "code"),
                text(u, "detail"),
            ]
        })
        .collect();
    println!("\n{}", table(&["when", "model", "version", "state", "code", "detail"], rows));
    Ok(())
}

/// Same host, port 8443, https: what a server without configuration listens on.
fn default_device_url(url: &str) -> Result<String, Failure> {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split('/').next().unwrap_or_default();
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => host,
        _ => authority,
    };
    if host.is_empty() {
        return Err(Failure::usage(format!("{url:?} names no host; pass --device-url https://HOST:8443")));
    }
    // The default server certificate names localhost as well as the loopback address.
    Ok(format!("https://{host}:8443"))
}

fn make_token(
    context: &Context,
    device_url: &str,
    whom: Whom,
    hours: u32,
    out: Option<PathBuf>,
) -> Result<(), Failure> {
    let made = token::new_token(device_url, &context.trust_dir()?, whom.device.clone())?;
    let expires = jiff::Timestamp::now().as_millisecond() + i64::from(hours) * 3_600_000;
    let body = json!({ "hash": made.hash, "expires": expires, "serial": whom.serial, "device": whom.device,
        "replaces": whom.replaces });
    let _: Value = Client::from_context(context)?.post("/devices/tokens", &body)?;
    if let Some(file) = &out {
        write_secret(file, &made.text)?;
    }
    if context.json() {
        let shown = if out.is_some() { Value::Null } else { made.text.into() };
        println!(
            "{}",
            json!({ "ok": true, "token": shown, "file": out, "expires": expires, "url": device_url })
        );
    } else if let Some(file) = out {
        println!("Wrote a claim token, good for {hours} h and one device, to {}", file.display());
        println!("On the device: longshore-agent enroll --token-file {}", file.display());
    } else {
        println!("{}", made.text);
        eprintln!(
            "Good for {hours} h and one device. On the device, put it into a file and run: longshore-agent enroll --token-file FILE"
        );
    }
    Ok(())
}

/// A new file that only its owner may read.
fn write_secret(file: &Path, text: &str) -> Result<(), Failure> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let named = |e: std::io::Error| Failure::usage(format!("cannot write {}: {e}", file.display()));
    let mut out =
        std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(file).map_err(named)?;
    writeln!(out, "{text}").map_err(named)
}

fn release(context: &Context, device: &DeviceId) -> Result<(), Failure> {
    let answer: Value =
        Client::from_context(context)?.post(&format!("/devices/{device}/release"), &json!({}))?;
    if context.json() {
        println!("{answer}");
    } else if answer["released"] == true {
        println!("{device} is released: rollouts offer it versions again");
    } else {
        println!("{device} is not in quarantine");
    }
    Ok(())
}

fn decommission(context: &Context, device: &DeviceId, yes: bool) -> Result<(), Failure> {
    let what = format!(
        "Device {device} will delete its models, its data and its keys as soon as it hears of it, and leave the fleet."
    );
    typed_confirmation(&what, device.as_str(), yes)?;
    let answer: Value =
        Client::from_context(context)?.post(&format!("/devices/{device}/decommission"), &json!({}))?;
    if context.json() {
        println!("{answer}");
    } else {
        let when = if answer["online"] == true { "now" } else { "when it connects next" };
        println!(
            "{device} is told to wipe itself {when}; its signed receipt will show in `longshore devices show {device}`"
        );
    }
    Ok(())
}

fn revoke(context: &Context, device: &DeviceId, yes: bool) -> Result<(), Failure> {
    let what = format!("Device {device} will be shut out; to come back it has to be enrolled again.");
    typed_confirmation(&what, device.as_str(), yes)?;
    let answer: Value = Client::from_context(context)?.delete(&format!("/devices/{device}"))?;
    if context.json() {
        println!("{answer}")
    } else {
        println!("{device} is revoked")
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_device_plane_is_guessed_from_the_server() {
        for (url, wanted) in [
            ("http://127.0.0.1:8080", "https://127.0.0.1:8443"),
            ("https://fleet.example/x", "https://fleet.example:8443"),
            ("http://[::1]:8080", "https://[::1]:8443"),
        ] {
            assert_eq!(default_device_url(url).unwrap(), wanted);
        }
        assert!(default_device_url("http://").is_err());
    }
}
