//! What checking costs: a bundle of 50 MB, hashed while it is copied into sealed memory as before every start, beside
//! `sha256sum` of the same file in the same run; and a full refresh of trust metadata. Prints one line of JSON.
//!
//! The two are taken in turns and compared by their medians, so that what else the machine does meets both.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use longshore_agent::fetch::verify_bundle;
use longshore_agent::supervisor::sealed;
use longshore_trust::tuf::edit::{self, DelegationSpec, RoleKeys, RootSpec, Signed, TargetsSpec};
use longshore_trust::tuf::{self, Change, TargetInfo, Updater};
use longshore_trust::{Digest, SigningKey, UnixMs};
use serde_json::{Map, Value, json};

const BYTES: usize = 50 * 1024 * 1024;
const ROUNDS: usize = 15;
const NOW: UnixMs = UnixMs(1_767_225_600_000);
const FAR: UnixMs = UnixMs(4_000_000_000_000);
/// A fleet of some size: models, and files that each names.
const MODELS: usize = 10;
const FILES: usize = 60;

fn main() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let bundle = bundle(dir.path());
    let verification = verification(dir.path(), &bundle);
    let refresh = refresh(dir.path());
    println!("{}", json!({ "verification": verification, "refresh": refresh }));
}

/// Writes a bundle with a model of [`BYTES`] that does not repeat itself; its digest.
fn bundle(dir: &Path) -> Digest {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut model = Vec::with_capacity(BYTES);
    while model.len() < BYTES {
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        model.extend_from_slice(&state.to_be_bytes());
    }
    let golden = b"golden".to_vec();
    let file = |path: &str, role: &str, bytes: &[u8]| json!({"path": path, "sha256": Digest::of(bytes), "length": bytes.len(), "role": role});
    let manifest = json!({
        "schema": 1, "model": "digits", "version": "1.0.0", "created": "2026-01-01T00:00:00Z",
        "files": [file("model.onnx", "model", &model), file("golden.safetensors", "golden", &golden)],
        "inputs": [{"name": "pixels", "dtype": "FP32", "shape": ["N", 64]}],
        "outputs": [{"name": "scores", "dtype": "FP32", "shape": ["N", 10]}],
        "batch": {"axis": 0, "max": 64},
    });
    let manifest = serde_json::to_vec(&manifest).expect("a manifest encodes");
    for (name, bytes) in
        [("model.onnx", &model), ("golden.safetensors", &golden), ("manifest.json", &manifest)]
    {
        std::fs::write(dir.join(name), bytes).expect("the bundle is written");
    }
    Digest::of(&manifest)
}

fn verification(dir: &Path, bundle: &Digest) -> Value {
    let (mut copied, mut hashed, mut theirs) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        copied.push(ms(|| drop(sealed::bundle(dir, bundle).expect("the bundle is good"))));
        hashed.push(ms(|| drop(verify_bundle(dir, bundle).expect("the bundle is good"))));
        theirs.push(ms(|| {
            let mut sha256sum = Command::new("sha256sum");
            let status = sha256sum.arg(dir.join("model.onnx")).stdout(Stdio::null()).status();
            assert!(status.expect("sha256sum runs").success(), "sha256sum failed");
        }));
    }
    let (copied, hashed, theirs) = (median(copied), median(hashed), median(theirs));
    json!({
        "bytes": BYTES, "rounds": ROUNDS,
        "hash_while_copying_ms": rounded(copied), "hash_ms": rounded(hashed), "sha256sum_ms": rounded(theirs),
        "ratio_hash_while_copying": rounded(copied / theirs), "ratio_hash": rounded(hashed / theirs),
    })
}

fn sign(mut document: Signed) -> Vec<u8> {
    document.sign(&SigningKey::from_seed(&[1; 32]));
    document.sign(&SigningKey::from_seed(&[2; 32]));
    document.to_bytes()
}

