//! The life of an identity over real TLS: renewal, expiry, revocation, a swapped board, decommissioning.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::http::Request;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as B64;
use longshore_fleet::serve::Running;
use longshore_fleet::store::device::TokenFor;
use longshore_fleet::store::{device as registry, identity};
use longshore_fleet::tls::{CertificateRequest, Validity};
use longshore_fleet::{app, enrol};
use longshore_trust::{Digest, Seq, StreamId, UnixMs};
use longshore_wire::v1::{self, CommandAction, Renewal, TimeAnswer, WipeStage, Wiped};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::{Value, json};

use crate::support::{
    self, Device, Home, LATER, add_token, client_tls, draft, eventually, header, https, post, token_bytes,
};

/// A key and the certificate for it.
struct Pair {
    key: rcgen::KeyPair,
    pem: String,
}

impl Pair {
    fn sha256(&self) -> Digest {
        Digest::of(&CertificateDer::from_pem_slice(self.pem.as_bytes()).unwrap())
    }
}

fn request() -> (rcgen::KeyPair, rcgen::CertificateSigningRequest) {
    let key = rcgen::KeyPair::generate().unwrap();
    let csr = rcgen::CertificateParams::default().serialize_request(&key).unwrap();
    (key, csr)
}

/// What one device's client does.
struct Client<'a> {
    home: &'a Home,
    running: &'a Running,
    device: &'a Device,
}

impl Client<'_> {
    fn address(&self) -> SocketAddr {
        self.running.device
    }
    async fn ask(&self, with: &Pair, request: Request<String>) -> (u16, Value) {
        let tls = client_tls(&self.device.ca_pem, Some((&with.pem, &with.key)));
        match https(self.address(), tls, request).await {
            Ok(answer) => (answer.status, serde_json::from_slice(&answer.body).unwrap_or_default()),
            Err(_) => (0, Value::Null),
        }
    }
    async fn nonce(&self, with: &Pair) -> (u16, Value) {
        self.ask(with, post("/device/v1/renew/nonce", &json!({}))).await
    }
    /// The whole exchange; `change` spoils the statement before it is signed.
    async fn renew(&self, with: &Pair, change: impl FnOnce(&mut Renewal)) -> Result<Pair, String> {
        let (status, answer) = self.nonce(with).await;
        if status != 200 {
            return Err(answer["code"].as_str().unwrap_or("no answer").to_owned());
        }
        let nonce = B64.decode(answer["nonce"].as_str().unwrap()).unwrap().try_into().unwrap();
        let (key, csr) = request();
        let mut statement = Renewal { nonce, present: with.sha256(), csr_sha256: Digest::of(csr.der()) };
        change(&mut statement);
        let sealed = v1::seal(
            header(&self.device.fleet, &self.device.id, StreamId(0), 0),
            statement,
            &self.device.report,
        );
        let body = json!({ "statement": B64.encode(sealed.unwrap()), "csr_pem": csr.pem().unwrap() });
        let (status, answer) = self.ask(with, post("/device/v1/renew", &body)).await;
        if status != 200 {
            return Err(answer["code"].as_str().unwrap_or("no answer").to_owned());
        }
        Ok(Pair { key, pem: answer["cert_pem"].as_str().unwrap().to_owned() })
    }
    async fn prove(&self, with: &Pair) -> (u16, String) {
        let (status, answer) = self.ask(with, post("/device/v1/renew/proof", &json!({}))).await;
        (status, answer["code"].as_str().unwrap_or_default().to_owned())
    }
    async fn fetch(&self, with: &Pair) -> u16 {
        let path = format!("/targets/m/1.0.0/{}.manifest.json", Digest::of(b"x"));
        self.ask(with, support::get(&path)).await.0
    }
    /// Gives the device a certificate that is good from `from` to `until`, as its present one.
    async fn present(&self, from: UnixMs, until: UnixMs) -> Pair {
        let (key, csr) = request();
        let csr = CertificateRequest::from_pem(&csr.pem().unwrap()).unwrap();
        let (fleet, id) = (&self.device.fleet, &self.device.id);
        let validity = Validity { from, until };
        let ca = self.home.keys().ca;
        let cert = ca.issue_device(fleet, id, &csr, validity).unwrap();
        let mut tx = self.running.app.store.write().await.unwrap();
        identity::adopt(&mut tx, id, &cert.sha256, validity).await.unwrap();
        tx.commit().await.unwrap();
        Pair { key, pem: cert.pem }
    }
    /// A certificate of our CA that the registry does not know.
    fn unknown(&self, from: UnixMs, until: UnixMs) -> Pair {
        let (key, csr) = request();
        let csr = CertificateRequest::from_pem(&csr.pem().unwrap()).unwrap();
        let ca = self.home.keys().ca;
        let cert =
            ca.issue_device(&self.device.fleet, &self.device.id, &csr, Validity { from, until }).unwrap();
        Pair { key, pem: cert.pem }
    }
}

