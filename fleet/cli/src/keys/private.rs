//! Private key files, and the keys a command has at hand.
//!
//! A key file is JSON that names its public key openly, so that the right file is found without a passphrase. An
//! encrypted seed is sealed with ChaCha20-Poly1305 under a key that argon2id makes of the passphrase; role and public
//! key are authenticated with it, so no file can pass for another.

use std::path::{Path, PathBuf};

use argon2::{Algorithm, Argon2, Params, Version};
use chacha20poly1305::aead::{Aead as _, KeyInit as _, Payload};
use chacha20poly1305::{ChaCha20Poly1305, Key, Nonce};
use longshore_trust::{PublicKey, SigningKey, tuf};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{SigningArgs, passphrase};
use crate::context::Failure;

/// Memory of one key derivation, KiB (RFC 9106, second recommended option).
const MEMORY_KIB: u32 = 64 * 1024;
/// Passes over that memory.
const PASSES: u32 = 3;
/// Most memory a key file may ask for, KiB: a planted file must not exhaust the machine.
const MAX_MEMORY_KIB: u32 = 1024 * 1024;
/// Most passes a key file may ask for.
const MAX_PASSES: u32 = 64;
/// Longest key file, bytes.
const MAX_FILE_BYTES: u64 = 16 * 1024;

/// One private key as kept in a file.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyFile {
    keytype: String,
    /// What it is for: `root`, `targets`, `release`, or an online role.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub role: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    public: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    seed: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    encrypted: Option<Encrypted>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Encrypted {
    kdf: String,
    memory_kib: u32,
    passes: u32,
    salt: String,
    cipher: String,
    nonce: String,
    seed: String,
}

