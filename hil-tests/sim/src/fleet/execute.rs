//! Carrying rollouts out, as the fleet's executor does: facts in, actions of the core out, a part of a step in one
//! transaction.

use longshore_fleet_core::plan::exclusion;
use longshore_fleet_core::rollout::{
    Action, DeviceState, Facts, LateDevice, OFFER_GOOD_FOR_MS, Offer, RolloutState, Standing, WaveState,
    in_parts, plan_revert, step,
};
use longshore_trust::{AssignmentVersion, DeviceId, UnixMs};
use longshore_wire::v1::{CommandAction, Commit, Guard, Mode, Probation, UpdateState};

use super::tell::Draft;
use super::told::told;
use super::{Fleet, Rollout};
use crate::env::Env;
use crate::queue::{Event, Ix};

/// How long an offer or command is good, ms: as the executor says.
pub(super) const GOOD_FOR_MS: u64 = OFFER_GOOD_FOR_MS;
/// State changes that follow from one another are carried out in one tick, up to this many.
const STEPS_A_TICK: usize = 16;
/// In a world where the fleet is killed, so many devices are told something in one transaction.
const AT_ONCE: usize = 8;
/// A deadline is kept when it is looked at soon after it, ms.
const SLACK_MS: u64 = 600_000;
/// A completed rollout is looked at for late devices, ms.
const LATE_EVERY_MS: u64 = 600_000;

/// How a device is offered a version.
#[derive(Debug, Clone, Copy)]
pub(super) struct Terms {
    pub(super) probation: Probation,
    pub(super) mode: Mode,
    pub(super) until: Option<UnixMs>,
    attempt: u32,
}

impl Fleet {
    /// The executor looks.
    pub fn tick(&mut self, env: &mut Env) {
        let resting = self.rollouts.iter().all(|r| r.state.is_terminal());
        let due = env.now.since(self.looked) >= if resting { LATE_EVERY_MS } else { 60_000 };
        if !self.dirty && !due {
            return;
        }
        (self.dirty, self.looked) = (false, env.now);
        for at in self.executing() {
            for _ in 0..STEPS_A_TICK {
                if env.oracle.broken.is_some() || !self.advance(env, at) {
                    break;
                }
            }
            self.deadlines(env, at);
        }
    }

    /// One step of one rollout. Whether anything was done.
    fn advance(&mut self, env: &mut Env, at: usize) -> bool {
        self.hold(at);
        let late = match self.rollouts[at].state {
            RolloutState::Running | RolloutState::Completed => self.late(env, at),
            _ => Vec::new(),
        };
        let r = &self.rollouts[at];
        let facts = Facts {
            plan: &r.plan,
            state: r.state,
            since: r.since,
            start_at: None,
            waves: &r.waves,
            devices: &r.rows,
            late: &late,
            zones: &env.zones,
            revert: r.back.as_ref(),
        };
        let actions = step(env.now, &facts);
        if actions.is_empty() {
            return false;
        }
        let only_numbers = actions.iter().all(|a| matches!(a, Action::Verdict { .. }));
        // What a wave leaves a stage for is known before it is told.
        let (mut actions, others): (Vec<_>, Vec<_>) =
            actions.into_iter().partition(|a| matches!(a, Action::Verdict { .. }));
        actions.extend(others);
        let crashes = env.faults.fleet_crash > 0.0 && !self.stale;
        for part in in_parts(actions, if crashes { AT_ONCE } else { usize::MAX }) {
            let mut push = Vec::new();
            for action in part {
                self.carry_out(env, at, action, &mut push);
            }
            if crashes && env.chance.chance(env.faults.fleet_crash) {
                // It was committed, and nobody is told.
                env.timeline.trace(env.now, || "the fleet was killed after a commit".to_owned());
                self.killed();
                env.after(1, Event::Connect(Ix::MAX, 0));
                return false;
            }
            push.sort_unstable();
            push.dedup();
            for ix in push {
                self.push(env, ix);
            }
        }
        !only_numbers
    }

    fn late(&self, env: &Env, at: usize) -> Vec<LateDevice> {
        let r = &self.rollouts[at];
        if r.outside.is_empty() {
            return Vec::new();
        }
        let (ways, requires) = (Self::ways(env), Default::default());
        let request = Self::request(
            env,
            r.id.clone(),
            r.plan.generation,
            r.bundle,
            &ways,
            &requires,
            r.plan.policy.clone(),
        );
        let candidates = r.outside.iter().map(|ix| (*ix, self.candidate(env, *ix)));
        candidates
            .filter(|(ix, _)| {
                let mut others = self.rollouts.iter().filter(|o| o.id != r.id && o.state.is_active());
                !others.any(|o| o.row(*ix).is_some())
            })
            .filter(|(ix, c)| !self.devices[*ix as usize].revoked && exclusion(&request, c).is_none())
            .map(|(_, c)| LateDevice {
                previous: longshore_fleet_core::plan::way_back(
                    r.plan.bundle,
                    c.active,
                    r.plan.previous,
                    &ways,
                ),
                champion: c.active,
                device: c.device,
                labels: c.labels,
            })
            .collect()
    }

