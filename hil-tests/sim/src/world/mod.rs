//! One run: a scenario and a seed in, what came of it out.

mod acts;
mod thief;

use longshore_agent_core::update::{Installed, ModelRecord, Origin};
use longshore_fleet_core::rollout::{RolloutState, WaveState};
use longshore_trust::UnixMs;
use serde::Serialize;

use crate::device::Device;
use crate::env::Env;
use crate::fleet::Fleet;
use crate::oracle::{Broken, Oracle};
use crate::queue::{Event, Ix};
use crate::repo::Repo;
use crate::scenario::{Act, Scenario, ScenarioError};
use crate::timeline::{START, Timeline, clock};

/// Devices connect before the first rollout is started, ms.
const SETTLE_MS: u64 = 600_000;
/// After the last rollout has ended, the world goes on for so long, ms.
const AFTER_MS: u64 = 4 * 3_600_000;
/// The executor looks at least so often, ms.
const SLOWEST_TICK_MS: u64 = 60_000;
/// From so many devices on the executor looks once a minute.
const LARGE: usize = 1_000;

/// What came of a run.
#[derive(Debug, Clone, Serialize)]
pub struct Outcome {
    /// Its seed.
    pub seed: u64,
    /// Devices at the end.
    pub devices: usize,
    /// Events that happened.
    pub events: u64,
    /// Checks of the oracle.
    pub checks: u64,
    /// Time that passed in it, hours.
    pub hours: f64,
    /// The rollouts, oldest first.
    pub rollouts: Vec<Ended>,
    /// Devices that run each version at the end.
    pub runs: Vec<(String, usize)>,
    /// The rule that was broken.
    pub broken: Option<Broken>,
    /// How it was to end and did not.
    pub unexpected: Option<String>,
    /// The story.
    #[serde(skip)]
    pub timeline: Vec<String>,
    /// The last happenings at single devices.
    #[serde(skip)]
    pub trace: Vec<String>,
}

/// How a rollout stands at the end.
#[derive(Debug, Clone, Serialize)]
pub struct Ended {
    /// Its id.
    pub id: String,
    /// Its version.
    pub version: String,
    /// Its state.
    pub state: RolloutState,
    /// Why.
    pub reason: String,
    /// Since when.
    pub since: String,
    /// Its waves.
    pub waves: Vec<WaveState>,
}

impl Outcome {
    /// Whether everything held and ended as it was to.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.broken.is_none() && self.unexpected.is_none()
    }
}

/// Everything there is.
pub struct World {
    env: Env,
    scenario: Scenario,
    devices: Vec<Device>,
    fleet: Fleet,
    backup: Option<Fleet>,
    stale: Option<Fleet>,
    /// Whom each happening befalls, while it lasts.
    befallen: Vec<Vec<Ix>>,
    acts_left: usize,
    rollouts: u32,
    started: bool,
    over_at: Option<UnixMs>,
    thief: Option<(usize, u64)>,
    events: u64,
    tick_ms: u64,
    next_tick: UnixMs,
}

/// Plays a scenario with a seed. With `tracing`, what single devices do is kept for a run that fails.
///
/// # Errors
/// When the scenario cannot be played.
pub fn run(scenario: &Scenario, seed: u64, tracing: bool) -> Result<Outcome, ScenarioError> {
    scenario.check()?;
    let mut world = World::new(scenario.clone(), seed, tracing);
    world.play();
    Ok(world.outcome(seed))
}

