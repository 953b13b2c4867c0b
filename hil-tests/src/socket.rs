//! An application's side of the device: HTTP over the agent's unix socket. It is known for every request whether it was
//! answered, refused before it was sent, or died unanswered.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

/// What became of one request.
#[derive(Debug)]
pub enum Answer {
    /// A whole response.
    Response(u16, Value),
    /// Nobody took the connection: the agent never saw the request.
    NotSent,
    /// The connection died after the request was (perhaps partly) sent.
    Aborted,
}

/// One agent's socket.
#[derive(Debug, Clone)]
pub struct Socket(pub PathBuf);

impl Socket {
    /// Posts JSON over a connection of its own.
    #[must_use]
    pub fn post(&self, path: &str, body: &Value) -> Answer {
        self.once("POST", path, body.to_string().as_bytes())
    }
    /// Gets JSON over a connection of its own.
    #[must_use]
    pub fn get(&self, path: &str) -> Answer {
        self.once("GET", path, b"")
    }
    /// A connection that stays, for measuring.
    ///
    /// # Errors
    /// When nobody takes it.
    pub fn connect(&self) -> std::io::Result<Connection> {
        let stream = UnixStream::connect(&self.0)?;
        let limit = Some(Duration::from_secs(10));
        stream.set_read_timeout(limit)?;
        stream.set_write_timeout(limit)?;
        Ok(Connection { stream, received: Vec::new() })
    }
    fn once(&self, method: &str, path: &str, body: &[u8]) -> Answer {
        match self.connect() {
            Ok(mut connection) => connection.exchange(method, path, body),
            Err(_) => Answer::NotSent,
        }
    }
}

/// A connection that stays.
#[derive(Debug)]
pub struct Connection {
    stream: UnixStream,
    received: Vec<u8>,
}

impl Connection {
    /// Sends a request and reads the whole response. After [`Answer::Aborted`] the connection is of no use.
    pub fn exchange(&mut self, method: &str, path: &str, body: &[u8]) -> Answer {
        let mut request = format!(
            "{method} {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        )
        .into_bytes();
        request.extend_from_slice(body);
        self.received.clear();
        if self.stream.write_all(&request).is_err() {
            return Answer::Aborted;
        }
        let mut chunk = [0; 16 * 1024];
        loop {
            match self.stream.read(&mut chunk) {
                Ok(0) | Err(_) => return Answer::Aborted,
                Ok(n) => self.received.extend_from_slice(&chunk[..n]),
            }
            if let Some(answer) = parse(&self.received) {
                return answer;
            }
        }
    }
}

/// A response, once it is whole: its head, and a body of the length the head gives.
fn parse(bytes: &[u8]) -> Option<Answer> {
    let end = bytes.windows(4).position(|w| w == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&bytes[..end]).ok()?;
    let body = &bytes[end + 4..];
    let status: u16 = head.split_whitespace().nth(1)?.parse().ok()?;
    let length: usize = head
        .lines()
        .filter_map(|l| l.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .and_then(|(_, value)| value.trim().parse().ok())?;
    let body = body.get(..length)?;
    let value =
        if body.is_empty() { Value::Null } else { serde_json::from_slice(body).unwrap_or(Value::Null) };
    Some(Answer::Response(status, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_a_response_is_none() {
        let whole = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";
        assert!(matches!(parse(whole), Some(Answer::Response(200, _))));
        for cut in 0..whole.len() {
            assert!(parse(&whole[..cut]).is_none(), "{cut}");
        }
    }
}
