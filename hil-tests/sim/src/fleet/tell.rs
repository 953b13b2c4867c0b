//! What the director signs, and what goes down to devices. Everything was committed before; losing any of it is made good
//! by the device's next hello, or by the sweep.

use std::sync::Arc;

use longshore_trust::{AssignmentVersion, Generation, RolloutId, Seq, StreamId, TimeQuality};
use longshore_wire::v1::{
    Assignment, Body, Command, CommandAction, Guard, Header, Message, SCHEMA, Slot, TargetsVersion, seal,
};

use super::execute::Terms;
use super::{Assigned, Fleet, execute};
use crate::env::Env;
use crate::message::{BundleNo, Down, Signed};
use crate::queue::Ix;

/// An online device has so long to answer an assignment before it is sent again, ms.
const ANSWER_MS: u64 = 30_000;

/// What a device should run, before it has a version and a signature.
pub(super) struct Draft {
    pub(super) rollout: Option<RolloutId>,
    pub(super) generation: Generation,
    pub(super) bundle: BundleNo,
    pub(super) guard: Guard,
    pub(super) terms: Terms,
}

impl Fleet {
    /// Number of the key that the director signs with.
    pub(super) fn key(&self, env: &Env) -> usize {
        self.key.unwrap_or_else(|| env.repo.director())
    }
    fn header(&mut self, env: &Env, ix: Ix) -> Header {
        let known = &mut self.devices[ix as usize];
        known.down_seq = known.down_seq.max(execute::floor(self.epoch)) + 1;
        Header {
            schema: SCHEMA,
            fleet: env.repo.fleet.clone(),
            device: known.id.clone(),
            stream: StreamId(self.epoch),
            seq: Seq(known.down_seq),
            time: env.now,
            time_quality: TimeQuality::Ntp,
        }
    }
    /// Signs an assignment and keeps it as the newest of its device.
    pub(super) fn assign(&mut self, env: &mut Env, ix: Ix, draft: Draft) -> AssignmentVersion {
        let Draft { rollout, generation, bundle, guard, terms } = draft;
        let version = self.top(ix);
        let signed = self.devices[ix as usize].generation.0.max(execute::first_generation(self.epoch));
        let generation = Generation(generation.0.max(signed));
        let until = env.now.plus_ms(execute::GOOD_FOR_MS);
        let b = env.repo.bundle(bundle);
        let slot = Slot {
            model: env.repo.model.clone(),
            manifest_path: b.path.clone(),
            sha256: b.digest,
            length: b.length,
            release_counter: b.counter,
            mode: terms.mode,
        };
        let body = Assignment {
            version,
            generation,
            rollout,
            issued: env.now,
            activate_by: terms.until.unwrap_or(until),
            not_after: until,
            probation: terms.probation,
            guard,
            targets_versions: vec![TargetsVersion { role: "targets".to_owned(), version: 1 }],
            slots: vec![slot],
        };
        let message = Arc::new(Message { header: self.header(env, ix), body });
        let known = &mut self.devices[ix as usize];
        (known.top, known.generation) = (version.0, generation);
        known.newest = Some(Assigned { version, not_after: until, created: env.now, message });
        self.unanswered.insert(ix);
        version
    }
    /// Signs a command and keeps it until it was obeyed.
    pub(super) fn command(&mut self, env: &mut Env, ix: Ix, action: CommandAction, good_for_ms: u64) {
        let not_after = env.now.plus_ms(good_for_ms);
        let header = self.header(env, ix);
        let seq = header.seq.0;
        let message = Arc::new(Message { header, body: Command { not_before: env.now, not_after, action } });
        self.devices[ix as usize].commands.insert(seq, (not_after, message));
    }
    /// Sends what a device is to be sent: its newest assignment and its commands.
    pub fn push(&mut self, env: &mut Env, ix: Ix) {
        let now = env.now;
        self.devices[ix as usize].commands.retain(|_, (not_after, _)| *not_after >= now);
        let known = &self.devices[ix as usize];
        if known.session.is_none() && !self.stale {
            return;
        }
        let assignment = known.newest.as_ref().filter(|a| a.not_after >= now).map(|a| Arc::clone(&a.message));
        let commands: Vec<_> = known.commands.values().map(|(_, m)| Arc::clone(m)).collect();
        if let Some(message) = assignment {
            let signed = self.signed(env, ix, message);
            self.send(env, ix, Down::Assign(signed));
        }
        for message in commands {
            let signed = self.signed(env, ix, message);
            self.send(env, ix, Down::Command(signed));
        }
    }
    /// What was signed before the key was rotated is signed again with the same contents.
    fn signed<B: Body + Clone>(&self, env: &Env, ix: Ix, message: Arc<Message<B>>) -> Signed<B> {
        sign(env, ix, self.key(env), message)
    }
    pub(super) fn send(&mut self, env: &mut Env, ix: Ix, down: Down) {
        let known = &self.devices[ix as usize];
        // Whoever acts beside the present process knows no sessions, and reaches whoever is there.
        let session = if self.stale { Some(u32::MAX) } else { known.session };
        if let Some(session) = session.filter(|_| env.broker && env.fleet) {
            env.send_down(ix, session, down);
        }
    }
    /// Sends again what devices did not answer.
    pub fn sweep(&mut self, env: &mut Env) {
        let late: Vec<Ix> = self
            .unanswered
            .iter()
            .copied()
            .filter(|ix| {
                let known = &self.devices[*ix as usize];
                let old = |a: &Assigned| env.now.since(a.created) > ANSWER_MS && a.version.0 > known.accepted;
                known.session.is_some() && known.newest.as_ref().is_some_and(old)
            })
            .collect();
        for ix in late {
            self.push(env, ix);
        }
    }
}

/// As the director signs it with this key; with its bytes, for a device that checks signatures itself.
pub fn sign<B: Body + Clone>(env: &Env, ix: Ix, key: usize, message: Arc<Message<B>>) -> Signed<B> {
    let bytes = env.verifies(ix).then(|| {
        let Message { header, body } = (*message).clone();
        Arc::new(seal(header, body, env.repo.key(key)).expect("assignments and commands are short"))
    });
    Signed { message, key, bytes }
}
