//! Judging model versions: from the record and the bundle's files to verdicts.
//!
//! What always holds: verdicts are made by the pure code of `longshore_fleet_core::monitor` from merged counters alone;
//! asking again for the same span gives the same answer until rows come; one version that cannot be judged stops no other.

mod feature;
mod judge;
mod metrics;
mod source;

pub use feature::{Bin, FeatureView, Outlier, feature};
pub use judge::{CohortVerdicts, Judged, hours, judge, judge_hour, policy, span_until};
pub use metrics::metrics;
pub use source::{Source, SourceError, store_missing_shapes, store_shape};
