//! A shadow wave over real processes: a version that answers otherwise is stopped before it ever answered one request, a good one
//! goes on, and what it was judged by can be checked offline.

use std::time::{Duration, Instant};

use longshore_hil_tests::load::{Load, Row, read, request};
use longshore_hil_tests::script::{
    ALL_AT_ONCE, MODEL, await_end, await_state, build, release, roll_out, settle,
};
use longshore_hil_tests::socket::Answer;
use longshore_hil_tests::stage::Stage;
use longshore_hil_tests::{output, root};

use crate::fleet;

#[path = "../../../shared/runtime/tests/onnx/mod.rs"]
mod onnx;

const DEVICES: usize = 2;
const BAD: &str = "1.2.0";
/// The last wave soaks for longer than its devices are on probation: when it completes they have committed.
const SHADOW: &str = r#"name = "shadow-first"
[[wave]]
select = { count = 1 }
shadow = "3s"
probation = "1s"
[[wave]]
select = { rest = true }
probation = "1s"
soak = "3s"
[gate]
min_rows = 10
shadow_agreement = 0.85
deadline = "2m"
on_fail = "halt"
on_inconclusive = "halt"
"#;

/// The next version, whose author has counted the classes from one: its golden vectors hold, because they are of numbers, and
/// every answer has another name.
fn build_with_labels_shifted(stage: &Stage) {
    let example = root().join("examples").join(MODEL);
    let file = |name: &str| example.join("1.1.0").join(name).display().to_string();
    let (model, golden, card) = (file("model.onnx"), file("golden.npz"), file("card.md"));
    let (reference, out) = (file("reference.csv"), format!("bundles/{BAD}"));
    let mut args = vec!["bundle", "build", "--model", &model, "--name", MODEL, "--version", BAD];
    args.extend(["--reference", &reference, "--golden", &golden, "--card", &card]);
    args.extend(["--labels", "1,2,3,4,5,6,7,8,9,0", "--out", &out]);
    stage.json(&args).unwrap();
}

#[test]
fn a_version_that_answers_otherwise_never_answers_and_a_good_one_leaves_a_record() {
    let mut stage = fleet(DEVICES);
    for version in ["1.0.0", "1.1.0"] {
        build(&stage, version).unwrap();
        release(&stage, version).unwrap();
    }
    build_with_labels_shifted(&stage);
    release(&stage, BAD).unwrap();
    // A device on which nothing serves yet would have nothing to compare.
    let everybody = ALL_AT_ONCE.replace("min_devices = 1", "min_devices = 2");
    let first = roll_out(&stage, "1.0.0", &everybody).unwrap();
    await_state(&mut stage, &first, "completed", Duration::from_secs(60)).unwrap();
    let rows = read(&root().join("examples/meter-digits/field/stream.csv")).unwrap();
    let sockets: Vec<_> = (1..=DEVICES).map(|i| stage.socket(i)).collect();
    let load = Load::start(&sockets, rows, Duration::from_millis(10));

    let good = roll_out(&stage, "1.1.0", SHADOW).unwrap();
    assert_eq!(await_end(&stage, &good, Duration::from_secs(110)).unwrap(), "completed");
    let shown = stage.json(&["rollout", "show", &good]).unwrap();
    let shadow = &shown["shadow"];
    assert!(shadow["rows"].as_u64().unwrap() >= 100 && shadow["errors"] == 0, "{shadow}");
    assert!(shadow["agreement"]["value"].as_f64().unwrap() > 0.85, "{shadow}");
    assert!(shadow["latency"]["ratio_p99"].as_f64().unwrap() > 0.0, "{shadow}");
    let log = stage.api(&format!("/api/v1/rollouts/{good}/log")).unwrap();
    let codes: Vec<&str> =
        log["items"].as_array().unwrap().iter().filter_map(|l| l["code"].as_str()).collect();
    let at =
        |code: &str| codes.iter().position(|c| *c == code).unwrap_or_else(|| panic!("{code}: {codes:?}"));
    assert!(at("wave_shadowing") < at("wave_offering"), "{codes:?}");

    let bad = roll_out(&stage, BAD, SHADOW).unwrap();
    assert_eq!(await_end(&stage, &bad, Duration::from_secs(110)).unwrap(), "halted");
    let shown = stage.json(&["rollout", "show", &bad]).unwrap();
    let gates = shown["waves"][0]["gates"].as_array().unwrap();
    let gate = gates.iter().find(|g| g["gate"] == "shadow_agreement").unwrap();
    assert_eq!(gate["verdict"], "fail", "{gate}");
    let tally = load.stop();
    assert_eq!((tally.aborted(), tally.refused()), (0, 0), "nobody felt it");
    settle(&mut stage, DEVICES).unwrap();
    let shown = stage.json(&["rollout", "show", &bad]).unwrap();
    let waves = shown["waves"].as_array().unwrap();
    let devices: Vec<_> = waves.iter().flat_map(|w| w["devices"].as_array().unwrap()).collect();
    assert_eq!(devices.len(), DEVICES);
    assert!(devices.iter().all(|d| d["rows"] == 0), "it never answered: {shown}");
    for i in 1..=DEVICES {
        assert_eq!(stage.status(i).unwrap()["models"][0]["version"], "1.1.0");
    }

    // Labels came for both on the same rows.
    let labelled = &shown["shadow"]["labelled"];
    assert!(labelled["only_active"].as_u64().unwrap() > 0, "{labelled}");
    assert!(shown["shadow"]["mcnemar"]["p"].as_f64().is_some(), "{}", shown["shadow"]);

    the_record_verifies_offline(&stage, &good, &bad);
    stage.strike();
}

