//! `longshore oms` and `bundle sign` on what file systems can hold.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail")]

use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

fn key(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/bundle/tests/keys").join(name)
}

struct Desk(tempfile::TempDir);
impl Desk {
    fn new() -> Self {
        let desk = Self(tempfile::tempdir().unwrap());
        fs::create_dir_all(desk.model().join("sub/empty")).unwrap();
        for (path, content) in
            [("weights.bin", "w"), ("sub/adapter.bin", "a"), ("empty.bin", ""), ("模型 (1).bin", "m")]
        {
            fs::write(desk.model().join(path), content).unwrap();
        }
        desk
    }
    fn model(&self) -> PathBuf {
        self.0.path().join("model")
    }
    fn run(&self, args: &[&str]) -> (i32, Value) {
        let out = Command::new(env!("CARGO_BIN_EXE_longshore"))
            .args(["oms", "--json"])
            .args(args)
            .current_dir(self.0.path())
            .output()
            .unwrap();
        let said = serde_json::from_slice(&out.stdout)
            .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&out.stderr)));
        (out.status.code().unwrap(), said)
    }
    fn sign(&self, curve: &str, more: &[&str]) -> (i32, Value) {
        let private = key(&format!("{curve}.pem"));
        let base = [
            "sign-model",
            "--method",
            "key",
            "--model-path",
            "model",
            "--output-bundle",
            "model.sig",
            "--private-key",
        ];
        self.run(&[&base[..], &[private.to_str().unwrap()], more].concat())
    }
    fn verify(&self, curve: &str, more: &[&str]) -> (i32, Value) {
        let public = key(&format!("{curve}.pub.pem"));
        let base = [
            "verify-model",
            "--method",
            "key",
            "--model-path",
            "model",
            "--bundle",
            "model.sig",
            "--public-key",
        ];
        self.run(&[&base[..], &[public.to_str().unwrap()], more].concat())
    }
    fn refused(said: (i32, Value), code: &str, words: &str) {
        assert_eq!((said.0, said.1["code"].as_str()), (1, Some(code)), "{}", said.1);
        assert!(said.1["error"].as_str().unwrap().contains(words), "{}", said.1);
    }
}

#[test]
fn a_model_is_signed_and_verified_with_each_curve() {
    let desk = Desk::new();
    for curve in ["p256", "p384", "p521"] {
        let (exit, said) = desk.sign(curve, &[]);
        assert_eq!((exit, said["files"].as_object().unwrap().len()), (0, 4), "{said}");
        let digest = said["digest"].clone();
        let (exit, said) = desk.verify(curve, &[]);
        assert_eq!((exit, &said["digest"]), (0, &digest));
    }
    Desk::refused(desk.verify("p256", &[]), "oms.other_key", "another key");
}

#[test]
fn every_difference_is_named() {
    let desk = Desk::new();
    desk.sign("p256", &[]);
    fs::write(desk.model().join("weights.bin"), "x").unwrap();
    fs::remove_file(desk.model().join("empty.bin")).unwrap();
    fs::write(desk.model().join("sub/new.bin"), "").unwrap();
    let said = desk.verify("p256", &[]);
    Desk::refused(
        said.clone(),
        "oms.mismatch",
        "changed: weights.bin; missing: empty.bin; not signed: sub/new.bin",
    );
    Desk::refused(
        desk.verify("p256", &["--ignore-unsigned-files"]),
        "oms.mismatch",
        "changed: weights.bin; missing: empty.bin",
    );
    fs::write(desk.model().join("weights.bin"), "w").unwrap();
    fs::write(desk.model().join("empty.bin"), "").unwrap();
    Desk::refused(desk.verify("p256", &[]), "oms.mismatch", "not signed: sub/new.bin");
    assert_eq!(desk.verify("p256", &["--ignore-unsigned-files"]).0, 0);
    assert_eq!(desk.verify("p256", &["--ignore-paths", "sub/new.bin"]).0, 0);
}

#[test]
fn ignored_paths_and_the_signature_itself_are_left_out() {
    let desk = Desk::new();
    fs::create_dir(desk.model().join(".git")).unwrap();
    fs::write(desk.model().join(".git/config"), "x").unwrap();
    fs::write(desk.model().join(".gitx"), "signed").unwrap();
    let absolute = desk.model().join("sub");
    let inside = ["--output-bundle", "model/model.sig"];
    let private = key("p256.pem");
    let args = [
        &["sign-model", "--model-path", "model"][..],
        &inside,
        &["--private-key", private.to_str().unwrap(), "--ignore-paths", absolute.to_str().unwrap()],
    ];
    let (exit, said) = desk.run(&args.concat());
    assert_eq!(exit, 0, "{said}");
    let names: Vec<&String> = said["files"].as_object().unwrap().keys().collect();
    assert_eq!(names, [".gitx", "empty.bin", "weights.bin", "模型 (1).bin"]);
    fs::write(desk.model().join("sub/adapter.bin"), "changed").unwrap();
    fs::write(desk.model().join(".git/config"), "changed").unwrap();
    let public = key("p256.pub.pem");
    let verify = |bundle: &str| {
        desk.run(&[
            "verify-model",
            "--model-path",
            "model",
            "--bundle",
            bundle,
            "--public-key",
            public.to_str().unwrap(),
        ])
    };
    assert_eq!(verify("model/model.sig").0, 0);
    // Under another name the signature finds its old place ignored, and the new one outside.
    fs::rename(desk.model().join("model.sig"), desk.0.path().join("elsewhere.sig")).unwrap();
    assert_eq!(verify("elsewhere.sig").0, 0);
}

