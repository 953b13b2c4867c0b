//! What the device remembers of each model: written in one transaction with the reports it justifies.
//!
//! `activate_by` and `not_after` are dates; everything else that looks like a time is of the steady clock.

use longshore_trust::{AssignmentVersion, Digest, Generation, ModelName, ReleaseCounter, RolloutId, UnixMs};
use longshore_wire::v1::{Guard, Mode, Probation, Reason, TrialReport, UpdateState};
use serde::{Deserialize, Serialize};

use crate::clock::Moment;

/// The assignment something comes from.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Origin {
    /// Its version.
    pub version: AssignmentVersion,
    /// Its generation.
    pub generation: Generation,
    /// Its rollout.
    pub rollout: Option<RolloutId>,
}

/// A bundle that is, or was, complete on this device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Installed {
    /// Digest of its manifest.
    pub bundle: Digest,
    /// Its version.
    pub version: String,
    /// Target path of its manifest.
    pub manifest_path: String,
    /// Length of its manifest, bytes.
    pub length: u64,
    /// Its release counter.
    pub release_counter: ReleaseCounter,
    /// The assignment that brought it.
    pub origin: Origin,
}

/// A bundle that an accepted assignment wants, with the terms of its trial.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wanted {
    /// What.
    pub bundle: Installed,
    /// Not activated after this.
    pub activate_by: UnixMs,
    /// Nothing of it is started after this.
    pub not_after: UnixMs,
    /// How probation ends.
    pub probation: Probation,
    /// When the device itself goes back.
    pub guard: Guard,
    /// How it is run.
    #[serde(default = "active")]
    pub mode: Mode,
}

/// What every bundle was wanted for by agents that knew no shadow.
const fn active() -> Mode {
    Mode::Active
}

/// What a failed trial goes back to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RollbackTo {
    /// The model was not served before: it is not served again.
    Nothing,
    /// The bundle that served before.
    Bundle(Installed),
}

impl RollbackTo {
    /// From what is active.
    #[must_use]
    pub fn of(active: Option<&Installed>) -> Self {
        active.map_or(Self::Nothing, |i| Self::Bundle(i.clone()))
    }
    /// The bundle, if there is one.
    #[must_use]
    pub fn bundle(&self) -> Option<&Installed> {
        match self {
            Self::Nothing => None,
            Self::Bundle(i) => Some(i),
        }
    }
}

/// Where an update stands. From the trial on it always carries what it would roll back to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "phase", rename_all = "snake_case")]
pub enum Phase {
    /// Files are being fetched; deadline: `activate_by`.
    Downloading {
        /// Attempts that failed.
        attempts: u32,
        /// When the next one starts, if none runs.
        retry_at: Option<UnixMs>,
    },
    /// Put off (no room on the disk); deadline: `activate_by`.
    Deferred {
        /// Until when.
        until: UnixMs,
        /// Attempts that failed.
        attempts: u32,
    },
    /// Complete on the disk, golden vectors run in a trial engine.
    Trial {
        /// What would come back.
        rollback: RollbackTo,
        /// The trial has failed by then.
        deadline: UnixMs,
    },
    /// Running beside what serves, or being loaded there; deadline: `activate_by`.
    Shadowing {
        /// What serves, and goes on serving.
        rollback: RollbackTo,
        /// What the trial measured.
        trial: TrialReport,
        /// It has failed if it does not run by then; `None` once it does.
        begins_by: Option<UnixMs>,
        /// Deaths of the engine since then that nobody is blamed for.
        crashes: u32,
    },
    /// Being loaded into the serving engine.
    Activating {
        /// What would come back.
        rollback: RollbackTo,
        /// What the trial measured.
        trial: TrialReport,
        /// It goes back if it does not answer by then.
        deadline: UnixMs,
    },
    /// Serving on probation.
    Probation {
        /// What would come back.
        rollback: RollbackTo,
        /// What the trial measured.
        trial: TrialReport,
        /// Since when it answers.
        since: UnixMs,
        /// Goes back then, unless renewed or committed; for a local commit the latest time to become healthy.
        deadline: UnixMs,
        /// The fleet has given its word already.
        granted: bool,
        /// Crashes so far.
        crashes: u32,
    },
    /// On its way back.
    RollingBack {
        /// To what.
        to: RollbackTo,
        /// Why.
        why: Reason,
        /// Unable to roll back by then.
        deadline: UnixMs,
    },
}

/// An update in progress.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Update {
    /// What is wanted.
    pub wanted: Wanted,
    /// Where it stands.
    pub at: Phase,
}

