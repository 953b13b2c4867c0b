//! Doing what the cores of a device wish.

use std::collections::VecDeque;

use longshore_agent_core::assignment::reason;
use longshore_agent_core::sync;
use longshore_agent_core::update::{
    Batch, FetchFailure, Input, Installed, ModelRecord, Output, Phase, Write,
};
use longshore_trust::{Seq, StreamId};
use longshore_wire::v1::{Commit, TrialReport, UpdateState};

use super::Device;
use crate::env::Env;
use crate::message::{Row, Told, Up};
use crate::queue::Event;

/// Wait before the database is tried again, ms.
const RETRY_MS: u64 = 2_000;

impl Device {
    /// Hands a fact to the update core and does what it wishes.
    pub fn feed(&mut self, env: &mut Env, input: Input) {
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front().or_else(|| self.write_waiting(env)) {
            let at = self.moment(env.now);
            let Some(run) = &mut self.run else { return };
            run.updates.handle(at, input);
            loop {
                let Some(run) = &mut self.run else { return };
                match run.updates.poll() {
                    Output::WakeAt(at) => {
                        run.wake_updates = at;
                        break;
                    }
                    Output::Persist(batch) => {
                        run.unwritten.push_back(batch);
                        inputs.extend(self.write_waiting(env));
                    }
                    wish => self.act(env, wish),
                }
            }
        }
        self.durable(env);
        if self.run.as_mut().is_some_and(|run| std::mem::take(&mut run.backlog)) {
            self.feed_sync(env, sync::Input::Backlog);
        }
        self.rearm(env);
    }
    /// What the core believes is what is written, when nothing waits to be written.
    fn durable(&mut self, env: &mut Env) {
        let Some(run) = self.run.as_ref().filter(|r| r.unwritten.is_empty()) else { return };
        let (ram, disk) = (run.updates.model(&env.repo.model), self.disk.record.as_ref());
        let same = run.updates.assigned() == self.disk.assigned
            && ram.and_then(|r| r.serving()).map(|i| i.bundle)
                == disk.and_then(|r| r.serving()).map(|i| i.bundle)
            && ram.map(|r| (r.state(), r.floor)) == disk.map(|r| (r.state(), r.floor));
        let ix = self.ix;
        env.oracle.holds(same, env.now, "persist", || {
            format!("device {ix} goes on from what it has not written down: a power cut now would undo it")
        });
    }