    fn carry_out(&mut self, env: &mut Env, at: usize, action: Action, push: &mut Vec<Ix>) {
        match action {
            Action::Rollout { state, reason, .. } => self.set_state(env, at, state, &reason),
            Action::Wave { wave, state } => self.set_wave(env, at, wave, state),
            Action::Verdict { wave, verdict } => self.rollouts[at].waves[wave].verdict = Some(verdict),
            Action::Admit { device, wave, previous, champion } => {
                let Some(ix) = self.find(&device) else { return };
                let text = format!("{device} joins wave {wave} of {} late", self.rollouts[at].id);
                self.say(env, text);
                self.admit(env, at, ix, wave, previous, champion);
            }
            Action::Device { device, state, code } => {
                let Some(row) = self.row_of(at, &device) else { return };
                let fact = &mut self.rollouts[at].rows[row];
                (fact.state, fact.code) = (state, code);
            }
            Action::Offer { device, commit, probation_ms, mode, until, attempt } => {
                let Some(row) = self.row_of(at, &device) else { return };
                let probation = Probation { min_ms: probation_ms, commit };
                self.offer(env, at, row, Terms { probation, mode, until, attempt });
                push.push(self.rollouts[at].more[row].ix);
            }
            Action::Commit { device, version } => {
                let Some(row) = self.row_of(at, &device) else { return };
                self.mark(at, row, |o| o.committed_at = Some(env.now));
                let ix = self.rollouts[at].more[row].ix;
                self.command(env, ix, CommandAction::Commit { version }, GOOD_FOR_MS);
                push.push(ix);
            }
            Action::RenewLease { device, version, lease_ms } => {
                let Some(row) = self.row_of(at, &device) else { return };
                self.mark(at, row, |o| o.renewed_at = Some(env.now));
                let ix = self.rollouts[at].more[row].ix;
                self.command(env, ix, CommandAction::RenewLease { version }, lease_ms);
                push.push(ix);
            }
            Action::Halt { device, version } => {
                let Some(row) = self.row_of(at, &device) else { return };
                self.mark(at, row, |o| o.halted_at = Some(env.now));
                let ix = self.rollouts[at].more[row].ix;
                self.command(env, ix, CommandAction::Halt { version }, GOOD_FOR_MS);
                push.push(ix);
            }
            Action::Begin => {}
            Action::PlanRevert { gated } => {
                let generation = self.next_generation();
                let r = &self.rollouts[at];
                let back = plan_revert(&r.plan, &r.rows, generation, gated, env.now);
                let sizes: Vec<String> = back.waves.iter().map(|w| w.len().to_string()).collect();
                let text = format!("{} goes back in waves of {}", r.id, sizes.join(", "));
                self.rollouts[at].back = Some(back);
                self.say(env, text);
            }
            Action::Quarantine { device, reason } => {
                let Some(ix) = self.find(&device) else { return };
                self.say(env, format!("{device} is put into quarantine: {reason}"));
                self.devices[ix as usize].quarantined = true;
                self.follow_device(env, ix);
            }
            Action::Revert { device, to } => {
                let Some(row) = self.row_of(at, &device) else { return };
                let Some(generation) = self.rollouts[at].back.as_ref().map(|r| r.generation) else { return };
                let Some(bundle) = env.repo.number(&to) else { return };
                let ix = self.rollouts[at].more[row].ix;
                let id = Some(self.rollouts[at].id.clone());
                let probation = Probation { min_ms: 0, commit: Commit::Local };
                let terms = Terms { probation, mode: Mode::Active, until: None, attempt: 1 };
                let draft =
                    Draft { rollout: id, generation, bundle, guard: guard(&self.rollouts[at]), terms };
                let version = self.assign(env, ix, draft);
                self.rollouts[at].rows[row].revert = Some(version);
                push.push(ix);
            }
        }
    }
    fn mark(&mut self, at: usize, row: usize, set: impl FnOnce(&mut Offer)) {
        if let Some(offer) = &mut self.rollouts[at].rows[row].offer {
            set(offer);
        }
    }
    fn find(&self, device: &DeviceId) -> Option<Ix> {
        device.as_str().strip_prefix("dev-").and_then(|n| n.parse().ok())
    }
    fn row_of(&self, at: usize, device: &DeviceId) -> Option<usize> {
        self.rollouts[at].row(self.find(device)?)
    }

