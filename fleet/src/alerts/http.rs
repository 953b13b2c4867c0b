//! One HTTP request to a receiver.
//!
//! What always holds: it ends within the receiver's timeout; no redirect is followed; no more of an answer is read than is
//! needed to say what was wrong; nothing of the request but scheme and host is ever logged.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, Request, Uri, header};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use longshore_fleet_core::alert::delivery::Outcome;
use longshore_trust::UnixMs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Most of an answer that is read, bytes.
const ANSWER: usize = 2 << 10;
/// How we call ourselves.
pub const USER_AGENT: &str = concat!("longshore-fleet/", env!("CARGO_PKG_VERSION"));

/// What is sent.
pub struct Post<'a> {
    /// Where.
    pub url: &'a str,
    /// Headers beside host, length and type.
    pub headers: Vec<(&'static str, String)>,
    /// JSON.
    pub body: Vec<u8>,
    /// Longest time.
    pub timeout: Duration,
    /// Authorities to trust instead of the public ones.
    pub ca_file: Option<&'a str>,
}

/// Sends it and says what came of it.
pub async fn post(post: Post<'_>, now: UnixMs) -> Outcome {
    let limit = post.timeout;
    match tokio::time::timeout(limit, send(post, now)).await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(why)) => Outcome::Later { why, after_ms: None },
        Err(_) => {
            let why = format!("no answer within {} ms", limit.as_millis());
            Outcome::Later { why, after_ms: None }
        }
    }
}

async fn send(post: Post<'_>, now: UnixMs) -> Result<Outcome, String> {
    let uri: Uri = post.url.parse().map_err(|_| "the url is no address".to_owned())?;
    let host = uri.host().ok_or("the url names no host")?.trim_matches(['[', ']']).to_owned();
    let tls = uri.scheme_str() == Some("https");
    let port = uri.port_u16().unwrap_or(if tls { 443 } else { 80 });
    let request = request(&uri, post.headers, post.body).map_err(|e| format!("cannot be written: {e}"))?;
    let stream = TcpStream::connect((host.as_str(), port))
        .await
        .map_err(|e| format!("cannot connect to {host}:{port}: {e}"))?;
    if !tls {
        return exchange(stream, request, now).await;
    }
    let config = client_config(post.ca_file).await?;
    let name = ServerName::try_from(host.clone()).map_err(|_| format!("{host} is no name for TLS"))?;
    let stream = TlsConnector::from(config)
        .connect(name, stream)
        .await
        .map_err(|e| format!("TLS with {host}:{port}: {e}"))?;
    exchange(stream, request, now).await
}

fn request(
    uri: &Uri,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
) -> Result<Request<Body>, axum::http::Error> {
    let path = uri.path_and_query().map_or("/", |p| p.as_str());
    let authority = uri.authority().map_or("", |a| a.as_str());
    let mut request = Request::post(path)
        .header(header::HOST, authority)
        .header(header::USER_AGENT, USER_AGENT)
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::CONNECTION, "close")
        .header(header::CONTENT_LENGTH, body.len());
    for (name, value) in headers {
        request = request.header(name, value);
    }
    request.body(Body::from(body))
}

/// Public authorities, or those of a file.
async fn client_config(ca_file: Option<&str>) -> Result<Arc<ClientConfig>, String> {
    let mut roots = RootCertStore::empty();
    match ca_file {
        None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        Some(path) => {
            let pem = super::secret::text(path).await?;
            for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
                let certificate = certificate.map_err(|e| format!("{path}: {e}"))?;
                roots.add(certificate).map_err(|e| format!("{path}: {e}"))?;
            }
            if roots.is_empty() {
                return Err(format!("{path} holds no certificate"));
            }
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| e.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// The task that drives a connection ends with whoever waits for its answer.
struct Driver(tokio::task::JoinHandle<()>);
impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn exchange<S>(stream: S, request: Request<Body>, now: UnixMs) -> Result<Outcome, String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let broken = |e: hyper::Error| format!("the connection broke: {e}");
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    let _driver = Driver(tokio::spawn(async move {
        // Its errors reach the sender as well.
        let _ = connection.await;
    }));
    let response = sender.send_request(request).await.map_err(broken)?;
    let status = response.status().as_u16();
    let after_ms = retry_after(response.headers(), now);
    let said = if (200..300).contains(&status) {
        String::new()
    } else {
        // More than this is no message for people.
        let bytes = axum::body::to_bytes(Body::new(response.into_body()), ANSWER).await.unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        text.chars().filter(|c| !c.is_control()).take(200).collect()
    };
    Ok(Outcome::of_status(status, &said, after_ms))
}

/// `Retry-After`: seconds, or a date.
fn retry_after(headers: &HeaderMap, now: UnixMs) -> Option<u64> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse::<u64>() {
        return Some(seconds.saturating_mul(1000));
    }
    let at = jiff::fmt::rfc2822::parse(text).ok()?.timestamp().as_millisecond();
    Some(UnixMs(u64::try_from(at).unwrap_or(0)).since(now))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_a_number_or_a_date() {
        let of = |text: &str, now| {
            let mut headers = HeaderMap::new();
            headers.insert(header::RETRY_AFTER, text.parse().unwrap());
            retry_after(&headers, UnixMs(now))
        };
        assert_eq!(of("120", 0), Some(120_000));
        assert_eq!(of("Wed, 21 Oct 2015 07:28:00 GMT", 1_445_412_420_000), Some(60_000));
        assert_eq!(of("Wed, 21 Oct 2015 07:28:00 GMT", 1_745_412_420_000), Some(0));
        assert_eq!(of("soon", 0), None);
    }
}
