//! What must hold after every event, whatever goes wrong.
//!
//! The oracle sees everything, also what no device and no fleet can know. Each check costs the same however many devices
//! there are: it looks at what the event has changed, and at sums that are kept up to date. A run ends at the first rule
//! that is broken.

use std::collections::{BTreeMap, BTreeSet};

use longshore_agent_core::update::{ModelRecord, Phase};
use longshore_trust::{AssignmentVersion, Digest, Generation, UnixMs};

use crate::message::{BundleNo, Head, Window};
use crate::queue::Ix;

/// What was broken, when and how.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Broken {
    /// Which rule.
    pub rule: &'static str,
    /// When.
    pub at: String,
    /// How.
    pub what: String,
}

/// Every rule by its name, with what it says.
pub const RULES: &[(&str, &str)] = &[
    ("acknowledged", "a record that the fleet has acknowledged is in its counts, now and after a restore"),
    ("counted_once", "no record is counted twice"),
    ("nothing_lost", "at the end every window is counted, on its way, or in the gap ledger"),
    ("approved", "no bundle runs that offline keys did not approve"),
    ("version", "versions never fall, but by a way back that offline keys signed"),
    ("floor", "the floor of a device's release counter never falls"),
    ("persist", "nothing is done before the transaction that justifies it is durable"),
    (
        "exposure",
        "no wave holds more devices than its cap, and nothing is offered to a wave that is not open",
    ),
    ("halted", "what is halted starts nothing, at the fleet and on the device"),
    ("paused", "a paused rollout offers nothing"),
    ("lease", "what runs on a lease goes back when the lease lapses, and stays only on the fleet's word"),
    ("deadline", "every state that is no end has a deadline, and it is kept"),
    ("quota", "buffers stay within their quota"),
    ("generation", "generations never fall, at the fleet and on each device"),
    ("evidence", "a wave never passes on install success alone: rows, labels and time are there"),
    ("offline", "a device that was not heard counts as no success"),
    (
        "audit",
        "the audit log tells of every change of state, in an order that can be, and devices find it unchanged",
    ),
];

/// What is known of one device.
#[derive(Debug, Clone, Default)]
pub struct Truth {
    /// The greatest generation it accepted.
    generation: Generation,
    /// It has obeyed a halt of this assignment.
    halted: AssignmentVersion,
    /// Windows it has closed.
    pub closed: u32,
    /// Windows of which it says itself that they are gone.
    lost: Vec<(u32, u32)>,
    /// Rollouts whose version has answered here.
    exposed: BTreeSet<u32>,
}

/// One rollout, as it really is.
#[derive(Debug, Clone, Default)]
pub struct Wave {
    /// Its cap.
    pub cap: Option<usize>,
    offered: u32,
    exposed: u32,
}

/// Everything.
#[derive(Debug, Default)]
pub struct Oracle {
    /// The first rule that was broken.
    pub broken: Option<Broken>,
    devices: Vec<Truth>,
    /// Windows in the counts of the fleet, as it is now: one bit a window.
    counted: Vec<Vec<u64>>,
    backup: Option<Vec<Vec<u64>>>,
    waves: BTreeMap<(u32, usize), Wave>,
    /// The wave that each device of a rollout is in.
    members: BTreeMap<(u32, Ix), usize>,
    offers: BTreeSet<(u32, Ix)>,
    generation: Generation,
    /// Checks made.
    pub checks: u64,
}

impl Oracle {
    /// For so many devices.
    #[must_use]
    pub fn new(devices: usize) -> Self {
        let mut oracle = Self::default();
        (0..devices).for_each(|_| oracle.enrol());
        oracle
    }
    /// One device more.
    pub fn enrol(&mut self) {
        self.devices.push(Truth::default());
        self.counted.push(Vec::new());
    }
    /// A rule is broken.
    pub fn breaks(&mut self, now: UnixMs, rule: &'static str, what: impl Into<String>) {
        if self.broken.is_none() {
            self.broken = Some(Broken { rule, at: crate::timeline::clock(now), what: what.into() });
        }
    }
    /// Holds a rule against what happened.
    pub fn holds(&mut self, holds: bool, now: UnixMs, rule: &'static str, what: impl FnOnce() -> String) {
        self.checks += 1;
        if !holds {
            self.breaks(now, rule, what());
        }
    }
    /// One device.
    pub fn device(&mut self, ix: Ix) -> &mut Truth {
        &mut self.devices[ix as usize]
    }

    // Records.

