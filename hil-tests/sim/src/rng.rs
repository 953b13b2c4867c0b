//! Random numbers that are the same on every machine: SplitMix64, one stream for each purpose.
//!
//! Every device and every fault has a stream of its own, so that leaving one out does not change the draws of the others.

/// One stream.
#[derive(Debug, Clone)]
pub struct Rng(u64);

impl Rng {
    /// The stream of `purpose` number `n` under a seed.
    #[must_use]
    pub fn new(seed: u64, purpose: u64, n: u64) -> Self {
        let mut rng = Self(seed ^ purpose.wrapping_mul(0xa076_1d64_78bd_642f));
        let mixed = rng.next_u64() ^ n.wrapping_mul(0xe703_7ed1_a0b4_28db);
        let mut rng = Self(mixed);
        rng.next_u64();
        rng
    }
    /// The next number.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    /// Uniform in [0, 1).
    pub fn unit(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }
    /// True with probability `p`; draws nothing when `p` is 0.
    pub fn chance(&mut self, p: f64) -> bool {
        p > 0.0 && self.unit() < p
    }
    /// Uniform in `from..=to`.
    pub fn range(&mut self, from: u64, to: u64) -> u64 {
        if to <= from { from } else { from + self.next_u64() % (to - from + 1) }
    }
    /// Standard normal, near enough (the sum of twelve uniforms).
    pub fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.unit()).sum::<f64>() - 6.0
    }
    /// How many of `n` happen, each with probability `p`.
    pub fn binomial(&mut self, n: u64, p: f64) -> u64 {
        if p <= 0.0 || n == 0 {
            return 0;
        }
        if p >= 1.0 {
            return n;
        }
        if n > 2_000 {
            let (mean, sd) = (n as f64 * p, (n as f64 * p * (1.0 - p)).sqrt());
            return (mean + sd * self.normal()).round().clamp(0.0, n as f64) as u64;
        }
        (0..n).filter(|_| self.unit() < p).count() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_repeat_and_differ() {
        let draw = |seed, purpose, n| Rng::new(seed, purpose, n).next_u64();
        assert_eq!(draw(1, 2, 3), draw(1, 2, 3));
        let all = [draw(1, 2, 3), draw(2, 2, 3), draw(1, 3, 3), draw(1, 2, 4)];
        assert!((0..4).all(|i| (0..i).all(|j| all[i] != all[j])));
    }
    #[test]
    fn draws_have_their_mean() {
        let mut rng = Rng::new(7, 0, 0);
        let sum: u64 = (0..1_000).map(|_| rng.binomial(100, 0.3)).sum();
        assert!((29_000..31_000).contains(&sum), "{sum}");
        let many = rng.binomial(1_000_000, 0.5);
        assert!((495_000..505_000).contains(&many), "{many}");
        let normal: f64 = (0..10_000).map(|_| rng.normal()).sum::<f64>() / 10_000.0;
        assert!(normal.abs() < 0.05, "{normal}");
    }
}
