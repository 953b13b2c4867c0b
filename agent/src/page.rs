//! The counter page of one load: a file that engine and supervisor both map, so that killing either loses no count.
//!
//! Always true here:
//! - every counter only rises; [`Page::snapshot`] is the state before or after a whole [`Page::record`], never between;
//! - `record` is atomic against SIGKILL: it writes the *new* values into a redo slot, commits by one store of the state
//!   word, then copies them to the counters. Copying twice changes nothing, so [`Page::recover`] may finish what a dead
//!   engine began;
//! - one engine writes a page at a time; readers never block it;
//! - a file that is not a whole page of this version is an error when it is opened.
//!
//! The state word counts upwards; its two lowest bits are the phase: 0 idle, 1 the redo slot is being filled (the
//! counters are the old state), 2 the redo slot is the new state (the counters are on their way to it).

mod layout;
mod map;
mod prediction;
mod shadow;
mod spec;
mod tally;

use std::fs::OpenOptions;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicU64, fence};
use std::sync::{Mutex, PoisonError};

use longshore_stats::{Counters, DdSketch};

use crate::engine::protocol::LoadId;

pub use layout::LEVEL;
use layout::{Layout, slot};
use map::Map;
pub use prediction::{NO_CLASS, Prediction, PredictionId, PredictionIdError};
pub use shadow::{ShadowOutcome, Shadowed};
pub use spec::{NO_GROUP, PageSpec, RequestOutcome};
pub use tally::Tally;

/// How often a reader tries again while the engine is writing before it gives up.
const READ_TRIES: u32 = 100_000;

