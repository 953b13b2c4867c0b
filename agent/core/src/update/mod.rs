//! The update state machine of all models of one device.
//!
//! ```text
//! OFFERED -> ACCEPTED -> DOWNLOADING -> VERIFIED -> STAGED -> TRIAL -> [SHADOWING] -> PROBATION -> COMMITTED
//! exits: REJECTED DEFERRED FAILED ROLLED_BACK UNABLE_TO_ROLL_BACK EXPIRED CANCELLED TOO_LATE ALREADY
//! ```
//!
//! Always true here: an effect is put out only after the [`Batch`] that justifies it was confirmed by
//! [`Input::Persisted`]; batches are confirmed in order; one model's update never blocks another's; the floor of a
//! model rises at COMMITTED and nowhere else.

mod model;
mod offer;
pub mod record;
mod serving;
mod shadow;
mod step;

use std::collections::{BTreeMap, VecDeque};

use longshore_trust::{AssignmentVersion, Digest, ModelName, UnixMs, Verified};
use longshore_wire::v1::{
    Assignment, Command, CommandAction, CommandReport, EventKind, Message, Reason, TrialReport, UpdateReport,
};

use crate::assignment::{Device, TargetsView};
use crate::backoff::{Backoff, Jitter};
use crate::broken::{Rule, broken};
use crate::clock::Moment;
use crate::guard::Sample;
use offer::Offer;
pub use record::{Exit, Installed, ModelRecord, Origin, Phase, RollbackTo, Update, Wanted};
pub use serving::NO_PAGE;
pub use shadow::NO_MEMORY;
use step::Step;

/// Never.
pub const NEVER: UnixMs = UnixMs(u64::MAX);

/// Limits of waiting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Config {
    /// Longest trial, ms.
    pub trial_ms: u64,
    /// Longest load into the serving engine, ms.
    pub activate_ms: u64,
    /// Beyond its minimum, how long a local probation may take to become healthy, ms.
    pub grace_ms: u64,
    /// Serving this long without a crash is health, ms.
    pub healthy_ms: u64,
    /// Engine starts without health before the previous bundle comes back.
    pub max_starts: u32,
    /// Retries of refreshes and downloads.
    pub retry: Backoff,
    /// Wait when the disk is full, ms.
    pub no_space_ms: u64,
    /// How far the director's clock may be ahead of the device's, ms.
    pub skew_ms: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            trial_ms: 180_000,
            activate_ms: 120_000,
            grace_ms: 600_000,
            healthy_ms: 10_000,
            max_starts: 3,
            retry: Backoff { first_ms: 2_000, cap_ms: 300_000 },
            no_space_ms: 60_000,
            skew_ms: 300_000,
        }
    }
}

/// Names a transaction; confirmed in rising order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(pub u64);

/// What belongs into one transaction.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// To be confirmed with.
    pub token: Token,
    /// The writes, in order.
    pub writes: Vec<Write>,
}

/// One write of a transaction.
#[derive(Debug, Clone, PartialEq)]
pub enum Write {
    /// Replace what is remembered of a model.
    Record(Box<ModelRecord>),
    /// Queue a report for the fleet.
    Report(Box<UpdateReport>),
    /// Queue an event for the fleet.
    Event(EventKind),
    /// The greatest assignment version accepted.
    Assigned(AssignmentVersion),
    /// The last command obeyed: director's epoch and sequence number.
    Commanded(u64, u64),
    /// Queue the fleet's acknowledgement of a command.
    Obeyed(CommandReport),
    /// This device is to be wiped, by this command: remembered for ever.
    Wiping(u64, u64),
}

/// Why a download did not end well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FetchFailure {
    /// Worth another try: network, 5xx, a stalled server.
    Transient(Reason),
    /// The disk is full.
    NoSpace(Reason),
    /// Not worth another try: 4xx, a manifest that lies.
    Refused(Reason),
    /// Complete, but not for this device: `incompatible.…` or `outgrown.…`.
    Rejected(Reason),
}

