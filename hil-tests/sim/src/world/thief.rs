//! Somebody holds the director's key: may choose among what is approved and must not get further than that.

use std::sync::Arc;

use longshore_trust::{AssignmentVersion, Generation, Seq, StreamId, TimeQuality, UnixMs};
use longshore_wire::v1::{
    Assignment, Commit, Guard, Header, Message, Mode, Probation, SCHEMA, Slot, TargetsVersion,
};

use super::World;
use crate::fleet::sign;
use crate::message::Down;
use crate::queue::{Event, Ix};

/// Wait between two attempts, ms.
const EVERY_MS: u64 = 300_000;

impl World {
    /// One attempt at every device.
    pub(super) fn steal(&mut self) {
        let Some((key, attempt)) = self.thief else { return };
        self.thief = Some((key, attempt + 1));
        for ix in 0..self.devices.len() as Ix {
            let message = Arc::new(self.forged(ix, attempt));
            let signed = sign(&self.env, ix, key, message);
            let session = self.devices[ix as usize].sessions;
            self.env.send_down(ix, session, Down::Assign(signed));
        }
        self.env.after(EVERY_MS, Event::Thief);
    }
    fn forged(&self, ix: Ix, attempt: u64) -> Message<Assignment> {
        let repo = &self.env.repo;
        let version = AssignmentVersion(1_000 + attempt);
        let (bundle, version) = match attempt % 3 {
            // What nobody approved.
            0 => (repo.unapproved(), version),
            // An old version, approved once, to which nobody signed a way back.
            1 => (repo.bundle(0), version),
            // What runs: it changes nothing, and uses up all numbers there are.
            _ => (repo.bundle(1), AssignmentVersion(u64::MAX - 1)),
        };
        let until = UnixMs(u64::MAX);
        let body = Assignment {
            version,
            generation: Generation(0),
            rollout: None,
            issued: self.env.now,
            activate_by: until,
            not_after: until,
            probation: Probation { min_ms: 0, commit: Commit::Local },
            guard: Guard::default(),
            targets_versions: vec![TargetsVersion { role: "targets".to_owned(), version: 1 }],
            slots: vec![Slot {
                model: repo.model.clone(),
                manifest_path: bundle.path.clone(),
                sha256: bundle.digest,
                length: bundle.length,
                release_counter: bundle.counter,
                mode: Mode::Active,
            }],
        };
        let header = Header {
            schema: SCHEMA,
            fleet: repo.fleet.clone(),
            device: self.devices[ix as usize].id.clone(),
            stream: StreamId(1),
            seq: Seq(attempt + 1),
            time: self.env.now,
            time_quality: TimeQuality::Ntp,
        };
        Message { header, body }
    }
}
