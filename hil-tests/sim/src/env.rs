//! What every part of the world shares: the clock, what is going to happen, the catalogue, the network, the oracle.

use longshore_trust::UnixMs;

use crate::message::{CodeNo, Down, Up};
use crate::oracle::Oracle;
use crate::queue::{Event, Ix, Queue};
use crate::repo::Repo;
use crate::rng::Rng;
use crate::scenario::{Faults, Model};
use crate::timeline::Timeline;

/// Streams of random numbers by purpose.
pub mod purpose {
    /// What happens to a device.
    pub const DEVICE: u64 = 1;
    /// What its engine counts.
    pub const ENGINE: u64 = 2;
    /// Whom the scenario chooses.
    pub const CHOICE: u64 = 3;
    /// What happens to the fleet.
    pub const FLEET: u64 = 4;
    /// Seeds of the cores.
    pub const CORE: u64 = 5;
    /// Random scenarios.
    pub const SOAK: u64 = 6;
}

/// Shared by all.
pub struct Env {
    /// The true time.
    pub now: UnixMs,
    /// What is going to happen.
    pub queue: Queue,
    /// What was approved.
    pub repo: Repo,
    /// What must hold.
    pub oracle: Oracle,
    /// What happened.
    pub timeline: Timeline,
    /// How versions behave.
    pub model: Model,
    /// What goes wrong by chance.
    pub faults: Faults,
    /// The run's seed.
    pub seed: u64,
    /// Devices of which every so many-th checks signatures itself.
    pub verify_every: u32,
    /// The broker is there.
    pub broker: bool,
    /// Number of the broker's present life: what was on its way before is lost.
    pub broker_life: u32,
    /// The fleet's process is there.
    pub fleet: bool,
    /// Time zones; the first one is UTC.
    pub zones: Vec<jiff::tz::TimeZone>,
    /// The fleet's epoch.
    pub epoch: u64,
    /// Where in the fleet's network a message goes wrong.
    pub chance: Rng,
    codes: Vec<String>,
}

impl Env {
    /// At the start.
    #[must_use]
    pub fn new(
        seed: u64,
        repo: Repo,
        oracle: Oracle,
        timeline: Timeline,
        model: Model,
        faults: Faults,
    ) -> Self {
        Self {
            now: crate::timeline::START,
            queue: Queue::default(),
            repo,
            oracle,
            timeline,
            model,
            faults,
            seed,
            verify_every: 16,
            broker: true,
            broker_life: 1,
            fleet: true,
            zones: vec![jiff::tz::TimeZone::UTC],
            epoch: 1,
            chance: Rng::new(seed, purpose::FLEET, 0),
            codes: Vec::new(),
        }
    }
    /// `event` happens `ms` from now.
    pub fn after(&mut self, ms: u64, event: Event) {
        self.queue.at(self.now.plus_ms(ms), event);
    }
    /// Number of a reason's code.
    pub fn code(&mut self, text: &str) -> CodeNo {
        let at = self.codes.iter().position(|c| c == text).unwrap_or_else(|| {
            self.codes.push(text.to_owned());
            self.codes.len() - 1
        });
        CodeNo::try_from(at).unwrap_or(CodeNo::MAX)
    }
    /// A reason's code.
    #[must_use]
    pub fn code_text(&self, code: CodeNo) -> &str {
        self.codes.get(usize::from(code)).map_or("?", String::as_str)
    }
    /// The time zone of a device: one after the other.
    #[must_use]
    pub fn zone_of(&self, ix: Ix) -> u16 {
        let others = self.zones.len().saturating_sub(1);
        if others == 0 { 0 } else { u16::try_from(1 + ix as usize % others).unwrap_or(0) }
    }
    /// Whether a device checks signatures itself.
    #[must_use]
    pub fn verifies(&self, ix: Ix) -> bool {
        ix.is_multiple_of(self.verify_every)
    }

    /// How long a message takes; `None` when it is lost.
    fn takes(&self, rng: &mut Rng) -> Option<u64> {
        if rng.chance(self.faults.loss) {
            return None;
        }
        let late = if rng.chance(self.faults.reorder) { rng.range(1_000, 60_000) } else { 0 };
        Some(rng.range(40, 250) + late)
    }
    /// A message goes up.
    pub fn send_up(&mut self, ix: Ix, rng: &mut Rng, up: Up) {
        let life = self.broker_life;
        self.send(rng, Box::new(up), |up| Event::Up(ix, life, up));
    }
    /// A message goes down, in a device's session.
    pub fn send_down(&mut self, ix: Ix, session: u32, down: Down) {
        let mut rng = self.chance.clone();
        self.send(&mut rng, Box::new(down), |down| Event::Down(ix, session, down));
        self.chance = rng;
    }
    /// A message is on its way, perhaps twice, and perhaps it does not arrive.
    fn send<M: Clone>(&mut self, rng: &mut Rng, message: Box<M>, event: impl Fn(Box<M>) -> Event) {
        if rng.chance(self.faults.duplicate)
            && let Some(ms) = self.takes(rng)
        {
            self.after(ms, event(message.clone()));
        }
        if let Some(ms) = self.takes(rng) {
            self.after(ms, event(message));
        }
    }
}
