//! The rehearsal: what a plan will probably do, before anybody says yes to it.
//!
//! Nothing here decides anything. Every number says what it is made of: an estimate from a history that is not there is
//! left out, not guessed.

use std::collections::BTreeMap;

use jiff::tz::TimeZone;
use longshore_trust::{DeviceId, UnixMs};
use serde::{Deserialize, Serialize};

use super::lint::lint;
use super::{Candidate, Plan};
use crate::gate::{Canary, Harm, Power, power};
use crate::policy::Schedule;
use crate::rollout::offering_ms;
use crate::wording::counted;

const HOUR_MS: u64 = 3_600_000;
/// A device counts as reached once it was there with this probability.
const REACHED: f64 = 0.9;
/// No further into the future, hours.
const HORIZON_H: u64 = 28 * 24;

/// What devices did with their present version.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Traffic {
    /// Rows that one device answers in an hour.
    pub rows_per_hour: f64,
    /// Share of these that get a label.
    pub labelled_share: f64,
    /// Hours that were counted, of each device.
    pub history_h: f64,
    /// Share of labelled rows answered right.
    pub accuracy: f64,
    /// Share of rows that failed.
    pub error_rate: f64,
    /// Devices it was measured on.
    pub devices: u64,
}

/// What a plan will probably do.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Rehearsal {
    /// How many devices of the fleet come to which verdict: `compatible`, `incompatible`, `outgrown`, `already`,
    /// `quarantined`, `not_selected`.
    pub verdicts: BTreeMap<String, u64>,
    /// Bytes that all devices of the plan download together.
    pub bytes: u64,
    /// Its waves.
    pub waves: Vec<WaveRehearsal>,
    /// When the last wave has probably passed, ms after the start; `None` where that cannot be said.
    pub eta_ms: Option<u64>,
    /// What devices did with their present version; `None` when nothing was counted.
    pub traffic: Option<Traffic>,
    /// What a person should know before the start.
    pub lint: Vec<String>,
}

/// What a wave will probably do.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct WaveRehearsal {
    /// Its number.
    pub wave: usize,
    /// Its devices.
    pub devices: u64,
    /// Of these, connected now.
    pub online: u64,
    /// Bytes they download.
    pub bytes: u64,
    /// How long it takes to offer it to all that are there, by caps, bandwidth and windows, ms.
    pub offering_ms: u64,
    /// When it has probably passed, ms after the start; `None` when it cannot be said, or not before the deadline.
    pub passes_ms: Option<u64>,
    /// Devices that will probably have been there by then, of those of which it is known when they are there.
    pub reached: f64,
    /// Devices that were never heard of before.
    pub unknown: u64,
    /// The chance to notice harms, where something was counted.
    pub power: Vec<WavePower>,
}

/// The chance of a wave to notice a harm.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct WavePower {
    /// The harm.
    pub harm: Harm,
    /// One sentence for people.
    pub text: String,
    /// The numbers.
    #[serde(flatten)]
    pub power: Power,
}

/// Harms that a rehearsal speaks of.
const HARMS: [Harm; 2] = [Harm::Accuracy(0.05), Harm::Errors(0.05)];

