//! Rules that are broken on purpose, one at a time, so that the simulator can show that it notices. Only builds with the
//! feature `broken-rules` can: nothing else of the workspace enables it.

/// A rule of the shells of this simulator: they do what the fleet's store does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Rule {
    /// A receipt goes out before the transaction is committed.
    ReceiptBeforeCommit = 1,
    /// What comes twice counts twice.
    ApplyTwice,
}

#[cfg(feature = "broken-rules")]
mod on {
    use std::sync::atomic::{AtomicU8, Ordering};

    static BROKEN: AtomicU8 = AtomicU8::new(0);

    pub(super) fn set(rule: u8) {
        BROKEN.store(rule, Ordering::Relaxed);
    }
    pub(crate) fn broken(rule: super::Rule) -> bool {
        BROKEN.load(Ordering::Relaxed) == rule as u8
    }
}
#[cfg(feature = "broken-rules")]
pub(crate) use on::broken;

/// Whether a rule is broken on purpose: never, in this build.
#[cfg(not(feature = "broken-rules"))]
pub(crate) const fn broken(_: Rule) -> bool {
    false
}
