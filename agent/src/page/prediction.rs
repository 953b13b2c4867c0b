//! The prediction ring: what labels are joined to later. It holds answers, never inputs.

use std::fmt;
use std::str::FromStr;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicU64, fence};

use crate::engine::protocol::LoadId;

/// The class of a row that has none: a regression, or an output that held a NaN.
pub const NO_CLASS: u32 = u32::MAX;

const NO_CLASS_BITS: u32 = NO_CLASS >> 8;

/// Words of one entry: tag (sequence number + 1, 0 while it is written); class (24 bits), group (8) and score; time.
pub const WORDS: usize = 3;

/// One answered row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Prediction {
    /// Predicted class, or [`NO_CLASS`].
    pub class: u32,
    /// Score of that class, 0 when the bundle has none; the first value of a regression.
    pub score: f32,
    /// Declared group, or [`NO_GROUP`](super::NO_GROUP).
    pub group: u8,
    /// When it was answered.
    pub unix_ms: u64,
}

pub fn write(entry: &[AtomicU64], seq: u64, p: Prediction) {
    entry[0].store(0, Relaxed);
    fence(Release);
    // Of the class, 24 bits are kept: no page has as many, and those of `NO_CLASS` are all set.
    let packed = u64::from(p.class) << 40 | u64::from(p.group) << 32 | u64::from(p.score.to_bits());
    entry[1].store(packed, Relaxed);
    entry[2].store(p.unix_ms, Relaxed);
    entry[0].store(seq.wrapping_add(1), Release);
}

/// The entry, if it is the one of `seq` and nobody wrote while it was read.
pub fn read(entry: &[AtomicU64], seq: u64) -> Option<Prediction> {
    let tag = seq.wrapping_add(1);
    if entry[0].load(Acquire) != tag {
        return None;
    }
    let (packed, unix_ms) = (entry[1].load(Relaxed), entry[2].load(Relaxed));
    fence(Acquire);
    if entry[0].load(Relaxed) != tag {
        return None;
    }
    let class = match (packed >> 40) as u32 {
        NO_CLASS_BITS => NO_CLASS,
        class => class,
    };
    let (group, score) = ((packed >> 32) as u8, f32::from_bits(packed as u32));
    Some(Prediction { class, score, group, unix_ms })
}

/// The name of a prediction as clients see it: `<load>-<first sequence number>`, both hex. The prediction of row r of the
/// same request has the sequence number plus r.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PredictionId {
    /// The load that answered.
    pub load: LoadId,
    /// Sequence number of row 0.
    pub seq: u64,
}

/// Not a prediction id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a prediction id: use parameters.prediction_id of an inference response as it is")]
pub struct PredictionIdError(String);

impl fmt::Display for PredictionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}-{:x}", self.load.0, self.seq)
    }
}

impl FromStr for PredictionId {
    type Err = PredictionIdError;
    fn from_str(s: &str) -> Result<Self, Self::Err> {
        let parse = |t: &str| {
            let plain = !t.is_empty() && t.bytes().all(|b| b.is_ascii_hexdigit() && !b.is_ascii_uppercase());
            plain.then(|| u64::from_str_radix(t, 16).ok()).flatten()
        };
        s.split_once('-')
            .and_then(|(load, seq)| Some(Self { load: LoadId(parse(load)?), seq: parse(seq)? }))
            .ok_or_else(|| PredictionIdError(s.chars().take(80).collect()))
    }
}