/// A fact.
#[derive(Debug, Clone)]
pub enum Input {
    /// The process has started; the engine has not.
    Boot,
    /// A verified assignment.
    Assignment(Verified<Message<Assignment>>),
    /// A verified command.
    Command(Verified<Message<Command>>),
    /// The director who gave the last numbers is trusted no more: whoever held that key may have used up all numbers there
    /// are. What was accepted stays; numbers begin again behind those of the enrolment.
    NewDirector {
        /// No assignment up to this is accepted.
        assigned: AssignmentVersion,
        /// No command up to this is obeyed.
        commanded: (u64, u64),
    },
    /// The fleet has newer metadata.
    Doorbell,
    /// A refresh of trust metadata ended.
    Targets(Result<TargetsView, Reason>),
    /// A download ended; `Ok`: every file is verified, in place and durable.
    Fetched(ModelName, Digest, Result<(), FetchFailure>),
    /// A trial ended.
    Tried(ModelName, Digest, Result<TrialReport, Reason>),
    /// The serving engine accepts loads.
    EngineUp,
    /// The serving engine died; the bundle whose request was in flight, if it can be told.
    EngineDown(Option<Digest>),
    /// This bundle answers for the model now (`None`: nothing does).
    Serving(ModelName, Option<Digest>),
    /// This bundle could not be brought to answer.
    ServeFailed(ModelName, Digest, Reason),
    /// This bundle runs beside what serves.
    Shadowing(ModelName, Digest),
    /// This bundle cannot be run beside what serves.
    ShadowFailed(ModelName, Digest, Reason),
    /// What the candidate did since its activation, or in shadow.
    Observed(ModelName, Digest, Sample),
    /// A transaction is durable.
    Persisted(Token),
    /// Time has passed.
    Tick,
}

/// A wish.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    /// Commit this, then confirm with [`Input::Persisted`].
    Persist(Batch),
    /// Refresh trust metadata and look at these target paths.
    Refresh(Vec<String>),
    /// Fetch every file of the bundle.
    Fetch(ModelName, Installed),
    /// Stop fetching for the model.
    CancelFetch(ModelName),
    /// Run the golden vectors in a trial engine.
    Trial(ModelName, Installed),
    /// Stop the trial of the model.
    CancelTrial(ModelName),
    /// Let this bundle answer for the model (`None`: nothing).
    Serve(ModelName, Option<Installed>),
    /// Let this bundle run beside what serves, and answer nobody (`None`: nothing).
    Shadow(ModelName, Option<Installed>),
    /// Bundles that no slot holds can be deleted.
    Collect,
    /// Close windows and send everything.
    Flush,
    /// Wipe this device, by this command: director's epoch and sequence number.
    Wipe(u64, u64),
    /// Nothing more; call `handle` with [`Input::Tick`] at this time of the steady clock.
    WakeAt(UnixMs),
}

/// What is known of the serving engine.
#[derive(Debug, Default)]
struct Engine {
    up: bool,
    serving: BTreeMap<ModelName, (Digest, UnixMs)>,
    /// Committed bundles that could not be brought to answer and have nothing to go back to: when to try again.
    retries: BTreeMap<ModelName, Retry>,
}

/// Another try at serving.
#[derive(Debug, Clone, Copy)]
struct Retry {
    at: UnixMs,
    attempts: u32,
}

/// The state machine of all models.
#[derive(Debug)]
pub struct Updates {
    me: Device,
    config: Config,
    jitter: Jitter,
    assigned: AssignmentVersion,
    commanded: (u64, u64),
    /// Boxed: a node of the map has room for eleven, and most devices run one model.
    models: BTreeMap<ModelName, Box<ModelRecord>>,
    offer: Option<Offer>,
    /// The last assignment that was refused, and the code of why.
    refused: Option<(AssignmentVersion, &'static str)>,
    engine: Engine,
    writes: Vec<Write>,
    effects: Vec<Output>,
    held: VecDeque<(Token, Vec<Output>)>,
    out: VecDeque<Output>,
    next: Token,
    at: Moment,
}

impl Updates {
    /// From what was persisted. `seed` is random.
    #[must_use]
    pub fn restore(
        me: Device,
        config: Config,
        assigned: AssignmentVersion,
        commanded: (u64, u64),
        models: impl IntoIterator<Item = ModelRecord>,
        seed: u64,
    ) -> Self {
        Self {
            me,
            config,
            jitter: Jitter::new(seed),
            assigned,
            commanded,
            models: models.into_iter().map(|r| (r.model.clone(), Box::new(r))).collect(),
            offer: None,
            refused: None,
            engine: Engine::default(),
            writes: Vec::new(),
            effects: Vec::new(),
            held: VecDeque::new(),
            out: VecDeque::new(),
            next: Token(1),
            at: Moment::default(),
        }
    }
    /// The models.
    pub fn models(&self) -> impl Iterator<Item = &ModelRecord> {
        self.models.values().map(Box::as_ref)
    }
    /// One model.
    #[must_use]
    pub fn model(&self, name: &ModelName) -> Option<&ModelRecord> {
        self.models.get(name).map(Box::as_ref)
    }
    /// The greatest assignment version accepted.
    #[must_use]
    pub fn assigned(&self) -> AssignmentVersion {
        self.assigned
    }
    /// The assignment that waits for metadata, and what it waits for.
    #[must_use]
    pub fn offered(&self) -> Option<(AssignmentVersion, Option<&Reason>)> {
        self.offer.as_ref().map(|o| (o.assignment.version, o.waiting.as_ref()))
    }

