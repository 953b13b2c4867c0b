//! One device: the real decisions of `longshore-agent-core` in shells of memory.
//!
//! Inside run the very state machines of the agent: updates, delivery, clock, guard. The store keeps what was committed
//! across power cuts, which may come at any transaction. The engine is a synthetic model, the link a queue.

mod acts;
mod disk;
mod engine;
mod hears;

use std::collections::VecDeque;

use longshore_agent_core::assignment;
use longshore_agent_core::clock::{Clock, Reading};
use longshore_agent_core::guard::Sample;
use longshore_agent_core::update::{self, Batch, Input, ModelRecord, NEVER, Phase};
use longshore_agent_core::{Moment, Sync, Updates, sync};
use longshore_trust::{AssignmentVersion, DeviceId, StreamId, UnixMs};
use longshore_wire::v1::UpdateState;

pub use disk::Disk;
pub use engine::Engine;

use crate::env::{Env, purpose};
use crate::message::{BundleNo, Window};
use crate::queue::{Event, Ix};
use crate::rng::Rng;

/// The agent is not older than this.
const BUILT: UnixMs = UnixMs(crate::timeline::START.0 - 30 * 86_400_000);
/// Counters that were not journalled yet are lost with the power, ms.
const JOURNAL_MS: u64 = 60_000;

/// A device, on or off.
pub struct Device {
    /// Its number.
    pub ix: Ix,
    /// Its name.
    pub id: DeviceId,
    /// What survives a power cut.
    pub disk: Disk,
    /// Its process, while it runs.
    pub run: Option<Run>,
    /// Its engine.
    pub engine: Engine,
    /// How many things keep it from the network.
    pub cut: u8,
    /// How many things keep it switched off.
    pub off: u8,
    /// Its disk is full.
    pub full: bool,
    /// It was taken out of the fleet.
    pub decommissioned: bool,
    /// By how much its wall clock is wrong, ms.
    pub wall: i64,
    /// What happens to it.
    pub rng: Rng,
    /// Starts so far.
    pub boots: u32,
    /// Sessions so far.
    pub sessions: u32,
    /// The machine was started then.
    booted: UnixMs,
    /// By true time, what runs on a lease has to go back then.
    lease_ends: Option<UnixMs>,
    /// The assignment that the fleet last gave its word for.
    word: AssignmentVersion,
    /// Refreshes so far: only the newest one counts.
    refreshes: u32,
}

/// A running process: all of it is lost with the power.
pub struct Run {
    /// The update core.
    pub updates: Updates,
    /// The delivery core.
    pub sync: Sync,
    clock: Clock,
    /// The session, if it believes that it has one.
    pub session: Option<u32>,
    engine_up: bool,
    /// What answers.
    pub serving: Option<BundleNo>,
    wanted: Option<BundleNo>,
    serve_ticket: u32,
    /// Something was committed that the delivery core has not heard of.
    backlog: bool,
    unwritten: VecDeque<Batch>,
    /// Halts that were heard and are not written down yet: which command halts which assignment.
    halting: Vec<((u64, u64), AssignmentVersion)>,
    /// The database is going to be tried again.
    retrying: bool,
    wake_updates: UnixMs,
    wake_sync: UnixMs,
    /// A wake-up is on its way for this moment.
    waking: UnixMs,
}

impl Device {
    /// A device that was enrolled now and runs `serving`; it is switched off.
    #[must_use]
    pub fn new(ix: Ix, env: &Env, record: Option<ModelRecord>) -> Self {
        let mut rng = Rng::new(env.seed, purpose::DEVICE, u64::from(ix));
        let stream = StreamId(rng.next_u64());
        Self {
            ix,
            id: DeviceId::new(format!("dev-{ix:05}")).expect("letters and digits"),
            disk: Disk::new(stream, record, 0),
            run: None,
            engine: Engine::new(ix, env),
            cut: 0,
            off: 0,
            full: false,
            decommissioned: false,
            wall: 0,
            rng,
            boots: 0,
            sessions: 0,
            booted: env.now,
            lease_ends: None,
            word: AssignmentVersion(0),
            refreshes: 0,
        }
    }
    fn reading(&self, now: UnixMs) -> Reading {
        let wall = UnixMs(now.0.saturating_add_signed(self.wall));
        Reading { wall, synchronised: self.wall == 0, boot_ms: now.since(self.booted) }
    }
    /// Both clocks of the update core.
    fn moment(&self, now: UnixMs) -> Moment {
        let r = self.reading(now);
        match &self.run {
            Some(run) => Moment { now: run.clock.tell(r).expiry, steady: run.clock.steady(r.boot_ms) },
            None => Moment::from(now),
        }
    }
    /// Whether the device and the fleet could talk.
    #[must_use]
    pub fn reaches(&self, env: &Env) -> bool {
        self.run.is_some() && self.cut == 0 && env.fleet
    }

