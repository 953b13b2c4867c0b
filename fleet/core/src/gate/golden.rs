//! Golden deviations across classes of hardware: the same inputs must give the same outputs everywhere.
//!
//! Every device ran the golden vectors before it took the version, and none beyond the bundle's tolerance took it. Still a
//! class of hardware may compute differently from the others (another instruction set, another accelerator). For one class
//! the deviation is a fact, not chance: the median of its devices is held against the least of any class. A class that runs
//! the version and told nothing passes on nobody else's evidence.

use std::collections::BTreeMap;

use super::harm::silent;
use super::paired::NO_SINGLE_DEVICE;
use super::{Evidence, GateResult, Outcome};
use crate::rollout::Standing;
use crate::wording::counted;

const GATE: &str = "golden_deviation";

/// Devices of one class of hardware.
#[derive(Default)]
struct Class {
    deviations: Vec<f64>,
    /// They run the version and did not tell.
    silent: usize,
}

/// What a class of hardware shows.
#[derive(Clone, Copy)]
struct Shown<'a> {
    class: &'a str,
    devices: usize,
    median: f64,
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    let n = values.len();
    f64::midpoint(values[(n - 1) / 2], values[n / 2])
}

/// The nearest to its golden outputs, and the farthest.
fn ends<'a>(shown: impl Iterator<Item = Shown<'a>> + Clone) -> Option<(Shown<'a>, Shown<'a>)> {
    let order = |a: &Shown<'_>, b: &Shown<'_>| a.median.total_cmp(&b.median);
    shown.clone().min_by(order).zip(shown.max_by(order))
}

fn classes<'a>(wave: &[Evidence<'a>]) -> BTreeMap<&'a str, Class> {
    let mut classes: BTreeMap<&str, Class> = BTreeMap::new();
    for e in wave {
        let told = e.measured.golden.filter(|d| d.is_finite() && *d >= 0.0);
        if told.is_none() && e.standing != Standing::Ok {
            continue;
        }
        let class = classes.entry(e.measured.hardware.as_deref().unwrap_or("unknown hardware")).or_default();
        match told {
            Some(deviation) => class.deviations.push(deviation),
            None => class.silent += 1,
        }
    }
    classes
}

pub(super) fn judge(limit: f64, wave: &[Evidence<'_>]) -> GateResult {
    let mut classes = classes(wave);
    let devices: usize = classes.values().map(|c| c.deviations.len()).sum();
    let able = devices + classes.values().map(|c| c.silent).sum::<usize>();
    let untold: Vec<String> = classes
        .iter()
        .filter(|(_, c)| c.deviations.is_empty())
        .map(|(class, c)| format!("{} of {class}", counted(c.silent, "device")))
        .collect();
    let shown: Vec<Shown<'_>> = classes
        .iter_mut()
        .filter(|(_, c)| !c.deviations.is_empty())
        .map(|(class, c)| Shown { class, devices: c.deviations.len(), median: median(&mut c.deviations) })
        .collect();
    let Some((nearest, farthest)) = ends(shown.iter().copied()) else {
        let text = "not yet (needs a device that has tried the version)".to_owned();
        return silent(GATE, Outcome::NotYet, limit, text);
    };
    // In a wave of several devices, one that is broken or lies decides nothing: neither by what it shows itself, nor as a
    // class of its own that all others are held against.
    let speaks = |s: &Shown<'_>| s.devices >= NO_SINGLE_DEVICE || able < NO_SINGLE_DEVICE;
    let proven = ends(shown.iter().copied().filter(speaks)).filter(|(a, b)| b.median - a.median > limit);
    let (near, far) = proven.unwrap_or((nearest, farthest));
    let apart = far.median - near.median;
    let seen = format!(
        "golden outputs of {} are {:.2e} off, {:.2e} on the hardware nearest to them ({})",
        far.class, far.median, near.median, near.class
    );
    let (outcome, text) = if proven.is_some() {
        (Outcome::Fail, format!("{seen}, on {}; {limit:.2e} is allowed", counted(far.devices, "device")))
    } else if apart > limit {
        let few = if speaks(&far) { near } else { far };
        let more = counted(NO_SINGLE_DEVICE - few.devices, "more device");
        let text = format!("not yet (needs {more} of {}: {seen}, {limit:.2e} is allowed)", few.class);
        (Outcome::NotYet, text)
    } else if !untold.is_empty() {
        let text = format!(
            "not yet (needs golden outputs of one device at least of each class of hardware: none came from {}, which \
             already run the version)",
            untold.join(", ")
        );
        (Outcome::NotYet, text)
    } else {
        let agree = match shown.len() {
            1 => format!("only {} ran the golden vectors: there is nothing to compare it with", far.class),
            n => format!(
                "{} of hardware agree within {apart:.2e} on golden outputs, {limit:.2e} is allowed",
                counted(n, "class")
            ),
        };
        (Outcome::Pass, agree)
    };
    let mut result = silent(GATE, outcome, limit, text);
    result.value = Some(apart);
    result.method = Some("median of each class of hardware, against the least".to_owned());
    result.numbers = [("devices".to_owned(), devices as f64)]
        .into_iter()
        .chain(shown.iter().map(|s| (format!("deviation {}", s.class), s.median)))
        .collect();
    result
}
