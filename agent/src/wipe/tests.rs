use std::cell::RefCell;

use super::*;

/// Remembers what it was told; answers as it is set.
struct Twin {
    reachable: bool,
    told: RefCell<Vec<Wiped>>,
}
impl Fleet for Twin {
    fn tell(&self, receipt: Wiped) -> Told {
        if !self.reachable {
            return Told::NotYet("no network".into());
        }
        self.told.borrow_mut().push(receipt);
        Told::Kept
    }
}

fn device(dir: &Path) -> (PathBuf, PathBuf) {
    let (state, run) = (dir.join("state"), dir.join("run"));
    for (path, text) in [
        ("state/identity/report.key", "07"),
        ("state/identity/cert.pem", "c"),
        ("state/bundles/aa/model.onnx", "model"),
        ("state/bundles/aa/manifest.json", "{}"),
        ("state/bundles/bb/model.onnx", "model"),
        ("state/staging/cc.part", "half"),
        ("state/trust/root.json", "{}"),
        ("state/state.db", "rows"),
        ("state/state.db-wal", "rows"),
        ("state/second.json", "{}"),
        ("state/lock", ""),
        ("run/status.json", "{}"),
        ("run/pages/1.page", "p"),
    ] {
        let path = dir.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    (state, run)
}
fn left(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn wherever_it_is_cut_off_it_ends_the_same() {
    let mut cuts = 0;
    for files_before_the_cut in 0..11 {
        let dir = tempfile::tempdir().unwrap();
        let (state, run) = device(dir.path());
        ask(&state, 1, 9).unwrap();
        let fleet = Twin { reachable: true, told: RefCell::default() };
        assert_eq!(step(&state, &run, Some(&fleet)).unwrap(), Step::Went);
        // The power goes in the middle of the deleting.
        let mut budget = files_before_the_cut;
        let mut counted = Intent { epoch: 1, seq: 9, stage: Stage::Begun, bundles: 2, files: 0, bytes: 0 };
        let cut = [&run, &state].into_iter().try_for_each(|d| {
            erase(d, &mut counted, &mut |path| {
                if budget == 0 {
                    return Err(io::Error::other("power cut"));
                }
                budget -= 1;
                fs::remove_file(path)
            })
        });
        cuts += usize::from(cut.is_err());
        assert!(is_pending(&state) && state.join("identity/report.key").exists());
        while step(&state, &run, Some(&fleet)).unwrap() != Step::Over {}
        assert_eq!(left(&state), ["decommissioned.json", "lock"], "cut after {files_before_the_cut}");
        assert!(left(&run).is_empty());
        let told = fleet.told.borrow();
        let stages: Vec<WipeStage> = told.iter().map(|w| w.stage).collect();
        assert_eq!(stages, [WipeStage::Begun, WipeStage::Done]);
        assert!(told.iter().all(|w| (w.seq, w.bundles) == (Seq(9), 2)));
        assert_eq!(step(&state, &run, Some(&fleet)).unwrap(), Step::Over, "and stays so");
    }
    println!("wipe: {cuts} power cuts, 11 complete");
    assert_eq!(cuts, 10);
}
#[test]
fn the_keys_stay_until_the_fleet_has_the_receipt() {
    let dir = tempfile::tempdir().unwrap();
    let (state, run) = device(dir.path());
    ask(&state, 1, 9).unwrap();
    let mut fleet = Twin { reachable: false, told: RefCell::default() };
    for _ in 0..10 {
        step(&state, &run, Some(&fleet)).unwrap();
    }
    assert_eq!(left(&state), ["identity", "lock", "wipe.json"], "data goes at once, also without the fleet");
    fleet.reachable = true;
    assert_eq!(step(&state, &run, Some(&fleet)).unwrap(), Step::Went);
    // Cut off between the receipt and the keys.
    fs::remove_file(state.join("identity/cert.pem")).unwrap();
    assert_eq!(step(&state, &run, None).unwrap(), Step::Over);
    assert_eq!(left(&state), ["decommissioned.json", "lock"]);
    assert!(decommissioned(&state).is_some() && !is_pending(&state));
    forget(&state).unwrap();
    assert!(decommissioned(&state).is_none());
}
