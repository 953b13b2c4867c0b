//! Talking to the fleet's API.
//!
//! Always true here: an answer that is not a success becomes a [`Failure`] that says what the server said (problem
//! details), and a server that cannot be reached becomes exit code 3. A POST carries an idempotency key, so that it can
//! be sent again after a connection died without being done twice.

use std::io::Read;
use std::time::Duration;

use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use ureq::http;

use crate::context::{Context, Failure};

/// Largest answer that is read, bytes.
const MAX_ANSWER_BYTES: u64 = 64 << 20;
/// How often a POST is sent at most when the connection dies.
const POST_ATTEMPTS: u32 = 3;

/// A client of one fleet server.
pub struct Client {
    agent: ureq::Agent,
    base: String,
    token: Option<String>,
}

/// An answer: its status and its body.
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// The body.
    pub body: Vec<u8>,
}

/// `application/problem+json` (RFC 9457) as the server writes it.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
struct Problem {
    title: String,
    detail: String,
    code: String,
    errors: Vec<String>,
}

impl Client {
    /// For the server and token the context names.
    ///
    /// # Errors
    /// When no server or no token is known.
    pub fn from_context(context: &Context) -> Result<Self, Failure> {
        Ok(Self::new(context.url()?, Some(context.token()?)))
    }
    /// For `base` (no trailing slash), with or without a token.
    #[must_use]
    pub fn new(base: String, token: Option<String>) -> Self {
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_connect(Some(Duration::from_secs(10)))
            .timeout_recv_response(Some(Duration::from_secs(60)))
            .user_agent(concat!("longshore/", env!("CARGO_PKG_VERSION")))
            .build()
            .new_agent();
        Self { agent, base, token }
    }
    /// GET below `/api/v1`; `path` begins with a slash.
    ///
    /// # Errors
    /// Refusals of the server, exit code 3 when it cannot be reached.
    pub fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        parse(&self.api("GET", path, None, &[])?)
    }
    /// GET of any path of the server (`/trust/1.root.json`, `/targets/…`): `None` when it does not exist.
    ///
    /// # Errors
    /// As [`Client::get`], and when the answer is larger than `max_bytes`.
    pub fn get_bytes(&self, path: &str, max_bytes: u64) -> Result<Option<Vec<u8>>, Failure> {
        let answer = self.exchange("GET", path, None, &[], max_bytes)?;
        match answer.status {
            200..=299 => Ok(Some(answer.body)),
            404 => Ok(None),
            _ => Err(refusal("GET", path, &answer)),
        }
    }
    /// All items of a list that comes in pages: `{"items": […], "next": cursor or null}`.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub fn pages(&self, path: &str) -> Result<Vec<Value>, Failure> {
        let mut items = Vec::new();
        let mut cursor: Option<String> = None;
        loop {
            let joint = if path.contains('?') { '&' } else { '?' };
            let query = cursor.as_ref().map_or_else(String::new, |c| format!("{joint}cursor={c}"));
            let mut page: Value = self.get(&format!("{path}{query}"))?;
            match page["items"].take() {
                Value::Array(more) => items.extend(more),
                _ => return Err(Failure::refused("api.answer", format!("{path} answered without items"))),
            }
            match page["next"].take() {
                Value::String(next) => cursor = Some(next),
                Value::Number(next) => cursor = Some(next.to_string()),
                _ => return Ok(items),
            }
        }
    }
    /// POST of a JSON value below `/api/v1`, safe against a dying connection.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, Failure> {
        parse(&self.post_with(path, body, &[])?)
    }
    /// POST with more headers (`If-Match`).
    ///
    /// # Errors
    /// As [`Client::get`].
    pub fn post_with(
        &self,
        path: &str,
        body: &impl Serialize,
        headers: &[(&str, &str)],
    ) -> Result<Answer, Failure> {
        let key = idempotency_key()?;
        let body = encode(body)?;
        let mut all = vec![("Idempotency-Key", key.as_str())];
        all.extend_from_slice(headers);
        let mut attempt = 1;
        loop {
            match self.api("POST", path, Some(&body), &all) {
                Err(f) if f.exit == 3 && attempt < POST_ATTEMPTS => attempt += 1,
                other => return other,
            }
        }
    }
    /// PUT of a JSON value below `/api/v1`.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub fn put<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, Failure> {
        parse(&self.api("PUT", path, Some(&encode(body)?), &[])?)
    }
    /// DELETE below `/api/v1`.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub fn delete<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        parse(&self.api("DELETE", path, None, &[])?)
    }
    /// PUT of raw bytes below `/api/v1`; `progress` is told how many bytes have gone so far.
    ///
    /// # Errors
    /// As [`Client::get`], and when `reader` cannot be read.
    pub fn put_bytes(
        &self,
        path: &str,
        reader: impl Read,
        length: u64,
        progress: impl FnMut(u64),
    ) -> Result<Value, Failure> {
        let mut counted = Counted { inner: reader, sent: 0, progress };
        let url = format!("{}/api/v1{path}", self.base);
        let mut request = self
            .agent
            .put(&url)
            .header("Content-Type", "application/octet-stream")
            .header("Content-Length", length.to_string());
        if let Some(token) = &self.token {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        let response =
            request.send(ureq::SendBody::from_reader(&mut counted)).map_err(|e| self.unreachable(&e))?;
        let answer = self.read(response, MAX_ANSWER_BYTES)?;
        parse(&accepted("PUT", path, answer)?)
    }

    fn api(
        &self,
        method: &str,
        path: &str,
        body: Option<&[u8]>,
        headers: &[(&str, &str)],
    ) -> Result<Answer, Failure> {
        let full = format!("/api/v1{path}");
        accepted(method, path, self.exchange(method, &full, body, headers, MAX_ANSWER_BYTES)?)
    }

    fn exchange(
        &self,
        method: &str,
        path: &str,
        body: Option<&[u8]>,
        headers: &[(&str, &str)],
        max_bytes: u64,
    ) -> Result<Answer, Failure> {
        let mut request = http::Request::builder().method(method).uri(format!("{}{path}", self.base));
        if let Some(token) = &self.token {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let bad = |e: &dyn std::fmt::Display| {
            Failure::usage(format!("{}{path} is no valid address: {e}", self.base))
        };
        let response = match body {
            None => self.agent.run(request.body(()).map_err(|e| bad(&e))?),
            Some(bytes) => self
                .agent
                .run(request.header("Content-Type", "application/json").body(bytes).map_err(|e| bad(&e))?),
        }
        .map_err(|e| self.unreachable(&e))?;
        self.read(response, max_bytes)
    }

    fn read(&self, response: http::Response<ureq::Body>, max_bytes: u64) -> Result<Answer, Failure> {
        let status = response.status().as_u16();
        let body = response
            .into_body()
            .into_with_config()
            .limit(max_bytes.max(1 << 16))
            .read_to_vec()
            .map_err(|e| self.unreachable(&e))?;
        Ok(Answer { status, body })
    }

    fn unreachable(&self, e: &ureq::Error) -> Failure {
        match e {
            ureq::Error::BadUri(_) | ureq::Error::Http(_) => {
                Failure::usage(format!("{:?} is no server address: {e}", self.base))
            }
            ureq::Error::BodyExceedsLimit(n) => Failure::refused(
                "answer.too_large",
                format!("{} sent more than the {n} bytes allowed here", self.base),
            ),
            _ => Failure::unreachable(format!(
                "cannot reach {}: {e}. Check that the server runs (`longshore-fleet serve`) and that --url is right.",
                self.base
            )),
        }
    }
}

/// Tells how much has been read.
struct Counted<R, P> {
    inner: R,
    sent: u64,
    progress: P,
}
impl<R: Read, P: FnMut(u64)> Read for Counted<R, P> {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        let n = self.inner.read(buf)?;
        self.sent += n as u64;
        (self.progress)(self.sent);
        Ok(n)
    }
}