impl KeyFile {
    /// For `key`, encrypted when there is a passphrase. `random` draws salt and nonce.
    pub fn seal(role: &str, key: &SigningKey, passphrase: Option<&str>) -> Result<Self, Failure> {
        let mut file = Self {
            keytype: "ed25519".into(),
            role: role.into(),
            public: hex::encode(key.public().raw()),
            seed: None,
            encrypted: None,
        };
        match passphrase {
            None => file.seed = Some(hex::encode(*key.seed())),
            Some(passphrase) => {
                let (mut salt, mut nonce) = ([0; 16], [0; 12]);
                fill(&mut salt)?;
                fill(&mut nonce)?;
                let cipher = cipher(passphrase, &salt, MEMORY_KIB, PASSES)?;
                let message = Payload { msg: &*key.seed(), aad: &file.bound() };
                let sealed = cipher.encrypt(Nonce::from_slice(&nonce), message);
                let sealed =
                    sealed.map_err(|_| Failure::refused("keys.encrypt", "cannot encrypt the key"))?;
                file.encrypted = Some(Encrypted {
                    kdf: "argon2id".into(),
                    memory_kib: MEMORY_KIB,
                    passes: PASSES,
                    salt: hex::encode(salt),
                    cipher: "chacha20poly1305".into(),
                    nonce: hex::encode(nonce),
                    seed: hex::encode(sealed),
                });
            }
        }
        Ok(file)
    }
    /// The short form of the online keys: `{keytype, seed}`.
    pub fn online(key: &SigningKey) -> Self {
        Self {
            keytype: "ed25519".into(),
            role: String::new(),
            public: String::new(),
            seed: Some(hex::encode(*key.seed())),
            encrypted: None,
        }
    }
    /// Only the public half, for a `.pub` file.
    pub fn public_only(role: &str, key: &PublicKey) -> Self {
        Self {
            keytype: "ed25519".into(),
            role: role.into(),
            public: hex::encode(key.raw()),
            seed: None,
            encrypted: None,
        }
    }
    /// As written to disk.
    pub fn to_json(&self) -> Zeroizing<Vec<u8>> {
        let mut out = serde_json::to_vec_pretty(self).expect("strings and numbers always encode");
        out.push(b'\n');
        Zeroizing::new(out)
    }
    /// Reads one with its private part.
    pub fn read(path: &Path) -> Result<Self, Failure> {
        let file = Self::read_any(path)?;
        if !file.is_private() {
            let path = path.display();
            return Err(Failure::usage(format!(
                "{path} holds only the public half of a key: name the .key file"
            )));
        }
        Ok(file)
    }
    /// The public key in a `.pub` or `.key` file.
    pub fn read_public(path: &Path) -> Result<PublicKey, Failure> {
        Self::read_any(path)?.public(path)
    }
    /// Reads a `.key` or `.pub` file.
    pub fn read_any(path: &Path) -> Result<Self, Failure> {
        let bad = |why: String| Failure::usage(format!("{} is not a key file: {why}", path.display()));
        let length = std::fs::metadata(path).map_err(|e| bad(e.to_string()))?.len();
        if length > MAX_FILE_BYTES {
            return Err(bad(format!("{length} bytes are too many")));
        }
        let text = std::fs::read_to_string(path).map(Zeroizing::new);
        let text = text.map_err(|e| bad(e.to_string()))?;
        let file: Self = serde_json::from_str(&text).map_err(|e| bad(e.to_string()))?;
        if file.keytype != "ed25519" {
            return Err(bad(format!("key type {:?} is not known here", file.keytype)));
        }
        if file.seed.is_some() && file.encrypted.is_some() {
            return Err(bad("it has both a seed and an encrypted seed".into()));
        }
        if file.seed.is_none() && file.public.is_empty() {
            return Err(bad("it does not name its public key".into()));
        }
        Ok(file)
    }
    /// Whether a passphrase is needed.
    pub fn is_encrypted(&self) -> bool {
        self.encrypted.is_some()
    }
    /// Whether it holds a private part at all.
    pub fn is_private(&self) -> bool {
        self.seed.is_some() || self.encrypted.is_some()
    }
    /// The public half. No passphrase is needed.
    pub fn public(&self, path: &Path) -> Result<PublicKey, Failure> {
        if self.public.is_empty() {
            return Ok(self.open(path, None)?.public());
        }
        let raw = hex::decode(&self.public).unwrap_or_default();
        PublicKey::ed25519(&raw).map_err(|e| Failure::usage(format!("{}: {e}", path.display())))
    }
    /// The private key.
    pub fn open(&self, path: &Path, passphrase: Option<&str>) -> Result<SigningKey, Failure> {
        let damaged =
            || Failure::refused("keys.damaged", format!("the key file {} is damaged", path.display()));
        let seed = match (&self.seed, &self.encrypted, passphrase) {
            (Some(seed), _, _) => Zeroizing::new(hex::decode(seed).map_err(|_| damaged())?),
            (None, Some(sealed), Some(passphrase)) => self.unseal(sealed, path, passphrase)?,
            (None, Some(_), None) => {
                return Err(Failure::usage(format!("{} needs its passphrase", path.display())));
            }
            (None, None, _) => return Err(damaged()),
        };
        let seed: &[u8; 32] = seed.as_slice().try_into().map_err(|_| damaged())?;
        let key = SigningKey::from_seed(seed);
        if !self.public.is_empty() && hex::encode(key.public().raw()) != self.public {
            return Err(damaged());
        }
        Ok(key)
    }
    fn unseal(
        &self,
        sealed: &Encrypted,
        path: &Path,
        passphrase: &str,
    ) -> Result<Zeroizing<Vec<u8>>, Failure> {
        let bad =
            |why: &str| Failure::refused("keys.damaged", format!("cannot open {}: {why}", path.display()));
        if sealed.kdf != "argon2id" || sealed.cipher != "chacha20poly1305" {
            return Err(bad("it is encrypted in a way that is not known here"));
        }
        if sealed.memory_kib > MAX_MEMORY_KIB || sealed.passes > MAX_PASSES {
            return Err(bad("it asks for an unreasonable amount of work"));
        }
        let part = |s: &str| hex::decode(s).map_err(|_| bad("it is damaged"));
        let (salt, nonce, text) = (part(&sealed.salt)?, part(&sealed.nonce)?, part(&sealed.seed)?);
        if nonce.len() != 12 {
            return Err(bad("it is damaged"));
        }
        let cipher = cipher(passphrase, &salt, sealed.memory_kib, sealed.passes)?;
        let message = Payload { msg: &text, aad: &self.bound() };
        let seed = cipher.decrypt(Nonce::from_slice(&nonce), message).map_err(|_| {
            Failure::refused(
                "keys.passphrase",
                format!("wrong passphrase for {} (or the file was changed)", path.display()),
            )
        })?;
        Ok(Zeroizing::new(seed))
    }
    /// What the encryption authenticates beside the seed.
    fn bound(&self) -> Vec<u8> {
        format!("longshore key file 1\0{}\0{}", self.role, self.public).into_bytes()
    }
}

