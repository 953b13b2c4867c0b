use super::*;

fn candidate(n: usize, active: Option<Digest>) -> Candidate {
    Candidate {
        arch: Some("x86_64".into()),
        agent: Some(semver::Version::new(0, 1, 0)),
        memory_mb: Some(512),
        online: true,
        active,
        active_counter: active.map(|_| ReleaseCounter(1)),
        ..Candidate::new(DeviceId::new(format!("dev-{n}")).unwrap())
    }
}

const NEW: Digest = Digest([2; 32]);
const OLD: Digest = Digest([1; 32]);

fn policy(waves: &str, on_fail: &str) -> Policy {
    Policy::parse(&format!("name = \"p\"\n{waves}\n[gate]\ndeadline = \"1h\"\non_fail = \"{on_fail}\"\n"))
        .unwrap()
}
fn three_waves() -> Policy {
    policy(
        "[[wave]]\nselect = { count = 2 }\n[[wave]]\nselect = { percent = 25 }\n[[wave]]\nselect = { rest = true }",
        "pause",
    )
}
fn make(
    policy: Policy,
    ways: &BTreeSet<(Digest, Digest)>,
    inventory: &[Candidate],
) -> Result<Plan, PlanError> {
    make_as("r-1", policy, ways, inventory, &Requires::default())
}
fn make_as(
    id: &str,
    policy: Policy,
    ways: &BTreeSet<(Digest, Digest)>,
    inventory: &[Candidate],
    requires: &Requires,
) -> Result<Plan, PlanError> {
    plan(
        Request {
            id: id.parse().unwrap(),
            parent: None,
            generation: Generation(1),
            model: "m".parse().unwrap(),
            version: "2.0.0".into(),
            bundle: NEW,
            release_counter: ReleaseCounter(2),
            bytes: 10,
            requires,
            ways_back: ways,
            policy,
        },
        inventory,
    )
}
fn back() -> BTreeSet<(Digest, Digest)> {
    [(NEW, OLD)].into()
}
fn sizes(plan: &Plan) -> Vec<usize> {
    plan.waves.iter().map(|w| w.devices.len()).collect()
}

#[test]
fn every_device_is_in_exactly_one_wave_and_the_order_is_stable() {
    let inventory: Vec<_> = (0..20).map(|n| candidate(n, Some(OLD))).collect();
    let a = make(three_waves(), &back(), &inventory).unwrap();
    assert_eq!(sizes(&a), [2, 5, 13]);
    let mut reversed = inventory.clone();
    reversed.reverse();
    assert_eq!(a.waves, make(three_waves(), &back(), &reversed).unwrap().waves);
    let other = make_as("r-2", three_waves(), &back(), &inventory, &Requires::default()).unwrap();
    assert_ne!(a.waves, other.waves, "another rollout takes other canaries");
    let all: BTreeSet<_> = a.waves.iter().flat_map(|w| w.devices.iter().map(|d| &d.device)).collect();
    assert_eq!(all.len(), 20);
    assert!(!a.waves[1].commits_locally && a.waves[2].commits_locally);
}

#[test]
fn a_plan_that_was_changed_is_noticed() {
    let mut p =
        make(three_waves(), &back(), &[candidate(1, Some(OLD)), candidate(2, None), candidate(3, None)])
            .unwrap();
    let text = p.text();
    assert_eq!(Plan::read(&text).unwrap(), p);
    assert_eq!(Digest::of(Plan::hashed_text(&text).unwrap().as_bytes()), p.hash);
    p.waves[0].devices.pop();
    assert!(matches!(Plan::read(&p.text()), Err(PlanTextError::Changed)));
    for broken in ["", "\"}", "{}", &text[..text.len() - 3], &format!("{text} ")] {
        assert!(Plan::read(broken).is_err() && Plan::hashed_text(broken).is_none(), "{broken:?}");
    }
}

