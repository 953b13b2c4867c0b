//! The log's own key: `<data>/log.key`, made by `longshore-fleet init`, part of every backup.

use std::path::Path;

use longshore_trust::SigningKey;

use crate::init::{DataError, io};

/// Its name in the data directory.
pub const FILE: &str = "log.key";

/// Reads the key; makes one where there is none.
///
/// # Errors
/// When the file cannot be read or made, or is no key.
pub fn open(data: &Path) -> Result<SigningKey, DataError> {
    let path = data.join(FILE);
    if path.exists() {
        return crate::online::key(&path).map_err(DataError::from);
    }
    let mut seed = [0u8; 32];
    getrandom::fill(&mut seed)
        .map_err(|e| io("draw a random key for", &path)(std::io::Error::other(e.to_string())))?;
    let text = serde_json::json!({ "keytype": "ed25519", "seed": hex::encode(seed) }).to_string();
    let partial = data.join("log.key.partial");
    write_private(&partial, text.as_bytes()).map_err(io("write", &partial))?;
    std::fs::rename(&partial, &path).map_err(io("move", &partial))?;
    std::fs::File::open(data).and_then(|d| d.sync_all()).map_err(io("write", data))?;
    Ok(SigningKey::from_seed(&seed))
}

fn write_private(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut file = std::fs::File::options().create(true).truncate(true).write(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}
