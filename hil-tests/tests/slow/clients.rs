//! Other people's Python clients, unchanged, against the real engine: NVIDIA's `tritonclient[http]`, and ONNX Runtime as
//! the measure of what real models should answer.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, ensure};
use longshore_hil_tests::{bin_dir, output, root, shell_blocks};

use super::engine::Engine;
use super::python::{interpreter, tools};
use super::{example_bundle, path_with_programs};

const MODELS: [&str; 6] =
    ["silero-vad", "silero-vad-ifless", "ppocr-cls", "ppocr-det", "ppocr-rec", "magika"];

fn script(name: &str) -> PathBuf {
    root().join("hil-tests/python").join(name)
}

fn clients() -> Result<PathBuf> {
    interpreter(&script("requirements.txt"))
}

/// Runs one of the scripts and shows what it printed.
fn python(interpreter: &Path, name: &str, arguments: &[&Path]) -> Result<String> {
    let mut command = Command::new(interpreter);
    command.arg(script(name)).args(arguments);
    let said = output(command)?;
    println!("{said}");
    Ok(said)
}

#[test]
#[ignore = "slow: needs packages from PyPI"]
fn training_again_gives_the_committed_models() -> Result<()> {
    let example = root().join("examples/meter-digits");
    let mut train = Command::new(interpreter(&example.join("requirements.txt"))?);
    train.arg(example.join("train.py")).arg("--check");
    println!("{}", output(train)?);
    Ok(())
}

/// `docs/guides/scikit-learn.md`, run as it stands in a copy of the example: every `sh` block, in order.
#[test]
#[ignore = "slow: needs packages from PyPI"]
fn the_scikit_learn_guide_does_what_it_says() -> Result<()> {
    let script = shell_blocks(&std::fs::read_to_string(root().join("docs/guides/scikit-learn.md"))?);
    ensure!(script.contains("train.py") && script.contains("bundle test"), "the blocks were not found");
    let folder = tempfile::tempdir()?;
    let mut copy = Command::new("cp");
    copy.arg("-r").arg(root().join("examples/meter-digits")).arg(folder.path());
    output(copy)?;
    let mut shell = Command::new("bash");
    shell
        .args(["-c", &format!("set -euo pipefail\n{script}")])
        .current_dir(folder.path().join("meter-digits"))
        .env("PATH", path_with_programs()?);
    let said = output(shell)?;
    println!("{said}");
    for part in ["meter-digits 1.0.0 passes", "meter-digits 1.1.0", "everything matches"] {
        ensure!(said.contains(part), "{part:?} is not in what the commands printed:\n{said}");
    }
    Ok(())
}

#[test]
#[ignore = "slow: needs packages from PyPI"]
fn tritonclient_lists_checks_and_infers() -> Result<()> {
    let interpreter = clients()?;
    let folder = tempfile::tempdir()?;
    let bundle = folder.path().join("bundle");
    example_bundle("1.0.0", &bundle)?;
    let agent = bin_dir().join("longshore-agent");
    let mut engine = Engine::start(&[&agent])?;
    engine.serve(&bundle)?;
    let golden = root().join("examples/meter-digits/1.0.0/golden.npz");
    let named = ["--url", &engine.url(), "--model", "meter-digits", "--version", "1.0.0", "--golden"]
        .map(PathBuf::from);
    let arguments: Vec<&Path> = named.iter().map(PathBuf::as_path).chain([golden.as_path()]).collect();
    python(&interpreter, "triton_client.py", &arguments).map(drop)
}

/// Each model is bundled with golden vectors from ONNX Runtime, served, and asked again with other inputs.
#[test]
#[ignore = "slow: needs packages from PyPI, and fetches six real models"]
fn real_models_answer_as_onnx_runtime_does() -> Result<()> {
    let interpreter = clients()?;
    let models = tools().join("real-models");
    python(&interpreter, "real_models.py", &[&models])?;
    let agent = bin_dir().join("longshore-agent");
    let mut engine = Engine::start(&[&agent])?;
    let mut failed = Vec::new();
    for name in MODELS {
        if let Err(error) = compare(&interpreter, &models, &mut engine, name) {
            println!("{name}: {error:#}");
            failed.push(name);
        }
    }
    ensure!(failed.is_empty(), "see above: {}", failed.join(", "));
    Ok(())
}

fn compare(interpreter: &Path, models: &Path, engine: &mut Engine, name: &str) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let golden = folder.path().join("golden.npz");
    let open_shapes = python(interpreter, "cases.py", &[models, Path::new(name), &golden])?;
    let bundle = folder.path().join("bundle");
    let mut build = Command::new(bin_dir().join("longshore"));
    build
        .args(["bundle", "build", "--name", name, "--version", "1.0.0", "--model"])
        .arg(models.join(format!("{name}.onnx")))
        .arg("--golden")
        .arg(&golden)
        .arg("--out")
        .arg(&bundle);
    for shape in open_shapes.split_whitespace() {
        build.args(["--shape", shape]);
    }
    println!("{}", output(build)?);
    engine.serve(&bundle)?;
    let named = ["--url", &engine.url(), "--name", name, "--models"].map(PathBuf::from);
    let arguments: Vec<&Path> = named.iter().map(PathBuf::as_path).chain([models]).collect();
    python(interpreter, "compare_onnxruntime.py", &arguments).map(drop)
}
