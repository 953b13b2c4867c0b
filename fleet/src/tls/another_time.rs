//! Client certificates that are not good now, on the device plane alone.
//!
//! A device that was off for longer than its certificate lives must be able to come back without a visit, and so must one
//! whose certificate was issued while the server's clock was ahead. So the handshake takes a certificate of our CA that is
//! good at some time; what such a device is served is decided by the routes: a renewal, which also wants a signature of its
//! report key, and nothing else. A certificate that is never good (another CA, not for clients) is refused here.

use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};

/// Verifies as `inner` does: at the last moment of the certificate's life when that has passed, at its first when that is
/// still to come.
#[derive(Debug)]
pub(super) struct AnotherTime {
    pub inner: Arc<dyn ClientCertVerifier>,
}

impl ClientCertVerifier for AnotherTime {
    fn offer_client_auth(&self) -> bool {
        self.inner.offer_client_auth()
    }
    fn client_auth_mandatory(&self) -> bool {
        self.inner.client_auth_mandatory()
    }
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.inner.root_hint_subjects()
    }
    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.inner.verify_client_cert(end_entity, intermediates, now);
        let Some((from, until)) = super::validity(end_entity) else { return verified };
        let then = match verified {
            Err(Error::InvalidCertificate(
                CertificateError::Expired | CertificateError::ExpiredContext { .. },
            )) => until,
            Err(Error::InvalidCertificate(
                CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. },
            )) => from,
            other => return other,
        };
        let then = UnixTime::since_unix_epoch(Duration::from_secs(then.secs()));
        self.inner.verify_client_cert(end_entity, intermediates, then)
    }
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, cert, dss)
    }
    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, cert, dss)
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}
