//! What becomes of a delivery after an attempt: done, tried again later, or given up.
//!
//! What always holds: an attempt is followed by another one in bounded time, or by an end; a receiver that says it will never
//! take a message is believed at once.

use longshore_trust::UnixMs;

/// First back-off, ms; doubles with every attempt.
pub const BASE_MS: u64 = 5_000;
/// Longest back-off, ms.
pub const CAP_MS: u64 = 15 * 60_000;
/// Shortest time between two attempts, ms.
pub const LEAST_MS: u64 = 1_000;
/// Longest time a receiver may ask us to wait, ms.
pub const RETRY_AFTER_MAX_MS: u64 = 60 * 60_000;

/// What one attempt came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Taken.
    Taken {
        /// What the receiver said.
        said: String,
    },
    /// Not now.
    Later {
        /// Why.
        why: String,
        /// How long the receiver asked us to wait, ms.
        after_ms: Option<u64>,
    },
    /// Never.
    Never {
        /// Why.
        why: String,
    },
}

impl Outcome {
    /// Of an answer to an HTTP request.
    #[must_use]
    pub fn of_status(status: u16, said: &str, after_ms: Option<u64>) -> Self {
        let with = |text: &str| if said.is_empty() { text.to_owned() } else { format!("{text}: {said}") };
        let why = with(&format!("answered {status}"));
        match status {
            200..=299 => Self::Taken { said: format!("answered {status}") },
            300..=399 => Self::Never {
                why: format!(
                    "answered {status}, which sends us elsewhere: put the final address into the configuration"
                ),
            },
            408 | 425 | 429 => Self::Later { why, after_ms },
            400..=499 => Self::Never { why },
            _ => Self::Later { why, after_ms },
        }
    }
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// It is done.
    Delivered,
    /// Try again then.
    Retry(UnixMs),
    /// Give up.
    Dead(String),
}

/// What follows from an attempt. `attempts` counts this one; `jitter` is from 0 to 1, drawn anew for each attempt.
#[must_use]
pub fn after(
    outcome: &Outcome,
    attempts: u32,
    queued: UnixMs,
    now: UnixMs,
    give_up_ms: u64,
    jitter: f64,
) -> Next {
    match outcome {
        Outcome::Taken { .. } => Next::Delivered,
        Outcome::Never { why } => Next::Dead(why.clone()),
        Outcome::Later { why, after_ms } => {
            let at = now.plus_ms(wait_ms(attempts, *after_ms, jitter));
            if at.since(queued) > give_up_ms {
                Next::Dead(format!("{why} (given up after {attempts} attempts)"))
            } else {
                Next::Retry(at)
            }
        }
    }
}

/// Full jitter: anything up to the doubled back-off, so that receivers that come back are not met by everybody at once.
fn wait_ms(attempts: u32, asked_ms: Option<u64>, jitter: f64) -> u64 {
    let ceiling = BASE_MS.saturating_mul(1 << attempts.saturating_sub(1).min(16)).min(CAP_MS);
    let own = (ceiling as f64 * jitter.clamp(0.0, 1.0)) as u64;
    own.max(LEAST_MS).max(asked_ms.unwrap_or(0).min(RETRY_AFTER_MAX_MS))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn later() -> Outcome {
        Outcome::Later { why: "answered 500".into(), after_ms: None }
    }

    #[test]
    fn what_a_receiver_says_is_believed() {
        assert!(matches!(Outcome::of_status(204, "", None), Outcome::Taken { .. }));
        for status in [408, 429, 500, 503] {
            assert!(matches!(Outcome::of_status(status, "", None), Outcome::Later { .. }), "{status}");
        }
        for status in [301, 302, 308, 400, 401, 404, 410, 422] {
            assert!(matches!(Outcome::of_status(status, "x", None), Outcome::Never { .. }), "{status}");
        }
        let wait = Outcome::Later { why: String::new(), after_ms: Some(120_000) };
        assert_eq!(after(&wait, 1, UnixMs(0), UnixMs(0), 1 << 40, 0.0), Next::Retry(UnixMs(120_000)));
        let ever = Outcome::Later { why: String::new(), after_ms: Some(u64::MAX) };
        assert_eq!(
            after(&ever, 1, UnixMs(0), UnixMs(0), 1 << 40, 0.0),
            Next::Retry(UnixMs(RETRY_AFTER_MAX_MS))
        );
    }

    proptest! {
        #[test]
        fn every_delivery_ends_delivered_or_dead(
            answers in prop::collection::vec(0u16..600, 0..400),
            jitter in prop::collection::vec(0f64..1.0, 1..20),
            give_up_ms in 1_000u64..200_000_000,
        ) {
            let (mut now, mut attempts) = (UnixMs(1_000), 0u32);
            loop {
                attempts += 1;
                let status = answers.get(attempts as usize).copied().unwrap_or(500);
                let outcome = if status < 100 { later() } else { Outcome::of_status(status, "", None) };
                let j = jitter[attempts as usize % jitter.len()];
                match after(&outcome, attempts, UnixMs(1_000), now, give_up_ms, j) {
                    Next::Delivered | Next::Dead(_) => break,
                    Next::Retry(at) => {
                        prop_assert!(at.since(now) >= LEAST_MS && at.since(now) <= CAP_MS);
                        now = at;
                    }
                }
                // At least a second lies between two attempts, so this many are never needed.
                prop_assert!(u64::from(attempts) <= give_up_ms / LEAST_MS + 2);
            }
        }
    }
}
