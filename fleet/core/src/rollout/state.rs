//! States of rollouts, waves and devices: lower snake_case wherever they are written.

use std::fmt;

use longshore_trust::UnixMs;
use longshore_wire::v1::UpdateState;
use serde::{Deserialize, Serialize};

/// A state that is written as text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a known state")]
pub struct UnknownState(pub String);

macro_rules! states {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum $name { $($(#[$vdoc])* $variant),+ }
        impl $name {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];
            /// As in JSON and in the store.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { f.write_str(self.as_str()) }
        }
        impl std::str::FromStr for $name {
            type Err = UnknownState;
            fn from_str(s: &str) -> Result<Self, UnknownState> {
                Self::ALL.iter().copied().find(|v| v.as_str() == s).ok_or_else(|| UnknownState(s.to_owned()))
            }
        }
    };
}

states!(
    /// Where a rollout stands.
    RolloutState {
        /// Planned, not started.
        Planned = "planned",
        /// Asked to start; a second person's yes is missing.
        AwaitingAuthorization = "awaiting_authorization",
        /// Starts by itself at its time.
        Scheduled = "scheduled",
        /// Waves are opened one after the other.
        Running = "running",
        /// Offers nothing new; what is in probation keeps its lease.
        Paused = "paused",
        /// What is not committed is being revoked.
        Halting = "halting",
        /// Nothing of it starts any more.
        Halted = "halted",
        /// Devices get their previous version back.
        Reverting = "reverting",
        /// Every device that could be reached has its previous version back.
        Reverted = "reverted",
        /// Every wave passed or was skipped by a person.
        Completed = "completed",
        /// A newer rollout of the model took its place.
        Superseded = "superseded",
    }
);

states!(
    /// Where a wave stands.
    WaveState {
        /// Not opened.
        Waiting = "waiting",
        /// Its devices run the version beside the one that serves.
        Shadowing = "shadowing",
        /// Its devices are offered the version.
        Offering = "offering",
        /// Its devices run the version and gather evidence.
        Soaking = "soaking",
        /// The gates are asked.
        Judging = "judging",
        /// All gates passed.
        Passed = "passed",
        /// A gate failed.
        Failed = "failed",
        /// The deadline came before enough evidence.
        Inconclusive = "inconclusive",
    }
);

/// Days a plan may wait to be started.
const PLANNED_DEADLINE_MS: u64 = 30 * 86_400_000;
/// How long a plan waits for a second person's yes.
const AUTHORIZATION_DEADLINE_MS: u64 = 7 * 86_400_000;
/// How far ahead a start can be scheduled.
pub const LONGEST_SCHEDULE_MS: u64 = 30 * 86_400_000;
/// How long a scheduled rollout whose time has come is tried to be started.
const SCHEDULED_GRACE_MS: u64 = 3_600_000;
/// How long a paused rollout waits for a person.
const PAUSED_DEADLINE_MS: u64 = 7 * 86_400_000;
/// How long a halt waits for devices that are online.
const HALTING_DEADLINE_MS: u64 = 10 * 60_000;
/// How long a revert waits for devices that are online.
const REVERTING_DEADLINE_MS: u64 = 30 * 60_000;

impl RolloutState {
    /// Whether nothing more happens to it by itself.
    #[must_use]
    pub const fn is_terminal(self) -> bool {
        matches!(self, Self::Halted | Self::Reverted | Self::Completed | Self::Superseded)
    }
    /// Whether it occupies its model: a second rollout cannot run beside it.
    #[must_use]
    pub const fn is_active(self) -> bool {
        matches!(self, Self::Running | Self::Paused | Self::Halting | Self::Reverting)
    }
    /// Whether it has not begun: nothing was offered to anybody.
    #[must_use]
    pub const fn is_before_start(self) -> bool {
        matches!(self, Self::Planned | Self::AwaitingAuthorization | Self::Scheduled)
    }
    /// When this state ends at the latest, for a rollout of `waves` waves whose gate has this deadline; terminal states
    /// have none.
    #[must_use]
    pub fn deadline(self, since: UnixMs, waves: usize, wave_deadline_ms: u64) -> Option<UnixMs> {
        let ms = match self {
            Self::Planned => PLANNED_DEADLINE_MS,
            Self::AwaitingAuthorization => AUTHORIZATION_DEADLINE_MS,
            Self::Scheduled => LONGEST_SCHEDULE_MS + SCHEDULED_GRACE_MS,
            // Each wave has its own deadline; the sum bounds the whole.
            Self::Running => wave_deadline_ms.saturating_mul(waves as u64 + 1),
            Self::Paused => PAUSED_DEADLINE_MS,
            Self::Halting => HALTING_DEADLINE_MS,
            Self::Reverting => REVERTING_DEADLINE_MS,
            Self::Halted | Self::Reverted | Self::Completed | Self::Superseded => return None,
        };
        Some(since.plus_ms(ms))
    }
}

impl WaveState {
    /// Whether the wave is under way.
    #[must_use]
    pub const fn is_open(self) -> bool {
        matches!(self, Self::Shadowing | Self::Offering | Self::Soaking | Self::Judging)
    }
}

states!(
    /// Why a rollout is paused.
    PauseReason {
        /// A person paused it, or the version was withdrawn.
        Operator = "operator",
        /// A gate failed, or was not passed by its deadline.
        Gate = "gate",
        /// More devices failed than the whole rollout may lose.
        ErrorBudget = "error_budget",
        /// Too few devices could be reached by the deadline.
        Quorum = "quorum",
    }
);

/// Where a device of a rollout stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DeviceState {
    /// Nothing was offered to it yet.
    Waiting,
    /// As the device reports it, or `offered` before it has.
    Update(UpdateState),
}

