//! What the engine reads: requests and models; and the agent's configuration.

use std::path::Path;
use std::sync::OnceLock;

use longshore_agent::config::Config;
use longshore_agent::serve::oip;
use longshore_bundle::{DType, Manifest, Tensor};
use longshore_runtime::{Limits, LoadError, Model, RunError, describe};

/// `y = softmax(x W)`.
const CLASSIFIER: &[u8] = include_bytes!("../../seeds/onnx/00-classifier");

fn manifest() -> Manifest {
    let zero = "0".repeat(64);
    let text = format!(
        r#"{{"schema":1,"model":"m","version":"1.0.0","created":"2026-01-31T12:00:00Z","files":[
{{"path":"model.onnx","role":"model","sha256":"{zero}","length":9}},
{{"path":"golden.safetensors","role":"golden","sha256":"{zero}","length":9}}],
"inputs":[{{"name":"x","dtype":"FP32","shape":["N",2]}}],"outputs":[{{"name":"y","dtype":"FP32","shape":["N",3]}}],
"batch":{{"axis":0,"max":16}},"monitor":{{"classes":["a","b","c"],"score_output":"y"}}}}"#
    );
    Manifest::parse(text.as_bytes()).expect("it obeys the schema")
}

pub fn oip_seeds() -> Vec<Vec<u8>> {
    let whole = [
        r#"{"id":"7","inputs":[{"name":"x","datatype":"FP32","shape":[2,2],"data":[[1,2.5],[3,4]]}],"outputs":[{"name":"y"}]}"#,
        r#"{"inputs":[{"name":"x","datatype":"FP32","shape":[1,2],"data":[1,2]}],"parameters":{"label":["a",1],"group":"n"}}"#,
        r#"{"inputs":[{"name":"x","datatype":"INT64","shape":[1,2],"data":[1,2],"parameters":{"content_type":"x"}}]}"#,
        r#"{"inputs":[{"name":"t","datatype":"BYTES","shape":[2],"data":["a","\u00e9"]}],"outputs":[{"name":"y","parameters":{"binary_data":true}}]}"#,
    ];
    let mut out: Vec<Vec<u8>> = whole.iter().map(|s| [&[0, 0][..], s.as_bytes()].concat()).collect();
    let head = r#"{"inputs":[{"name":"x","datatype":"FP32","shape":[1,2],"parameters":{"binary_data_size":8}}],"parameters":{"binary_data_output":true}}"#;
    let short = u8::try_from(head.len()).expect("short");
    for mode in [[1, 0], [2, short]] {
        out.push([&mode[..], head.as_bytes(), &1f32.to_le_bytes(), &2f32.to_le_bytes()].concat());
    }
    out
}

/// The first byte is how long the head is said to be: the whole body, its first JSON value, or the second byte.
pub fn oip(bytes: &[u8]) {
    let [mode, length, body @ ..] = bytes else { return };
    let header = match mode % 3 {
        0 => None,
        1 => {
            let mut values = serde_json::Deserializer::from_slice(body).into_iter::<serde_json::Value>();
            // Without a value the whole body is the head.
            let _ = values.next();
            Some(values.byte_offset())
        }
        _ => Some(usize::from(*length)),
    };
    let Ok(request) = oip::parse(body, header) else { return };
    for t in request.inputs.iter().filter(|t| t.dtype != DType::Bytes) {
        assert_eq!(t.expected_bytes(), Some(t.data.len()), "input {}: as long as its shape says", t.name);
        assert!(!t.has_nan(), "input {}", t.name);
    }
    static MODEL: OnceLock<Model> = OnceLock::new();
    let model = MODEL.get_or_init(|| {
        Model::load(&manifest(), CLASSIFIER, &Limits::default()).expect("an honest model loads")
    });
    match model.run(&request.inputs) {
        Ok(outputs) => {
            let head =
                oip::ResponseHead { model: "m", version: "1.0.0", prediction_id: "1-1", attributions: None };
            // An output that is not there is refused before it comes to that.
            let _ = oip::encode(&head, &request, &outputs);
        }
        Err(RunError::Panicked(why)) => panic!("the engine broke on a request: {why}"),
        Err(_) => {}
    }
}

pub fn config_seeds() -> Vec<Vec<u8>> {
    vec![
        b"".to_vec(),
        b"state_dir = \"/x\"\nlabels = { site = \"a\" }\n[serve]\nlisten = \"127.0.0.1:9000\"\n[intervals]\njournal = \"1s\"\nwindow = \"5m\"\n[limits]\ntrial = \"2m\"\nrequest = \"1m\"\n".to_vec(),
        b"[intervals]\njurnal = \"1s\"\n".to_vec(),
        b"[log]\nlevel = \"debug\"\nformat = \"json\"\n[link]\nkeep_alive = \"60s\"\n".to_vec(),
    ]
}

/// The first line of a refusal says what is wrong.
pub fn config(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match Config::parse(text, Path::new("agent.toml"), []) {
        Ok(config) => {
            let _ = (config.socket(), config.serve_memory_bytes(1 << 20));
        }
        Err(e) => assert!(!e.to_string().is_empty()),
    }
}

pub fn onnx_seeds() -> Vec<Vec<u8>> {
    vec![CLASSIFIER.to_vec()]
}

/// Loads it as a trial does, and runs what loads. A panic inside the engine is an answer here ([`LoadError::Panicked`]); one
/// that gets out, a deep recursion or a broken memory is not.
pub fn onnx(bytes: &[u8]) {
    static MANIFEST: OnceLock<Manifest> = OnceLock::new();
    // A panic that the runtime turns into a reason would fill the log.
    static QUIET: std::sync::Once = std::sync::Once::new();
    QUIET.call_once(|| std::panic::set_hook(Box::new(|_| {})));
    let _ = describe::describe(bytes);
    let limits =
        Limits { max_nodes: 2_000, max_model_bytes: 16 << 20, max_made_bytes: 16 << 20, ..Limits::default() };
    match Model::load(MANIFEST.get_or_init(manifest), bytes, &limits) {
        Ok(model) => {
            let x = Tensor::from_f32("x", &[2, 2], &[1e9, -2.0, 0.5, 3.0]);
            if let Ok(outputs) = model.run(&[x]) {
                let _ = model.predictions(2, &outputs);
            }
        }
        Err(LoadError::NotOnnx(why)) => assert!(!why.is_empty()),
        Err(e) => assert!(!e.code().is_empty()),
    }
}
