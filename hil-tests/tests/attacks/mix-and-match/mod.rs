//! Four moments of one repository, and every combination of their documents.

use std::collections::BTreeMap;

use crate::repo::{Client, Repo};

const FILES: [&str; 4] = ["timestamp.json", "snapshot.json", "targets.json", "models%2Fm.json"];
const MANIFEST: &str = "m/1.0.0/manifest.json";

/// What was served at each moment, by role, and what a device trusts after it.
fn moments() -> Vec<(BTreeMap<&'static str, Vec<u8>>, Repo)> {
    let mut repo = Repo::new();
    let mut out = Vec::new();
    for moment in 0..4 {
        if moment > 0 {
            // Every moment approves one bundle more and withdraws nothing.
            repo.roles.get_mut("models/m").unwrap()["targets"][format!("m/1.{moment}.0/manifest.json")] =
                crate::repo::target(format!("bundle {moment}").as_bytes());
            repo.release(&["targets", "models/m"]);
        }
        let version = moment + 1;
        let files = FILES.map(|f| {
            let name = if f == "timestamp.json" { f.to_owned() } else { format!("{version}.{f}") };
            (f, repo.served[&name].clone())
        });
        let served = repo.served.clone();
        let mut still = Repo::new();
        still.served = served;
        out.push((files.into(), still));
    }
    out
}

#[test]
fn no_combination_of_moments_is_believed_but_the_true_ones() {
    let moments = moments();
    let (mut believed, mut refused) = (0, 0);
    for mix in 0..4usize.pow(4) {
        let pick = |n: u32| mix / 4usize.pow(n) % 4;
        // Whatever version is asked for under a role's name, the chosen moment's document is served.
        let mut repo = Repo::new();
        repo.served.retain(|name, _| name.ends_with("root.json"));
        for (n, file) in FILES.iter().enumerate() {
            let bytes = &moments[pick(n as u32)].0[file];
            for version in 1..=4 {
                let name = if n == 0 { (*file).to_owned() } else { format!("{version}.{file}") };
                repo.served.insert(name, bytes.clone());
            }
        }
        let mut client = Client::new(&repo);
        let same = (1..4).all(|n| pick(n) == pick(0));
        match client.refresh(&repo, &[MANIFEST]) {
            Ok(_) => {
                assert!(same, "the mix {:?} was believed", [0, 1, 2, 3].map(pick));
                believed += 1;
            }
            Err(_) => {
                assert!(!same);
                refused += 1;
            }
        }
    }
    assert_eq!((believed, refused), (4, 252));
    println!("{refused} mixes refused, the {believed} true states accepted");
}

#[test]
fn a_device_that_knows_a_moment_takes_no_part_of_an_earlier_one() {
    let moments = moments();
    let mut client = Client::up_to_date(&moments[2].1);
    let before = client.stored.clone();
    for earlier in 0..2 {
        for (n, file) in FILES.into_iter().enumerate().take(4) {
            let mut repo = Repo::new();
            repo.served = moments[2].1.served.clone();
            let name = if n == 0 { file.to_owned() } else { format!("3.{file}") };
            repo.served.insert(name, moments[earlier].0[file].clone());
            // What did not change is not fetched again; an earlier timestamp is refused.
            assert_eq!(client.refresh(&repo, &[MANIFEST]).is_err(), n == 0);
            assert_eq!(client.stored, before);
        }
    }
}
