//! The client workflow of TUF 1.0.34, chapter 5, without I/O: wishes come out of [`Updater::poll`], answers go in by
//! [`Updater::handle`].
//!
//! Each role is wished to be persisted as soon as it verifies, before the next one is fetched, so progress is kept even
//! when a later role fails. Nothing is persisted that did not verify, and nothing expired but root (spec 5.3.10).

use std::collections::{BTreeMap, VecDeque};

use super::error::TufError;
use super::name::{encode, file_of};
use super::trusted::{Search, Trusted};
use crate::UnixMs;

/// Longest root.json, in bytes.
pub const MAX_ROOT_BYTES: u64 = 512 * 1024;
/// Longest timestamp.json, in bytes.
pub const MAX_TIMESTAMP_BYTES: u64 = 16 * 1024;
/// Longest snapshot.json, in bytes.
pub const MAX_SNAPSHOT_BYTES: u64 = 2 * 1024 * 1024;
/// Longest targets metadata, in bytes.
pub const MAX_TARGETS_BYTES: u64 = 5 * 1024 * 1024;
/// At most so many new roots are followed in one refresh.
pub const MAX_ROOT_HOPS: u32 = 256;

/// What the updater wishes for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Fetch `name` from the metadata repository (one URL segment, already percent-encoded), cut off behind
    /// `max_len + 1` bytes, and answer with [`Updater::handle`]. Repeated until answered.
    Fetch {
        /// File name.
        name: String,
        /// Longest acceptable, in bytes.
        max_len: u64,
    },
    /// Keep `bytes` under `file`, durably.
    Persist {
        /// File name.
        file: String,
        /// Exactly as received.
        bytes: Vec<u8>,
    },
    /// Forget `file`.
    Remove {
        /// File name.
        file: String,
    },
    /// All that was asked for is verified; see [`Updater::trusted`].
    Done,
    /// Stopped; what was persisted so far stands.
    Failed(TufError),
}

/// The answer to the last [`Output::Fetch`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// The bytes, at most one more than `max_len`.
    Fetched(Vec<u8>),
    /// The repository says there is no such file.
    NotFound,
    /// The transport failed.
    FetchFailed(String),
}

/// A change to the trust store, for [`drive`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Write `bytes` to `file`, durably and in one piece.
    Write {
        /// File name.
        file: String,
        /// Contents.
        bytes: Vec<u8>,
    },
    /// Delete `file`.
    Remove {
        /// File name.
        file: String,
    },
}

#[derive(Debug)]
enum State {
    Idle,
    Root { hops: u32 },
    Timestamp,
    Snapshot,
    Targets { delegator: String, role: String },
    Done,
    Failed(TufError),
}

/// Brings trust metadata up to date and finds targets in it.
#[derive(Debug)]
pub struct Updater {
    stored: BTreeMap<String, Vec<u8>>,
    now: UnixMs,
    trusted: Trusted,
    work: Trusted,
    wanted: VecDeque<String>,
    queue: VecDeque<Output>,
    state: State,
}

