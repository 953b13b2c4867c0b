//! Rules that can be broken on purpose, so that the simulator can show that it notices. Only with the feature
//! `broken-rules`, which no member of the workspace enables: in every other build [`broken`] is `false` and nothing is left.

/// A rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Rule {
    /// A paused rollout offers its version.
    PausedOffers = 1,
    /// A rollout that is being halted offers its version.
    HaltedOffers,
    /// A wave takes more devices than its cap.
    CapIgnored,
    /// A device that was offered the version and is not heard counts as a success.
    OfflineIsSuccess,
    /// A wave passes when its devices have come up.
    InstalledIsEnough,
    /// A wave is judged without its soak.
    SoakSkipped,
    /// A wave has no deadline.
    WaveNeverEnds,
    /// Devices of later waves are offered the version at once.
    AllWavesAtOnce,
}

#[cfg(feature = "broken-rules")]
mod on {
    use std::sync::atomic::{AtomicU8, Ordering};

    static BROKEN: AtomicU8 = AtomicU8::new(0);

    /// Breaks this rule and no other, in the whole process; `None` mends all.
    pub fn break_only(rule: Option<super::Rule>) {
        BROKEN.store(rule.map_or(0, |r| r as u8), Ordering::Relaxed);
    }
    pub(crate) fn broken(rule: super::Rule) -> bool {
        BROKEN.load(Ordering::Relaxed) == rule as u8
    }
}
#[cfg(feature = "broken-rules")]
pub use on::break_only;
#[cfg(feature = "broken-rules")]
pub(crate) use on::broken;

/// Whether a rule is broken on purpose: never, in this build.
#[cfg(not(feature = "broken-rules"))]
pub(crate) const fn broken(_: Rule) -> bool {
    false
}
