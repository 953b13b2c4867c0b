//! The server as its devices and operators meet it: a real process's parts on real ports, with real keys.

#![allow(clippy::type_complexity, reason = "tables of cases are read where they stand")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail")]

mod audit;
mod backup;
mod broker;
mod enrolment;
mod files;
mod identity;
mod ingest;
mod start;
mod support;
mod trust;
