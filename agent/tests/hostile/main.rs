//! Models that mean harm, through the real trial engine, beside an engine that serves.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail")]

#[allow(dead_code)]
#[path = "../supervisor/device.rs"]
mod device;
#[allow(dead_code)]
#[path = "../engine/http.rs"]
mod http;
#[path = "../../../shared/runtime/tests/onnx/mod.rs"]
mod onnx;
#[allow(dead_code)]
#[path = "../engine/rig.rs"]
mod rig;

mod agent;
mod bundle;
mod corpus;
mod served;
mod trials;
