//! The whole check of a bundle, as `longshore bundle test`, the trial engine and the fleet do it.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

mod onnx;

use std::path::Path;

use longshore_bundle::author::{NewFile, assemble};
use longshore_bundle::{Golden, Manifest, Role};
use longshore_runtime::{CheckError, GoldenError, Limits, Model, Tensor, recheck};

fn vectors(manifest: &Manifest, rows: usize) -> Golden {
    let model = Model::load(manifest, &onnx::classifier(), &Limits::default()).unwrap();
    let mut inputs = Vec::new();
    let mut outputs: Vec<Tensor> = Vec::new();
    for r in 0..rows {
        let row = [r as f32 * 0.5, 1.0 - r as f32];
        inputs.extend(row);
        outputs.extend(model.run(&[Tensor::from_f32("x", &[1, 2], &row)]).unwrap());
    }
    let y: Vec<u8> = outputs.iter().flat_map(|o| o.data.clone()).collect();
    Golden {
        inputs: vec![Tensor::from_f32("x", &[rows, 2], &inputs)],
        outputs: vec![Tensor { shape: vec![rows, 3], data: y, ..outputs[0].clone() }],
        rows,
    }
}

fn write(dir: &Path, manifest: Manifest, golden: &Golden) {
    let files = vec![
        NewFile::of(Role::Model, onnx::classifier()),
        NewFile::of(Role::Golden, golden.to_bytes().unwrap()),
    ];
    assemble(manifest, files).unwrap().write(dir).unwrap();
}

#[test]
fn a_good_bundle_passes_in_batches_of_its_own_size() {
    let tmp = tempfile::tempdir().unwrap();
    let manifest = onnx::classifier_manifest();
    // 20 rows, batches of at most 8.
    let golden = vectors(&manifest, 20);
    write(&tmp.path().join("b"), manifest, &golden);
    let report = recheck(&tmp.path().join("b"), &Limits::default()).unwrap();
    assert_eq!((report.golden.rows, report.files), (20, 3));
    assert!(report.golden.outputs[0].max_abs < 1e-6);
    assert!(report.golden.p99_us >= report.golden.p50_us);
}

#[test]
fn a_wrong_answer_names_output_row_and_element() {
    let tmp = tempfile::tempdir().unwrap();
    let manifest = onnx::classifier_manifest();
    let mut golden = vectors(&manifest, 12);
    let at = (10 * 3 + 2) * 4;
    golden.outputs[0].data[at..at + 4].copy_from_slice(&0.75f32.to_le_bytes());
    write(&tmp.path().join("b"), manifest, &golden);
    let error = recheck(&tmp.path().join("b"), &Limits::default()).unwrap_err();
    let CheckError::Golden(GoldenError::Deviates { output, row, index, expected, .. }) = &error else {
        panic!("{error}");
    };
    assert_eq!((output.as_str(), *row, *index, *expected), ("y", 10, 2, 0.75));
    assert_eq!(error.code(), "golden.deviates");
}

#[test]
fn tolerances_are_those_of_the_manifest() {
    let tmp = tempfile::tempdir().unwrap();
    let mut manifest = onnx::classifier_manifest();
    let mut golden = vectors(&manifest, 1);
    let first = f32::from_le_bytes(golden.outputs[0].data[..4].try_into().unwrap());
    golden.outputs[0].data[..4].copy_from_slice(&(first + 0.01).to_le_bytes());
    write(&tmp.path().join("strict"), manifest.clone(), &golden);
    assert!(recheck(&tmp.path().join("strict"), &Limits::default()).is_err());
    manifest.golden.abs = 0.02;
    write(&tmp.path().join("loose"), manifest, &golden);
    recheck(&tmp.path().join("loose"), &Limits::default()).unwrap();
}

#[test]
fn what_breaks_on_disk_is_found() {
    let tmp = tempfile::tempdir().unwrap();
    let manifest = onnx::classifier_manifest();
    let golden = vectors(&manifest, 2);
    let dir = tmp.path().join("b");
    write(&dir, manifest, &golden);
    let mut onnx = std::fs::read(dir.join("model.onnx")).unwrap();
    onnx[40] ^= 1;
    std::fs::write(dir.join("model.onnx"), onnx).unwrap();
    let error = recheck(&dir, &Limits::default()).unwrap_err();
    assert_eq!(error.code(), "bundle.hash");
    assert!(error.to_string().starts_with("model.onnx: sha256:"), "{error}");
}
