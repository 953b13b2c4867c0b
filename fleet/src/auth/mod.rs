//! Who asks, and what they may.
//!
//! What always holds: passwords are kept as argon2id, API tokens and session cookies only as SHA-256; a change made with
//! a session cookie needs the session's CSRF token as well; repeated wrong passwords lock the name, not the address.

mod actor;
mod sign_in;

pub use actor::{Actor, Via};
pub use sign_in::{COOKIE, SignInError, SignedIn, check_password, session_cookie, sign_in, sign_out};

use argon2::password_hash::{PasswordHash, PasswordHasher as _, PasswordVerifier as _, SaltString};
use longshore_trust::{Digest, UnixMs};

use crate::store::{Store, StoreError, Tx, audit, people};

/// The one role of this version: may do everything.
pub const ADMIN: &str = "admin";
/// Shortest password.
pub const MIN_PASSWORD: usize = 8;

/// Why nobody was made.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A password nobody should have.
    #[error("the password is too short: use at least {MIN_PASSWORD} characters")]
    ShortPassword,
    /// A name that is none.
    #[error("{0:?} cannot be a user name: use 1 to 64 of a-z, 0-9, '.', '-' and '_'")]
    Name(String),
    /// The system.
    #[error("the system gives no random bytes: {0}")]
    Random(String),
}

fn random<const N: usize>() -> Result<[u8; N], AuthError> {
    let mut bytes = [0u8; N];
    getrandom::fill(&mut bytes).map_err(|e| AuthError::Random(e.to_string()))?;
    Ok(bytes)
}

/// The argon2id string of a password. Takes tens of milliseconds: not for an async thread.
fn hash_password(password: &str) -> Result<String, AuthError> {
    let salt = SaltString::encode_b64(&random::<16>()?).map_err(|e| AuthError::Random(e.to_string()))?;
    argon2::Argon2::default()
        .hash_password(password.as_bytes(), &salt)
        .map(|h| h.to_string())
        .map_err(|e| AuthError::Random(e.to_string()))
}

fn password_is(hash: &str, password: &str) -> bool {
    PasswordHash::new(hash)
        .is_ok_and(|h| argon2::Argon2::default().verify_password(password.as_bytes(), &h).is_ok())
}

/// Makes an administrator, or gives one a new password.
///
/// # Errors
/// [`AuthError`].
pub async fn create_admin(store: &Store, name: &str, password: &str, now: UnixMs) -> Result<(), AuthError> {
    let ok = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '-' | '_');
    if name.is_empty() || name.len() > 64 || !name.chars().all(ok) {
        return Err(AuthError::Name(name.chars().take(80).collect()));
    }
    if password.chars().count() < MIN_PASSWORD {
        return Err(AuthError::ShortPassword);
    }
    let owned = password.to_owned();
    let hash =
        tokio::task::spawn_blocking(move || hash_password(&owned)).await.expect("hashing does not panic")?;
    let mut tx = store.write().await?;
    people::put_person(&mut tx, name, &hash, ADMIN, now).await?;
    audit::record(&mut tx, now, "server", "person.admin", name, "made, or its password changed").await?;
    tx.commit().await?;
    Ok(())
}

/// Makes an API token of a person; the text is shown once and kept only as its hash.
///
/// # Errors
/// [`AuthError`].
pub async fn create_token(
    tx: &mut Tx,
    person: &str,
    label: &str,
    expires: Option<UnixMs>,
    now: UnixMs,
) -> Result<String, AuthError> {
    let text = format!("lsa1.{}", hex::encode(random::<32>()?));
    people::insert_token(tx, &token_hash(&text), person, label, expires, now).await?;
    audit::record(tx, now, person, "token.create", label, "").await?;
    Ok(text)
}

/// Under which name a secret is kept.
#[must_use]
fn token_hash(text: &str) -> Digest {
    Digest::of(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_known_again_and_another_is_not() {
        let hash = hash_password("correct horse").unwrap();
        assert!(hash.starts_with("$argon2id$"));
        assert!(password_is(&hash, "correct horse") && !password_is(&hash, "wrong horse"));
        assert!(!password_is("not a hash", ""));
    }
}