    /// The fleet has counted a window.
    pub fn counts(&mut self, now: UnixMs, ix: Ix, w: &Window) {
        for n in w.first..=w.last {
            let twice = !set(&mut self.counted[ix as usize], n);
            self.holds(!twice, now, "counted_once", || {
                format!("window {n} of device {ix} was counted twice")
            });
        }
    }
    /// Whether the fleet, as it is now, has counted a window.
    #[must_use]
    pub fn is_counted(&self, ix: Ix, n: u32) -> bool {
        is_set(&self.counted[ix as usize], n)
    }
    /// A device takes a window for delivered.
    pub fn acknowledged(&mut self, now: UnixMs, ix: Ix, w: &Window) {
        for n in w.first..=w.last {
            let there = self.is_counted(ix, n);
            self.holds(there, now, "acknowledged", || {
                format!("the fleet gave a receipt for window {n} of device {ix} and has not counted it")
            });
        }
    }
    /// A device says that a window is gone.
    pub fn gone(&mut self, ix: Ix, w: &Window) {
        self.device(ix).lost.push((w.first, w.last));
    }
    /// At the end: every window of a device is somewhere. `held` are those on its disk.
    pub fn accounts(&mut self, now: UnixMs, ix: Ix, held: &[(u32, u32)]) {
        let truth = &self.devices[ix as usize];
        let within = |list: &[(u32, u32)], n: u32| list.iter().any(|(a, b)| (*a..=*b).contains(&n));
        let missing = (0..truth.closed).find(|n| {
            !is_set(&self.counted[ix as usize], *n) && !within(held, *n) && !within(&truth.lost, *n)
        });
        self.holds(missing.is_none(), now, "nothing_lost", || {
            format!(
                "window {} of device {ix} is neither counted nor held nor in the ledger",
                missing.unwrap_or(0)
            )
        });
    }
    /// A backup of the fleet is taken, with what it has counted.
    pub fn back_up(&mut self) {
        self.backup = Some(self.counted.clone());
    }
    /// The fleet counts what it had counted then.
    pub fn restore(&mut self) {
        if let Some(mut counted) = self.backup.clone() {
            counted.resize(self.counted.len(), Vec::new());
            self.counted = counted;
        }
    }

    // Rollouts.

    /// A plan was made.
    pub fn planned(&mut self, now: UnixMs, rollout: u32, generation: Generation, caps: &[Option<usize>]) {
        let before = self.generation;
        self.holds(generation > before, now, "generation", || {
            format!(
                "rollout r{rollout} was planned with generation {generation}, and {before} was given before"
            )
        });
        self.generation = self.generation.max(generation);
        for (wave, cap) in caps.iter().enumerate() {
            self.waves.insert((rollout, wave), Wave { cap: *cap, ..Wave::default() });
        }
    }
    /// A device is in a wave.
    pub fn joins(&mut self, rollout: u32, ix: Ix, wave: usize) {
        self.members.insert((rollout, ix), wave);
    }
    /// The fleet offers the version of a rollout to a device of a wave.
    pub fn offers(&mut self, now: UnixMs, rollout: u32, wave: usize, ix: Ix) {
        if !self.offers.insert((rollout, ix)) {
            return;
        }
        let Some(w) = self.waves.get_mut(&(rollout, wave)) else { return };
        w.offered += 1;
        let (n, cap) = (w.offered as usize, w.cap);
        self.holds(cap.is_none_or(|cap| n <= cap), now, "exposure", || {
            format!("wave {wave} of r{rollout} was offered to {n} devices, its cap is {}", cap.unwrap_or(0))
        });
    }
    /// A bundle of a rollout begins to answer on a device.
    pub fn exposes(&mut self, now: UnixMs, rollout: u32, ix: Ix) {
        let Some(wave) = self.members.get(&(rollout, ix)).copied() else { return };
        if !self.devices[ix as usize].exposed.insert(rollout) {
            return;
        }
        let Some(w) = self.waves.get_mut(&(rollout, wave)) else { return };
        w.exposed += 1;
        let (n, cap) = (w.exposed as usize, w.cap);
        self.holds(cap.is_none_or(|cap| n <= cap), now, "exposure", || {
            format!("{n} devices run wave {wave} of r{rollout}, its cap is {}", cap.unwrap_or(0))
        });
    }

    // Devices.

