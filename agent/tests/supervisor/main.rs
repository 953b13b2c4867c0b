//! The real agent, supervisor and engine, with its own state directory and a fleet that is out of reach.

#[allow(dead_code)]
#[path = "../engine/http.rs"]
mod http;
#[allow(dead_code)]
#[path = "../engine/rig.rs"]
mod rig;

mod device;

mod kills;
mod refusals;
mod running;