    /// Commits the batch that waits longest, if there is one. Answers its confirmation, which is heard before the next one is
    /// written.
    fn write_waiting(&mut self, env: &mut Env) -> Option<Input> {
        let (ix, boot, full) = (self.ix, self.boots, self.full);
        let run = self.run.as_mut()?;
        if run.unwritten.is_empty() {
            return None;
        }
        if full {
            if !std::mem::replace(&mut run.retrying, true) {
                env.after(RETRY_MS, Event::Retry(ix, boot));
            }
            return None;
        }
        if self.rng.chance(env.faults.torn) {
            self.power_cut(env, true);
            return None;
        }
        let crash = self.rng.chance(env.faults.crash);
        if crash && self.rng.chance(0.5) {
            env.timeline.trace(env.now, || format!("device {ix}: power cut before a commit"));
            self.power_cut(env, false);
            return None;
        }
        let batch = self.run.as_mut()?.unwritten.pop_front()?;
        self.commit(env, &batch);
        if crash {
            env.timeline.trace(env.now, || format!("device {ix}: power cut after a commit"));
            self.power_cut(env, false);
            return None;
        }
        Some(Input::Persisted(batch.token))
    }
    /// The database is tried again.
    pub fn retry(&mut self, env: &mut Env, boot: u32) {
        let Some(run) = self.run.as_mut().filter(|_| boot == self.boots) else { return };
        run.retrying = false;
        if let Some(confirmed) = self.write_waiting(env) {
            self.feed(env, confirmed);
        }
    }
    fn commit(&mut self, env: &mut Env, batch: &Batch) {
        let old = self.disk.record.clone();
        let assigned = self.disk.assigned;
        self.disk.apply(batch, |write| row_of(env, write));
        if self.disk.assigned < assigned {
            // Only a new director begins anew, and from this batch on.
            env.oracle.new_director(self.ix);
        }
        self.note_halts(env, batch);
        for write in &batch.writes {
            match write {
                Write::Record(new) => {
                    let boot_ms = env.now.since(self.booted);
                    self.disk.clock = self.run.as_ref().map(|r| r.clock.save(boot_ms));
                    env.oracle.records(env.now, self.ix, old.as_ref(), new);
                    self.check_way(env, old.as_ref(), new);
                }
                Write::Report(r) => {
                    let (ix, state, version) = (self.ix, r.state, r.assignment_version);
                    env.timeline.trace(env.now, || {
                        let why = r.why.as_ref().map_or("", |w| &w.code);
                        format!("device {ix}: {} {version} {why}", state.as_str())
                    });
                    if state == UpdateState::Accepted {
                        env.oracle.accepted(env.now, ix, r.generation);
                    }
                }
                _ => {}
            }
        }
        self.note_lease(env, old.as_ref());
        if let Some(run) = &mut self.run {
            run.backlog = true;
        }
    }
    /// What a device did before it wrote a halt down may still be waiting to be written: a halt holds from its own batch on.
    fn note_halts(&mut self, env: &mut Env, batch: &Batch) {
        let Some(run) = &mut self.run else { return };
        for write in &batch.writes {
            let Write::Commanded(epoch, seq) = write else { continue };
            let obeyed =
                run.halting.iter().find(|(at, _)| *at == (*epoch, *seq)).map(|(_, version)| *version);
            run.halting.retain(|(at, _)| *at > (*epoch, *seq));
            if let Some(version) = obeyed {
                env.oracle.halts(self.ix, version);
            }
        }
    }
    /// By true time, when what runs on a lease has to go back.
    fn note_lease(&mut self, env: &Env, old: Option<&ModelRecord>) {
        let phase = |r: &ModelRecord| match r.update.as_ref().map(|u| (&u.at, u.wanted.probation.commit)) {
            Some((Phase::Probation { deadline, .. }, Commit::Lease { lease_ms })) => {
                Some((*deadline, lease_ms))
            }
            _ => None,
        };
        let (before, after) = (old.and_then(phase), self.disk.record.as_ref().and_then(phase));
        self.lease_ends = match (before, after) {
            (_, None) => None,
            (Some(a), Some(b)) if a == b => self.lease_ends,
            (_, Some((_, lease_ms))) => Some(env.now.plus_ms(lease_ms)),
        };
    }
    /// A committed version is never lower than the one before, but by a way back that offline keys signed, or by the device's
    /// own return to what it kept.
    fn check_way(&mut self, env: &mut Env, old: Option<&ModelRecord>, new: &ModelRecord) {
        let (Some(old), Some(to)) = (old, &new.active) else { return };
        let Some(from) = old.active.as_ref().filter(|from| from.bundle != to.bundle) else { return };
        let kept = old.previous.as_ref().is_some_and(|p| p.bundle == to.bundle);
        let signed = match (env.repo.number(&from.bundle), env.repo.number(&to.bundle)) {
            (Some(a), Some(b)) => env.repo.bundle(a).ways_back.contains(&b),
            _ => false,
        };
        let (ix, floor) = (self.ix, old.floor);
        let fell = to.release_counter < floor;
        env.oracle.holds(!fell || signed || kept, env.now, "version", || {
            format!("device {ix} went from {} to {}, and nobody signed that way", from.version, to.version)
        });
        // The record of a commit on a lease: only on the fleet's word.
        let leased = old.update.as_ref().filter(|u| u.wanted.bundle.bundle == to.bundle);
        if let Some(u) = leased
            && let (Phase::Probation { granted, .. }, Commit::Lease { .. }) =
                (&u.at, u.wanted.probation.commit)
        {
            let granted =
                *granted || new.last.as_ref().is_some_and(|_| self.word == u.wanted.bundle.origin.version);
            env.oracle.holds(granted, env.now, "lease", || {
                format!("device {ix} committed what it has on a lease without the fleet's word")
            });
        }
    }

