//! Requests that are refused: each names what is wrong, counts as an error, and leaves the engine as it was.

use serde_json::json;

use crate::rig::{Engine, MAX_BODY, binary_request, json_request};

const INFER: &str = "/v2/models/meter-digits/infer";

#[test]
fn wrong_inputs_are_named_and_counted() {
    let (engine, bundle, page) = Engine::serving();
    let mut client = engine.client();
    let good = bundle.rows(0, 2);
    let name = good.name.as_str();
    let with = |input: serde_json::Value| json!({ "inputs": [input] }).to_string().into_bytes();
    let none = json!({});
    let mut renamed = good.clone();
    renamed.name = "nope".into();
    let mut wide = good.clone();
    wide.shape = vec![1, good.shape[1] * 2];
    let ints: Vec<i64> = good.values().map(|v| v as i64).collect();
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (b"".to_vec(), "not valid"),
        (b"{\"inputs\":".to_vec(), "not valid"),
        (vec![b'['; 300_000], "not valid"),
        (json_request(&renamed, &none), "input"),
        (json_request(&wide, &none), name),
        (with(json!({ "name": name, "datatype": "INT64", "shape": good.shape, "data": ints })), name),
        (
            with(json!({ "name": name, "datatype": "FP32", "shape": [2, 64], "data": [1, 2] })),
            "data has 2 elements",
        ),
        (with(json!({ "name": name, "datatype": "FP32", "shape": [0, 64], "data": [] })), name),
        (json_request(&good, &json!({ "outputs": [{ "name": "nope" }] })), "output `nope`"),
        (json_request(&good, &json!({ "parameters": { "label": [1] } })), "1 labels for 2 rows"),
        (json_request(&good, &json!({ "parameters": { "label": [1, 99] } })), "parameters.label"),
        (json_request(&good, &json!({ "parameters": { "group": "a" } })), "group"),
    ];
    let n = cases.len() as u64;
    for (body, want) in cases {
        let r = client.post(INFER, &body);
        assert_eq!(r.status, 400, "{want}: {r:?}");
        assert!(r.error().contains(want), "{:?} must name {want:?}", r.error());
    }
    let c = page.snapshot().unwrap();
    assert_eq!((c.requests, c.rows), (n, 0));
    assert!(c.errors >= n, "every refused request counts at least one row: {}", c.errors);
    assert_eq!(client.post(INFER, &json_request(&good, &none)).status, 200, "and it still answers");
}

#[test]
fn too_many_rows_are_refused() {
    let (engine, bundle, page) = Engine::serving();
    let one = bundle.rows(0, 1);
    let rows = bundle.manifest.max_rows() as usize + 1;
    let mut many = one.clone();
    many.shape[0] = rows;
    many.data = one.data.repeat(rows);
    let (body, length) = binary_request(&many, &json!({}));
    let length = length.to_string();
    let headers = [("Inference-Header-Content-Length", length.as_str())];
    let r = engine.client().send("POST", INFER, &headers, &body).unwrap();
    assert_eq!(r.status, 400);
    assert!(r.error().contains(&format!("{rows} rows")), "{}", r.error());
    assert_eq!(page.snapshot().unwrap().errors, rows as u64);
}

#[test]
fn a_cut_or_lying_binary_body_is_refused() {
    let (engine, bundle, _page) = Engine::serving();
    let mut client = engine.client();
    let (body, length) = binary_request(&bundle.rows(0, 2), &json!({}));
    let mut refused = |body: &[u8], length: &str, want: &str| {
        let headers = [("Inference-Header-Content-Length", length)];
        let r = client.send("POST", INFER, &headers, body).unwrap();
        assert_eq!(r.status, 400, "{r:?}");
        assert!(r.error().contains(want), "{:?} must name {want:?}", r.error());
    };
    let stated = length.to_string();
    refused(&body[..body.len() - 1], &stated, "cut off");
    refused(&body[..length], &stated, "cut off");
    refused(&[body.clone(), vec![0]].concat(), &stated, "1 bytes follow");
    refused(&body, "99999999", "Inference-Header-Content-Length");
    refused(&body, "-1", "Inference-Header-Content-Length");
    refused(&body, "x", "Inference-Header-Content-Length");
    let mut nan = body;
    let at = nan.len() - 4;
    nan[at..].copy_from_slice(&f32::NAN.to_le_bytes());
    refused(&nan, &stated, "NaN");
}

#[test]
fn a_body_that_is_too_long_is_refused_before_it_is_read() {
    let (engine, bundle, page) = Engine::serving();
    let mut client = engine.client();
    let head = format!("POST {INFER} HTTP/1.1\r\nHost: x\r\nContent-Length: 1073741824\r\n\r\n");
    client.raw(head.as_bytes()).unwrap();
    let r = client.response().unwrap();
    assert_eq!(r.status, 413, "answered although not a byte of the body was sent");
    assert!(r.error().contains(&MAX_BODY.to_string()), "{}", r.error());

    // In pieces, so that its length is not known before.
    let mut client = engine.client();
    client
        .raw(format!("POST {INFER} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n").as_bytes())
        .unwrap();
    let piece = [b"10000\r\n".to_vec(), vec![b' '; 0x10000], b"\r\n".to_vec()].concat();
    for _ in 0..MAX_BODY / 0x10000 + 1 {
        if client.raw(&piece).is_err() {
            break;
        }
    }
    assert_eq!(client.response().unwrap().status, 413);
    assert_eq!(page.snapshot().unwrap().errors, 2);
    assert_eq!(engine.client().post(INFER, &json_request(&bundle.rows(0, 1), &json!({}))).status, 200);
}

#[test]
fn compressed_bodies_unknown_paths_and_methods_are_refused() {
    let (engine, _bundle, _page) = Engine::serving();
    let mut client = engine.client();
    let r = client.send("POST", INFER, &[("Content-Encoding", "gzip")], b"x").unwrap();
    assert_eq!(r.status, 415);
    for (method, path, status) in [
        ("POST", "/v2/models/other/infer", 404),
        ("GET", "/v2/models/other", 404),
        ("GET", "/v2/models/meter-digits/versions/9.9.9", 404),
        ("GET", "/v2/models/meter-digits/versions/9.9.9/ready", 404),
        ("GET", "/nothing", 404),
        ("GET", INFER, 405),
        ("DELETE", "/v2", 405),
        ("POST", "/v2/models/meter-digits/unload", 403),
    ] {
        let r = client.send(method, path, &[], b"").unwrap();
        assert_eq!(r.status, status, "{method} {path}: {r:?}");
        assert!(!r.error().is_empty());
    }
}

#[test]
fn what_is_no_http_closes_the_connection_and_nothing_else() {
    let (engine, bundle, _page) = Engine::serving();
    for garbage in
        [&b"\0\xff\x16\x03\x01"[..], b"GET\r\n\r\n", b"POST / HTTP/1.1\r\nContent-Length: -5\r\n\r\n"]
    {
        let mut client = engine.client();
        client.raw(garbage).unwrap();
        client.raw(b"\r\n\r\n").ok();
        let r = client.response();
        assert!(r.is_err() || r.unwrap().status == 400);
        assert!(client.is_closed());
    }
    assert_eq!(engine.client().post(INFER, &json_request(&bundle.rows(0, 1), &json!({}))).status, 200);
}
