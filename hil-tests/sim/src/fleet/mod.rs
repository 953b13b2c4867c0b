//! One fleet: the real planner, gates and executor of `longshore-fleet-core` over a store of memory.
//!
//! What is in this value is what the fleet's database holds; a backup is a copy of it. Each method that changes something is
//! one transaction, as in the fleet's store: it is whole, or it has not been.

mod audit;
mod execute;
mod ingest;
mod people;
mod tell;
mod told;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use longshore_fleet_core::gate::Tally;
use longshore_fleet_core::plan::Plan;
use longshore_fleet_core::rollout::{DeviceFact, RevertPlan, RolloutState, WaveFact};
use longshore_trust::{AssignmentVersion, DeviceId, Generation, RolloutId, StreamId, UnixMs};
use longshore_wire::v1::{Assignment, Command, Message};

pub use audit::Log;
pub use tell::sign;
pub(crate) use told::counted;

use crate::env::Env;
use crate::message::{BundleNo, Told, Window};
use crate::queue::Ix;

/// What the fleet knows of a device.
#[derive(Debug, Clone)]
pub struct Known {
    /// Its name.
    pub id: DeviceId,
    /// Its session, while it is connected.
    pub session: Option<u32>,
    /// The last session that it heard of.
    pub last_session: u32,
    /// The greatest assignment it accepted.
    pub accepted: u64,
    /// What it said last of its model.
    pub said: Option<(StreamId, u64, Told)>,
    /// What serves there.
    pub active: Option<BundleNo>,
    /// Counts of each bundle.
    pub totals: Vec<(BundleNo, Tally)>,
    shadow: Vec<(BundleNo, u64)>,
    streams: Vec<Stream>,
    down_seq: u64,
    top: u64,
    generation: Generation,
    newest: Option<Assigned>,
    commands: BTreeMap<u64, (UnixMs, Arc<Message<Command>>)>,
    /// It was taken out of the fleet.
    pub revoked: bool,
    /// It is a rig.
    pub rig: bool,
    /// Its time zone, as a place in [`Env::zones`].
    zone: u16,
    /// Assignments in a row that it could not carry out.
    pub failures: u32,
    /// It is offered nothing until a person releases it.
    pub quarantined: bool,
    /// The last epoch in which it said hello.
    heard_epoch: u64,
    /// Up to where it had been given receipts in its stream, as its hellos say.
    told: (StreamId, u64),
}

#[derive(Debug, Clone)]
struct Stream {
    id: StreamId,
    up_to: u64,
    ahead: BTreeSet<u64>,
}

#[derive(Debug, Clone)]
struct Assigned {
    version: AssignmentVersion,
    not_after: UnixMs,
    created: UnixMs,
    message: Arc<Message<Assignment>>,
}

/// One rollout, with its devices.
#[derive(Debug, Clone)]
pub struct Rollout {
    /// Its number: `r3` is 3.
    pub no: u32,
    /// Its id.
    pub id: RolloutId,
    /// What it brings.
    pub bundle: BundleNo,
    /// Its plan.
    pub plan: Plan,
    /// Its state.
    pub state: RolloutState,
    /// When it was started first.
    pub started: Option<UnixMs>,
    /// Whether it takes another's place when it starts.
    supersede: bool,
    /// Another rollout may have devices of it.
    shares: bool,
    /// Since when.
    pub since: UnixMs,
    /// Why.
    pub reason: String,
    /// How it is taken back, once that was planned.
    pub back: Option<RevertPlan>,
    /// Its waves.
    pub waves: Vec<WaveFact>,
    /// Its devices.
    pub rows: Vec<DeviceFact>,
    /// What the store knows beside that, in the same order.
    pub more: Vec<More>,
    index: Vec<u32>,
    /// Devices that are in no wave.
    pub outside: BTreeSet<Ix>,
}

/// What belongs to a row.
#[derive(Debug, Clone, Copy)]
pub struct More {
    /// The device.
    pub ix: Ix,
    /// Counted with the bundle before the first offer.
    base: Tally,
    /// The same in shadow.
    base_shadow: u64,
    offered: bool,
    champion: Option<BundleNo>,
}