    /// Takes one fact.
    pub fn handle(&mut self, at: impl Into<Moment>, input: Input) {
        self.at = at.into();
        match input {
            Input::Boot => self.each(model::boot),
            Input::Assignment(message) => self.on_assignment(&message),
            Input::Command(message) => self.on_command(&message),
            Input::NewDirector { assigned, commanded } => self.on_new_director(assigned, commanded),
            Input::Doorbell => self.on_doorbell(),
            Input::Targets(result) => self.on_targets(result),
            Input::Fetched(m, b, result) => self.with(&m, |rec, step| model::fetched(rec, b, result, step)),
            Input::Tried(m, b, result) => self.with(&m, |rec, step| model::tried(rec, b, result, step)),
            Input::EngineUp => {
                self.engine = Engine { up: true, ..Engine::default() };
                self.each(serving::engine_up);
                self.each(shadow::engine_up);
            }
            Input::EngineDown(blamed) => {
                let served = std::mem::take(&mut self.engine).serving;
                self.each(|rec, step| {
                    let served = served.get(&rec.model).map(|(b, _)| *b);
                    let did = served.is_some() && served == rec.serving().map(|i| i.bundle);
                    serving::engine_down(rec, blamed, served, step);
                    shadow::engine_down(rec, blamed, did, step);
                });
            }
            Input::Serving(m, bundle) => {
                match bundle {
                    Some(b) => self.engine.serving.insert(m.clone(), (b, self.at.steady)),
                    None => self.engine.serving.remove(&m),
                };
                self.with(&m, |rec, step| serving::serving(rec, bundle, step));
            }
            Input::ServeFailed(m, b, why) => {
                self.with(&m, |rec, step| serving::serve_failed(rec, b, why, step))
            }
            Input::Shadowing(m, b) => self.with(&m, |rec, step| shadow::running(rec, b, step)),
            Input::ShadowFailed(m, b, why) => self.with(&m, |rec, step| shadow::failed(rec, b, why, step)),
            Input::Observed(m, b, sample) => self.with(&m, |rec, step| {
                serving::observed(rec, b, &sample, step);
                shadow::observed(rec, b, &sample, step);
            }),
            Input::Persisted(token) => self.confirm(token),
            Input::Tick => {}
        }
        self.each(model::tick);
        self.tick_offer();
        self.close();
    }

    /// The next wish; ends with [`Output::WakeAt`].
    pub fn poll(&mut self) -> Output {
        self.out.pop_front().unwrap_or_else(|| Output::WakeAt(self.wake_at()))
    }

    fn wake_at(&self) -> UnixMs {
        let healthy = self.config.healthy_ms;
        let models = self.models.values().map(|r| {
            let served = self.engine.serving.get(&r.model);
            let health = served.filter(|_| r.starts > 0).map_or(NEVER, |(_, since)| since.plus_ms(healthy));
            let again = self.engine.retries.get(&r.model).map_or(NEVER, |r| r.at);
            let health = if health > self.at.steady { health } else { NEVER };
            model::wake_at(r, self.at).min(again).min(health)
        });
        models.chain(self.offer.as_ref().map(|o| o.wake_at(self.at))).min().unwrap_or(NEVER)
    }

