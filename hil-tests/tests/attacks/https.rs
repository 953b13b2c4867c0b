//! A server of the attacker's own that a device takes for its fleet's: certificates of the fleet's CA, and answers that
//! the test writes byte by byte.

use std::io::{BufRead as _, BufReader, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use longshore_agent::fetch::Remote;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// The connection of one request.
pub type Wire = StreamOwned<ServerConnection, std::net::TcpStream>;

/// A running server; its thread ends with the test.
pub struct Rogue {
    pub url: String,
    ca_pem: String,
    device: (String, String),
    /// Request lines and `Range` headers, in order.
    pub asked: Arc<Mutex<Vec<(String, Option<String>)>>>,
}

impl Rogue {
    /// Answers every request with what `answer` writes for its path.
    pub fn start(answer: impl Fn(&str, &mut Wire) -> std::io::Result<()> + Send + Sync + 'static) -> Self {
        // Set once a process; another test may have been first.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let ca_key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = params.self_signed(&ca_key).unwrap();
        let issuer = Issuer::new(params, ca_key);
        let made = |name: &str| {
            let key = KeyPair::generate().unwrap();
            let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
            (params.signed_by(&key, &issuer).unwrap(), key)
        };
        let (cert, key) = made("localhost");
        let (device_cert, device_key) = made("device");
        let chain = vec![CertificateDer::from(cert)];
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let config = ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key).unwrap();
        let (config, answer) = (Arc::new(config), Arc::new(answer));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("https://localhost:{}", listener.local_addr().unwrap().port());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&asked);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (config, answer, noted) = (Arc::clone(&config), Arc::clone(&answer), Arc::clone(&noted));
                std::thread::spawn(move || {
                    let wire = StreamOwned::new(ServerConnection::new(config).unwrap(), stream);
                    // What becomes of a connection that the device drops is of no interest.
                    let _ = one(wire, &*answer, &noted);
                });
            }
        });
        Self { url, ca_pem: ca.pem(), device: (device_cert.pem(), device_key.serialize_pem()), asked }
    }
    /// The device's client, which trusts this server.
    pub fn remote(&self) -> Remote {
        Remote::new(&self.url, &self.ca_pem, &self.device.0, &self.device.1).unwrap()
    }
    /// The same client, sent to another address.
    pub fn remote_to(&self, url: &str) -> Remote {
        Remote::new(url, &self.ca_pem, &self.device.0, &self.device.1).unwrap()
    }
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }
    pub fn requests(&self) -> usize {
        self.asked.lock().unwrap().len()
    }
}

fn one(
    wire: Wire,
    answer: &(dyn Fn(&str, &mut Wire) -> std::io::Result<()> + Send + Sync),
    noted: &Mutex<Vec<(String, Option<String>)>>,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(wire);
    let (mut first, mut range) = (String::new(), None);
    reader.read_line(&mut first)?;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 || line.trim().is_empty() {
            break;
        }
        if let Some(value) = line.to_lowercase().strip_prefix("range:") {
            range = Some(value.trim().to_owned());
        }
    }
    let path = first.split_whitespace().nth(1).unwrap_or_default().to_owned();
    noted.lock().unwrap().push((path.clone(), range));
    let mut wire = reader.into_inner();
    answer(&path, &mut wire)?;
    wire.conn.send_close_notify();
    wire.flush()
}
