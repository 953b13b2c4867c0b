//! Enrolment: one token, one device, whoever else tries.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as B64;
use longshore_fleet::app;
use longshore_fleet::enrol::{EnrolError, Nonces, enrol};
use longshore_fleet::store::{Store, device};
use longshore_trust::{Digest, UnixMs};

use crate::support::{self, Home, LATER, add_token, client_tls, director, draft, get, https, issuer, post};

async fn store(home: &Home) -> Store {
    Store::open(&home.data().database()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_parallel_claims_of_one_token_make_one_device() {
    let home = Home::new().await;
    let store = store(&home).await;
    let hash = add_token(&store, 1, LATER, None).await;
    let nonces = std::sync::Arc::new(Nonces::default());
    let keys = std::sync::Arc::new(home.keys());
    let mut claims = tokio::task::JoinSet::new();
    for n in 0..100u8 {
        let nonce = nonces.open([n + 1; 32], hash, app::now()).unwrap();
        let draft = draft(&keys.fleet, &format!("dev-{n}"), n + 100, 1, nonce);
        let (store, keys, nonces) = (store.clone(), keys.clone(), nonces.clone());
        claims.spawn(async move {
            enrol(&store, &issuer(&keys, &director(&keys.fleet)), &nonces, draft.request(), app::now()).await
        });
    }
    let results = claims.join_all().await;
    let won: Vec<_> = results.iter().filter_map(|r| r.as_ref().ok()).collect();
    assert_eq!(won.len(), 1);
    for refused in results.iter().filter_map(|r| r.as_ref().err()) {
        assert!(matches!(refused, EnrolError::TokenUsed(by) if by == won[0].device.as_str()), "{refused}");
    }
    let devices = store.devices(None, 1000).await.unwrap();
    assert_eq!(devices.len(), 1);
    assert_eq!(devices[0].id, won[0].device);
}

#[tokio::test]
async fn what_is_wrong_with_a_claim_is_refused_and_leaves_the_token_good() {
    let home = Home::new().await;
    let store = store(&home).await;
    let keys = home.keys();
    let nonces = Nonces::default();
    let hash = add_token(&store, 1, LATER, Some("sn-1")).await;
    let late = add_token(&store, 2, UnixMs(2), None).await;
    let mut n = 0u8;
    let mut fresh = |hash: Digest| {
        n += 1;
        nonces.open([n; 32], hash, app::now()).unwrap()
    };
    let unknown = Digest::of(&support::token_bytes(3));
    let good = draft(&keys.fleet, "dev-1", 50, 1, fresh(hash));
    let mut other_fleet = draft(&keys.fleet, "dev-1", 50, 1, fresh(hash));
    other_fleet.claim.fleet = "other".parse().unwrap();
    let mut other_serial = draft(&keys.fleet, "dev-1", 50, 1, fresh(hash));
    other_serial.claim.serial = "sn-2".into();
    let mut other_csr = draft(&keys.fleet, "dev-1", 50, 1, fresh(hash));
    other_csr.csr_pem = good.csr_pem.clone();
    let mut other_key = draft(&keys.fleet, "dev-1", 50, 1, fresh(hash));
    other_key.claim.report_key = [1; 32];
    let foreign_nonce = draft(&keys.fleet, "dev-1", 50, 1, fresh(unknown));
    let expired = draft(&keys.fleet, "dev-1", 50, 2, fresh(late));
    let no_token = draft(&keys.fleet, "dev-1", 50, 3, fresh(unknown));
    for (code, draft) in [
        ("enrol.fleet", &other_fleet),
        ("enrol.serial", &other_serial),
        ("enrol.claim", &other_csr),
        ("enrol.claim", &other_key),
        ("enrol.nonce", &foreign_nonce),
        ("enrol.token_expired", &expired),
        ("enrol.token_unknown", &no_token),
    ] {
        let refused =
            enrol(&store, &issuer(&keys, &director(&keys.fleet)), &nonces, draft.request(), app::now()).await;
        assert_eq!(refused.unwrap_err().code(), code);
    }
    let mut tampered = good.request();
    let last = tampered.claim.len() - 1;
    tampered.claim[last] ^= 1;
    let refused = enrol(&store, &issuer(&keys, &director(&keys.fleet)), &nonces, tampered, app::now()).await;
    assert_eq!(refused.unwrap_err().code(), "enrol.claim");
    assert!(store.devices(None, 10).await.unwrap().is_empty());

    enrol(&store, &issuer(&keys, &director(&keys.fleet)), &nonces, good.request(), app::now()).await.unwrap();
    // The answer was lost: the same device with the same key may ask once more, with a new nonce.
    let mut again = draft(&keys.fleet, "dev-1", 50, 1, fresh(hash));
    again.claim.serial = "sn-1".into();
    enrol(&store, &issuer(&keys, &director(&keys.fleet)), &nonces, again.request(), app::now())
        .await
        .unwrap();
    let replayed =
        enrol(&store, &issuer(&keys, &director(&keys.fleet)), &nonces, good.request(), app::now()).await;
    assert_eq!(replayed.unwrap_err().code(), "enrol.nonce");
    assert_eq!(store.devices(None, 10).await.unwrap().len(), 1);
}

#[tokio::test]
async fn an_id_in_use_is_refused_until_it_is_revoked() {
    let home = Home::new().await;
    let store = store(&home).await;
    let first = support::enrol(&home, &store, "dev-1", 60).await;
    let keys = home.keys();
    let nonces = Nonces::default();
    let hash = add_token(&store, 1, LATER, None).await;
    let claim = |nonce| draft(&keys.fleet, "dev-1", 61, 1, nonce);
    let nonce = nonces.open([1; 32], hash, app::now()).unwrap();
    let refused =
        enrol(&store, &issuer(&keys, &director(&keys.fleet)), &nonces, claim(nonce).request(), app::now())
            .await;
    assert_eq!(refused.unwrap_err().code(), "enrol.device_exists");

    let mut tx = store.write().await.unwrap();
    assert!(device::revoke(&mut tx, &first.id, app::now()).await.unwrap());
    tx.commit().await.unwrap();
    assert_eq!(store.device_identity(&first.id).await.unwrap(), None);
    let nonce = nonces.open([2; 32], hash, app::now()).unwrap();
    enrol(&store, &issuer(&keys, &director(&keys.fleet)), &nonces, claim(nonce).request(), app::now())
        .await
        .unwrap();
    let now = store.device_identity(&first.id).await.unwrap().unwrap();
    assert_ne!(now.report_key, first.report.public());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_enrols_over_https_with_only_the_pinned_ca() {
    let home = Home::new().await;
    let running = home.start().await;
    let ca_pem = home.keys().ca.pem().to_owned();
    let tls = || client_tls(&ca_pem, None);

    let bootstrap = https(running.device, tls(), get("/device/v1/bootstrap")).await.unwrap().json();
    assert_eq!(bootstrap["ca_pem"], ca_pem);
    let root = B64.decode(bootstrap["root_json"].as_str().unwrap()).unwrap();
    assert_eq!(root, home.keys().root);
    let pinned = format!("/device/v1/bootstrap?root={}", Digest::of(&root));
    assert_eq!(https(running.device, tls(), get(&pinned)).await.unwrap().status, 200);
    let foreign = format!("/device/v1/bootstrap?root={}", Digest::of(b"another"));
    assert_eq!(https(running.device, tls(), get(&foreign)).await.unwrap().status, 404);

    let hash = add_token(&running.app.store, 1, LATER, None).await;
    let unknown = serde_json::json!({"token_hash": Digest::of(b"?")});
    let refused = https(running.device, tls(), post("/device/v1/enroll/nonce", &unknown)).await.unwrap();
    assert_eq!((refused.status, refused.json()["code"].as_str().unwrap()), (403, "enrol.token_unknown"));
    let asked = serde_json::json!({"token_hash": hash});
    let nonce = https(running.device, tls(), post("/device/v1/enroll/nonce", &asked)).await.unwrap().json();
    let nonce = B64.decode(nonce["nonce"].as_str().unwrap()).unwrap();
    let draft = draft(&home.offline.fleet, "dev-1", 70, 1, nonce.try_into().unwrap());
    let request = draft.request();
    let body = serde_json::json!({"claim": B64.encode(&request.claim), "csr_pem": request.csr_pem,
        "report_key": B64.encode(&request.report_key), "labels": {"site": "north"}});
    let answer = https(running.device, tls(), post("/device/v1/enroll", &body)).await.unwrap();
    assert_eq!(answer.status, 200);
    let answer = answer.json();
    assert_eq!(answer["device"], "dev-1");
    assert!(answer["mqtt_url"].as_str().unwrap().starts_with("mqtts://localhost:"));
    let refused = https(running.device, tls(), post("/device/v1/enroll", &body)).await.unwrap();
    assert_eq!(refused.status, 403);
    assert_eq!(refused.headers["content-type"], "application/problem+json");
    assert_eq!(refused.json()["code"], "enrol.nonce");
    let row = running.app.store.device(&"dev-1".parse().unwrap()).await.unwrap().unwrap();
    assert_eq!(row.labels, r#"{"site":"north"}"#);
    running.stop().await;
}
