//! People, API tokens, sessions, lockouts, and the answers kept under idempotency keys.
//!
//! What always holds: passwords are argon2 strings; tokens and session cookies are kept only as SHA-256.

use longshore_trust::{Digest, UnixMs};
use sqlx::Row as _;

use super::{Store, StoreError, Tx, to_i64, to_u64};

/// Somebody who is signed in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// Who.
    pub person: String,
    /// Must come with every change made from a browser.
    pub csrf: String,
    /// Until when.
    pub expires: UnixMs,
}

/// An answer given before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptAnswer {
    /// Method and path.
    pub route: String,
    /// SHA-256 of the request's body.
    pub request: String,
    /// HTTP status.
    pub status: u16,
    /// JSON object of headers.
    pub headers: String,
    /// The body.
    pub body: Vec<u8>,
}

/// Adds a person, or changes the password and role of one.
///
/// # Errors
/// When the database refuses.
pub async fn put_person(
    tx: &mut Tx,
    name: &str,
    password: &str,
    role: &str,
    now: UnixMs,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO person (name, password, role, created) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (name) DO UPDATE SET password = excluded.password, role = excluded.role",
    )
    .bind(name)
    .bind(password)
    .bind(role)
    .bind(to_i64(now.0))
    .execute(tx.conn())
    .await?;
    Ok(())
}

/// Adds an API token.
///
/// # Errors
/// When the database refuses.
pub async fn insert_token(
    tx: &mut Tx,
    hash: &Digest,
    person: &str,
    label: &str,
    expires: Option<UnixMs>,
    now: UnixMs,
) -> Result<(), StoreError> {
    sqlx::query("INSERT INTO api_token (hash, person, label, created, expires) VALUES (?1, ?2, ?3, ?4, ?5)")
        .bind(hash.to_hex())
        .bind(person)
        .bind(label)
        .bind(to_i64(now.0))
        .bind(expires.map(|e| to_i64(e.0)))
        .execute(tx.conn())
        .await?;
    Ok(())
}

/// Begins a session; sessions that have run out are forgotten.
///
/// # Errors
/// When the database refuses.
pub async fn insert_session(
    tx: &mut Tx,
    hash: &Digest,
    session: &Session,
    now: UnixMs,
) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM session WHERE expires <= ?1").bind(to_i64(now.0)).execute(tx.conn()).await?;
    sqlx::query("INSERT INTO session (hash, person, csrf, created, expires) VALUES (?1, ?2, ?3, ?4, ?5)")
        .bind(hash.to_hex())
        .bind(&session.person)
        .bind(&session.csrf)
        .bind(to_i64(now.0))
        .bind(to_i64(session.expires.0))
        .execute(tx.conn())
        .await?;
    Ok(())
}

/// Ends a session.
///
/// # Errors
/// When the database refuses.
pub async fn delete_session(tx: &mut Tx, hash: &Digest) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM session WHERE hash = ?1").bind(hash.to_hex()).execute(tx.conn()).await?;
    Ok(())
}

/// Counts a failed sign-in; from the `free`-th on, each locks the identity for longer, up to `most_ms`.
///
/// # Errors
/// When the database refuses.
pub async fn count_failure(
    tx: &mut Tx,
    identity: &str,
    free: u32,
    most_ms: u64,
    now: UnixMs,
) -> Result<(), StoreError> {
    let failures: i64 = sqlx::query_scalar(
        "INSERT INTO lockout (identity, failures, until) VALUES (?1, 1, 0)
         ON CONFLICT (identity) DO UPDATE SET failures = failures + 1 RETURNING failures",
    )
    .bind(identity)
    .fetch_one(tx.conn())
    .await?;
    let over = to_u64(failures).saturating_sub(u64::from(free));
    if over > 0 {
        let ms = most_ms.min(15_000u64.saturating_mul(1 << over.min(20)));
        sqlx::query("UPDATE lockout SET until = ?2 WHERE identity = ?1")
            .bind(identity)
            .bind(to_i64(now.plus_ms(ms).0))
            .execute(tx.conn())
            .await?;
    }
    Ok(())
}