impl World {
    fn new(scenario: Scenario, seed: u64, tracing: bool) -> Self {
        let repo = Repo::new(seed, scenario.versions, scenario.way_back);
        let oracle = Oracle::new(scenario.devices as usize);
        let mut env =
            Env::new(seed, repo, oracle, Timeline::new(tracing), scenario.model.clone(), scenario.faults);
        env.verify_every = scenario.verify_every;
        env.zones = scenario.time_zones().unwrap_or_default();
        let mut world = Self {
            env,
            devices: Vec::with_capacity(scenario.devices as usize),
            fleet: Fleet::new(),
            backup: None,
            stale: None,
            befallen: vec![Vec::new(); scenario.at.len()],
            acts_left: scenario.at.len(),
            rollouts: 0,
            started: false,
            over_at: None,
            thief: None,
            events: 0,
            tick_ms: if scenario.devices as usize > LARGE { 60_000 } else { 5_000 },
            next_tick: START.plus_ms(SLOWEST_TICK_MS),
            scenario,
        };
        for n in 0..world.scenario.devices {
            let rig = n < world.scenario.rigs;
            world.enrol(rig, 600);
        }
        for (n, h) in world.scenario.at.iter().enumerate() {
            let at = START.plus_ms(h.at_ms().unwrap_or(0));
            world.env.queue.at(at, Event::Act(n));
        }
        if !world.scenario.starts_itself() {
            world.env.queue.at(START.plus_ms(SETTLE_MS), Event::Act(usize::MAX));
        }
        world.env.after(SLOWEST_TICK_MS, Event::Tick);
        world.env.after(30_000, Event::Sweep);
        world
    }
    /// One device more, which runs version 1 and is switched on within `spread_s`.
    fn enrol(&mut self, rig: bool, spread_s: u64) -> Ix {
        let ix = Ix::try_from(self.devices.len()).expect("fewer devices than that");
        let b = self.env.repo.bundle(1);
        let installed = Installed {
            bundle: b.digest,
            version: b.version.clone(),
            manifest_path: b.path.clone(),
            length: b.length,
            release_counter: b.counter,
            origin: Origin::default(),
        };
        let mut record = ModelRecord::new(self.env.repo.model.clone());
        record.floor = b.counter;
        record.active = Some(installed);
        let mut device = Device::new(ix, &self.env, Some(record));
        let hours = u64::from(self.scenario.model.history_hours);
        let rows = hours * u64::from(self.scenario.model.rows_per_hour);
        let history = device.engine.draw(&self.env, 1, rows);
        self.fleet.enrol(device.id.clone(), rig, self.env.zone_of(ix), Some((1, history)));
        let on = device.rng.range(0, spread_s * 1_000 / 2);
        self.env.after(on, Event::PowerOn(ix));
        let phase = device.rng.range(0, 3_599_999);
        self.env.after(phase, Event::Window(ix));
        self.devices.push(device);
        ix
    }

    fn play(&mut self) {
        let end = START.plus_ms(self.scenario.hours * 3_600_000);
        while let Some((at, event)) = self.env.queue.pop() {
            if at > end || self.over_at.is_some_and(|over| at > over) || self.env.oracle.broken.is_some() {
                break;
            }
            self.env.now = at;
            self.events += 1;
            self.happen(event);
            if self.fleet.is_touched() && self.next_tick > at.plus_ms(self.tick_ms) {
                self.next_tick = at.plus_ms(self.tick_ms);
                self.env.after(self.tick_ms, Event::Tick);
            }
        }
        if self.env.oracle.broken.is_none() {
            self.account();
        }
    }
    fn happen(&mut self, event: Event) {
        let env = &mut self.env;
        match event {
            Event::Wake(ix, boot) => self.devices[ix as usize].wake(env, boot),
            Event::Window(ix) => self.devices[ix as usize].window(env),
            Event::Done(ix, boot, input) => self.devices[ix as usize].done(env, boot, *input),
            Event::Served(ix, boot, ticket) => self.devices[ix as usize].served(env, boot, ticket),
            Event::EngineUp(ix, boot) => self.devices[ix as usize].engine_up(env, boot),
            Event::Refreshed(ix, ticket) => self.devices[ix as usize].refreshed(env, ticket),
            Event::Retry(ix, boot) => self.devices[ix as usize].retry(env, boot),
            Event::PowerOn(ix) => self.devices[ix as usize].power_on(env),
            Event::Connect(Ix::MAX, _) => self.sessions_end(),
            Event::Connect(ix, boot) => self.devices[ix as usize].connect(env, boot),
            Event::Drop(ix, session) => self.devices[ix as usize].dropped(env, session),
            Event::Gone(ix, session) => self.fleet.gone(ix, session),
            Event::Up(ix, life, up) => {
                if life == env.broker_life && env.broker && env.fleet {
                    self.fleet.ingest(env, ix, *up);
                }
            }
            Event::Down(ix, session, down) => {
                let device = &mut self.devices[ix as usize];
                let session = if session == u32::MAX { device.sessions } else { session };
                device.hears(env, session, *down);
            }
            Event::Tick => {
                // One that was asked for before a sooner one is not needed any more.
                if env.now < self.next_tick {
                    return;
                }
                if env.fleet {
                    self.fleet.tick(env);
                }
                self.next_tick = env.now.plus_ms(SLOWEST_TICK_MS);
                env.after(SLOWEST_TICK_MS, Event::Tick);
                self.look_for_the_end();
            }
            Event::Sweep => {
                if env.fleet {
                    self.fleet.sweep(env);
                }
                env.after(30_000, Event::Sweep);
            }
            Event::StaleTick => self.stale_tick(),
            Event::Act(usize::MAX) => self.start(2, None, false),
            Event::Act(n) => self.befall(n),
            Event::ActEnds(n) => self.relieve(n),
            Event::Thief => self.steal(),
        }
    }
    /// When nothing is left to happen the run is over, a little later.
    fn look_for_the_end(&mut self) {
        let ended = self.fleet.rollouts.iter().all(|r| r.state.is_terminal());
        let over =
            self.started && ended && self.acts_left == 0 && self.stale.is_none() && self.thief.is_none();
        match (over, self.over_at) {
            (true, None) => self.over_at = Some(self.env.now.plus_ms(AFTER_MS)),
            (false, Some(_)) => self.over_at = None,
            _ => {}
        }
    }
    /// Every window is somewhere.
    fn account(&mut self) {
        for device in self.devices.iter().filter(|d| !d.decommissioned) {
            let mut held = device.disk.held();
            // One that has not heard of a restore yet will be asked for its ring.
            if device.disk.epoch < self.fleet.epoch {
                held.extend(device.disk.in_ring());
            }
            self.env.oracle.accounts(self.env.now, device.ix, &held);
        }
    }

