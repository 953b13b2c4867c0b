//! When a client certificate is renewed.
//!
//! After two thirds of its life and a share drawn at random, so that devices enrolled together do not come together; then
//! again with growing waits until it worked. A clock that is wrong costs an early question or a late one, never the
//! identity: an expired certificate still buys a renewal.

use longshore_trust::UnixMs;

use crate::backoff::{Backoff, Jitter};

/// Waits between attempts.
pub const RETRY: Backoff = Backoff { first_ms: 10_000, cap_ms: 3_600_000 };
/// The longest that nothing is looked at: clocks jump.
const LOOK_AGAIN_MS: u64 = 3_600_000;
/// A link that fails for no known reason may fail for the certificate: the fleet is asked, not more often than this, ms.
const SUSPECT_EVERY_MS: u64 = 600_000;

/// From when to when a certificate is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Life {
    /// Not before.
    pub from: UnixMs,
    /// Not after.
    pub until: UnixMs,
}

/// What to do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Ask for a new certificate.
    Ask,
    /// Look again after so many milliseconds.
    After(u64),
}

/// One device's renewals. Spans are measured by a clock that nobody sets (`steady`).
#[derive(Debug)]
pub struct Renewals {
    life: Option<Life>,
    /// In thousandths of a twelfth of the life.
    share: u64,
    jitter: Jitter,
    failures: u32,
    not_before: UnixMs,
    suspected: bool,
    asked: Option<UnixMs>,
}

impl Renewals {
    /// For a certificate; `None` when its life cannot be read. `seed` is random.
    #[must_use]
    pub fn new(life: Option<Life>, seed: u64) -> Self {
        let mut jitter = Jitter::new(seed);
        let share = jitter.up_to(1000);
        Self { life, share, jitter, failures: 0, not_before: UnixMs(0), suspected: false, asked: None }
    }
    /// When this certificate is due.
    #[must_use]
    pub fn due_at(&self) -> Option<UnixMs> {
        let life = self.life?;
        let long = life.until.since(life.from);
        Some(life.from.plus_ms(long / 3 * 2 + long / 12 * self.share / 1000))
    }
    /// What to do at `now`, which may be wrong, and `steady`.
    #[must_use]
    pub fn next(&self, now: UnixMs, steady: UnixMs) -> Next {
        if steady < self.not_before {
            return Next::After(self.not_before.since(steady).min(LOOK_AGAIN_MS));
        }
        match self.due_at() {
            _ if self.suspected => Next::Ask,
            Some(at) if at <= now => Next::Ask,
            Some(at) => Next::After(at.since(now).min(LOOK_AGAIN_MS)),
            None => Next::After(LOOK_AGAIN_MS),
        }
    }
    /// The link fails as if the certificate were not taken.
    pub fn suspect(&mut self, steady: UnixMs) {
        if self.asked.is_none_or(|at| steady.since(at) >= SUSPECT_EVERY_MS) {
            self.suspected = true;
        }
    }
    /// The fleet was asked.
    pub fn asked(&mut self, steady: UnixMs) {
        self.asked = Some(steady);
        self.suspected = false;
        self.failures += 1;
        self.not_before = steady.plus_ms(RETRY.wait_ms(self.failures - 1, &mut self.jitter));
    }
    /// The fleet says that this certificate is not due.
    pub fn kept(&mut self, steady: UnixMs) {
        self.failures = 0;
        self.not_before = steady.plus_ms(LOOK_AGAIN_MS);
    }
    /// This is the certificate now.
    pub fn renewed(&mut self, life: Option<Life>) {
        (self.life, self.failures, self.not_before) = (life, 0, UnixMs(0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 86_400_000;
    const LIFE: Life = Life { from: UnixMs(1_800_000_000_000), until: UnixMs(1_800_000_000_000 + 360 * DAY) };

    #[test]
    fn it_is_due_after_two_thirds_spread_over_a_twelfth() {
        let due: Vec<u64> = (0..200)
            .map(|seed| Renewals::new(Some(LIFE), seed).due_at().unwrap().since(LIFE.from) / DAY)
            .collect();
        assert!(due.iter().all(|d| (240..=270).contains(d)), "{due:?}");
        assert!(due.iter().min() < Some(&243) && due.iter().max() > Some(&267), "{due:?}");
    }
    #[test]
    fn whatever_the_clock_says_something_sensible_is_done() {
        let r = Renewals::new(Some(LIFE), 1);
        let steady = UnixMs(5);
        for (now, asks) in [
            (UnixMs(0), false),                       // 1970
            (LIFE.from.plus_ms(100 * DAY), false),    // half way
            (LIFE.from.plus_ms(271 * DAY), true),     // due
            (UnixMs::from_secs(2_147_483_648), true), // 2038
            (LIFE.until.plus_ms(3650 * DAY), true),   // ten years late
        ] {
            assert_eq!(r.next(now, steady) == Next::Ask, asks, "{now}");
        }
        assert_eq!(r.next(UnixMs(0), steady), Next::After(LOOK_AGAIN_MS), "the clock may be put right");
    }
    #[test]
    fn failures_wait_longer_and_a_wrong_clock_does_not_ask_without_end() {
        let mut r = Renewals::new(Some(LIFE), 1);
        let late = LIFE.until;
        r.asked(UnixMs(0));
        assert!(matches!(r.next(late, UnixMs(0)), Next::After(ms) if ms <= 10_000));
        r.kept(UnixMs(20_000));
        assert_eq!(r.next(late, UnixMs(20_000)), Next::After(LOOK_AGAIN_MS));
        assert_eq!(r.next(late, UnixMs(20_000 + LOOK_AGAIN_MS)), Next::Ask);
    }
    #[test]
    fn a_link_that_fails_is_a_reason_to_ask_now_and_then() {
        let mut r = Renewals::new(None, 1);
        assert_eq!(r.next(UnixMs(0), UnixMs(0)), Next::After(LOOK_AGAIN_MS));
        r.suspect(UnixMs(0));
        assert_eq!(r.next(UnixMs(0), UnixMs(0)), Next::Ask);
        r.asked(UnixMs(0));
        r.suspect(UnixMs(60_000));
        assert_ne!(r.next(UnixMs(0), UnixMs(60_000)), Next::Ask);
        r.suspect(UnixMs(SUSPECT_EVERY_MS));
        assert_eq!(r.next(UnixMs(0), UnixMs(SUSPECT_EVERY_MS)), Next::Ask);
    }
}
