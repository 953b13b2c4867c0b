//! The server as its devices and operators meet it: a real process's parts on real ports, with real keys.

mod backup;
mod broker;
mod enrolment;
mod files;
mod ingest;
mod start;
mod support;
mod trust;