    /// Runs `f` on one model, which is made if it is not known.
    fn with(&mut self, name: &ModelName, f: impl FnOnce(&mut ModelRecord, &mut Step<'_>)) {
        let mut rec = self.models.remove(name).unwrap_or_else(|| Box::new(ModelRecord::new(name.clone())));
        let mut step = Step {
            now: self.at.now,
            steady: self.at.steady,
            config: &self.config,
            jitter: &mut self.jitter,
            engine_up: self.engine.up,
            serving: self.engine.serving.get(name).copied(),
            retry: self.engine.retries.get(name).copied(),
            changed: false,
            writes: &mut self.writes,
            effects: &mut self.effects,
        };
        f(&mut rec, &mut step);
        match step.retry {
            Some(retry) => self.engine.retries.insert(name.clone(), retry),
            None => self.engine.retries.remove(name),
        };
        if step.changed && !broken(Rule::RecordNotWritten) {
            self.writes.push(Write::Record(rec.clone()));
        }
        self.models.insert(name.clone(), rec);
    }
    fn each(&mut self, f: impl Fn(&mut ModelRecord, &mut Step<'_>)) {
        let names: Vec<ModelName> = self.models.keys().cloned().collect();
        for name in names {
            self.with(&name, &f);
        }
    }

    /// Turns what one input caused into a transaction and the effects that wait for it.
    fn close(&mut self) {
        let effects = std::mem::take(&mut self.effects);
        if !self.writes.is_empty() {
            let token = self.next;
            self.next = Token(token.0 + 1);
            self.out.push_back(Output::Persist(Batch { token, writes: std::mem::take(&mut self.writes) }));
            if broken(Rule::EffectsBeforePersist) {
                let persist = self.out.pop_back();
                self.out.extend(effects);
                self.out.extend(persist);
                return;
            }
            self.held.push_back((token, effects));
        } else if let Some((_, last)) = self.held.back_mut() {
            last.extend(effects);
        } else {
            self.out.extend(effects);
        }
    }
    fn confirm(&mut self, token: Token) {
        while self.held.front().is_some_and(|(t, _)| *t <= token) {
            let (_, effects) = self.held.pop_front().expect("it was just looked at");
            self.out.extend(effects);
        }
    }

    fn on_new_director(&mut self, assigned: AssignmentVersion, commanded: (u64, u64)) {
        self.drop_offer(
            longshore_wire::v1::UpdateState::Cancelled,
            crate::assignment::reason(
                "director.rotated",
                "it was signed by a director who is trusted no more",
            ),
        );
        self.refused = None;
        (self.assigned, self.commanded) = (assigned, commanded);
        // Generations, too, may have been used up.
        self.each(|rec, step| {
            rec.generation = longshore_trust::Generation(0);
            step.changed = true;
        });
        self.writes.push(Write::Assigned(assigned));
        self.writes.push(Write::Commanded(commanded.0, commanded.1));
    }

    fn on_command(&mut self, message: &Message<Command>) {
        let (header, command) = (&message.header, &message.body);
        let at = (header.stream.0, header.seq.0);
        let mine = header.fleet == self.me.fleet && header.device == self.me.device;
        let now = self.at.now.max(header.time);
        let due = command.not_before <= now.plus_ms(self.config.skew_ms) && now <= command.not_after;
        if !mine || !due || at <= self.commanded {
            return;
        }
        self.commanded = at;
        self.writes.push(Write::Commanded(at.0, at.1));
        let before = self.writes.len();
        match command.action {
            CommandAction::Commit { version } => self.each(|rec, step| serving::granted(rec, version, step)),
            CommandAction::RenewLease { version } => {
                self.each(|rec, step| serving::renewed(rec, version, step))
            }
            CommandAction::Halt { version } => {
                // It may have overtaken the assignment that it revokes, which must not start anything when it comes.
                if version > self.assigned {
                    self.assigned = version;
                    self.writes.push(Write::Assigned(version));
                }
                if self.offer.as_ref().is_some_and(|o| o.assignment.version == version) {
                    self.drop_offer(
                        longshore_wire::v1::UpdateState::Cancelled,
                        crate::assignment::reason("halt", "the fleet halted the rollout"),
                    );
                }
                self.each(|rec, step| model::halted(rec, version, step));
            }
            CommandAction::Flush => self.effects.push(Output::Flush),
            CommandAction::Wipe => {
                self.writes.push(Write::Wiping(at.0, at.1));
                self.effects.push(Output::Wipe(at.0, at.1));
            }
        }
        let changed = self.writes[before..].iter().filter(|w| matches!(w, Write::Record(_))).count();
        self.writes.push(Write::Obeyed(CommandReport {
            epoch: at.0,
            seq: header.seq,
            changed: u32::try_from(changed).unwrap_or(u32::MAX),
        }));
    }
}
