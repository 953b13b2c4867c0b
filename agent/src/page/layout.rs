//! Where everything is in a counter page, in 64-bit words of the machine's byte order (a page never leaves its machine).
//!
//! `header (80) | state | in-flight | padding | counters | redo slot | prediction ring`. Offsets are computed from the
//! header once, when the page is opened, and never read again: what another process writes later cannot move them.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use longshore_stats::counters::{Answers, GROUPS_MAX, score_tables};
use longshore_stats::nesting::Level;
use longshore_stats::places::Shape;
use longshore_stats::profile::FEATURES_MAX;
use longshore_stats::quality::scores::{SCORE_BINS, ScoreTable, bin};
use longshore_stats::window::ReferenceId;
use longshore_stats::{Counters, DdSketch};

use super::shadow::Block;
use super::spec::{NO_GROUP, PageSpec, RequestOutcome};
use super::tally::Tally;
use super::{PageError, prediction};
use crate::engine::protocol::LoadId;

/// "LSPAGE" and the version of this layout.
const MAGIC: u64 = u64::from_le_bytes(*b"LSPAGE\x00\x03");
/// The level of the monitored features' bins.
pub const LEVEL: Level = Level::Bins32;
/// Words of the header before the features: magic, load, boot (2), classes and ring, scores, groups and favourable class,
/// reference, features, all words.
const FIRST_FEATURE: usize = 10;
/// Features whose number of bins shares a word.
const FEATURES_A_WORD: usize = 4;
/// Words of the header, the checksum last.
pub const HEADER_WORDS: usize = 80;
/// The state word, on a cache line of its own.
pub const STATE: usize = HEADER_WORDS;
/// The in-flight marker.
pub const IN_FLIGHT: usize = STATE + 8;
const FIRST_COUNTER: usize = IN_FLIGHT + 8;

const _: () = assert!(FIRST_FEATURE + FEATURES_MAX / FEATURES_A_WORD < HEADER_WORDS);

const MAX_CLASSES: u32 = 1 << 16;
const MAX_RING_ROWS: u32 = 1 << 20;
/// Counters of a table of scores: its bins, and what is no probability.
const SCORE_WORDS: usize = SCORE_BINS + 1;
/// No reference.
const NO_FEATURES: u64 = u64::MAX;

/// Indices of counters. Classes follow, then tables of scores, groups, features, the latency buckets, and last the block of a
/// bundle in shadow.
pub mod slot {
    pub const REQUESTS: usize = 0;
    pub const ROWS: usize = 1;
    pub const ERRORS: usize = 2;
    pub const NAN: usize = 3;
    pub const LOW_MARGIN: usize = 4;
    pub const UNDECLARED: usize = 5;
    pub const NEXT_SEQ: usize = 6;
    pub const CLASSES: usize = 7;
}

/// Offsets and sizes, in words; those of tables count from the first counter.
#[derive(Debug, Clone)]
pub struct Layout {
    pub classes: usize,
    pub ring_rows: usize,
    pub counters: usize,
    pub counter_words: usize,
    pub redo: usize,
    pub redo_entries: usize,
    pub ring: usize,
    pub words: usize,
    tables: usize,
    scores: usize,
    groups: usize,
    group_count: usize,
    favourable: u32,
    pub features: usize,
    pub feature_words: usize,
    latency: usize,
    /// Of a bundle in shadow: where its block begins.
    pub shadow: Option<(usize, Block)>,
    shape: Option<Shape>,
}

