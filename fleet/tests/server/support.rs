//! A fleet in a temporary directory, devices that can be enrolled into it, and clients for both planes.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use longshore_fleet::config::Config;
use longshore_fleet::director::Director;
use longshore_fleet::enrol::{self, EnrolRequest, Enrolled, Issuer, Nonces};
use longshore_fleet::init::{self, DataDir};
use longshore_fleet::online::OnlineKeys;
use longshore_fleet::serve::{self, Running};
use longshore_fleet::{app, store};
use longshore_trust::tuf::edit::{self, RoleKeys, RootSpec, Signed, TargetsSpec};
use longshore_trust::{DeviceId, Digest, FleetId, Seq, SigningKey, StreamId, TimeQuality, UnixMs};
use longshore_wire::v1::{self, Body, Claim, Header};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::net::TcpStream;

/// Far enough away for every test.
pub const LATER: UnixMs = UnixMs(4_000_000_000_000);

/// The offline keys of a test fleet.
pub struct Offline {
    pub fleet: FleetId,
    pub root: Vec<SigningKey>,
    pub targets: Vec<SigningKey>,
    pub online: Vec<SigningKey>,
}

pub fn key(n: u8) -> SigningKey {
    SigningKey::from_seed(&[n; 32])
}
pub fn role(keys: &[SigningKey], threshold: u32) -> RoleKeys {
    RoleKeys { keys: keys.iter().map(SigningKey::public).collect(), threshold }
}

impl Offline {
    /// 2-of-3 root and targets keys.
    pub fn new(fleet: &str) -> Self {
        Self {
            fleet: fleet.parse().unwrap(),
            root: (1..=3).map(key).collect(),
            targets: (11..=13).map(key).collect(),
            online: (21..=24).map(key).collect(),
        }
    }
    pub fn root_spec(&self, version: u64) -> RootSpec {
        RootSpec {
            version,
            expires: LATER,
            fleet: self.fleet.clone(),
            solo: false,
            root: role(&self.root, 2),
            targets: role(&self.targets, 2),
            snapshot: role(&self.online[..1], 1),
            timestamp: role(&self.online[1..2], 1),
            director: role(&self.online[2..3], 1),
            time: Some(role(&self.online[3..], 1)),
        }
    }
    /// Writes what `longshore keys init` would put into `online`.
    pub fn write(&self, dir: &Path) {
        std::fs::create_dir_all(dir).unwrap();
        for (name, key) in ["snapshot", "timestamp", "director", "time"].iter().zip(&self.online) {
            let text = format!("{{\"keytype\":\"ed25519\",\"seed\":\"{}\"}}", hex::encode(*key.seed()));
            std::fs::write(dir.join(format!("{name}.key")), text).unwrap();
        }
        let ca_key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::default();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Constrained(0));
        params.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign];
        let ca = params.self_signed(&ca_key).unwrap();
        std::fs::write(dir.join("ca.key"), ca_key.serialize_pem()).unwrap();
        std::fs::write(dir.join("ca.pem"), ca.pem()).unwrap();
        let root = signed(edit::root(&self.root_spec(1)), &self.root[..2]);
        let targets =
            TargetsSpec { version: 1, expires: LATER, targets: BTreeMap::new(), delegations: Vec::new() };
        let targets = signed(edit::targets(&targets), &self.targets[..2]);
        std::fs::write(dir.join("1.root.json"), root).unwrap();
        std::fs::write(dir.join("1.targets.json"), targets).unwrap();
        std::fs::write(dir.join("fleet.json"), format!("{{\"fleet\":\"{}\"}}", self.fleet)).unwrap();
    }
}

pub fn signed(mut document: Signed, keys: &[SigningKey]) -> Vec<u8> {
    for key in keys {
        document.sign(key);
    }
    document.to_bytes()
}

/// A data directory, initialised, and its keys.
pub struct Home {
    pub dir: tempfile::TempDir,
    pub offline: Offline,
    pub config: Config,
}

impl Home {
    pub async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let offline = Offline::new("demo");
        offline.write(&dir.path().join("keys"));
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let config =
            Config { operator_listen: any, device_listen: any, mqtt_listen: any, ..Config::default() };
        let home = Self { dir, offline, config };
        let opened = init::init(&home.dir.path().join("keys"), &home.data(), &home.config).await.unwrap();
        opened.store.close().await;
        home
    }
    pub fn data(&self) -> DataDir {
        DataDir::new(&self.dir.path().join("data"))
    }
    pub async fn start(&self) -> Running {
        serve::start(&self.data(), self.config.clone()).await.unwrap()
    }
    pub fn keys(&self) -> OnlineKeys {
        OnlineKeys::load(&self.data().online()).unwrap()
    }
}

/// A device with its keys.
pub struct Device {
    pub id: DeviceId,
    pub fleet: FleetId,
    pub report: SigningKey,
    pub tls_key: rcgen::KeyPair,
    pub cert_pem: String,
    pub ca_pem: String,
    pub stream: StreamId,
}

pub fn token_bytes(n: u16) -> [u8; 20] {
    let mut token = [7u8; 20];
    token[..2].copy_from_slice(&n.to_le_bytes());
    token
}

pub async fn add_token(store: &store::Store, n: u16, expires: UnixMs, serial: Option<&str>) -> Digest {
    let hash = Digest::of(&token_bytes(n));
    let mut tx = store.write().await.unwrap();
    let whom = store::device::TokenFor { serial: serial.map(str::to_owned), ..Default::default() };
    store::device::insert_token(&mut tx, &hash, expires, &whom, UnixMs(1)).await.unwrap();
    tx.commit().await.unwrap();
    hash
}

/// Certificates of tests live for an hour.
pub const LIFE_S: u64 = 3600;

