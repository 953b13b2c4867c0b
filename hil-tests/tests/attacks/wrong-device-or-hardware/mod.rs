//! Assignments for somebody else, and bundles for something else.

use longshore_agent_core::assignment::Device;
use longshore_agent_core::assignment::{admissible, arrive};
use longshore_agent_core::update::FetchFailure;
use longshore_trust::{AssignmentVersion, Digest, Generation, ReleaseCounter};
use longshore_wire::v1::{Assignment, Commit, Header, Message, UpdateState};
use serde_json::json;

use crate::field::{Field, Mirror, ROLE, job};
use crate::repo::target;
use crate::twin::{T0, assigned, assignment, header, me, path, slot, view};

fn message(change: impl Fn(&mut Header, &mut Assignment)) -> Message<Assignment> {
    let (mut h, mut a) = (header(1, 9), assignment(9, 3, Commit::Local));
    change(&mut h, &mut a);
    Message { header: h, body: a }
}

#[test]
fn what_is_for_somebody_else_is_refused_whoever_signed_it() {
    let cases: [(&str, &str, fn(&mut Header, &mut Assignment)); 6] = [
        ("another device", "assignment.wrong_device", |h, _| h.device = "dev-2".parse().unwrap()),
        ("another fleet", "assignment.wrong_fleet", |h, _| h.fleet = "other".parse().unwrap()),
        ("another model's bundle", "assignment.path", |_, a| a.slots[0].model = "door".parse().unwrap()),
        ("a model with a longer name", "assignment.path", |_, a| {
            a.slots[0].manifest_path = "digits-2/3.0.0/manifest.json".into();
        }),
        ("up and out of the model", "assignment.path", |_, a| {
            a.slots[0].manifest_path = "digits/../door/manifest.json".into();
        }),
        ("one model twice", "assignment.duplicate_model", |_, a| a.slots.push(slot(2))),
    ];
    for (what, code, change) in cases {
        let m = message(change);
        let refusal = arrive(&me(), AssignmentVersion(0), T0, Generation(0), &m).unwrap_err();
        assert_eq!(refusal.code(), code, "{what}");
        // And through the whole machine.
        let mut field = Field::new();
        field.device.feed(assigned(m.header, m.body));
        field.pass(6_000);
        assert_eq!(field.refused(), Some(code), "{what}");
        field.unharmed(what);
    }
    assert!(arrive(&me(), AssignmentVersion(0), T0, Generation(0), &message(|_, _| {})).unwrap().is_some());
}

#[test]
fn a_bundle_approved_for_other_boards_is_rejected_before_it_is_fetched() {
    let mut field = Field::new();
    let entry = &mut field.repo.roles.get_mut(ROLE).unwrap()["targets"][path(3)];
    entry["custom"]["hw"] = json!(["aarch64", "arm"]);
    field.repo.release(&[ROLE]);
    field.tell(3, |_| {});
    assert_eq!(field.last(), (UpdateState::Rejected, Some("incompatible.hw")));
    assert!(!field.device.disk.staged.contains(&crate::twin::bundle(3)));
    field.unharmed("a bundle for other boards");
    let arm = Device { arch: "arm".into(), ..me() };
    let mut approved = view();
    approved.targets.get_mut(&path(3)).unwrap().hw = vec!["arm".into()];
    assert!(admissible(&arm, &slot(3), ReleaseCounter(0), None, &approved).is_ok());
}

#[test]
fn what_the_manifest_requires_is_checked_before_the_model_is_fetched() {
    let manifest = |requires: serde_json::Value| {
        let file = |path: &str, role: &str| json!({ "path": path, "role": role, "sha256": Digest::of(path.as_bytes()), "length": 10 });
        json!({
            "schema": 1, "model": "digits", "version": "4.0.0", "created": "2026-01-31T12:00:00Z",
            "files": [file("model.onnx", "model"), file("golden.safetensors", "golden")],
            "inputs": [{ "name": "x", "dtype": "FP32", "shape": ["N", 4] }],
            "outputs": [{ "name": "y", "dtype": "FP32", "shape": ["N", 3] }],
            "batch": { "axis": 0, "max": 16 }, "requires": requires,
        })
        .to_string()
    };
    let path = "digits/4.0.0/manifest.json";
    for (what, requires, code) in [
        ("another architecture", json!({"targets": ["riscv64"]}), "incompatible"),
        ("a feature this agent has not", json!({"features": ["npu"]}), "incompatible"),
        ("more memory than there is", json!({"max_rss_mb": 1_000_000}), "incompatible"),
        ("a newer agent", json!({"min_agent": "99.0.0"}), "outgrown"),
    ] {
        let text = manifest(requires.clone());
        let parsed = longshore_bundle::Manifest::parse(text.as_bytes());
        assert!(parsed.is_ok(), "{what}: {parsed:?}");
        let mut field = Field::new();
        let mut entry = target(text.as_bytes());
        entry["custom"] = json!({"release_counter": 4});
        field.repo.roles.get_mut(ROLE).unwrap()["targets"][path] = entry;
        field.repo.release(&[ROLE]);
        let trusted = field.client.refresh(&field.repo, &[path]).unwrap();
        let (dir, mut mirror) = (tempfile::tempdir().unwrap(), Mirror::default());
        mirror.put(path, &Digest::of(text.as_bytes()), text.as_bytes());
        let mut job = job(&trusted, dir.path(), "digits", "4.0.0");
        job.memory_mb = Some(512);
        let Err(FetchFailure::Rejected(why)) = job.run(&mirror) else { panic!("{what}: it was taken") };
        assert_eq!(why.code, code, "{what}: {}", why.detail);
        assert_eq!(mirror.asked.borrow().len(), 1, "{what}: the manifest and nothing else was fetched");
    }
}