impl Layout {
    pub fn new(spec: &PageSpec) -> Result<Self, PageError> {
        if spec.classes > MAX_CLASSES {
            return Err(PageError::Spec("more than 65,536 classes cannot be counted"));
        }
        if spec.ring_rows == 0 || spec.ring_rows > MAX_RING_ROWS {
            return Err(PageError::Spec("the prediction ring must have 1 to 1,048,576 rows"));
        }
        if spec.groups as usize > GROUPS_MAX {
            return Err(PageError::Spec("more than 16 groups cannot be counted"));
        }
        let feature_words = match &spec.shape {
            Some(s) if s.counts.len() > FEATURES_MAX => {
                return Err(PageError::Spec("more than 256 features cannot be counted"));
            }
            Some(s) if s.level != LEVEL => return Err(PageError::Spec("features are counted in 32 bins")),
            Some(s) => s.words(),
            None => 0,
        };
        let (classes, ring_rows) = (spec.classes as usize, spec.ring_rows as usize);
        let tables = if spec.scored { score_tables(classes) } else { 0 };
        let scores = slot::CLASSES + classes;
        let groups = scores + tables * SCORE_WORDS;
        let features = groups + spec.groups as usize * 2;
        let latency = features + feature_words;
        let end = latency + latency_buckets();
        let shadow = spec.shadow.then(|| (end, Block::new(spec.classes)));
        let counter_words = end + shadow.map_or(0, |(_, block)| block.words);
        // One request touches every counter at most, but one latency bucket only.
        let redo_entries = latency + 1 + shadow.map_or(0, |(_, block)| block.touched);
        let redo = FIRST_COUNTER + counter_words;
        let ring = redo + 1 + 2 * redo_entries;
        Ok(Self {
            classes,
            ring_rows,
            counters: FIRST_COUNTER,
            counter_words,
            redo,
            redo_entries,
            ring,
            words: ring + prediction::WORDS * ring_rows,
            tables,
            scores,
            groups,
            group_count: spec.groups as usize,
            favourable: spec.favourable,
            features,
            feature_words,
            latency,
            shadow,
            shape: spec.shape.clone(),
        })
    }
    pub fn bytes(&self) -> u64 {
        self.words as u64 * 8
    }
    /// Bytes of counters and redo slot: what is there besides the prediction ring.
    pub fn state_bytes(&self) -> usize {
        self.ring * 8
    }
    pub fn latency_slot(&self, bucket: u16) -> usize {
        self.latency + usize::from(bucket)
    }
    /// Counters of one row's answer besides its features.
    pub fn tally_rows(&self, outcome: &RequestOutcome<'_>, tally: &mut Tally) {
        // `NO_CLASS`, or a class the bundle does not have, is in no table.
        let class_of =
            |row: usize| outcome.classes.get(row).map(|c| *c as usize).filter(|c| *c < self.classes);
        for class in (0..outcome.classes.len()).filter_map(class_of) {
            tally.count(slot::CLASSES + class);
        }
        if self.tables > 0 {
            for (row, score) in outcome.scores.iter().enumerate() {
                let Some(class) = class_of(row) else { continue };
                let table = if self.tables == 1 { 0 } else { class };
                tally.count(self.scores + table * SCORE_WORDS + bin(f64::from(*score)).unwrap_or(SCORE_BINS));
            }
        }
        if self.group_count == 0 {
            return;
        }
        for row in 0..outcome.rows as usize {
            let group = usize::from(outcome.groups.get(row).copied().unwrap_or(NO_GROUP));
            if group >= self.group_count {
                tally.count(slot::UNDECLARED);
                continue;
            }
            tally.count(self.groups + 2 * group);
            tally
                .add(self.groups + 2 * group + 1, u64::from(class_of(row) == Some(self.favourable as usize)));
        }
    }
    pub fn counters_of(&self, values: &[u64]) -> Counters {
        let mut c = Counters::with_classes(self.classes);
        c.requests = values[slot::REQUESTS];
        c.rows = values[slot::ROWS];
        c.errors = values[slot::ERRORS];
        c.nan = values[slot::NAN];
        c.low_margin = values[slot::LOW_MARGIN];
        c.classes.copy_from_slice(&values[slot::CLASSES..slot::CLASSES + self.classes]);
        let tables = values[self.scores..self.groups].chunks_exact(SCORE_WORDS);
        c.scores = tables
            .filter_map(|t| {
                let mut table = ScoreTable::from_counts(t[..SCORE_BINS].to_vec())?;
                table.invalid = t[SCORE_BINS];
                Some(table)
            })
            .collect();
        c.groups.undeclared = values[slot::UNDECLARED];
        let groups = values[self.groups..self.features].chunks_exact(2);
        c.groups.answers = groups.map(|g| Answers { rows: g[0], selected: g[1] }).collect();
        c.groups.rows = c.groups.answers.iter().fold(0, |n, a| n.saturating_add(a.rows));
        c.profile = self.shape.as_ref().and_then(|s| s.window(&values[self.features..self.latency]));
        for bucket in 0..latency_buckets() as u16 {
            c.latency_us.insert_bucket(bucket, values[self.latency_slot(bucket)]);
        }
        c.shadow = self.shadow.as_ref().map(|(at, block)| block.table(&values[*at..]));
        c
    }
}