pub fn director(fleet: &FleetId) -> Director {
    Director::new(key(23), fleet.clone(), 1)
}
pub fn issuer<'a>(keys: &'a OnlineKeys, director: &'a Director) -> Issuer<'a> {
    Issuer { ca: &keys.ca, fleet: &keys.fleet, director, life_s: LIFE_S }
}

/// A claim, ready to be sent.
pub struct Draft {
    pub report: SigningKey,
    pub tls_key: rcgen::KeyPair,
    pub csr_pem: String,
    pub claim: Claim,
}

pub fn draft(fleet: &FleetId, device: &str, seed: u8, token: u16, nonce: [u8; 32]) -> Draft {
    let report = key(seed);
    let tls_key = rcgen::KeyPair::generate().unwrap();
    let csr = rcgen::CertificateParams::default().serialize_request(&tls_key).unwrap();
    let claim = Claim {
        nonce,
        token: token_bytes(token),
        fleet: fleet.clone(),
        device: device.parse().unwrap(),
        report_key: report.public().raw().try_into().unwrap(),
        csr_sha256: Digest::of(csr.der()),
        serial: "sn-1".into(),
    };
    Draft { csr_pem: csr.pem().unwrap(), report, tls_key, claim }
}

pub fn header(fleet: &FleetId, device: &DeviceId, stream: StreamId, seq: u64) -> Header {
    Header {
        schema: v1::SCHEMA,
        fleet: fleet.clone(),
        device: device.clone(),
        stream,
        seq: Seq(seq),
        time: app::now(),
        time_quality: TimeQuality::Ntp,
    }
}

impl Draft {
    pub fn request(&self) -> EnrolRequest {
        let header = header(&self.claim.fleet, &self.claim.device, StreamId(0), 0);
        EnrolRequest {
            claim: v1::seal(header, self.claim.clone(), &self.report).unwrap(),
            csr_pem: self.csr_pem.clone(),
            report_key: self.report.public().raw(),
            labels: serde_json::Map::new(),
        }
    }
}

/// Enrols a device without HTTP.
pub async fn enrol(home: &Home, store: &store::Store, name: &str, seed: u8) -> Device {
    let keys = home.keys();
    let nonces = Nonces::default();
    let hash = add_token(store, u16::from(seed), LATER, None).await;
    let nonce = nonces.open([seed; 32], hash, app::now()).unwrap();
    let draft = draft(&keys.fleet, name, seed, u16::from(seed), nonce);
    let enrolled: Enrolled =
        enrol::enrol(store, &issuer(&keys, &director(&keys.fleet)), &nonces, draft.request(), app::now())
            .await
            .unwrap();
    Device {
        id: enrolled.device,
        fleet: keys.fleet.clone(),
        report: draft.report,
        tls_key: draft.tls_key,
        cert_pem: enrolled.certificate.pem,
        ca_pem: keys.ca.pem().to_owned(),
        stream: StreamId(u64::from(seed) << 32 | 5),
    }
}

impl Device {
    pub fn header(&self, seq: u64) -> Header {
        header(&self.fleet, &self.id, self.stream, seq)
    }
    pub fn seal<B: Body>(&self, seq: u64, body: B) -> Vec<u8> {
        v1::seal(self.header(seq), body, &self.report).unwrap()
    }
    pub fn topic(&self, up: longshore_wire::Up) -> String {
        longshore_wire::Topic::up(&self.fleet, &self.id, up).to_string()
    }
    pub fn tls(&self) -> Arc<rustls::ClientConfig> {
        client_tls(&self.ca_pem, Some((&self.cert_pem, &self.tls_key)))
    }
}

pub fn client_tls(ca_pem: &str, cert: Option<(&str, &rcgen::KeyPair)>) -> Arc<rustls::ClientConfig> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca_pem.as_bytes()).unwrap()).unwrap();
    let builder =
        rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
    Arc::new(match cert {
        None => builder.with_no_client_auth(),
        Some((pem, key)) => {
            let chain = vec![CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()];
            let key = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap();
            builder.with_client_auth_cert(chain, key).unwrap()
        }
    })
}

/// An answer over HTTPS.
pub struct Answer {
    pub status: u16,
    pub headers: axum::http::HeaderMap,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

/// One request over one TLS connection.
pub async fn https(
    address: SocketAddr,
    tls: Arc<rustls::ClientConfig>,
    request: axum::http::Request<String>,
) -> std::io::Result<Answer> {
    use http_body_util::BodyExt as _;
    let stream = TcpStream::connect(address).await?;
    let name = ServerName::try_from("localhost").unwrap();
    let stream = tokio_rustls::TlsConnector::from(tls).connect(name, stream).await?;
    let io = hyper_util::rt::TokioIo::new(stream);
    let (mut send, connection) =
        hyper::client::conn::http1::handshake(io).await.map_err(std::io::Error::other)?;
    let driving = tokio::spawn(connection);
    let answer = send.send_request(request).await.map_err(std::io::Error::other)?;
    let (head, body) = answer.into_parts();
    let body = body.collect().await.map_err(std::io::Error::other)?.to_bytes().to_vec();
    driving.abort();
    Ok(Answer { status: head.status.as_u16(), headers: head.headers, body })
}

pub fn get(path: &str) -> axum::http::Request<String> {
    axum::http::Request::get(path).header("host", "localhost").body(String::new()).unwrap()
}
pub fn post(path: &str, body: &serde_json::Value) -> axum::http::Request<String> {
    axum::http::Request::post(path)
        .header("host", "localhost")
        .header("content-type", "application/json")
        .body(body.to_string())
        .unwrap()
}

/// Waits until something holds; fails after half a minute.
pub async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    for _ in 0..600 {
        if holds().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("never: {what}");
}