fn cipher(passphrase: &str, salt: &[u8], memory_kib: u32, passes: u32) -> Result<ChaCha20Poly1305, Failure> {
    let bad = |e: argon2::Error| Failure::refused("keys.encrypt", format!("cannot derive a key: {e}"));
    let params = Params::new(memory_kib, passes, 1, Some(32)).map_err(bad)?;
    let mut key = Zeroizing::new([0; 32]);
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(passphrase.as_bytes(), salt, &mut *key)
        .map_err(bad)?;
    Ok(ChaCha20Poly1305::new(Key::from_slice(&*key)))
}

/// Random bytes from the operating system.
pub(super) fn fill(buffer: &mut [u8]) -> Result<(), Failure> {
    getrandom::fill(buffer)
        .map_err(|e| Failure::refused("random", format!("the system gives no random bytes: {e}")))
}

/// A new random key.
pub(super) fn generate() -> Result<SigningKey, Failure> {
    let mut seed = Zeroizing::new([0; 32]);
    fill(&mut *seed)?;
    Ok(SigningKey::from_seed(&seed))
}

/// The key files at hand, each opened only when it is to sign.
pub struct Keyring {
    files: Vec<(PathBuf, KeyFile, PublicKey)>,
    passphrase_file: Option<PathBuf>,
    passphrase: Option<Zeroizing<String>>,
}

impl Keyring {
    /// Finds the files the user named.
    pub fn find(args: &SigningArgs) -> Result<Self, Failure> {
        let mut paths = args.key.clone();
        if let Some(dir) = &args.keys {
            let offline = dir.join("offline");
            paths.extend(key_files(if offline.is_dir() { &offline } else { dir })?);
        }
        let mut files = Vec::new();
        for path in paths {
            let file = KeyFile::read(&path)?;
            let public = file.public(&path)?;
            if !files.iter().any(|(_, _, known)| *known == public) {
                files.push((path, file, public));
            }
        }
        if files.is_empty() {
            let named = args.keys.as_deref().unwrap_or(Path::new("."));
            return Err(Failure::usage(format!("there is no key file (*.key) in {}", named.display())));
        }
        Ok(Self { files, passphrase_file: args.passphrase_file.clone(), passphrase: None })
    }
    /// How many keys of `keys` are at hand.
    pub fn count(&self, keys: &tuf::edit::RoleKeys) -> usize {
        self.files.iter().filter(|(_, _, public)| keys.keys.contains(public)).count()
    }
    /// Adds signatures of the keys at hand that belong to `keys` and have not signed yet, until the threshold is met.
    /// Gives the number of signatures added.
    pub fn sign(
        &mut self,
        document: &mut tuf::edit::Signed,
        keys: &tuf::edit::RoleKeys,
    ) -> Result<usize, Failure> {
        let mut added = 0;
        for at in 0..self.files.len() {
            if document.valid_signatures(keys) >= keys.threshold as usize {
                break;
            }
            let public = &self.files[at].2;
            if keys.keys.contains(public) && !document.signers(keys).contains(public) {
                document.sign(&self.open(at)?);
                added += 1;
            }
        }
        Ok(added)
    }
    fn open(&mut self, at: usize) -> Result<SigningKey, Failure> {
        let (path, file, _) = &self.files[at];
        if !file.is_encrypted() {
            return file.open(path, None);
        }
        if self.passphrase.is_none() {
            self.passphrase = Some(match &self.passphrase_file {
                Some(from) => passphrase::from_file(from)?,
                None => {
                    passphrase::ask(&format!("Passphrase of {}: ", path.display()), "--passphrase-file FILE")?
                }
            });
        }
        let passphrase = self.passphrase.as_ref().map(|p| p.as_str());
        match file.open(path, passphrase) {
            // Holders of several keys may have given each its own passphrase.
            Err(e) if e.code == "keys.passphrase" && self.passphrase_file.is_none() => {
                let again = passphrase::ask(
                    &format!("Passphrase of {}: ", path.display()),
                    "--passphrase-file FILE",
                )?;
                file.open(path, Some(&again))
            }
            other => other,
        }
    }
}

