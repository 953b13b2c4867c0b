//! How many messages one device may send: a token bucket for each, in whole milliseconds.

use std::collections::HashMap;

use longshore_trust::{DeviceId, UnixMs};

/// Buckets are looked through when there are so many more.
const SWEEP_EVERY: usize = 10_000;

#[derive(Debug)]
struct Bucket {
    /// In thousandths of a message.
    level: u64,
    at: UnixMs,
}

/// The buckets of all devices.
#[derive(Debug)]
pub struct RateLimit {
    per_s: u64,
    burst: u64,
    buckets: HashMap<DeviceId, Bucket>,
    sweep_at: usize,
}

impl RateLimit {
    /// `per_s` messages a second on average, `burst` at once.
    #[must_use]
    pub fn new(per_s: u32, burst: u32) -> Self {
        Self {
            per_s: u64::from(per_s),
            burst: u64::from(burst) * 1000,
            buckets: HashMap::new(),
            sweep_at: SWEEP_EVERY,
        }
    }
    /// Whether `device` may send one more message now.
    pub fn admit(&mut self, device: &DeviceId, now: UnixMs) -> bool {
        if self.buckets.len() >= self.sweep_at {
            let (per_s, burst) = (self.per_s, self.burst);
            self.buckets.retain(|_, b| b.level + now.since(b.at).saturating_mul(per_s) < burst);
            self.sweep_at = self.buckets.len() + SWEEP_EVERY;
        }
        let burst = self.burst;
        let bucket = match self.buckets.get_mut(device) {
            Some(b) => b,
            None => self.buckets.entry(device.clone()).or_insert(Bucket { level: burst, at: now }),
        };
        // One message a second is one thousandth of a message a millisecond.
        let refill = now.since(bucket.at).saturating_mul(self.per_s);
        bucket.level = bucket.level.saturating_add(refill).min(burst);
        bucket.at = now;
        if bucket.level < 1000 {
            return false;
        }
        bucket.level -= 1000;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_device_cannot_use_up_what_another_may_send() {
        let mut limit = RateLimit::new(10, 3);
        let (a, b): (DeviceId, DeviceId) = ("a".parse().unwrap(), "b".parse().unwrap());
        let t0 = UnixMs(1_000_000);
        assert_eq!((0..9).filter(|_| limit.admit(&a, t0)).count(), 3);
        assert!(limit.admit(&b, t0));
        assert!(!limit.admit(&a, t0.plus_ms(99)));
        assert!(limit.admit(&a, t0.plus_ms(100)));
        assert_eq!((0..9).filter(|_| limit.admit(&a, t0.plus_ms(60_000))).count(), 3);
    }
    #[test]
    fn a_clock_that_goes_backwards_gives_nothing() {
        let mut limit = RateLimit::new(10, 1);
        let a: DeviceId = "a".parse().unwrap();
        assert!(limit.admit(&a, UnixMs(1_000_000)));
        assert!(!limit.admit(&a, UnixMs(0)));
    }
}