const HOUR: u64 = 3_600_000;

fn ago(ms: u64) -> UnixMs {
    UnixMs::from_secs((app::now().0 - ms) / 1000)
}
fn from_now(ms: u64) -> UnixMs {
    UnixMs::from_secs((app::now().0 + ms) / 1000)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_certificate_is_proven_before_the_old_one_ends() {
    let home = Home::new().await;
    let running = home.start().await;
    let device = support::enrol(&home, &running.app.store, "dev-1", 60).await;
    let client = Client { home: &home, running: &running, device: &device };

    let young = client.present(ago(HOUR), from_now(10 * HOUR)).await;
    assert_eq!(client.renew(&young, |_| {}).await.err().unwrap(), "renew.early");

    let old = client.present(ago(10 * HOUR), from_now(HOUR)).await;
    let refusals: [(&str, fn(&mut Renewal)); 3] = [
        ("renew.statement", |r| r.present = Digest::of(b"another certificate")),
        ("renew.statement", |r| r.csr_sha256 = Digest::of(b"another request")),
        ("renew.nonce", |r| r.nonce = [9; 32]),
    ];
    for (code, change) in refusals {
        assert_eq!(client.renew(&old, change).await.err().unwrap(), code);
    }
    // The thief of a TLS key has no report key.
    let thief = Device {
        id: device.id.clone(),
        fleet: device.fleet.clone(),
        report: support::key(99),
        tls_key: rcgen::KeyPair::generate().unwrap(),
        cert_pem: String::new(),
        ca_pem: device.ca_pem.clone(),
        stream: StreamId(1),
    };
    let stolen = Client { home: &home, running: &running, device: &thief };
    assert_eq!(stolen.renew(&old, |_| {}).await.err().unwrap(), "renew.statement");

    let first = client.renew(&old, |_| {}).await.unwrap();
    // Its answer may have been lost: asking again gives another one in its place.
    let new = client.renew(&old, |_| {}).await.unwrap();
    assert_eq!(client.prove(&first).await.1, "device.revoked", "followed by the second answer");
    assert_eq!(client.fetch(&old).await, 404, "the old one is good until the new one was shown");
    assert_eq!(client.prove(&new).await.0, 200);
    assert_eq!(client.prove(&new).await.0, 200, "its answer may have been lost as well");
    assert_eq!(client.fetch(&new).await, 404);
    assert_eq!(client.prove(&old).await, (403, "device.revoked".into()));
    assert_eq!(client.fetch(&old).await, 403);
    assert_eq!(client.renew(&old, |_| {}).await.err().unwrap(), "renew.superseded");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_expired_buys_a_renewal_and_nothing_else() {
    let home = Home::new().await;
    let running = home.start().await;
    let device = support::enrol(&home, &running.app.store, "dev-1", 60).await;
    let client = Client { home: &home, running: &running, device: &device };
    let months = 200 * 24 * HOUR;
    let expired = client.present(ago(2 * months), ago(months)).await;
    assert_eq!(client.fetch(&expired).await, 403);
    assert_eq!(client.prove(&expired).await, (403, "device.certificate_expired".into()));
    let time = post("/device/v1/time", &json!({ "nonce": B64.encode([1; 32]) }));
    assert_eq!(client.ask(&expired, time).await.1["code"], "device.certificate_expired");
    // One that is not the present one buys nothing, however it was signed.
    let older = client.unknown(ago(3 * months), ago(2 * months));
    assert_eq!(client.renew(&older, |_| {}).await.err().unwrap(), "renew.superseded");
    let foreign = {
        let mut ca = rcgen::CertificateParams::default();
        ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let key = rcgen::KeyPair::generate().unwrap();
        let pem = ca.self_signed(&key).unwrap().pem();
        Pair { key, pem }
    };
    assert_eq!(client.renew(&foreign, |_| {}).await.err().unwrap(), "no answer", "not even a handshake");

    let back = client.renew(&expired, |_| {}).await.unwrap();
    assert_eq!(client.prove(&back).await.0, 200);
    assert_eq!(client.renew(&expired, |_| {}).await.err().unwrap(), "renew.superseded");

    // A registry that was restored from a backup has forgotten this one; its CA has not.
    let ahead = client.unknown(from_now(0), from_now(HOUR));
    assert_eq!(client.fetch(&ahead).await, 403);
    let adopted = client.renew(&ahead, |_| {}).await.unwrap();
    assert_eq!(client.fetch(&ahead).await, 404, "good until the next one was shown");
    assert_eq!(client.prove(&adopted).await.0, 200);
    assert_eq!(client.fetch(&ahead).await, 403);

    let mut tx = running.app.store.write().await.unwrap();
    registry::revoke(&mut tx, &device.id, app::now()).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(client.renew(&adopted, |_| {}).await.err().unwrap(), "device.revoked");
    assert_eq!(client.fetch(&adopted).await, 403);
    running.stop().await;
}

/// The server's clock was ten years ahead for an hour: what it issued then must not lock the devices out for ten years.
#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_dated_in_the_future_buys_a_renewal_and_nothing_else() {
    let home = Home::new().await;
    let running = home.start().await;
    let device = support::enrol(&home, &running.app.store, "dev-1", 60).await;
    let client = Client { home: &home, running: &running, device: &device };
    let years = 10 * 365 * 24 * HOUR;
    let (from, until) = (from_now(years), from_now(years + 365 * 24 * HOUR));
    let ahead = client.present(from, until).await;
    assert_eq!(client.fetch(&ahead).await, 403);
    assert_eq!(client.prove(&ahead).await, (403, "device.certificate_expired".into()));
    let back = client.renew(&ahead, |_| {}).await.unwrap();
    assert_eq!(client.prove(&back).await.0, 200);
    assert_eq!(client.fetch(&back).await, 404);
    // A date in the future does not make it the one that came after a backup.
    let orphan = client.unknown(from, until);
    for ended in [&ahead, &orphan] {
        assert_eq!(client.renew(ended, |_| {}).await.err().unwrap(), "renew.superseded");
        assert_eq!(client.fetch(ended).await, 403);
    }
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_time_is_attested_to_the_device_that_asked() {
    let home = Home::new().await;
    let running = home.start().await;
    let device = support::enrol(&home, &running.app.store, "dev-1", 60).await;
    let body = json!({ "nonce": B64.encode([7; 32]) });
    let before = app::now();
    let answer = https(running.device, device.tls(), post("/device/v1/time", &body)).await.unwrap();
    assert_eq!(answer.status, 200);
    let said = v1::open::<TimeAnswer>(&answer.body, &home.offline.online[3].public()).unwrap();
    assert_eq!((said.body.nonce, &said.header.device), ([7; 32], &device.id));
    assert!(before <= said.body.time && said.body.time <= app::now());
    let director = home.offline.online[2].public();
    assert!(v1::open::<TimeAnswer>(&answer.body, &director).is_err(), "the director tells no time");
    let nobody =
        https(running.device, client_tls(&device.ca_pem, None), post("/device/v1/time", &body)).await;
    assert_eq!(nobody.unwrap().status, 401);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decommissioned_device_leaves_its_receipt_and_is_out() {
    let home = Home::new().await;
    let running = home.start().await;
    let app = &running.app;
    let device = support::enrol(&home, &app.store, "dev-1", 60).await;
    let tell = async |statement: &Wiped| {
        let sealed =
            v1::seal(header(&device.fleet, &device.id, StreamId(0), 0), statement.clone(), &device.report);
        let body = json!({ "statement": B64.encode(sealed.unwrap()) });
        let answer = https(running.device, device.tls(), post("/device/v1/wiped", &body)).await.unwrap();
        (answer.status, answer.json()["code"].as_str().unwrap_or_default().to_owned())
    };
    let said = |seq, stage| Wiped { epoch: 1, seq: Seq(seq), stage, bundles: 2, files: 9, bytes: 99 };
    assert_eq!(tell(&said(1, WipeStage::Done)).await, (400, "wipe.receipt".into()), "nobody asked for it");

    let mut tx = app.store.write().await.unwrap();
    let until = app::now().plus_ms(HOUR);
    let seq =
        app.director.command(&mut tx, &device.id, CommandAction::Wipe, until, app::now()).await.unwrap();
    identity::ask_wipe(&mut tx, &device.id, seq, app::now()).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(tell(&said(seq.0 + 1, WipeStage::Done)).await.0, 400, "another command's number");
    for _ in 0..2 {
        assert_eq!(tell(&said(seq.0, WipeStage::Begun)).await.0, 200);
    }
    assert!(app.store.device_identity(&device.id).await.unwrap().is_some());
    assert_eq!(tell(&said(seq.0, WipeStage::Done)).await.0, 200);
    assert_eq!(tell(&said(seq.0, WipeStage::Done)).await, (403, "device.revoked".into()));
    let row = app.store.view_device("dev-1").await.unwrap().unwrap();
    assert_eq!(row.standing(), "decommissioned");
    let receipts = app.store.wipe_receipts("dev-1").await.unwrap();
    let stages: Vec<&str> = receipts.iter().map(|r| r.stage.as_str()).collect();
    assert_eq!(stages, ["begun", "done"]);
    // What was kept can be checked by anybody who has the key of then.
    let (key, why) = app.store.former_keys("dev-1").await.unwrap().remove(0);
    assert_eq!((key, why.as_str()), (device.report.public().raw(), "decommissioned"));
    assert!(v1::open::<Wiped>(&receipts[1].bytes, &device.report.public()).is_ok());
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_parallel_claims_over_tls_make_one_device() {
    let home = Home::new().await;
    let running = home.start().await;
    let ca_pem = Arc::new(home.keys().ca.pem().to_owned());
    let hash = add_token(&running.app.store, 1, LATER, None).await;
    let mut claims = tokio::task::JoinSet::new();
    for n in 0..100u8 {
        let (ca_pem, address, fleet) = (Arc::clone(&ca_pem), running.device, home.offline.fleet.clone());
        claims.spawn(async move {
            let tls = || client_tls(&ca_pem, None);
            let asked = post("/device/v1/enroll/nonce", &json!({ "token_hash": hash }));
            let nonce = https(address, tls(), asked).await.unwrap();
            if nonce.status != 200 {
                return nonce.status;
            }
            let nonce = B64.decode(nonce.json()["nonce"].as_str().unwrap()).unwrap();
            let draft = draft(&fleet, &format!("dev-{n}"), n + 100, 1, nonce.try_into().unwrap());
            let request = draft.request();
            let body = json!({ "claim": B64.encode(&request.claim), "csr_pem": request.csr_pem,
                "report_key": B64.encode(&request.report_key), "labels": {} });
            https(address, tls(), post("/device/v1/enroll", &body)).await.unwrap().status
        });
    }
    let statuses = claims.join_all().await;
    let count = |status: u16| statuses.iter().filter(|s| **s == status).count();
    let devices = running.app.store.devices(None, 1000).await.unwrap().len();
    println!(
        "claims: {}, enrolled: {}, refused as used: {}, devices: {devices}",
        statuses.len(),
        count(200),
        count(409)
    );
    assert_eq!((statuses.len(), count(200), count(409), devices), (100, 1, 99, 1));
    running.stop().await;
}

async fn token_for(running: &Running, n: u16, whom: TokenFor) -> Digest {
    let hash = Digest::of(&token_bytes(n));
    let mut tx = running.app.store.write().await.unwrap();
    registry::insert_token(&mut tx, &hash, LATER, &whom, UnixMs(1)).await.unwrap();
    tx.commit().await.unwrap();
    hash
}

#[tokio::test(flavor = "multi_thread")]
async fn a_swapped_board_takes_the_device_over_and_the_old_keys_end() {
    let home = Home::new().await;
    let running = home.start().await;
    let app = &running.app;
    let old = support::enrol(&home, &app.store, "dev-1", 60).await;
    let mut tx = app.store.write().await.unwrap();
    // Something that was meant for the old board.
    let until = app::now().plus_ms(HOUR);
    let seq = app.director.command(&mut tx, &old.id, CommandAction::Flush, until, app::now()).await.unwrap();
    tx.commit().await.unwrap();

    let tls = || client_tls(&old.ca_pem, None);
    let claim = async |token: u16, hash: Digest, name: &str, seed: u8| {
        let asked = post("/device/v1/enroll/nonce", &json!({ "token_hash": hash }));
        let nonce = https(running.device, tls(), asked).await.unwrap().json();
        let nonce = B64.decode(nonce["nonce"].as_str().unwrap()).unwrap().try_into().unwrap();
        let draft = draft(&home.offline.fleet, name, seed, token, nonce);
        let request = draft.request();
        let body = json!({ "claim": B64.encode(&request.claim), "csr_pem": request.csr_pem,
            "report_key": B64.encode(&request.report_key), "labels": {} });
        (https(running.device, tls(), post("/device/v1/enroll", &body)).await.unwrap().json(), draft)
    };
    let bound = |replaces| TokenFor { serial: None, device: Some(old.id.clone()), replaces };
    let plain = token_for(&running, 201, bound(false)).await;
    assert_eq!(claim(201, plain, "dev-1", 61).await.0["code"], "enrol.device_exists");
    assert_eq!(claim(201, plain, "dev-2", 61).await.0["code"], "enrol.device", "bound by the server as well");
    let replace = token_for(&running, 202, bound(true)).await;
    assert_eq!(claim(202, replace, "dev-2", 61).await.0["code"], "enrol.device");
    let (answer, draft) = claim(202, replace, "dev-1", 61).await;
    assert_eq!(answer["device"], "dev-1", "{answer}");
    assert_eq!(
        answer["commands_after"],
        json!([1, seq.0]),
        "the new board obeys nothing that was said before"
    );

    let identity = app.store.device_identity(&old.id).await.unwrap().unwrap();
    assert_eq!(identity.report_key, draft.report.public());
    let refused = https(running.device, old.tls(), post("/device/v1/renew/proof", &json!({}))).await.unwrap();
    assert_eq!(refused.status, 403, "the old certificate has ended");
    let (key, why) = app.store.former_keys("dev-1").await.unwrap().remove(0);
    assert_eq!((key, why.as_str()), (old.report.public().raw(), "the board was replaced"));
    let pending = app.store.pending_for(&old.id, app::now()).await.unwrap();
    assert!(pending.commands.is_empty(), "nor is it sent again");
    eventually("the old board's connection is closed", async || {
        app.store.device(&old.id).await.unwrap().is_some_and(|d| !d.online)
    })
    .await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wipe_that_was_overtaken_is_asked_for_again() {
    let home = Home::new().await;
    let running = home.start().await;
    let app = &running.app;
    let device = support::enrol(&home, &app.store, "dev-1", 60).await;
    let client = Client { home: &home, running: &running, device: &device };
    let ask = async || {
        let mut tx = app.store.write().await.unwrap();
        let told = enrol::tell_to_wipe(&mut tx, &app.director, &device.id, app::now()).await.unwrap();
        let seq = identity::wipe_seq(&mut tx, &device.id).await.unwrap().unwrap();
        tx.commit().await.unwrap();
        (told, seq, app.store.pending_for(&device.id, app::now()).await.unwrap().commands.len())
    };
    let (told, first, out) = ask().await;
    assert!(told && out == 1);
    let (told, second, out) = ask().await;
    assert!(
        told && second > first && out == 1,
        "one command is out, with a number that is greater than any before"
    );

    // It was interrupted while its certificate was renewed, and has the one before.
    let old = client.present(ago(10 * HOUR), from_now(HOUR)).await;
    let new = client.renew(&old, |_| {}).await.unwrap();
    assert_eq!(client.prove(&new).await.0, 200);
    assert_eq!(client.prove(&old).await.0, 403);
    let tell = async |seq, stage, report: &longshore_trust::SigningKey| {
        let said = Wiped { epoch: 1, seq, stage, bundles: 0, files: 0, bytes: 0 };
        let sealed = v1::seal(header(&device.fleet, &device.id, StreamId(0), 0), said, report).unwrap();
        let body = json!({ "statement": B64.encode(sealed) });
        client.ask(&old, post("/device/v1/wiped", &body)).await.0
    };
    assert_eq!(tell(second, WipeStage::Begun, &support::key(99)).await, 403, "not with a thief's key");
    assert_eq!(tell(Seq(second.0 + 1), WipeStage::Begun, &device.report).await, 400);
    // The first command arrived after all.
    assert_eq!(tell(first, WipeStage::Begun, &device.report).await, 200);
    assert_eq!(tell(second, WipeStage::Begun, &device.report).await, 200);
    assert!(!ask().await.0, "it has begun: there is nothing to ask for");
    assert_eq!(tell(second, WipeStage::Done, &device.report).await, 200);
    assert_eq!(app.store.view_device("dev-1").await.unwrap().unwrap().standing(), "decommissioned");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_is_given_to_another_board_keeps_nothing_of_the_one_that_was_shut_out() {
    let home = Home::new().await;
    let running = home.start().await;
    let store = &running.app.store;
    let old = support::enrol(&home, store, "dev-1", 60).await;
    let mut tx = store.write().await.unwrap();
    registry::revoke(&mut tx, &old.id, app::now()).await.unwrap();
    tx.commit().await.unwrap();
    let new = support::enrol(&home, store, "dev-1", 61).await;
    let known = store.device_identity(&new.id).await.unwrap().unwrap();
    assert_eq!(known.report_key, new.report.public());
    let former = store.former_keys("dev-1").await.unwrap();
    assert_eq!(former, [(old.report.public().raw(), "revoked".to_owned())]);
    running.stop().await;
}
