//! An application's side of the device: HTTP over the agent's unix socket, one connection a request, so that it is known
//! for every row whether it was answered, refused before it was sent, or died unanswered.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
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
    /// Posts JSON.
    pub fn post(&self, path: &str, body: &Value) -> Answer {
        exchange(&self.0, "POST", path, body.to_string().as_bytes())
    }
    /// Gets JSON.
    pub fn get(&self, path: &str) -> Answer {
        exchange(&self.0, "GET", path, b"")
    }
}

fn exchange(socket: &Path, method: &str, path: &str, body: &[u8]) -> Answer {
    let Ok(mut stream) = UnixStream::connect(socket) else {
        return Answer::NotSent;
    };
    let limit = Some(Duration::from_secs(10));
    if stream.set_read_timeout(limit).and_then(|()| stream.set_write_timeout(limit)).is_err() {
        return Answer::NotSent;
    }
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    let mut received = Vec::new();
    let sent = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body));
    if sent.is_err() || stream.read_to_end(&mut received).is_err() && received.is_empty() {
        return Answer::Aborted;
    }
    parse(&received).unwrap_or(Answer::Aborted)
}

/// A response that is whole: its head, and a body of the length the head gives (or chunks up to the last).
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
