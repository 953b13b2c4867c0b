//! Signing in and out.

use longshore_trust::UnixMs;
use tokio::sync::Semaphore;

use super::{AuthError, hash_password, password_is, random, token_hash};
use crate::app::App;
use crate::store::people::{self, Session};
use crate::store::{StoreError, audit};

/// Name of the session cookie.
pub const COOKIE: &str = "longshore_session";
/// How long a session lasts, ms.
const SESSION_MS: u64 = 12 * 3_600_000;
/// So many wrong passwords are free.
const FREE_FAILURES: u32 = 5;
/// Longest lockout, ms.
const MAX_LOCKOUT_MS: u64 = 15 * 60_000;

/// Somebody who has just signed in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedIn {
    /// Value of the session cookie.
    pub cookie: String,
    /// CSRF token of the session.
    pub csrf: String,
    /// Until when.
    pub expires: UnixMs,
}

/// Why somebody was not let in.
#[derive(Debug, thiserror::Error)]
pub enum SignInError {
    /// Name or password: which one is not said.
    #[error("user name or password is wrong")]
    Wrong,
    /// Too many wrong ones.
    #[error("too many wrong passwords for this name: try again in {wait_s} s")]
    Locked {
        /// How long, s.
        wait_s: u64,
    },
    /// The server.
    #[error(transparent)]
    Auth(#[from] AuthError),
}
impl From<StoreError> for SignInError {
    fn from(e: StoreError) -> Self {
        Self::Auth(e.into())
    }
}

/// Passwords looked at together: each takes 19 MiB and a core, and anybody may ask.
static LOOKS: Semaphore = Semaphore::const_new(2);
/// Longest name and password that are looked at, bytes.
const MAX_NAME: usize = 64;
const MAX_PASSWORD: usize = 1024;

/// Checks a password; wrong ones are counted against the name.
///
/// # Errors
/// [`SignInError`].
pub async fn check_password(app: &App, name: &str, password: &str, now: UnixMs) -> Result<(), SignInError> {
    // No such person can exist: nothing is hashed for it, and nothing remembered.
    if name.is_empty() || name.len() > MAX_NAME || password.len() > MAX_PASSWORD {
        return Err(SignInError::Wrong);
    }
    // Whoever sends many at once waits here, and the lock is asked after every one of them: guesses that come together
    // are not more guesses.
    let _turn = LOOKS.acquire().await.expect("never closed");
    let locked = app.store.locked_until(name).await?;
    if locked > now {
        return Err(SignInError::Locked { wait_s: locked.since(now).div_ceil(1000) });
    }
    let stored = app.store.person(name).await?.map(|(hash, _)| hash);
    let given = password.to_owned();
    let right = tokio::task::spawn_blocking(move || match stored {
        Some(hash) => password_is(&hash, &given),
        None => {
            // An unknown name takes as long as a wrong password.
            let _ = hash_password(&given);
            false
        }
    })
    .await
    .expect("hashing does not panic");
    let mut tx = app.store.write().await?;
    if right {
        people::clear_failures(&mut tx, name).await?;
    } else {
        people::count_failure(&mut tx, name, FREE_FAILURES, MAX_LOCKOUT_MS, now).await?;
        audit::record(&mut tx, now, "anonymous", "session.refused", name, "wrong password").await?;
    }
    tx.commit().await?;
    if right { Ok(()) } else { Err(SignInError::Wrong) }
}

/// Signs somebody in.
///
/// # Errors
/// [`SignInError`].
pub async fn sign_in(app: &App, name: &str, password: &str, now: UnixMs) -> Result<SignedIn, SignInError> {
    check_password(app, name, password, now).await?;
    let signed = SignedIn {
        cookie: hex::encode(random::<32>()?),
        csrf: hex::encode(random::<16>()?),
        expires: now.plus_ms(SESSION_MS),
    };
    let session = Session { person: name.to_owned(), csrf: signed.csrf.clone(), expires: signed.expires };
    let mut tx = app.store.write().await?;
    people::insert_session(&mut tx, &token_hash(&signed.cookie), &session, now).await?;
    audit::record(&mut tx, now, name, "session.begin", name, "").await?;
    tx.commit().await?;
    Ok(signed)
}

/// Ends the session of a cookie.
///
/// # Errors
/// When the database refuses.
pub async fn sign_out(app: &App, cookie: &str, now: UnixMs) -> Result<(), StoreError> {
    let ended = app.store.session(&token_hash(cookie), now).await?;
    let mut tx = app.store.write().await?;
    if let Some(session) = ended {
        audit::record(&mut tx, now, &session.person, "session.end", &session.person, "").await?;
    }
    people::delete_session(&mut tx, &token_hash(cookie)).await?;
    tx.commit().await
}

/// The value of the session cookie in a `Cookie` header.
#[must_use]
pub fn session_cookie(header: &str) -> Option<&str> {
    header
        .split(';')
        .filter_map(|part| part.trim().split_once('='))
        .find(|(name, _)| *name == COOKIE)
        .map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_session_cookie_is_found_among_others() {
        assert_eq!(session_cookie("a=b; longshore_session=xyz; c=d"), Some("xyz"));
        assert_eq!(session_cookie("longshore_sessions=xyz"), None);
    }
}
