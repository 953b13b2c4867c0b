//! What devices say: stored once, in one transaction with what it changes, and only then answered.

use longshore_fleet_core::gate::Beside;
use longshore_fleet_core::rollout::Report;
use longshore_trust::{AssignmentVersion, Seq, StreamId};
use longshore_wire::v1::Receipt;

use super::{Fleet, Stream, add};
use crate::broken::{Rule, broken};
use crate::env::Env;
use crate::message::{Down, Row, Told, Up};
use crate::queue::Ix;

/// How far beyond the prefix a message is stored.
const AHEAD: u64 = 20_000;

/// The assignment that a device speaks of; 0 when there can be no such version. One that was talked into an absurd number must
/// not use up those of the fleet: as the fleet's store does it.
fn believable(version: AssignmentVersion) -> AssignmentVersion {
    if version.0 > 1 << 53 { AssignmentVersion(0) } else { version }
}

impl Fleet {
    /// A message of a device.
    pub fn ingest(&mut self, env: &mut Env, ix: Ix, up: Up) {
        if self.devices[ix as usize].revoked {
            return;
        }
        match up {
            Up::Hello { session, stream, first, assigned, epoch, head } => {
                let known = &mut self.devices[ix as usize];
                if session < known.last_session {
                    return;
                }
                (known.session, known.last_session) = (Some(session), session);
                known.accepted = known.accepted.max(believable(assigned).0);
                known.heard_epoch = self.epoch;
                let had = first.0.saturating_sub(1);
                known.told = match known.told {
                    (of, up_to) if of == stream => (of, up_to.max(had)),
                    _ => (stream, had),
                };
                if epoch == self.epoch {
                    known.never_to_come(stream, first);
                }
                if let Some(head) = head {
                    self.witness(env, ix, &head);
                }
                self.set_online(ix, true);
                self.follow_device(env, ix);
                self.receipt(env, ix, stream);
                self.push(env, ix);
                self.send(env, ix, Down::Doorbell);
            }
            Up::Row(stream, seq, row) => {
                if broken(Rule::ReceiptBeforeCommit) && seq.0.is_multiple_of(3) {
                    // The receipt goes out, and the process dies before the transaction.
                    self.devices[ix as usize].claim(stream, seq, false);
                    return self.receipt(env, ix, stream);
                }
                let new = self.devices[ix as usize].claim(stream, seq, broken(Rule::ApplyTwice));
                if new {
                    self.apply(env, ix, stream, seq, row);
                    self.caught_up(env, ix);
                }
                self.receipt(env, ix, stream);
            }
        }
    }
    /// After a restore: whether the device has told again what it had told before.
    fn caught_up(&mut self, env: &Env, ix: Ix) {
        if self.devices[ix as usize].is_untold(self.epoch) {
            return;
        }
        for at in 0..self.rollouts.len() {
            let r = &self.rollouts[at];
            if r.row(ix).is_some_and(|row| r.rows[row].untold) {
                self.follow_row(env, at, ix);
                self.dirty = true;
            }
        }
    }
    fn receipt(&mut self, env: &mut Env, ix: Ix, stream: StreamId) {
        let up_to = Seq(self.devices[ix as usize].stream(stream).up_to);
        let receipt = Receipt { stream, up_to, fleet_epoch: self.epoch, log: None };
        let down = Down::Receipt(receipt, self.key(env), self.log.head());
        self.send(env, ix, down);
    }
    fn apply(&mut self, env: &mut Env, ix: Ix, stream: StreamId, seq: Seq, row: Row) {
        match row {
            Row::Update(told) => self.told(env, ix, stream, seq, told),
            Row::Obeyed(_, seq) => {
                self.devices[ix as usize].commands.remove(&seq.0);
            }
            Row::Refused(code) => {
                let what = format!("{} refused: {}", self.devices[ix as usize].id, env.code_text(code));
                self.record(env, &what);
            }
            Row::Gap(_) => {}
            Row::Windows(windows) => {
                for w in &*windows {
                    env.oracle.counts(env.now, ix, w);
                    self.devices[ix as usize].count_shadow(w);
                    let totals = &mut self.devices[ix as usize].totals;
                    match totals.iter_mut().find(|(b, _)| *b == w.bundle) {
                        Some((_, tally)) => add(tally, w),
                        None => {
                            totals.push((w.bundle, Default::default()));
                            add(&mut totals.last_mut().expect("just pushed").1, w);
                        }
                    }
                }
                self.follow_device(env, ix);
            }
        }
    }
    fn told(&mut self, env: &Env, ix: Ix, stream: StreamId, seq: Seq, mut told: Told) {
        told.version = believable(told.version);
        let known = &mut self.devices[ix as usize];
        known.accepted = known.accepted.max(told.version.0);
        let newer = known.said.as_ref().is_none_or(|(s, n, _)| *s != stream || *n < seq.0);
        if newer {
            known.said = Some((stream, seq.0, told));
            known.active = told.active;
            known.count_failures(told.state, told.code.map(|c| env.code_text(c)));
            self.follow_device(env, ix);
        }
    }
    /// Brings what rollouts know of a device up to what the device has said.
    pub(super) fn follow_device(&mut self, env: &Env, ix: Ix) {
        for at in self.executing() {
            self.follow_row(env, at, ix);
        }
        self.dirty = true;
    }
    pub(super) fn follow_row(&mut self, env: &Env, at: usize, ix: Ix) {
        let known = &self.devices[ix as usize];
        if known.newest.as_ref().is_none_or(|a| known.accepted >= a.version.0) {
            self.unanswered.remove(&ix);
        }
        let r = &mut self.rollouts[at];
        let Some(row) = r.row(ix) else { return };
        let (fact, more) = (&mut r.rows[row], &r.more[row]);
        fact.report = known.said.as_ref().map(|(_, _, told)| Report {
            version: told.version,
            state: told.state,
            code: told.code.map(|c| env.code_text(c).to_owned()),
            active: told.active.map(|b| env.repo.bundle(b).digest),
        });
        (fact.failures, fact.quarantined) = (known.failures, known.quarantined);
        fact.untold = known.is_untold(self.epoch);
        fact.assigned = AssignmentVersion(known.top);
        fact.shadow_rows = known.shadow_of(r.bundle).saturating_sub(more.base_shadow);
        let beside = r.plan.policy.waves[fact.wave].shadow_ms > 0;
        fact.measured.shadow = beside.then(|| Beside {
            rows: fact.shadow_rows,
            agreed: (fact.shadow_rows as f64 * env.model.agreement) as u64,
            ..Beside::default()
        });
        let of = |b| known.totals.iter().find(|(n, _)| *n == b).map(|(_, t)| *t).unwrap_or_default();
        fact.candidate = of(r.bundle).since(&more.base);
        fact.champion = more.champion.map(of);
        if let Some(offer) = &mut fact.offer {
            let said = known.said.as_ref().map(|(_, _, told)| told.version);
            offer.passed_over =
                AssignmentVersion(known.accepted) > offer.version && said.is_none_or(|v| v < offer.version);
        }
    }
}

