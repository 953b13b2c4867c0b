//! What a person should know of a plan before it starts: not wrong, but probably not meant.

use std::collections::{BTreeMap, BTreeSet};

use jiff::tz::TimeZone;
use longshore_trust::UnixMs;

use super::rehearsal::rows_ms;
use super::{Candidate, Plan, Traffic, WaveRehearsal};
use crate::policy::{Policy, Select, human_duration};
use crate::wording::counted;

/// Names a few of many.
const FEW: usize = 3;

/// What a policy says that is probably not meant, whatever the fleet.
#[must_use]
pub fn policy_lint(policy: &Policy, now: UnixMs) -> Vec<String> {
    let mut out = Vec::new();
    let gate = &policy.gate;
    if policy.waves.first().is_some_and(|w| w.select == Select::Rest) {
        out.push("the first wave takes everybody: there is no canary".to_owned());
    }
    if policy.waves.last().is_some_and(|w| w.select != Select::Rest) {
        out.push(
            "the last wave is not `rest = true`: devices that no wave selects get nothing, now or later"
                .to_owned(),
        );
    }
    if let Some(schedule) = policy.window.as_ref().and_then(|w| w.schedule().ok()) {
        let wait = schedule.longest_wait_ms(now, &TimeZone::UTC);
        if wait >= gate.deadline_ms {
            out.push(format!(
                "the window may stay shut for {}, and a wave has {} (`deadline`): one that opens just after the window \
                 has closed can never pass",
                human_duration(wait),
                human_duration(gate.deadline_ms)
            ));
        }
    }
    let proves = gate.min_rows > 0 || gate.accuracy_drop.is_some();
    if !proves {
        out.push(
            "no gate asks for a row: a wave passes when devices come up, whatever they answer".to_owned(),
        );
    }
    out
}

/// What is probably not meant by a plan.
pub(super) fn lint(
    plan: &Plan,
    inventory: &[Candidate],
    waves: &[WaveRehearsal],
    traffic: Option<Traffic>,
    now: UnixMs,
) -> Vec<String> {
    let mut out = plan.warnings.clone();
    out.extend(policy_lint(&plan.policy, now));
    let gate = &plan.policy.gate;
    for (i, wave) in plan.waves.iter().enumerate() {
        let n = wave.devices.len() as u64;
        if n == 0 {
            out.push(format!("wave {i} ({}) selects nothing: it will be passed over", wave.select));
            continue;
        }
        let devices = counted(n, "device");
        let rows = rows_ms(plan, n, traffic);
        if rows >= gate.deadline_ms
            && let Some(t) = traffic
        {
            out.push(format!(
                "wave {i}: the gate needs more rows than {devices} make in {} (about {:.0} rows an hour each, {:.0} % of them \
                 labelled): it would be inconclusive",
                human_duration(gate.deadline_ms),
                t.rows_per_hour,
                t.labelled_share * 100.0
            ));
        }
        let offering = waves[i].offering_ms;
        if offering >= gate.deadline_ms {
            out.push(format!(
                "wave {i}: its caps, bandwidth and windows let {devices} have it in {} at the earliest, and the gate's \
                 deadline is {}",
                minutes(offering),
                human_duration(gate.deadline_ms)
            ));
        } else if rows < gate.deadline_ms {
            out.extend(soaks_too_long(plan, i, &devices, offering, rows));
        }
        for power in waves[i].power.iter().filter(|p| p.power.stopped < 0.5) {
            out.push(format!("wave {i} would rather not notice a harm: {}", power.text));
        }
    }
    labels(&plan.policy, inventory, &mut out);
    zones(&plan.policy, inventory, &mut out);
    ways_back(plan, &mut out);
    elsewhere(plan, inventory, &mut out);
    if traffic.is_none() && plan.previous.is_some() {
        out.push("nothing was counted with the present version: neither the time nor the canary's power can be told".to_owned());
    }
    out
}

/// In whole minutes.
fn minutes(ms: u64) -> String {
    human_duration(ms / 60_000 * 60_000)
}