/// Rehearses a plan that was made from `inventory`. `zone` knows time zones by their names.
#[must_use]
pub fn rehearse(
    plan: &Plan,
    inventory: &[Candidate],
    traffic: Option<Traffic>,
    zone: &dyn Fn(&str) -> Option<TimeZone>,
    now: UnixMs,
) -> Rehearsal {
    let known: BTreeMap<&DeviceId, &Candidate> = inventory.iter().map(|c| (&c.device, c)).collect();
    let mut verdicts: BTreeMap<String, u64> =
        BTreeMap::from([("compatible".to_owned(), plan.devices() as u64)]);
    for e in &plan.excluded {
        *verdicts.entry(e.verdict.clone()).or_default() += 1;
    }
    let schedule = plan.policy.window.as_ref().and_then(|w| w.schedule().ok());
    let mut zones: BTreeMap<&str, TimeZone> = BTreeMap::new();
    for name in inventory.iter().filter_map(|c| c.zone.as_deref()) {
        if !zones.contains_key(name)
            && let Some(found) = zone(name)
        {
            zones.insert(name, found);
        }
    }
    let mut waves = Vec::new();
    let mut at = Some(0u64);
    for (i, wave) in plan.waves.iter().enumerate() {
        let devices: Vec<&Candidate> =
            wave.devices.iter().filter_map(|d| known.get(&d.device).copied()).collect();
        let fleet = Fleet { devices: &devices, schedule: schedule.as_ref(), zones: &zones };
        let begin = now.plus_ms(at.unwrap_or(0));
        let shown = rehearse_wave(plan, i, &fleet, traffic, begin);
        at = at.zip(shown.passes_ms).map(|(at, ms)| at.saturating_add(ms));
        waves.push(WaveRehearsal { passes_ms: at, ..shown });
    }
    let bytes = plan.bytes.saturating_mul(plan.devices() as u64);
    let lint = lint(plan, inventory, &waves, traffic, now);
    Rehearsal { verdicts, bytes, waves, eta_ms: at, traffic, lint }
}

/// The devices of a wave, and when each may be told.
struct Fleet<'a> {
    devices: &'a [&'a Candidate],
    schedule: Option<&'a Schedule>,
    zones: &'a BTreeMap<&'a str, TimeZone>,
}

impl Fleet<'_> {
    fn zone(&self, c: &Candidate) -> TimeZone {
        c.zone.as_deref().and_then(|name| self.zones.get(name)).cloned().unwrap_or(TimeZone::UTC)
    }
    /// How long a device waits for its window, ms.
    fn window_ms(&self, c: &Candidate, from: UnixMs) -> u64 {
        let Some(schedule) = self.schedule else { return 0 };
        let zone = self.zone(c);
        match schedule.open(from, &zone) {
            Some(_) => 0,
            None => schedule.next(from, &zone).map_or(u64::MAX, |at| at.since(from)),
        }
    }
    /// Hours until a device has been there with a probability of 0.9; `None` when nothing is known of it.
    fn hours_until_there(&self, c: &Candidate, from: UnixMs) -> Option<u64> {
        let wait_h = self.window_ms(c, from) / HOUR_MS;
        if c.online {
            return Some(wait_h);
        }
        let presence = c.presence.as_ref()?;
        let first = from.0 / HOUR_MS;
        let zone = self.zone(c);
        let mut away = 1.0;
        for h in 0..HORIZON_H {
            let hour = first + h;
            let may = self.schedule.is_none_or(|s| s.open(UnixMs(hour * HOUR_MS), &zone).is_some());
            if may {
                away *= 1.0 - presence.share(hour, first).unwrap_or(0.0);
            }
            if 1.0 - away >= REACHED {
                return Some(h);
            }
        }
        Some(HORIZON_H)
    }
}

fn rehearse_wave(
    plan: &Plan,
    wave: usize,
    fleet: &Fleet<'_>,
    traffic: Option<Traffic>,
    begin: UnixMs,
) -> WaveRehearsal {
    let policy = &plan.policy.waves[wave];
    let gate = &plan.policy.gate;
    let devices = fleet.devices.len() as u64;
    let online = fleet.devices.iter().filter(|c| c.online).count() as u64;
    let mut there: Vec<u64> =
        fleet.devices.iter().filter_map(|c| fleet.hours_until_there(c, begin)).collect();
    there.sort_unstable();
    let unknown = devices - there.len() as u64;
    // Devices that cannot be reached hold no wave open, but as many as the gate asks for must have been there.
    let need = u64::from(gate.min_devices).min(devices).max(1) as usize;
    let windows_ms = fleet.devices.iter().filter(|c| c.online).map(|c| fleet.window_ms(c, begin)).max();
    let paced_ms = offering_ms(devices, policy.max_per_minute, plan.policy.bandwidth, plan.bytes);
    let offering_ms = paced_ms.max(windows_ms.unwrap_or(0));
    let enough_ms = there.get(need - 1).map(|h| h.saturating_mul(HOUR_MS));
    let rows_ms = rows_ms(plan, fleet.devices.len() as u64, traffic);
    let passes_ms = if devices == 0 {
        Some(0)
    } else {
        enough_ms
            .map(|ms| {
                let ready = ms.max(offering_ms).saturating_add(policy.shadow_ms);
                ready.saturating_add(policy.soak_ms.max(rows_ms).max(policy.probation_ms))
            })
            .filter(|ms| *ms < gate.deadline_ms)
    };
    let by = passes_ms.unwrap_or(gate.deadline_ms) / HOUR_MS;
    let reached = fleet
        .devices
        .iter()
        .filter(|c| c.online || c.presence.is_some())
        .map(|c| chance(fleet, c, begin, by))
        .sum();
    WaveRehearsal {
        wave,
        devices,
        online,
        bytes: plan.bytes.saturating_mul(devices),
        offering_ms,
        passes_ms,
        reached,
        unknown,
        power: if devices == 0 { Vec::new() } else { powers(plan, wave, online.max(1), traffic) },
    }
}

