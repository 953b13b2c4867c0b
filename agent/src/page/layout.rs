//! Where everything is in a counter page, in 64-bit words of the machine's byte order (a page never leaves its machine).
//!
//! `header (8) | state | in-flight | padding | counters | redo slot | prediction ring`. Offsets are computed from the
//! header once, when the page is opened, and never read again: what another process writes later cannot move them.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use longshore_stats::{Counters, DdSketch};

use super::{PageError, PageSpec, prediction};
use crate::engine::protocol::LoadId;

/// "LSPAGE" and the version of this layout.
const MAGIC: u64 = u64::from_le_bytes(*b"LSPAGE\x00\x01");
/// Words of the header, the checksum last.
pub const HEADER_WORDS: usize = 8;
/// The state word, on a cache line of its own.
pub const STATE: usize = 8;
/// The in-flight marker.
pub const IN_FLIGHT: usize = 16;
const FIRST_COUNTER: usize = 24;

const MAX_CLASSES: u32 = 1 << 16;
const MAX_RING_ROWS: u32 = 1 << 20;

/// Indices of counters. Latency buckets follow the classes.
pub mod slot {
    pub const REQUESTS: usize = 0;
    pub const ROWS: usize = 1;
    pub const ERRORS: usize = 2;
    pub const NAN: usize = 3;
    pub const NEXT_SEQ: usize = 4;
    pub const CLASSES: usize = 5;
}

/// Offsets and sizes, in words.
#[derive(Debug, Clone, Copy)]
pub struct Layout {
    pub classes: usize,
    pub ring_rows: usize,
    pub counters: usize,
    pub counter_words: usize,
    pub redo: usize,
    pub redo_entries: usize,
    pub ring: usize,
    pub words: usize,
}

impl Layout {
    pub fn new(spec: &PageSpec) -> Result<Self, PageError> {
        if spec.classes > MAX_CLASSES {
            return Err(PageError::Spec("more than 65,536 classes cannot be counted"));
        }
        if spec.ring_rows == 0 || spec.ring_rows > MAX_RING_ROWS {
            return Err(PageError::Spec("the prediction ring must have 1 to 1,048,576 rows"));
        }
        let (classes, ring_rows) = (spec.classes as usize, spec.ring_rows as usize);
        let counter_words = slot::CLASSES + classes + latency_buckets();
        // One request touches the five scalars, one latency bucket and at most every class.
        let redo_entries = slot::CLASSES + 1 + classes;
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
        })
    }
    pub fn bytes(&self) -> u64 {
        self.words as u64 * 8
    }
    pub fn latency_slot(&self, bucket: u16) -> usize {
        slot::CLASSES + self.classes + usize::from(bucket)
    }
    pub fn counters_of(&self, values: &[u64]) -> Counters {
        let mut c = Counters::with_classes(self.classes);
        c.requests = values[slot::REQUESTS];
        c.rows = values[slot::ROWS];
        c.errors = values[slot::ERRORS];
        c.nan = values[slot::NAN];
        c.classes.copy_from_slice(&values[slot::CLASSES..slot::CLASSES + self.classes]);
        for bucket in 0..latency_buckets() as u16 {
            c.latency_us.insert_bucket(bucket, values[self.latency_slot(bucket)]);
        }
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
    let mut h = [
        MAGIC,
        spec.load.0,
        half(low),
        half(high),
        u64::from(spec.classes),
        u64::from(spec.ring_rows),
        layout.words as u64,
        0,
    ];
    h[HEADER_WORDS - 1] = checksum(&h);
    h
}

fn checksum(h: &[u64; HEADER_WORDS]) -> u64 {
    let bytes: Vec<u8> = h[..HEADER_WORDS - 1].iter().flat_map(|w| w.to_ne_bytes()).collect();
    let digest = longshore_trust::Digest::of(&bytes).0;
    u64::from_ne_bytes(digest[..8].try_into().expect("8 of 32 bytes"))
}

/// The layout a header states, if the header is sound and the file is as long as it says.
pub fn check_header(h: &[u64; HEADER_WORDS], file_len: u64) -> Result<Layout, PageError> {
    if h[0] != MAGIC {
        return Err(PageError::Corrupt("it is not a counter page of this version"));
    }
    if h[HEADER_WORDS - 1] != checksum(h) {
        return Err(PageError::Corrupt("its header does not match its checksum"));
    }
    let narrow =
        |w: u64| u32::try_from(w).map_err(|_| PageError::Corrupt("a size in its header is too large"));
    let spec = PageSpec {
        load: LoadId(h[1]),
        classes: narrow(h[4])?,
        ring_rows: narrow(h[5])?,
        boot_id: boot_id_of(h[2], h[3]),
    };
    let layout =
        Layout::new(&spec).map_err(|_| PageError::Corrupt("a size in its header is out of bounds"))?;
    if layout.words as u64 != h[6] || layout.bytes() != file_len {
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

/// What the header of an open page says (it was checked when the page was opened).
pub fn spec(words: &[AtomicU64]) -> PageSpec {
    let w = |i: usize| words[i].load(Relaxed);
    PageSpec {
        load: LoadId(w(1)),
        classes: w(4) as u32,
        ring_rows: w(5) as u32,
        boot_id: boot_id_of(w(2), w(3)),
    }
}