/// A wave is judged when it has been offered, has run in shadow and has soaked: if its deadline comes first, it is
/// inconclusive whatever the version does. (Soak and shadow alone are held against the deadline where the policy is read.)
fn soaks_too_long(plan: &Plan, wave: usize, devices: &str, offering: u64, rows: u64) -> Option<String> {
    let (policy, gate) = (&plan.policy.waves[wave], &plan.policy.gate);
    let serving = policy.soak_ms.max(rows);
    if offering.saturating_add(policy.shadow_ms).saturating_add(serving) < gate.deadline_ms {
        return None;
    }
    let mut parts = vec![format!("offering it to {devices} takes {} at least", minutes(offering))];
    if policy.shadow_ms > 0 {
        parts.push(format!("its shadow run {}", human_duration(policy.shadow_ms)));
    }
    let rest = if rows > policy.soak_ms { "the rows that the gate asks for" } else { "its soak" };
    parts.push(format!(
        "{rest} {}",
        if rows > policy.soak_ms { minutes(rows) } else { human_duration(serving) }
    ));
    Some(format!(
        "wave {wave}: {}: together not less than the gate's deadline of {}, and a wave that is still soaking then is \
         inconclusive; give `deadline` more, or the wave less",
        parts.join(", "),
        human_duration(gate.deadline_ms)
    ))
}

fn labels(policy: &Policy, inventory: &[Candidate], out: &mut Vec<String>) {
    let asked: BTreeSet<&str> = policy.waves.iter().flat_map(|w| w.select.labels()).collect();
    for label in asked {
        if !inventory.iter().any(|c| c.labels.contains_key(label)) {
            out.push(format!("no device has the label {label:?}, which a wave asks for"));
        }
    }
}

fn zones(policy: &Policy, inventory: &[Candidate], out: &mut Vec<String>) {
    if policy.window.is_none() {
        return;
    }
    let silent = inventory.iter().filter(|c| c.zone.is_none() && c.bad_zone.is_none()).count();
    if silent > 0 {
        out.push(format!(
            "no label `tz` and no time zone that is reported, of {}: the window is taken in UTC there",
            counted(silent, "device")
        ));
    }
    let mut bad: BTreeMap<&str, usize> = BTreeMap::new();
    for name in inventory.iter().filter_map(|c| c.bad_zone.as_deref()) {
        *bad.entry(name).or_default() += 1;
    }
    for (name, n) in bad {
        out.push(format!(
            "{name:?} is no time zone that this server knows: the window of {} is taken in UTC",
            counted(n, "device")
        ));
    }
}

fn ways_back(plan: &Plan, out: &mut Vec<String>) {
    let stuck =
        plan.waves.iter().flat_map(|w| &w.devices).filter(|d| d.champion.is_some() && d.previous.is_none());
    let n = stuck.count();
    if n > 0 {
        out.push(format!(
            "for {} no offline key signed the way back to what runs there: this rollout cannot be reverted, only \
             halted; approve the version with that way back (`rollback_ok`) to change that",
            counted(n, "device")
        ));
    }
}

fn elsewhere(plan: &Plan, inventory: &[Candidate], out: &mut Vec<String>) {
    let mine: BTreeSet<_> = plan.waves.iter().flat_map(|w| &w.devices).map(|d| &d.device).collect();
    let mut by: BTreeMap<(&str, i32), Vec<&str>> = BTreeMap::new();
    for c in inventory.iter().filter(|c| mine.contains(&c.device)) {
        if let Some(e) = c.elsewhere.as_ref().filter(|e| e.rollout != plan.id) {
            by.entry((e.rollout.as_str(), e.priority)).or_default().push(c.device.as_str());
        }
    }
    for ((rollout, priority), devices) in by {
        let named = devices.iter().take(FEW).copied().collect::<Vec<_>>().join(", ");
        let more = if devices.len() > FEW { ", …" } else { "" };
        let n = counted(devices.len(), "device");
        let (are, them) = if devices.len() == 1 { ("is", "it") } else { ("are", "them") };
        out.push(if plan.policy.priority > priority {
            format!(
                "{n} ({named}{more}) {are} in rollout {rollout} (priority {priority}); this one has priority {} and \
                 takes {them} over when it starts",
                plan.policy.priority
            )
        } else {
            format!(
                "{n} ({named}{more}) {are} in rollout {rollout} (priority {priority}), and a device is in one \
                 rollout of a model at a time: this one cannot start before that has ended, or in its place"
            )
        });
    }
}