    /// The power comes back: everything is taken up from the disk.
    pub fn power_on(&mut self, env: &mut Env) {
        if self.run.is_some() || self.off > 0 || self.decommissioned {
            return;
        }
        self.boots += 1;
        self.booted = env.now;
        let seed =
            Rng::new(env.seed, purpose::CORE, (u64::from(self.ix) << 32) | u64::from(self.boots)).next_u64();
        let me = assignment::Device {
            fleet: env.repo.fleet.clone(),
            device: self.id.clone(),
            arch: "aarch64".to_owned(),
        };
        let d = &self.disk;
        let updates =
            Updates::restore(me, update::Config::default(), d.assigned, d.commanded, d.record.clone(), seed);
        let unreceipted: Vec<_> = d.outbox.keys().map(|s| longshore_trust::Seq(*s)).collect();
        let next = longshore_trust::Seq(d.sealed + 1);
        let sync = Sync::restore(
            sync::Config::default(),
            d.stream,
            next,
            d.receipted,
            &unreceipted,
            d.epoch,
            seed ^ 1,
        );
        let clock = Clock::restore(d.clock, BUILT, false, self.reading(env.now));
        self.engine.skip_to(env.now);
        self.run = Some(Run {
            updates,
            sync,
            clock,
            session: None,
            engine_up: false,
            serving: None,
            wanted: None,
            serve_ticket: 0,
            backlog: false,
            unwritten: VecDeque::new(),
            halting: Vec::new(),
            retrying: false,
            wake_updates: NEVER,
            wake_sync: NEVER,
            waking: NEVER,
        });
        env.after(2_000, Event::EngineUp(self.ix, self.boots));
        let wait = 3_000 + self.rng.range(0, 5_000);
        env.after(wait, Event::Connect(self.ix, self.boots));
        self.feed(env, Input::Boot);
    }
    /// The power goes.
    pub fn power_off(&mut self, env: &mut Env) {
        let Some(run) = &self.run else { return };
        let until = UnixMs(env.now.0.saturating_sub(JOURNAL_MS));
        self.engine.count(env, &mut self.disk.open, run.serving, until);
        if self.on_probation() {
            let boot_ms = env.now.since(self.booted).saturating_sub(JOURNAL_MS);
            self.disk.clock = self.run.as_ref().map(|r| r.clock.save(boot_ms));
        }
        if let Some(session) = self.run.as_ref().and_then(|r| r.session) {
            env.after(60_000 + self.rng.range(0, 30_000), Event::Gone(self.ix, session));
        }
        self.run = None;
        // While it is off its lease cannot be held against it: its steady clock may not know how long that was.
        self.lease_ends = self.lease_ends.map(|_| NEVER);
    }
    /// The power goes for a moment, and the database with it when `torn`.
    pub fn power_cut(&mut self, env: &mut Env, torn: bool) {
        self.power_off(env);
        if torn {
            let stream = StreamId(self.rng.next_u64());
            for w in self.disk.torn(stream) {
                env.oracle.gone(self.ix, &w);
            }
            env.timeline.trace(env.now, || format!("device {}: its database was torn", self.ix));
        }
        let wait = 5_000 + self.rng.range(0, 60_000);
        env.after(wait, Event::PowerOn(self.ix));
    }
    fn on_probation(&self) -> bool {
        let update = self.disk.record.as_ref().and_then(|r| r.update.as_ref());
        update.is_some_and(|u| matches!(u.at, Phase::Probation { .. }))
    }