impl super::Known {
    pub(super) fn stream(&mut self, id: StreamId) -> &mut Stream {
        let at = self.streams.iter().position(|s| s.id == id).unwrap_or_else(|| {
            self.streams.push(Stream { id, up_to: 0, ahead: Default::default() });
            self.streams.len() - 1
        });
        &mut self.streams[at]
    }
    /// What is recorded of it may be long over: it was not heard since the restore, or has not told again what it had told.
    fn is_untold(&self, epoch: u64) -> bool {
        let (stream, up_to) = self.told;
        let stored = self.streams.iter().find(|s| s.id == stream).map_or(0, |s| s.up_to);
        self.heard_epoch < epoch || stored < up_to
    }
    /// Rows that a bundle has answered beside the one that serves, ever.
    pub(super) fn shadow_of(&self, bundle: crate::message::BundleNo) -> u64 {
        self.shadow.iter().find(|(b, _)| *b == bundle).map_or(0, |(_, n)| *n)
    }
    /// Rows that a bundle answered beside the one that serves.
    fn count_shadow(&mut self, w: &crate::message::Window) {
        if w.shadow == 0 {
            return;
        }
        match self.shadow.iter_mut().find(|(b, _)| *b == w.bundle) {
            Some((_, n)) => *n += u64::from(w.shadow),
            None => self.shadow.push((w.bundle, u64::from(w.shadow))),
        }
    }
    /// Assignments in a row that it could not carry out.
    fn count_failures(&mut self, state: longshore_wire::v1::UpdateState, code: Option<&str>) {
        use longshore_wire::v1::UpdateState as U;
        if matches!(code, Some("lease.lapsed" | "superseded")) {
            // The fleet was away, or wanted something else: no failure of the device.
            return;
        }
        match state {
            U::Failed | U::RolledBack | U::Rejected => self.failures += 1,
            U::Committed | U::Already => self.failures = 0,
            _ => {}
        }
    }
    /// Takes a message's place in its stream. Whether it is new.
    fn claim(&mut self, id: StreamId, seq: Seq, twice: bool) -> bool {
        let s = self.stream(id);
        if seq.0 <= s.up_to || seq.0 - s.up_to > AHEAD || s.ahead.contains(&seq.0) {
            return twice;
        }
        if seq.0 == s.up_to + 1 {
            s.up_to = seq.0;
        } else {
            s.ahead.insert(seq.0);
        }
        s.advance();
        true
    }
    /// What a device that knows this epoch does not offer any more will never come: the prefix passes it.
    fn never_to_come(&mut self, id: StreamId, first: Seq) {
        let s = self.stream(id);
        s.up_to = s.up_to.max(first.0.saturating_sub(1));
        s.ahead = s.ahead.split_off(&(s.up_to + 1));
        s.advance();
    }
}

impl Stream {
    fn advance(&mut self) {
        while self.ahead.remove(&(self.up_to + 1)) {
            self.up_to += 1;
        }
    }
}