/// A repository with 2-of-3 roles, as it is served.
fn repository() -> BTreeMap<String, Vec<u8>> {
    let keys = |n: u8, threshold| RoleKeys {
        keys: (1..=n).map(|n| SigningKey::from_seed(&[n; 32]).public()).collect(),
        threshold,
    };
    let root = RootSpec {
        version: 1,
        expires: FAR,
        fleet: "harbour".parse().expect("a fleet id"),
        solo: false,
        root: keys(3, 2),
        targets: keys(3, 2),
        snapshot: keys(1, 1),
        timestamp: keys(1, 1),
        director: keys(1, 1),
        time: None,
    };
    let name = |n: usize| format!("models/m{n}");
    let delegations = (0..MODELS).map(|n| DelegationSpec {
        role: name(n),
        keys: keys(3, 2),
        paths: vec![format!("m{n}/*/*")],
        terminating: true,
    });
    let delegations = delegations.collect();
    let top = TargetsSpec { version: 1, expires: FAR, targets: BTreeMap::new(), delegations };
    let mut served = BTreeMap::from([
        ("1.root.json".to_owned(), sign(edit::root(&root))),
        ("1.targets.json".to_owned(), sign(edit::targets(&top))),
    ]);
    let mut meta = BTreeMap::from([("targets.json".to_owned(), 1)]);
    for n in 0..MODELS {
        let info = |f: usize| TargetInfo {
            length: 1000,
            sha256: Digest::of(format!("{n} {f}").as_bytes()),
            custom: Map::new(),
        };
        let targets = (0..FILES).map(|f| (format!("m{n}/1.0.{f}/manifest.json"), info(f))).collect();
        let model = TargetsSpec { version: 1, expires: FAR, targets, delegations: vec![] };
        served.insert(format!("1.{}", tuf::file_of(&name(n))), sign(edit::targets(&model)));
        meta.insert(format!("{}.json", name(n)), 1);
    }
    let snapshot = sign(edit::snapshot(1, FAR, meta));
    served.insert("timestamp.json".into(), sign(edit::timestamp(1, FAR, &snapshot, 1)));
    served.insert("1.snapshot.json".into(), snapshot);
    served
}

/// One refresh from `stored`, which is written durably to `dir` if there is one; how many requests it made.
fn run(
    served: &BTreeMap<String, Vec<u8>>,
    stored: &mut BTreeMap<String, Vec<u8>>,
    wanted: &[String],
    dir: Option<&Path>,
) -> usize {
    let mut updater = Updater::new(stored.clone(), NOW).expect("the root is good");
    updater.refresh(wanted);
    let mut requests = 0;
    let mut fetch = |name: &str, _: u64| {
        requests += 1;
        Ok(served.get(name).cloned())
    };
    let mut persist = |change: Change| {
        if let Change::Write { file, bytes } = change {
            if let Some(dir) = dir {
                let mut out = std::fs::File::create(dir.join(&file))?;
                out.write_all(&bytes)?;
                out.sync_all()?;
            }
            stored.insert(file, bytes);
        }
        Ok(())
    };
    tuf::drive(&mut updater, &mut fetch, &mut persist).expect("the repository is good");
    requests
}

fn refresh(dir: &Path) -> Value {
    let served = repository();
    let one = vec!["m3/1.0.7/manifest.json".to_owned()];
    let all: Vec<String> = (0..MODELS).map(|n| format!("m{n}/1.0.0/manifest.json")).collect();
    let figures = |wanted: &[String], warm: bool, dir: Option<&Path>| {
        let (mut times, mut requests) = (Vec::new(), 0);
        for _ in 0..ROUNDS {
            let mut stored = BTreeMap::from([("root.json".to_owned(), served["1.root.json"].clone())]);
            if warm {
                run(&served, &mut stored, wanted, None);
            }
            times.push(ms(|| requests = run(&served, &mut stored, wanted, dir)));
        }
        json!({"ms": rounded(median(times)), "requests": requests})
    };
    let bytes: usize = served.values().map(Vec::len).sum();
    json!({
        "models": MODELS, "metadata_bytes": bytes,
        "first_one_model": figures(&one, false, None),
        "first_one_model_durable": figures(&one, false, Some(dir)),
        "first_all_models": figures(&all, false, None),
        "nothing_new": figures(&all, true, None),
    })
}

fn ms(work: impl FnOnce()) -> f64 {
    let begun = Instant::now();
    work();
    begun.elapsed().as_secs_f64() * 1000.0
}
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
fn rounded(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}
