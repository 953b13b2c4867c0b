//! The API and the rollout executor, with a real database and real signatures; only the sockets are left out.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail")]

mod abuse;
mod alert_delivery;
mod alerts;
mod audit;
mod auth;
mod catalogue;
mod copies;
mod document;
mod execution;
mod history;
mod monitor;
mod promotion;
mod receiver;
mod recheck;
mod rollout_again;
mod rollout_depth;
mod rollout_faults;
mod rollouts;
mod support;