fn the_record_verifies_offline(stage: &Stage, good: &str, bad: &str) {
    let written = stage.json(&["rollout", "record", good, "--out", "record.json"]).unwrap();
    assert_eq!(written["record"]["version"], "1.1.0", "{written}");
    let unknown = stage.longshore(&["rollout", "verify-record", "record.json", "--json"]).output().unwrap();
    let said: serde_json::Value = serde_json::from_slice(&unknown.stdout).unwrap();
    assert_eq!((unknown.status.code(), &said["verified"]), (Some(5), &false.into()), "{said}");
    assert_eq!(said["not_verified"], serde_json::json!(["log_key"]));
    let said = stage.json(&["rollout", "verify-record", "record.json", "--without-log-key"]).unwrap();
    assert_eq!(
        (&said["ok"], &said["record"]["devices"]["committed"]),
        (&true.into(), &(DEVICES as u64).into())
    );
    assert!(said["record"]["shadow"]["rows"].as_u64().unwrap() > 0);
    // Nobody is asked: there is no server at all.
    let key = said["key"].as_str().unwrap().to_owned();
    assert_eq!(said["verified"], false, "accepted is not verified: {said}");
    let mut offline = stage.longshore(&["rollout", "verify-record", "record.json", "--log-key", &key]);
    offline.env("LONGSHORE_URL", "http://127.0.0.1:9");
    assert!(output(offline).unwrap().contains("whose signature holds"));
    let text = std::fs::read_to_string(stage.dir.join("record.json")).unwrap();
    let changed = text.replacen("\\\"committed\\\":2", "\\\"committed\\\":3", 1);
    assert_ne!(text, changed);
    std::fs::write(stage.dir.join("changed.json"), changed).unwrap();
    let refused =
        output(stage.longshore(&["rollout", "verify-record", "changed.json"])).unwrap_err().to_string();
    assert!(refused.contains("does not hold"), "{refused}");
    let none = output(stage.longshore(&["rollout", "record", bad])).unwrap_err().to_string();
    assert!(none.contains("no promotion record"), "{none}");
}

/// Rows of the live requests. Golden vectors are sixteen, one at a time.
const ROWS: usize = 64;
/// A policy of one device that is in shadow for longer than the test takes.
const STALLS: &str = r#"name = "stalls"
[[wave]]
select = { rest = true }
shadow = "1h"
[gate]
deadline = "3h"
on_fail = "halt"
"#;

