//! A client small enough to send what no decent client would.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::Path;

/// A connection that is kept.
pub struct Client<S> {
    socket: S,
    left_over: Vec<u8>,
}

/// A response.
#[derive(Debug)]
pub struct Response {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Response {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|l| {
            let (n, v) = l.split_once(':')?;
            n.eq_ignore_ascii_case(name).then_some(v.trim())
        })
    }
    pub fn json(&self) -> serde_json::Value {
        let length =
            self.header("inference-header-content-length").map_or(self.body.len(), |l| l.parse().unwrap());
        serde_json::from_slice(&self.body[..length]).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }
    pub fn error(&self) -> String {
        self.json()["error"].as_str().unwrap_or_else(|| panic!("no error text: {self:?}")).to_owned()
    }
}

pub fn unix(path: &Path) -> Client<UnixStream> {
    over(UnixStream::connect(path).unwrap())
}
pub fn tcp(address: std::net::SocketAddr) -> Client<TcpStream> {
    over(TcpStream::connect(address).unwrap())
}

/// Over a connection that was made already.
pub fn over<S>(socket: S) -> Client<S> {
    Client { socket, left_over: Vec::new() }
}

impl<S: Read + Write> Client<S> {
    pub fn get(&mut self, path: &str) -> Response {
        self.send("GET", path, &[], b"").unwrap()
    }
    pub fn post(&mut self, path: &str, body: &[u8]) -> Response {
        self.send("POST", path, &[], body).unwrap()
    }
    pub fn send(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> std::io::Result<Response> {
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n", body.len());
        for (name, value) in headers {
            head += &format!("{name}: {value}\r\n");
        }
        self.raw(format!("{head}\r\n").as_bytes())?;
        self.raw(body)?;
        self.response()
    }
    pub fn raw(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.socket.write_all(bytes)
    }
    /// Whether the other side has closed.
    pub fn is_closed(&mut self) -> bool {
        matches!(self.socket.read(&mut [0u8; 1]), Ok(0) | Err(_))
    }
    pub fn response(&mut self) -> std::io::Result<Response> {
        let mut bytes = std::mem::take(&mut self.left_over);
        let end = loop {
            if let Some(end) = bytes.windows(4).position(|w| w == b"\r\n\r\n") {
                break end + 4;
            }
            self.more(&mut bytes)?;
        };
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
        let mut response = Response {
            status: head.split(' ').nth(1).unwrap().parse().unwrap(),
            head,
            body: bytes.split_off(end),
        };
        let length = response.header("content-length").map_or(0, |l| l.parse().unwrap());
        while response.body.len() < length {
            self.more(&mut response.body)?;
        }
        self.left_over = response.body.split_off(length);
        Ok(response)
    }
    fn more(&mut self, bytes: &mut Vec<u8>) -> std::io::Result<()> {
        let mut buffer = [0u8; 65536];
        match self.socket.read(&mut buffer)? {
            0 => Err(std::io::ErrorKind::UnexpectedEof.into()),
            n => {
                bytes.extend_from_slice(&buffer[..n]);
                Ok(())
            }
        }
    }
}