    /// How many devices serve each version; those that left the fleet are not counted.
    fn runs(&self) -> Vec<(String, usize)> {
        let mut runs: Vec<(String, usize)> = Vec::new();
        for device in self.devices.iter().filter(|d| !d.decommissioned) {
            let serving =
                device.disk.record.as_ref().and_then(|r| r.serving()).map_or("nothing", |i| &i.version);
            match runs.iter_mut().find(|(v, _)| v == serving) {
                Some((_, n)) => *n += 1,
                None => runs.push((serving.to_owned(), 1)),
            }
        }
        runs.sort();
        runs
    }
    /// The same, for people.
    fn running(&self) -> String {
        let mut told: Vec<String> = self.runs().iter().map(|(v, n)| format!("{n} run {v}")).collect();
        let gone = self.devices.iter().filter(|d| d.decommissioned).count();
        if gone > 0 {
            told.push(format!("{gone} decommissioned"));
        }
        told.join(", ")
    }

    fn outcome(mut self, seed: u64) -> Outcome {
        let runs = self.runs();
        let rollouts: Vec<Ended> = self
            .fleet
            .rollouts
            .iter()
            .map(|r| Ended {
                id: r.id.to_string(),
                version: r.plan.version.clone(),
                state: r.state,
                reason: r.reason.clone(),
                since: clock(r.since),
                waves: r.waves.iter().map(|w| w.state).collect(),
            })
            .collect();
        let last = rollouts.last().map_or("none", |r| r.state.as_str());
        let waves: Vec<&str> =
            rollouts.last().map_or(Vec::new(), |r| r.waves.iter().map(|w| w.as_str()).collect());
        let of = &self.scenario;
        let expected = [
            ("the last rollout was to end as", &of.expect, last.to_owned()),
            ("its waves were to end as", &of.expect_waves, waves.join(" ")),
            ("in the end it was to be", &of.expect_runs, self.running()),
        ];
        let unexpected = expected.into_iter().filter(|_| self.env.oracle.broken.is_none()).find_map(
            |(what, to_be, is)| {
                to_be.as_ref().filter(|e| **e != is).map(|e| format!("{what} {e}, and is {is}"))
            },
        );
        let end = format!("end: {last}; {}", self.running());
        self.env.timeline.say(self.env.now, end);
        Outcome {
            seed,
            devices: self.devices.len(),
            events: self.events,
            checks: self.env.oracle.checks,
            hours: self.env.now.since(START) as f64 / 3_600_000.0,
            rollouts,
            runs,
            broken: self.env.oracle.broken.take(),
            unexpected,
            timeline: std::mem::take(&mut self.env.timeline.lines),
            trace: self.env.timeline.trace.drain(..).collect(),
        }
    }
    fn act_needed(&self) -> bool {
        self.scenario.needs(Act::Restore) || self.scenario.needs(Act::StaleExecutor)
    }
}
