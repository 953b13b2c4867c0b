//! The device agent: verifies what it is told to run, serves it, counts, reports, and takes a bad model back by itself.
//!
//! Two processes of one binary: the *supervisor* (`run`) holds keys, network and database; the *engine* (`engine`)
//! parses models and answers requests, holds no key and reaches no network. What is decided is decided in
//! `longshore-agent-core`; the modules here are its hands.

pub mod code;
pub mod config;
pub mod doctor;
pub mod engine;
pub mod enroll;
pub mod fetch;
pub mod host;
pub mod identity;
pub mod link;
pub mod page;
pub mod renew;
pub mod serve;
pub mod status;
pub mod store;
pub mod supervisor;
pub mod trust_cmd;
pub mod wipe;
