//! Bundle files, named by their SHA-256: `objects/<first 2 hex>/<64 hex>`.
//!
//! What always holds: a file under its final name is whole and has the digest of its name. It is written beside,
//! hashed on the way, synced, and only then renamed.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use longshore_trust::Digest;
use sha2::Digest as _;
use tokio::io::AsyncWriteExt as _;

/// The directory.
#[derive(Debug, Clone)]
pub struct ObjectDir {
    root: PathBuf,
}

/// Why a file was not stored.
#[derive(Debug, thiserror::Error)]
pub enum ObjectError {
    /// The disk.
    #[error("cannot store an object in {path}: {source}")]
    Io {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The content is not what its name says.
    #[error("the content has SHA-256 {found}, expected {expected}")]
    Digest {
        /// What was announced.
        expected: Digest,
        /// What came.
        found: Digest,
    },
    /// More bytes than allowed.
    #[error("the content is longer than the allowed {max} bytes")]
    TooLong {
        /// The limit.
        max: u64,
    },
}

impl ObjectDir {
    /// Opens (and makes) the directory, and removes what an interrupted upload left behind.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn open(root: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(root)?;
        let incoming = root.join("incoming");
        if incoming.exists() {
            std::fs::remove_dir_all(&incoming)?;
        }
        std::fs::create_dir_all(&incoming)?;
        Ok(Self { root: root.to_owned() })
    }
    /// Where the object is, or would be.
    #[must_use]
    pub fn path(&self, digest: &Digest) -> PathBuf {
        let hex = digest.to_hex();
        self.root.join(&hex[..2]).join(hex)
    }
    /// Whether it is stored.
    #[must_use]
    pub fn contains(&self, digest: &Digest) -> bool {
        self.path(digest).is_file()
    }
    /// Opens it for reading, with its length; `None` when it is not stored.
    ///
    /// # Errors
    /// When the disk fails.
    pub async fn open_file(&self, digest: &Digest) -> io::Result<Option<(tokio::fs::File, u64)>> {
        match tokio::fs::File::open(self.path(digest)).await {
            Ok(f) => {
                let length = f.metadata().await?.len();
                Ok(Some((f, length)))
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }
    /// All of a small object.
    ///
    /// # Errors
    /// When it is missing or the disk fails.
    pub async fn read(&self, digest: &Digest) -> io::Result<Vec<u8>> {
        tokio::fs::read(self.path(digest)).await
    }
    /// Begins to store an object of at most `max` bytes.
    ///
    /// # Errors
    /// When no file can be made.
    pub async fn writer(&self, max: u64) -> Result<ObjectWriter, ObjectError> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = self.root.join("incoming").join(format!("{}-{n}", std::process::id()));
        let file = tokio::fs::File::create(&path)
            .await
            .map_err(|source| ObjectError::Io { path: path.clone(), source })?;
        Ok(ObjectWriter {
            dir: self.clone(),
            incoming: Incoming(Some(path)),
            file,
            hash: sha2::Sha256::new(),
            length: 0,
            max,
        })
    }
    /// Stores bytes that are in memory; answers their digest.
    ///
    /// # Errors
    /// [`ObjectError`].
    pub async fn put(&self, bytes: &[u8]) -> Result<Digest, ObjectError> {
        let digest = Digest::of(bytes);
        if !self.contains(&digest) {
            let mut w = self.writer(bytes.len() as u64).await?;
            w.write(bytes).await?;
            w.finish(&digest).await?;
        }
        Ok(digest)
    }
    /// The digests of all stored objects.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn list(&self) -> io::Result<Vec<Digest>> {
        let mut out = Vec::new();
        for shard in std::fs::read_dir(&self.root)? {
            let shard = shard?;
            if shard.file_name().len() != 2 {
                continue;
            }
            for file in std::fs::read_dir(shard.path())? {
                out.extend(file?.file_name().to_str().and_then(|n| n.parse::<Digest>().ok()));
            }
        }
        Ok(out)
    }
}

/// Removes the unfinished file when it is dropped.
struct Incoming(Option<PathBuf>);
impl Drop for Incoming {
    fn drop(&mut self) {
        if let Some(path) = &self.0 {
            // What is left behind is removed at the next start.
            let _ = std::fs::remove_file(path);
        }
    }
}

/// An object on its way in.
pub struct ObjectWriter {
    dir: ObjectDir,
    incoming: Incoming,
    file: tokio::fs::File,
    hash: sha2::Sha256,
    length: u64,
    max: u64,
}

impl ObjectWriter {
    fn io(&self, source: io::Error) -> ObjectError {
        ObjectError::Io { path: self.dir.root.clone(), source }
    }
    /// Appends.
    ///
    /// # Errors
    /// When the limit is passed or the disk is full.
    pub async fn write(&mut self, chunk: &[u8]) -> Result<(), ObjectError> {
        self.length += chunk.len() as u64;
        if self.length > self.max {
            return Err(ObjectError::TooLong { max: self.max });
        }
        self.hash.update(chunk);
        self.file.write_all(chunk).await.map_err(|e| self.io(e))
    }
    /// Makes it durable under its name; answers its length.
    ///
    /// # Errors
    /// When the digest is another than `expected`, or the disk fails; nothing is kept then.
    pub async fn finish(mut self, expected: &Digest) -> Result<u64, ObjectError> {
        self.file.flush().await.map_err(|e| self.io(e))?;
        self.file.sync_all().await.map_err(|e| self.io(e))?;
        let found = Digest(std::mem::take(&mut self.hash).finalize().into());
        if found != *expected {
            return Err(ObjectError::Digest { expected: *expected, found });
        }
        let to = self.dir.path(expected);
        let shard = to.parent().expect("an object path has a parent").to_owned();
        let from = self.incoming.0.clone().expect("only finish takes the path");
        let moved = tokio::task::spawn_blocking(move || {
            std::fs::create_dir_all(&shard)?;
            std::fs::rename(&from, &to)?;
            std::fs::File::open(&shard)?.sync_all()
        })
        .await
        .expect("renaming does not panic");
        moved.map_err(|e| self.io(e))?;
        self.incoming.0 = None;
        Ok(self.length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn stores_what_has_the_digest_and_keeps_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let objects = ObjectDir::open(dir.path()).unwrap();
        let digest = objects.put(b"hello").await.unwrap();
        assert_eq!(objects.read(&digest).await.unwrap(), b"hello");

        let mut w = objects.writer(100).await.unwrap();
        w.write(b"other").await.unwrap();
        assert!(matches!(w.finish(&digest).await, Err(ObjectError::Digest { .. })));
        let mut w = objects.writer(3).await.unwrap();
        assert!(matches!(w.write(b"four").await, Err(ObjectError::TooLong { max: 3 })));
        drop(w);
        assert_eq!(objects.list().unwrap(), vec![digest]);
        assert_eq!(std::fs::read_dir(dir.path().join("incoming")).unwrap().count(), 0);
    }
}