    /// A device has accepted an assignment.
    pub fn accepted(&mut self, now: UnixMs, ix: Ix, generation: Generation) {
        let truth = self.device(ix);
        let before = truth.generation;
        truth.generation = before.max(generation);
        self.holds(generation >= before, now, "generation", || {
            format!("device {ix} accepted generation {generation} after {before}")
        });
    }
    /// The director whom a device obeyed is trusted no more: numbers begin again.
    pub fn new_director(&mut self, ix: Ix) {
        let truth = self.device(ix);
        (truth.generation, truth.halted) = Default::default();
    }
    /// A device has obeyed a halt, durably.
    pub fn halts(&mut self, ix: Ix, version: AssignmentVersion) {
        self.device(ix).halted = version;
    }
    /// What a device remembers has changed, durably.
    pub fn records(&mut self, now: UnixMs, ix: Ix, old: Option<&ModelRecord>, new: &ModelRecord) {
        if let Some(old) = old {
            self.holds(new.floor >= old.floor, now, "floor", || {
                format!("the floor of device {ix} fell from {} to {}", old.floor, new.floor)
            });
        }
        let halted = self.devices[ix as usize].halted;
        let starts = new.update.as_ref().filter(|u| !matches!(u.at, Phase::RollingBack { .. }));
        let started = starts.is_some_and(|u| u.wanted.bundle.origin.version == halted && halted.0 > 0);
        self.holds(!started, now, "halted", || {
            format!("device {ix} goes on with assignment {halted}, which was halted")
        });
        let committed = new.active.as_ref().is_some_and(|a| a.origin.version == halted && halted.0 > 0)
            && old.is_some_and(|o| {
                o.active.as_ref().map(|a| a.bundle) != new.active.as_ref().map(|a| a.bundle)
            })
            && new.previous.as_ref().map(|p| p.bundle)
                == old.and_then(|o| o.active.as_ref().map(|a| a.bundle));
        self.holds(!committed, now, "halted", || {
            format!("device {ix} committed assignment {halted}, which was halted")
        });
    }
    /// A bundle begins to run (in a trial or to answer).
    pub fn runs(&mut self, now: UnixMs, ix: Ix, bundle: BundleNo, approved: bool) {
        self.holds(approved, now, "approved", || {
            format!("device {ix} runs bundle {bundle}, which nobody approved")
        });
    }
    /// What devices saw of the log is in the log as it is.
    pub fn witnesses(&mut self, now: UnixMs, ix: Ix, seen: &Head, root: Option<Digest>) {
        self.holds(root == Some(seen.root), now, "audit", || {
            format!("device {ix} saw the log with {} entries, and it is another one now", seen.size)
        });
    }
}

fn set(bits: &mut Vec<u64>, n: u32) -> bool {
    let (word, bit) = ((n / 64) as usize, 1u64 << (n % 64));
    if bits.len() <= word {
        bits.resize(word + 1, 0);
    }
    let new = bits[word] & bit == 0;
    bits[word] |= bit;
    new
}
fn is_set(bits: &[u64], n: u32) -> bool {
    bits.get((n / 64) as usize).is_some_and(|w| w & (1 << (n % 64)) != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixMs = crate::timeline::START;

    fn window(first: u32, last: u32) -> Window {
        Window { first, last, bundle: 1, rows: 1, errors: 0, labelled: 0, correct: 0, shadow: 0 }
    }

    #[test]
    fn a_window_counts_once_and_a_receipt_needs_it_counted() {
        let mut o = Oracle::new(1);
        o.counts(NOW, 0, &window(0, 70));
        o.acknowledged(NOW, 0, &window(70, 70));
        assert_eq!(o.broken, None);
        o.counts(NOW, 0, &window(70, 70));
        assert_eq!(o.broken.unwrap().rule, "counted_once");
        let mut o = Oracle::new(1);
        o.acknowledged(NOW, 0, &window(0, 0));
        assert_eq!(o.broken.unwrap().rule, "acknowledged");
    }
    #[test]
    fn a_restore_takes_counts_back_and_the_end_finds_what_is_nowhere() {
        let mut o = Oracle::new(1);
        o.back_up();
        o.device(0).closed = 2;
        o.counts(NOW, 0, &window(0, 0));
        o.restore();
        assert!(!o.is_counted(0, 0));
        o.gone(0, &window(1, 1));
        o.accounts(NOW, 0, &[(0, 0)]);
        assert_eq!(o.broken, None);
        o.accounts(NOW, 0, &[]);
        assert_eq!(o.broken.unwrap().rule, "nothing_lost");
    }
    #[test]
    fn waves_have_caps_and_generations_rise() {
        let mut o = Oracle::new(3);
        o.planned(NOW, 1, Generation(5), &[Some(1)]);
        o.offers(NOW, 1, 0, 0);
        o.offers(NOW, 1, 0, 0);
        assert_eq!(o.broken, None, "offering twice exposes nobody else");
        o.offers(NOW, 1, 0, 1);
        assert_eq!(o.broken.unwrap().rule, "exposure");
        let mut o = Oracle::new(1);
        o.planned(NOW, 1, Generation(5), &[]);
        o.planned(NOW, 2, Generation(5), &[]);
        assert_eq!(o.broken.unwrap().rule, "generation");
    }
}
