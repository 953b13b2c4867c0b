//! How long the published metadata still holds, for whoever must act: metrics and the log.

use std::fmt::Write as _;

use longshore_trust::UnixMs;

use super::{RoleStatus, TrustRepo, TrustRepoError};

const DAY_MS: u64 = 24 * 3_600_000;
/// Offline metadata that expires within this time needs a person with a key.
pub const SOON_MS: u64 = 30 * DAY_MS;

impl RoleStatus {
    /// Whether the server signs it anew by itself.
    #[must_use]
    pub fn is_online(&self) -> bool {
        matches!(self.role.as_str(), "snapshot" | "timestamp")
    }
    /// Whether a person with a key must sign it anew: it has expired, or does so within 30 days.
    #[must_use]
    pub fn needs_a_person(&self, now: UnixMs) -> bool {
        !self.is_online() && self.expires.since(now) < SOON_MS
    }
}

impl TrustRepo {
    /// In Prometheus' text format: when each role expires, and how many must be signed soon.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn metrics(&self, now: UnixMs) -> Result<String, TrustRepoError> {
        let roles = self.roles().await?;
        let mut out = String::from(
            "# HELP longshore_trust_expires_timestamp_seconds When published trust metadata expires.\n\
             # TYPE longshore_trust_expires_timestamp_seconds gauge\n",
        );
        for status in &roles {
            let (role, at) = (&status.role, status.expires.secs());
            writeln!(out, "longshore_trust_expires_timestamp_seconds{{role=\"{role}\"}} {at}")
                .expect("writing to a string does not fail");
        }
        let due = roles.iter().filter(|r| r.needs_a_person(now)).count();
        write!(
            out,
            "# HELP longshore_trust_roles_to_sign Roles that have expired or expire within 30 days and that people sign.\n\
             # TYPE longshore_trust_roles_to_sign gauge\nlongshore_trust_roles_to_sign {due}\n"
        )
        .expect("writing to a string does not fail");
        Ok(out)
    }

    /// Says in the log what must be signed soon.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn warn_of_expiry(&self, now: UnixMs) -> Result<(), TrustRepoError> {
        for status in self.roles().await?.iter().filter(|r| r.needs_a_person(now)) {
            let days = status.expires.since(now) / DAY_MS;
            tracing::warn!(
                role = status.role,
                version = status.version,
                days,
                "trust metadata expires soon: sign it anew with `longshore keys renew` (docs/guides/keys.md)"
            );
        }
        Ok(())
    }
}
