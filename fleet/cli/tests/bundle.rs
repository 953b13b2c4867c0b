//! `longshore bundle` as an author meets it: the example's files in, a bundle or a reason out.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn example(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/meter-digits/1.0.0").join(file)
}

fn longshore(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_longshore"))
        .args(args)
        .env("SOURCE_DATE_EPOCH", "1700000000")
        .output()
        .unwrap()
}

fn build(out: &Path, change: &[(&str, &str)]) -> Output {
    let (model, golden) = (example("model.onnx"), example("golden.npz"));
    let (reference, card) = (example("reference.csv"), example("card.md"));
    let mut args = vec![
        ("--model", model.to_str().unwrap()),
        ("--name", "meter-digits"),
        ("--version", "1.0.0"),
        ("--reference", reference.to_str().unwrap()),
        ("--golden", golden.to_str().unwrap()),
        ("--card", card.to_str().unwrap()),
        ("--labels", "0,1,2,3,4,5,6,7,8,9"),
        ("--out", out.to_str().unwrap()),
    ];
    for (flag, value) in change {
        args.retain(|(f, _)| f != flag);
        if !value.is_empty() {
            args.push((flag, value));
        }
    }
    let flat: Vec<&str> =
        ["bundle", "build", "--json"].into_iter().chain(args.iter().flat_map(|(f, v)| [*f, *v])).collect();
    longshore(&flat)
}

fn json(output: &Output) -> serde_json::Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|e| {
        panic!("{e}: {}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
    })
}

/// What a refused command says; also: its exit code is 1 or 2, and it wrote nothing.
fn reason(output: &Output, out: &Path) -> String {
    assert!(matches!(output.status.code(), Some(1 | 2)), "{output:?}");
    assert!(!out.exists(), "{} was written", out.display());
    json(output)["error"].as_str().unwrap().to_owned()
}

#[test]
fn the_example_builds_reproducibly_and_passes_its_test() {
    let tmp = tempfile::tempdir().unwrap();
    let (a, b) = (tmp.path().join("a"), tmp.path().join("b"));
    let built = json(&build(&a, &[]));
    assert_eq!(built["ok"], true);
    assert!(built["golden"]["outputs"][0]["max_abs"].as_f64().unwrap() < 1e-4);
    assert_eq!(json(&build(&b, &[]))["digest"], built["digest"]);
    let manifest: serde_json::Value =
        serde_json::from_slice(&fs::read(a.join("manifest.json")).unwrap()).unwrap();
    assert_eq!(manifest["created"], "2023-11-14T22:13:20Z");
    assert_eq!(manifest["monitor"]["score_output"], "probabilities");
    assert_eq!(manifest["monitor"]["features"].as_array().unwrap().len(), 64);
    assert_eq!(manifest["monitor"]["features"][9]["name"], "pixel_1_1");
    let junit = tmp.path().join("junit.xml");
    let tested =
        longshore(&["bundle", "test", a.to_str().unwrap(), "--json", "--junit", junit.to_str().unwrap()]);
    assert!(tested.status.success());
    assert_eq!(json(&tested)["digest"], built["digest"]);
    assert!(fs::read_to_string(&junit).unwrap().contains("failures=\"0\""));
    let seen = json(&longshore(&["bundle", "inspect", a.to_str().unwrap(), "--json"]));
    assert_eq!((&seen["digest"], &seen["reference"]["rows"]), (&built["digest"], &serde_json::json!(275)));
}

#[test]
fn a_changed_file_fails_the_test_with_a_reason_for_people_and_machines() {
    let tmp = tempfile::tempdir().unwrap();
    let (dir, junit) = (tmp.path().join("b"), tmp.path().join("junit.xml"));
    assert!(build(&dir, &[]).status.success());
    let mut onnx = fs::read(dir.join("model.onnx")).unwrap();
    let last = onnx.len() - 1;
    onnx[last] ^= 1;
    fs::write(dir.join("model.onnx"), onnx).unwrap();
    let out =
        longshore(&["bundle", "test", dir.to_str().unwrap(), "--json", "--junit", junit.to_str().unwrap()]);
    assert_eq!((out.status.code(), json(&out)["code"].as_str()), (Some(1), Some("bundle.hash")));
    assert!(fs::read_to_string(&junit).unwrap().contains("type=\"bundle.hash\""));
    let out = longshore(&["bundle", "test", dir.to_str().unwrap()]);
    assert!(String::from_utf8_lossy(&out.stderr).starts_with("error: model.onnx: sha256:"), "{out:?}");
}

