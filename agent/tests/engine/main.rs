//! The real engine process, driven over its control socket and its local API as the supervisor and applications do.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail")]

mod http;
mod rig;

mod answers;
mod bad_requests;
mod ending;
mod labels;
mod loading;
mod shadowing;
mod swapping;
mod watching;