/// A field that came later, or one that went since.
#[test]
fn a_plan_of_another_version_of_this_program_is_held_against_the_text_it_was_kept_as() {
    let p = make(three_waves(), &back(), &[candidate(1, Some(OLD)), candidate(2, None), candidate(3, None)])
        .unwrap();
    let unhashed = Plan { hash: Digest::default(), ..p.clone() }.text();
    let unhashed = unhashed.replacen("\"bytes\":", "\"of_another_version\":{\"x\":[1.50]},\"bytes\":", 1);
    let hash = Digest::of(unhashed.as_bytes());
    let kept = unhashed.replace(&Digest::default().to_hex(), &hash.to_hex());
    assert_eq!(Plan::read(&kept).unwrap(), Plan { hash, ..p });
    assert_eq!(Plan::hashed_text(&kept).unwrap(), unhashed);
    assert!(
        Plan::read(&kept.replace("1.50", "1.51")).is_err(),
        "also what is not understood is held to its hash"
    );
}

#[test]
fn devices_that_cannot_run_it_are_left_out_with_a_reason() {
    let requires = Requires { targets: vec!["x86_64".into()], ..Requires::default() };
    let arm = Candidate { arch: Some("arm".into()), ..candidate(1, Some(OLD)) };
    let has = candidate(2, Some(NEW));
    let later = Candidate { active_counter: Some(ReleaseCounter(9)), ..candidate(3, Some(OLD)) };
    let untold = Candidate { arch: None, agent: None, ..candidate(4, Some(OLD)) };
    let p = policy("[[wave]]\nselect = { rest = true }", "pause");
    let plan = make_as("r-1", p, &back(), &[arm, has, later, untold], &requires).unwrap();
    let verdicts: Vec<_> = plan.excluded.iter().map(|e| e.verdict.as_str()).collect();
    assert_eq!(verdicts, ["incompatible", "already", "incompatible"]);
    assert_eq!(sizes(&plan), [1]);
}

#[test]
fn a_policy_that_reverts_needs_a_signed_way_back() {
    let p = || policy("[[wave]]\nselect = { rest = true }", "revert");
    let e = make(p(), &BTreeSet::new(), &[candidate(1, Some(OLD))]).unwrap_err();
    assert!(matches!(e, PlanError::NoWayBack { devices: 1, .. }), "{e}");
    let plan = make(p(), &back(), &[candidate(1, Some(OLD)), candidate(2, None)]).unwrap();
    assert!(plan.waves[0].devices.iter().all(|d| d.previous == Some(OLD)));
    let first = make(p(), &BTreeSet::new(), &[candidate(1, None)]).unwrap();
    assert_eq!(first.previous, None);
    assert!(first.warnings[0].contains("nothing to compare with"));
}

#[test]
fn an_empty_wave_is_refused_unless_it_is_optional() {
    let rigs = |optional: &str| {
        policy(
            &format!(
                "[[wave]]\nselect = {{ ring = \"hil\" }}\n{optional}\n[[wave]]\nselect = {{ rest = true }}"
            ),
            "pause",
        )
    };
    let inventory = [candidate(1, Some(OLD))];
    assert!(matches!(make(rigs(""), &back(), &inventory), Err(PlanError::EmptyWave { wave: 0, .. })));
    assert_eq!(sizes(&make(rigs("optional = true"), &back(), &inventory).unwrap()), [0, 1]);
    let mut rig = candidate(2, Some(OLD));
    rig.labels.insert("ring".into(), "hil".into());
    let plan = make(rigs(""), &back(), &[candidate(1, Some(OLD)), rig]).unwrap();
    assert_eq!(plan.waves[0].devices[0].device.as_str(), "dev-2");
}

#[test]
fn connected_devices_are_the_canaries() {
    let mut inventory: Vec<_> = (0..10).map(|n| candidate(n, Some(OLD))).collect();
    for c in &mut inventory[..8] {
        c.online = false;
    }
    let plan = make(three_waves(), &back(), &inventory).unwrap();
    assert!(plan.waves[0].devices.iter().all(|d| d.online));
    assert!(plan.warnings.iter().any(|w| w.contains("not connected")));
}

#[test]
fn nobody_left_is_an_error_that_says_why() {
    let e = make(three_waves(), &back(), &[]).unwrap_err().to_string();
    assert!(e.contains("enrol one first"), "{e}");
    let e = make(three_waves(), &back(), &[candidate(1, Some(NEW))]).unwrap_err().to_string();
    assert!(e.contains("runs this version already"), "{e}");
}