#[test]
fn what_a_device_would_refuse_is_not_written() {
    let tmp = tempfile::tempdir().unwrap();
    let out = tmp.path().join("b");
    let file = |name: &str, bytes: &[u8]| {
        let path = tmp.path().join(name);
        fs::write(&path, bytes).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let garbage = file("garbage.onnx", b"this is no model");
    assert!(reason(&build(&out, &[("--model", &garbage)]), &out).contains("not a valid ONNX model"));
    assert!(reason(&build(&out, &[("--labels", "a,b,c")]), &out).contains("3 labels"));
    let narrow = file("narrow.csv", b"a,b\n1,2\n");
    assert!(reason(&build(&out, &[("--reference", &narrow)]), &out).contains("2 columns"));
    let ragged = file("ragged.csv", b"a,b\n1\n");
    assert!(reason(&build(&out, &[("--reference", &ragged)]), &out).contains("row 2"));
    let no_zip = file("golden.npz", b"PK\x03\x04 and then nothing");
    assert!(reason(&build(&out, &[("--golden", &no_zip)]), &out).contains("no NPZ archive"));
    let other = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/meter-digits/1.1.0/golden.npz");
    let wrong = reason(&build(&out, &[("--golden", other.to_str().unwrap())]), &out);
    assert!(wrong.contains("output `probabilities`, row"), "{wrong}");
    let extra = file("extra.toml", b"[monitor]\nwindow_s = 0\n");
    assert!(reason(&build(&out, &[("--manifest-extra", &extra)]), &out).contains("monitor.window_s"));
    let extra = file("extra.toml", b"[monitor]\nwindows = 60\n");
    assert!(reason(&build(&out, &[("--manifest-extra", &extra)]), &out).contains("unknown field `windows`"));
    let extra = file("extra.toml", b"[requires]\nmax_p99_ms = 0\n");
    assert!(reason(&build(&out, &[("--manifest-extra", &extra)]), &out).contains("too slow"));
    assert!(reason(&build(&out, &[("--shape", "ink=N,64")]), &out).contains("no such input; it has pixels"));
    assert!(reason(&build(&out, &[("--shape", "pixels=N,63")]), &out).contains("operator `"));
}

#[test]
fn what_exists_is_left_alone() {
    let tmp = tempfile::tempdir().unwrap();
    fs::write(tmp.path().join("precious"), b"x").unwrap();
    let out = build(tmp.path(), &[]);
    assert_eq!(out.status.code(), Some(1));
    assert!(json(&out)["error"].as_str().unwrap().contains("exists already"));
    assert_eq!(fs::read_dir(tmp.path()).unwrap().count(), 1);
}

#[test]
fn extra_fields_and_recorded_vectors_make_a_bundle_too() {
    let tmp = tempfile::tempdir().unwrap();
    let (out, extra) = (tmp.path().join("b"), tmp.path().join("extra.toml"));
    let toml = "[requires]\ntargets = [\"aarch64\"]\n[monitor]\nwindow_s = 60\n[lineage]\nmetrics = { accuracy = 0.5 }\n\
                [[lineage.dataset]]\nname = \"digits\"\nlicense = \"CC-BY-4.0\"\n[policy]\nintended_use = \"tests\"\n";
    fs::write(&extra, toml).unwrap();
    let built = json(&build(&out, &[("--golden", ""), ("--manifest-extra", extra.to_str().unwrap())]));
    assert!(built["notes"].to_string().contains("recorded from this engine"), "{built}");
    assert_eq!(built["golden"]["rows"], 16);
    let m: serde_json::Value = serde_json::from_slice(&fs::read(out.join("manifest.json")).unwrap()).unwrap();
    assert_eq!((&m["monitor"]["window_s"], &m["requires"]["targets"][0]), (&60.into(), &"aarch64".into()));
    assert_eq!(m["monitor"]["classes"].as_array().unwrap().len(), 10);
    let bom = fs::read_to_string(out.join("mlbom.cdx.json")).unwrap();
    assert!(bom.contains("CC-BY-4.0") && bom.contains("accuracy"), "{bom}");
}

#[test]
fn the_doctor_says_what_loads_and_what_does_not() {
    let good = longshore(&["bundle", "doctor", example("model.onnx").to_str().unwrap()]);
    assert!(good.status.success() && String::from_utf8_lossy(&good.stdout).contains("it loads"), "{good:?}");
    let tmp = tempfile::tempdir().unwrap();
    let path = tmp.path().join("m.onnx");
    // The last node's operator, renamed to one that does not exist.
    let mut onnx = fs::read(example("model.onnx")).unwrap();
    let at = onnx.windows(7).rposition(|w| w == b"Softmax").expect("the example ends in a softmax");
    onnx[at..at + 7].copy_from_slice(b"Hardmux");
    fs::write(&path, onnx).unwrap();
    let bad = longshore(&["bundle", "doctor", path.to_str().unwrap()]);
    let text = String::from_utf8_lossy(&bad.stdout);
    assert_eq!(bad.status.code(), Some(1));
    assert!(text.contains("(operator `Hardmux`)") && text.contains("to do:"), "{text}");
    let value = json(&longshore(&["bundle", "doctor", "--json", path.to_str().unwrap()]));
    assert_eq!(
        (&value["ok"], &value["diagnosis"]["findings"][0]["operator"]),
        (&false.into(), &"Hardmux".into())
    );
}