impl Update {
    /// The state that reports name.
    #[must_use]
    pub fn state(&self) -> UpdateState {
        match self.at {
            Phase::Downloading { .. } => UpdateState::Downloading,
            Phase::Deferred { .. } => UpdateState::Deferred,
            Phase::Shadowing { begins_by: None, .. } => UpdateState::Shadowing,
            Phase::Trial { .. } | Phase::Shadowing { .. } | Phase::Activating { .. } => UpdateState::Trial,
            Phase::Probation { .. } | Phase::RollingBack { .. } => UpdateState::Probation,
        }
    }
    /// By when, by the steady clock, something happens in this state, whatever else does not.
    #[must_use]
    pub fn deadline(&self, at: Moment) -> UnixMs {
        let date = || at.steady_at(self.last_date());
        self.span_ends().map_or_else(date, |end| if self.is_bound_by_date() { end.min(date()) } else { end })
    }
    /// Whether that has passed.
    #[must_use]
    pub fn is_overdue(&self, at: Moment) -> bool {
        let dated = || at.now > self.last_date();
        self.span_ends().map_or_else(dated, |end| at.steady > end || self.is_bound_by_date() && dated())
    }
    /// Whether a date ends this state, besides a span.
    fn is_bound_by_date(&self) -> bool {
        matches!(self.at, Phase::Shadowing { .. })
    }
    fn last_date(&self) -> UnixMs {
        self.wanted.activate_by.min(self.wanted.not_after)
    }
    /// States that last for a span; the others end at a date.
    fn span_ends(&self) -> Option<UnixMs> {
        match &self.at {
            Phase::Downloading { .. } | Phase::Deferred { .. } => None,
            Phase::Shadowing { begins_by, .. } => *begins_by,
            Phase::Trial { deadline, .. }
            | Phase::Activating { deadline, .. }
            | Phase::Probation { deadline, .. }
            | Phase::RollingBack { deadline, .. } => Some(*deadline),
        }
    }
    /// What a failed trial goes back to, once there is one.
    #[must_use]
    pub fn rollback(&self) -> Option<&RollbackTo> {
        match &self.at {
            Phase::Downloading { .. } | Phase::Deferred { .. } => None,
            Phase::Trial { rollback, .. }
            | Phase::Shadowing { rollback, .. }
            | Phase::Activating { rollback, .. }
            | Phase::Probation { rollback, .. } => Some(rollback),
            Phase::RollingBack { to, .. } => Some(to),
        }
    }
}

/// How the last update of a model ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// Which bundle.
    pub bundle: Digest,
    /// For which assignment.
    pub assignment: AssignmentVersion,
    /// How.
    pub state: UpdateState,
    /// Why.
    pub why: Option<Reason>,
}

/// Everything about one model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelRecord {
    /// Which.
    pub model: ModelName,
    /// Committed and, unless a trial serves, serving.
    pub active: Option<Installed>,
    /// Committed before that.
    pub previous: Option<Installed>,
    /// No bundle with a lower release counter is started without an offline-signed way back. Rises at COMMITTED only.
    pub floor: ReleaseCounter,
    /// The greatest generation accepted for it: an executor that acts on an older plan is not heard. Begins again with a new
    /// director.
    #[serde(default)]
    pub generation: Generation,
    /// In progress.
    pub update: Option<Update>,
    /// What comes after the way back.
    pub queued: Option<Wanted>,
    /// How the last one ended.
    pub last: Option<Exit>,
    /// Engine starts with what serves now that have not been followed by health.
    pub starts: u32,
}

impl ModelRecord {
    /// A model nothing is known of.
    #[must_use]
    pub fn new(model: ModelName) -> Self {
        Self {
            model,
            active: None,
            previous: None,
            floor: ReleaseCounter(0),
            generation: Generation(0),
            update: None,
            queued: None,
            last: None,
            starts: 0,
        }
    }
    /// What should answer requests now.
    #[must_use]
    pub fn serving(&self) -> Option<&Installed> {
        match self.update.as_ref().map(|u| (&u.wanted, &u.at)) {
            Some((w, Phase::Activating { .. } | Phase::Probation { .. })) => Some(&w.bundle),
            Some((_, Phase::RollingBack { to, .. })) => to.bundle(),
            _ => self.active.as_ref(),
        }
    }
    /// What should run beside it, and answer nobody.
    #[must_use]
    pub fn shadowing(&self) -> Option<&Installed> {
        let update = self.update.as_ref()?;
        let beside = matches!(&update.at, Phase::Shadowing { rollback: RollbackTo::Bundle(_), .. });
        beside.then_some(&update.wanted.bundle)
    }
    /// State for inventories: of the update in progress, or how the last one ended.
    #[must_use]
    pub fn state(&self) -> UpdateState {
        match (&self.update, &self.last) {
            (Some(u), _) => u.state(),
            (None, Some(exit)) => exit.state,
            (None, None) => UpdateState::Committed,
        }
    }
    /// Every bundle that must stay on the disk.
    pub fn kept(&self) -> impl Iterator<Item = Digest> + '_ {
        let update = self.update.iter().map(|u| u.wanted.bundle.bundle);
        let back = self.update.iter().filter_map(|u| u.rollback()?.bundle()).map(|i| i.bundle);
        let queued = self.queued.iter().map(|w| w.bundle.bundle);
        let slots = self.active.iter().chain(&self.previous).map(|i| i.bundle);
        slots.chain(update).chain(back).chain(queued)
    }
}