/// The `*.key` files of a folder, by name.
pub(super) fn key_files(dir: &Path) -> Result<Vec<PathBuf>, Failure> {
    let entries = std::fs::read_dir(dir)
        .map_err(|e| Failure::usage(format!("cannot read the key folder {}: {e}", dir.display())))?;
    let mut out = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|e| e == "key") && path.is_file() {
            out.push(path);
        }
    }
    out.sort();
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> SigningKey {
        SigningKey::from_seed(&[7; 32])
    }
    fn here() -> &'static Path {
        Path::new("release-1.key")
    }

    #[test]
    fn an_encrypted_key_comes_back_with_its_passphrase_and_with_no_other() {
        let file = KeyFile::seal("release", &key(), Some("correct horse")).unwrap();
        let text = String::from_utf8(file.to_json().to_vec()).unwrap();
        assert!(!text.contains(&hex::encode([7u8; 32])), "the seed must not be in the file");
        let back: KeyFile = serde_json::from_str(&text).unwrap();
        assert_eq!(back.public(here()).unwrap(), key().public());
        assert_eq!(*back.open(here(), Some("correct horse")).unwrap().seed(), [7; 32]);
        let wrong = back.open(here(), Some("incorrect horse")).unwrap_err();
        assert_eq!(wrong.exit, 1);
        assert_eq!(wrong.message, "wrong passphrase for release-1.key (or the file was changed)");
        assert_eq!(back.open(here(), None).unwrap_err().exit, 2);
    }
    #[test]
    fn a_sealed_seed_cannot_be_moved_to_another_role() {
        let mut file = KeyFile::seal("release", &key(), Some("correct horse")).unwrap();
        file.role = "root".into();
        assert_eq!(file.open(here(), Some("correct horse")).unwrap_err().code, "keys.passphrase");
    }
    #[test]
    fn a_plain_key_comes_back_and_a_false_public_key_is_noticed() {
        let mut file = KeyFile::seal("release", &key(), None).unwrap();
        assert_eq!(*file.open(here(), None).unwrap().seed(), [7; 32]);
        file.public = hex::encode(SigningKey::from_seed(&[8; 32]).public().raw());
        assert_eq!(file.open(here(), None).unwrap_err().code, "keys.damaged");
    }
    #[test]
    fn a_planted_file_cannot_ask_for_endless_work() {
        let mut file = KeyFile::seal("release", &key(), Some("correct horse")).unwrap();
        let sealed = file.encrypted.as_mut().unwrap();
        sealed.memory_kib = u32::MAX;
        assert_eq!(file.open(here(), Some("correct horse")).unwrap_err().code, "keys.damaged");
    }
    #[test]
    fn the_online_form_has_nothing_but_type_and_seed() {
        let json: serde_json::Value = serde_json::from_slice(&KeyFile::online(&key()).to_json()).unwrap();
        assert_eq!(json, serde_json::json!({"keytype": "ed25519", "seed": hex::encode([7u8; 32])}));
    }
}
