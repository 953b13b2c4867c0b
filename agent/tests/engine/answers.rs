//! Good requests.

use longshore_runtime::{Limits, Model};
use serde_json::json;

use crate::http;
use crate::rig::{Engine, binary_request, json_request};

#[test]
fn json_and_binary_requests_get_the_models_answer_and_are_counted() {
    let (engine, bundle, page) = Engine::serving();
    let model = Model::load(&bundle.manifest, &bundle.files[1].1, &Limits::default())
        .or_else(|_| Model::load(&bundle.manifest, &bundle.files[2].1, &Limits::default()))
        .unwrap();
    let mut client = engine.client();
    let rows = bundle.rows(0, 3);
    let want = model.run(std::slice::from_ref(&rows)).unwrap();

    let extra = json!({ "id": "my request", "parameters": { "binary_data_output": false } });
    let r = client.post("/v2/models/meter-digits/infer", &json_request(&rows, &extra));
    assert_eq!(r.status, 200, "{r:?}");
    assert_eq!(r.header("content-type"), Some("application/json"));
    let body = r.json();
    assert_eq!((&body["id"], &body["model_name"]), (&json!("my request"), &json!("meter-digits")));
    assert_eq!(body["model_version"], json!("1.0.0"));
    assert_eq!(body["parameters"]["prediction_id"], json!("1-0"));
    for (output, tensor) in body["outputs"].as_array().unwrap().iter().zip(&want) {
        assert_eq!(output["name"], json!(tensor.name));
        let got: Vec<f64> = output["data"].as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect();
        let expected: Vec<f64> = tensor.values().collect();
        assert!(got.iter().zip(&expected).all(|(a, b)| (a - b).abs() <= 1e-6), "{got:?} {expected:?}");
    }

    let extra = json!({ "parameters": { "binary_data_output": true } });
    let (body, length) = binary_request(&rows, &extra);
    let length = length.to_string();
    let headers = [("Inference-Header-Content-Length", length.as_str())];
    let r = client.send("POST", "/v2/models/meter-digits/versions/1.0.0/infer", &headers, &body).unwrap();
    assert_eq!(r.status, 200, "{r:?}");
    assert_eq!(r.header("content-type"), Some("application/octet-stream"));
    let head: usize = r.header("inference-header-content-length").unwrap().parse().unwrap();
    assert_eq!(r.json()["parameters"]["prediction_id"], json!("1-3"));
    let bytes: Vec<u8> = want.iter().flat_map(|t| t.data.clone()).collect();
    assert_eq!(&r.body[head..], bytes, "the same bytes the model gave");

    let c = page.snapshot().unwrap();
    assert_eq!((c.requests, c.rows, c.errors, c.nan), (2, 6, 0, 0));
    assert_eq!(c.classes.iter().sum::<u64>(), 6);
    assert_eq!(c.latency_us.count(), 2);
    let predicted: Vec<u32> = model.predictions(3, &want).iter().map(|p| p.class.unwrap()).collect();
    let ring: Vec<u32> = page.predictions(0).unwrap().iter().map(|(_, p)| p.class).collect();
    assert_eq!(ring, [predicted.clone(), predicted].concat());
    assert_eq!(page.in_flight(), 0);
}

#[test]
fn outputs_can_be_chosen_and_each_has_its_own_form() {
    let (engine, bundle, _page) = Engine::serving();
    let mut client = engine.client();
    let meta = client.get("/v2/models/meter-digits").json();
    let names: Vec<&str> =
        meta["outputs"].as_array().unwrap().iter().map(|o| o["name"].as_str().unwrap()).collect();
    let last = names.last().unwrap();
    let extra = json!({ "outputs": [{ "name": last, "parameters": { "binary_data": true } }] });
    let r = client.post("/v2/models/meter-digits/infer", &json_request(&bundle.rows(0, 1), &extra));
    let body = r.json();
    assert_eq!(body["outputs"].as_array().unwrap().len(), 1);
    let size = body["outputs"][0]["parameters"]["binary_data_size"].as_u64().unwrap() as usize;
    let head: usize = r.header("inference-header-content-length").unwrap().parse().unwrap();
    assert_eq!(r.body.len(), head + size);
}

#[test]
fn servers_and_models_describe_themselves() {
    let (engine, _bundle, _page) = Engine::serving();
    let mut client = http::tcp(engine.tcp);
    assert_eq!(client.get("/v2").json()["name"], "longshore-agent");
    assert_eq!(client.get("/v2/health/live").status, 200);
    assert_eq!(client.get("/v2/health/ready").status, 200);
    for path in ["/v2/models/meter-digits", "/v2/models/meter-digits/versions/1.0.0"] {
        let meta = client.get(path).json();
        assert_eq!((&meta["name"], &meta["versions"]), (&json!("meter-digits"), &json!(["1.0.0"])));
        assert_eq!(meta["inputs"][0]["shape"][0], json!(-1), "the batch axis is open");
        assert_eq!(client.get(&format!("{path}/ready")).status, 200);
        assert!(client.get(&format!("{path}/config")).json()["input"].is_array());
        assert_eq!(
            client.get(&format!("{path}/stats")).json()["model_stats"][0]["inference_count"],
            json!(0)
        );
    }
    let index = client.post("/v2/repository/index", b"").json();
    assert_eq!(
        index,
        json!([{ "name": "meter-digits", "version": "1.0.0", "state": "READY", "reason": "" }])
    );
    assert_eq!(client.get("/longshore/v1/status").json()["agent"], "test");
    let metrics = String::from_utf8(client.get("/metrics").body).unwrap();
    assert!(metrics.contains("longshore_rows_total{model=\"meter-digits\",version=\"1.0.0\""), "{metrics}");
    assert!(metrics.contains("longshore_supervisor_up 1"), "{metrics}");
}

#[test]
fn the_kernel_holds_the_engine_as_it_says() {
    let engine = Engine::start();
    let status = std::fs::read_to_string(format!("/proc/{}/status", engine.child.id())).unwrap();
    let field = |name: &str| {
        status.lines().find_map(|l| l.strip_prefix(name)).map(|v| v.trim_start_matches(':').trim().to_owned())
    };
    let has = |measure: &str| engine.sandbox.iter().any(|m| m == measure);
    assert!(has("no_new_privs"), "{:?}", engine.sandbox);
    assert_eq!(field("NoNewPrivs").as_deref(), Some("1"));
    assert_eq!(field("Seccomp").as_deref() == Some("2"), has("seccomp"));
    assert!(!engine.sandbox.iter().any(|m| m.starts_with("missing:whole_process")), "{:?}", engine.sandbox);
    let environment = std::fs::read(format!("/proc/{}/environ", engine.child.id())).unwrap();
    assert!(environment.is_empty(), "the environment may hold secrets");
}
