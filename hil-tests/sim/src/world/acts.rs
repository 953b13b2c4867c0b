//! What a scenario makes happen, and how it ends.

use super::World;
use crate::env::purpose;
use crate::fleet::counted;
use crate::queue::{Event, Ix};
use crate::rng::Rng;
use crate::scenario::{Act, Who, policy};

/// A stale process looks this often, ms.
const STALE_MS: u64 = 60_000;

impl World {
    /// Whom a happening is about, always the same under one seed.
    fn chosen(&self, n: usize) -> Vec<Ix> {
        let all = self.devices.len() as Ix;
        let who = self.scenario.at[n].who().unwrap_or(Who::All);
        let draw =
            |ix: Ix| Rng::new(self.env.seed, purpose::CHOICE + n as u64 * 1_000, u64::from(ix)).next_u64();
        let some = |count: usize| {
            let mut order: Vec<Ix> = (0..all).collect();
            order.sort_by_cached_key(|ix| draw(*ix));
            order.truncate(count);
            order.sort_unstable();
            order
        };
        match who {
            Who::All => (0..all).collect(),
            Who::Share(share) => some((f64::from(all) * share).round() as usize),
            Who::Count(count) => some(count as usize),
            Who::Device(ix) => (ix..all).take(1).collect(),
            Who::Wave(wave) => {
                let rows = self.fleet.newest().map(|r| r.members(wave).map(|row| r.more[row].ix).collect());
                rows.unwrap_or_default()
            }
        }
    }
    pub(super) fn start(&mut self, version: u8, text: Option<&str>, supersede: bool) {
        let text = text.unwrap_or(&self.scenario.policy);
        let Ok(policy) = policy(text) else { return };
        self.rollouts += 1;
        self.started = true;
        if let Err(why) = self.fleet.start(&mut self.env, self.rollouts, version, policy, supersede) {
            self.env.timeline.say(self.env.now, format!("r{} is refused: {why}", self.rollouts));
        }
    }

    /// Something of the scenario happens.
    pub(super) fn befall(&mut self, n: usize) {
        let h = self.scenario.at[n].clone();
        let length = h.length_ms().unwrap_or(0);
        let chosen = self.chosen(n);
        let said = |what: &str| format!("{what}: {}", counted(chosen.len()));
        let now = self.env.now;
        let running =
            if matches!(h.act, Act::Broker | Act::FleetDown) { self.running() } else { String::new() };
        let mut lasts = true;
        match h.act {
            Act::Start | Act::Supersede => {
                lasts = false;
                self.start(h.version.unwrap_or(2), h.policy.as_deref(), h.act == Act::Supersede);
            }
            Act::Authorize | Act::Pause | Act::RetryWave | Act::SkipWave | Act::Halt | Act::Revert => {
                lasts = false;
                if self.env.fleet {
                    self.person(h.act);
                }
            }
            Act::Partition => {
                self.env.timeline.say(now, said("cut off"));
                chosen.iter().for_each(|ix| self.cut(*ix));
            }
            Act::Off => {
                self.env.timeline.say(now, said("switched off"));
                for ix in &chosen {
                    self.devices[*ix as usize].off += 1;
                    self.devices[*ix as usize].power_off(&mut self.env);
                }
            }
            Act::PowerCut | Act::TornWrite => {
                lasts = false;
                let torn = h.act == Act::TornWrite;
                self.env.timeline.say(now, said(if torn { "power cut, database torn" } else { "power cut" }));
                for ix in &chosen {
                    let device = &mut self.devices[*ix as usize];
                    if device.run.is_some() {
                        device.power_cut(&mut self.env, torn);
                    }
                }
            }
            Act::DiskFull => {
                self.env.timeline.say(now, said("disk full"));
                chosen.iter().for_each(|ix| self.devices[*ix as usize].full = true);
            }
            Act::ClockJump => {
                lasts = false;
                let days = h.days.unwrap_or(3_650);
                self.env.timeline.say(now, said(&format!("clocks jump by {days} days")));
                chosen.iter().for_each(|ix| self.devices[*ix as usize].wall += days * 86_400_000);
            }
            Act::Broker => {
                self.env.timeline.say(now, format!("the broker is gone; {}", running));
                self.env.broker = false;
                self.sessions_end();
            }
            Act::SessionLoss => {
                lasts = false;
                self.env.timeline.say(now, "the broker lost all sessions");
                self.sessions_end();
            }
            Act::FleetDown => {
                self.env.timeline.say(now, format!("the fleet is killed; {}", running));
                self.env.fleet = false;
                self.fleet.killed();
                self.sessions_end();
            }
            Act::Backup => {
                lasts = false;
                self.env.timeline.say(now, "a backup of the fleet is taken");
                self.back_up();
            }
            Act::Restore => {
                lasts = false;
                self.restore();
            }
            Act::StaleExecutor => {
                if let Some(old) = self.backup.clone() {
                    self.env.timeline.say(now, "an old process of the fleet acts beside the present one");
                    self.stale = Some(old.into_stale(self.env.repo.director()));
                    self.env.after(STALE_MS, Event::StaleTick);
                }
            }
            Act::RotateDirector => {
                lasts = false;
                self.env.timeline.say(now, "offline keys name a new director");
                self.env.repo.rotate();
                self.rung();
            }
            Act::StealDirector => {
                self.env.timeline.say(now, "somebody has the director's key, and uses it");
                self.thief = Some((self.env.repo.director(), 0));
                self.env.after(1_000, Event::Thief);
            }
            Act::Enrol => {
                lasts = false;
                let count = match h.who() {
                    Ok(Who::Count(count)) => count,
                    _ => 1,
                };
                self.env.timeline.say(now, format!("enrolled: {}", counted(count as usize)));
                for _ in 0..count {
                    self.env.oracle.enrol();
                    self.enrol(false, 120);
                }
            }
            Act::Decommission => {
                lasts = false;
                self.env.timeline.say(now, said("decommissioned"));
                for ix in &chosen {
                    self.fleet.revoke(*ix);
                    let device = &mut self.devices[*ix as usize];
                    device.power_off(&mut self.env);
                    device.decommissioned = true;
                }
            }
        }
        self.befallen[n] = chosen;
        if lasts {
            self.env.after(length, Event::ActEnds(n));
        } else {
            self.acts_left -= 1;
        }
        self.fleet.touch();
    }
    /// Something of the scenario is over.
    pub(super) fn relieve(&mut self, n: usize) {
        self.acts_left -= 1;
        let now = self.env.now;
        let chosen = std::mem::take(&mut self.befallen[n]);
        let act = self.scenario.at[n].act;
        let running =
            if matches!(act, Act::Broker | Act::FleetDown) { self.running() } else { String::new() };
        match act {
            Act::Partition => {
                self.env.timeline.say(now, format!("can be reached again: {}", counted(chosen.len())));
                for ix in chosen {
                    let device = &mut self.devices[ix as usize];
                    device.cut -= 1;
                    if device.cut == 0 {
                        device.reconnects(&mut self.env);
                    }
                }
            }
            Act::Off => {
                self.env.timeline.say(now, format!("switched on again: {}", counted(chosen.len())));
                for ix in chosen {
                    let device = &mut self.devices[ix as usize];
                    device.off -= 1;
                    let wait = device.rng.range(0, 60_000);
                    self.env.after(wait, Event::PowerOn(ix));
                }
            }
            Act::DiskFull => {
                self.env.timeline.say(now, format!("room on the disk again: {}", counted(chosen.len())));
                chosen.iter().for_each(|ix| self.devices[*ix as usize].full = false);
            }
            Act::Broker => {
                self.env.timeline.say(now, format!("the broker is back; {}", running));
                self.env.broker = true;
                self.all_reconnect();
            }
            Act::FleetDown => {
                self.env.timeline.say(now, format!("the fleet is back; {}", running));
                self.env.fleet = true;
                self.all_reconnect();
            }
            Act::StaleExecutor => {
                self.env.timeline.say(now, "the old process of the fleet is gone");
                self.stale = None;
            }
            Act::StealDirector => {
                self.env.timeline.say(now, "the stolen key is not used any more");
                self.thief = None;
            }
            _ => {}
        }
        self.fleet.touch();
    }