fn latency_buckets() -> usize {
    usize::from(DdSketch::bucket(f64::INFINITY)) + 1
}

/// The header words of a page.
pub fn header(spec: &PageSpec, layout: &Layout) -> [u64; HEADER_WORDS] {
    let (low, high) = spec.boot_id.split_at(8);
    let half = |b: &[u8]| u64::from_ne_bytes(b.try_into().expect("half of 16 bytes is 8"));
    let pair = |a: u32, b: u32| u64::from(a) << 32 | u64::from(b);
    let mut h = [0; HEADER_WORDS];
    let features = spec.shape.as_ref().map_or(NO_FEATURES, |s| s.counts.len() as u64);
    h[..FIRST_FEATURE].copy_from_slice(&[
        MAGIC,
        spec.load.0,
        half(low),
        half(high),
        pair(spec.classes, spec.ring_rows),
        u64::from(spec.scored) | u64::from(spec.shadow) << 1,
        pair(spec.groups, spec.favourable),
        spec.shape.as_ref().map_or(0, |s| s.reference.0),
        features,
        layout.words as u64,
    ]);
    for (i, n) in spec.shape.iter().flat_map(|s| s.counts.iter().enumerate()) {
        h[FIRST_FEATURE + i / FEATURES_A_WORD] |= u64::from(*n) << (i % FEATURES_A_WORD * 16);
    }
    h[HEADER_WORDS - 1] = checksum(&h);
    h
}

fn checksum(h: &[u64; HEADER_WORDS]) -> u64 {
    let bytes: Vec<u8> = h[..HEADER_WORDS - 1].iter().flat_map(|w| w.to_ne_bytes()).collect();
    let digest = longshore_trust::Digest::of(&bytes).0;
    u64::from_ne_bytes(digest[..8].try_into().expect("8 of 32 bytes"))
}

/// The specification a header states.
fn read(h: &[u64; HEADER_WORDS]) -> Option<PageSpec> {
    let shape = match h[8] {
        NO_FEATURES => None,
        n => {
            let n = usize::try_from(n).ok().filter(|n| *n <= FEATURES_MAX)?;
            let bins =
                |i: usize| (h[FIRST_FEATURE + i / FEATURES_A_WORD] >> (i % FEATURES_A_WORD * 16)) as u16;
            Some(Shape { reference: ReferenceId(h[7]), level: LEVEL, counts: (0..n).map(bins).collect() })
        }
    };
    Some(PageSpec {
        load: LoadId(h[1]),
        classes: (h[4] >> 32) as u32,
        scored: h[5] & 1 != 0,
        shadow: h[5] & 2 != 0,
        groups: (h[6] >> 32) as u32,
        favourable: h[6] as u32,
        shape,
        ring_rows: h[4] as u32,
        boot_id: boot_id_of(h[2], h[3]),
    })
}

/// The layout a header states, if the header is sound and the file is as long as it says.
pub fn check_header(h: &[u64; HEADER_WORDS], file_len: u64) -> Result<Layout, PageError> {
    if h[0] != MAGIC {
        return Err(PageError::Corrupt("it is not a counter page of this version"));
    }
    if h[HEADER_WORDS - 1] != checksum(h) {
        return Err(PageError::Corrupt("its header does not match its checksum"));
    }
    let spec = read(h).ok_or(PageError::Corrupt("a size in its header is too large"))?;
    let layout =
        Layout::new(&spec).map_err(|_| PageError::Corrupt("a size in its header is out of bounds"))?;
    if layout.words as u64 != h[9] || layout.bytes() != file_len {
        return Err(PageError::Corrupt("its length is not the one its header states"));
    }
    Ok(layout)
}

fn boot_id_of(low: u64, high: u64) -> [u8; 16] {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&low.to_ne_bytes());
    id[8..].copy_from_slice(&high.to_ne_bytes());
    id
}

/// What the header of an open page says; it was checked when the page was opened, and what another process wrote since
/// gives a specification that fits nothing.
pub fn spec(words: &[AtomicU64]) -> PageSpec {
    let mut h = [0; HEADER_WORDS];
    h.iter_mut().zip(words).for_each(|(h, w)| *h = w.load(Relaxed));
    read(&h).unwrap_or_else(|| PageSpec::plain(LoadId(h[1]), 0, 0, [0; 16]))
}
