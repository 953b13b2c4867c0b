//! Who this device is: made at enrolment, kept in `<state_dir>/identity`, never sent.
//!
//! Two keys with one use each: ed25519 signs reports, P-256 speaks TLS. Files are 0600 in a directory that is 0700.

use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use longshore_trust::{DeviceId, FleetId, SigningKey};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// The facts in `enrolment.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enrolment {
    /// The fleet.
    pub fleet: FleetId,
    /// This device.
    pub device: DeviceId,
    /// Base address of the device plane, without a trailing slash.
    pub url: String,
    /// `mqtts://host:port`.
    pub mqtt_url: String,
}

/// An enrolled device.
#[derive(Debug)]
pub struct Identity {
    /// The fleet.
    pub fleet: FleetId,
    /// This device.
    pub device: DeviceId,
    /// Base address of the device plane, without a trailing slash.
    pub url: String,
    /// `mqtts://host:port`.
    pub mqtt_url: String,
    /// Signs what is reported.
    pub report_key: SigningKey,
    /// Client certificate.
    pub cert_pem: String,
    /// Its private key (PKCS#8).
    pub key_pem: Zeroizing<String>,
    /// The fleet's certificate authority.
    pub ca_pem: String,
}

/// Why there is no usable identity.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// A file is missing or unreadable.
    #[error("cannot read {path}: {source}. Enrol the device again, or restore the file.")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file does not hold what it should.
    #[error("{path} is damaged ({what}). Enrol the device again, or restore the file.")]
    Damaged {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
}

/// Directory of the identity.
#[must_use]
pub fn dir(state_dir: &Path) -> PathBuf {
    state_dir.join("identity")
}

impl Identity {
    /// The identity, or `None` when the device has not been enrolled.
    ///
    /// # Errors
    /// [`IdentityError`] when only a part of it is there.
    pub fn load(state_dir: &Path) -> Result<Option<Self>, IdentityError> {
        let dir = dir(state_dir);
        let read = |name: &str| {
            let path = dir.join(name);
            std::fs::read_to_string(&path).map_err(|source| IdentityError::Read { path, source })
        };
        let facts = match read("enrolment.json") {
            Ok(text) => text,
            Err(IdentityError::Read { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                return Ok(None);
            }
            Err(e) => return Err(e),
        };
        let damaged = |name: &str, what: String| IdentityError::Damaged { path: dir.join(name), what };
        let facts: Enrolment =
            serde_json::from_str(&facts).map_err(|e| damaged("enrolment.json", e.to_string()))?;
        let seed = Zeroizing::new(read("report.key")?);
        let mut raw = Zeroizing::new([0u8; 32]);
        hex::decode_to_slice(seed.trim(), raw.as_mut_slice())
            .map_err(|e| damaged("report.key", e.to_string()))?;
        Ok(Some(Self {
            fleet: facts.fleet,
            device: facts.device,
            url: facts.url,
            mqtt_url: facts.mqtt_url,
            report_key: SigningKey::from_seed(&raw),
            cert_pem: read("cert.pem")?,
            key_pem: Zeroizing::new(read("tls.key")?),
            ca_pem: read("ca.pem")?,
        }))
    }
}

/// Writes a file that only its owner may read, durably: new file, fsync, rename, fsync of the directory.
///
/// # Errors
/// Whatever the filesystem says.
pub fn write_private(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let dir = path.parent().unwrap_or(Path::new("."));
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    let part = path.with_extension("new");
    // A left-over of an interrupted write; its absence is the normal case.
    let _ = std::fs::remove_file(&part);
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&part)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&part, path)?;
    std::fs::File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn no_identity_is_told_from_half_an_identity() {
        let dir = tempfile::tempdir().unwrap();
        assert!(Identity::load(dir.path()).unwrap().is_none());
        let facts = r#"{"fleet":"demo","device":"d1","url":"https://x","mqtt_url":"mqtts://x:1"}"#;
        write_private(&super::dir(dir.path()).join("enrolment.json"), facts.as_bytes()).unwrap();
        assert!(Identity::load(dir.path()).unwrap_err().to_string().contains("report.key"));
    }
    #[test]
    fn private_files_are_private() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sub/secret");
        write_private(&path, b"a").unwrap();
        write_private(&path, b"b").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"b");
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(path.parent().unwrap().metadata().unwrap().permissions().mode() & 0o777, 0o700);
    }
}
