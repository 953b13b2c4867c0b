//! An operator with every right there is, against the API that the console uses.

use axum::body::Body;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use longshore_fleet::app::now;
use longshore_trust::tuf::edit::{self, TargetsSpec};
use longshore_trust::tuf::{ReleaseInfo, TargetInfo};
use longshore_trust::{Digest, ReleaseCounter, SigningKey};
use serde_json::json;

use crate::api::{Fleet, LATER, POLICY};

async fn upload(fleet: &Fleet, version: &str) {
    for path in ["model.onnx", "golden.safetensors"] {
        let bytes = format!("{path} {version}");
        let mut request = fleet.request("PUT", &format!("/objects/{}", Digest::of(bytes.as_bytes())), None);
        *request.body_mut() = Body::from(bytes);
        fleet.send(request).await;
    }
}

fn audit(fleet: &Fleet) -> Vec<(String, String, String)> {
    let db = rusqlite::Connection::open(fleet.app.store.path()).unwrap();
    let mut q = db.prepare("SELECT actor, action, object FROM audit ORDER BY leaf").unwrap();
    let rows = q.query_map([], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?))).unwrap();
    rows.map(Result::unwrap).collect()
}

#[tokio::test]
async fn what_no_offline_key_approved_is_neither_planned_nor_assigned() {
    let fleet = Fleet::new().await;
    let old = fleet.release("1.0.0", 1, &[]).await;
    let device = fleet.device(1, Some(old)).await;
    upload(&fleet, "6.6.6").await;
    let body = json!({ "manifest": Fleet::manifest("6.6.6") });
    assert!(fleet.post("/models/m/versions", body).await.status.is_success());
    let plan = json!({ "model": "m", "version": "6.6.6", "policy": POLICY });
    let refused = fleet.post("/rollouts", plan.clone()).await;
    assert!(refused.status.is_client_error(), "{}", refused.json);
    // They write into the catalogue what they like, as somebody could who has the database too.
    let db = rusqlite::Connection::open(fleet.app.store.path()).unwrap();
    db.execute("UPDATE bundle_version SET state = 'checked' WHERE version = '6.6.6'", []).unwrap();
    let refused = fleet.post("/rollouts", plan).await;
    assert!(refused.status.is_client_error(), "{}", refused.json);
    let alias = fleet.put("/models/m/aliases/champion", json!({ "version": "6.6.6" })).await;
    assert_eq!(alias.json["code"], "version.state");
    assert!(device.assignment().await.is_none());
}

#[tokio::test]
async fn keys_of_the_insiders_own_approve_nothing() {
    let fleet = Fleet::new().await;
    fleet.release("1.0.0", 1, &[]).await;
    let text = Fleet::manifest("6.6.6");
    let release = ReleaseInfo { release_counter: ReleaseCounter(9), rollback_ok: vec![], hw: vec![] };
    let info = TargetInfo {
        length: text.len() as u64,
        sha256: Digest::of(text.as_bytes()),
        custom: release.to_custom(),
    };
    let spec = TargetsSpec {
        version: 2,
        expires: LATER,
        targets: [("m/6.6.6/manifest.json".to_owned(), info)].into(),
        delegations: Vec::new(),
    };
    for seed in [66u8, 1, 2, 3] {
        // A key of their own, and the server's online keys.
        let mut signed = edit::targets(&spec);
        signed.sign(&SigningKey::from_seed(&[seed; 32]));
        let body = json!({ "role": "models/m", "metadata": STANDARD.encode(signed.to_bytes()) });
        let refused = fleet.post("/trust/metadata", body).await;
        assert_eq!(refused.json["code"], "trust.refused", "key {seed}: {}", refused.json);
    }
    let roles = fleet.app.store.newest_roles().await.unwrap();
    assert_eq!(roles.iter().find(|(r, ..)| r == "models/m").unwrap().1, 1);
    assert!(fleet.get("/trust/pending/models/m").await.json["code"] == "trust.nothing_pending");
}

#[tokio::test]
async fn an_approved_version_keeps_its_bytes() {
    let fleet = Fleet::new().await;
    fleet.release("1.0.0", 1, &[]).await;
    upload(&fleet, "1.0.0").await;
    let other = Fleet::manifest("1.0.0").replace("2026-01-31", "2026-02-01");
    let refused = fleet.post("/models/m/versions", json!({ "manifest": other })).await;
    assert_eq!(refused.json["code"], "version.exists");
    // An object's name is its hash: it cannot be exchanged under its name either.
    let name = Digest::of(b"model.onnx 1.0.0");
    let mut request = fleet.request("PUT", &format!("/objects/{name}"), None);
    *request.body_mut() = Body::from("something else");
    assert_eq!(fleet.send(request).await.json["code"], "object.digest");
    assert_eq!(fleet.app.objects.read(&name).await.unwrap(), b"model.onnx 1.0.0");
}

#[tokio::test]
async fn every_deed_has_its_line_with_the_person_who_did_it() {
    let fleet = Fleet::new().await;
    let old = fleet.release("1.0.0", 1, &[]).await;
    fleet.release("1.1.0", 2, &[old]).await;
    fleet.device(1, Some(old)).await;
    fleet.device(2, Some(old)).await;
    upload(&fleet, "1.2.0").await;
    let start = audit(&fleet).len();
    let mut deeds: Vec<(&str, String)> = Vec::new();
    let mut done = |action, object: &str| deeds.push((action, object.to_owned()));

    let manifest = json!({ "manifest": Fleet::manifest("1.2.0") });
    assert!(fleet.post("/models/m/versions", manifest).await.status.is_success());
    done("version.create", "m@1.2.0");
    assert!(fleet.put("/models/m/aliases/champion", json!({ "version": "1.0.0" })).await.status.is_success());
    done("alias.move", "m:champion");
    let token = json!({ "hash": Digest::of(b"t"), "expires": now().0 + 60_000 });
    assert!(fleet.post("/devices/tokens", token).await.status.is_success());
    done("device.token", &Digest::of(b"t").short());
    let plan = fleet.post("/rollouts", json!({ "model": "m", "version": "1.1.0", "policy": POLICY })).await;
    let id = plan.json["id"].as_str().unwrap().to_owned();
    done("rollout.plan", &id);
    for act in ["start", "pause", "halt"] {
        let done_ = fleet.post(&format!("/rollouts/{id}/{act}"), json!({})).await;
        assert!(done_.status.is_success(), "{act}: {}", done_.json);
        done(
            ["rollout.start", "rollout.pause", "rollout.halt"]
                [["start", "pause", "halt"].iter().position(|a| *a == act).unwrap()],
            &id,
        );
    }
    assert!(fleet.post("/models/m/versions/1.0.0/deprecate", json!({})).await.status.is_success());
    done("version.deprecated", "m@1.0.0");
    assert!(fleet.send(fleet.request("DELETE", "/devices/dev-2", None)).await.status.is_success());
    done("device.revoke", "dev-2");

    let lines: Vec<_> = audit(&fleet).split_off(start);
    let by_the_insider: Vec<(&str, String)> = lines
        .iter()
        .filter(|(actor, ..)| actor == "admin")
        .map(|(_, a, o)| (a.as_str(), o.clone()))
        .collect();
    assert_eq!(by_the_insider, deeds);
    println!("{} deeds, {} lines", deeds.len(), by_the_insider.len());
}
