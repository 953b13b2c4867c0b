//! The fleet server: what it knows, decides and serves, as a library that `longshore-fleet` and its tests start.
//!
//! What always holds: SQL stands only in [`store`], MQTT only in [`gateway`]; a receipt leaves only after the
//! transaction that stored what it confirms; the online keys can choose among approved bundles and nothing more.

#![forbid(unsafe_code)]

pub mod accept;
pub mod alerts;
pub mod api;
pub mod app;
pub mod audit;
pub mod auth;
pub mod backup;
pub mod config;
pub mod console;
pub mod device_plane;
pub mod director;
pub mod enrol;
pub mod events;
pub mod external_broker;
pub mod gateway;
pub mod http;
pub mod init;
pub mod jobs;
pub mod monitor;
pub mod objects;
pub mod online;
pub mod operator_plane;
pub mod serve;
pub mod store;
pub mod tls;
pub mod trust_repo;
