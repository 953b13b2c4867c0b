//! What a page is made for, and what one request adds to it.

use longshore_bundle::Manifest;
use longshore_stats::places::Shape;

use super::tally::Tally;
use crate::engine::protocol::LoadId;

/// The group of a row that names none, or one that was not declared.
pub const NO_GROUP: u8 = u8::MAX;

/// What a page is made for. Supervisor and engine each make it out of the bundle, and a load of which they have made
/// different ones is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageSpec {
    /// The load it counts.
    pub load: LoadId,
    /// Classes of the bundle, 0 for none; at most 65,536.
    pub classes: u32,
    /// Whether scores of the answered class are counted.
    pub scored: bool,
    /// Declared groups, 0 for none; at most 16.
    pub groups: u32,
    /// The class that is good for whom it is given to, where there are groups.
    pub favourable: u32,
    /// Places of the monitored features, where the bundle has a reference.
    pub shape: Option<Shape>,
    /// Whether it is of a bundle in shadow.
    pub shadow: bool,
    /// Rows of the prediction ring, 1 to 1,048,576.
    pub ring_rows: u32,
    /// `/proc/sys/kernel/random/boot_id` ([`super::boot_id`]): a page of another boot is a leftover.
    pub boot_id: [u8; 16],
}

impl PageSpec {
    /// A page for classes alone.
    #[must_use]
    pub fn plain(load: LoadId, classes: u32, ring_rows: u32, boot_id: [u8; 16]) -> Self {
        let (scored, shadow) = (false, false);
        Self { load, classes, scored, groups: 0, favourable: 0, shape: None, shadow, ring_rows, boot_id }
    }
    /// The page of a bundle in shadow.
    #[must_use]
    pub fn in_shadow(load: LoadId, manifest: &Manifest, ring_rows: u32, boot_id: [u8; 16]) -> Self {
        Self { shadow: true, ..Self::plain(load, manifest.classes(), ring_rows, boot_id) }
    }
    /// The page of a bundle; `shape` is that of its reference.
    #[must_use]
    pub fn of(
        load: LoadId,
        manifest: &Manifest,
        shape: Option<Shape>,
        ring_rows: u32,
        boot_id: [u8; 16],
    ) -> Self {
        let monitor = &manifest.monitor;
        let favourable = monitor.favourable_class();
        Self {
            load,
            classes: manifest.classes(),
            scored: monitor.score_output.is_some() && !monitor.classes.is_empty(),
            groups: if favourable.is_some() { monitor.groups.len() as u32 } else { 0 },
            favourable: favourable.unwrap_or(0) as u32,
            shape,
            shadow: false,
            ring_rows,
            boot_id,
        }
    }
}

/// What one answered request adds.
#[derive(Debug, Clone, Copy, Default)]
pub struct RequestOutcome<'a> {
    /// Rows answered.
    pub rows: u32,
    /// Rows refused or failed.
    pub errors: u32,
    /// Answered rows whose output held a NaN.
    pub nan: u32,
    /// Answered rows of low margin.
    pub low_margin: u32,
    /// Predicted class of each answered row ([`super::NO_CLASS`] for none); empty for a bundle without classes.
    pub classes: &'a [u32],
    /// Score of the predicted class of each answered row; empty for a bundle without scores.
    pub scores: &'a [f32],
    /// Declared group of each answered row ([`NO_GROUP`] for none); rows beyond its end have none.
    pub groups: &'a [u8],
    /// What the monitored features of the answered rows looked like, in the places of [`PageSpec::shape`].
    pub features: Option<&'a Tally>,
    /// From the request's last byte to the first of its answer, microseconds.
    pub latency_us: u64,
    /// Wall clock, for the prediction ring.
    pub unix_ms: u64,
}