    fn act(&mut self, env: &mut Env, wish: Output) {
        let (ix, boot) = (self.ix, self.boots);
        match wish {
            Output::Refresh(_) => {
                self.refresh(env);
            }
            Output::Fetch(model, wanted) => {
                self.justified(env, &wanted, "download");
                let takes = 1_000 + env.model.bytes / self.rng.range(500, 4_000);
                let result = if self.full {
                    Err(FetchFailure::NoSpace(reason("fetch.no_space", "the disk is full")))
                } else if !self.reaches(env) || self.rng.chance(env.faults.fetch) {
                    Err(FetchFailure::Transient(reason("fetch.network", "the connection broke off")))
                } else {
                    Ok(())
                };
                env.after(
                    takes,
                    Event::Done(ix, boot, Box::new(Input::Fetched(model, wanted.bundle, result))),
                );
            }
            Output::Trial(model, wanted) => {
                self.justified(env, &wanted, "try");
                self.runs(env, &wanted);
                let fails =
                    self.engine.fails_trial && env.repo.number(&wanted.bundle).is_some_and(|b| b >= 2);
                let result = if fails {
                    Err(reason("trial.golden_mismatch", "an output is not within its tolerance"))
                } else {
                    let none = Vec::new();
                    Ok(TrialReport {
                        load_ms: 90,
                        golden_rows: 20,
                        deviations: none,
                        p50_us: 800,
                        p99_us: 1_500,
                        rss_kib: 9_000,
                    })
                };
                let takes = self.rng.range(4_000, 20_000);
                env.after(takes, Event::Done(ix, boot, Box::new(Input::Tried(model, wanted.bundle, result))));
            }
            Output::Serve(_, wanted) => {
                if let Some(wanted) = &wanted {
                    self.justified(env, wanted, "serve");
                }
                let number = wanted.and_then(|w| env.repo.number(&w.bundle));
                let Some(run) = &mut self.run else { return };
                run.serve_ticket += 1;
                run.wanted = number;
                let event = Event::Served(ix, boot, run.serve_ticket);
                let wait = self.rng.range(300, 2_500);
                env.after(wait, event);
            }
            Output::Shadow(model, Some(wanted)) => {
                self.justified(env, &wanted, "shadow");
                self.runs(env, &wanted);
                env.after(1_500, Event::Done(ix, boot, Box::new(Input::Shadowing(model, wanted.bundle))));
            }
            Output::Shadow(_, None) => {}
            Output::Wipe(..) => {
                self.power_off(env);
                self.decommissioned = true;
            }
            Output::CancelFetch(_)
            | Output::CancelTrial(_)
            | Output::Collect
            | Output::Flush
            | Output::Persist(_)
            | Output::WakeAt(_) => {}
        }
    }
    /// An effect stands on what is written.
    fn justified(&mut self, env: &mut Env, wanted: &Installed, what: &str) {
        let record = self.disk.record.as_ref();
        let written = record.is_some_and(|r| {
            r.serving().is_some_and(|i| i.bundle == wanted.bundle)
                || r.update.as_ref().is_some_and(|u| u.wanted.bundle.bundle == wanted.bundle)
        });
        let ix = self.ix;
        env.oracle.holds(written, env.now, "persist", || {
            format!("device {ix} begins to {what} {} before that is written down", wanted.version)
        });
    }
    /// A bundle runs here, in a trial or to answer.
    pub(super) fn runs(&mut self, env: &mut Env, wanted: &Installed) {
        let bundle = env.repo.number(&wanted.bundle);
        let approved = bundle.is_some_and(|b| env.repo.bundle(b).approved);
        env.oracle.runs(env.now, self.ix, bundle.unwrap_or(u8::MAX), approved);
    }

