//! The mapping of a page as atomic words: the only unsafe code of the counter page.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, Write as _};
use std::sync::atomic::AtomicU64;

use super::PageError;
use super::layout::HEADER_WORDS;

/// A shared, writable mapping of a whole number of words.
pub struct Map {
    raw: memmap2::MmapRaw,
    words: usize,
}

impl Map {
    /// Maps the first `words` words of `file`, which must be that long. (A file cut shorter afterwards would fault: the
    /// engine's sandbox refuses it to cut files, and nothing else has this one.)
    pub fn new(file: &File, words: usize) -> Result<Self, PageError> {
        let raw = memmap2::MmapOptions::new()
            .len(words * 8)
            .map_raw(file)
            .map_err(|source| PageError::Io { op: "map the file", source })?;
        Ok(Self { raw, words })
    }

    /// The words.
    #[allow(unsafe_code)]
    pub fn words(&self) -> &[AtomicU64] {
        // SAFETY: the mapping is `words * 8` bytes long, readable and writable, aligned to a page and lives as long as
        // `self`. Nobody makes a plain reference into it: this process uses only these atomics, and other processes'
        // stores are seen through them. Every bit pattern is a valid `AtomicU64`.
        unsafe { std::slice::from_raw_parts(self.raw.as_mut_ptr().cast::<AtomicU64>(), self.words) }
    }
}

/// Sets the file's length and takes the room now: a full filesystem must be an error here, not a SIGBUS at a store.
pub fn reserve(file: &File, bytes: u64) -> Result<(), PageError> {
    let op = "reserve room";
    match rustix::fs::fallocate(file, rustix::fs::FallocateFlags::empty(), 0, bytes) {
        Ok(()) => Ok(()),
        Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => {
            write_zeros(file, bytes).map_err(|source| PageError::Io { op, source })
        }
        Err(e) => Err(PageError::Io { op, source: e.into() }),
    }
}

fn write_zeros(mut file: &File, bytes: u64) -> io::Result<()> {
    io::copy(&mut io::repeat(0).take(bytes), &mut file)?;
    file.flush()
}

/// Reads the header without mapping anything.
pub fn read_head(mut file: &File) -> Result<[u64; HEADER_WORDS], PageError> {
    let mut bytes = [0u8; HEADER_WORDS * 8];
    file.rewind().map_err(|source| PageError::Io { op: "read the header", source })?;
    match file.read_exact(&mut bytes) {
        Ok(()) => {}
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => {
            return Err(PageError::Corrupt("it is shorter than its header"));
        }
        Err(source) => {
            return Err(PageError::Io { op: "read the header", source });
        }
    }
    let mut head = [0u64; HEADER_WORDS];
    for (word, chunk) in head.iter_mut().zip(bytes.chunks_exact(8)) {
        *word = u64::from_ne_bytes(chunk.try_into().expect("chunks of 8 bytes"));
    }
    Ok(head)
}
