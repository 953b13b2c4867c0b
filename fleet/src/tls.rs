//! Certificates: the fleet's own CA signs the server and every device; devices pin that CA.
//!
//! What always holds: a client certificate names exactly one device of this fleet, in its subject and as the URI
//! `longshore:<fleet>/<device>`, and ends; the device renews it before. The server's own certificate does not end, because
//! devices may have no clock. What a certificate is worth is decided by the registry, which is asked at every connection.

mod another_time;

use std::sync::Arc;
use std::time::Duration;

use longshore_trust::{DeviceId, Digest, FleetId, UnixMs};
use rcgen::{
    CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    Issuer, KeyPair, KeyUsagePurpose, SanType, SerialNumber,
};
use rustls::pki_types::{CertificateDer, CertificateSigningRequestDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};

/// Why a certificate could not be made or read.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The CA's own files.
    #[error("the fleet CA cannot be used: {0}")]
    Ca(String),
    /// A certificate request.
    #[error("the certificate request is not valid: {0}")]
    Request(String),
    /// A name that cannot stand in a certificate.
    #[error("{name:?} cannot stand in a certificate: {why}")]
    Name {
        /// The name.
        name: String,
        /// Why not.
        why: String,
    },
    /// TLS could not be set up.
    #[error("TLS cannot be set up: {0}")]
    Setup(String),
}

/// The fleet's certificate authority.
pub struct Ca {
    pem: String,
    der: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate (chain) and its key.
pub struct Identity {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    pem: (String, String),
}

impl Identity {
    /// Certificate chain and private key, as PEM.
    #[must_use]
    pub fn to_pem(&self) -> (String, String) {
        self.pem.clone()
    }
}

impl Ca {
    /// From `ca.pem` and `ca.key` (PKCS#8, P-256).
    ///
    /// # Errors
    /// [`TlsError::Ca`] when they are no certificate and key.
    pub fn from_pem(cert_pem: &str, key_pem: &str) -> Result<Self, TlsError> {
        let ca = |e: rcgen::Error| TlsError::Ca(e.to_string());
        let key = KeyPair::from_pem(key_pem).map_err(ca)?;
        let der =
            first_certificate(cert_pem).ok_or_else(|| TlsError::Ca("ca.pem holds no certificate".into()))?;
        let (_, parsed) = x509_parser::parse_x509_certificate(&der)
            .map_err(|_| TlsError::Ca("ca.pem holds no certificate".into()))?;
        if parsed.public_key().subject_public_key.data.as_ref() != key.public_key_raw() {
            return Err(TlsError::Ca("ca.key is not the key of ca.pem".into()));
        }
        let issuer = Issuer::from_ca_cert_der(&der, key).map_err(ca)?;
        Ok(Self { pem: cert_pem.to_owned(), der, issuer })
    }
    /// `ca.pem`, byte for byte: devices compare its SHA-256 with the one in their token.
    #[must_use]
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// A fresh certificate for this server under all `hosts`.
    ///
    /// # Errors
    /// When a host cannot stand in a certificate.
    pub fn issue_server(&self, hosts: &[String]) -> Result<Identity, TlsError> {
        let mut params = params("longshore-fleet", ExtendedKeyUsagePurpose::ServerAuth);
        for host in hosts {
            let san =
                match host.parse() {
                    Ok(ip) => SanType::IpAddress(ip),
                    Err(_) => SanType::DnsName(host.as_str().try_into().map_err(|e: rcgen::Error| {
                        TlsError::Name { name: host.clone(), why: e.to_string() }
                    })?),
                };
            params.subject_alt_names.push(san);
        }
        self.issue_own(&params)
    }
    /// A fresh client certificate for the gateway, for brokers that run elsewhere.
    ///
    /// # Errors
    /// [`TlsError::Ca`].
    pub fn issue_gateway(&self, fleet: &FleetId) -> Result<Identity, TlsError> {
        self.issue_own(&params(&gateway_name(fleet), ExtendedKeyUsagePurpose::ClientAuth))
    }
    fn issue_own(&self, params: &CertificateParams) -> Result<Identity, TlsError> {
        let ca = |e: rcgen::Error| TlsError::Ca(e.to_string());
        let key = KeyPair::generate().map_err(ca)?;
        let cert = params.signed_by(&key, &self.issuer).map_err(ca)?;
        Ok(Identity {
            pem: (cert.pem(), key.serialize_pem()),
            chain: vec![cert.into()],
            key: PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
        })
    }

    /// Answers a device's certificate request: its public key under the names that *we* give. Nothing else of the
    /// request is taken over.
    ///
    /// # Errors
    /// [`TlsError::Request`] when the request is malformed or not signed by its own key.
    pub fn issue_device(
        &self,
        fleet: &FleetId,
        device: &DeviceId,
        request: &CertificateRequest,
        validity: Validity,
    ) -> Result<DeviceCertificate, TlsError> {
        let wrong = |e: rcgen::Error| TlsError::Request(e.to_string());
        let mut request = CertificateSigningRequestParams::from_der(&request.der).map_err(wrong)?;
        let mut params = params(device.as_str(), ExtendedKeyUsagePurpose::ClientAuth);
        let uri = device_uri(fleet, device);
        params.subject_alt_names.push(SanType::URI(uri.as_str().try_into().map_err(wrong)?));
        let at = |t: UnixMs| rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(t.secs().min(LAST_SECS));
        params.not_before = at(validity.from);
        params.not_after = at(validity.until);
        request.params = params;
        let cert = request.signed_by(&self.issuer).map_err(wrong)?;
        Ok(DeviceCertificate { pem: cert.pem(), sha256: Digest::of(cert.der()), validity })
    }

