//! Joining a fleet: a claim token from the operator, keys made here, one certificate back.
//!
//! The token pins the fleet's first root and its certificate authority: a captured server cannot enrol a device into a
//! trust of its own. Keys are stored before anything is sent, so that an answer lost on the way can be asked for again.

use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use longshore_trust::{DeviceId, Digest, FleetId, PublicKey, SigningKey};
use longshore_wire::v1::{Claim, seal};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use zeroize::Zeroizing;

use crate::config::Config;
use crate::host;
use crate::identity::{self, Enrolment, Identity, statement_header, write_private};
use crate::supervisor::lock;
use crate::wipe;

/// How long an agent that is ending may take.
const LOCK_PATIENCE: Duration = Duration::from_secs(5);

/// What a claim token says (`lsh1.` and base64url of this as JSON).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct Token {
    url: String,
    fleet: FleetId,
    token: String,
    root_sha256: Digest,
    ca_sha256: Digest,
    #[serde(default)]
    device: Option<DeviceId>,
}

impl Token {
    fn parse(text: &str) -> Result<Self> {
        let what = "this is no claim token; make one with `longshore devices token` and pass its file whole";
        let encoded = text.trim().strip_prefix("lsh1.").context(what)?;
        let json = URL_SAFE_NO_PAD.decode(encoded).context(what)?;
        serde_json::from_slice(&json).context(what)
    }
    fn secret(&self) -> Result<Zeroizing<[u8; 20]>> {
        let mut secret = Zeroizing::new([0; 20]);
        hex::decode_to_slice(&self.token, secret.as_mut_slice()).context("the claim token is damaged")?;
        Ok(secret)
    }
}

#[derive(Deserialize)]
struct Bootstrap {
    ca_pem: String,
    root_json: String,
}
#[derive(Deserialize)]
struct Nonce {
    nonce: String,
}
#[derive(Deserialize)]
struct Answer {
    device: DeviceId,
    cert_pem: String,
    mqtt_url: String,
    #[serde(default)]
    commands_after: (u64, u64),
    #[serde(default)]
    assignments_after: u64,
}

/// The two keys of this device, stored before they are used.
struct Keys {
    report: SigningKey,
    tls: rcgen::KeyPair,
}

/// `longshore-agent enroll`.
///
/// # Errors
/// What was refused, by whom, and what to do.
pub fn run(config: &Path, url: Option<&str>, token_file: &Path, device: Option<&str>) -> Result<ExitCode> {
    let config = Config::load(config)?;
    if wipe::is_pending(&config.state_dir) {
        bail!(
            "this device is being wiped by the fleet it was in ({} is there): start the agent and let it end, then enrol",
            wipe::intent_path(&config.state_dir).display()
        );
    }
    if let Some(known) = Identity::load(&config.state_dir)? {
        bail!(
            "this device is {} of fleet {} already; to enrol it anew, move {} away first",
            known.device,
            known.fleet,
            identity::dir(&config.state_dir).display()
        );
    }
    let text = std::fs::read_to_string(token_file)
        .with_context(|| format!("cannot read the token file {}", token_file.display()))?;
    let token = Token::parse(&text)?;
    let device = device_id(device, &token)?;
    let url = url.unwrap_or(&token.url).trim_end_matches('/').to_owned();

    let _lock = match config.state_dir.is_dir() {
        false => None,
        true => Some(lock::take(&config.state_dir, LOCK_PATIENCE).with_context(|| {
            format!("an agent is running on {}: stop it first", config.state_dir.display())
        })?),
    };
    let (ca_pem, root) = bootstrap(&url, &token)?;
    let http = client(Some(&ca_pem))?;
    let keys = keys(&config.state_dir)?;
    let answer = claim(&http, &url, &token, &device, &keys, &config)?;
    ensure!(answer.device == device, "the server answered for device {}, not for {device}", answer.device);

    let dir = identity::dir(&config.state_dir);
    let facts = Enrolment {
        fleet: token.fleet.clone(),
        device: device.clone(),
        url,
        mqtt_url: answer.mqtt_url,
        commands_after: answer.commands_after,
        assignments_after: answer.assignments_after,
    };
    set_aside(&config.state_dir).with_context(|| format!("cannot clear {}", config.state_dir.display()))?;
    write_private(&config.state_dir.join("trust/root.json"), &root)?;
    write_private(&dir.join("ca.pem"), ca_pem.as_bytes())?;
    write_private(&dir.join("cert.pem"), answer.cert_pem.as_bytes())?;
    // Last: its presence is what makes the device enrolled.
    write_private(&dir.join("enrolment.json"), &serde_json::to_vec_pretty(&facts)?)?;
    wipe::forget(&config.state_dir)?;
    println!("enrolled as {device} of fleet {}; start the agent with `longshore-agent run`", token.fleet);
    Ok(ExitCode::SUCCESS)
}