impl Updater {
    /// `stored`: file name to bytes as persisted before, at least `root.json`.
    ///
    /// # Errors
    /// When root.json is missing, malformed or not signed by its own threshold: then nothing at all is trusted.
    pub fn new(stored: BTreeMap<String, Vec<u8>>, now: UnixMs) -> Result<Self, TufError> {
        let trusted = Trusted::load(&stored, None)?;
        Ok(Self {
            stored,
            now,
            work: trusted.clone(),
            trusted,
            wanted: VecDeque::new(),
            queue: VecDeque::new(),
            state: State::Idle,
        })
    }
    /// Starts over: root, timestamp, snapshot, targets, then the delegated roles that `targets` (paths) lead to.
    pub fn refresh(&mut self, targets: &[String]) {
        self.wanted = targets.iter().cloned().collect();
        self.queue.clear();
        let root = self.stored.get("root.json").ok_or(TufError::NoRoot);
        match root.and_then(|bytes| Trusted::from_root(bytes)) {
            Ok(view) => {
                self.work = view;
                self.state = State::Root { hops: 0 };
            }
            Err(e) => self.state = State::Failed(e),
        }
    }
    /// After [`Output::Done`]: looks further targets up in the same snapshot, without a new refresh.
    pub fn resolve(&mut self, targets: &[String]) {
        if matches!(self.state, State::Done) {
            self.wanted = targets.iter().cloned().collect();
            self.look_up();
        }
    }
    /// The view of the last refresh that was completed; before that, the offline view of what was stored.
    #[must_use]
    pub fn trusted(&self) -> &Trusted {
        &self.trusted
    }
    /// The next wish.
    pub fn poll(&mut self) -> Output {
        if let Some(output) = self.queue.pop_front() {
            return output;
        }
        match &self.state {
            State::Idle | State::Done => Output::Done,
            State::Failed(e) => Output::Failed(e.clone()),
            _ => {
                let (name, max_len) = self.wish();
                Output::Fetch { name, max_len }
            }
        }
    }

    /// Name and longest length of what the state waits for.
    fn wish(&self) -> (String, u64) {
        let (role, cap) = match &self.state {
            State::Root { .. } => {
                return (format!("{}.root.json", self.work.root_version() + 1), MAX_ROOT_BYTES);
            }
            State::Timestamp => return ("timestamp.json".into(), MAX_TIMESTAMP_BYTES),
            State::Snapshot => ("snapshot", MAX_SNAPSHOT_BYTES),
            State::Targets { role, .. } => (role.as_str(), MAX_TARGETS_BYTES),
            State::Idle | State::Done | State::Failed(_) => return (String::new(), 0),
        };
        let (version, length) = self.work.meta_of(role).unwrap_or_default();
        let name = if self.work.consistent_snapshot() {
            format!("{version}.{}.json", encode(role))
        } else {
            file_of(role)
        };
        (name, length.map_or(cap, |n| n.min(cap)))
    }

    /// Takes the answer to the last fetch; ignored when none was asked for.
    pub fn handle(&mut self, input: Input) {
        let (name, max_bytes) = self.wish();
        let state = std::mem::replace(&mut self.state, State::Idle);
        let step = match input {
            Input::Fetched(bytes) if bytes.len() as u64 > max_bytes => match state {
                State::Idle | State::Done | State::Failed(_) => Ok(state),
                _ => Err(TufError::TooLong { name, max_bytes }),
            },
            Input::Fetched(bytes) => self.fetched(state, bytes),
            Input::NotFound => match state {
                State::Root { .. } => self.root_is_newest(),
                State::Idle | State::Done | State::Failed(_) => Ok(state),
                _ => Err(TufError::NotFound { name }),
            },
            Input::FetchFailed(reason) => match state {
                State::Idle | State::Done | State::Failed(_) => Ok(state),
                _ => Err(TufError::Fetch { name, reason }),
            },
        };
        match step {
            // A step that went on by itself (look-ups) has set the state already.
            Ok(State::Idle) => {}
            Ok(state) => self.state = state,
            Err(e) => self.state = State::Failed(e),
        }
    }

