//! Receivers of alerts that do as they are told: answer, fail, hang, send elsewhere, and remember what came.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// What the receiver does with a request.
#[derive(Debug, Clone)]
pub enum Does {
    /// Answers with a status and further header lines.
    Answers(u16, &'static str),
    /// Reads, and never answers.
    Hangs,
    /// Closes the connection without an answer.
    Drops,
}

/// A request that came.
#[derive(Debug, Clone)]
pub struct Got {
    pub path: String,
    pub headers: BTreeMap<String, String>,
    pub body: String,
}

/// An HTTP server; when its script is over it answers 204.
#[derive(Clone)]
pub struct Receiver {
    pub url: String,
    got: Arc<Mutex<Vec<Got>>>,
    script: Arc<Mutex<VecDeque<Does>>>,
}

impl Receiver {
    pub async fn new(script: impl IntoIterator<Item = Does>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let this =
            Self { url, got: Arc::default(), script: Arc::new(Mutex::new(script.into_iter().collect())) };
        let server = this.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let server = server.clone();
                tokio::spawn(async move { server.serve(stream).await });
            }
        });
        this
    }
    /// What came, oldest first.
    pub fn got(&self) -> Vec<Got> {
        self.got.lock().unwrap().clone()
    }
    async fn serve(&self, stream: TcpStream) {
        let mut stream = BufReader::new(stream);
        let mut first = String::new();
        if stream.read_line(&mut first).await.unwrap_or(0) == 0 {
            return;
        }
        let mut headers = BTreeMap::new();
        loop {
            let mut line = String::new();
            stream.read_line(&mut line).await.unwrap();
            let Some((name, value)) = line.trim().split_once(": ") else { break };
            headers.insert(name.to_lowercase(), value.to_owned());
        }
        let length: usize = headers.get("content-length").map_or(0, |l| l.parse().unwrap());
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await.unwrap();
        let path = first.split(' ').nth(1).unwrap().to_owned();
        self.got.lock().unwrap().push(Got { path, headers, body: String::from_utf8(body).unwrap() });
        let does = self.script.lock().unwrap().pop_front().unwrap_or(Does::Answers(204, ""));
        match does {
            Does::Answers(status, more) => {
                let answer = format!("HTTP/1.1 {status} X\r\ncontent-length: 0\r\n{more}\r\n");
                let _ = stream.get_mut().write_all(answer.as_bytes()).await;
            }
            Does::Hangs => std::future::pending().await,
            Does::Drops => {}
        }
    }
}

/// An SMTP server that takes mail, or answers to `MAIL FROM` with what it is told.
#[derive(Clone)]
pub struct MailServer {
    pub port: u16,
    mails: Arc<Mutex<Vec<String>>>,
    refusals: Arc<Mutex<VecDeque<&'static str>>>,
}

impl MailServer {
    pub async fn new(refusals: impl IntoIterator<Item = &'static str>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let this = Self {
            port: listener.local_addr().unwrap().port(),
            mails: Arc::default(),
            refusals: Arc::new(Mutex::new(refusals.into_iter().collect())),
        };
        let server = this.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let server = server.clone();
                tokio::spawn(async move { server.serve(stream).await });
            }
        });
        this
    }
    /// Mails that were taken, as they were sent.
    pub fn mails(&self) -> Vec<String> {
        self.mails.lock().unwrap().clone()
    }
    async fn serve(&self, stream: TcpStream) {
        let mut stream = BufReader::new(stream);
        stream.get_mut().write_all(b"220 test\r\n").await.unwrap();
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).await.unwrap_or(0) == 0 {
                return;
            }
            let verb = line.split_whitespace().next().unwrap_or_default().to_uppercase();
            let answer = match verb.as_str() {
                "MAIL" => self.refusals.lock().unwrap().pop_front().unwrap_or("250 ok"),
                "DATA" => {
                    stream.get_mut().write_all(b"354 go on\r\n").await.unwrap();
                    let mut mail = String::new();
                    while !mail.ends_with("\r\n.\r\n") {
                        stream.read_line(&mut mail).await.unwrap();
                    }
                    self.mails.lock().unwrap().push(mail);
                    "250 taken"
                }
                "QUIT" => {
                    let _ = stream.get_mut().write_all(b"221 bye\r\n").await;
                    return;
                }
                _ => "250 ok",
            };
            if stream.get_mut().write_all(format!("{answer}\r\n").as_bytes()).await.is_err() {
                return;
            }
        }
    }
}
