//! Sealed memfds: how a verified file reaches the engine. Once sealed nobody can change, grow or cut it, so what was
//! hashed is what is parsed.

use std::fs::File;
use std::io::{self, Read, Write as _};
use std::ops::Deref;
use std::os::fd::OwnedFd;

use longshore_trust::Digest;
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, fcntl_get_seals, memfd_create};
use sha2::Digest as _;

const SEALS: SealFlags =
    SealFlags::WRITE.union(SealFlags::SHRINK).union(SealFlags::GROW).union(SealFlags::SEAL);

/// Why a file could not be sealed or a sealed one not be taken.
#[derive(Debug, thiserror::Error)]
pub enum SealedError {
    /// The operating system refused.
    #[error("sealed file: cannot {op}: {source}")]
    Io {
        /// What was tried.
        op: &'static str,
        /// Its answer.
        source: io::Error,
    },
    /// Longer than it may be.
    #[error("sealed file: longer than the {0} bytes that were stated")]
    TooLong(u64),
    /// A descriptor that somebody could still write to.
    #[error("the descriptor is not a sealed memfd")]
    NotSealed,
}

/// Copies `from` into a new sealed memfd while hashing it; answers the descriptor, the length and the SHA-256. The caller
/// compares the two with what a verified statement names before handing the descriptor on.
///
/// # Errors
/// [`SealedError::TooLong`] when there is more than `max_bytes`; [`SealedError::Io`].
pub fn seal(name: &str, from: &mut dyn Read, max_bytes: u64) -> Result<(OwnedFd, u64, Digest), SealedError> {
    let io = |op| move |source: io::Error| SealedError::Io { op, source };
    let fd = memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)
        .map_err(|e| io("make a memfd")(e.into()))?;
    let mut file = File::from(fd);
    let (mut hash, mut length) = (sha2::Sha256::new(), 0u64);
    let mut buffer = vec![0u8; 64 * 1024];
    loop {
        let n = match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(io("read the file")(e)),
        };
        length += n as u64;
        if length > max_bytes {
            return Err(SealedError::TooLong(max_bytes));
        }
        hash.update(&buffer[..n]);
        file.write_all(&buffer[..n]).map_err(io("write the memfd"))?;
    }
    fcntl_add_seals(&file, SEALS).map_err(|e| io("seal the memfd")(e.into()))?;
    Ok((file.into(), length, Digest(hash.finalize().into())))
}

/// The content of a sealed memfd, mapped.
#[derive(Debug)]
pub struct Sealed(Option<memmap2::Mmap>);

impl Sealed {
    /// Takes a descriptor whose seals prove that its content stays as it is.
    ///
    /// # Errors
    /// [`SealedError::NotSealed`] for anything else.
    #[allow(unsafe_code)]
    pub fn open(fd: OwnedFd) -> Result<Self, SealedError> {
        // Other files have no seals and answer EINVAL.
        match fcntl_get_seals(&fd) {
            Ok(seals) if seals.contains(SEALS) => {}
            _ => return Err(SealedError::NotSealed),
        }
        let file = File::from(fd);
        let io = |op| move |source: io::Error| SealedError::Io { op, source };
        if file.metadata().map_err(io("read the length"))?.len() == 0 {
            return Ok(Self(None));
        }
        // SAFETY: a mapping must not change under a reference. The seals checked above forbid every write, growth and cut
        // for as long as the memfd exists, and the mapping keeps it alive.
        let map = unsafe { memmap2::Mmap::map(&file) }.map_err(io("map the memfd"))?;
        Ok(Self(Some(map)))
    }
}

impl Deref for Sealed {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        self.0.as_deref().unwrap_or(&[])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_is_what_is_read() {
        let content = vec![42u8; 200_000];
        let (fd, length, digest) = seal("m", &mut content.as_slice(), 1 << 20).unwrap();
        assert_eq!((length, digest), (200_000, Digest::of(&content)));
        let mut writer = File::from(fd.try_clone().unwrap());
        assert!(writer.write_all(b"x").is_err(), "sealed against writing");
        assert!(writer.set_len(0).is_err(), "sealed against cutting");
        assert_eq!(*Sealed::open(fd).unwrap(), *content);
        let (empty, ..) = seal("m", &mut io::empty(), 0).unwrap();
        assert!(Sealed::open(empty).unwrap().is_empty());
    }

    #[test]
    fn longer_than_stated_is_refused() {
        assert!(matches!(seal("m", &mut io::repeat(1), 1000), Err(SealedError::TooLong(1000))));
    }

    #[test]
    fn an_unsealed_descriptor_is_refused() {
        let plain = tempfile::tempfile().unwrap();
        assert!(matches!(Sealed::open(plain.into()), Err(SealedError::NotSealed)));
        let half = memfd_create("m", MemfdFlags::ALLOW_SEALING).unwrap();
        fcntl_add_seals(&half, SealFlags::SHRINK | SealFlags::GROW).unwrap();
        assert!(matches!(Sealed::open(half), Err(SealedError::NotSealed)));
    }
}
