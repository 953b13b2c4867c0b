//! The executor: makes reality match a plan, idempotently, for ever.
//!
//! [`step`] looks at the facts and says what to do now; doing it changes the facts, and asking again then answers
//! nothing more. So it may be killed between any two steps and asked again by anybody. Always true: a paused or halted
//! rollout offers nothing; no wave holds more devices than its cap; every state that is not terminal has a deadline.

mod facts;
mod parts;
mod revert;
mod state;
mod step;

pub use facts::{Action, DeviceFact, Facts, LateDevice, Offer, Report, WaveFact};
pub use parts::in_parts;
pub use revert::{RevertPlan, RevertTarget, plan_revert};
pub use state::{
    DeviceState, LONGEST_SCHEDULE_MS, PauseReason, RolloutState, Standing, UnknownState, WaveState,
};
pub use step::{OFFER_GOOD_FOR_MS, QUARANTINE_FAILURES, offering_ms, step};

#[cfg(test)]
mod tests;
