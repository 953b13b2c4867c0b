//! The attacks that Longshore holds itself to: one folder each under `hil-tests/tests/attacks`, with what the attacker
//! has, tries and is answered (`attack.toml`) beside the tests that prove it (`mod.rs`).
//!
//! What always holds, because `cargo xtask tidy` and a test ask for it: every attack of [`EXPECTED`] has its folder and
//! nothing else has one; every folder holds a test and is compiled; every further proof and every code that an
//! `attack.toml` names exists; and `docs/security.md` says what the folders say.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde::Deserialize;

use crate::root;

/// Where the folders are.
pub const FOLDER: &str = "hil-tests/tests/attacks";
/// What is written from them.
pub const DOCUMENT: &str = "docs/security.md";
/// Behind this line the document is generated.
const MARK: &str =
    "<!-- Generated from hil-tests/tests/attacks/*/attack.toml by `cargo xtask attacks-table`. -->";

/// Every attack, in the order of the table. An attack is added here and as a folder.
pub const EXPECTED: &[&str] = &[
    "arbitrary-install",
    "audit-log-rewrite",
    "broken-clock",
    "captured-server-at-enrolment",
    "change-between-check-and-use",
    "command-replay",
    "cross-device-and-cross-fleet-replay",
    "cross-protocol-signature-reuse",
    "disk-full",
    "endless-data",
    "enrolment-abuse",
    "fast-forward",
    "flash-wear",
    "hostile-onnx",
    "indefinite-freeze",
    "insider-on-the-console",
    "json-parser-differential",
    "key-compromise-and-rotation",
    "malicious-broker",
    "malicious-fleet-server",
    "malicious-mirror",
    "malicious-upload",
    "metadata-rollback",
    "mix-and-match",
    "model-rollback",
    "power-cut",
    "privacy-leak",
    "schema-downgrade",
    "slow-retrieval",
    "stolen-device",
    "telemetry-poisoning",
    "threshold-faking",
    "topic-spoofing",
    "wrong-device-or-hardware",
];

/// One `attack.toml`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Description {
    /// Its name for people.
    pub title: String,
    /// What the attacker has.
    pub has: String,
    /// What the attacker tries.
    pub tries: String,
    /// What the system answers.
    pub answers: String,
    /// Typed codes of the answer: as they stand in reports and API answers, or `Enum::Variant` of an error. Empty where
    /// nobody asks and nothing is refused.
    pub codes: Vec<String>,
    /// What the fleet hears of it.
    pub report: String,
    /// What stands in the audit log.
    pub audit: String,
    /// Further proofs elsewhere in the tree: `path/to/file.rs::name_of_the_test`.
    #[serde(default)]
    pub tests: Vec<String>,
}

/// A folder.
#[derive(Debug, Clone)]
pub struct Attack {
    /// The folder's name.
    pub name: String,
    /// Its description.
    pub description: Description,
    /// Names of the tests in it.
    pub own_tests: Vec<String>,
}

/// Reads all folders, in the order of [`EXPECTED`].
///
/// # Errors
/// When a folder is missing, or does not hold what it should.
pub fn load() -> Result<Vec<Attack>> {
    EXPECTED.iter().map(|name| read(name).with_context(|| format!("attack {name}"))).collect()
}

fn read(name: &str) -> Result<Attack> {
    let dir = root().join(FOLDER).join(name);
    let text = |file: &str| {
        fs::read_to_string(dir.join(file)).with_context(|| format!("{}", dir.join(file).display()))
    };
    let description: Description = toml::from_str(&text("attack.toml")?)?;
    let mut own_tests = tests_in(&text("mod.rs")?);
    for entry in fs::read_dir(&dir)? {
        let path = entry?.path();
        if path.extension().is_some_and(|e| e == "rs") && !path.ends_with("mod.rs") {
            own_tests.extend(tests_in(&fs::read_to_string(path)?));
        }
    }
    Ok(Attack { name: name.to_owned(), description, own_tests })
}

/// Names of the functions that a `#[test]` (of whichever runtime) stands over; ignored ones prove nothing.
#[must_use]
pub fn tests_in(source: &str) -> Vec<String> {
    let mut tests = Vec::new();
    let (mut marked, mut ignored) = (false, false);
    for line in source.lines().map(str::trim) {
        if line == "#[test]" || line.starts_with("#[tokio::test") {
            marked = true;
        } else if line.starts_with("#[ignore") {
            ignored = true;
        } else if let Some(name) = function(line) {
            if marked && !ignored {
                tests.push(name.to_owned());
            }
            (marked, ignored) = (false, false);
        }
    }
    tests
}

/// The name of the function that a line opens, if it opens one.
fn function(line: &str) -> Option<&str> {
    let words = line.trim_start_matches("pub ").trim_start_matches("async ");
    let end = words.find(['(', '<'])?;
    words[..end].strip_prefix("fn ")
}

/// What is wrong with the folders or the document, in words.
///
/// # Errors
/// When the tree cannot be read.
pub fn check() -> Result<Vec<String>> {
    let folder = root().join(FOLDER);
    let mut breaches = Vec::new();
    let mut there = BTreeSet::new();
    for entry in fs::read_dir(&folder)? {
        let entry = entry?;
        if entry.path().is_dir() {
            there.insert(entry.file_name().to_string_lossy().into_owned());
        }
    }
    for name in &there {
        if !EXPECTED.contains(&name.as_str()) {
            breaches.push(format!("{FOLDER}/{name} is not in the list of hil-tests/src/attacks.rs"));
        }
    }
    let main = fs::read_to_string(folder.join("main.rs"))?;
    let sources = Sources::read()?;
    for name in EXPECTED {
        let shown = format!("{FOLDER}/{name}");
        if !there.contains(*name) {
            breaches.push(format!("{shown} is missing"));
            continue;
        }
        match read(name) {
            Ok(attack) => {
                breaches.extend(check_one(&attack, &main, &sources).map(|b| format!("{shown}: {b}")))
            }
            Err(e) => breaches.push(format!("{shown}: {e:#}")),
        }
    }
    if breaches.is_empty() && fs::read_to_string(root().join(DOCUMENT)).unwrap_or_default() != document()? {
        breaches.push(format!("{DOCUMENT} is stale: run `cargo xtask attacks-table`"));
    }
    Ok(breaches)
}

