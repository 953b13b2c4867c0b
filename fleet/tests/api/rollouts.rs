//! What people do with rollouts.

use axum::http::StatusCode;
use serde_json::{Value, json};

use crate::support::{Fleet, POLICY};

async fn two_versions() -> (Fleet, String) {
    let fleet = Fleet::new().await;
    let old = fleet.release("1.0.0", 1, &[]).await;
    fleet.release("1.1.0", 2, &[old]).await;
    for n in 1..=3 {
        fleet.device(n, Some(old)).await;
    }
    let planned = fleet.post("/rollouts", body(json!({}))).await;
    assert_eq!(planned.status, StatusCode::CREATED, "{}", planned.json);
    let id = planned.json["id"].as_str().unwrap().to_owned();
    (fleet, id)
}

fn body(more: Value) -> Value {
    let mut body = json!({ "model": "m", "version": "1.1.0", "policy": POLICY });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

#[tokio::test]
async fn a_rehearsal_shows_the_plan_and_keeps_nothing() {
    let (fleet, _) = two_versions().await;
    let plan = fleet.post("/rollouts", body(json!({ "dry_run": true }))).await;
    assert_eq!((plan.status, &plan.json["state"]), (StatusCode::OK, &json!("rehearsal")));
    assert_eq!(plan.json["waves"].as_array().unwrap().len(), 2);
    assert_eq!(plan.json["waves"][0]["devices"].as_array().unwrap().len(), 1);
    assert_eq!(fleet.get("/rollouts").await.json["items"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn policies_and_plans_that_cannot_be_are_refused_with_a_code() {
    let (fleet, _) = two_versions().await;
    for (more, status, code) in [
        (json!({ "policy": POLICY.replace("soak", "soack") }), 422, "policy.invalid"),
        (json!({ "policy": POLICY.replace("min_rows = 100", "score_shift = -0.1") }), 422, "policy.invalid"),
        (json!({ "policy": null, "policy_name": "reckless" }), 422, "policy.unknown"),
        (json!({ "policy_name": "fast" }), 422, "policy.twice"),
        (json!({ "version": "7.0.0" }), 404, "version.unknown"),
        (json!({ "version": "1.0.0" }), 409, "plan.no_devices"),
        (json!({ "model": "Bad Name" }), 422, "model.name"),
        (json!({ "polizy": "x" }), 422, "request.invalid"),
    ] {
        let answer = fleet.post("/rollouts", body(more.clone())).await;
        assert_eq!(
            (answer.status.as_u16(), &answer.json["code"]),
            (status, &json!(code)),
            "{more}: {}",
            answer.json
        );
    }
    let wrong = fleet.post("/rollouts", body(json!({ "policy": POLICY.replace("soak", "soack") }))).await;
    assert!(wrong.json["detail"].as_str().unwrap().contains("line 5"), "{}", wrong.json);
    fleet.release("2.0.0", 3, &[]).await;
    let stuck = fleet.post("/rollouts", body(json!({ "version": "2.0.0" }))).await;
    assert_eq!(stuck.json["code"], "plan.no_way_back");
}

#[tokio::test]
async fn the_same_idempotency_key_gets_the_same_answer_and_does_it_once() {
    let (fleet, _) = two_versions().await;
    let send = |key: &str, body: Value| {
        let mut request = fleet.request("POST", "/rollouts", Some(&body));
        request.headers_mut().insert("idempotency-key", key.parse().unwrap());
        fleet.send(request)
    };
    let first = send("k-1", body(json!({}))).await;
    let again = send("k-1", body(json!({}))).await;
    assert_eq!((first.status, &first.json), (again.status, &again.json));
    assert_eq!(again.headers["idempotency-replayed"], "true");
    assert_eq!(fleet.get("/rollouts").await.json["items"].as_array().unwrap().len(), 2);
    let reused = send("k-1", body(json!({ "dry_run": true }))).await;
    assert_eq!(
        (reused.status, &reused.json["code"]),
        (StatusCode::UNPROCESSABLE_ENTITY, &json!("idempotency.reused"))
    );
    let other = send("k-2", body(json!({}))).await;
    assert_ne!(other.json["id"], first.json["id"]);
    assert_eq!(send("", body(json!({}))).await.json["code"], "idempotency.key");
}

#[tokio::test]
async fn whoever_acts_on_an_older_state_is_told() {
    let (fleet, id) = two_versions().await;
    let shown = fleet.get(&format!("/rollouts/{id}")).await;
    let etag = shown.headers["etag"].clone();
    let act = |action: &str, etag: axum::http::HeaderValue| {
        let mut request = fleet.request("POST", &format!("/rollouts/{id}/{action}"), Some(&json!({})));
        request.headers_mut().insert("if-match", etag);
        fleet.send(request)
    };
    let started = act("start", etag.clone()).await;
    assert_eq!((started.status, &started.json["state"]), (StatusCode::OK, &json!("running")));
    let late = act("pause", etag).await;
    assert_eq!(
        (late.status, &late.json["code"]),
        (StatusCode::PRECONDITION_FAILED, &json!("rollout.changed"))
    );
    assert_eq!(act("pause", started.headers["etag"].clone()).await.json["state"], "paused");
    assert_eq!(act("halt", "nonsense".parse().unwrap()).await.json["code"], "request.if_match");
}

#[tokio::test]
async fn of_two_operators_at_once_one_wins_and_the_other_is_told() {
    let (fleet, id) = two_versions().await;
    let etag = fleet.get(&format!("/rollouts/{id}")).await.headers["etag"].clone();
    let act = |action: &str| {
        let mut request = fleet.request("POST", &format!("/rollouts/{id}/{action}"), Some(&json!({})));
        request.headers_mut().insert("if-match", etag.clone());
        fleet.send(request)
    };
    let (a, b) = tokio::join!(act("start"), act("halt"));
    let mut statuses = [a.status.as_u16(), b.status.as_u16()];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 412]);
}

#[tokio::test]
async fn a_model_has_one_rollout_at_a_time() {
    let (fleet, first) = two_versions().await;
    let second = fleet.post("/rollouts", body(json!({}))).await.json["id"].as_str().unwrap().to_owned();
    let start = |id: String, body: Value| {
        let fleet = &fleet;
        async move { fleet.post(&format!("/rollouts/{id}/start"), body).await }
    };
    assert_eq!(start(first.clone(), json!({})).await.status, StatusCode::OK);
    assert_eq!(
        start(first.clone(), json!({})).await.status,
        StatusCode::OK,
        "starting twice is starting once"
    );
    let refused = start(second.clone(), json!({})).await;
    assert_eq!((refused.status, &refused.json["code"]), (StatusCode::CONFLICT, &json!("rollout.occupied")));
    assert!(refused.json["detail"].as_str().unwrap().contains(&first));
    assert_eq!(start(second, json!({ "supersede": true })).await.json["state"], "running");
    assert_eq!(fleet.get(&format!("/rollouts/{first}")).await.json["state"], "superseded");
}

#[tokio::test]
async fn acts_that_make_no_sense_are_refused() {
    let (fleet, id) = two_versions().await;
    let at = |action: &str| format!("/rollouts/{id}/{action}");
    for (path, body, status, code) in [
        (at("pause"), json!({}), 409, "rollout.state"),
        (at("revert"), json!({}), 409, "rollout.state"),
        (at("resume"), json!({}), 422, "rollout.wave"),
        (at("resume"), json!({ "wave": "retry" }), 409, "rollout.state"),
        (at("start"), json!({ "wave": "skip" }), 422, "rollout.wave"),
        (at("explode"), json!({}), 404, "rollout.action"),
        ("/rollouts/none/start".to_owned(), json!({}), 404, "rollout.unknown"),
        ("/rollouts/No%20Id/start".to_owned(), json!({}), 404, "rollout.unknown"),
        (at("start"), json!({ "superseed": true }), 422, "request.invalid"),
    ] {
        let answer = fleet.post(&path, body).await;
        assert_eq!((answer.status.as_u16(), &answer.json["code"]), (status, &json!(code)), "{path}");
    }
    assert_eq!(fleet.post(&at("halt"), json!({})).await.json["state"], "halted");
    assert_eq!(
        fleet.post(&at("start"), json!({})).await.json["code"],
        "rollout.state",
        "halted starts nothing"
    );
}

#[tokio::test]
async fn devices_of_a_rollout_come_in_pages_by_wave_and_state() {
    let (fleet, id) = two_versions().await;
    let of = |page: &Value| -> Vec<String> {
        page["items"].as_array().unwrap().iter().map(|d| format!("{} {}", d["wave"], d["device"])).collect()
    };
    let all = fleet.get(&format!("/rollouts/{id}/devices")).await.json;
    assert_eq!((of(&all).len(), &all["next"]), (3, &Value::Null));
    let first = fleet.get(&format!("/rollouts/{id}/devices?limit=2")).await.json;
    let cursor = first["next"].as_str().unwrap();
    let second = fleet.get(&format!("/rollouts/{id}/devices?limit=2&cursor={cursor}")).await.json;
    assert_eq!([of(&first), of(&second)].concat(), of(&all));
    let canaries = fleet.get(&format!("/rollouts/{id}/devices?wave=0")).await.json;
    assert_eq!(of(&canaries).len(), 1);
    assert_eq!(canaries["items"][0]["state"], "waiting");
    assert!(of(&fleet.get(&format!("/rollouts/{id}/devices?state=committed")).await.json).is_empty());
    let odd = fleet.get(&format!("/rollouts/{id}/devices?state=lost")).await;
    assert_eq!(
        (odd.status, &odd.json["code"]),
        (StatusCode::UNPROCESSABLE_ENTITY, &json!("rollout.device_state"))
    );
    assert_eq!(fleet.get("/rollouts/none/devices").await.json["code"], "rollout.unknown");
}
