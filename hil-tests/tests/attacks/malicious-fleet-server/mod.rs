//! A real device, and everything that the owner of its server can send it. Behind every move an honest assignment is
//! sent: when the device has answered that, it has dealt with the move.

use longshore_fleet::app;
use longshore_trust::tuf::edit;
use longshore_trust::{AssignmentVersion, Digest, ReleaseCounter, UnixMs};
use longshore_wire::v1::{Command, CommandAction, Mode, TargetsVersion};

use crate::server::{self, LATER};
use crate::site::{Approval, Bundle, MODEL, Site, bundle, slot};

/// What is to hear of a move.
#[derive(Clone, Copy)]
enum Told {
    /// An event REFUSED with this code.
    Event(&'static str),
    /// The end of the update: state and code.
    End(&'static str, &'static str),
    /// Nothing: it is as if it had not come (or is told at most once a minute).
    Nothing,
}

/// The bundles of this fleet.
struct Bundles {
    old: Bundle,
    runs: Bundle,
    arm: Bundle,
    next: Bundle,
    door: Bundle,
    never: Bundle,
}

type Act = fn(&mut Site, &Bundles);

const MOVES: &[(&str, Told, Act)] = &[
    ("a bundle nobody approved, uploaded", Told::Event("assignment.not_a_target"), |s, b| {
        s.assign(vec![slot(MODEL, "5.0.0", &b.never, 5)], |_, _| {});
    }),
    ("its digest under an approved path", Told::Event("assignment.disagrees_with_targets"), |s, b| {
        s.assign(vec![slot(MODEL, "4.0.0", &b.never, 4)], |_, _| {});
    }),
    ("an approved bundle of another length", Told::Event("assignment.disagrees_with_targets"), |s, b| {
        s.assign(vec![slot(MODEL, "4.0.0", &b.next, 4)], |_, a| a.slots[0].length += 1);
    }),
    ("the older bundle", Told::End("rejected", "policy.release_counter"), |s, b| {
        s.assign(vec![slot(MODEL, "1.0.0", &b.old, 1)], |_, _| {});
    }),
    ("the older bundle with a raised counter", Told::Event("assignment.disagrees_with_targets"), |s, b| {
        s.assign(vec![slot(MODEL, "1.0.0", &b.old, 99)], |_, _| {});
    }),
    (
        "the older bundle, by the way back of another model",
        Told::End("rejected", "policy.release_counter"),
        |s, b| {
            let mut door = slot("door", "1.0.0", &b.door, 9);
            door.mode = Mode::Shadow;
            s.assign(vec![slot(MODEL, "1.0.0", &b.old, 1), door], |_, _| {});
        },
    ),
    ("another model's bundle in this model's place", Told::Event("assignment.path"), |s, b| {
        s.assign(vec![slot("door", "1.0.0", &b.door, 9)], |_, a| a.slots[0].model = MODEL.parse().unwrap());
    }),
    ("a path that climbs", Told::Event("assignment.path"), |s, b| {
        s.assign(vec![slot(MODEL, "1.0.0/../2.0.0", &b.runs, 2)], |_, _| {});
    }),
    ("one model twice", Told::Event("assignment.duplicate_model"), |s, b| {
        s.assign(vec![slot(MODEL, "2.0.0", &b.runs, 2), slot(MODEL, "1.0.0", &b.old, 1)], |_, _| {});
    }),
    ("a bundle for other boards", Told::End("rejected", "incompatible.hw"), |s, b| {
        s.assign(vec![slot(MODEL, "3.0.0", &b.arm, 3)], |_, _| {});
    }),
    ("another device's assignment", Told::Event("assignment.wrong_device"), |s, b| {
        s.assign(vec![slot(MODEL, "4.0.0", &b.next, 4)], |h, _| h.device = "dev-2".parse().unwrap());
    }),
    ("another fleet's assignment", Told::Event("assignment.wrong_fleet"), |s, b| {
        s.assign(vec![slot(MODEL, "4.0.0", &b.next, 4)], |h, _| h.fleet = "other".parse().unwrap());
    }),
    ("an assignment whose time is over", Told::Event("assignment.expired"), |s, b| {
        s.assign(vec![slot(MODEL, "4.0.0", &b.next, 4)], |_, a| a.not_after = UnixMs(app::now().0 - 1000));
    }),
    ("the number of the first assignment again", Told::Nothing, |s, b| {
        s.assign(vec![slot(MODEL, "4.0.0", &b.next, 4)], |_, a| a.version = AssignmentVersion(1));
    }),
    ("the older bundle, in shadow", Told::End("rejected", "policy.release_counter"), |s, b| {
        s.assign(vec![slot(MODEL, "1.0.0", &b.old, 1)], |_, a| a.slots[0].mode = Mode::Shadow);
    }),
    ("a command in the place of an assignment", Told::Event("message.refused"), |s, _| {
        let bytes = s.seal(command(CommandAction::Flush));
        s.send_assignment(&bytes);
    }),
    ("an assignment signed by the snapshot's key", Told::Nothing, |s, b| {
        let good = s.assign(vec![slot(MODEL, "9.9.9", &b.never, 9)], |_, _| {});
        let body =
            longshore_trust::Envelope::open(&good, longshore_trust::Kind::Assignment, &s.director().public());
        let key = &s.home.offline.online[0];
        let forged = longshore_trust::Envelope::seal(
            longshore_trust::Kind::Assignment,
            body.unwrap().into_inner(),
            key,
        );
        s.send_assignment(&forged.unwrap());
    }),
    ("a commit and a renewal for what was never accepted", Told::Nothing, |s, _| {
        for action in [
            CommandAction::Commit { version: AssignmentVersion(u64::MAX) },
            CommandAction::RenewLease { version: AssignmentVersion(u64::MAX) },
        ] {
            let bytes = s.seal(command(action));
            s.send_command(&bytes);
        }
    }),
    ("a halt of what is committed, to bring the older one back", Told::Nothing, |s, _| {
        for version in 1..=s.version {
            let bytes = s.seal(command(CommandAction::Halt { version: AssignmentVersion(version) }));
            s.send_command(&bytes);
        }
    }),
    ("metadata newer than there is", Told::End("expired", "trust.behind"), |s, b| {
        s.assign(vec![slot(MODEL, "4.0.0", &b.next, 4)], |_, a| {
            a.not_after = app::now().plus_ms(1500);
            a.targets_versions = vec![TargetsVersion { role: format!("models/{MODEL}"), version: 1 << 40 }];
        });
    }),
    ("other bytes in the object store", Told::End("failed", "download.mismatch"), |s, b| {
        let model = Digest::of(&b.next.files[1].1);
        let mut evil = b.next.files[1].1.clone();
        evil[100] ^= 1;
        std::fs::write(s.running.app.objects.path(&model), evil).unwrap();
        s.assign(vec![slot(MODEL, "4.0.0", &b.next, 4)], |_, _| {});
    }),
    ("a model's role signed with all online keys", Told::End("expired", "trust.refused"), |s, b| {
        let role = format!("models/{MODEL}");
        let version = s.published(&role) + 1;
        let mut spec = s.role(MODEL);
        let mut info = spec.targets[&format!("{MODEL}/4.0.0/manifest.json")].clone();
        (info.sha256, info.length) = (b.never.digest, b.never.length);
        spec.version = version;
        spec.targets.insert(format!("{MODEL}/5.0.0/manifest.json"), info);
        s.serve(&role, version, &server::signed(edit::targets(&spec), &s.home.offline.online));
        s.serve_snapshot(s.meta());
        briefly(s, b);
        s.publish(&role);
    }),
    (
        "a snapshot that withdraws a model's role to an earlier version",
        Told::End("expired", "trust.refused"),
        |s, b| {
            let mut meta = s.meta();
            *meta.get_mut(&format!("models/{MODEL}.json")).unwrap() = 1;
            s.serve_snapshot(meta);
            briefly(s, b);
            s.publish(&format!("models/{MODEL}"));
        },
    ),
    ("a root that makes the director everything", Told::End("expired", "trust.refused"), |s, b| {
        let mut spec = s.home.offline.root_spec(2);
        let director = server::role(std::slice::from_ref(s.director()), 1);
        (spec.root, spec.targets) = (director.clone(), director);
        s.serve("root", 2, &server::signed(edit::root(&spec), std::slice::from_ref(s.director())));
        briefly(s, b);
        s.database().execute("DELETE FROM role_metadata WHERE role = 'root' AND version = 2", []).unwrap();
    }),
];

/// Assigns the bundle nobody approved, for a short time, and waits for its end.
fn briefly(s: &mut Site, b: &Bundles) {
    s.assign(vec![slot(MODEL, "5.0.0", &b.never, 4)], |_, a| a.not_after = app::now().plus_ms(1500));
    let version = s.version;
    s.until("the end of an assignment that cannot be", |s| s.reported(version, "expired", "trust.refused"));
}

fn command(action: CommandAction) -> Command {
    Command { not_before: UnixMs(0), not_after: LATER, action }
}

#[test]
fn no_move_with_the_directors_key_runs_an_unapproved_older_or_foreign_bundle() {
    let mut site = Site::with_model();
    let bundles = Bundles {
        old: bundle(MODEL, "1.0.0"),
        runs: bundle(MODEL, "2.0.0"),
        arm: bundle(MODEL, "3.0.0"),
        next: bundle(MODEL, "4.0.0"),
        door: bundle("door", "1.0.0"),
        never: bundle(MODEL, "5.0.0"),
    };
    let b = &bundles;
    site.approve(
        MODEL,
        "3.0.0",
        &b.arm,
        Approval { counter: 3, hw: vec!["riscv64".into()], ..Approval::default() },
    );
    site.approve(MODEL, "4.0.0", &b.next, Approval { counter: 4, ..Approval::default() });
    let back = longshore_trust::tuf::RollbackOk { from: b.runs.digest, to: b.old.digest };
    site.approve("door", "1.0.0", &b.door, Approval { counter: 9, back: vec![back], ..Approval::default() });
    site.upload(&b.never);

    for (n, (what, told, act)) in MOVES.iter().enumerate() {
        let before = match told {
            Told::Event(code) => site.refusals(code),
            _ => 0,
        };
        act(&mut site, b);
        let version = site.version;
        match *told {
            Told::Event(code) => site.until(what, |s| s.refusals(code) > before),
            Told::End(state, code) => site.until(what, |s| s.reported(version, state, code)),
            Told::Nothing => {}
        }
        // An honest assignment of what runs: answered behind the move.
        site.assign(vec![slot(MODEL, "2.0.0", &b.runs, 2)], |_, _| {});
        let version = site.version;
        site.until(&format!("the answer behind: {what}"), |s| s.reported(version, "already", ""));
        site.until(what, |s| s.runs("2.0.0", "already") && s.status()["assignment_version"] == version);
        assert_eq!(site.model("door")["version"], serde_json::Value::Null, "{what}");
        println!("move {:2}: {what}: refused", n + 1);
    }
    assert!(MOVES.len() >= 20);

    // Over a restart, too: nothing of it was only waiting.
    site.kill_agent();
    site.start_agent();
    site.assign(vec![slot(MODEL, "2.0.0", &b.runs, 2)], |_, _| {});
    let version = site.version;
    site.until("the answer after a restart", |s| s.reported(version, "already", ""));
    let ran: Vec<String> = {
        let db = site.database();
        let mut q = db.prepare("SELECT DISTINCT active FROM update_report WHERE active IS NOT NULL").unwrap();
        let rows = q.query_map([], |r| r.get(0)).unwrap();
        rows.map(Result::unwrap).collect()
    };
    let honest = [b.old.digest.to_hex(), b.runs.digest.to_hex()];
    assert!(ran.iter().all(|d| honest.contains(d)), "{ran:?}");
    // And the device is not merely deaf: what is approved and assigned is run.
    std::fs::write(site.running.app.objects.path(&Digest::of(&b.next.files[1].1)), &b.next.files[1].1)
        .unwrap();
    let mut last = slot(MODEL, "4.0.0", &b.next, 4);
    last.release_counter = ReleaseCounter(4);
    site.assign(vec![last], |_, _| {});
    site.until("4.0.0 committed", |s| s.runs("4.0.0", "committed"));
    println!("{} moves, 0 ran what they were to run", MOVES.len());
}