    fn fetched(&mut self, state: State, bytes: Vec<u8>) -> Result<State, TufError> {
        match state {
            State::Root { hops } => {
                let rotated = self.work.accept_root(&bytes)?;
                self.keep("root", bytes);
                if rotated {
                    self.forget("timestamp");
                    self.forget("snapshot");
                }
                if hops + 1 < MAX_ROOT_HOPS {
                    Ok(State::Root { hops: hops + 1 })
                } else {
                    self.root_is_newest()
                }
            }
            State::Timestamp => {
                if self.work.accept_fresh_timestamp(&bytes, self.now)? {
                    self.keep("timestamp", bytes);
                }
                let persisted = self.stored.get("snapshot.json");
                let current = persisted.is_some_and(|bytes| {
                    self.work.accept_snapshot(bytes, true).is_ok()
                        && self.work.check_snapshot(self.now).is_ok()
                });
                if current {
                    self.look_up();
                    Ok(State::Idle)
                } else {
                    Ok(State::Snapshot)
                }
            }
            State::Snapshot => {
                self.work.accept_fresh_snapshot(&bytes, self.now)?;
                self.keep("snapshot", bytes);
                self.look_up();
                Ok(State::Idle)
            }
            State::Targets { delegator, role } => {
                self.work.accept_targets(&delegator, &role, &bytes, Some(self.now))?;
                self.keep(&role, bytes);
                self.look_up();
                Ok(State::Idle)
            }
            State::Idle | State::Done | State::Failed(_) => Ok(state),
        }
    }

    fn root_is_newest(&mut self) -> Result<State, TufError> {
        self.work.check_root_expiry(self.now)?;
        if let Some(bytes) = self.stored.get("timestamp.json") {
            // Only a floor: one that no longer verifies (its key was rotated away) is none.
            let _ = self.work.accept_timestamp(bytes);
        }
        Ok(State::Timestamp)
    }

    /// Goes on with targets until one must be fetched, all are looked up, or one fails; sets the state.
    fn look_up(&mut self) {
        self.state = loop {
            let needed = match self.wanted.front() {
                None if self.work.has_role("targets") => {
                    self.trusted = self.work.clone();
                    break State::Done;
                }
                None => Some(("root".to_owned(), "targets".to_owned())),
                Some(path) => match self.work.search(path) {
                    Search::Needs { delegator, role } => Some((delegator, role)),
                    Search::Found(_) | Search::Nowhere => None,
                },
            };
            let Some((delegator, role)) = needed else {
                self.wanted.pop_front();
                continue;
            };
            if self.work.meta_of(&role).is_none() {
                break State::Failed(TufError::NotInSnapshot { role });
            }
            let persisted = self.stored.get(&file_of(&role));
            let current = persisted.is_some_and(|bytes| {
                let accepted = self.work.accept_targets(&delegator, &role, bytes, Some(self.now));
                accepted.is_ok()
            });
            if !current {
                break State::Targets { delegator, role };
            }
        };
    }

    fn keep(&mut self, role: &str, bytes: Vec<u8>) {
        let file = file_of(role);
        self.stored.insert(file.clone(), bytes.clone());
        self.queue.push_back(Output::Persist { file, bytes });
    }
    fn forget(&mut self, role: &str) {
        let file = file_of(role);
        if self.stored.remove(&file).is_some() {
            self.queue.push_back(Output::Remove { file });
        }
    }
}

/// What a blocking fetch gives: the bytes, `None` when the repository has no such file, or why the transport failed.
pub type Fetched = Result<Option<Vec<u8>>, String>;

/// Runs `updater` to its end with blocking functions.
///
/// # Errors
/// What the updater failed with, or [`TufError::Store`].
pub fn drive(
    updater: &mut Updater,
    fetch: &mut dyn FnMut(&str, u64) -> Fetched,
    persist: &mut dyn FnMut(Change) -> std::io::Result<()>,
) -> Result<(), TufError> {
    loop {
        let (file, change) = match updater.poll() {
            Output::Fetch { name, max_len } => {
                updater.handle(match fetch(&name, max_len) {
                    Ok(Some(bytes)) => Input::Fetched(bytes),
                    Ok(None) => Input::NotFound,
                    Err(reason) => Input::FetchFailed(reason),
                });
                continue;
            }
            Output::Persist { file, bytes } => (file.clone(), Change::Write { file, bytes }),
            Output::Remove { file } => (file.clone(), Change::Remove { file }),
            Output::Done => return Ok(()),
            Output::Failed(e) => return Err(e),
        };
        persist(change).map_err(|e| TufError::Store { file, reason: e.to_string() })?;
    }
}
