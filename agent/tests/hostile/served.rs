//! A model that passed its trial and misbehaves in service: the limits of the engine that serves.

use std::time::{Duration, Instant};

use longshore_agent::engine::protocol::{FromEngine, LoadId, ServingLimits, ToEngine};
use longshore_agent::page::{Page, PageSpec, boot_id};
use serde_json::json;

use crate::onnx::{self, D, FLOAT, f32s, graph, node, tensor, value};
use crate::rig::{Bundle, Engine, TOKEN, digits, json_request};
use crate::{bundle, corpus};

/// Rows of the slow request and layers of its model: many seconds of one processor, of which it gets half a second.
const ROWS: usize = 240;
const LAYERS: usize = 1500;
/// Values of a row.
const N: i64 = 1024;
const INFER: &str = "/v2/models/meter-digits/infer";

/// Multiplies by a large matrix many times over: minutes for one request of many rows.
fn slow() -> Bundle {
    deep(LAYERS, N)
}
/// Multiplies by a matrix of so many rows and columns so many times, between one that widens and one that narrows.
fn deep(layers: usize, wide: i64) -> Bundle {
    let matrix =
        |name: &str, m: i64, n: i64| tensor(name, FLOAT, &[m, n], &f32s(&vec![1e-4; (m * n) as usize]));
    let weights = [matrix("in", N, wide), matrix("W", wide, wide), matrix("out", wide, N)];
    let product = |name: &str, x: &str, w: &str, y: &str| node("MatMul", name, &[x, w], &[y], &[]);
    let name = |i: usize| format!("t{i}");
    let mut nodes = vec![product("widen", "x", "in", "t0")];
    nodes.extend((0..layers).map(|i| product(&format!("m{i}"), &name(i), "W", &name(i + 1))));
    nodes.push(product("narrow", &name(layers), "out", "y"));
    let io = |name: &str| value(name, FLOAT, &[D::S("N"), D::N(N)]);
    let onnx = onnx::model(&graph(&nodes, &weights, &[io("x")], &[io("y")]));
    let row = vec![0.0; N as usize];
    bundle::bundle(&onnx, &[1, N as usize], &row, &[1, N as usize], &row)
}

/// Asks for so many rows of zeros.
fn ask(engine: &Engine, rows: usize) -> crate::http::Response {
    let zero = longshore_bundle::Tensor::from_f32("x", &[rows, 1024], &vec![0.0; rows * 1024]);
    let (body, head) = crate::rig::binary_request(&zero, &json!({}));
    let length = head.to_string();
    let headers = [("Inference-Header-Content-Length", length.as_str())];
    engine.client().send("POST", INFER, &headers, &body).unwrap()
}

#[test]
fn a_request_that_takes_too_long_is_told_so_and_the_engine_gives_up_with_its_mark() {
    let limits = ServingLimits { memory_bytes: 1 << 30, request_ms: 50 };
    let mut engine = Engine::with(TOKEN, limits);
    let slow = slow();
    let (load, page) = engine.load(&slow);
    engine.activate(load);
    let answer = ask(&engine, ROWS);
    assert_eq!(answer.status, 504, "{answer:?}");
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    assert!(text.contains("limits.request"), "{text}");
    let ended = engine.child.wait().unwrap();
    assert!(!ended.success(), "{ended}");
    assert!(page.in_flight() > 0, "the supervisor sees whose request it was");
    page.recover().unwrap();
    assert_eq!(page.snapshot().unwrap().errors, 1, "counted by whoever gave up, once");
}

/// Loads a bundle beside what answers.
fn beside(engine: &Engine, bundle: &Bundle, load: u64) -> Page {
    let spec = PageSpec::in_shadow(LoadId(load), &bundle.manifest, 4096, boot_id().unwrap());
    let (page, fd) = engine.page(&spec);
    engine.send_load(bundle.request(load), bundle.sealed(), fd);
    assert!(matches!(engine.event(), FromEngine::Loaded { .. }));
    engine.send(&ToEngine::Shadow { load: LoadId(load), permille: 1000 });
    assert_eq!(engine.event(), FromEngine::Shadowing(LoadId(load)));
    page
}