/// How a device counts in a gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Standing {
    /// Not offered, or still on its way.
    OnItsWay,
    /// It runs the version.
    Ok,
    /// It tried and could not.
    Failed,
    /// It was called back or has gone: counts nowhere.
    Out,
}

impl DeviceState {
    /// As in JSON and in the store.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Update(u) => u.as_str(),
        }
    }
    /// Whether nothing more happens to it by itself.
    #[must_use]
    pub const fn is_terminal(self) -> bool {
        match self {
            Self::Waiting => false,
            Self::Update(u) => u.is_terminal(),
        }
    }
    /// How it counts.
    #[must_use]
    pub const fn standing(self) -> Standing {
        use UpdateState as U;
        match self {
            Self::Waiting => Standing::OnItsWay,
            Self::Update(u) => match u {
                U::Probation | U::Committed | U::Already => Standing::Ok,
                U::Failed | U::Rejected | U::RolledBack | U::UnableToRollBack => Standing::Failed,
                U::Cancelled | U::Decommissioned => Standing::Out,
                // Deferral and a deadline that a device missed are no failures of the version.
                U::Offered
                | U::Accepted
                | U::Downloading
                | U::Verified
                | U::Staged
                | U::Trial
                | U::Shadowing
                | U::Deferred
                | U::Expired
                | U::TooLate => Standing::OnItsWay,
            },
        }
    }
}
impl fmt::Display for DeviceState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
impl std::str::FromStr for DeviceState {
    type Err = UnknownState;
    fn from_str(s: &str) -> Result<Self, UnknownState> {
        if s == "waiting" {
            return Ok(Self::Waiting);
        }
        serde_json::from_value(serde_json::Value::String(s.to_owned()))
            .map(Self::Update)
            .map_err(|_| UnknownState(s.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_that_is_not_terminal_has_a_deadline() {
        for state in RolloutState::ALL {
            assert_eq!(state.deadline(UnixMs(5), 3, 1000).is_none(), state.is_terminal(), "{state}");
        }
    }
    #[test]
    fn states_read_back() {
        for s in RolloutState::ALL {
            assert_eq!(s.as_str().parse(), Ok(*s));
            assert_eq!(serde_json::to_value(s).unwrap(), s.as_str());
        }
        for s in WaveState::ALL {
            assert_eq!(s.as_str().parse(), Ok(*s));
        }
        for s in [DeviceState::Waiting, DeviceState::Update(UpdateState::RolledBack)] {
            assert_eq!(s.as_str().parse(), Ok(s));
        }
        assert!("gone".parse::<DeviceState>().is_err());
    }
}
