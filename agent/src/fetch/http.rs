//! The HTTPS client: the fleet's CA and nothing else, this device's certificate, no redirects.

use std::io::Read as _;
use std::time::Duration;

use ureq::tls::{Certificate, ClientCert, PrivateKey, RootCerts, TlsConfig, TlsProvider};

use super::file::{RangeReply, RangeSource};

/// Longest silence before a request is given up.
const PATIENCE: Duration = Duration::from_secs(30);
/// Longest time for a small file: a byte now and then must not keep a refresh, and every one after it, waiting.
const WHOLE: Duration = Duration::from_secs(120);
/// Longest answer to a question.
const ANSWER_BYTES: u64 = 256 * 1024;

/// Why a request did not give what was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HttpError {
    /// The certificate files of this device are no such things.
    #[error("TLS identity of this device: {0}")]
    Identity(String),
    /// No answer, or not a whole one.
    #[error("{url}: {reason}")]
    Unreachable {
        /// What was asked for.
        url: String,
        /// What happened.
        reason: String,
    },
    /// An answer that is no success.
    #[error("{url}: the server answered {status}")]
    Status {
        /// What was asked for.
        url: String,
        /// HTTP status.
        status: u16,
    },
    /// Longer than allowed.
    #[error("{url}: longer than {limit} bytes")]
    TooLong {
        /// What was asked for.
        url: String,
        /// The limit.
        limit: u64,
    },
}

/// The device plane of one fleet.
#[derive(Debug, Clone)]
pub struct Remote {
    agent: ureq::Agent,
    url: String,
}

impl Remote {
    /// With the pinned CA and this device's certificate.
    ///
    /// # Errors
    /// [`HttpError::Identity`].
    pub fn new(url: &str, ca_pem: &str, cert_pem: &str, key_pem: &str) -> Result<Self, HttpError> {
        let bad = |e: ureq::Error| HttpError::Identity(e.to_string());
        let ca = Certificate::from_pem(ca_pem.as_bytes()).map_err(bad)?;
        let cert = Certificate::from_pem(cert_pem.as_bytes()).map_err(bad)?;
        let key = PrivateKey::from_pem(key_pem.as_bytes()).map_err(bad)?;
        let tls = TlsConfig::builder()
            .provider(TlsProvider::Rustls)
            .root_certs(RootCerts::new_with_certs(&[ca]))
            .client_cert(Some(ClientCert::new_with_certs(&[cert], key)))
            .build();
        let agent = ureq::Agent::config_builder()
            .tls_config(tls)
            .https_only(true)
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .proxy(None)
            .user_agent(concat!("longshore-agent/", env!("CARGO_PKG_VERSION")))
            .timeout_connect(Some(PATIENCE))
            .timeout_recv_response(Some(PATIENCE))
            .timeout_per_read(Some(PATIENCE))
            .build()
            .new_agent();
        Ok(Self { agent, url: url.trim_end_matches('/').to_owned() })
    }
    /// A small file whole; `None` when the server has none.
    ///
    /// # Errors
    /// [`HttpError`].
    pub fn get(&self, path: &str, limit: u64) -> Result<Option<Vec<u8>>, HttpError> {
        let url = format!("{}/{path}", self.url);
        let unreachable = |reason: String| HttpError::Unreachable { url: url.clone(), reason };
        let request = self.agent.get(&url).config().timeout_global(Some(WHOLE)).build();
        let mut response = request.call().map_err(|e| unreachable(e.to_string()))?;
        match response.status().as_u16() {
            200 => {}
            404 | 403 => return Ok(None),
            status => return Err(HttpError::Status { url, status }),
        }
        let mut bytes = Vec::new();
        let mut body = response.body_mut().as_reader().take(limit + 1);
        body.read_to_end(&mut bytes).map_err(|e| unreachable(e.to_string()))?;
        if bytes.len() as u64 > limit {
            return Err(HttpError::TooLong { url, limit });
        }
        Ok(Some(bytes))
    }
}

impl Remote {
    /// Posts JSON; answers the status and the JSON that came with it (`null` when none did).
    ///
    /// # Errors
    /// [`HttpError::Unreachable`].
    pub fn post(&self, path: &str, body: &serde_json::Value) -> Result<(u16, serde_json::Value), HttpError> {
        let (status, bytes) = self.post_for_bytes(path, body)?;
        Ok((status, serde_json::from_slice(&bytes).unwrap_or_default()))
    }
    /// Posts JSON; answers the status and the bytes that came with it.
    ///
    /// # Errors
    /// [`HttpError::Unreachable`].
    pub fn post_for_bytes(&self, path: &str, body: &serde_json::Value) -> Result<(u16, Vec<u8>), HttpError> {
        let url = format!("{}/{path}", self.url);
        let unreachable = |e: ureq::Error| HttpError::Unreachable { url: url.clone(), reason: e.to_string() };
        let request = self.agent.post(&url).config().timeout_global(Some(WHOLE)).build();
        let mut response = request.send_json(body).map_err(unreachable)?;
        let bytes =
            response.body_mut().with_config().limit(ANSWER_BYTES).read_to_vec().map_err(unreachable)?;
        Ok((response.status().as_u16(), bytes))
    }
}

impl RangeSource for Remote {
    fn range(
        &self,
        path: &str,
        from: u64,
        to: u64,
        sink: &mut dyn FnMut(&[u8]) -> std::io::Result<()>,
    ) -> RangeReply {
        let url = format!("{}/{path}", self.url);
        let request = self.agent.get(&url).header("Range", format!("bytes={from}-{}", to - 1));
        let mut response = match request.call() {
            Ok(r) => r,
            Err(e) => return RangeReply::Broken(e.to_string()),
        };
        let status = response.status().as_u16();
        // A server that ignores ranges answers from the start: of use only at the start.
        if status != 206 && !(status == 200 && from == 0) {
            return match status {
                200 => RangeReply::NoRanges,
                _ => RangeReply::Status(status),
            };
        }
        let mut body = response.body_mut().as_reader().take(to - from);
        let mut buffer = vec![0; 64 * 1024];
        loop {
            match body.read(&mut buffer) {
                Ok(0) => return RangeReply::Done,
                Ok(n) => {
                    if let Err(e) = sink(&buffer[..n]) {
                        return RangeReply::Sink(e);
                    }
                }
                Err(e) => return RangeReply::Broken(e.to_string()),
            }
        }
    }
}