    /// An hour is over: windows are closed, clocks saved, deadlines looked after.
    pub fn window(&mut self, env: &mut Env) {
        env.after(3_600_000, Event::Window(self.ix));
        if self.full || self.run.is_none() {
            return;
        }
        self.count_shadow(env);
        let Some(run) = &self.run else { return };
        self.engine.count(env, &mut self.disk.open, run.serving, env.now);
        let next = env.oracle.device(self.ix).closed;
        let (used, dropped) = self.disk.close(next);
        env.oracle.device(self.ix).closed += used;
        for w in &dropped {
            env.oracle.gone(self.ix, w);
        }
        let boot_ms = env.now.since(self.booted);
        self.disk.clock = Some(run.clock.save(boot_ms));
        self.look_after(env);
        self.observe(env);
        self.feed_sync(env, sync::Input::Backlog);
    }
    /// What ran beside the bundle that serves has answered as many rows, and nobody heard them.
    fn count_shadow(&mut self, env: &Env) {
        let update = self.disk.record.as_ref().and_then(|r| r.update.as_ref());
        let beside = update.filter(|u| u.state() == UpdateState::Shadowing);
        if let Some(bundle) = beside.and_then(|u| env.repo.number(&u.wanted.bundle.bundle)) {
            let shadow = env.model.rows_per_hour;
            let none =
                Window { first: 0, last: 0, bundle, rows: 0, errors: 0, labelled: 0, correct: 0, shadow };
            self.disk.open.push(none);
        }
    }
    /// Deadlines and quotas, held against true time.
    fn look_after(&mut self, env: &mut Env) {
        let at = self.moment(UnixMs(env.now.0.saturating_sub(300_000)));
        let late = self.run.as_ref().is_some_and(|run| {
            run.updates
                .model(&env.repo.model)
                .and_then(|r| r.update.as_ref())
                .is_some_and(|u| u.is_overdue(at))
        });
        let ix = self.ix;
        let stuck = self.run.as_ref().is_some_and(|r| !r.unwritten.is_empty());
        env.oracle.holds(!late || stuck, env.now, "deadline", || {
            format!("an update of device {ix} is 5 minutes over its deadline and nothing has happened")
        });
        let d = &self.disk;
        let fits = d.windows.len() <= disk::WINDOWS && d.reports.len() <= disk::REPORTS + 8;
        env.oracle
            .holds(fits, env.now, "quota", || format!("the buffers of device {ix} are over their quota"));
        self.check_lease(env);
    }
    fn check_lease(&mut self, env: &mut Env) {
        let (ix, ends) = (self.ix, self.lease_ends);
        let over = ends.is_some_and(|end| end != NEVER && env.now > end.plus_ms(600_000));
        // A database that has room again is tried again a moment later.
        let stuck = self.full || self.run.as_ref().is_some_and(|r| !r.unwritten.is_empty());
        let holds = !over || !self.on_probation() || stuck;
        env.oracle.holds(holds, env.now, "lease", || {
            format!("device {ix} goes on with what runs on a lease that has lapsed")
        });
    }
    /// Shows the guard what the candidate has done.
    fn observe(&mut self, env: &mut Env) {
        let Some(record) = &self.disk.record else { return };
        let Some(update) = record.update.as_ref().filter(|u| matches!(u.at, Phase::Probation { .. })) else {
            return;
        };
        let (digest, model) = (update.wanted.bundle.bundle, record.model.clone());
        let Some(bundle) = env.repo.number(&digest) else { return };
        let open = self.disk.open.iter().chain(&self.disk.windows).filter(|w| w.bundle == bundle);
        let (rows, errors) = open.fold((0, 0), |(r, e), w| (r + u64::from(w.rows), e + u64::from(w.errors)));
        let sample = Sample { requests: rows, rows, errors, ..Sample::default() };
        self.feed(env, Input::Observed(model, digest, sample));
    }
    /// What the process wants to be woken for, as one event.
    fn rearm(&mut self, env: &mut Env) {
        let steady = self.moment(env.now).steady;
        let boot = self.boots;
        let Some(run) = &mut self.run else { return };
        let wake = run.wake_updates.min(run.wake_sync);
        if wake == NEVER {
            return;
        }
        let at = env.now.plus_ms(wake.since(steady).max(1));
        if at < run.waking || run.waking <= env.now {
            run.waking = at;
            env.queue.at(at, Event::Wake(self.ix, boot));
        }
    }
    /// A wake-up has come.
    pub fn wake(&mut self, env: &mut Env, boot: u32) {
        if boot != self.boots {
            return;
        }
        let steady = self.moment(env.now).steady;
        let Some(run) = &mut self.run else { return };
        if run.waking > env.now {
            return;
        }
        run.waking = NEVER;
        let (updates, sync) = (run.wake_updates <= steady, run.wake_sync <= steady);
        if updates {
            self.feed(env, Input::Tick);
        }
        if sync {
            self.feed_sync(env, sync::Input::Tick);
        }
        self.rearm(env);
        self.check_lease(env);
    }
}
