//! Fleet and devices as processes, and what may happen to them. Each test has its own stage and ports.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail")]

mod alerts;
mod fleet_killed;
mod fleet_lost;
mod halting;
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

/// SplitMix64: the kills of a seed are the same kills again.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }
}
