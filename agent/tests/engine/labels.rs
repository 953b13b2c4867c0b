//! Labels: who may give them, and that they reach the supervisor.

use longshore_agent::engine::protocol::Truth;
use serde_json::json;

use crate::http;
use crate::rig::{Engine, TOKEN, json_request};

const FEEDBACK: &str = "/longshore/v1/feedback";
const INFER: &str = "/v2/models/meter-digits/infer";

#[test]
fn labels_reach_the_supervisor_by_index_or_name() {
    let (engine, bundle, _page) = Engine::serving();
    let mut client = engine.client();
    let r = client.post(INFER, &json_request(&bundle.rows(0, 2), &json!({})));
    let id = r.json()["parameters"]["prediction_id"].as_str().unwrap().to_owned();
    let r =
        client.post(FEEDBACK, json!({ "prediction_id": id, "row": 1, "label": 7 }).to_string().as_bytes());
    assert_eq!((r.status, r.json()), (200, json!({ "joined": 1, "unknown": 0, "repeated": 0 })));
    let many =
        json!([{ "prediction_id": id, "label": "digit 3" }, { "prediction_id": "ff-0", "label": "digit 3" }]);
    let r = client.post(FEEDBACK, many.to_string().as_bytes());
    assert_eq!(r.json(), json!({ "joined": 1, "unknown": 1, "repeated": 0 }), "a name of an unknown load");
    let labels = engine.labels.lock().unwrap().clone();
    assert_eq!(
        labels.iter().map(|l| (l.row, l.truth)).collect::<Vec<_>>(),
        [(1, Truth::Class(7)), (0, Truth::Class(3))]
    );
    assert!(labels.iter().all(|l| l.prediction_id == id));
    assert_eq!(client.post(FEEDBACK, b"{}").status, 400);
    let r = client.post(FEEDBACK, json!({ "prediction_id": id, "label": "digit 10" }).to_string().as_bytes());
    assert!(r.status == 400 && r.error().contains("digit 10"), "{r:?}");
}

#[test]
fn a_request_can_bring_its_labels() {
    let (engine, bundle, page) = Engine::serving();
    let extra = json!({ "parameters": { "label": ["digit 4", 5] } });
    let r = engine.client().post(INFER, &json_request(&bundle.rows(0, 2), &extra));
    assert_eq!((r.status, r.header("longshore-labels-joined")), (200, Some("2")));
    let labels = engine.labels.lock().unwrap().clone();
    assert_eq!(
        labels.iter().map(|l| (l.row, l.truth)).collect::<Vec<_>>(),
        [(0, Truth::Class(4)), (1, Truth::Class(5))]
    );
    assert_eq!(page.snapshot().unwrap().rows, 2);
}

#[test]
fn labels_over_tcp_need_the_token() {
    let (engine, bundle, page) = Engine::serving();
    let mut client = http::tcp(engine.tcp);
    let label = json!({ "prediction_id": "1-0", "label": 1 }).to_string();
    let bearer = format!("Bearer {TOKEN}");
    let mut status = |path: &str, token: Option<&str>, body: &[u8]| {
        let headers: Vec<_> = token.iter().map(|t| ("Authorization", *t)).collect();
        client.send("POST", path, &headers, body).unwrap().status
    };
    assert_eq!(status(FEEDBACK, None, label.as_bytes()), 401);
    assert_eq!(status(FEEDBACK, Some("Bearer wrong"), label.as_bytes()), 401);
    assert_eq!(status(FEEDBACK, Some(&bearer), label.as_bytes()), 200);
    // A request that brings labels is no way round.
    let labelled = json_request(&bundle.rows(0, 1), &json!({ "parameters": { "label": 1 } }));
    assert_eq!(status(INFER, None, &labelled), 401);
    assert_eq!(page.snapshot().unwrap().rows, 0);
    assert_eq!(status(INFER, Some(&bearer), &labelled), 200);
    assert_eq!(status(INFER, None, &json_request(&bundle.rows(0, 1), &json!({}))), 200, "answers are free");
    assert_eq!(engine.labels.lock().unwrap().len(), 2);
}

#[test]
fn without_a_token_tcp_takes_no_labels() {
    let engine = Engine::with_token("");
    let label = json!({ "prediction_id": "1-0", "label": 1 }).to_string();
    let r = http::tcp(engine.tcp)
        .send("POST", FEEDBACK, &[("Authorization", "Bearer ")], label.as_bytes())
        .unwrap();
    assert_eq!(r.status, 403);
}
