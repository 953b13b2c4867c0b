//! Uploads, versions, aliases, devices and trust: what is refused, and why.

use axum::body::Body;
use axum::http::StatusCode;
use longshore_fleet::app;
use longshore_trust::Digest;
use serde_json::json;

use crate::support::Fleet;

async fn upload(fleet: &Fleet, version: &str) {
    for path in ["model.onnx", "golden.safetensors"] {
        let bytes = format!("{path} {version}");
        let path = format!("/objects/{}", Digest::of(bytes.as_bytes()));
        let mut request = fleet.request("PUT", &path, None);
        *request.body_mut() = Body::from(bytes);
        assert_eq!(fleet.send(request).await.status, StatusCode::OK);
    }
}

#[tokio::test]
async fn an_object_must_be_what_its_name_says() {
    let fleet = Fleet::new().await;
    let mut wrong = fleet.request("PUT", &format!("/objects/{}", Digest::of(b"a")), None);
    *wrong.body_mut() = Body::from("b");
    let answer = fleet.send(wrong).await;
    assert_eq!(
        (answer.status, &answer.json["code"]),
        (StatusCode::UNPROCESSABLE_ENTITY, &json!("object.digest"))
    );
    let answer = fleet.send(fleet.request("PUT", "/objects/nonsense", None)).await;
    assert_eq!(answer.json["code"], "object.name");
}

#[tokio::test]
async fn a_version_is_added_once_its_files_are_there() {
    let fleet = Fleet::new().await;
    let body = json!({ "manifest": Fleet::manifest("1.0.0") });
    let early = fleet.post("/models/m/versions", body.clone()).await;
    assert_eq!(early.json["code"], "bundle.missing_file");
    assert_eq!(early.json["errors"].as_array().unwrap().len(), 2);
    upload(&fleet, "1.0.0").await;
    for _ in 0..2 {
        let added = fleet.post("/models/m/versions", body.clone()).await;
        assert_eq!((added.status, &added.json["state"]), (StatusCode::ACCEPTED, &json!("draft")));
    }
    let shown = fleet.get("/models/m/versions/1.0.0").await.json;
    assert_eq!(shown["bundle"], json!(Digest::of(Fleet::manifest("1.0.0").as_bytes())));
    assert_eq!(shown["manifest"], json!(Fleet::manifest("1.0.0")));
    assert!(fleet.app.objects.contains(&Digest::of(Fleet::manifest("1.0.0").as_bytes())));
    let models = fleet.get("/models").await.json;
    assert_eq!(models["items"][0]["versions"][0]["version"], "1.0.0");
}

