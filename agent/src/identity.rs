//! Who this device is: made at enrolment, kept in `<state_dir>/identity`, never sent.
//!
//! Two keys with one use each: ed25519 signs reports, P-256 speaks TLS. Files are 0600 in a directory that is 0700. The TLS
//! key and its certificate change together: [`switch`] moves `next.key` first and `next.pem` after it, and a `next.pem`
//! alone means that the move was interrupted.

use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use longshore_agent_core::renewal::Life;
use longshore_trust::{DeviceId, FleetId, Seq, SigningKey, StreamId, TimeQuality, UnixMs};
use longshore_wire::v1::{Header, SCHEMA};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
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
    /// Epoch and number of the last command before this board was enrolled: none up to it is obeyed.
    #[serde(default)]
    pub commands_after: (u64, u64),
    /// Version of the last assignment before this board was enrolled: none up to it is accepted.
    #[serde(default)]
    pub assignments_after: u64,
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
    /// From when to when the certificate is good, if it can be read.
    pub life: Option<Life>,
    /// The fleet's certificate authority.
    pub ca_pem: String,
    /// See [`Enrolment`].
    pub commands_after: (u64, u64),
    /// See [`Enrolment`].
    pub assignments_after: u64,
}

/// Header of a statement about the identity itself: a claim, a renewal, a wipe receipt. It stands in no stream.
pub(crate) fn statement_header(
    fleet: &FleetId,
    device: &DeviceId,
    (time, time_quality): (UnixMs, TimeQuality),
) -> Header {
    Header {
        schema: SCHEMA,
        fleet: fleet.clone(),
        device: device.clone(),
        stream: StreamId(0),
        seq: Seq(0),
        time,
        time_quality,
    }
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
        finish_switch(&dir).map_err(|source| IdentityError::Read { path: dir.join(NEXT_CERT), source })?;
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
        let cert_pem = read("cert.pem")?;
        Ok(Some(Self {
            life: life_of(&cert_pem),
            commands_after: facts.commands_after,
            assignments_after: facts.assignments_after,
            fleet: facts.fleet,
            device: facts.device,
            url: facts.url,
            mqtt_url: facts.mqtt_url,
            report_key: SigningKey::from_seed(&raw),
            cert_pem,
            key_pem: Zeroizing::new(read("tls.key")?),
            ca_pem: read("ca.pem")?,
        }))
    }
}

/// The key of a renewal.
pub const NEXT_KEY: &str = "next.key";
/// The certificate of a renewal.
pub const NEXT_CERT: &str = "next.pem";

/// Puts the next key and certificate in place of the present ones.
///
/// # Errors
/// Whatever the filesystem says; [`Identity::load`] finishes what was interrupted.
pub fn switch(state_dir: &Path) -> std::io::Result<()> {
    let dir = dir(state_dir);
    std::fs::rename(dir.join(NEXT_KEY), dir.join("tls.key"))?;
    std::fs::File::open(&dir)?.sync_all()?;
    finish_switch(&dir)
}

/// A next certificate without its key: the key is in place already.
fn finish_switch(dir: &Path) -> std::io::Result<()> {
    if dir.join(NEXT_KEY).exists() || !dir.join(NEXT_CERT).exists() {
        return Ok(());
    }
    match std::fs::rename(dir.join(NEXT_CERT), dir.join("cert.pem")) {
        // Somebody else (`doctor`) was faster.
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(e),
        Ok(()) => std::fs::File::open(dir)?.sync_all(),
    }
}

fn life_of(cert_pem: &str) -> Option<Life> {
    let der = CertificateDer::from_pem_slice(cert_pem.as_bytes()).ok()?;
    let (_, cert) = x509_parser::parse_x509_certificate(&der).ok()?;
    let ms = |t: x509_parser::time::ASN1Time| UnixMs::from_secs(u64::try_from(t.timestamp()).unwrap_or(0));
    Some(Life { from: ms(cert.validity().not_before), until: ms(cert.validity().not_after) })
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
    fn pair(name: &str) -> (String, String) {
        let key = rcgen::KeyPair::generate().unwrap();
        let cert = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap().self_signed(&key).unwrap();
        (key.serialize_pem(), cert.pem())
    }
    #[test]
    fn wherever_a_renewal_is_cut_off_key_and_certificate_fit_together() {
        let facts = r#"{"fleet":"demo","device":"d1","url":"https://x","mqtt_url":"mqtts://x:1"}"#;
        let ((old_key, old_cert), (new_key, new_cert)) = (pair("old"), pair("new"));
        let dir = tempfile::tempdir().unwrap();
        let put = |name: &str, text: &str| {
            write_private(&super::dir(dir.path()).join(name), text.as_bytes()).unwrap();
        };
        let now = || {
            let me = Identity::load(dir.path()).unwrap().unwrap();
            assert!(me.life.is_some_and(|l| l.from < l.until));
            match (me.key_pem.as_str() == old_key, me.cert_pem == old_cert) {
                (true, true) => "old",
                (false, false) => "new",
                (key, cert) => {
                    panic!("a key and a certificate that do not fit: old key {key}, old cert {cert}")
                }
            }
        };
        for (name, text) in [
            ("enrolment.json", facts),
            ("report.key", &"07".repeat(32)),
            ("ca.pem", "ca"),
            ("tls.key", &old_key),
            ("cert.pem", &old_cert),
        ] {
            put(name, text);
        }
        assert_eq!(now(), "old");
        put(NEXT_KEY, &new_key);
        assert_eq!(now(), "old", "before the answer came");
        put(NEXT_CERT, &new_cert);
        assert_eq!(now(), "old", "before it was proven");
        // Cut off between the two renames of the switch.
        std::fs::rename(super::dir(dir.path()).join(NEXT_KEY), super::dir(dir.path()).join("tls.key"))
            .unwrap();
        assert_eq!(now(), "new");
        assert!(!super::dir(dir.path()).join(NEXT_CERT).exists());
        put(NEXT_KEY, &old_key);
        put(NEXT_CERT, &old_cert);
        switch(dir.path()).unwrap();
        assert_eq!(now(), "old");
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
