//! OpenSSF Model Signing: PyPI's `model_signing` accepts what we sign, and we accept what it signs, with each curve.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, ensure};
use longshore_hil_tests::{bin_dir, output, root};

use super::python::interpreter;

struct Both {
    python: PathBuf,
    model: PathBuf,
    signature: PathBuf,
}

fn key(name: &str) -> PathBuf {
    root().join("shared/bundle/tests/keys").join(name)
}

impl Both {
    fn ours(&self, arguments: &[&str], options: &[(&str, &Path)]) -> Command {
        let mut command = Command::new(bin_dir().join("longshore"));
        command.arg("oms").args(arguments).arg("--model-path").arg(&self.model);
        for (name, value) in options {
            command.arg(name).arg(value);
        }
        command
    }
    fn theirs(&self, arguments: &[&str], options: &[(&str, &Path)]) -> Command {
        let mut command = Command::new(&self.python);
        command.args(["-m", "model_signing"]).args(arguments).arg(&self.model);
        for (name, value) in options {
            command.arg(name).arg(value);
        }
        command
    }
    fn we_sign(&self, curve: &str, ignore: &Path) -> Command {
        let private = key(&format!("{curve}.pem"));
        self.ours(
            &["sign-model"],
            &[("--output-bundle", &self.signature), ("--private-key", &private), ("--ignore-paths", ignore)],
        )
    }
    fn we_verify(&self, curve: &str) -> Command {
        let public = key(&format!("{curve}.pub.pem"));
        self.ours(&["verify-model"], &[("--bundle", &self.signature), ("--public-key", &public)])
    }
    fn they_sign(&self, curve: &str, ignore: &Path) -> Command {
        let private = key(&format!("{curve}.pem"));
        self.theirs(
            &["sign", "key"],
            &[("--private_key", &private), ("--signature", &self.signature), ("--ignore-paths", ignore)],
        )
    }
    fn they_verify(&self, curve: &str) -> Command {
        let public = key(&format!("{curve}.pub.pem"));
        self.theirs(&["verify", "key"], &[("--public_key", &public), ("--signature", &self.signature)])
    }
}

#[test]
#[ignore = "slow: needs packages from PyPI"]
fn signatures_are_understood_both_ways_with_each_curve() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let both = Both {
        python: interpreter(&root().join("hil-tests/python/requirements-oms.txt"))?,
        model: folder.path().join("model"),
        signature: folder.path().join("model.sig"),
    };
    fs::create_dir_all(both.model.join("sub/empty"))?;
    let files = ["weights.bin", "sub/adapter.bin", "sub.bin", "模型 (1).bin", ".hidden", "notes.txt"];
    for name in files {
        fs::write(both.model.join(name), name)?;
    }
    let ignored = both.model.join("notes.txt");
    let mut judged = 0;
    for curve in ["p256", "p384", "p521"] {
        for sign in [both.we_sign(curve, &ignored), both.they_sign(curve, &ignored)] {
            output(sign)?;
            let mut both_say = |accept: bool, what: &str| -> Result<()> {
                for (who, verify) in [("ours", both.we_verify(curve)), ("theirs", both.they_verify(curve))] {
                    let verdict = output(verify);
                    ensure!(verdict.is_ok() == accept, "{curve}, {what}: {who} answers {verdict:?}");
                    judged += 1;
                }
                Ok(())
            };
            both_say(true, "as signed")?;
            fs::write(&ignored, "changed")?;
            both_say(true, "with a changed file that is left out")?;
            fs::write(both.model.join("sub.bin"), "changed")?;
            both_say(false, "with a changed file")?;
            fs::write(both.model.join("sub.bin"), "sub.bin")?;
            fs::write(both.model.join("sub/extra.bin"), "")?;
            both_say(false, "with one more file")?;
            fs::remove_file(both.model.join("sub/extra.bin"))?;
            let text = fs::read_to_string(&both.signature)?;
            let payload = text.find("\"payload\"").unwrap_or(0);
            let mut bytes = text.clone().into_bytes();
            bytes[payload + 60] ^= 1;
            fs::write(&both.signature, bytes)?;
            both_say(false, "with another statement")?;
            fs::write(&both.signature, text)?;
            both_say(true, "as it was")?;
        }
    }
    println!("{judged} verdicts on 6 signatures of 3 curves, all the same on both sides");
    Ok(())
}
