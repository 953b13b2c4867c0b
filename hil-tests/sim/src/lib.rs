//! The simulator: thousands of devices and their fleet on a clock of its own, with everything that goes wrong in the field.
//!
//! What decides is the very code that ships: `longshore-agent-core` in every device, `longshore-fleet-core` in the fleet.
//! Only what touches the world (store, link, broker, downloads, engine) is replaced by memory. Always true here: a run
//! depends on its scenario and its seed alone, and after every event the [`oracle`] holds what happened against the rules.

#![forbid(unsafe_code)]

pub mod broken;
pub mod device;
pub mod env;
pub mod fleet;
pub mod message;
#[cfg(feature = "broken-rules")]
pub mod mutants;
pub mod oracle;
pub mod queue;
pub mod repo;
pub mod rng;
pub mod scenario;
pub mod seeds;
pub mod shrink;
pub mod soak;
pub mod timeline;
pub mod world;

pub use oracle::Broken;
pub use scenario::Scenario;
pub use world::{Outcome, run};
