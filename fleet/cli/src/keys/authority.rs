//! The fleet's certificate authority: signs what devices and the server show each other in TLS. P-256, because TLS
//! stacks and TPMs on devices know it.

use jiff::{Timestamp, ToSpan as _, tz::TimeZone};
use longshore_trust::FleetId;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair, KeyUsagePurpose};
use zeroize::Zeroizing;

use crate::context::Failure;

/// Lifetime in years: as long as devices may live. It is trusted by pinning, not by the date.
const YEARS: i16 = 20;

/// A new authority: certificate and private key (PKCS #8), both PEM.
pub(super) struct Authority {
    pub cert_pem: String,
    pub key_pem: Zeroizing<String>,
}

impl Authority {
    /// Made now.
    pub fn new(fleet: &FleetId, now: Timestamp) -> Result<Self, Failure> {
        let bad = |e: rcgen::Error| Failure::refused("keys.ca", format!("cannot make the fleet's CA: {e}"));
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).map_err(bad)?;
        let mut params = CertificateParams::new(Vec::new()).map_err(bad)?;
        params.distinguished_name.remove(DnType::CommonName);
        params.distinguished_name.push(DnType::CommonName, format!("longshore fleet {fleet}"));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let today = now.to_zoned(TimeZone::UTC).date();
        let day = |date: jiff::civil::Date| {
            let part = |n: i8| u8::try_from(n).expect("months and days are positive");
            rcgen::date_time_ymd(date.year().into(), part(date.month()), part(date.day()))
        };
        // A day early, for machines whose clock is behind.
        params.not_before = day(today.saturating_sub(1.day()));
        params.not_after = day(today.saturating_add(i32::from(YEARS).years()));
        let cert = params.self_signed(&key).map_err(bad)?;
        Ok(Self { cert_pem: cert.pem(), key_pem: Zeroizing::new(key.serialize_pem()) })
    }
}
