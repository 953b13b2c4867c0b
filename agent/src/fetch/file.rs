//! One file, resumable: `<sha256>.part`, written range by range, hashed again from the disk before it counts.

use std::cell::Cell;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use longshore_trust::Digest;
use sha2::Digest as _;

use super::pace::{FLOOR_BYTES_S, Pace, SPAN};

/// Bytes a request; cancelling is looked at between two.
const RANGE_BYTES: u64 = 4 * 1024 * 1024;

/// What one attempt may do.
pub struct Limits<'a> {
    /// Set when nobody wants the file any more.
    pub cancel: &'a AtomicBool,
    /// Bytes left of this attempt: others get a turn after that.
    pub budget: Cell<u64>,
    /// A clock that nobody sets, from whenever it likes.
    pub clock: &'a dyn Fn() -> Duration,
}

/// How one range ended.
#[derive(Debug)]
pub enum RangeReply {
    /// The server sent all it would.
    Done,
    /// The connection broke; what came before is good.
    Broken(String),
    /// Not a success.
    Status(u16),
    /// The server does not do ranges.
    NoRanges,
    /// The bytes could not be written.
    Sink(io::Error),
}

/// Something that serves bytes of a path from an offset on.
pub trait RangeSource {
    /// Sends bytes `from..to` to `sink`, possibly fewer.
    fn range(
        &self,
        path: &str,
        from: u64,
        to: u64,
        sink: &mut dyn FnMut(&[u8]) -> io::Result<()>,
    ) -> RangeReply;
}

/// Why a file is not there.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// Worth another try.
    #[error("{path}: {reason}")]
    Transient {
        /// What was fetched.
        path: String,
        /// What happened.
        reason: String,
    },
    /// The server is below the floor; what came is kept.
    #[error("{path}: the server sent less than {FLOOR_BYTES_S} bytes a second over {} s", SPAN.as_secs())]
    Slow {
        /// What was fetched.
        path: String,
    },
    /// The server says no: trying again changes nothing.
    #[error("{path}: the server answered {status}")]
    Refused {
        /// What was fetched.
        path: String,
        /// HTTP status.
        status: u16,
    },
    /// The bytes are not the ones that were signed.
    #[error("{path}: its SHA-256 is not the one that was approved (got {found})")]
    Mismatch {
        /// What was fetched.
        path: String,
        /// What came.
        found: Digest,
    },
    /// The disk is full.
    #[error("{path}: no space left on the device")]
    NoSpace {
        /// What was fetched.
        path: String,
    },
    /// The disk failed otherwise.
    #[error("{path}: {source}")]
    Disk {
        /// What was fetched.
        path: String,
        /// The system's answer.
        source: io::Error,
    },
    /// Nobody wants it any more.
    #[error("cancelled")]
    Cancelled,
}

impl FileError {
    fn disk(path: &str, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::NoSpace { path: path.into() },
            _ => Self::Disk { path: path.into(), source },
        }
    }
}

/// SHA-256 of a file on the disk.
///
/// # Errors
/// When it cannot be read.
pub fn hash_file(path: &Path) -> io::Result<(u64, Digest)> {
    let mut file = File::open(path)?;
    let mut hasher = sha2::Sha256::new();
    let mut buffer = vec![0; 64 * 1024];
    let mut length = 0;
    loop {
        let n = file.read(&mut buffer)?;
        if n == 0 {
            return Ok((length, Digest(hasher.finalize().into())));
        }
        hasher.update(&buffer[..n]);
        length += n as u64;
    }
}

/// Fetches `path` into `part`, going on where an earlier attempt stopped. On success the file is durable and its bytes
/// on the disk are the signed ones.
///
/// # Errors
/// [`FileError`]. What arrived stays for the next attempt, unless it is wrong.
pub fn fetch_file(
    source: &dyn RangeSource,
    path: &str,
    length: u64,
    sha256: &Digest,
    part: &Path,
    limits: &Limits<'_>,
) -> Result<(), FileError> {
    let disk = |e| FileError::disk(path, e);
    let mut file =
        OpenOptions::new().read(true).write(true).create(true).truncate(false).open(part).map_err(disk)?;
    let mut have = file.metadata().map_err(disk)?.len();
    if have > length {
        file.set_len(0).map_err(disk)?;
        have = 0;
    }
    file.seek(SeekFrom::Start(have)).map_err(disk)?;
    let mut pace = Pace::new((limits.clock)());
    let mut slow = false;
    while have < length {
        if limits.cancel.load(Ordering::Relaxed) {
            return Err(FileError::Cancelled);
        }
        let left = limits.budget.get();
        if left == 0 {
            let reason = "this attempt has used up its bytes; the next one goes on from here".into();
            return Err(FileError::Transient { path: path.into(), reason });
        }
        let to = length.min(have + RANGE_BYTES.min(left));
        let before = have;
        let reply = source.range(path, have, to, &mut |bytes| {
            // Not a byte more than was asked for, whatever the source does.
            let wanted = &bytes[..bytes.len().min(usize::try_from(to - have).unwrap_or(usize::MAX))];
            file.write_all(wanted)?;
            have += wanted.len() as u64;
            slow = !pace.keeps_up((limits.clock)(), wanted.len() as u64);
            if slow || wanted.len() < bytes.len() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(()) }
        });
        limits.budget.set(left.saturating_sub(have - before));
        if slow && have < length {
            return Err(FileError::Slow { path: path.into() });
        }
        match reply {
            RangeReply::Done if have > before => {}
            RangeReply::Done => {
                return Err(FileError::Transient {
                    path: path.into(),
                    reason: "the server sent nothing".into(),
                });
            }
            RangeReply::Broken(reason) => return Err(FileError::Transient { path: path.into(), reason }),
            RangeReply::Status(status @ (408 | 429 | 500..)) => {
                return Err(FileError::Transient {
                    path: path.into(),
                    reason: format!("the server answered {status}"),
                });
            }
            RangeReply::Status(status) => return Err(FileError::Refused { path: path.into(), status }),
            RangeReply::NoRanges => {
                file.set_len(0).and_then(|()| file.seek(SeekFrom::Start(0))).map_err(disk)?;
                return Err(FileError::Transient {
                    path: path.into(),
                    reason: "the server cannot resume".into(),
                });
            }
            // What was asked for has come: too slowly but whole, or with more behind it.
            RangeReply::Sink(_) if have == to => {}
            RangeReply::Sink(e) => return Err(FileError::disk(path, e)),
        }
    }
    file.sync_data().map_err(disk)?;
    drop(file);
    // From the disk, not from the stream: what was written is what will be read.
    let (_, found) = hash_file(part).map_err(disk)?;
    if found != *sha256 {
        fs::remove_file(part).map_err(disk)?;
        return Err(FileError::Mismatch { path: path.into(), found });
    }
    Ok(())
}

#[cfg(test)]
#[path = "file_tests.rs"]
mod tests;
