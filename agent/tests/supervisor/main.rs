//! The real agent, supervisor and engine, with its own state directory and a fleet that is out of reach.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail")]

#[allow(dead_code)]
#[path = "../engine/http.rs"]
mod http;
#[allow(dead_code)]
#[path = "../engine/rig.rs"]
mod rig;

mod compared;
mod device;

mod integrity;
mod kills;
mod refusals;
mod running;
mod shifts;
mod windows;
