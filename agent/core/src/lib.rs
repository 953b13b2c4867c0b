//! The device's decisions, without any I/O.
//!
//! A core is a value with two methods: `handle(now, input)` takes one fact, `poll()` is drained until it yields
//! `WakeAt`. Inputs are facts (verified bytes arrived, a download ended, a transaction was committed); outputs are
//! wishes (persist this, then fetch that). Always true here: no clock, no randomness and no bytes but those passed in;
//! no effect leaves before the transaction that justifies it has been confirmed; every state that is not final has a
//! deadline and can be superseded.

#![forbid(unsafe_code)]

pub mod assignment;
pub mod backoff;
pub mod broken;
pub mod clock;
pub mod guard;
pub mod renewal;
pub mod sync;
pub mod update;
pub mod witness;

pub use assignment::{Refusal, TargetView, TargetsView};
pub use backoff::{Allowance, Backoff};
pub use clock::{Clock, Moment};
pub use sync::Sync;
pub use update::Updates;
