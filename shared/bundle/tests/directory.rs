//! Bundles on disk: what is written can be read, and every way a directory can lie is named.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::fs;
use std::path::{Path, PathBuf};

use longshore_bundle::author::{Assembled, NewFile, WriteError, assemble, draft, mlbom};
use longshore_bundle::{
    DType, Dim, Golden, Manifest, ManifestError, Refusal, Role, Tensor, TensorSpec, read_dir,
};
use longshore_trust::{Digest, ModelName};

fn spec(name: &str, dims: &[Dim]) -> TensorSpec {
    TensorSpec { name: name.into(), dtype: DType::Fp32, shape: dims.to_vec() }
}

fn manifest() -> Manifest {
    let n = Dim::Symbol("N".into());
    draft(
        ModelName::new("m").unwrap(),
        semver::Version::new(1, 0, 0),
        "2026-01-31T12:00:00Z".into(),
        vec![spec("x", &[n.clone(), Dim::Fixed(2)])],
        vec![spec("y", &[n, Dim::Fixed(1)])],
    )
}

fn golden() -> Golden {
    Golden {
        inputs: vec![Tensor::from_f32("x", &[2, 2], &[1.0, 2.0, 3.0, 4.0])],
        outputs: vec![Tensor::from_f32("y", &[2, 1], &[3.0, 7.0])],
        rows: 2,
    }
}

fn assembled() -> Assembled {
    let model = b"model bytes".to_vec();
    let bom = mlbom(&manifest(), &Digest::of(&model));
    let files = vec![
        NewFile::of(Role::Model, model),
        NewFile::of(Role::Golden, golden().to_bytes().unwrap()),
        NewFile::of(Role::Mlbom, bom),
        NewFile::of(Role::Card, b"# card\n".to_vec()),
    ];
    assemble(manifest(), files).unwrap()
}

fn written() -> (tempfile::TempDir, PathBuf) {
    let tmp = tempfile::tempdir().unwrap();
    let dir = tmp.path().join("b");
    assembled().write(&dir).unwrap();
    (tmp, dir)
}

fn refusal(dir: &Path) -> ManifestError {
    read_dir(dir).unwrap_err()
}

#[test]
fn what_is_written_is_read_back() {
    let (_tmp, dir) = written();
    let bundle = read_dir(&dir).unwrap();
    assert_eq!(bundle.digest, Digest::of(&fs::read(dir.join("manifest.json")).unwrap()));
    assert_eq!(bundle.read_role(Role::Model).unwrap().unwrap(), b"model bytes");
    assert_eq!(bundle.read_role(Role::Reference).unwrap(), None);
    let bytes = bundle.read_role(Role::Golden).unwrap().unwrap();
    assert_eq!(longshore_bundle::golden::parse(&bytes, &bundle.manifest).unwrap(), golden());
}

#[test]
fn the_same_files_give_the_same_bytes() {
    assert_eq!(assembled(), assembled());
    let (_a, a) = written();
    let (_b, b) = written();
    assert_eq!(read_dir(&a).unwrap().digest, read_dir(&b).unwrap().digest);
}

#[test]
fn the_ml_bom_is_cyclonedx() {
    let bom: serde_json::Value = serde_json::from_slice(&mlbom(&manifest(), &Digest::of(b"x"))).unwrap();
    assert_eq!((bom["bomFormat"].as_str(), bom["specVersion"].as_str()), (Some("CycloneDX"), Some("1.6")));
    let component = &bom["metadata"]["component"];
    assert_eq!(component["type"], "machine-learning-model");
    assert_eq!(component["hashes"][0]["content"], Digest::of(b"x").to_hex());
    let serial = bom["serialNumber"].as_str().unwrap();
    assert!(serial.starts_with("urn:uuid:") && serial.len() == 45, "{serial}");
}

#[test]
fn a_length_or_hash_that_lies_is_named() {
    let (_tmp, dir) = written();
    fs::write(dir.join("model.onnx"), b"model bytes and more").unwrap();
    let e = refusal(&dir);
    assert_eq!((e.file.as_str(), e.field.as_str()), ("model.onnx", "length"));
    assert_eq!(e.reason, Refusal::Length { found: 20, expected: 11 });
    fs::write(dir.join("model.onnx"), b"MODEL BYTES").unwrap();
    assert!(matches!(refusal(&dir).reason, Refusal::Hash { .. }));
    fs::write(dir.join("model.onnx"), b"").unwrap();
    assert_eq!(refusal(&dir).reason, Refusal::Length { found: 0, expected: 11 });
}

