//! Everything that can happen to the supervisor, in one queue.

use std::sync::mpsc::Sender;

use longshore_agent_core::TargetsView;
use longshore_agent_core::update::{FetchFailure, Installed};
use longshore_trust::tuf::{Trusted, TufError};
use longshore_trust::{Digest, ModelName};
use longshore_wire::v1::{Reason, TrialReport};

use super::clock::TimeReply;
use super::process::Told;
use super::sealed::{SealError, SealedBundle};
use crate::link::LinkEvent;
use crate::renew::{Outcome, RenewError};

/// One happening.
#[derive(Debug)]
pub enum Happening {
    /// The link.
    Link(LinkEvent),
    /// SIGTERM or SIGINT.
    Terminate,
    /// SIGHUP.
    Reload,
    /// The serving engine of this generation.
    Engine(u64, Told),
    /// A bundle was copied into sealed memory for the serving engine of this generation.
    Prepared {
        /// The engine's generation.
        generation: u64,
        /// The model.
        model: ModelName,
        /// What was asked for.
        wanted: Box<Installed>,
        /// The copy.
        result: Result<Box<SealedBundle>, SealError>,
    },
    /// A download ended.
    Fetched(ModelName, Digest, Result<(), FetchFailure>),
    /// A trial ended.
    Tried(ModelName, Digest, Result<TrialReport, Reason>),
    /// An attempt to renew the certificate ended.
    Renewed(Result<Outcome, RenewError>),
    /// A question for the time was answered, or not.
    Time(Result<TimeReply, String>),
    /// A refresh ended.
    Refreshed(Result<Box<(Trusted, TargetsView)>, TufError>),
}

/// Where happenings are put.
pub type Queue = Sender<Happening>;
