//! The state machine of one cause: pending, firing, acknowledged, resolved; and whom it tells of what, and when.
//!
//! What always holds:
//! - A cause has one [`Alert`] at a time. One that comes back within [`REOPEN_MS`] of its end is the same alert, with a count.
//! - Nobody is told of what did not last for the rule's `for`, nor that something is over before it was over for `resolve`.
//! - Between two notices of one alert lies [`gap_ms`], which doubles with every flap; what has changed back in between is
//!   not told at all.
//! - Unknown changes nothing for [`STALE_MS`]; then the alert ends as not measured, which is not called good.
//! - A firing alert that nobody has acknowledged is told again every `repeat`.

use longshore_trust::UnixMs;
use serde::{Deserialize, Serialize};

mod machine;

pub use machine::{Look, Step, step};

/// An alert whose cause comes back within this time is the same alert.
pub const REOPEN_MS: u64 = 3_600_000;
/// A cause that has not been measured for so long is no longer called firing.
pub const STALE_MS: u64 = 24 * 3_600_000;
/// A cause that holds on so long after a person resolved it is told anew.
pub const HELD_MS: u64 = 24 * 3_600_000;
/// Shortest time between two notices of one alert, before it flaps.
const GAP_MS: u64 = 5 * 60_000;

/// Shortest time between two notices of an alert that has flapped so often.
#[must_use]
pub fn gap_ms(flaps: u32) -> u64 {
    GAP_MS << flaps.min(6)
}

/// Who has taken an alert on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acknowledged {
    /// When.
    pub at: UnixMs,
    /// Who.
    pub by: String,
    /// What they wrote.
    pub note: String,
}

/// How a cause that fires looks now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "is")]
pub enum Now {
    /// It holds.
    Holding,
    /// It is over since.
    Clearing {
        /// Since when.
        since: UnixMs,
    },
    /// It cannot be measured since.
    Unmeasured {
        /// Since when.
        since: UnixMs,
    },
}

/// Why an alert is over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "by")]
pub enum Ended {
    /// The cause is gone.
    Recovered,
    /// It has not been measured for [`STALE_MS`]. That is not the same as good.
    Unmeasured,
    /// The rule is no longer in the configuration.
    RuleGone,
    /// A person said so.
    Person {
        /// Who.
        who: String,
        /// What they wrote.
        note: String,
        /// Whether the cause has been seen to be gone since.
        gone: bool,
    },
}

/// What an alert is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum State {
    /// It holds, but not for long enough.
    Pending {
        /// Since when.
        since: UnixMs,
    },
    /// It holds, and nobody has taken it on.
    Firing {
        /// Since when.
        since: UnixMs,
        /// How it looks.
        now: Now,
    },
    /// It holds, and somebody has taken it on.
    Acknowledged {
        /// Since when it fires.
        since: UnixMs,
        /// How it looks.
        now: Now,
        /// Who, when, why.
        ack: Acknowledged,
    },
    /// It is over.
    Resolved {
        /// Since when it had fired.
        since: UnixMs,
        /// When it ended.
        at: UnixMs,
        /// Why.
        ended: Ended,
        /// It holds again since.
        again: Option<UnixMs>,
        /// Who had taken it on.
        ack: Option<Acknowledged>,
    },
}

impl State {
    /// As stored and shown.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Pending { .. } => "pending",
            Self::Firing { .. } => "firing",
            Self::Acknowledged { .. } => "acknowledged",
            Self::Resolved { .. } => "resolved",
        }
    }
    /// Whether it holds as far as anybody is told.
    #[must_use]
    pub const fn is_active(&self) -> bool {
        matches!(self, Self::Firing { .. } | Self::Acknowledged { .. })
    }
}

/// What receivers were told last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// When.
    pub at: UnixMs,
    /// That it fires; else that it is over.
    pub firing: bool,
    /// How large it was.
    pub weight: u64,
}

/// One alert.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alert {
    /// Its state.
    #[serde(flatten)]
    pub state: State,
    /// How often it has come back.
    pub flaps: u32,
    /// What receivers were told last.
    pub told: Option<Told>,
}

/// What receivers are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Notice {
    /// It fires.
    Fired,
    /// It still fires, and nobody has taken it on.
    Repeated,
    /// It has become ten times as large.
    Grown,
    /// It is over.
    Resolved,
}
impl Notice {
    /// As in messages.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fired => "fired",
            Self::Repeated => "repeated",
            Self::Grown => "grown",
            Self::Resolved => "resolved",
        }
    }
}

/// What has happened to an alert, for its history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It fires for the first time.
    Fired,
    /// It has come back.
    Again,
    /// It has grown beyond what was acknowledged.
    Grown,
    /// The cause is gone.
    Recovered,
    /// It is no longer measured.
    Unmeasured,
    /// Its rule is gone.
    RuleGone,
}
impl Change {
    /// As stored.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fired => "fired",
            Self::Again => "again",
            Self::Grown => "grown",
            Self::Recovered => "recovered",
            Self::Unmeasured => "unmeasured",
            Self::RuleGone => "rule_gone",
        }
    }
}

impl Alert {
    /// Somebody takes it on. `false` where there is nothing to take on.
    #[must_use]
    pub fn acknowledge(&mut self, by: &str, note: &str, at: UnixMs) -> bool {
        let ack = Acknowledged { at, by: by.to_owned(), note: note.to_owned() };
        match &self.state {
            State::Firing { since, now } | State::Acknowledged { since, now, .. } => {
                self.state = State::Acknowledged { since: *since, now: *now, ack };
                true
            }
            State::Pending { .. } | State::Resolved { .. } => false,
        }
    }

    /// Somebody says that it is over. `false` where it is already.
    #[must_use]
    pub fn resolve(&mut self, who: &str, note: &str, at: UnixMs) -> bool {
        let ended = Ended::Person { who: who.to_owned(), note: note.to_owned(), gone: false };
        match &self.state {
            State::Firing { since, .. } | State::Acknowledged { since, .. } => {
                self.state = State::Resolved { since: *since, at, ended, again: None, ack: None };
                true
            }
            State::Pending { .. } | State::Resolved { .. } => false,
        }
    }
}