/// Moves away what an enrolment before this one left: its database numbers commands, assignments and messages of another
/// identity, by which everything of this one would be refused as old, and its trust metadata is of another root. What an
/// enrolment before that left is replaced.
fn set_aside(state_dir: &Path) -> std::io::Result<()> {
    let mut found: Vec<PathBuf> =
        ["state.db", "state.db-wal", "state.db-shm", "second.json"].map(PathBuf::from).into();
    match std::fs::read_dir(state_dir.join("trust")) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
        Err(e) => return Err(e),
        Ok(entries) => {
            for entry in entries {
                found.push(Path::new("trust").join(entry?.file_name()));
            }
        }
    }
    found.retain(|name| state_dir.join(name).exists());
    if found.is_empty() {
        return Ok(());
    }
    let former = state_dir.join("former");
    std::fs::DirBuilder::new().recursive(true).mode(0o750).create(former.join("trust"))?;
    for name in found {
        std::fs::rename(state_dir.join(&name), former.join(&name))?;
    }
    println!("what another enrolment left was moved to {}", former.display());
    std::fs::File::open(state_dir)?.sync_all()
}

/// From the command line, else the token, else the host name.
fn device_id(wanted: Option<&str>, token: &Token) -> Result<DeviceId> {
    match (wanted, &token.device) {
        (Some(w), Some(bound)) if w != bound.as_str() => {
            bail!("the claim token is for device {bound}, not for {w}")
        }
        (_, Some(bound)) => Ok(bound.clone()),
        (Some(w), None) => Ok(w.parse()?),
        (None, None) => {
            let name = sysinfo::System::host_name().unwrap_or_default().to_lowercase();
            name.parse().map_err(|_| {
                anyhow::anyhow!("the host name {name:?} is no device id; choose one with --device")
            })
        }
    }
}

/// Fetches CA and root over a connection that proves nothing, and believes them only if they are what the token pins.
fn bootstrap(url: &str, token: &Token) -> Result<(String, Vec<u8>)> {
    // By name, because the fleet may have newer roots by now: from the pinned one the agent goes on by itself.
    let pinned = format!("{url}/device/v1/bootstrap?root={}", token.root_sha256);
    let b: Bootstrap = read(client(None)?.get(pinned).call(), url)?;
    ensure!(
        Digest::of(b.ca_pem.as_bytes()) == token.ca_sha256,
        "the server at {url} has another certificate authority than the claim token names: this is not the operator's \
         server, or the token is for another fleet. Nothing was sent to it."
    );
    let root = STANDARD.decode(&b.root_json).context("the server's root metadata is not base64")?;
    ensure!(
        Digest::of(&root) == token.root_sha256,
        "the server at {url} has another root of trust than the claim token names: this is not the operator's server, \
         or the token is too old. Nothing was sent to it."
    );
    Ok((b.ca_pem, root))
}

/// The keys of an enrolment that was begun before, or new ones.
fn keys(state_dir: &Path) -> Result<Keys> {
    let dir = identity::dir(state_dir);
    let stored = |name: &str| -> Result<Option<Zeroizing<String>>> {
        match std::fs::read_to_string(dir.join(name)) {
            Ok(text) => Ok(Some(Zeroizing::new(text))),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e).with_context(|| format!("cannot read {}", dir.join(name).display())),
        }
    };
    let mut seed = Zeroizing::new([0u8; 32]);
    match stored("report.key")? {
        Some(text) => {
            hex::decode_to_slice(text.trim(), seed.as_mut_slice()).context("report.key is damaged")?
        }
        None => {
            getrandom::fill(seed.as_mut_slice())
                .map_err(|e| anyhow::anyhow!("the system gives no random bytes: {e}"))?;
            let text = Zeroizing::new(hex::encode(*seed));
            write_private(&dir.join("report.key"), text.as_bytes()).context("cannot store the report key")?;
        }
    }
    let tls = match stored("tls.key")? {
        Some(pem) => rcgen::KeyPair::from_pem(&pem).context("tls.key is damaged")?,
        None => {
            let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
            let pem = Zeroizing::new(pair.serialize_pem());
            write_private(&dir.join("tls.key"), pem.as_bytes()).context("cannot store the TLS key")?;
            pair
        }
    };
    Ok(Keys { report: SigningKey::from_seed(&seed), tls })
}

fn claim(
    http: &ureq::Agent,
    url: &str,
    token: &Token,
    device: &DeviceId,
    keys: &Keys,
    config: &Config,
) -> Result<Answer> {
    let mut params = rcgen::CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(rcgen::DnType::CommonName, device.as_str());
    let csr = params.serialize_request(&keys.tls)?;
    let secret = token.secret()?;
    let nonce: Nonce = post(
        http,
        url,
        "/device/v1/enroll/nonce",
        &serde_json::json!({ "token_hash": Digest::of(secret.as_slice()) }),
    )?;
    let nonce = STANDARD.decode(&nonce.nonce).ok().and_then(|n| n.try_into().ok());
    let PublicKey::Ed25519(report) = keys.report.public() else { bail!("the report key is not ed25519") };
    let header = statement_header(&token.fleet, device, host::now());
    let claim = Claim {
        nonce: nonce.context("the server's nonce is not 32 bytes of base64")?,
        token: *secret,
        fleet: token.fleet.clone(),
        device: device.clone(),
        report_key: report.to_bytes(),
        csr_sha256: Digest::of(csr.der()),
        serial: serial(),
    };
    #[derive(Serialize)]
    struct Body<'a> {
        claim: String,
        csr_pem: String,
        report_key: String,
        labels: &'a std::collections::BTreeMap<String, String>,
    }
    let body = Body {
        claim: STANDARD.encode(seal(header, claim, &keys.report)?),
        csr_pem: csr.pem()?,
        report_key: STANDARD.encode(report.to_bytes()),
        labels: &config.labels,
    };
    post(http, url, "/device/v1/enroll", &serde_json::to_value(&body)?)
}

