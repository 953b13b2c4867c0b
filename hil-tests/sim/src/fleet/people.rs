//! What people do with rollouts: plan, start, pause, resume, halt, revert; as the fleet's control does it.

use std::collections::{BTreeMap, BTreeSet};

use longshore_bundle::Requires;
use longshore_fleet_core::gate::Tally;
use longshore_fleet_core::plan::{Candidate, Request, plan};
use longshore_fleet_core::policy::Policy;
use longshore_fleet_core::rollout::{DeviceFact, DeviceState, RolloutState, WaveFact, WaveState};
use longshore_trust::{DeviceId, Digest, Generation, RolloutId};
use longshore_wire::v1::UpdateState;

use super::{Fleet, More, Rollout};
use crate::env::Env;
use crate::message::BundleNo;
use crate::queue::Ix;

/// The number of a device.
fn ix_of(device: &DeviceId) -> Option<Ix> {
    device.as_str().strip_prefix("dev-").and_then(|n| n.parse().ok())
}

impl Fleet {
    pub(super) fn ways(env: &Env) -> BTreeSet<(Digest, Digest)> {
        let approved = env.repo.bundles().iter().filter(|b| b.approved);
        approved.flat_map(|b| b.ways_back.iter().map(|to| (b.digest, env.repo.bundle(*to).digest))).collect()
    }
    pub(super) fn request<'a>(
        env: &Env,
        id: RolloutId,
        generation: Generation,
        bundle: BundleNo,
        ways_back: &'a BTreeSet<(Digest, Digest)>,
        requires: &'a Requires,
        policy: Policy,
    ) -> Request<'a> {
        let b = env.repo.bundle(bundle);
        Request {
            id,
            parent: None,
            generation,
            model: env.repo.model.clone(),
            version: b.version.clone(),
            bundle: b.digest,
            release_counter: b.counter,
            bytes: env.model.bytes,
            requires,
            ways_back,
            policy,
        }
    }
    pub(super) fn candidate(&self, env: &Env, ix: Ix) -> Candidate {
        let known = &self.devices[ix as usize];
        let ring = known.rig.then(|| ("ring".to_owned(), "hil".to_owned()));
        let mut candidate = Candidate::new(known.id.clone());
        candidate.labels = ring.into_iter().collect::<BTreeMap<_, _>>();
        candidate.online = known.session.is_some();
        candidate.active = known.active.map(|b| env.repo.bundle(b).digest);
        candidate.active_counter = known.active.map(|b| env.repo.bundle(b).counter);
        candidate.quarantined = known.quarantined.then(|| "it failed again and again".to_owned());
        candidate
    }
    pub(super) fn next_generation(&mut self) -> Generation {
        self.generation = self.generation.max(super::execute::first_generation(self.epoch)) + 1;
        Generation(self.generation)
    }

    /// Plans and starts. Why not, if it cannot be.
    ///
    /// # Errors
    /// A sentence.
    pub fn start(
        &mut self,
        env: &mut Env,
        no: u32,
        bundle: BundleNo,
        policy: Policy,
        supersede: bool,
    ) -> Result<(), String> {
        let (ways, requires) = (Self::ways(env), Requires::default());
        let id: RolloutId = format!("r{no}").parse().map_err(|e| format!("{e}"))?;
        let generation = self.next_generation();
        let request = Self::request(env, id.clone(), generation, bundle, &ways, &requires, policy);
        let all = (0..self.devices.len() as Ix).filter(|ix| !self.devices[*ix as usize].revoked);
        let inventory: Vec<Candidate> = all.map(|ix| self.candidate(env, ix)).collect();
        let plan = plan(request, &inventory).map_err(|e| e.to_string())?;
        if !plan.policy.authorize {
            let wanted: Vec<Ix> =
                plan.waves.iter().flat_map(|w| &w.devices).filter_map(|d| ix_of(&d.device)).collect();
            self.others(plan.policy.priority, &wanted, supersede)?;
        }
        let caps: Vec<Option<usize>> = plan.waves.iter().map(|w| w.cap).collect();
        if !self.stale {
            env.oracle.planned(env.now, no, generation, &caps);
        }
        let sizes: Vec<String> = plan.waves.iter().map(|w| w.devices.len().to_string()).collect();
        self.say(
            env,
            format!(
                "{id} brings {} to {} in waves of {}",
                plan.version,
                super::counted(plan.devices()),
                sizes.join(", ")
            ),
        );
        for warning in &plan.warnings {
            self.say(env, format!("{id} warning: {warning}"));
        }
        let fresh = WaveFact {
            state: WaveState::Waiting,
            opened: None,
            since: env.now,
            skipped: false,
            verdict: None,
        };
        self.rollouts.push(Rollout {
            no,
            id,
            bundle,
            state: RolloutState::Planned,
            started: None,
            supersede,
            shares: false,
            back: None,
            since: env.now,
            reason: "planned".to_owned(),
            waves: vec![fresh; plan.waves.len()],
            rows: Vec::with_capacity(plan.devices()),
            more: Vec::with_capacity(plan.devices()),
            index: vec![u32::MAX; self.devices.len()],
            outside: (0..self.devices.len() as Ix).filter(|ix| !self.devices[*ix as usize].revoked).collect(),
            plan,
        });
        let at = self.rollouts.len() - 1;
        let planned: Vec<(usize, Ix, Option<Digest>, Option<Digest>)> = self.rollouts[at]
            .plan
            .waves
            .iter()
            .enumerate()
            .flat_map(|(wave, w)| w.devices.iter().map(move |d| (wave, d)))
            .filter_map(|(wave, d)| Some((wave, ix_of(&d.device)?, d.previous, d.champion)))
            .collect();
        for (wave, ix, previous, champion) in planned {
            self.admit(env, at, ix, wave, previous, champion);
        }
        if self.rollouts[at].plan.policy.authorize {
            let why = "operator: somebody planned it; a second person must say yes";
            self.set_state(env, at, RolloutState::AwaitingAuthorization, why);
            return Ok(());
        }
        self.begin(env, at)
    }
    /// A second person's yes.
    pub fn authorize(&mut self, env: &mut Env) {
        if let Some(at) = self.act(&[RolloutState::AwaitingAuthorization])
            && let Err(why) = self.begin(env, at)
        {
            let text = format!("{} is refused: {why}", self.rollouts[at].id);
            self.say(env, text);
        }
    }
    /// Makes a plan run, unless another rollout forbids it.
    fn begin(&mut self, env: &mut Env, at: usize) -> Result<(), String> {
        let r = &self.rollouts[at];
        let (id, priority, supersede) = (r.id.clone(), r.plan.policy.priority, r.supersede);
        let wanted: Vec<Ix> = r.more.iter().map(|m| m.ix).collect();
        for (other, common) in self.others(priority, &wanted, supersede)? {
            if supersede {
                self.set_state(env, other, RolloutState::Superseded, &format!("{id} took its place"));
            } else {
                let of = &self.rollouts[other].id;
                let text =
                    format!("{id} (priority {priority}) takes over {} of {of}", super::counted(common));
                self.say(env, text);
            }
        }
        self.set_state(env, at, RolloutState::Running, "started");
        Ok(())
    }
    /// The rollouts whose place this one takes, or whose devices: with how many of these. Why it may not, if it may not.
    fn others(&self, priority: i32, wanted: &[Ix], supersede: bool) -> Result<Vec<(usize, usize)>, String> {
        let mut found = Vec::new();
        for (i, o) in self.rollouts.iter().enumerate().filter(|(_, o)| o.state.is_active()) {
            let common = wanted.iter().filter(|ix| o.row(**ix).is_some()).count();
            if common == 0 {
                continue;
            }
            if supersede && matches!(o.state, RolloutState::Halting | RolloutState::Reverting) {
                return Err(format!("{} is {}: its end is waited for", o.id, o.state));
            }
            if !supersede && priority <= o.plan.policy.priority {
                return Err("a model has one rollout at a time".to_owned());
            }
            found.push((i, common));
        }
        Ok(found)
    }
    pub(super) fn admit(
        &mut self,
        env: &mut Env,
        at: usize,
        ix: Ix,
        wave: usize,
        previous: Option<Digest>,
        champion: Option<Digest>,
    ) {
        let known = &self.devices[ix as usize];
        let r = &mut self.rollouts[at];
        if r.row(ix).is_some() {
            return;
        }
        r.outside.remove(&ix);
        r.index[ix as usize] = u32::try_from(r.rows.len()).expect("fewer devices than that");
        let champion_no = champion.and_then(|c| env.repo.number(&c));
        let mut fact = DeviceFact::new(known.id.clone(), wave);
        (fact.online, fact.revoked, fact.previous) = (known.session.is_some(), known.revoked, previous);
        fact.zone = known.zone;
        r.rows.push(fact);
        r.more.push(More {
            ix,
            base: Tally::default(),
            base_shadow: 0,
            offered: false,
            champion: champion_no,
        });
        env.oracle.joins(r.no, ix, wave);
        self.follow_row(env, at, ix);
    }

    fn act(&self, wanted: &[RolloutState]) -> Option<usize> {
        let at = self.rollouts.len().checked_sub(1)?;
        wanted.contains(&self.rollouts[at].state).then_some(at)
    }
    /// Offers nothing new.
    pub fn pause(&mut self, env: &mut Env) {
        if let Some(at) = self.act(&[RolloutState::Running]) {
            self.set_state(env, at, RolloutState::Paused, "operator: paused");
        }
    }
    /// Goes on: with the present wave tried again, or without its yes.
    pub fn resume(&mut self, env: &mut Env, skip: bool) {
        let Some(at) = self.act(&[RolloutState::Paused]) else { return };
        let present = self.rollouts[at].waves.iter().position(|w| {
            w.state.is_open()
                || (matches!(w.state, WaveState::Failed | WaveState::Inconclusive) && !w.skipped)
        });
        if let Some(wave) = present {
            if skip {
                if self.rollouts[at].waves[wave].state.is_open() {
                    self.set_wave(env, at, wave, WaveState::Inconclusive);
                }
                self.rollouts[at].waves[wave].skipped = true;
            } else {
                self.retry_wave(env, at, wave);
            }
        }
        let how = if skip {
            "operator: resumed without the wave's yes"
        } else {
            "operator: resumed, the wave is tried again"
        };
        self.set_state(env, at, RolloutState::Running, how);
    }
    fn retry_wave(&mut self, env: &mut Env, at: usize, wave: usize) {
        use UpdateState as U;
        for d in self.rollouts[at].rows.iter_mut().filter(|d| d.wave == wave) {
            let ended = matches!(
                d.state,
                DeviceState::Update(
                    U::Failed
                        | U::Rejected
                        | U::RolledBack
                        | U::Cancelled
                        | U::Expired
                        | U::TooLate
                        | U::UnableToRollBack
                )
            );
            if ended {
                (d.state, d.code) = (DeviceState::Waiting, None);
                if let Some(offer) = &mut d.offer {
                    offer.attempts = 0;
                }
            }
        }
        let r = &mut self.rollouts[at];
        let failed = r.waves[wave].state == WaveState::Failed;
        let rows: Vec<usize> = r.members(wave).filter(|row| r.more[*row].offered).collect();
        // Tried again, it is judged by what comes from now on.
        for row in rows.iter().filter(|_| failed) {
            self.count_from_now(at, *row);
        }
        let r = &mut self.rollouts[at];
        // A wave whose devices only ran the version beside the active one has not earned more.
        let served = rows.iter().any(|row| r.rows[*row].offer.is_some_and(|o| !o.shadow));
        let shadow = r.plan.policy.waves[wave].shadow_ms > 0 && !served;
        let w = &mut r.waves[wave];
        (w.verdict, w.skipped, w.opened) = (None, false, None);
        let reopened = if shadow { WaveState::Shadowing } else { WaveState::Offering };
        self.set_wave(env, at, wave, reopened);
        for row in rows {
            let ix = self.rollouts[at].more[row].ix;
            self.follow_row(env, at, ix);
        }
    }
    /// Revokes what is not committed.
    pub fn halt(&mut self, env: &mut Env) {
        if let Some(at) = self.act(&[RolloutState::Running, RolloutState::Paused]) {
            self.set_state(env, at, RolloutState::Halting, "operator: halted");
        }
    }
    /// Gives every device its previous version back.
    pub fn revert(&mut self, env: &mut Env) {
        use RolloutState as S;
        if let Some(at) = self.act(&[S::Running, S::Paused, S::Halted, S::Completed]) {
            self.set_state(env, at, S::Reverting, "operator: reverted");
        }
    }
}