    /// Hands a fact to the delivery core and does what it wishes.
    pub fn feed_sync(&mut self, env: &mut Env, input: sync::Input) {
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            let steady = self.moment(env.now).steady;
            let Some(run) = &mut self.run else { return };
            run.sync.handle(steady, input);
            loop {
                let Some(run) = &mut self.run else { return };
                match run.sync.poll() {
                    sync::Output::WakeAt(at) => {
                        run.wake_sync = at;
                        break;
                    }
                    wish => inputs.extend(self.act_sync(env, wish)),
                }
            }
        }
        self.rearm(env);
    }
    fn act_sync(&mut self, env: &mut Env, wish: sync::Output) -> Option<sync::Input> {
        match wish {
            sync::Output::Hello { first_unreceipted, fleet_epoch } => {
                let run = self.run.as_ref()?;
                let hello = Up::Hello {
                    session: run.session?,
                    stream: run.sync.stream(),
                    first: first_unreceipted,
                    assigned: run.updates.assigned(),
                    epoch: fleet_epoch,
                    head: self.disk.head,
                };
                self.send(env, hello);
                None
            }
            sync::Output::Seal { first, max, window_bytes } => {
                let failed = sync::Input::Sealed { rows: Vec::new(), window_bytes: 0, more: true };
                if self.full {
                    return Some(failed);
                }
                if self.rng.chance(env.faults.crash) {
                    if self.rng.chance(0.5) {
                        self.disk.seal(first, max, window_bytes);
                    }
                    self.power_cut(env, false);
                    return None;
                }
                let (rows, window_bytes, more) = self.disk.seal(first, max, window_bytes);
                Some(sync::Input::Sealed { rows, window_bytes, more })
            }
            sync::Output::Publish(seq) => {
                let row = self.disk.outbox.get(&seq.0).cloned()?;
                let run = self.run.as_ref()?;
                if run.session.is_none() {
                    return Some(sync::Input::NotSent(seq));
                }
                let up = Up::Row(run.sync.stream(), seq, row);
                self.send(env, up);
                None
            }
            sync::Output::Receipted { up_to, fleet_epoch } => {
                if !self.full {
                    for row in self.disk.news(up_to) {
                        self.acknowledged(env, fleet_epoch, row);
                    }
                    self.disk.receipted(up_to, fleet_epoch, env.now);
                }
                None
            }
            sync::Output::Reoffer { after, was, fleet_epoch } => {
                if self.full {
                    return Some(sync::Input::NotReoffered);
                }
                let (rows, missing) = self.disk.reoffer(after, was, fleet_epoch);
                if missing > 0 {
                    self.forgotten(env);
                }
                Some(sync::Input::Reoffered(rows))
            }
            sync::Output::Restart { keep_from, .. } => Some(self.restart(keep_from)),
            sync::Output::Refused(what) => {
                let code = env.code(what);
                self.disk.reports.push_back(Row::Refused(code));
                None
            }
            sync::Output::WakeAt(_) => None,
        }
    }
    fn acknowledged(&self, env: &mut Env, epoch: u64, row: &Row) {
        let Row::Windows(windows) = row else { return };
        if epoch < env.epoch {
            // It was sent before the restore: the device will be asked for it again.
            return;
        }
        for w in &**windows {
            env.oracle.acknowledged(env.now, self.ix, w);
        }
    }
    /// What the ring no longer held is in the ledger: those windows that nobody has any more.
    fn forgotten(&self, env: &mut Env) {
        let held = self.disk.held();
        for n in 0..env.oracle.device(self.ix).closed {
            if !env.oracle.is_counted(self.ix, n) && !held.iter().any(|(a, b)| (*a..=*b).contains(&n)) {
                let gone = crate::message::Window {
                    first: n,
                    last: n,
                    bundle: 0,
                    rows: 0,
                    errors: 0,
                    labelled: 0,
                    correct: 0,
                    shadow: 0,
                };
                env.oracle.gone(self.ix, &gone);
            }
        }
    }
    fn restart(&mut self, keep_from: Seq) -> sync::Input {
        let kept = self.disk.outbox.split_off(&keep_from.0);
        let stream = StreamId(self.rng.next_u64());
        self.disk.outbox = kept.into_values().zip(1u64..).map(|(row, seq)| (seq, row)).collect();
        self.disk.stream = stream;
        self.disk.sealed = self.disk.outbox.len() as u64;
        self.disk.receipted = Seq(0);
        sync::Input::Restarted { stream, rows: self.disk.outbox.keys().map(|s| Seq(*s)).collect() }
    }
    fn send(&mut self, env: &mut Env, up: Up) {
        if self.cut == 0 && env.broker && env.fleet {
            env.send_up(self.ix, &mut self.rng, up);
        }
    }
}

fn row_of(env: &mut Env, write: &Write) -> Option<Row> {
    match write {
        Write::Report(r) => {
            let code = r.why.as_ref().map(|w| env.code(&w.code));
            Some(Row::Update(Told {
                version: r.assignment_version,
                generation: r.generation,
                bundle: env.repo.number(&r.bundle).unwrap_or(u8::MAX),
                state: r.state,
                code,
                active: r.active.and_then(|a| env.repo.number(&a)),
            }))
        }
        Write::Obeyed(c) => Some(Row::Obeyed(c.epoch, c.seq)),
        Write::Event(longshore_wire::v1::EventKind::Refused(why)) => Some(Row::Refused(env.code(&why.code))),
        _ => None,
    }
}