/// Why a page cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PageError {
    /// The operating system refused.
    #[error("counter page: cannot {op}: {source}")]
    Io {
        /// What was tried.
        op: &'static str,
        /// Its answer.
        source: io::Error,
    },
    /// The specification is outside its bounds.
    #[error("counter page: {0}")]
    Spec(&'static str),
    /// Not a page, not a whole page, or a page that was written by something else.
    #[error("counter page is not usable: {0}")]
    Corrupt(&'static str),
    /// The writer did not let a reader through.
    #[error("counter page is changing too fast to be read")]
    Busy,
}

/// A mapped counter page.
pub struct Page {
    map: Map,
    layout: Layout,
    /// Where a writer sums up a request before it is written.
    writer: Mutex<Tally>,
}

impl Page {
    /// Makes a page file, all zero, and reserves its room; the file must not exist. The descriptor is for the engine.
    ///
    /// # Errors
    /// [`PageError::Spec`] or [`PageError::Io`]; on a full filesystem nothing is left behind.
    pub fn create(path: &Path, spec: &PageSpec) -> Result<(Self, OwnedFd), PageError> {
        let layout = Layout::new(spec)?;
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)
            .map_err(|source| PageError::Io { op: "create the file", source })?;
        let made = Self::fill(&file, &layout, spec);
        if made.is_err() {
            // Best effort: the error that matters is the one that is returned.
            let _ = std::fs::remove_file(path);
        }
        Ok((made?, file.into()))
    }

    fn fill(file: &std::fs::File, layout: &Layout, spec: &PageSpec) -> Result<Self, PageError> {
        map::reserve(file, layout.bytes())?;
        let map = Map::new(file, layout.words)?;
        for (word, value) in map.words().iter().zip(layout::header(spec, layout)) {
            word.store(value, Relaxed);
        }
        Ok(Self::with(map, layout.clone()))
    }

    /// Opens a page file.
    ///
    /// # Errors
    /// [`PageError::Corrupt`] when it is not a whole page of this version; [`PageError::Io`].
    pub fn open(path: &Path) -> Result<Self, PageError> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(path)
            .map_err(|source| PageError::Io { op: "open the file", source })?;
        Self::from_fd(file.into())
    }

    /// Opens a page by its descriptor (which may be closed afterwards: the mapping stays).
    ///
    /// # Errors
    /// As [`Page::open`].
    pub fn from_fd(fd: OwnedFd) -> Result<Self, PageError> {
        let file = std::fs::File::from(fd);
        let len =
            file.metadata().map_err(|source| PageError::Io { op: "read the file's length", source })?.len();
        let head = map::read_head(&file)?;
        let layout = layout::check_header(&head, len)?;
        Ok(Self::with(Map::new(&file, layout.words)?, layout))
    }

    fn with(map: Map, layout: Layout) -> Self {
        let counters = layout.shadow.map_or(layout.features, |(_, block)| block.words);
        let writer = Mutex::new(Tally::new(counters));
        Self { map, layout, writer }
    }

    /// What it was made for.
    #[must_use]
    pub fn spec(&self) -> PageSpec {
        layout::spec(self.map.words())
    }

    /// Counts one answered request and its predictions; call it *before* the first byte of the answer is written.
    /// Answers the sequence number of the first row's prediction; row r has that plus r.
    pub fn record(&self, outcome: &RequestOutcome<'_>) -> u64 {
        let mut scratch = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let (words, l) = (self.map.words(), &self.layout);
        l.tally_rows(outcome, &mut scratch);
        let first = words[l.counters + slot::NEXT_SEQ].load(Relaxed);
        self.commit(
            || self.write_ring(first, outcome),
            |redo| {
                redo.add(slot::REQUESTS, 1);
                redo.add(slot::ROWS, u64::from(outcome.rows));
                redo.add(slot::ERRORS, u64::from(outcome.errors));
                redo.add(slot::NAN, u64::from(outcome.nan));
                redo.add(slot::LOW_MARGIN, u64::from(outcome.low_margin));
                redo.add(slot::NEXT_SEQ, u64::from(outcome.rows));
                redo.add(l.latency_slot(DdSketch::bucket(outcome.latency_us as f64)), 1);
                scratch.each().for_each(|(counter, n)| redo.add(counter, n));
                // A tally of another bundle has no place here.
                if let Some(features) = outcome.features.filter(|t| t.counters() == l.feature_words) {
                    features.each().for_each(|(counter, n)| redo.add(l.features + counter, n));
                }
            },
        );
        scratch.clear();
        first
    }

    /// Counts what a bundle in shadow made of the rows of one request. A page of another kind counts nothing.
    pub fn record_shadow(&self, outcome: &ShadowOutcome<'_>) {
        let mut scratch = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let (words, l) = (self.map.words(), &self.layout);
        let Some((at, block)) = &l.shadow else { return };
        block.tally(outcome, &mut scratch);
        let first = words[l.counters + slot::NEXT_SEQ].load(Relaxed);
        self.commit(
            || {
                for (row, class) in (0u64..).zip(outcome.answers) {
                    let (load, seq) = (LoadId(outcome.answered.0), outcome.answered.1.wrapping_add(row));
                    let seq_here = first.wrapping_add(row);
                    shadow::write(self.ring_entry(seq_here), seq_here, Shadowed { load, seq, class: *class });
                }
            },
            |redo| {
                redo.add(slot::NEXT_SEQ, outcome.answers.len() as u64);
                scratch.each().for_each(|(counter, n)| redo.add(at + counter, n));
            },
        );
        scratch.clear();
    }

    /// One transaction of the counters: `ring` is written first, then what `counters` names rises at once.
    fn commit(&self, ring: impl FnOnce(), counters: impl FnOnce(&mut Redo<'_>)) {
        let (words, l) = (self.map.words(), &self.layout);
        let state = words[layout::STATE].load(Relaxed) & !3;
        words[layout::STATE].store(state | 1, Relaxed);
        fence(Release);
        ring();
        let mut redo = Redo {
            counters: &words[l.counters..l.counters + l.counter_words],
            slots: &words[l.redo + 1..l.redo + 1 + 2 * l.redo_entries],
            entries: 0,
        };
        counters(&mut redo);
        let entries = redo.entries;
        words[l.redo].store(entries as u64, Relaxed);
        words[layout::STATE].store(state | 2, Release);
        fence(Release);
        self.apply_redo(entries);
        words[layout::STATE].store(state + 4, Release);
    }

    fn write_ring(&self, first: u64, outcome: &RequestOutcome<'_>) {
        let skip = u64::from(outcome.rows).saturating_sub(self.layout.ring_rows as u64);
        for row in skip..u64::from(outcome.rows) {
            let i = row as usize;
            let prediction = Prediction {
                class: outcome.classes.get(i).copied().unwrap_or(NO_CLASS),
                score: outcome.scores.get(i).copied().unwrap_or(0.0),
                group: outcome.groups.get(i).copied().unwrap_or(NO_GROUP),
                unix_ms: outcome.unix_ms,
            };
            let seq = first.wrapping_add(row);
            prediction::write(self.ring_entry(seq), seq, prediction);
        }
    }

    fn ring_entry(&self, seq: u64) -> &[AtomicU64] {
        let at = self.layout.ring + (seq % self.layout.ring_rows as u64) as usize * prediction::WORDS;
        &self.map.words()[at..at + prediction::WORDS]
    }

    /// Copies the committed redo slot to the counters; `entries` must have been checked or just written.
    fn apply_redo(&self, entries: usize) {
        let (words, l) = (self.map.words(), &self.layout);
        let counters = &words[l.counters..l.counters + l.counter_words];
        let slots = &words[l.redo + 1..l.redo + 1 + 2 * entries];
        for entry in slots.chunks_exact(2) {
            counters[entry[0].load(Relaxed) as usize].store(entry[1].load(Relaxed), Relaxed);
        }
    }

    /// The number of entries in the redo slot, all of which name a counter.
    fn checked_redo(&self) -> Result<usize, PageError> {
        let (words, l) = (self.map.words(), &self.layout);
        let entries = usize::try_from(words[l.redo].load(Relaxed)).unwrap_or(usize::MAX);
        if entries > l.redo_entries {
            return Err(PageError::Corrupt("its redo slot is longer than it can be"));
        }
        let inside = (0..entries).all(|i| words[l.redo + 1 + 2 * i].load(Relaxed) < l.counter_words as u64);
        if inside { Ok(entries) } else { Err(PageError::Corrupt("its redo slot names no counter")) }
    }

    /// Finishes (or drops, when it was not committed) the `record` that a dead engine was in. Call it when no engine is
    /// attached. Also clears the in-flight marker, so read [`Page::in_flight`] before.
    ///
    /// # Errors
    /// [`PageError::Corrupt`] when the redo slot is not one that `record` writes.
    pub fn recover(&self) -> Result<(), PageError> {
        let _writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let words = self.map.words();
        let state = words[layout::STATE].load(Acquire);
        match state & 3 {
            0 => {}
            1 => words[layout::STATE].store((state & !3).wrapping_add(4), Release),
            2 => {
                let entries = self.checked_redo()?;
                self.apply_redo(entries);
                words[layout::STATE].store((state & !3).wrapping_add(4), Release);
            }
            _ => return Err(PageError::Corrupt("its state word has no such phase")),
        }
        words[layout::IN_FLIGHT].store(0, Relaxed);
        Ok(())
    }

    /// All counters since the page was made (no labels: `confusion` stays zero), consistent even while the engine writes
    /// or died writing.
    ///
    /// # Errors
    /// [`PageError::Corrupt`], or [`PageError::Busy`] when a writer never pauses.
    pub fn snapshot(&self) -> Result<Counters, PageError> {
        self.read().map(|v| self.layout.counters_of(&v))
    }

    /// The sequence number the next prediction will get; all smaller ones are committed.
    ///
    /// # Errors
    /// As [`Page::snapshot`].
    pub fn next_seq(&self) -> Result<u64, PageError> {
        self.read().map(|v| v[slot::NEXT_SEQ])
    }

    /// A consistent copy of the counter words.
    fn read(&self) -> Result<Vec<u64>, PageError> {
        let (words, l) = (self.map.words(), &self.layout);
        for attempt in 0..READ_TRIES {
            let before = words[layout::STATE].load(Acquire);
            let counters = &words[l.counters..l.counters + l.counter_words];
            let mut values: Vec<u64> = counters.iter().map(|w| w.load(Relaxed)).collect();
            let mut sound = Ok(());
            if before & 3 == 2 {
                sound = self.checked_redo().map(|entries| {
                    for i in 0..entries {
                        let at = l.redo + 1 + 2 * i;
                        // Checked a moment ago, but another process can write here.
                        if let Some(v) = values.get_mut(words[at].load(Relaxed) as usize) {
                            *v = words[at + 1].load(Relaxed);
                        }
                    }
                });
            }
            fence(Acquire);
            if words[layout::STATE].load(Relaxed) == before {
                return sound.map(|()| values);
            }
            if attempt % 64 == 63 {
                std::thread::yield_now();
            }
        }
        Err(PageError::Busy)
    }

    /// The prediction with this sequence number; `None` when it was never committed or the ring has turned over.
    ///
    /// # Errors
    /// As [`Page::snapshot`].
    pub fn prediction(&self, seq: u64) -> Result<Option<Prediction>, PageError> {
        if seq >= self.next_seq()? {
            return Ok(None);
        }
        Ok(prediction::read(self.ring_entry(seq), seq))
    }

    /// The committed predictions from `from` on that are still in the ring, rising; a gap before the first is what the
    /// ring no longer has.
    ///
    /// # Errors
    /// As [`Page::snapshot`].
    pub fn predictions(&self, from: u64) -> Result<Vec<(u64, Prediction)>, PageError> {
        let next = self.next_seq()?;
        let first = from.max(next.saturating_sub(self.layout.ring_rows as u64));
        Ok((first..next)
            .filter_map(|seq| Some((seq, prediction::read(self.ring_entry(seq), seq)?)))
            .collect())
    }

    /// As [`Page::predictions`], of a bundle in shadow.
    ///
    /// # Errors
    /// As [`Page::snapshot`].
    pub fn shadowed(&self, from: u64) -> Result<Vec<(u64, Shadowed)>, PageError> {
        let next = self.next_seq()?;
        let first = from.max(next.saturating_sub(self.layout.ring_rows as u64));
        Ok((first..next).filter_map(|seq| Some((seq, shadow::read(self.ring_entry(seq), seq)?))).collect())
    }

    /// Where in the file the state word is and where the redo slot begins, for tests that damage them.
    #[cfg(test)]
    pub(crate) fn state_and_redo(&self) -> (u64, u64) {
        (layout::STATE as u64 * 8, self.layout.redo as u64 * 8)
    }

    /// Bytes of everything but the prediction ring.
    #[must_use]
    pub fn state_bytes(&self) -> usize {
        self.layout.state_bytes()
    }

    /// Marks that a request runs in the model until the guard is dropped. An engine that dies leaves the mark, and that is
    /// whom to blame.
    pub fn enter(&self) -> InFlight<'_> {
        let word = &self.map.words()[layout::IN_FLIGHT];
        word.fetch_add(1, Relaxed);
        InFlight(word)
    }

    /// Requests that are (or were, when the engine died) running in this load's model.
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        self.map.words()[layout::IN_FLIGHT].load(Relaxed)
    }
}

impl std::fmt::Debug for Page {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Page").field("spec", &self.spec()).finish_non_exhaustive()
    }
}

/// The mark of a running request.
pub struct InFlight<'a>(&'a AtomicU64);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

/// A redo slot being filled.
struct Redo<'a> {
    counters: &'a [AtomicU64],
    /// Pairs of a counter and its new value.
    slots: &'a [AtomicU64],
    entries: usize,
}

impl Redo<'_> {
    /// Counter `index` will rise by `n`.
    fn add(&mut self, index: usize, n: u64) {
        if n == 0 {
            return;
        }
        let now = self.counters[index].load(Relaxed);
        let entry = &self.slots[2 * self.entries..][..2];
        entry[0].store(index as u64, Relaxed);
        entry[1].store(now.wrapping_add(n), Relaxed);
        self.entries += 1;
    }
}

/// This boot's id, as pages carry it.
///
/// # Errors
/// When `/proc` cannot be read or holds something else.
pub fn boot_id() -> io::Result<[u8; 16]> {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    let mut id = [0u8; 16];
    hex::decode_to_slice(text.trim().replace('-', ""), &mut id)
        .map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))?;
    Ok(id)
}

#[cfg(test)]
mod tests;