/// Serial number of the board, empty when it tells none.
fn serial() -> String {
    ["/proc/device-tree/serial-number", "/sys/class/dmi/id/product_serial"]
        .map(PathBuf::from)
        .iter()
        .find_map(|p| std::fs::read_to_string(p).ok())
        .map(|s| s.trim_matches(|c: char| c == '\0' || c.is_whitespace()).chars().take(128).collect())
        .unwrap_or_default()
}

/// A client that trusts this CA alone; without one it trusts nothing and nobody, and what it fetches must be pinned.
fn client(ca_pem: Option<&str>) -> Result<ureq::Agent> {
    let tls = match ca_pem {
        Some(pem) => {
            let ca = Certificate::from_pem(pem.as_bytes()).context("the fleet's CA is no PEM certificate")?;
            TlsConfig::builder().root_certs(RootCerts::new_with_certs(&[ca])).build()
        }
        None => TlsConfig::builder().disable_verification(true).build(),
    };
    Ok(ureq::Agent::config_builder()
        .tls_config(tls)
        .https_only(true)
        .http_status_as_error(false)
        .max_redirects(0)
        .timeout_global(Some(Duration::from_secs(30)))
        .build()
        .into())
}

fn post<T: DeserializeOwned>(
    http: &ureq::Agent,
    url: &str,
    path: &str,
    body: &serde_json::Value,
) -> Result<T> {
    read(http.post(format!("{url}{path}")).send_json(body), url)
}

/// The answer's JSON, or the server's own words for why not.
fn read<T: DeserializeOwned>(
    answer: Result<ureq::http::Response<ureq::Body>, ureq::Error>,
    url: &str,
) -> Result<T> {
    let mut response = answer
        .with_context(|| format!("cannot reach the fleet at {url}; check the address and the network"))?;
    let status = response.status();
    let text = response.body_mut().with_config().limit(1 << 20).read_to_string()?;
    if !status.is_success() {
        let problem: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
        let words =
            problem["detail"].as_str().or_else(|| problem["title"].as_str()).unwrap_or("no reason given");
        bail!("the fleet refused ({status}): {words}");
    }
    serde_json::from_str(&text).context("the server's answer is not what a Longshore fleet answers")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(device: Option<&str>) -> Token {
        let json = serde_json::json!({
            "url": "https://localhost:8443", "fleet": "demo", "token": "07".repeat(20),
            "root_sha256": "00".repeat(32), "ca_sha256": "11".repeat(32), "device": device,
        });
        Token::parse(&format!("lsh1.{}\n", URL_SAFE_NO_PAD.encode(json.to_string()))).unwrap()
    }

    #[test]
    fn a_token_is_read_and_anything_else_is_refused_in_words() {
        assert_eq!(*token(None).secret().unwrap(), [7; 20]);
        for text in ["", "hello", "lsh1.", "lsh1.%%%", "lsh1.e30"] {
            assert!(Token::parse(text).unwrap_err().to_string().contains("claim token"), "{text}");
        }
    }
    #[test]
    fn a_bound_token_serves_its_device_only() {
        assert_eq!(device_id(None, &token(Some("d1"))).unwrap().as_str(), "d1");
        assert!(device_id(Some("d2"), &token(Some("d1"))).is_err());
        assert_eq!(device_id(Some("d2"), &token(None)).unwrap().as_str(), "d2");
    }
    #[test]
    fn nothing_of_another_enrolment_is_left_to_judge_this_one() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path();
        set_aside(state).unwrap();
        assert!(!state.join("former").exists(), "a new device has nothing to move");
        let left =
            ["state.db", "state.db-wal", "second.json", "trust/timestamp.json", "trust/models%2Fm.json"];
        for round in ["first", "second"] {
            std::fs::create_dir_all(state.join("trust")).unwrap();
            for name in left {
                std::fs::write(state.join(name), round).unwrap();
            }
            std::fs::write(state.join("lock"), "").unwrap();
            set_aside(state).unwrap();
            for name in left {
                assert!(!state.join(name).exists(), "{name}");
                assert_eq!(std::fs::read_to_string(state.join("former").join(name)).unwrap(), round);
            }
            assert!(state.join("lock").exists() && state.join("trust").is_dir());
        }
    }
    #[test]
    fn keys_are_made_once() {
        let dir = tempfile::tempdir().unwrap();
        let first = keys(dir.path()).unwrap();
        let again = keys(dir.path()).unwrap();
        assert_eq!(first.report.public(), again.report.public());
        assert_eq!(first.tls.public_key_raw(), again.tls.public_key_raw());
    }
}