    fn roots(&self) -> Result<RootCertStore, TlsError> {
        let mut roots = RootCertStore::empty();
        roots.add(self.der.clone()).map_err(|e| TlsError::Ca(e.to_string()))?;
        Ok(roots)
    }
    /// TLS for a server. What it asks of clients is said by `clients`.
    ///
    /// # Errors
    /// [`TlsError::Setup`].
    pub fn server_config(
        &self,
        identity: &Identity,
        clients: Clients,
    ) -> Result<Arc<ServerConfig>, TlsError> {
        let setup = |e: &dyn std::fmt::Display| TlsError::Setup(e.to_string());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::new(self.roots()?), Arc::clone(&provider));
        if clients == Clients::Anybody {
            verifier = verifier.allow_unauthenticated();
        }
        let verifier = verifier.build().map_err(|e| setup(&e))?;
        let verifier = match clients {
            Clients::Devices => verifier,
            Clients::Anybody => Arc::new(another_time::AnotherTime { inner: verifier }),
        };
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|e| setup(&e))?
            .with_client_cert_verifier(verifier)
            .with_single_cert(identity.chain.clone(), identity.key.clone_key())
            .map_err(|e| setup(&e))?;
        config.max_early_data_size = 0;
        Ok(Arc::new(config))
    }
    /// TLS for a client that trusts only this CA.
    ///
    /// # Errors
    /// [`TlsError::Setup`].
    pub fn client_config(&self, identity: &Identity) -> Result<Arc<ClientConfig>, TlsError> {
        let setup = |e: rustls::Error| TlsError::Setup(e.to_string());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(setup)?
            .with_root_certificates(self.roots()?)
            .with_client_auth_cert(identity.chain.clone(), identity.key.clone_key())
            .map_err(setup)?;
        Ok(Arc::new(config))
    }
}

/// A certificate signing request, in DER.
pub struct CertificateRequest {
    der: CertificateSigningRequestDer<'static>,
}

impl CertificateRequest {
    /// Reads the PEM form. Its signature is checked when it is answered.
    ///
    /// # Errors
    /// [`TlsError::Request`] when there is none in the text.
    pub fn from_pem(pem: &str) -> Result<Self, TlsError> {
        use rustls::pki_types::pem::PemObject as _;
        let der = CertificateSigningRequestDer::from_pem_slice(pem.as_bytes())
            .map_err(|_| TlsError::Request("no PEM block CERTIFICATE REQUEST".into()))?;
        Ok(Self { der })
    }
    /// SHA-256 of its DER bytes.
    #[must_use]
    pub fn sha256(&self) -> Digest {
        Digest::of(&self.der)
    }
}

/// What a device receives.
#[derive(Debug, Clone)]
pub struct DeviceCertificate {
    /// For the device.
    pub pem: String,
    /// Of its DER bytes, for the registry.
    pub sha256: Digest,
    /// From when to when it is good.
    pub validity: Validity,
}

/// From when to when a certificate is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// Not before.
    pub from: UnixMs,
    /// Not after.
    pub until: UnixMs,
}

impl Validity {
    /// Good for `life_s` seconds from `now`, and back an hour (or a twentieth of its life) for clocks that disagree. Whole seconds, as certificates
    /// have them.
    #[must_use]
    pub fn starting(now: UnixMs, life_s: u64) -> Self {
        let from = UnixMs::from_secs(now.secs().saturating_sub((life_s / 20).min(3_600)));
        Self { from, until: UnixMs::from_secs(now.secs().saturating_add(life_s)) }
    }
}

/// What a listener asks of its clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clients {
    /// A certificate of this CA that is good now.
    Devices,
    /// None, or one of this CA that is, was or will be good: the routes tell them apart.
    Anybody,
}

/// Who showed a client certificate; the chain has been verified by TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// The device it names.
    pub device: DeviceId,
    /// Of its DER bytes.
    pub cert_sha256: Digest,
    /// From when to when it is good.
    pub validity: Validity,
}

