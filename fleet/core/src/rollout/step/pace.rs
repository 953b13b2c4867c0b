//! How many offers may go out now: a wave's cap per minute, and the bandwidth of the whole rollout.

use longshore_trust::UnixMs;

use super::view::View;
use crate::plan::Plan;

const MINUTE_MS: u64 = 60_000;

/// What is left to offer in one step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pace {
    /// Of the whole rollout, by its bandwidth.
    rollout: Option<u64>,
    /// Of each wave, by its cap per minute.
    waves: Vec<Option<u64>>,
}

impl Pace {
    pub(super) fn new(now: UnixMs, plan: &Plan, devices: &[View<'_>]) -> Self {
        let caps: Vec<Option<u64>> =
            plan.policy.waves.iter().map(|w| w.max_per_minute.map(u64::from)).collect();
        let bandwidth = plan.policy.bandwidth.and_then(|b| span_and_devices(b, plan.bytes));
        if bandwidth.is_none() && caps.iter().all(Option::is_none) {
            return Self { rollout: None, waves: caps };
        }
        let mut sent = 0u64;
        let mut sent_in = vec![0u64; caps.len()];
        for d in devices {
            let Some(offer) = d.fact.offer else { continue };
            let ago = now.since(offer.at);
            sent += u64::from(bandwidth.is_some_and(|(span_ms, _)| ago < span_ms));
            if ago < MINUTE_MS
                && let Some(n) = sent_in.get_mut(d.wave)
            {
                *n += 1;
            }
        }
        Self {
            rollout: bandwidth.map(|(_, devices)| devices.saturating_sub(sent)),
            waves: caps
                .into_iter()
                .zip(sent_in)
                .map(|(cap, n)| cap.map(|cap| cap.saturating_sub(n)))
                .collect(),
        }
    }
    /// Takes one offer of a wave, if there is one left.
    pub(super) fn take(&mut self, wave: usize) -> bool {
        let wave = self.waves.get_mut(wave).and_then(Option::as_mut);
        if wave.as_ref().is_some_and(|n| **n == 0) || self.rollout == Some(0) {
            return false;
        }
        if let Some(n) = wave {
            *n -= 1;
        }
        if let Some(n) = &mut self.rollout {
            *n -= 1;
        }
        true
    }
    /// Whether a wave is paced: then only devices that can be reached are offered anything, because an offer that waits
    /// for its device is downloaded at a time that nobody chose.
    pub(super) fn is_paced(&self, wave: usize) -> bool {
        self.rollout.is_some() || self.waves.get(wave).is_some_and(Option::is_some)
    }
}

/// In how long, ms, how many devices may begin to download `bytes` each: at least one.
fn span_and_devices(bandwidth: u64, bytes: u64) -> Option<(u64, u64)> {
    if bytes == 0 {
        return None;
    }
    let one_ms = u64::try_from((u128::from(bytes) * 1000).div_ceil(u128::from(bandwidth.max(1)))).ok()?;
    let span_ms = one_ms.max(MINUTE_MS);
    Some((span_ms, span_ms / one_ms.max(1)))
}

/// How long it takes at least to offer a version of `bytes` to so many devices, ms.
#[must_use]
pub fn offering_ms(devices: u64, max_per_minute: Option<u32>, bandwidth: Option<u64>, bytes: u64) -> u64 {
    let of = |span_ms: u64, n: u64| devices.saturating_sub(n).div_ceil(n.max(1)).saturating_mul(span_ms);
    let cap = max_per_minute.map_or(0, |n| of(MINUTE_MS, u64::from(n)));
    let wire = bandwidth.filter(|_| bytes > 0).map_or(0, |b| {
        u64::try_from(u128::from(devices) * u128::from(bytes) * 1000 / u128::from(b.max(1)))
            .unwrap_or(u64::MAX)
    });
    cap.max(wire)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bandwidth_becomes_devices() {
        assert_eq!(span_and_devices(20_000_000, 10_000_000), Some((60_000, 120)));
        assert_eq!(span_and_devices(1_000, 10_000_000), Some((10_000_000, 1)), "one at a time, however slow");
        assert_eq!(span_and_devices(1, 0), None);
    }

    #[test]
    fn the_time_to_offer_is_bounded_by_the_slower_of_both() {
        assert_eq!(offering_ms(1000, Some(500), None, 1), 60_000);
        assert_eq!(offering_ms(500, Some(500), None, 1), 0);
        assert_eq!(offering_ms(1000, Some(500), Some(1_000_000), 1_000_000), 1_000_000);
        assert_eq!(offering_ms(1000, None, None, 5), 0);
    }
}