/// The probability that a device has been there within so many hours.
fn chance(fleet: &Fleet<'_>, c: &Candidate, begin: UnixMs, hours: u64) -> f64 {
    if c.online && fleet.schedule.is_none() {
        return 1.0;
    }
    let (first, mut away) = (begin.0 / HOUR_MS, 1.0);
    let zone = fleet.zone(c);
    for hour in first..=first + hours.min(HORIZON_H) {
        if fleet.schedule.is_none_or(|s| s.open(UnixMs(hour * HOUR_MS), &zone).is_some()) {
            let share = c.presence.as_ref().and_then(|p| p.share(hour, first));
            away *= 1.0 - share.unwrap_or(if c.online { 1.0 } else { 0.0 });
        }
    }
    1.0 - away
}

/// How long the rows that the gate asks for take, ms; 0 where nothing was counted before.
pub(super) fn rows_ms(plan: &Plan, devices: u64, traffic: Option<Traffic>) -> u64 {
    let (Some(t), gate) = (traffic, &plan.policy.gate) else { return 0 };
    let hours = |rows: u64, per_hour: f64| {
        if rows == 0 { 0.0 } else { rows as f64 / (per_hour * devices.max(1) as f64).max(1e-9) }
    };
    let labels = if gate.accuracy_drop.is_some() { gate.min_labelled } else { 0 };
    let hours = hours(gate.min_rows, t.rows_per_hour).max(hours(labels, t.rows_per_hour * t.labelled_share));
    (hours * HOUR_MS as f64).min(1e15) as u64
}

fn powers(plan: &Plan, wave: usize, devices: u64, traffic: Option<Traffic>) -> Vec<WavePower> {
    let Some(t) = traffic else { return Vec::new() };
    let canary = Canary {
        devices: u32::try_from(devices).unwrap_or(u32::MAX),
        rows_per_hour: t.rows_per_hour,
        labelled_share: t.labelled_share,
        history_h: t.history_h,
        accuracy: t.accuracy,
        error_rate: t.error_rate,
        soak_ms: plan.policy.waves[wave].soak_ms,
        has_shadow: plan.policy.waves[wave].shadow_ms > 0,
    };
    let mut out = Vec::new();
    for harm in HARMS {
        let Some(power) = power(&plan.policy.gate, plan.waves.len(), &canary, harm) else { continue };
        let (what, rows) = match harm {
            Harm::Accuracy(d) => (format!("{:.0} points less accuracy", d * 100.0), "labelled rows"),
            Harm::Errors(d) => (format!("{:.0} points more errors", d * 100.0), "rows"),
        };
        let text = format!(
            "{} x {:.0} {rows}: {what} are proven {:.0} % of the time, and do not pass {:.0} % of the time",
            counted(devices, "device"),
            power.rows / devices as f64,
            power.proven * 100.0,
            power.stopped * 100.0
        );
        out.push(WavePower { harm, text, power });
    }
    out
}

#[cfg(test)]
#[path = "rehearsal_tests.rs"]
mod tests;