impl Peer {
    /// Whether the certificate is good now: it has not expired, and was not dated by a clock that was ahead.
    #[must_use]
    pub fn is_good(&self, now: UnixMs) -> bool {
        self.validity.from <= now && now <= self.validity.until
    }
    /// Reads the names in the first certificate of a verified chain; `None` when they do not name a device of `fleet`.
    #[must_use]
    pub fn of(chain: Option<&[CertificateDer<'_>]>, fleet: &FleetId) -> Option<Self> {
        let der = chain?.first()?;
        let (_, cert) = x509_parser::parse_x509_certificate(der).ok()?;
        let mut names = cert.subject().iter_common_name();
        let device: DeviceId = names.next()?.as_str().ok()?.parse().ok()?;
        let wanted = device_uri(fleet, &device);
        let san = cert.subject_alternative_name().ok()??;
        let named = san
            .value
            .general_names
            .iter()
            .any(|n| matches!(n, x509_parser::extensions::GeneralName::URI(u) if *u == wanted));
        let (from, until) = validity(der)?;
        let validity = Validity { from, until };
        (named && names.next().is_none()).then(|| Self { device, cert_sha256: Digest::of(der), validity })
    }
}

/// The name of the fleet server towards a broker that runs elsewhere; no device id has an `@`.
#[must_use]
pub fn gateway_name(fleet: &FleetId) -> String {
    format!("gateway@{fleet}")
}

/// From when to when a certificate is good.
fn validity(der: &CertificateDer<'_>) -> Option<(UnixMs, UnixMs)> {
    let (_, cert) = x509_parser::parse_x509_certificate(der).ok()?;
    let secs = |t: x509_parser::time::ASN1Time| UnixMs::from_secs(u64::try_from(t.timestamp()).unwrap_or(0));
    Some((secs(cert.validity().not_before), secs(cert.validity().not_after)))
}

/// Year 9999: the last a certificate can say.
const LAST_SECS: u64 = 253_402_300_799;

fn device_uri(fleet: &FleetId, device: &DeviceId) -> String {
    format!("longshore:{fleet}/{device}")
}

fn first_certificate(pem: &str) -> Option<CertificateDer<'static>> {
    use rustls::pki_types::pem::PemObject as _;
    CertificateDer::from_pem_slice(pem.as_bytes()).ok()
}

fn params(common_name: &str, usage: ExtendedKeyUsagePurpose) -> CertificateParams {
    let mut params = CertificateParams::default();
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    params.distinguished_name = name;
    // A device whose clock begins in 1970 must be able to talk to this server.
    params.not_before = rcgen::date_time_ymd(1970, 1, 1);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![usage];
    params.use_authority_key_identifier_extension = true;
    let mut serial = [0u8; 16];
    getrandom::fill(&mut serial).expect("the operating system has a random source");
    serial[0] &= 0x7f;
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    params
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A CA as `longshore keys init` makes it.
    pub(crate) fn test_ca() -> Ca {
        let key = KeyPair::generate().unwrap();
        let mut p = CertificateParams::default();
        p.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Constrained(0));
        p.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let cert = p.self_signed(&key).unwrap();
        Ca::from_pem(&cert.pem(), &key.serialize_pem()).unwrap()
    }

    #[test]
    fn a_device_certificate_names_the_device_and_nothing_that_was_asked_for() {
        let ca = test_ca();
        let (fleet, device) = ("demo".parse().unwrap(), "dev-1".parse().unwrap());
        let key = KeyPair::generate().unwrap();
        let asked = CertificateParams::new(vec!["evil.example".into()]).unwrap();
        let csr = asked.serialize_request(&key).unwrap();
        let request = CertificateRequest::from_pem(&csr.pem().unwrap()).unwrap();
        let validity = Validity::starting(UnixMs(1_800_000_000_500), 60);
        let cert = ca.issue_device(&fleet, &device, &request, validity).unwrap();
        let der = first_certificate(&cert.pem).unwrap();
        let peer = Peer::of(Some(std::slice::from_ref(&der)), &fleet).unwrap();
        assert_eq!(peer.device, device);
        assert_eq!(peer.cert_sha256, cert.sha256);
        assert_eq!(peer.validity, validity);
        let good = |ms| peer.is_good(UnixMs(ms));
        assert!(good(1_800_000_060_000) && !good(1_800_000_060_001));
        assert!(good(validity.from.0) && !good(validity.from.0 - 1));
        assert_eq!(Peer::of(Some(std::slice::from_ref(&der)), &"other".parse().unwrap()), None);
        let (_, parsed) = x509_parser::parse_x509_certificate(&der).unwrap();
        let san = parsed.subject_alternative_name().unwrap().unwrap();
        assert_eq!(san.value.general_names.len(), 1);
    }
    #[test]
    fn a_request_with_a_broken_signature_is_refused() {
        let ca = test_ca();
        let key = KeyPair::generate().unwrap();
        let csr = CertificateParams::default().serialize_request(&key).unwrap();
        let mut der = csr.der().to_vec();
        let last = der.len() - 1;
        der[last] ^= 1;
        let request = CertificateRequest { der: der.into() };
        let validity = Validity::starting(UnixMs(0), 60);
        let issued = ca.issue_device(&"demo".parse().unwrap(), &"d".parse().unwrap(), &request, validity);
        assert!(matches!(issued, Err(TlsError::Request(_))));
    }
    #[test]
    fn a_key_that_is_not_the_ca_s_is_refused() {
        let ca = test_ca();
        let other = KeyPair::generate().unwrap();
        assert!(matches!(Ca::from_pem(ca.pem(), &other.serialize_pem()), Err(TlsError::Ca(_))));
    }
}
