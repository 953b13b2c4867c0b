//! The reference implementation of The Update Framework, unchanged, as a reader of our repository and as the second
//! opinion about canonical JSON.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use longshore_hil_tests::script::{MODEL, build, make_keys, release, set_up_fleet};
use longshore_hil_tests::stage::Stage;
use longshore_hil_tests::{output, root};
use longshore_trust::tuf::{canonical, parse_json};

use super::python::interpreter;

const TREES: &str = "5000";

fn script(name: &str) -> PathBuf {
    root().join("hil-tests/python").join(name)
}
fn python(name: &str) -> Result<Command> {
    let mut command = Command::new(interpreter(&script("requirements-tuf.txt"))?);
    command.arg(script(name));
    Ok(command)
}

/// Also after a ceremony: from the first root, through another root key, to what is approved now.
#[test]
#[ignore = "slow: needs packages from PyPI"]
fn python_tuf_reads_our_repository() -> Result<()> {
    let dir = tempfile::Builder::new().prefix("longshore-test-").tempdir()?.keep();
    let mut stage = Stage::new(dir)?;
    make_keys(&stage)?;
    set_up_fleet(&mut stage)?;
    let read = |stage: &Stage, root_version: &str, bundles: &[&str]| -> Result<()> {
        let files = ["manifest.json", "model.onnx"];
        let targets = bundles.iter().flat_map(|v| files.map(|f| format!("{MODEL}/{v}/{f}")));
        let mut client = python("tuf_client.py")?;
        client.arg("--root").arg(stage.dir.join("keys/trust/1.root.json"));
        client.args(["--url", &stage.url(), "--root-version", root_version]).args(targets);
        println!("{}", output(client)?);
        Ok(())
    };
    for version in ["1.0.0", "1.1.0"] {
        build(&stage, version)?;
    }
    release(&stage, "1.0.0")?;
    read(&stage, "1", &["1.0.0"])?;

    stage.json(&["keys", "status"])?;
    for role in ["root", "targets", "release"] {
        let file = format!("keys/offline/{role}-2");
        stage.json(&["keys", "new", "--role", role, "--out", &format!("{file}.key"), "--no-passphrase"])?;
        let add = format!("{file}.pub");
        stage.json(&["keys", "rotate", role, "--draft", "two.draft", "--add", &add, "--threshold", "2"])?;
    }
    stage.json(&["keys", "sign", "two.draft", "--keys", "keys/offline", "--yes"])?;
    stage.json(&["keys", "submit", "two.draft"])?;
    release(&stage, "1.1.0")?;
    read(&stage, "2", &["1.0.0", "1.1.0"])?;
    stage.strike();
    Ok(())
}

#[test]
#[ignore = "slow: needs packages from PyPI"]
fn canonical_json_is_that_of_securesystemslib() -> Result<()> {
    let mut differ = 0;
    let mut trees = 0;
    let mut generate = python("canonical_json.py")?;
    generate.args(["20261123", TREES]);
    for line in output(generate)?.lines() {
        let (written, expected) = line.split_once(' ').context("two columns")?;
        let (written, expected) = (hex::decode(written)?, hex::decode(expected)?);
        let ours = parse_json(&written).map(|tree| canonical(&tree));
        if ours.as_ref() != Ok(&expected) {
            differ += 1;
            println!("{}\n{ours:?}", String::from_utf8_lossy(&written));
        }
        trees += 1;
    }
    println!("canonical JSON: {trees} trees, {differ} differ");
    ensure!(trees.to_string() == TREES && differ == 0, "see above");
    Ok(())
}