#[test]
fn missing_and_stray_files_are_named() {
    let (_tmp, dir) = written();
    fs::write(dir.join("extra.bin"), b"x").unwrap();
    let e = refusal(&dir);
    assert_eq!((e.file.as_str(), e.reason), ("extra.bin", Refusal::StrayFile));
    fs::remove_file(dir.join("extra.bin")).unwrap();
    fs::write(dir.join("model.sig"), b"signature").unwrap();
    read_dir(&dir).unwrap();
    fs::remove_file(dir.join("card.md")).unwrap();
    let e = refusal(&dir);
    assert_eq!((e.file.as_str(), e.reason), ("card.md", Refusal::MissingFile));
    fs::remove_file(dir.join("manifest.json")).unwrap();
    let e = refusal(&dir);
    assert_eq!((e.file.as_str(), e.reason), ("manifest.json", Refusal::MissingFile));
}

#[cfg(unix)]
#[test]
fn links_and_devices_are_refused_even_when_their_content_fits() {
    let (tmp, dir) = written();
    let real = tmp.path().join("real.onnx");
    fs::rename(dir.join("model.onnx"), &real).unwrap();
    std::os::unix::fs::symlink(&real, dir.join("model.onnx")).unwrap();
    let e = refusal(&dir);
    assert_eq!((e.file.as_str(), e.reason), ("model.onnx", Refusal::NotAFile("a symbolic link")));
    fs::remove_file(dir.join("model.onnx")).unwrap();
    fs::create_dir(dir.join("model.onnx")).unwrap();
    assert_eq!(refusal(&dir).reason, Refusal::NotAFile("a folder"));
    let (_tmp, dir) = written();
    std::os::unix::fs::symlink("/etc/passwd", dir.join("unnamed")).unwrap();
    assert_eq!(refusal(&dir).reason, Refusal::NotAFile("a symbolic link"));
}

#[test]
fn what_is_there_is_never_overwritten() {
    let (_tmp, dir) = written();
    let before = read_dir(&dir).unwrap().digest;
    assert!(matches!(assembled().write(&dir), Err(WriteError::Exists(_))));
    assert_eq!(read_dir(&dir).unwrap().digest, before);
    let empty = dir.parent().unwrap().join("empty");
    fs::create_dir(&empty).unwrap();
    assembled().write(&empty).unwrap();
}

#[test]
fn nothing_is_left_behind_by_a_refused_build() {
    let tmp = tempfile::tempdir().unwrap();
    // A file where a folder is needed.
    fs::write(tmp.path().join("file"), b"x").unwrap();
    assert!(assembled().write(&tmp.path().join("file")).is_err());
    let names: Vec<_> = fs::read_dir(tmp.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names, ["file"]);
}

fn golden_refusal(tensors: Vec<Tensor>) -> ManifestError {
    longshore_bundle::golden::from_tensors(tensors, &manifest()).unwrap_err()
}

#[test]
fn golden_vectors_must_be_complete_and_fit() {
    let x = Tensor::from_f32("input.x", &[1, 2], &[1.0, 2.0]);
    let y = Tensor::from_f32("output.y", &[1, 1], &[3.0]);
    let e = golden_refusal(vec![x.clone()]);
    assert_eq!((e.file.as_str(), e.field.as_str()), ("golden.safetensors", "output.y"));
    assert_eq!(e.reason, Refusal::MissingTensor("output.y".into()));
    let extra = Tensor { name: "input.z".into(), ..x.clone() };
    assert_eq!(
        golden_refusal(vec![x.clone(), y.clone(), extra]).reason,
        Refusal::StrayTensor("input.z".into())
    );
    let nan = Tensor::from_f32("output.y", &[1, 1], &[f32::NAN]);
    let e = golden_refusal(vec![x.clone(), nan]);
    assert_eq!((e.field.as_str(), e.reason), ("output.y", Refusal::NaN(0)));
    let nan = Tensor::from_f32("input.x", &[1, 2], &[0.0, f32::NAN]);
    assert_eq!(golden_refusal(vec![nan, y.clone()]).reason, Refusal::NaN(1));
    let ints = Tensor::from_i64("output.y", &[1, 1], &[3]);
    assert!(matches!(golden_refusal(vec![x.clone(), ints]).reason, Refusal::DType { .. }));
    // Two rows of answers for one row of questions.
    let two = Tensor::from_f32("output.y", &[2, 1], &[3.0, 3.0]);
    let e = golden_refusal(vec![x, two]);
    assert_eq!(e.reason, Refusal::Shape { found: "[2, 1]".into(), expected: "[N=1, 1]".into() });
}