#[test]
fn what_is_no_plain_file_is_refused() {
    let link = |target: &str| {
        let desk = Desk::new();
        std::os::unix::fs::symlink(target, desk.model().join("link")).unwrap();
        desk
    };
    Desk::refused(link("weights.bin").sign("p256", &[]), "oms.file", "symbolic link");
    let (exit, said) = link("weights.bin").sign("p256", &["--allow-symlinks"]);
    assert_eq!((exit, said["files"].as_object().unwrap().len()), (0, 5), "{said}");
    Desk::refused(link(".").sign("p256", &["--allow-symlinks"]), "oms.file", "does not lead to a file");
    Desk::refused(link("/etc/hostname").sign("p256", &["--allow-symlinks"]), "oms.file", "out of the model");
    Desk::refused(link("nowhere").sign("p256", &["--allow-symlinks"]), "oms.file", "leads nowhere");
    let desk = Desk::new();
    let _socket = std::os::unix::net::UnixListener::bind(desk.model().join("socket")).unwrap();
    Desk::refused(desk.sign("p256", &[]), "oms.file", "pipe or socket");
    let desk = Desk::new();
    fs::write(desk.model().join(std::ffi::OsStr::from_bytes(b"\xff.bin")), "x").unwrap();
    Desk::refused(desk.sign("p256", &[]), "oms.file", "not UTF-8");
    let desk = Desk::new();
    fs::write(desk.model().join("a\nb"), "x").unwrap();
    Desk::refused(desk.sign("p256", &[]), "oms.name", "control character");
}

#[test]
fn a_link_put_in_the_place_of_a_signed_file_is_refused_by_a_lenient_check_too() {
    let desk = Desk::new();
    desk.sign("p256", &[]);
    // The same bytes, but from outside, where somebody else may change them.
    fs::write(desk.0.path().join("outside.bin"), "w").unwrap();
    fs::remove_file(desk.model().join("weights.bin")).unwrap();
    std::os::unix::fs::symlink("../outside.bin", desk.model().join("weights.bin")).unwrap();
    for more in [&[][..], &["--ignore-unsigned-files"]] {
        Desk::refused(desk.verify("p256", more), "oms.file", "symbolic link");
    }
    fs::remove_file(desk.model().join("weights.bin")).unwrap();
    fs::write(desk.model().join("weights.bin"), "w").unwrap();
    fs::rename(desk.model().join("sub"), desk.0.path().join("sub")).unwrap();
    std::os::unix::fs::symlink("../sub", desk.model().join("sub")).unwrap();
    Desk::refused(desk.verify("p256", &["--ignore-unsigned-files"]), "oms.file", "outside of the model");
}

#[test]
fn an_empty_model_is_not_signed() {
    let desk = Desk::new();
    fs::remove_dir_all(desk.model()).unwrap();
    fs::create_dir_all(desk.model().join("empty/deeper")).unwrap();
    Desk::refused(desk.sign("p256", &[]), "oms.statement", "no file to sign");
    assert!(!desk.0.path().join("model.sig").exists());
}

#[test]
fn a_single_file_is_a_model() {
    let desk = Desk::new();
    let (private, public) = (key("p521.pkcs8.pem"), key("p521.pub.pem"));
    let file = "model/weights.bin";
    let sign = [
        "sign-model",
        "--model-path",
        file,
        "--output-bundle",
        "w.sig",
        "--private-key",
        private.to_str().unwrap(),
    ];
    let (exit, said) = desk.run(&sign);
    assert_eq!(
        (exit, said["files"].as_object().unwrap().keys().next().unwrap().as_str()),
        (0, "weights.bin")
    );
    let verify =
        ["verify-model", "--model-path", file, "--bundle", "w.sig", "--public-key", public.to_str().unwrap()];
    assert_eq!(desk.run(&verify).0, 0);
    fs::write(desk.0.path().join(file), "other").unwrap();
    Desk::refused(desk.run(&verify), "oms.mismatch", "changed: weights.bin");
}
