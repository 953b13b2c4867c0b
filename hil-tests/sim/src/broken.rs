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

#[cfg(feature = "broken-rules")]
pub use mutants::{RULES, break_only};

#[cfg(feature = "broken-rules")]
mod mutants {
    use longshore_agent_core::broken as agent;
    use longshore_fleet_core::broken as fleet;

    /// A rule of whichever crate.
    #[derive(Debug, Clone, Copy)]
    pub enum Any {
        /// Of the devices.
        Agent(agent::Rule),
        /// Of the fleet.
        Fleet(fleet::Rule),
        /// Of the shells.
        Shell(super::Rule),
    }

    /// Every rule that can be broken, by name.
    pub const RULES: &[(&str, Any)] = &[
        ("effects before their transaction", Any::Agent(agent::Rule::EffectsBeforePersist)),
        ("changes not written", Any::Agent(agent::Rule::RecordNotWritten)),
        ("old assignment taken again", Any::Agent(agent::Rule::OldAssignmentAgain)),
        ("generation ignored", Any::Agent(agent::Rule::GenerationIgnored)),
        ("approval not asked", Any::Agent(agent::Rule::TargetsNotAsked)),
        ("release counter not asked", Any::Agent(agent::Rule::FloorNotAsked)),
        ("floor falls", Any::Agent(agent::Rule::FloorFalls)),
        ("lease never lapses", Any::Agent(agent::Rule::LeaseNeverLapses)),
        ("commit without the fleet's word", Any::Agent(agent::Rule::CommitWithoutWord)),
        ("commit on halt", Any::Agent(agent::Rule::HaltCommits)),
        ("numbers given twice", Any::Agent(agent::Rule::NumbersTwice)),
        ("nothing offered again after a restore", Any::Agent(agent::Rule::NoReoffer)),
        ("deadlines of updates ignored", Any::Agent(agent::Rule::DeadlinesIgnored)),
        ("offer while paused", Any::Fleet(fleet::Rule::PausedOffers)),
        ("offer while halting", Any::Fleet(fleet::Rule::HaltedOffers)),
        ("wave's cap ignored", Any::Fleet(fleet::Rule::CapIgnored)),
        ("offline counted as success", Any::Fleet(fleet::Rule::OfflineIsSuccess)),
        ("installed is enough", Any::Fleet(fleet::Rule::InstalledIsEnough)),
        ("soak skipped", Any::Fleet(fleet::Rule::SoakSkipped)),
        ("wave without deadline", Any::Fleet(fleet::Rule::WaveNeverEnds)),
        ("all waves at once", Any::Fleet(fleet::Rule::AllWavesAtOnce)),
        ("receipt before commit", Any::Shell(super::Rule::ReceiptBeforeCommit)),
        ("counted again when it comes twice", Any::Shell(super::Rule::ApplyTwice)),
    ];

    /// Breaks this rule and no other; `None` mends all.
    pub fn break_only(rule: Option<Any>) {
        let (mut a, mut f, mut s) = (None, None, 0);
        match rule {
            Some(Any::Agent(rule)) => a = Some(rule),
            Some(Any::Fleet(rule)) => f = Some(rule),
            Some(Any::Shell(rule)) => s = rule as u8,
            None => {}
        }
        agent::break_only(a);
        fleet::break_only(f);
        super::on::set(s);
    }
}
