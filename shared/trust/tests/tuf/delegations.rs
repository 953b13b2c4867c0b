//! Which role speaks for which target.

use longshore_trust::tuf::{MAX_ROLES_VISITED, Trusted, TufError};
use serde_json::{Value, json};

use crate::repo::*;

/// `(delegator, role, paths, terminating)`
type Edge<'a> = (&'a str, &'a str, &'a [&'a str], bool);

/// A repository with these delegations, each role with its own key from 50 up.
fn graph(edges: &[Edge<'_>]) -> Repo {
    let mut repo = Repo::new();
    let mut names: Vec<&str> = edges.iter().map(|e| e.1).collect();
    names.sort_unstable();
    names.dedup();
    let key_of = |role: &str| 50 + u8::try_from(names.iter().position(|n| *n == role).unwrap()).unwrap();
    for name in &names {
        let mut document = head("targets");
        document["targets"] = json!({});
        repo.roles.insert((*name).to_owned(), document);
        repo.signers.insert((*name).to_owned(), vec![key_of(name)]);
    }
    repo.document("targets")["delegations"] = json!({"keys": {}, "roles": []});
    for (delegator, role, paths, terminating) in edges {
        let k = key_of(role);
        let document = repo.document(delegator);
        if document.get("delegations").is_none() {
            document["delegations"] = json!({"keys": {}, "roles": []});
        }
        document["delegations"]["keys"][key_id(k)] = key_value(k);
        let entry = delegation(role, &[k], paths, *terminating);
        document["delegations"]["roles"].as_array_mut().unwrap().push(entry);
    }
    repo.snapshot["meta"] = json!({});
    repo.publish_role("targets");
    for name in names {
        repo.publish_role(name);
    }
    repo.publish_snapshot();
    repo.publish_timestamp();
    repo
}
fn add(repo: &mut Repo, role: &str, path: &str) {
    repo.document(role)["targets"][path] = target(role.as_bytes());
    repo.publish_role(role);
    repo.publish_snapshot();
    repo.publish_timestamp();
}
/// Delegated roles fetched in the search for `path`.
fn visited(repo: &Repo, path: &str) -> (Vec<String>, Trusted) {
    let mut client = Client::new(repo);
    let trusted = client.refresh(repo, &[path]).unwrap();
    let names = client.requests[4..].iter().map(|n| n[2..n.len() - 5].to_owned()).collect();
    (names, trusted)
}
const ALL: &[&str] = &["*"];

#[test]
fn roles_are_searched_depth_first_in_the_order_written() {
    let cases: [(&[Edge<'_>], &[&str]); 8] = [
        (
            &[("targets", "A", ALL, false), ("targets", "B", ALL, false), ("B", "C", ALL, false)],
            &["A", "B", "C"],
        ),
        (
            &[
                ("targets", "A", ALL, false),
                ("targets", "B", ALL, false),
                ("A", "C", ALL, false),
                ("A", "D", ALL, false),
            ],
            &["A", "C", "D", "B"],
        ),
        (
            &[
                ("targets", "A", ALL, false),
                ("targets", "B", ALL, false),
                ("A", "C", ALL, true),
                ("A", "D", ALL, false),
            ],
            &["A", "C"],
        ),
        (
            &[
                ("targets", "A", ALL, false),
                ("targets", "B", ALL, false),
                ("A", "C", ALL, true),
                ("C", "D", ALL, false),
            ],
            &["A", "C", "D"],
        ),
        (&[("targets", "A", &["*.py"], false), ("targets", "B", ALL, false), ("A", "C", ALL, false)], &["B"]),
        (
            &[
                ("targets", "A", ALL, false),
                ("targets", "B", ALL, false),
                ("B", "C", ALL, false),
                ("C", "D", ALL, false),
                ("D", "B", ALL, false),
            ],
            &["A", "B", "C", "D"],
        ),
        (
            &[
                ("targets", "A", ALL, false),
                ("targets", "B", ALL, false),
                ("B", "C", ALL, false),
                ("A", "C", ALL, false),
            ],
            &["A", "C", "B"],
        ),
        (
            &[
                ("targets", "A", ALL, false),
                ("targets", "B", ALL, false),
                ("B", "C", ALL, false),
                ("A", "C", &["*.py"], false),
            ],
            &["A", "B", "C"],
        ),
    ];
    for (edges, order) in cases {
        assert_eq!(visited(&graph(edges), "missing").0, order, "{edges:?}");
    }
}
#[test]
fn the_first_role_that_names_a_target_speaks_for_it() {
    let mut repo = graph(&[("targets", "A", ALL, false), ("targets", "B", ALL, false)]);
    add(&mut repo, "A", "x");
    add(&mut repo, "B", "x");
    add(&mut repo, "B", "y");
    let (_, trusted) = visited(&repo, "x");
    assert_eq!(trusted.target("x").unwrap().0, "A");
    let (_, trusted) = visited(&repo, "y");
    assert_eq!(trusted.target("y").unwrap().0, "B");
    let of_b: Vec<&str> = trusted.targets_of("B").map(|(path, _)| path).collect();
    assert_eq!(of_b, ["y"], "B names x too, but is not the one to speak for it");
}
#[test]
fn a_role_cannot_name_targets_outside_its_paths() {
    let mut repo =
        graph(&[("targets", "models/a", &["a/*/*"], true), ("targets", "models/b", &["b/*/*"], true)]);
    add(&mut repo, "models/a", "b/1.0.0/manifest.json");
    add(&mut repo, "models/a", "a/1.0.0/manifest.json");
    let trusted =
        Client::new(&repo).refresh(&repo, &["a/1.0.0/manifest.json", "b/1.0.0/manifest.json"]).unwrap();
    assert!(trusted.target("b/1.0.0/manifest.json").is_none());
    assert_eq!(trusted.targets_of("models/a").count(), 1);
}
#[test]
fn at_most_32_roles_are_visited() {
    let names: Vec<String> = (0..40).map(|n| format!("r{n:02}")).collect();
    let mut edges = vec![("targets", names[0].as_str(), ALL, false)];
    edges.extend(names.windows(2).map(|w| (w[0].as_str(), w[1].as_str(), ALL, false)));
    let mut repo = graph(&edges);
    add(&mut repo, "r31", "reached");
    add(&mut repo, "r32", "beyond");
    let (roles, trusted) = visited(&repo, "reached");
    assert_eq!(roles.len(), MAX_ROLES_VISITED);
    assert_eq!(trusted.target("reached").unwrap().0, "r31");
    let (roles, trusted) = visited(&repo, "beyond");
    assert_eq!(roles.len(), MAX_ROLES_VISITED);
    assert!(trusted.target("beyond").is_none());
}
#[test]
fn a_loaded_role_is_verified_again_for_each_delegator() {
    let mut repo = graph(&[
        ("targets", "A", &["a/*"], false),
        ("targets", "B", &["b/*"], false),
        ("A", "release", &["a/*"], false),
        ("B", "release", &["b/*"], false),
    ]);
    // B delegates to the same name, but to another key.
    let document = repo.document("B");
    document["delegations"]["keys"] = json!({key_id(99): key_value(99)});
    document["delegations"]["roles"] = json!([delegation("release", &[99], &["b/*"], false)]);
    repo.publish_role("B");
    add(&mut repo, "release", "a/x");
    add(&mut repo, "release", "b/x");
    assert!(Client::new(&repo).refresh(&repo, &["a/x"]).unwrap().target("a/x").is_some());
    let mut client = Client::new(&repo);
    let refusal = client.refresh(&repo, &["a/x", "b/x"]).unwrap_err();
    assert!(matches!(refusal, TufError::Threshold { .. }), "{refusal}");
    // Neither does the offline view of what was kept let B speak through A's verification.
    let trusted = Trusted::load(&client.stored, None).unwrap();
    assert!(trusted.target("a/x").is_some());
    assert!(trusted.target("b/x").is_none());
}
#[test]
fn a_role_served_differently_to_two_delegators_ends_the_search() {
    let mut repo = graph(&[
        ("targets", "A", &["a/*"], false),
        ("targets", "B", &["b/*"], false),
        ("A", "release", &["a/*"], false),
        ("B", "release", &["b/*"], false),
    ]);
    let document = repo.document("B");
    document["delegations"]["keys"] = json!({key_id(99): key_value(99)});
    document["delegations"]["roles"] = json!([delegation("release", &[99], &["b/*"], false)]);
    repo.publish_role("B");
    repo.publish_snapshot();
    repo.publish_timestamp();
    let for_b = signed(&repo.roles["release"], &[99]);
    let mut asked = 0;
    let mut updater = longshore_trust::tuf::Updater::new(Client::new(&repo).stored, NOW).unwrap();
    updater.refresh(&["a/x".to_owned(), "b/x".to_owned()]);
    let refusal = longshore_trust::tuf::drive(
        &mut updater,
        &mut |name, _| {
            asked += usize::from(name == "1.release.json");
            let first = asked < 2 || name != "1.release.json";
            Ok(if first { repo.served.get(name).cloned() } else { Some(for_b.clone()) })
        },
        &mut |_| Ok(()),
    );
    assert_eq!(refusal, Err(TufError::Inconsistent { role: "release".into() }));
    assert_eq!(asked, 2);
}
#[test]
fn a_delegated_role_that_the_snapshot_does_not_list_is_not_fetched() {
    let mut repo = Repo::new();
    repo.snapshot["meta"].as_object_mut().unwrap().remove("models/m.json");
    repo.publish_snapshot();
    repo.publish_timestamp();
    let mut client = Client::new(&repo);
    client.refresh(&repo, &[]).unwrap();
    let refusal = client.refresh(&repo, &["m/1.0.0/manifest.json"]).unwrap_err();
    assert_eq!(refusal, TufError::NotInSnapshot { role: "models/m".into() });
    assert_eq!(client.requests, ["2.root.json", "timestamp.json"]);
}
#[test]
fn odd_role_names_are_encoded_in_requests_and_files() {
    for (name, encoded) in
        [("?", "%3F"), ("#", "%23"), ("/x", "%2Fx"), ("../x", "..%2Fx"), ("a b%", "a%20b%25")]
    {
        let repo = graph(&[("targets", name, ALL, false)]);
        let mut client = Client::new(&repo);
        client.refresh(&repo, &["missing"]).unwrap();
        assert_eq!(*client.requests.last().unwrap(), format!("1.{encoded}.json"));
        assert!(client.stored.contains_key(&format!("{encoded}.json")));
    }
}
#[test]
fn a_delegated_role_cannot_take_the_name_of_a_top_level_role() {
    for name in ["root", "timestamp", "snapshot", "targets", ""] {
        let mut repo = Repo::new();
        repo.document("targets")["delegations"]["roles"][0]["name"] = name.into();
        repo.publish_role("targets");
        repo.publish_snapshot();
        repo.publish_timestamp();
        let refusal = Client::new(&repo).refresh(&repo, &[]).unwrap_err();
        assert!(matches!(refusal, TufError::Malformed { .. }), "{name:?}: {refusal}");
    }
}
#[test]
fn delegation_by_hash_prefix() {
    // SHA-256("x/y") begins with some digit; the role is asked for exactly the paths under its prefixes.
    let digest = longshore_trust::Digest::of(b"x/y").to_hex();
    for (prefix, found) in [(&digest[..1], true), (&digest[..64], true), ("", true), ("no", false)] {
        let mut repo = graph(&[("targets", "A", ALL, false)]);
        let entry = &mut repo.document("targets")["delegations"]["roles"][0];
        entry.as_object_mut().unwrap().remove("paths");
        entry["path_hash_prefixes"] = json!([prefix]);
        repo.publish_role("targets");
        add(&mut repo, "A", "x/y");
        let (_, trusted) = visited(&repo, "x/y");
        assert_eq!(trusted.target("x/y").is_some(), found, "{prefix}");
    }
}
#[test]
fn a_delegation_needs_exactly_one_kind_of_scope() {
    let break_it: [fn(&mut Value); 4] = [
        |e| drop(e.as_object_mut().unwrap().remove("paths")),
        |e| e["path_hash_prefixes"] = json!(["00"]),
        |e| e["paths"] = json!([1]),
        |e| drop(e.as_object_mut().unwrap().remove("terminating")),
    ];
    for change in break_it {
        let mut repo = Repo::new();
        change(&mut repo.document("targets")["delegations"]["roles"][0]);
        repo.publish_role("targets");
        repo.publish_snapshot();
        repo.publish_timestamp();
        let refusal = Client::new(&repo).refresh(&repo, &[]).unwrap_err();
        assert!(matches!(refusal, TufError::Malformed { .. }), "{refusal}");
    }
}
#[test]
fn targets_of_any_known_hash_can_be_checked() {
    use sha2::Digest as _;
    let contents = b"contents";
    let sha256 = hex::encode(sha2::Sha256::digest(contents));
    let sha512 = hex::encode(sha2::Sha512::digest(contents));
    for (hashes, prefix, good) in [
        (json!({"sha256": sha256}), &sha256, true),
        (json!({"sha512": sha512}), &sha512, true),
        (json!({"sha256": sha256, "sha512": sha512}), &sha256, true),
        (json!({"sha256": sha256, "sha512": "00"}), &sha256, false),
        (json!({"unknown": sha512}), &sha512, false),
        (json!({"unknown": "x", "sha256": sha256}), &sha256, true),
    ] {
        let mut repo = Repo::new();
        repo.document("models/m")["targets"]["m/1/x"] = json!({"length": 8, "hashes": hashes});
        repo.publish_role("models/m");
        let trusted = Client::new(&repo).refresh(&repo, &["m/1/x"]).unwrap();
        let found = trusted.find("m/1/x").unwrap();
        assert_eq!(found.url(), format!("m/1/{prefix}.x"));
        assert_eq!(found.check(contents).is_ok(), good, "{hashes}");
        assert!(found.check(b"contentz").is_err());
        assert!(found.check(b"content").is_err());
    }
}