fn check_one<'a>(attack: &'a Attack, main: &str, sources: &'a Sources) -> impl Iterator<Item = String> + 'a {
    let mut breaches = Vec::new();
    let d = &attack.description;
    for (field, text) in [
        ("title", &d.title),
        ("has", &d.has),
        ("tries", &d.tries),
        ("answers", &d.answers),
        ("report", &d.report),
        ("audit", &d.audit),
    ] {
        if text.trim().is_empty() || text.contains('\n') {
            breaches.push(format!("{field} must be one line of text"));
        }
    }
    if attack.own_tests.is_empty() {
        breaches.push("mod.rs holds no test that runs".into());
    }
    if !main.contains(&format!("#[path = \"{}/mod.rs\"]", attack.name)) {
        breaches.push("it is not compiled: main.rs does not name its mod.rs".into());
    }
    for code in d.codes.iter().filter(|c| !sources.have_code(c)) {
        breaches.push(format!("code {code} is in no source"));
    }
    for proof in &d.tests {
        let found = proof.rsplit_once("::").is_some_and(|(file, name)| {
            fs::read_to_string(root().join(file)).is_ok_and(|text| tests_in(&text).iter().any(|t| t == name))
        });
        if !found {
            breaches.push(format!("{proof} does not exist (or does not run)"));
        }
    }
    breaches.into_iter()
}

/// The code that runs on devices, servers and desks: what tests say does not count.
struct Sources(String);

impl Sources {
    fn read() -> Result<Self> {
        let mut all = String::new();
        for dir in ["shared", "agent", "fleet"] {
            collect(&root().join(dir), &mut all)?;
        }
        Ok(Self(all))
    }
    fn have_code(&self, code: &str) -> bool {
        match code.split_once("::") {
            None => self.0.contains(&format!("\"{code}\"")),
            Some((of, variant)) => {
                let opened = format!("pub enum {of} {{");
                self.0.split(&opened).skip(1).any(|rest| {
                    let body = rest.split("\n}").next().unwrap_or_default();
                    body.lines().any(|l| l.trim().split([',', ' ', '(', '{']).next() == Some(variant))
                })
            }
        }
    }
}

fn collect(dir: &Path, all: &mut String) -> Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() && !["tests", "benches", "target", "node_modules"].contains(&name.as_str()) {
            collect(&path, all)?;
        } else if path.extension().is_some_and(|e| e == "rs") {
            all.push_str(&fs::read_to_string(&path)?);
        }
    }
    Ok(())
}

/// The document as it should be: the part people write, and the table.
///
/// # Errors
/// When folders or document cannot be read.
pub fn document() -> Result<String> {
    let written = fs::read_to_string(path()).with_context(|| format!("cannot read {DOCUMENT}"))?;
    let by_hand = written.split(MARK).next().unwrap_or_default();
    Ok(format!("{by_hand}{MARK}\n\n{}", table(&load()?)))
}

/// Where the document is.
#[must_use]
pub fn path() -> PathBuf {
    root().join(DOCUMENT)
}

/// The table, and a section for each attack.
fn table(attacks: &[Attack]) -> String {
    let mut text =
        String::from("| attack | the attacker has | the system answers | codes |\n|---|---|---|---|\n");
    for Attack { name, description: d, .. } in attacks {
        let codes: Vec<String> = d.codes.iter().map(|c| format!("`{c}`")).collect();
        let codes = if codes.is_empty() { "-".to_owned() } else { codes.join(" ") };
        // Writing to a string cannot fail.
        let _ = writeln!(text, "| [{}](#{name}) | {} | {} | {} |", d.title, d.has, d.answers, codes);
    }
    for Attack { name, description: d, own_tests } in attacks {
        let _ = write!(
            text,
            "\n<a id=\"{name}\"></a>\n### {}\n- Has: {}\n- Tries: {}\n- Answer: {}\n- Fleet hears: {}\n- Audit log: {}\n- Proof: [`{name}`](../{FOLDER}/{name}/mod.rs)",
            d.title, d.has, d.tries, d.answers, d.report, d.audit
        );
        for test in own_tests {
            let _ = write!(text, "\n  - {}", test.replace('_', " "));
        }
        for proof in &d.tests {
            let (file, test) = proof.rsplit_once("::").unwrap_or((proof, ""));
            let _ = write!(text, "\n  - {} ([{file}](../{file}))", test.replace('_', " "));
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_are_found_by_name_and_ignored_ones_are_not() {
        let source = "#[test]\nfn a() {\n}\n#[tokio::test(flavor = \"x\")]\n    async fn b() {}\n#[test]\n#[ignore = \"slow\"]\nfn c() {}\nfn d() {}\n";
        assert_eq!(tests_in(source), ["a", "b"]);
    }
    #[test]
    fn codes_are_literals_or_variants() {
        let sources = Sources("pub enum E {\n  A,\n  B { x: u8 },\n  C(u8),\n}\nlet code = \"a.b\";".into());
        for (code, there) in
            [("a.b", true), ("a.c", false), ("E::A", true), ("E::B", true), ("E::C", true), ("E::D", false)]
        {
            assert_eq!(sources.have_code(code), there, "{code}");
        }
    }
}
