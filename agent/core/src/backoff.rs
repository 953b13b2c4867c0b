//! Growing waits with full jitter, from a random seed that is passed in.
//!
//! Full jitter (a uniform draw between nothing and the cap) also *at* the cap: devices that failed together must not
//! come back together.

use longshore_trust::UnixMs;

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

/// How often something that nobody has signed may cause work: so many times at once, then once an interval.
#[derive(Debug)]
pub struct Allowance {
    every_ms: u64,
    most: u64,
    /// Spent up to this much of the time that refills it.
    spent_until: UnixMs,
}

impl Allowance {
    /// `most` times at once, one more every `every_ms`.
    #[must_use]
    pub const fn new(most: u64, every_ms: u64) -> Self {
        Self { every_ms, most, spent_until: UnixMs(0) }
    }
    /// Whether it may happen once more now, by a clock that nobody sets.
    pub fn take(&mut self, now: UnixMs) -> bool {
        let full = UnixMs(now.0.saturating_sub(self.most.saturating_mul(self.every_ms)));
        let spent = self.spent_until.max(full).plus_ms(self.every_ms);
        let allowed = spent <= now;
        if allowed {
            self.spent_until = spent;
        }
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_allowance_is_a_few_at_once_and_then_one_an_interval() {
        let mut a = Allowance::new(3, 1000);
        let now = UnixMs(50_000);
        assert_eq!((0..9).filter(|_| a.take(now)).count(), 3);
        assert!(!a.take(now.plus_ms(999)));
        assert!(a.take(now.plus_ms(1000)));
        assert!(!a.take(now.plus_ms(1000)));
        assert_eq!((0..9).filter(|_| a.take(now.plus_ms(3_600_000))).count(), 3);
        assert_eq!((0..100_000u64).filter(|n| a.take(UnixMs(10_000_000 + n))).count(), 3 + 99);
    }
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
