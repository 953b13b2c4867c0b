//! `longshore publish`: uploads a bundle as a draft. The server checks it again before it can be approved.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use longshore_bundle::{Bundle, read_dir};
use longshore_trust::Digest;
use serde_json::{Value, json};

use crate::context::{Context, Failure};
use crate::http::Client;

/// How often the server is asked whether it has checked the upload.
const POLL: Duration = Duration::from_millis(300);

/// Which bundle.
#[derive(clap::Args)]
pub struct Args {
    /// Directory of the bundle
    dir: PathBuf,
    /// Wait until the server has checked it
    #[arg(long)]
    wait: bool,
    /// How long to wait at most, seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    timeout: u64,
}

/// Uploads a bundle.
///
/// # Errors
/// When its files are not what its manifest says, or the server refuses it.
pub fn run(context: &Context, args: Args) -> Result<(), Failure> {
    let bundle = read_dir(&args.dir).map_err(|e| Failure::refused(e.reason.code(), e.to_string()))?;
    let client = Client::from_context(context)?;
    upload(context, &client, &bundle)?;
    let (model, version) = (&bundle.manifest.model, &bundle.manifest.version);
    let manifest = String::from_utf8(bundle.manifest_bytes.clone())
        .map_err(|_| Failure::refused("bundle.syntax", "manifest.json is not UTF-8 text"))?;
    let signature = read_signature(&args.dir)?;
    let mut answer: Value = client.post(
        &format!("/models/{model}/versions"),
        &json!({ "manifest": manifest, "signature": signature }),
    )?;
    if args.wait {
        answer = wait(context, &client, &format!("/models/{model}/versions/{version}"), args.timeout)?;
    }
    let state = state(&answer).to_owned();
    if state == "refused" {
        let reason =
            answer["reason"].as_str().or_else(|| answer["refusal"].as_str()).unwrap_or("no reason given");
        return Err(Failure::refused(
            "publish.refused",
            format!("the server refused {model}@{version}: {reason}"),
        ));
    }
    if context.json() {
        println!(
            "{}",
            json!({ "ok": true, "model": model, "version": version, "digest": bundle.digest, "state": state })
        );
    } else {
        println!("{model}@{version} is {state}  digest {}", bundle.digest);
        if state == "checked" {
            println!("next: longshore approve {model}@{version}");
        }
    }
    Ok(())
}

/// The OpenSSF Model Signing signature, when the bundle has one.
fn read_signature(dir: &std::path::Path) -> Result<Option<String>, Failure> {
    let path = dir.join(longshore_bundle::SIGNATURE);
    match std::fs::read_to_string(&path) {
        Ok(text) => Ok(Some(text)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(Failure::refused("io", format!("cannot read {}: {e}", path.display()))),
    }
}

fn state(answer: &Value) -> &str {
    answer["state"].as_str().unwrap_or("draft")
}

fn upload(context: &Context, client: &Client, bundle: &Bundle) -> Result<(), Failure> {
    let manifest_length = bundle.manifest_bytes.len() as u64;
    let total = bundle.manifest.total_bytes() + manifest_length;
    let bar = if context.json() { ProgressBar::hidden() } else { ProgressBar::new(total) };
    let style = ProgressStyle::with_template("{msg:24} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec}")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    bar.set_style(style);
    let mut done = 0;
    let mut put = |name: &str, sha256: &Digest, bytes: &[u8]| {
        bar.set_message(name.to_owned());
        let length = bytes.len() as u64;
        let sent =
            client.put_bytes(&format!("/objects/{sha256}"), bytes, length, |n| bar.set_position(done + n));
        done += length;
        bar.set_position(done);
        sent.map(|_| ())
    };
    for file in &bundle.manifest.files {
        let bytes = bundle.read(file).map_err(|e| Failure::refused(e.reason.code(), e.to_string()))?;
        put(file.path.as_str(), &file.sha256, &bytes)?;
    }
    put(longshore_bundle::MANIFEST, &bundle.digest, &bundle.manifest_bytes)?;
    bar.finish_and_clear();
    Ok(())
}

fn wait(context: &Context, client: &Client, path: &str, timeout_s: u64) -> Result<Value, Failure> {
    let spinner = if context.json() { ProgressBar::hidden() } else { ProgressBar::new_spinner() };
    spinner.set_message("the server is checking the bundle");
    let begin = Instant::now();
    loop {
        let answer: Value = client.get(path)?;
        if state(&answer) != "draft" {
            spinner.finish_and_clear();
            return Ok(answer);
        }
        if begin.elapsed() > Duration::from_secs(timeout_s) {
            spinner.finish_and_clear();
            let text = format!(
                "the server has not finished its check after {timeout_s} s; it goes on, look with `longshore models`"
            );
            return Err(Failure::refused("publish.timeout", text));
        }
        spinner.tick();
        std::thread::sleep(POLL);
    }
}