#[tokio::test]
async fn manifests_that_cannot_be_are_refused_with_a_code() {
    let fleet = Fleet::new().await;
    for (path, body, status, code) in [
        (
            "/models/other/versions",
            json!({ "manifest": Fleet::manifest("1.0.0") }),
            422,
            "bundle.other_model",
        ),
        ("/models/UPPER/versions", json!({ "manifest": "{}" }), 422, "model.name"),
        ("/models/m/versions", json!({ "manifest": 5 }), 422, "request.invalid"),
        ("/models/m/versions", json!({ "manifesto": "x" }), 422, "request.invalid"),
    ] {
        let answer = fleet.post(path, body).await;
        assert_eq!((answer.status.as_u16(), &answer.json["code"]), (status, &json!(code)), "{path}");
        assert!(answer.json["detail"].as_str().is_some_and(|d| !d.is_empty()));
    }
    let broken = fleet.post("/models/m/versions", json!({ "manifest": "not json" })).await;
    assert_eq!(broken.status, StatusCode::UNPROCESSABLE_ENTITY);
    let mut request = fleet.request("POST", "/models/m/versions", None);
    *request.body_mut() = Body::from("{");
    assert_eq!(fleet.send(request).await.json["code"], "request.malformed");
    let mut request = fleet.request("POST", "/models/m/versions", None);
    *request.body_mut() = Body::from(vec![b' '; 5 << 20]);
    assert_eq!(fleet.send(request).await.status, StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn an_approved_version_cannot_be_replaced_and_a_retired_one_is_still_listed_where_it_runs() {
    let fleet = Fleet::new().await;
    let bundle = fleet.release("1.0.0", 1, &[]).await;
    fleet.device(1, Some(bundle)).await;
    assert_eq!(fleet.get("/models/m/versions/1.0.0").await.json["state"], "approved");

    upload(&fleet, "1.0.0").await;
    let other = Fleet::manifest("1.0.0").replace("2026-01-31", "2026-02-01");
    let answer = fleet.post("/models/m/versions", json!({ "manifest": other })).await;
    assert_eq!((answer.status, &answer.json["code"]), (StatusCode::CONFLICT, &json!("version.exists")));

    let alias = fleet.put("/models/m/aliases/champion", json!({ "version": "1.0.0" })).await;
    assert_eq!((alias.status, &alias.json["before"]), (StatusCode::OK, &json!(null)));
    assert_eq!(fleet.get("/models/m/versions/champion").await.json["version"], "1.0.0");
    assert_eq!(
        fleet.put("/models/m/aliases/1x", json!({ "version": "1.0.0" })).await.json["code"],
        "alias.name"
    );
    assert_eq!(
        fleet.put("/models/m/aliases/x", json!({ "version": "9.0.0" })).await.status,
        StatusCode::NOT_FOUND
    );

    assert_eq!(fleet.post("/models/m/versions/1.0.0/deprecate", json!({})).await.json["state"], "deprecated");
    let unsaid = fleet.post("/models/m/versions/1.0.0/retire", json!({ "reason": " " })).await;
    assert_eq!(
        (unsaid.status, &unsaid.json["code"]),
        (StatusCode::UNPROCESSABLE_ENTITY, &json!("version.reason"))
    );
    let why = json!({ "reason": "answers 7 for every 1" });
    let retired = fleet.post("/models/m/versions/1.0.0/retire", why).await.json;
    assert_eq!(retired["reason"], "answers 7 for every 1");
    assert_eq!((&retired["state"], &retired["running_on"]), (&json!("retired"), &json!(1)));
    assert_eq!(retired["devices"], json!(["dev-1"]));
    let back = fleet.post("/models/m/versions/1.0.0/deprecate", json!({})).await;
    assert_eq!((back.status, &back.json["code"]), (StatusCode::CONFLICT, &json!("version.state")));
    let plan = fleet.post("/rollouts", json!({ "model": "m", "version": "1.0.0" })).await;
    assert_eq!((plan.status, &plan.json["code"]), (StatusCode::CONFLICT, &json!("version.retired")));
    assert!(plan.json["detail"].as_str().unwrap().contains("answers 7 for every 1"), "{}", plan.json);
}

#[tokio::test]
async fn devices_are_listed_in_pages_and_can_be_shut_out() {
    let fleet = Fleet::new().await;
    for n in 1..=5 {
        fleet.device(n, None).await;
    }
    let (mut ids, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = fleet.get(&format!("/devices?limit=2{cursor}")).await.json;
        assert!(page["items"].as_array().unwrap().len() <= 2);
        ids.extend(page["items"].as_array().unwrap().iter().map(|d| d["id"].as_str().unwrap().to_owned()));
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(ids, ["dev-1", "dev-2", "dev-3", "dev-4", "dev-5"]);
    let gone = fleet.send(fleet.request("DELETE", "/devices/dev-3", None)).await;
    assert_eq!(gone.status, StatusCode::OK);
    assert_eq!(fleet.get("/devices/dev-3").await.json["revoked"], true);
    assert_eq!(fleet.get("/fleet").await.json["devices"], 4);
    assert_eq!(fleet.get("/devices/none").await.json["code"], "device.unknown");
    let answer = fleet.send(fleet.request("DELETE", "/devices/none", None)).await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_claim_token_is_kept_by_its_hash_and_must_make_sense() {
    let fleet = Fleet::new().await;
    let later = app::now().0 + 60_000;
    let good = json!({ "hash": Digest::of(b"t"), "expires": later });
    assert_eq!(fleet.post("/devices/tokens", good.clone()).await.status, StatusCode::OK);
    assert_eq!(fleet.post("/devices/tokens", good).await.json["code"], "token.exists");
    let past = json!({ "hash": Digest::of(b"u"), "expires": 5 });
    assert_eq!(fleet.post("/devices/tokens", past).await.json["code"], "token.expires");
    let bad = json!({ "hash": "xyz", "expires": later });
    assert_eq!(fleet.post("/devices/tokens", bad).await.json["code"], "token.hash");
}

#[tokio::test]
async fn metadata_of_a_wrong_version_or_key_is_refused() {
    let fleet = Fleet::new().await;
    fleet.release("1.0.0", 1, &[]).await;
    let answer = fleet.post("/trust/metadata", json!({ "role": "models/m", "metadata": "!" })).await;
    assert_eq!(answer.json["code"], "trust.base64");
    let answer = fleet.post("/trust/metadata", json!({ "role": "models/m", "metadata": "e30=" })).await;
    assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(fleet.get("/trust/pending/models/m").await.json["code"], "trust.nothing_pending");
    assert_eq!(fleet.get("/trust/pending/models%2Fm").await.json["code"], "trust.nothing_pending");
    assert_eq!(fleet.get("/no/such/route").await.json["code"], "route.unknown");
}

mod oms {
    //! OpenSSF Model Signing at the door.

    use std::collections::BTreeMap;

    use longshore_bundle::Manifest;
    use longshore_bundle::oms::{self, Model, PrivateKey};
    use longshore_fleet::config::Oms;
    use longshore_trust::Digest;
    use serde_json::{Value, json};

    use crate::support::{Answer, Fleet};

    const P384: &str = include_str!("../../../shared/bundle/tests/keys/p384.pem");
    const P256: &str = include_str!("../../../shared/bundle/tests/keys/p256.pem");
    const P384_PUBLIC: &str = include_str!("../../../shared/bundle/tests/keys/p384.pub.pem");

    fn signature(manifest: &str, key: &str, change: impl Fn(&mut BTreeMap<String, Digest>)) -> String {
        let read = Manifest::parse(manifest.as_bytes()).unwrap();
        let mut files: BTreeMap<String, Digest> =
            read.files.iter().map(|f| (f.path.as_str().to_owned(), f.sha256)).collect();
        files.insert("manifest.json".into(), Digest::of(manifest.as_bytes()));
        change(&mut files);
        let model = Model { name: "m".into(), files, ignored: vec!["model.sig".into()], follow_links: false };
        oms::sign(&model, &PrivateKey::from_pem(key).unwrap()).unwrap()
    }
    async fn upload(fleet: &Fleet, signature: Value) -> Answer {
        let manifest = Fleet::manifest("1.0.0");
        for path in ["model.onnx", "golden.safetensors"] {
            fleet.app.objects.put(format!("{path} 1.0.0").as_bytes()).await.unwrap();
        }
        fleet.post("/models/m/versions", json!({ "manifest": manifest, "signature": signature })).await
    }

    #[tokio::test]
    async fn an_upload_without_the_signature_that_is_required_is_refused() {
        let oms = Oms { require: true, public_keys: vec![P384_PUBLIC.into()] };
        let fleet = Fleet::with(|c| c.oms = oms.clone()).await;
        let manifest = Fleet::manifest("1.0.0");
        let refused = async |signature: Value, code: &str| {
            let answer = upload(&fleet, signature).await;
            assert_eq!(
                (answer.status.as_u16(), answer.json["code"].as_str()),
                (422, Some(code)),
                "{}",
                answer.json
            );
        };
        refused(Value::Null, "oms.required").await;
        refused(signature(&manifest, P256, |_| {}).into(), "oms.other_key").await;
        refused(
            signature(&manifest, P384, |f| {
                f.remove("model.onnx");
            })
            .into(),
            "oms.mismatch",
        )
        .await;
        refused(
            signature(&manifest, P384, |f| {
                f.insert("x".into(), Digest::of(b""));
            })
            .into(),
            "oms.mismatch",
        )
        .await;
        refused("{}".into(), "oms.malformed").await;
        let answer = upload(&fleet, signature(&manifest, P384, |_| {}).into()).await;
        assert_eq!(answer.status, 202, "{}", answer.json);
        let hint = PrivateKey::from_pem(P384).unwrap().public().hint().unwrap();
        assert_eq!(answer.json["signature"]["key"], hint.as_str());
        let log = fleet.get("/audit/search?action=version.signature").await.json;
        assert!(log["items"][0]["detail"].as_str().unwrap().ends_with(&hint), "{log}");
    }

    #[tokio::test]
    async fn without_keys_a_signature_is_kept_and_said_to_be_unchecked() {
        let fleet = Fleet::new().await;
        let answer = upload(&fleet, signature(&Fleet::manifest("1.0.0"), P256, |_| {}).into()).await;
        assert_eq!(
            (answer.status.as_u16(), &answer.json["signature"]["key"]),
            (202, &Value::Null),
            "{}",
            answer.json
        );
    }
}
