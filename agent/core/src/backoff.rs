//! Growing waits with full jitter, from a random seed that is passed in.
//!
//! Full jitter (a uniform draw between nothing and the cap) also *at* the cap: devices that failed together must not
//! come back together.

/// SplitMix64: enough to spread retries, no secret depends on it.
#[derive(Debug, Clone)]
pub struct Jitter(u64);

impl Jitter {
    /// From a seed the caller drew at random.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }
    /// The next number.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    /// Uniform in `0..=max`.
    pub fn up_to(&mut self, max: u64) -> u64 {
        if max == u64::MAX { self.next_u64() } else { self.next_u64() % (max + 1) }
    }
}

/// How waits grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// The first wait is drawn up to this, ms.
    pub first_ms: u64,
    /// No wait is longer, ms.
    pub cap_ms: u64,
}

impl Backoff {
    /// The wait before attempt `attempt + 1` (attempts count from 0): at least a quarter of the ceiling, so that a
    /// failing server is never hammered.
    #[must_use]
    pub fn wait_ms(&self, attempt: u32, jitter: &mut Jitter) -> u64 {
        let ceiling = self.first_ms.saturating_mul(1 << attempt.min(20)).min(self.cap_ms).max(1);
        let floor = ceiling / 4;
        floor + jitter.up_to(ceiling - floor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_the_cap_and_stay_spread_there() {
        let b = Backoff { first_ms: 100, cap_ms: 10_000 };
        let mut j = Jitter::new(7);
        assert!((0..100).all(|_| b.wait_ms(0, &mut j) <= 100));
        let at_cap: Vec<u64> = (0..200).map(|_| b.wait_ms(40, &mut j)).collect();
        assert!(at_cap.iter().all(|w| (2_500..=10_000).contains(w)));
        let distinct: std::collections::BTreeSet<_> = at_cap.iter().collect();
        assert!(distinct.len() > 150, "jitter is lost at the cap");
    }
}
