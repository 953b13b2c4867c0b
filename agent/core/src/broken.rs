//! Rules that can be broken on purpose, so that the simulator can show that it notices. Only with the feature
//! `broken-rules`, which no member of the workspace enables: in every other build [`broken`] is `false` and nothing is left.

/// A rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Rule {
    /// Effects leave before their transaction is confirmed.
    EffectsBeforePersist = 1,
    /// What changes of a model is not written.
    RecordNotWritten,
    /// An assignment that is not newer is taken again.
    OldAssignmentAgain,
    /// An assignment of an older generation is accepted.
    GenerationIgnored,
    /// An assignment need not agree with what offline keys signed.
    TargetsNotAsked,
    /// A lower release counter needs no way back.
    FloorNotAsked,
    /// The floor follows what is committed, down too.
    FloorFalls,
    /// What runs on a lease stays when the lease lapses.
    LeaseNeverLapses,
    /// What runs on a lease is committed without the fleet's word.
    CommitWithoutWord,
    /// A halt commits what is on probation.
    HaltCommits,
    /// Numbers of the stream are given twice.
    NumbersTwice,
    /// What a restored fleet has lost is not offered again.
    NoReoffer,
    /// Updates that hang are not ended.
    DeadlinesIgnored,
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
