//! Many runs at once: one seed after the other, on every core of the machine.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::scenario::ScenarioError;
use crate::world::Outcome;

/// Plays `count` seeds from `first` on. Answers them in their order, up to the first that is not good. `told` hears of each.
///
/// # Errors
/// When a scenario cannot be played.
pub fn play(
    first: u64,
    count: u64,
    one: impl Fn(u64) -> Result<Outcome, ScenarioError> + Sync,
    told: impl Fn(&Outcome) + Sync,
) -> Result<Vec<Outcome>, ScenarioError> {
    let (next, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    let done: Mutex<Vec<Result<Outcome, ScenarioError>>> = Mutex::new(Vec::new());
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    std::thread::scope(|scope| {
        for _ in 0..threads.min(usize::try_from(count).unwrap_or(threads)) {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    if n >= count {
                        return;
                    }
                    let outcome = one(first + n);
                    if let Ok(outcome) = &outcome {
                        told(outcome);
                    }
                    if outcome.as_ref().map_or(true, |o| !o.is_good()) {
                        stop.store(true, Ordering::Relaxed);
                    }
                    let mut done = done.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                    done.push(outcome);
                }
            });
        }
    });
    let done = done.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    let mut outcomes = done.into_iter().collect::<Result<Vec<_>, _>>()?;
    outcomes.sort_by_key(|o| o.seed);
    Ok(outcomes)
}
