//! What must not become of requests that come in a bad order, all at once, or with secrets in them.

use axum::body::Body;
use axum::http::{Request, StatusCode};
use longshore_fleet::app::now;
use longshore_fleet::jobs::executor::{self, Scope};
use longshore_wire::v1::UpdateState;
use serde_json::{Value, json};

use crate::support::{Answer, Fleet, PASSWORD, POLICY};

async fn sign_in(fleet: &Fleet, password: &str, key: Option<&str>) -> Answer {
    let mut request =
        Request::builder().method("POST").uri("/api/v1/session").header("content-type", "application/json");
    if let Some(key) = key {
        request = request.header("idempotency-key", key);
    }
    let body = json!({ "name": "admin", "password": password }).to_string();
    fleet.send(request.body(Body::from(body)).unwrap()).await
}

#[tokio::test]
async fn passwords_guessed_all_at_once_are_no_more_guesses_than_one_after_the_other() {
    let fleet = Fleet::new().await;
    let answers = futures_util::future::join_all((0..12).map(|_| sign_in(&fleet, "wrong", None))).await;
    let looked_at = answers.iter().filter(|a| a.status == StatusCode::UNAUTHORIZED).count();
    assert!(looked_at < answers.len(), "the lock comes while they wait");
    assert!(looked_at <= 7, "five are free, the sixth locks, one may be under way: {looked_at}");
}

#[tokio::test]
async fn a_password_of_a_megabyte_is_not_hashed_and_its_name_is_not_remembered() {
    let fleet = Fleet::new().await;
    for _ in 0..8 {
        let long = sign_in(&fleet, &"x".repeat(1 << 20), None).await;
        assert_eq!(long.status, StatusCode::UNAUTHORIZED);
    }
    assert_eq!(sign_in(&fleet, PASSWORD, None).await.status, StatusCode::OK, "nothing was locked by it");
}

#[tokio::test]
async fn the_token_of_a_sign_in_is_kept_nowhere() {
    let fleet = Fleet::new().await;
    let first = sign_in(&fleet, PASSWORD, Some("k1")).await;
    let again = sign_in(&fleet, PASSWORD, Some("k1")).await;
    assert_eq!((first.status, again.status), (StatusCode::OK, StatusCode::OK));
    assert_ne!(
        first.json["token"], again.json["token"],
        "an answer out of a drawer is an answer that was kept"
    );
    assert!(!again.headers.contains_key("idempotency-replayed"));
}

async fn plan(fleet: &Fleet, version: &str) -> String {
    let body = json!({ "model": "m", "version": version, "policy": POLICY });
    fleet.post("/rollouts", body).await.json["id"].as_str().unwrap().to_owned()
}
async fn start(fleet: &Fleet, id: &str) -> Value {
    let started = fleet.post(&format!("/rollouts/{id}/start"), json!({})).await.json;
    executor::tick(&fleet.app, Scope::All, now()).await.unwrap();
    started
}

#[tokio::test]
async fn a_plan_that_waited_gives_back_what_devices_ran_when_it_was_started() {
    let fleet = Fleet::new().await;
    let old = fleet.release("1.0.0", 1, &[]).await;
    let better = fleet.release("1.1.0", 2, &[old]).await;
    let bad = fleet.release("1.2.0", 3, &[old, better]).await;
    let device = fleet.device(1, Some(old)).await;
    let id = plan(&fleet, "1.2.0").await;
    // While the plan waits, the device gets 1.1.0.
    device.say(better, Default::default(), UpdateState::Committed, Some(better), None).await;
    device.count(better, 400, 396).await;
    assert_eq!(start(&fleet, &id).await["state"], "running");
    device.take(UpdateState::Probation).await;
    device.count(bad, 300, 200).await;
    executor::tick(&fleet.app, Scope::All, now()).await.unwrap();
    let back = device.assignment().await.unwrap();
    assert_eq!(back.slots[0].sha256, better, "not what it ran when the plan was made");
}

#[tokio::test]
async fn a_plan_that_waited_is_not_started_when_it_could_no_longer_be_taken_back() {
    let fleet = Fleet::new().await;
    let old = fleet.release("1.0.0", 1, &[]).await;
    let better = fleet.release("1.1.0", 2, &[old]).await;
    fleet.release("1.2.0", 3, &[old]).await;
    let device = fleet.device(1, Some(old)).await;
    let id = plan(&fleet, "1.2.0").await;
    device.say(better, Default::default(), UpdateState::Committed, Some(better), None).await;
    let refused = start(&fleet, &id).await;
    assert!(refused["detail"].as_str().unwrap().contains("plan again"), "{refused}");
    assert!(device.assignment().await.is_none());
}
