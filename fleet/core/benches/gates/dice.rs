//! Draws, always the same ones for a seed.

/// Evenly spread numbers (splitmix64: Steele, Lea and Flood 2014).
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0xd134_2543_de82_ef95).wrapping_add(0x2545_f491_4f6c_dd1d))
    }
    pub fn even(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (((z ^ (z >> 31)) >> 11) as f64 + 0.5) / (1u64 << 53) as f64
    }
    pub fn normal(&mut self) -> f64 {
        (-2.0 * self.even().ln()).sqrt() * (std::f64::consts::TAU * self.even()).cos()
    }
    /// Rows that hit, of `n` that each do so with chance `p`: counted one by one, or by inversion where they are many.
    pub fn hits(&mut self, n: u64, p: f64) -> u64 {
        if p <= 0.0 || n == 0 {
            return 0;
        }
        if p > 0.5 {
            return n - self.hits(n, 1.0 - p);
        }
        if n as f64 * p > 200.0 {
            let spread = (n as f64 * p * (1.0 - p)).sqrt();
            return (n as f64 * p + spread * self.normal()).round().clamp(0.0, n as f64) as u64;
        }
        // Waiting times between hits are geometric.
        let ln_miss = (-p).ln_1p();
        let (mut at, mut hits) = (0.0, 0);
        loop {
            at += (self.even().ln() / ln_miss).floor() + 1.0;
            if at > n as f64 {
                return hits;
            }
            hits += 1;
        }
    }
    /// Gamma of this shape (Marsaglia and Tsang 2000).
    fn gamma(&mut self, shape: f64) -> f64 {
        if shape < 1.0 {
            return self.gamma(shape + 1.0) * self.even().powf(1.0 / shape);
        }
        let d = shape - 1.0 / 3.0;
        let c = 1.0 / (9.0 * d).sqrt();
        loop {
            let x = self.normal();
            let v = (1.0 + c * x).powi(3);
            if v > 0.0 && self.even().ln() < 0.5 * x * x + d - d * v + d * v.ln() {
                return d * v;
            }
        }
    }
    /// A device's own rate: Beta of mean `p` whose variance is `icc` p (1 - p), which is what an intra-device correlation of
    /// `icc` means.
    pub fn rate(&mut self, p: f64, icc: f64) -> f64 {
        if icc <= 0.0 || p <= 0.0 || p >= 1.0 {
            return p.clamp(0.0, 1.0);
        }
        let n = 1.0 / icc - 1.0;
        let (a, b) = (self.gamma(n * p), self.gamma(n * (1.0 - p)));
        a / (a + b)
    }
}