#[test]
fn a_candidate_in_shadow_that_does_not_come_back_is_given_up_and_nobody_else_notices() {
    const SOME: usize = 64;
    let limits = ServingLimits { memory_bytes: 1 << 30, request_ms: 1_000 };
    let mut engine = Engine::with(TOKEN, limits);
    let quick = deep(1, 32);
    let (load, active) = engine.load(&quick);
    engine.activate(load);
    // The candidate's time is a second and 200 times that of the active one, whose first answers take the longest; it
    // wants 100,000 times as much arithmetic.
    for _ in 0..3 {
        assert_eq!(ask(&engine, SOME).status, 200);
    }
    let page = beside(&engine, &deep(LAYERS / 2, 3 * N), 70);
    let table = |page: &Page| page.snapshot().unwrap().shadow.unwrap();
    for _ in 0..3 {
        assert_eq!(ask(&engine, SOME).status, 200);
    }
    match engine.event() {
        FromEngine::LoadFailed { load, reason } => {
            assert_eq!((load, reason.code.as_str()), (LoadId(70), "engine.stalled"));
            assert!(reason.detail.contains("64 rows"), "{}", reason.detail);
        }
        other => panic!("{other:?}"),
    }
    let t = table(&page);
    let one = SOME as u64;
    assert_eq!(
        (t.rows, t.errors, t.skipped),
        (0, one, 2 * one),
        "one request failed, what waited is skipped"
    );
    // It sees nothing any more, and the next candidate has a thread of its own.
    assert_eq!(ask(&engine, SOME).status, 200);
    let next = beside(&engine, &quick, 71);
    let (mut asked, begun) = (7 * one, Instant::now());
    while table(&next).rows == 0 {
        assert!(begun.elapsed() < Duration::from_secs(120), "{:?}", table(&next));
        assert_eq!(ask(&engine, SOME).status, 200);
        asked += one;
    }
    let t = table(&page);
    assert_eq!((t.rows, t.errors, t.skipped), (0, one, 2 * one));
    let counted = active.snapshot().unwrap();
    assert_eq!((counted.rows, counted.errors), (asked, 0), "everybody was answered");
    assert!(engine.child.try_wait().unwrap().is_none(), "the same engine");
}

#[test]
fn a_model_without_room_is_refused_and_what_serves_goes_on() {
    let limits = ServingLimits { memory_bytes: 256 << 20, request_ms: 60_000 };
    let engine = Engine::with(TOKEN, limits);
    assert!(engine.sandbox.contains(&"memory-limit-256MiB".to_owned()), "{:?}", engine.sandbox);
    let small = digits("1.0.0");
    let (load, _page) = engine.load(&small);
    engine.activate(load);
    // Weights of 160 MiB in the file: twice that is more than there is.
    let idle = tensor("idle", FLOAT, &[40 << 20], &vec![0u8; 160 << 20]);
    let w = tensor("W", FLOAT, &[2, 3], &f32s(&[0.0; 6]));
    let nodes = [node("MatMul", "dense", &["x", "W"], &["y"], &[])];
    let (x, y) = (value("x", FLOAT, &[D::S("N"), D::N(2)]), value("y", FLOAT, &[D::S("N"), D::N(3)]));
    let big = bundle::small(&onnx::model(&graph(&nodes, &[w, idle], &[x], &[y])));
    let (_page, fd) = engine.load_page(70, &big);
    engine.send_load(big.request(70), big.sealed(), fd);
    match engine.event() {
        FromEngine::LoadFailed { load, reason } => {
            assert_eq!((load, reason.code.as_str()), (LoadId(70), "engine.memory"));
            assert!(reason.detail.contains("of 256 MiB"), "{}", reason.detail);
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(engine.client().post(INFER, &json_request(&small.rows(0, 1), &json!({}))).status, 200);
}

#[test]
fn a_request_that_wants_too_much_memory_is_refused_and_the_next_one_is_answered() {
    let limits = ServingLimits { memory_bytes: 512 << 20, request_ms: 60_000 };
    let mut engine = Engine::with(TOKEN, limits);
    // Its trial would fail on its golden vectors; here it is in service, and a client chooses the numbers.
    let hostile = corpus::all(3, &[0; 4096]);
    let grows = hostile.iter().find(|f| f.name == "run-time-growth-4").unwrap();
    let bundle = bundle::small(&grows.onnx);
    let (load, page) = engine.load(&bundle);
    engine.activate(load);
    let ask = |largest: f32| {
        let x = longshore_bundle::Tensor::from_f32("x", &[1, 2], &[largest, 1.0]);
        engine.client().post(INFER, &json_request(&x, &json!({})))
    };
    assert_eq!(ask(4.0).status, 200);
    let refused = ask(1e9);
    let text = String::from_utf8_lossy(&refused.body).into_owned();
    assert_eq!(refused.status, 500, "{text}");
    assert!(text.contains("more memory"), "{text}");
    assert_eq!(ask(5.0).status, 200);
    let counted = page.snapshot().unwrap();
    assert_eq!((counted.rows, counted.errors), (2, 1));
    assert!(engine.child.try_wait().unwrap().is_none(), "the same engine");
}
