//! The power is cut at every single step of an update, then at seeded moments of a real one.

use longshore_agent_core::backoff::Jitter;
use longshore_agent_core::update::Input;
use longshore_hil_tests::socket::Answer;
use longshore_trust::ReleaseCounter;
use longshore_wire::v1::Commit;

use crate::site::{Approval, MODEL, Site, bundle as real_bundle, slot};
use crate::twin::{Twin, assigned, assignment, bundle, header};

/// One step of the world: a commit, a wish that is done, or time. `false` when nothing is left to happen.
fn step(device: &mut Twin) -> bool {
    if device.commit() || device.work() {
        return true;
    }
    if device.record().update.is_none() && device.core.offered().is_none() {
        return false;
    }
    device.now = device.now.max(device.wake);
    device.feed(Input::Tick);
    true
}

fn begun(commit: Commit) -> Twin {
    let mut device = Twin::new();
    device.install(1, 1);
    device.install(2, 2);
    let mut order = assignment(3, 3, commit);
    (order.activate_by, order.not_after) = (device.now.plus_ms(600_000), device.now.plus_ms(900_000));
    device.feed(assigned(header(1, 3), order));
    device
}

/// What holds at every moment, also in the instant after a cut.
fn sound(device: &Twin, what: &str) {
    let record = device.record();
    let active = record.active.as_ref().expect("it ran something").bundle;
    assert!([bundle(2), bundle(3)].contains(&active), "{what}");
    assert!(record.floor >= ReleaseCounter(2), "{what}: the floor never falls");
    if let Some(serving) = device.serving {
        assert!([bundle(2), bundle(3)].contains(&serving), "{what}");
        assert!(device.disk.staged.contains(&serving), "{what}: something that is not complete is served");
    }
    for kept in record.kept() {
        assert!(
            device.disk.staged.contains(&kept)
                || Some(kept) == record.update.as_ref().map(|u| u.wanted.bundle.bundle)
        );
    }
}

#[test]
fn cut_at_every_step_of_an_update_once_and_twice_it_comes_to_its_end() {
    let (mut cuts, mut longest) = (0, 0);
    for commit in [Commit::Local, Commit::Lease { lease_ms: 30_000 }] {
        let mut whole = begun(commit);
        let mut steps = 0;
        while step(&mut whole) {
            steps += 1;
            sound(&whole, "uncut");
            assert!(steps < 10_000);
        }
        longest = longest.max(steps);
        // Nobody grants the lease: without a cut it goes back.
        let end = if commit == Commit::Local { bundle(3) } else { bundle(2) };
        assert_eq!(whole.serving, Some(end));
        for first in 0..=steps {
            for second in [None, Some(0), Some(1), Some(2), Some(5)] {
                let what = format!("{commit:?}, cut after {first} and {second:?}");
                let mut device = begun(commit);
                for _ in 0..first {
                    step(&mut device);
                }
                device.crash();
                cuts += 1;
                sound(&device, &what);
                if let Some(more) = second {
                    for _ in 0..more {
                        step(&mut device);
                    }
                    device.crash();
                    cuts += 1;
                    sound(&device, &what);
                }
                // Not persisted is not accepted: the fleet sends it again on every connect.
                if device.record().update.is_none() && device.disk.assigned.0 < 3 {
                    let mut order = assignment(3, 3, commit);
                    (order.activate_by, order.not_after) =
                        (device.now.plus_ms(600_000), device.now.plus_ms(900_000));
                    device.feed(assigned(header(1, 3), order));
                }
                for _ in 0..10_000 {
                    if !step(&mut device) {
                        break;
                    }
                    sound(&device, &what);
                }
                device.pass(20_000);
                assert!(device.record().update.is_none(), "{what}: stuck in {:?}", device.record().update);
                assert_eq!(device.serving, device.record().active.as_ref().map(|i| i.bundle), "{what}");
                assert_eq!(device.serving, Some(end), "{what}");
            }
        }
    }
    println!("{cuts} cuts over updates of up to {longest} steps: all came to their end");
}

