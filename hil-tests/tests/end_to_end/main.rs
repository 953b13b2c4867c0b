//! Fleet and devices as processes, and what may happen to them. Each test has its own stage and ports.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail")]

mod alerts;
mod fleet_lost;
mod identity;
mod keys;
mod kills;
mod pipeline;
mod quickstart;
mod shadow;
mod slice;

use longshore_hil_tests::script::{enrol, make_keys, set_up_fleet};
use longshore_hil_tests::stage::Stage;

/// A fleet with `devices` enrolled devices that have nothing to run yet.
fn fleet(devices: usize) -> Stage {
    let dir = tempfile::Builder::new().prefix("longshore-test-").tempdir().unwrap().keep();
    let mut stage = Stage::new(dir).unwrap();
    make_keys(&stage).unwrap();
    set_up_fleet(&mut stage).unwrap();
    enrol(&mut stage, devices).unwrap();
    stage
}
