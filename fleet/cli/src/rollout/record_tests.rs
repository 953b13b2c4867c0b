use longshore_trust::log::{Frontier, LogKey, origin, tree};
use longshore_trust::{SigningKey, UnixMs};

use super::*;

fn key() -> SigningKey {
    SigningKey::from_seed(&[4; 32])
}
fn log_key() -> LogKey {
    LogKey::new(&origin(&"demo".parse().unwrap()), key().public()).unwrap()
}
fn entry(index: u64, action: &str, detail: String) -> Entry {
    Entry {
        action: action.into(),
        actor: "server".into(),
        detail,
        index,
        object: "r-7".into(),
        time: UnixMs(1_800_000_000_000 + index),
        v: 1,
    }
}

/// A log of six entries, the record's among them.
fn proven() -> Proven {
    proven_as(12, "careful")
}

/// The same, of a record that names this generation and policy.
fn proven_as(generation: u64, policy: &str) -> Proven {
    let plan = json!({
        "id": "r-7", "generation": 12, "model": "digits", "version": "2.0.0", "bundle": "ab",
        "policy": { "name": "careful" }, "waves": [],
    })
    .to_string();
    let record = json!({
        "rollout": "r-7", "generation": generation, "model": "digits", "version": "2.0.0", "bundle": "ab", "policy": policy,
        "plan_hash": Digest::of(plan.as_bytes()), "devices": { "committed": 12 },
        "candidate": { "rows": 4012, "errors": 3, "labelled": 801, "correct": 799 },
        "shadow": { "rows": 250, "agreed": 247, "agreement": { "value": 0.988, "lower": 0.965, "upper": 0.996, "n": 250 } },
    })
    .to_string();
    let detail = format!("sha256:{} digits@2.0.0", Digest::of(record.as_bytes()));
    let entries: Vec<Entry> =
        (0..6)
            .map(|i| {
                if i == 3 {
                    entry(i, ACTION, detail.clone())
                } else {
                    entry(i, "rollout.start", String::new())
                }
            })
            .collect();
    let leaves: Vec<Digest> = entries.iter().map(Entry::leaf).collect();
    let root = |range: std::ops::Range<u64>| {
        let mut f = Frontier::default();
        leaves[range.start as usize..range.end as usize].iter().for_each(|l| drop(f.append(*l)));
        f.root()
    };
    let proof = tree::inclusion(3, 6).unwrap().into_iter().map(root).collect();
    let head =
        Checkpoint { origin: log_key().name().to_owned(), size: 6, root: root(0..6), epoch: 1 }.sign(&key());
    Proven {
        format: FORMAT.into(),
        record,
        plan,
        entry: entries[3].clone(),
        proof,
        checkpoint: head.to_note(&log_key()),
        log_key: log_key().to_string(),
    }
}

#[test]
fn a_record_that_was_sealed_holds() {
    let record = proven().verify(&log_key()).unwrap();
    assert_eq!(record["candidate"]["rows"], 4012);
    let said = show(&record, &proven().entry);
    assert!(said.contains("digits@2.0.0") && said.contains("799 of 801 labelled right"), "{said}");
}

#[test]
fn a_record_of_another_generation_or_policy_than_its_plan_does_not_hold_though_it_was_sealed() {
    for (wrong, what) in [(proven_as(13, "careful"), "generation"), (proven_as(12, "fast"), "policy")] {
        let why = wrong.verify(&log_key()).unwrap_err();
        assert_eq!(
            (why.code.as_str(), why.message.contains(what)),
            ("record.tampered", true),
            "{}",
            why.message
        );
    }
}

fn checked(given: &[&str]) -> Result<(), Failure> {
    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        global: crate::context::GlobalArgs,
        #[command(flatten)]
        check: Check,
    }
    let dir = tempfile::tempdir().unwrap();
    let (file, trust) = (dir.path().join("record.json"), dir.path().join("trust"));
    std::fs::write(&file, serde_json::to_vec(&proven()).unwrap()).unwrap();
    let [file, trust] = [file, trust].map(|p| p.display().to_string());
    let line = [&["longshore", "--trust", &trust, &file], given].concat();
    let line = <Line as clap::Parser>::try_parse_from(line).map_err(|e| Failure::usage(e.to_string()))?;
    verify(&Context::new(line.global), &line.check)
}

#[test]
fn a_key_that_nobody_vouches_for_verifies_nothing_unless_a_person_says_so() {
    let key = log_key().to_string();
    checked(&["--log-key", &key]).unwrap();
    checked(&["--without-log-key"]).unwrap();
    let refused = checked(&[]).unwrap_err();
    assert_eq!((refused.exit, refused.code.as_str()), (5, "record.unverified"));
    assert!(refused.message.contains("--log-key"), "{}", refused.message);
    let machine = checked(&["--json"]).unwrap_err();
    assert_eq!((machine.exit, machine.message.as_str()), (5, ""), "its JSON says it");
    assert_eq!(checked(&["--without-log-key", "--log-key", &key]).unwrap_err().exit, 2);
}

/// Every digit of the file, one after the other, is made another one.
#[test]
fn any_number_that_was_changed_is_found() {
    let good = serde_json::to_string(&proven()).unwrap();
    let key_at = good.find("\"log_key\"").unwrap();
    let mut tried = 0;
    for (at, c) in good.char_indices().filter(|(at, c)| c.is_ascii_digit() && *at < key_at) {
        let other = if c == '9' { '8' } else { char::from(c as u8 + 1) };
        let mut text = good.clone();
        text.replace_range(at..=at, &other.to_string());
        // What can no longer be read is no record either.
        let Ok(changed) = serde_json::from_str::<Proven>(&text) else { continue };
        tried += 1;
        assert!(
            changed.verify(&log_key()).is_err(),
            "changed at {at}: ...{}",
            &text[at.saturating_sub(40)..at + 1]
        );
    }
    assert!(tried > 250, "{tried} numbers");
}

#[test]
fn what_does_not_belong_together_is_found() {
    let good = proven();
    let other = LogKey::new(log_key().name(), SigningKey::from_seed(&[5; 32]).public()).unwrap();
    assert!(good.verify(&other).is_err(), "another log's signature");
    let mut another = good.clone();
    another.entry = entry(3, "rollout.start", good.entry.detail.clone());
    assert!(another.verify(&log_key()).is_err(), "an entry that seals nothing");
    let mut plan = good.clone();
    plan.plan = plan.plan.replace("\"waves\":[]", "\"waves\":[1]");
    let why = plan.verify(&log_key()).unwrap_err();
    assert!(why.message.contains("plan has the hash"), "{}", why.message);
}
