//! Golden deviations across classes of hardware: the same inputs must give the same outputs everywhere.
//!
//! Every device ran the golden vectors before it took the version, and none beyond the bundle's tolerance took it. Still a
//! class of hardware may compute differently from the others (another instruction set, another accelerator). For one class
//! the deviation is a fact, not chance: the median of its devices is held against the least of any class.

use std::collections::BTreeMap;

use super::harm::silent;
use super::paired::NO_SINGLE_DEVICE;
use super::{Evidence, GateResult, Outcome};

const GATE: &str = "golden_deviation";

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    let n = values.len();
    f64::midpoint(values[(n - 1) / 2], values[n / 2])
}

pub(super) fn judge(limit: f64, wave: &[Evidence]) -> GateResult {
    let mut classes: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for e in wave {
        if let Some(deviation) = e.measured.golden.filter(|d| d.is_finite() && *d >= 0.0) {
            classes
                .entry(e.measured.hardware.as_deref().unwrap_or("unknown hardware"))
                .or_default()
                .push(deviation);
        }
    }
    let devices: usize = classes.values().map(Vec::len).sum();
    if devices == 0 {
        let text = "not yet (needs a device that has tried the version)".to_owned();
        return silent(GATE, Outcome::NotYet, limit, text);
    }
    let medians: Vec<(&str, usize, f64)> =
        classes.iter_mut().map(|(class, all)| (*class, all.len(), median(all))).collect();
    let least = medians.iter().map(|m| m.2).fold(f64::INFINITY, f64::min);
    let (class, of, worst) =
        medians.iter().copied().max_by(|a, b| a.2.total_cmp(&b.2)).unwrap_or(("", 0, 0.0));
    let apart = worst - least;
    let seen =
        format!("golden outputs of {class} are {worst:.2e} off, {least:.2e} on the hardware nearest to them");
    // In a wave of several devices, one that is broken or lies decides nothing.
    let alone = of < NO_SINGLE_DEVICE && devices >= NO_SINGLE_DEVICE;
    let (outcome, text) = if apart <= limit {
        let n = medians.len();
        (
            Outcome::Pass,
            format!(
                "{n} class(es) of hardware agree within {apart:.2e} on golden outputs, {limit:.2e} is allowed"
            ),
        )
    } else if alone {
        let more = NO_SINGLE_DEVICE - of;
        (
            Outcome::NotYet,
            format!("not yet (needs {more} more device(s) of {class}: {seen}, {limit:.2e} is allowed)"),
        )
    } else {
        (Outcome::Fail, format!("{seen}, on {of} device(s); {limit:.2e} is allowed"))
    };
    let mut result = silent(GATE, outcome, limit, text);
    result.value = Some(apart);
    result.method = Some("median of each class of hardware, against the least".to_owned());
    result.numbers = [("devices".to_owned(), devices as f64)]
        .into_iter()
        .chain(medians.iter().map(|(class, _, median)| (format!("deviation {class}"), *median)))
        .collect();
    result
}