    fn person(&mut self, act: Act) {
        let (fleet, env) = (&mut self.fleet, &mut self.env);
        match act {
            Act::Authorize => fleet.authorize(env),
            Act::Pause => fleet.pause(env),
            Act::RetryWave => fleet.resume(env, false),
            Act::SkipWave => fleet.resume(env, true),
            Act::Halt => fleet.halt(env),
            _ => fleet.revert(env),
        }
    }
    fn cut(&mut self, ix: Ix) {
        let device = &mut self.devices[ix as usize];
        device.cut += 1;
        if let Some(session) = device.run.as_ref().and_then(|r| r.session) {
            let (soon, later) = (device.rng.range(1_000, 45_000), 60_000 + device.rng.range(0, 30_000));
            self.env.after(soon, Event::Drop(ix, session));
            self.env.after(later, Event::Gone(ix, session));
        }
    }
    /// Nobody is connected any more, and what was on its way is lost.
    pub(super) fn sessions_end(&mut self) {
        self.env.broker_life += 1;
        for device in &mut self.devices {
            if let Some(session) = device.run.as_ref().and_then(|r| r.session) {
                self.fleet.gone(device.ix, session);
                let soon = device.rng.range(100, 20_000);
                // What the broker has not taken is lost at once.
                device.lose_session();
                self.env.after(soon, Event::Drop(device.ix, session));
            }
        }
        self.fleet.touch();
    }
    fn all_reconnect(&mut self) {
        for device in &mut self.devices {
            if device.run.is_some() && device.cut == 0 {
                device.reconnects(&mut self.env);
            }
        }
    }
    fn back_up(&mut self) {
        if self.act_needed() {
            self.backup = Some(self.fleet.clone());
            self.env.oracle.back_up();
        }
    }
    fn restore(&mut self) {
        let Some(backup) = self.backup.clone() else { return };
        let (epoch, process) = (self.fleet.epoch + 1, self.fleet.process + 1);
        let running = self.running();
        self.env.timeline.say(self.env.now, format!("the fleet is restored from its last backup; {running}"));
        let known = self.fleet.devices.len();
        self.fleet = backup.restored(epoch, process);
        self.env.epoch = epoch;
        self.fleet.enrolled_since(&self.env, &self.devices[..known]);
        self.env.oracle.restore();
        self.sessions_end();
        self.all_reconnect();
    }
    fn rung(&mut self) {
        for ix in 0..self.devices.len() as Ix {
            self.fleet.ring(&mut self.env, ix);
        }
    }
    pub(super) fn stale_tick(&mut self) {
        let Some(mut old) = self.stale.take() else { return };
        old.touch();
        old.tick(&mut self.env);
        self.stale = Some(old);
        self.env.after(STALE_MS, Event::StaleTick);
    }
}
