//! Bundles and objects made to do something else than lie in their directory.

use axum::body::Body;
use longshore_agent_core::update::FetchFailure;
use longshore_bundle::{BundlePath, Manifest};
use longshore_trust::Digest;
use serde_json::json;

use crate::api::Fleet;
use crate::field::{Field, Mirror, ROLE, job};
use crate::repo::target;

const PATHS: [&str; 28] = [
    "../x",
    "..",
    ".",
    "",
    "/etc/passwd",
    "//x",
    "a/../../x",
    "a/./x",
    "a//x",
    "a/b/c",
    "./x",
    ".hidden",
    "a/.hidden",
    "C:\\x",
    "a\\b",
    "x\0y",
    "x\ny",
    "x y",
    "ä",
    "%2e%2e/x",
    "CON",
    "nul.onnx",
    "x.",
    "manifest.json",
    "MANIFEST.json",
    "model.sig",
    "~root",
    "$HOME",
];

#[test]
fn no_path_leaves_its_directory_on_any_way_in() {
    for path in PATHS {
        assert!(BundlePath::new(path).is_err(), "{path:?}");
        let text = Fleet::manifest("1.0.0").replace("\"model.onnx\"", &json!(path).to_string());
        assert!(Manifest::parse(text.as_bytes()).is_err(), "{path:?}");
    }
    // Two names for one file where case does not count.
    let twice = Fleet::manifest("1.0.0").replace("\"golden.safetensors\"", "\"MODEL.onnx\"");
    assert!(Manifest::parse(twice.as_bytes()).is_err());
    assert!(Manifest::parse(Fleet::manifest("1.0.0").as_bytes()).is_ok());
    println!("{} paths, 0 accepted", PATHS.len());
}

#[tokio::test]
async fn the_server_takes_no_such_manifest_and_no_object_that_is_not_what_its_name_says() {
    let fleet = Fleet::new().await;
    for path in PATHS {
        let text = Fleet::manifest("1.0.0").replace("\"model.onnx\"", &json!(path).to_string());
        let answer = fleet.post("/models/m/versions", json!({ "manifest": text })).await;
        assert_eq!(answer.status, 422, "{path:?}: {}", answer.json);
        assert!(answer.json["code"].as_str().unwrap().starts_with("bundle."), "{path:?}: {}", answer.json);
    }
    let stored = fleet.app.objects.list().unwrap().len();
    for name in
        ["../../fleet.db", "..%2F..%2Ffleet.db", "x", &"0".repeat(63), &"g".repeat(64), &"A".repeat(64)]
    {
        let mut request = fleet.request("PUT", "/objects/x", None);
        *request.uri_mut() = format!("/api/v1/objects/{}", name.replace('/', "%2F")).parse().unwrap();
        *request.body_mut() = Body::from("x");
        let answer = fleet.send(request).await;
        assert!(answer.status.is_client_error(), "{name}: {}", answer.json);
    }
    let mut lie = fleet.request("PUT", &format!("/objects/{}", Digest::of(b"a")), None);
    *lie.body_mut() = Body::from("b");
    assert_eq!(fleet.send(lie).await.json["code"], "object.digest");
    // Without an end: cut at the configured size, and nothing is left of it.
    let writer = fleet.app.objects.writer(1000).await;
    let mut writer = writer.unwrap();
    writer.write(&[7; 900]).await.unwrap();
    assert!(writer.write(&[7; 200]).await.is_err());
    drop(writer);
    assert_eq!(fleet.app.objects.list().unwrap().len(), stored);
    let incoming =
        fleet.app.objects.path(&Digest::of(b"a")).parent().unwrap().parent().unwrap().join("incoming");
    assert_eq!(std::fs::read_dir(incoming).unwrap().count(), 0);
}

#[test]
fn a_device_writes_nothing_outside_even_of_an_approved_manifest() {
    let outside = "digits/4.0.0/manifest.json";
    for path in ["../../../evil", "/tmp/evil", "a/../../evil"] {
        let text = Fleet::manifest("4.0.0")
            .replace("\"m\"", "\"digits\"")
            .replace("\"model.onnx\"", &json!(path).to_string());
        let mut field = Field::new();
        let mut entry = target(text.as_bytes());
        entry["custom"] = json!({"release_counter": 4});
        field.repo.roles.get_mut(ROLE).unwrap()["targets"][outside] = entry;
        field.repo.release(&[ROLE]);
        let trusted = field.client.refresh(&field.repo, &[outside]).unwrap();
        let (dir, mut mirror) = (tempfile::tempdir().unwrap(), Mirror::default());
        mirror.put(outside, &Digest::of(text.as_bytes()), text.as_bytes());
        let state = dir.path().join("state/inner");
        std::fs::create_dir_all(&state).unwrap();
        let Err(FetchFailure::Refused(why)) = job(&trusted, &state, "digits", "4.0.0").run(&mirror) else {
            panic!("{path}: it was taken");
        };
        assert_eq!(why.code, "manifest.invalid", "{path}");
        let above: Vec<_> =
            std::fs::read_dir(dir.path().join("state")).unwrap().flatten().map(|e| e.file_name()).collect();
        assert_eq!(above, ["inner"], "{path}");
        assert_eq!(mirror.asked.borrow().len(), 1);
    }
}

#[test]
fn archives_and_tensors_that_promise_more_than_they_hold_are_refused_before_room_is_made() {
    // A safetensors head that promises an exabyte, and one whose tensors overlap or lie outside.
    let head = |json: &str| [(json.len() as u64).to_le_bytes().to_vec(), json.as_bytes().to_vec()].concat();
    for bytes in [
        u64::MAX.to_le_bytes().to_vec(),
        [(1u64 << 40).to_le_bytes().to_vec(), vec![b' '; 100]].concat(),
        head(r#"{"input.x":{"dtype":"F32","shape":[9223372036854775807,9],"data_offsets":[0,8]}}"#),
        head(r#"{"input.x":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#),
        head(r#"{"input.x":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}}"#),
        head("{"),
    ] {
        assert!(longshore_bundle::golden::read_safetensors(&bytes).is_err());
    }
    // A zip that is none, and an .npy inside of it that lies about its shape.
    for bytes in [b"PK\x05\x06".to_vec(), b"PK\x03\x04".to_vec(), vec![0; 1000]] {
        let read = longshore_bundle::author::read_npz(&bytes);
        assert!(read.is_err() || read.unwrap().is_empty());
    }
}
