//! A receiver of webhooks on a loopback port: it answers 200 and keeps what it was sent.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::Value;

/// Longest body taken, bytes.
const BODY_MAX: usize = 1 << 20;

/// One delivery.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// Path of the request.
    pub path: String,
    /// Headers, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body, which has to be JSON.
    pub body: Value,
}

/// A running receiver; it ends with the process.
#[derive(Debug, Clone)]
pub struct Receiver {
    address: SocketAddr,
    kept: Arc<Mutex<Vec<Delivery>>>,
}

impl Receiver {
    /// Listens on a free port.
    ///
    /// # Errors
    /// When there is none.
    pub fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").context("no port for a webhook receiver")?;
        let receiver = Self { address: listener.local_addr()?, kept: Arc::default() };
        let kept = Arc::clone(&receiver.kept);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // A sender that gives up half-way is its own matter; it will try again.
                if let Ok(delivery) = take(&stream) {
                    kept.lock().unwrap_or_else(PoisonError::into_inner).push(delivery);
                    let _ = (&stream)
                        .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
                }
            }
        });
        Ok(receiver)
    }
    /// Where to send to.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
    /// Everything that came so far.
    #[must_use]
    pub fn kept(&self) -> Vec<Delivery> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn take(stream: &TcpStream) -> Result<Delivery> {
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let path = line.split(' ').nth(1).context("no path")?.to_owned();
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let length = headers.iter().find(|(n, _)| n == "content-length").context("no length")?;
    let mut body = vec![0; length.1.parse::<usize>()?.min(BODY_MAX)];
    reader.read_exact(&mut body)?;
    Ok(Delivery { path, headers, body: serde_json::from_slice(&body)? })
}
