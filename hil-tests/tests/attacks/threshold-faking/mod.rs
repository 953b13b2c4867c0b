//! One key of a 2-of-3 role, dressed up as two: for a model's release role, which says what devices may run.

use longshore_trust::tuf::TufError;
use serde_json::{Value, json};

use crate::repo::{Client, DAY_MS, Repo, key_id, key_value, signed, target};

const NEW: &str = "m/6.6.6/manifest.json";
const STOLEN: u8 = 5;

/// A fleet whose releases need two of three keys, and a device that knows it.
fn fleet() -> (Repo, Client) {
    let mut repo = Repo::new();
    let mut client = Client::new(&repo);
    let targets = repo.roles.get_mut("targets").unwrap();
    for k in [STOLEN, 6, 7] {
        targets["delegations"]["keys"][key_id(k)] = key_value(k);
    }
    targets["delegations"]["roles"][0]["keyids"] = json!([key_id(STOLEN), key_id(6), key_id(7)]);
    targets["delegations"]["roles"][0]["threshold"] = 2.into();
    repo.signers.insert("models/m".into(), vec![STOLEN, 6]);
    repo.release(&["targets", "models/m"]);
    client.refresh(&repo, &["m/1.0.0/manifest.json"]).unwrap();
    (repo, client)
}

/// The release that the attacker wants, with the signatures that `dress` makes of one.
fn forge(repo: &mut Repo, dress: impl Fn(&mut Vec<Value>)) {
    repo.roles.get_mut("models/m").unwrap()["targets"][NEW] = target(b"evil");
    repo.signers.insert("models/m".into(), vec![STOLEN]);
    repo.release(&["models/m"]);
    let bytes = repo.served.get_mut("3.models%2Fm.json").unwrap();
    let mut tree: Value = serde_json::from_slice(bytes).unwrap();
    dress(tree["signatures"].as_array_mut().unwrap());
    *bytes = serde_json::to_vec(&tree).unwrap();
}

#[test]
fn one_stolen_key_of_three_never_counts_as_two() {
    let dressed_as = |id: String| {
        move |list: &mut Vec<Value>| {
            let mut copy = list[0].clone();
            copy["keyid"] = id.clone().into();
            list.push(copy);
        }
    };
    let dresses: [(&str, Box<dyn Fn(&mut Vec<Value>)>); 5] = [
        ("alone", Box::new(|_: &mut Vec<Value>| {})),
        ("its signature under a sibling's id", Box::new(dressed_as(key_id(6)))),
        ("its signature under an unknown id", Box::new(dressed_as("0".repeat(64)))),
        ("its id in capitals", Box::new(dressed_as(key_id(STOLEN).to_uppercase()))),
        (
            "garbage under the sibling's id",
            Box::new(|list: &mut Vec<Value>| list.push(json!({"keyid": key_id(6), "sig": "00".repeat(64)}))),
        ),
    ];
    for (how, dress) in dresses {
        let (mut repo, mut client) = fleet();
        forge(&mut repo, dress);
        let refusal = client.refresh(&repo, &[NEW]).unwrap_err();
        assert_eq!(refusal, TufError::Threshold { role: "models/m".into(), have: 1, need: 2 }, "{how}");
        assert_eq!(client.version("models/m"), 2, "{how}: what was trusted stays");
    }
    let (mut repo, mut client) = fleet();
    forge(&mut repo, |list| list.push(list[0].clone()));
    let refusal = client.refresh(&repo, &[NEW]).unwrap_err();
    assert!(matches!(refusal, TufError::DuplicateSignature { .. }), "{refusal}");
}

#[test]
fn two_different_keys_do_count_so_the_refusals_mean_something() {
    let (mut repo, mut client) = fleet();
    repo.roles.get_mut("models/m").unwrap()["targets"][NEW] = target(b"good");
    repo.signers.insert("models/m".into(), vec![STOLEN, 7]);
    repo.release(&["models/m"]);
    assert!(client.refresh(&repo, &[NEW]).unwrap().target(NEW).is_some());
    client.now = client.now.plus_ms(DAY_MS);
    client.refresh(&repo, &[NEW]).unwrap();
}

#[test]
fn a_role_that_lists_one_key_under_several_ids_counts_it_once() {
    let (mut repo, mut client) = fleet();
    let alias = "alias".to_owned();
    let targets = repo.roles.get_mut("targets").unwrap();
    targets["delegations"]["keys"][&alias] = key_value(STOLEN);
    targets["delegations"]["roles"][0]["keyids"] = json!([key_id(STOLEN), alias, key_id(7)]);
    repo.roles.get_mut("models/m").unwrap()["targets"][NEW] = target(b"evil");
    repo.release(&["targets", "models/m"]);
    let mut tree: Value = serde_json::from_slice(&signed(&repo.roles["models/m"], &[STOLEN])).unwrap();
    let mut copy = tree["signatures"][0].clone();
    copy["keyid"] = alias.into();
    tree["signatures"].as_array_mut().unwrap().push(copy);
    repo.served.insert("3.models%2Fm.json".into(), serde_json::to_vec(&tree).unwrap());
    let refusal = client.refresh(&repo, &[NEW]).unwrap_err();
    assert_eq!(refusal, TufError::Threshold { role: "models/m".into(), have: 1, need: 2 });
}