fn encode(body: &impl Serialize) -> Result<Vec<u8>, Failure> {
    serde_json::to_vec(body).map_err(|e| Failure::refused("json", format!("cannot write the request: {e}")))
}

/// A random key that names one intent of the user.
fn idempotency_key() -> Result<String, Failure> {
    let mut bytes = [0u8; 16];
    getrandom::fill(&mut bytes)
        .map_err(|e| Failure::refused("random", format!("the system gives no random bytes: {e}")))?;
    Ok(hex::encode(bytes))
}

fn accepted(method: &str, path: &str, answer: Answer) -> Result<Answer, Failure> {
    if (200..300).contains(&answer.status) { Ok(answer) } else { Err(refusal(method, path, &answer)) }
}

/// Reads an answer's JSON; an empty body is `null`.
///
/// # Errors
/// When it is not what this version of the command knows.
pub fn parse<T: DeserializeOwned>(answer: &Answer) -> Result<T, Failure> {
    let body: &[u8] = if answer.body.is_empty() { b"null" } else { &answer.body };
    serde_json::from_slice(body).map_err(|e| {
        Failure::refused(
            "answer.unknown",
            format!(
                "the server's answer is not understood ({e}); do server and command have the same version?"
            ),
        )
    })
}

fn refusal(method: &str, path: &str, answer: &Answer) -> Failure {
    let problem: Problem = serde_json::from_slice(&answer.body).unwrap_or_default();
    let code = if problem.code.is_empty() { format!("http.{}", answer.status) } else { problem.code };
    let mut message = match (problem.detail.is_empty(), problem.title.is_empty()) {
        (false, _) => problem.detail,
        (true, false) => problem.title,
        (true, true) => format!("{method} {path} was answered with status {}", answer.status),
    };
    for e in problem.errors {
        message.push_str("\n  - ");
        message.push_str(&e);
    }
    if answer.status == 401 {
        message.push_str("\nRun `longshore login` or pass --token-file.");
    }
    Failure::refused(code, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_told_in_its_own_words() {
        let answer = Answer {
            status: 409,
            body: br#"{"title":"Conflict","detail":"rollout r-1 is halted","code":"rollout.halted","errors":["x"]}"#
                .to_vec(),
        };
        let f = refusal("POST", "/rollouts", &answer);
        assert_eq!((f.exit, f.code.as_str()), (1, "rollout.halted"));
        assert_eq!(f.message, "rollout r-1 is halted\n  - x");
    }

    #[test]
    fn a_server_that_is_not_there_is_exit_code_3() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let client = Client::new(format!("http://{address}"), None);
        assert_eq!(client.get::<Value>("/fleet").unwrap_err().exit, 3);
        assert_eq!(client.post::<Value>("/rollouts", &serde_json::json!({})).unwrap_err().exit, 3);
    }

    #[test]
    fn an_address_that_is_none_is_a_usage_error() {
        let client = Client::new("not an address".into(), None);
        assert_eq!(client.get::<Value>("/fleet").unwrap_err().exit, 2);
    }
}