    fn offer(&mut self, env: &mut Env, at: usize, row: usize, terms: Terms) {
        let (r, now) = (&self.rollouts[at], env.now);
        let (ix, wave, no) = (r.more[row].ix, r.rows[row].wave, r.no);
        let (state, w) = (r.state, &r.waves[wave]);
        if !self.stale {
            env.oracle.holds(state != RolloutState::Paused, now, "paused", || {
                format!("r{no} is paused and offers its version to device {ix}")
            });
            let over = matches!(
                state,
                RolloutState::Halting
                    | RolloutState::Halted
                    | RolloutState::Reverting
                    | RolloutState::Reverted
                    | RolloutState::Superseded
            );
            env.oracle.holds(!over, now, "halted", || {
                format!("r{no} is {state} and offers its version to device {ix}")
            });
            let open = w.state.is_open() || w.state == WaveState::Passed || w.skipped;
            env.oracle.holds(open, now, "exposure", || {
                format!("wave {wave} of r{no} is {} and offers the version to device {ix}", w.state)
            });
            env.oracle.offers(now, no, wave, ix);
        }
        let id = Some(r.id.clone());
        let (bundle, generation, guard) = (r.bundle, r.plan.generation, guard(r));
        let draft = Draft { rollout: id, generation, bundle, guard, terms };
        let version = self.assign(env, ix, draft);
        if !std::mem::replace(&mut self.rollouts[at].more[row].offered, true) {
            self.count_from_now(at, row);
        }
        let fact = &mut self.rollouts[at].rows[row];
        (fact.state, fact.code) = (DeviceState::Update(UpdateState::Offered), None);
        fact.offer = Some(Offer {
            version,
            at: now,
            attempts: terms.attempt,
            committed_at: None,
            renewed_at: None,
            halted_at: None,
            until: terms.until,
            shadow: terms.mode == Mode::Shadow,
            passed_over: false,
        });
        self.follow_row(env, at, ix);
    }

    /// A device is judged by what it counts with the rollout's bundle from now on.
    pub(super) fn count_from_now(&mut self, at: usize, row: usize) {
        let r = &mut self.rollouts[at];
        let (bundle, more) = (r.bundle, &mut r.more[row]);
        let known = &self.devices[more.ix as usize];
        more.base = known.totals.iter().find(|(b, _)| *b == bundle).map(|(_, t)| *t).unwrap_or_default();
        more.base_shadow = known.shadow_of(bundle);
    }

    /// A rollout is in this state from now on.
    pub(super) fn set_state(&mut self, env: &mut Env, at: usize, state: RolloutState, reason: &str) {
        use RolloutState as S;
        let r = &mut self.rollouts[at];
        let (from, no) = (r.state, r.no);
        let can_be = match from {
            S::Halted | S::Completed => state == S::Reverting,
            S::Paused => state != from && !matches!(state, S::Completed),
            S::Reverted | S::Superseded => false,
            S::Halting => matches!(state, S::Halted | S::Superseded),
            S::Reverting => matches!(state, S::Reverted | S::Superseded | S::Paused),
            _ => state != from,
        };
        env.oracle.holds(can_be, env.now, "audit", || {
            format!("r{no} went from {from} to {state}, which cannot be")
        });
        (r.state, r.since, r.reason) = (state, env.now, reason.to_owned());
        if state == S::Running {
            r.started.get_or_insert(env.now);
        }
        let text = format!("{} is {state}: {reason}", self.rollouts[at].id);
        self.record(env, &text);
        // The lines of its wave, just above, said what its gates found.
        let end = reason.match_indices(": ").nth(1).filter(|_| reason.contains(": wave ")).map(|(at, _)| at);
        self.say(
            env,
            format!("{} is {state}: {}", self.rollouts[at].id, &reason[..end.unwrap_or(reason.len())]),
        );
        self.dirty = true;
    }
    /// A wave is in this state from now on.
    pub(super) fn set_wave(&mut self, env: &mut Env, at: usize, wave: usize, state: WaveState) {
        if state == WaveState::Passed && !self.stale {
            self.check_evidence(env, at, wave);
        }
        let r = &mut self.rollouts[at];
        let w = &mut r.waves[wave];
        let beside = (w.state == WaveState::Shadowing).then_some("shadow_");
        (w.state, w.since) = (state, env.now);
        match state {
            WaveState::Offering if beside.is_some() => {}
            WaveState::Shadowing | WaveState::Offering => w.opened = Some(env.now),
            WaveState::Waiting => w.opened = None,
            _ => {}
        }
        let r = &self.rollouts[at];
        let text = format!("{} wave {wave} is {state}: {}", r.id, told(r, wave, beside));
        self.record(env, &text);
        self.say(env, text);
        self.dirty = true;
    }

