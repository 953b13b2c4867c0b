//! One agent a state directory: a lock that the engine inherits, so that a new supervisor cannot start while an old
//! engine still lives.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::FlockOperation;
use rustix::io::FdFlags;

/// Takes the lock, waiting a little for the dying engine of the last run.
///
/// # Errors
/// [`io::ErrorKind::WouldBlock`] when another agent still holds it after `patience`.
pub fn take(state_dir: &Path, patience: Duration) -> io::Result<File> {
    let path = state_dir.join("lock");
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
    let begun = Instant::now();
    loop {
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => break,
            Err(e) if begun.elapsed() >= patience => return Err(e.into()),
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
        }
    }
    // Inherited on purpose: the lock lives as long as the last process that has it open.
    rustix::io::fcntl_setfd(&file, FdFlags::empty())?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_agent_is_refused_until_the_first_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let first = take(dir.path(), Duration::ZERO).unwrap();
        let second = take(dir.path(), Duration::ZERO).unwrap_err();
        assert_eq!(second.kind(), io::ErrorKind::WouldBlock);
        drop(first);
        take(dir.path(), Duration::ZERO).unwrap();
    }
}