#[test]
fn a_bundle_is_there_whole_or_not_at_all_wherever_its_download_is_cut() {
    use crate::field::Mirror;
    use longshore_agent::fetch::{RangeReply, RangeSource, verify_bundle};
    use longshore_trust::tuf::TargetInfo;
    use longshore_trust::tuf::edit;
    /// Serves so many bytes in all, then nothing more: the device is off.
    struct Cut<'a>(&'a Mirror, std::cell::Cell<u64>);
    impl RangeSource for Cut<'_> {
        fn range(
            &self,
            url: &str,
            from: u64,
            to: u64,
            sink: &mut dyn FnMut(&[u8]) -> std::io::Result<()>,
        ) -> RangeReply {
            let left = self.1.get();
            let to_ = to.min(from + left);
            self.1.set(left - (to_ - from));
            if to_ > from
                && let other @ (RangeReply::Sink(_) | RangeReply::Status(_)) =
                    self.0.range(url, from, to_, sink)
            {
                return other;
            }
            if to_ < to { RangeReply::Broken("off".into()) } else { RangeReply::Done }
        }
    }
    let b = real_bundle(MODEL, "1.0.0");
    let (mut mirror, mut targets) = (Mirror::default(), std::collections::BTreeMap::new());
    let far = crate::server::LATER;
    for (path, bytes) in &b.files {
        let path = format!("{MODEL}/1.0.0/{path}");
        let digest = longshore_trust::Digest::of(bytes);
        mirror.put(&path, &digest, bytes);
        let info = TargetInfo { length: bytes.len() as u64, sha256: digest, custom: serde_json::Map::new() };
        targets.insert(path, info);
    }
    // The smallest repository: everything in the top role, one key for all.
    let key = crate::server::key(1);
    let role = crate::server::role(std::slice::from_ref(&key), 1);
    let mut offline = crate::server::Offline::new("demo");
    offline.root = vec![crate::server::key(1)];
    let mut spec = offline.root_spec(1);
    (spec.root, spec.targets, spec.snapshot, spec.timestamp) =
        (role.clone(), role.clone(), role.clone(), role);
    let sign = |d| crate::server::signed(d, std::slice::from_ref(&key));
    let spec_targets = edit::TargetsSpec { version: 1, expires: far, targets, delegations: Vec::new() };
    let snapshot = sign(edit::snapshot(1, far, [("targets.json".to_owned(), 1)].into()));
    let stored = [
        ("root.json", sign(edit::root(&spec))),
        ("timestamp.json", sign(edit::timestamp(1, far, &snapshot, 1))),
        ("snapshot.json", snapshot),
        ("targets.json", sign(edit::targets(&spec_targets))),
    ];
    let stored = stored.into_iter().map(|(n, b)| (n.to_owned(), b)).collect();
    let trusted = longshore_trust::tuf::Trusted::load(&stored, None).unwrap();
    let all: u64 = b.files.iter().map(|(_, bytes)| bytes.len() as u64).sum();
    let mut dice = Jitter::new(3);
    let mut cuts = 0;
    for n in 0..60 {
        let dir = tempfile::tempdir().unwrap();
        let job = crate::field::job(&trusted, dir.path(), MODEL, "1.0.0");
        let target = longshore_agent::fetch::bundle_dir(dir.path(), &b.digest);
        let mut tries = 0;
        loop {
            let room = if n < 10 { n * 150 } else { dice.up_to(all) };
            let done = job.run(&Cut(&mirror, room.into()));
            tries += 1;
            assert_eq!(target.exists(), done.is_ok(), "there whole or not at all");
            if done.is_ok() {
                break;
            }
            cuts += 1;
            if tries > 30 {
                job.run(&mirror).unwrap();
                break;
            }
        }
        verify_bundle(&target, &b.digest).unwrap();
    }
    assert!(cuts > 60);
    println!("{cuts} cuts of downloads");
}

#[test]
fn a_real_agent_whose_power_is_cut_through_updates_ends_with_the_last_one_and_serves() {
    let mut site = Site::with_model();
    let mut dice = Jitter::new(20_261_123);
    for n in 1..=5u64 {
        let version = format!("3.{n}.0");
        let next = real_bundle(MODEL, &version);
        site.approve(MODEL, &version, &next, Approval { counter: 2 + n, ..Approval::default() });
        site.assign(vec![slot(MODEL, &version, &next, 2 + n)], |_, _| {});
        std::thread::sleep(std::time::Duration::from_millis(dice.up_to(700)));
        // SIGKILL, and the engine with it: what was only in memory is gone.
        site.kill_agent();
        site.start_agent();
        site.until(&format!("{version} serves"), |s| {
            s.model(MODEL)["version"] == version && s.model(MODEL)["candidate"].is_null()
        });
        let ready = format!("/v2/models/{MODEL}/ready");
        site.until("ready", |s| matches!(s.socket().get(&ready), Answer::Response(200, _)));
    }
    let staging: Vec<_> = std::fs::read_dir(site.state().join("staging")).unwrap().collect();
    assert!(staging.len() <= 1, "{staging:?}");
}