    /// A wave passes: the oracle looks for itself at what is there.
    fn check_evidence(&self, env: &mut Env, at: usize, wave: usize) {
        let r = &self.rollouts[at];
        let (gate, no, now) = (&r.plan.policy.gate, r.no, env.now);
        let members: Vec<usize> = r.members(wave).filter(|row| !r.rows[*row].revoked).collect();
        if members.is_empty() {
            return;
        }
        let opened = r.waves[wave].opened.unwrap_or(now);
        let soak = r.plan.policy.waves[wave].soak_ms;
        env.oracle.holds(now.since(opened) >= soak, now, "evidence", || {
            format!("wave {wave} of r{no} passed before its soak of {soak} ms was over")
        });
        let (mut rows, mut labelled, mut compared, mut up, mut claimed) = (0, 0, false, 0u64, 0u64);
        for row in &members {
            let (fact, more) = (&r.rows[*row], &r.more[*row]);
            let known = &self.devices[more.ix as usize];
            let of = |b| known.totals.iter().find(|(n, _)| *n == b).map(|(_, t)| *t).unwrap_or_default();
            let new = of(r.bundle).since(&more.base);
            rows += new.rows;
            if more.champion.is_some() {
                labelled += new.labelled;
                compared = true;
            }
            let runs = known.said.as_ref().is_some_and(|(_, _, told)| {
                fact.offer.is_some_and(|o| o.version == told.version)
                    && matches!(
                        told.state,
                        UpdateState::Probation | UpdateState::Committed | UpdateState::Already
                    )
            });
            up += u64::from(runs);
            claimed += u64::from(fact.state.standing() == Standing::Ok && !fact.revoked);
        }
        let verdict = r.waves[wave].verdict.as_ref().map_or(0, |v| v.counts.ok);
        env.oracle.holds(verdict.max(claimed) <= up, now, "offline", || {
            format!(
                "wave {wave} of r{no} passed with {} devices as a success, {up} have said that they run it",
                verdict.max(claimed)
            )
        });
        env.oracle.holds(
            up >= u64::from(gate.min_devices).min(members.len() as u64),
            now,
            "evidence",
            || format!("wave {wave} of r{no} passed with {up} devices that run the version"),
        );
        env.oracle.holds(rows >= gate.min_rows, now, "evidence", || {
            format!("wave {wave} of r{no} passed with {rows} rows, {} are asked for", gate.min_rows)
        });
        let needs_labels = gate.accuracy_drop.is_some() && compared;
        env.oracle.holds(!needs_labels || labelled >= gate.min_labelled, now, "evidence", || {
            format!(
                "wave {wave} of r{no} passed with {labelled} labelled rows, {} are asked for",
                gate.min_labelled
            )
        });
    }
    /// Every state that is no end is left at its deadline.
    fn deadlines(&self, env: &mut Env, at: usize) {
        let r = &self.rollouts[at];
        let (gate, no, state, now) = (&r.plan.policy.gate, r.no, r.state, env.now);
        let end = state.deadline(r.since, r.plan.waves.len(), gate.deadline_ms);
        let kept = state == RolloutState::Running || end.is_none_or(|end| now <= end.plus_ms(SLACK_MS));
        env.oracle.holds(kept, now, "deadline", || format!("r{no} is {state} beyond its deadline"));
        let running = state == RolloutState::Running;
        let late = r.waves.iter().position(|w| {
            let opened = w.opened.unwrap_or(w.since).max(r.since);
            w.state.is_open() && now.since(opened) > gate.deadline_ms + SLACK_MS
        });
        env.oracle.holds(!running || late.is_none(), now, "deadline", || {
            format!("wave {} of r{no} is open beyond its deadline", late.unwrap_or(0))
        });
    }
}

fn guard(r: &Rollout) -> Guard {
    let guard = r.plan.policy.guard;
    Guard {
        max_error_permille: (guard.error_rate * 1000.0).round() as u16,
        max_crashes: guard.crashes,
        max_p99_percent: guard.p99_percent,
        max_score_shift_permille: (guard.score_shift * 1000.0).round() as u16,
    }
}

/// No generation of an epoch is below this.
pub(super) fn first_generation(epoch: u64) -> u64 {
    epoch.saturating_sub(1) << 20
}
/// No number of an epoch is below this: a restored fleet has forgotten what it gave out, devices have not.
pub(super) fn floor(epoch: u64) -> u64 {
    epoch.saturating_sub(1).min(1 << 20) << 32
}

impl Fleet {
    pub(super) fn top(&self, ix: Ix) -> AssignmentVersion {
        let known = &self.devices[ix as usize];
        AssignmentVersion(1 + floor(self.epoch).max(known.top).max(known.accepted))
    }
}