/// What the database holds.
#[derive(Debug, Clone)]
pub struct Fleet {
    /// Raised by every restore.
    pub epoch: u64,
    generation: u64,
    /// The devices.
    pub devices: Vec<Known>,
    /// The rollouts, oldest first.
    pub rollouts: Vec<Rollout>,
    /// The audit log.
    pub log: Log,
    /// Something has changed that the executor has not looked at.
    dirty: bool,
    looked: UnixMs,
    /// Number of the process: what one has not told anybody when it is killed, its successor does not know.
    pub process: u32,
    /// Devices whose newest assignment is not answered.
    unanswered: BTreeSet<Ix>,
    /// This is a process from before, that acts beside the present one.
    pub stale: bool,
    /// The director's key that it signs with, when it does not follow the root.
    key: Option<usize>,
}

impl Fleet {
    /// Without rollouts; its devices run bundle 1.
    #[must_use]
    pub fn new() -> Self {
        Self {
            epoch: 1,
            generation: 0,
            devices: Vec::new(),
            rollouts: Vec::new(),
            log: Log::default(),
            dirty: false,
            looked: UnixMs(0),
            process: 1,
            unanswered: BTreeSet::new(),
            stale: false,
            key: None,
        }
    }
    /// A device was enrolled; `runs` it has told by another way, with what it has counted.
    pub fn enrol(&mut self, id: DeviceId, rig: bool, zone: u16, runs: Option<(BundleNo, Window)>) {
        let mut totals = Vec::new();
        if let Some((bundle, w)) = &runs {
            let mut tally = Tally::default();
            add(&mut tally, w);
            totals.push((*bundle, tally));
        }
        let ix = Ix::try_from(self.devices.len()).expect("fewer devices than that");
        self.devices.push(Known {
            id,
            session: None,
            last_session: 0,
            accepted: 0,
            said: None,
            active: runs.map(|(b, _)| b),
            totals,
            shadow: Vec::new(),
            streams: Vec::new(),
            down_seq: 0,
            top: 0,
            generation: Generation(0),
            newest: None,
            commands: BTreeMap::new(),
            revoked: false,
            rig,
            zone,
            failures: 0,
            quarantined: false,
            heard_epoch: 1,
            told: (StreamId(0), 0),
        });
        for r in &mut self.rollouts {
            r.index.push(u32::MAX);
            r.outside.insert(ix);
        }
        self.dirty = true;
    }
    /// A device is taken out.
    pub fn revoke(&mut self, ix: Ix) {
        self.devices[ix as usize].revoked = true;
        for r in &mut self.rollouts {
            r.outside.remove(&ix);
            if let Some(row) = r.row(ix) {
                r.rows[row].revoked = true;
            }
        }
        self.dirty = true;
    }
    /// Rollouts that the executor looks at.
    fn executing(&self) -> Vec<usize> {
        let of = |test: fn(RolloutState) -> bool| {
            (0..self.rollouts.len()).filter(move |i| test(self.rollouts[*i].state))
        };
        let mut all: Vec<usize> = of(|s| s.is_active() || s.is_before_start()).collect();
        if of(RolloutState::is_active).next().is_none() {
            let completed = of(|s| s == RolloutState::Completed);
            all.extend(completed.max_by_key(|i| self.rollouts[*i].started));
        }
        all
    }
    /// Devices that another rollout has are left alone: one under way that comes first, or a later one that was completed.
    fn hold(&mut self, at: usize) {
        let r = &self.rollouts[at];
        let first = (r.plan.policy.priority, std::cmp::Reverse(r.plan.generation));
        let taken_back = matches!(r.state, RolloutState::Halting | RolloutState::Reverting);
        let holds = |o: &Rollout| {
            if o.id == r.id {
                None
            } else if o.state.is_active() {
                let other = (o.plan.policy.priority, std::cmp::Reverse(o.plan.generation));
                // What is taken back is taken back from every device that the other has not offered anything yet.
                (other > first).then_some(taken_back)
            } else {
                (o.state == RolloutState::Completed && o.started > r.started).then_some(true)
            }
        };
        let by: Vec<(usize, bool)> =
            (0..self.rollouts.len()).filter_map(|i| Some((i, holds(&self.rollouts[i])?))).collect();
        if by.is_empty() && !r.shares {
            return;
        }
        let held: Vec<bool> = (r.more.iter())
            .map(|more| {
                by.iter().any(|(i, only_offered)| {
                    let o = &self.rollouts[*i];
                    o.row(more.ix).is_some_and(|row| !only_offered || o.rows[row].offer.is_some())
                })
            })
            .collect();
        let r = &mut self.rollouts[at];
        r.shares = !by.is_empty();
        r.rows.iter_mut().zip(held).for_each(|(d, held)| d.held = held);
    }
    /// The rollout that was started last.
    #[must_use]
    pub fn newest(&self) -> Option<&Rollout> {
        self.rollouts.last()
    }
    /// Whether the executor should look soon.
    #[must_use]
    pub fn is_touched(&self) -> bool {
        self.dirty
    }
    /// The executor should look soon.
    pub fn touch(&mut self) {
        self.dirty = true;
    }
    /// A device is not connected any more.
    pub fn gone(&mut self, ix: Ix, session: u32) {
        if self.devices[ix as usize].session == Some(session) {
            self.devices[ix as usize].session = None;
            self.set_online(ix, false);
        }
    }
    fn set_online(&mut self, ix: Ix, online: bool) {
        for r in &mut self.rollouts {
            if let Some(row) = r.row(ix) {
                self.dirty |= r.rows[row].online != online;
                r.rows[row].online = online;
            }
        }
    }
    /// The process is gone, and nobody is connected to the next one.
    pub fn killed(&mut self) {
        self.process += 1;
        for ix in 0..self.devices.len() {
            self.devices[ix].session = None;
        }
        for r in &mut self.rollouts {
            r.rows.iter_mut().for_each(|d| d.online = false);
        }
        self.dirty = true;
    }
    /// Restored from a backup: a new epoch begins.
    pub fn restored(mut self, epoch: u64, process: u32) -> Self {
        self.epoch = epoch;
        self.process = process;
        self.log.restored(epoch);
        self.killed();
        for r in &mut self.rollouts {
            r.rows.iter_mut().for_each(|d| d.untold = true);
        }
        self
    }
    /// Devices that were enrolled after the backup enrol anew: what they run, they tell.
    pub fn enrolled_since(&mut self, env: &Env, devices: &[crate::device::Device]) {
        for device in devices.iter().skip(self.devices.len()) {
            self.enrol(device.id.clone(), false, env.zone_of(device.ix), None);
        }
    }
    /// Tells a device that there is newer metadata.
    pub fn ring(&mut self, env: &mut Env, ix: Ix) {
        self.send(env, ix, crate::message::Down::Doorbell);
    }
    /// It is a process from before from now on.
    #[must_use]
    pub fn into_stale(mut self, key: usize) -> Self {
        (self.stale, self.key) = (true, Some(key));
        self
    }
    fn say(&self, env: &mut Env, text: impl AsRef<str>) {
        if self.stale {
            env.timeline.say(env.now, format!("(old process) {}", text.as_ref()));
        } else {
            env.timeline.say(env.now, text);
        }
    }
}

impl Default for Fleet {
    fn default() -> Self {
        Self::new()
    }
}

impl Rollout {
    /// Where a device stands in it.
    #[must_use]
    pub fn row(&self, ix: Ix) -> Option<usize> {
        self.index.get(ix as usize).copied().filter(|r| *r != u32::MAX).map(|r| r as usize)
    }
    /// The devices of a wave.
    pub fn members(&self, wave: usize) -> impl Iterator<Item = usize> + '_ {
        self.rows.iter().enumerate().filter(move |(_, d)| d.wave == wave).map(|(i, _)| i)
    }
}

/// Adds what a window counted.
pub fn add(tally: &mut Tally, w: &Window) {
    tally.rows += u64::from(w.rows);
    tally.errors += u64::from(w.errors);
    tally.labelled += u64::from(w.labelled);
    tally.correct += u64::from(w.correct);
}