/// A version that is through one row in time, and through many in a request in seconds that no application waits for: it
/// looks at every pair of rows.
fn build_that_stalls(stage: &Stage, version: &str) {
    use onnx::{D, FLOAT, INT64, f32s, int, node, tensor, value};
    let (wide, layers) = (1024, 300);
    let weights = |name: &str, from: i64, to: i64| {
        tensor(name, FLOAT, &[from, to], &f32s(&vec![1e-4; usize::try_from(from * to).unwrap()]))
    };
    let axis = |name: &str, axis: i64| tensor(name, INT64, &[1], &axis.to_le_bytes());
    let name = |i: usize| format!("t{i}");
    let mut nodes = vec![
        node("Unsqueeze", "rows", &["pixels", "first"], &["r"], &[]),
        node("Unsqueeze", "columns", &["pixels", "second"], &["c"], &[]),
        node("Mul", "pairs", &["r", "c"], &["rc"], &[]),
        node("MatMul", "in", &["rc", "A"], &[&name(0)], &[]),
    ];
    nodes.extend(
        (0..layers).map(|i| node("MatMul", &format!("m{i}"), &[&name(i), "W"], &[&name(i + 1)], &[])),
    );
    nodes.push(node("MatMul", "out", &[&name(layers), "Z"], &["z"], &[]));
    nodes.push(node("ReduceSum", "sum", &["z", "second"], &["scores"], &[int("keepdims", 0)]));
    let weights = [
        weights("A", 64, wide),
        weights("W", wide, wide),
        weights("Z", wide, 10),
        axis("first", 0),
        axis("second", 1),
    ];
    let io = |name: &str, n: i64| value(name, FLOAT, &[D::S("N"), D::N(n)]);
    let graph = onnx::graph(&nodes, &weights, &[io("pixels", 64)], &[io("scores", 10)]);
    let file = stage.dir.join("stalls.onnx");
    std::fs::write(&file, onnx::model(&graph)).unwrap();
    let (file, out) = (file.display().to_string(), format!("bundles/{version}"));
    let card = root().join("examples").join(MODEL).join("1.1.0/card.md").display().to_string();
    let mut args = vec!["bundle", "build", "--model", &file, "--name", MODEL, "--version", version];
    args.extend(["--labels", "0,1,2,3,4,5,6,7,8,9", "--card", &card, "--out", &out]);
    stage.json(&args).unwrap();
}

#[test]
fn a_candidate_that_does_not_get_through_live_rows_fails_and_what_serves_goes_on() {
    let mut stage = fleet(1);
    for version in ["1.0.0", "1.1.0"] {
        build(&stage, version).unwrap();
        release(&stage, version).unwrap();
    }
    let stalls = "1.3.0";
    build_that_stalls(&stage, stalls);
    release(&stage, stalls).unwrap();
    // Nobody waits longer than a second for an answer there.
    let config = stage.write_agent_config(1).unwrap();
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, format!("{text}\n[limits]\nrequest = \"1s\"\n")).unwrap();
    stage.kill(&Stage::device(1)).unwrap();
    stage.start_agent(1).unwrap();
    let first = roll_out(&stage, "1.0.0", ALL_AT_ONCE).unwrap();
    await_state(&mut stage, &first, "completed", Duration::from_secs(60)).unwrap();
    let engine = stage.engine_pid(1).unwrap();

    let rows = read(&root().join("examples/meter-digits/field/stream.csv")).unwrap();
    let batch: Vec<&Row> = rows.iter().cycle().take(ROWS).collect();
    let (socket, body) = (stage.socket(1), request(&batch));
    let ask = || {
        let answer = socket.post("/v2/models/meter-digits/infer", &body);
        assert!(matches!(answer, Answer::Response(200, _)), "{answer:?}");
    };
    let bad = roll_out(&stage, stalls, STALLS).unwrap();
    // Long before the hour is over: its device says that the version failed, and all the time it answers.
    let begun = Instant::now();
    let shown = loop {
        ask();
        let shown = stage.json(&["rollout", "show", &bad]).unwrap();
        if shown["state"] == "halted" {
            break shown;
        }
        assert!(begun.elapsed() < Duration::from_secs(200), "{shown}");
        std::thread::sleep(Duration::from_millis(100));
    };
    let device = &shown["waves"][0]["devices"][0];
    assert_eq!((&device["state"], &device["code"]), (&"failed".into(), &"shadow.stalled".into()), "{shown}");
    ask();
    assert_eq!(stage.engine_pid(1).unwrap(), engine, "the same engine");
    assert_eq!(stage.status(1).unwrap()["models"][0]["version"], "1.0.0");
    stage.strike();
}