/// Forgets failed sign-ins.
///
/// # Errors
/// When the database refuses.
pub async fn clear_failures(tx: &mut Tx, identity: &str) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM lockout WHERE identity = ?1").bind(identity).execute(tx.conn()).await?;
    Ok(())
}

/// Keeps an answer under an idempotency key; answers of more than a day ago are forgotten.
///
/// # Errors
/// When the database refuses.
pub async fn keep_answer(
    tx: &mut Tx,
    actor: &str,
    key: &str,
    answer: &KeptAnswer,
    now: UnixMs,
) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM idempotency WHERE created < ?1")
        .bind(to_i64(now.0.saturating_sub(86_400_000)))
        .execute(tx.conn())
        .await?;
    sqlx::query(
        "INSERT INTO idempotency (actor, key, route, request, status, headers, body, created)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT (actor, key) DO NOTHING",
    )
    .bind(actor)
    .bind(key)
    .bind(&answer.route)
    .bind(&answer.request)
    .bind(i64::from(answer.status))
    .bind(&answer.headers)
    .bind(&answer.body)
    .bind(to_i64(now.0))
    .execute(tx.conn())
    .await?;
    Ok(())
}

impl Store {
    /// The argon2 string and role of a person.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn person(&self, name: &str) -> Result<Option<(String, String)>, StoreError> {
        Ok(sqlx::query_as("SELECT password, role FROM person WHERE name = ?1")
            .bind(name)
            .fetch_optional(self.read())
            .await?)
    }
    /// How many people there are.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn people(&self) -> Result<u64, StoreError> {
        let n: i64 = sqlx::query_scalar("SELECT count(*) FROM person").fetch_one(self.read()).await?;
        Ok(to_u64(n))
    }
    /// Who a token belongs to, if it is still good.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn token_person(&self, hash: &Digest, now: UnixMs) -> Result<Option<String>, StoreError> {
        Ok(sqlx::query_scalar(
            "SELECT person FROM api_token WHERE hash = ?1 AND (expires IS NULL OR expires > ?2)",
        )
        .bind(hash.to_hex())
        .bind(to_i64(now.0))
        .fetch_optional(self.read())
        .await?)
    }
    /// A session that has not run out.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn session(&self, hash: &Digest, now: UnixMs) -> Result<Option<Session>, StoreError> {
        let row = sqlx::query("SELECT person, csrf, expires FROM session WHERE hash = ?1 AND expires > ?2")
            .bind(hash.to_hex())
            .bind(to_i64(now.0))
            .fetch_optional(self.read())
            .await?;
        row.map(|r| {
            Ok(Session {
                person: r.try_get("person")?,
                csrf: r.try_get("csrf")?,
                expires: UnixMs(to_u64(r.try_get("expires")?)),
            })
        })
        .transpose()
    }
    /// Until when an identity may not try to sign in.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn locked_until(&self, identity: &str) -> Result<UnixMs, StoreError> {
        let until: Option<i64> = sqlx::query_scalar("SELECT until FROM lockout WHERE identity = ?1")
            .bind(identity)
            .fetch_optional(self.read())
            .await?;
        Ok(UnixMs(to_u64(until.unwrap_or(0))))
    }
    /// The answer kept under an idempotency key.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn kept_answer(&self, actor: &str, key: &str) -> Result<Option<KeptAnswer>, StoreError> {
        let row = sqlx::query(
            "SELECT route, request, status, headers, body FROM idempotency WHERE actor = ?1 AND key = ?2",
        )
        .bind(actor)
        .bind(key)
        .fetch_optional(self.read())
        .await?;
        row.map(|r| {
            Ok(KeptAnswer {
                route: r.try_get("route")?,
                request: r.try_get("request")?,
                status: u16::try_from(r.try_get::<i64, _>("status")?).unwrap_or(500),
                headers: r.try_get("headers")?,
                body: r.try_get("body")?,
            })
        })
        .transpose()
    }
}
