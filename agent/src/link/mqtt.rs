//! MQTT 3.1.1 over mTLS with rumqttc, QoS 1, clean session.
//!
//! Built against what this client is known to do: a reconnect drops queued and in-flight messages, so every connection
//! gets a client of its own and nothing is expected to survive it; a bounded channel can block the poll task, so only
//! `try_` calls are made and the poll task does nothing but poll and forward; the default packet limit of 10 KiB is
//! raised; subscriptions are made on every connection and their acknowledgement is waited for, with a timeout; there is
//! no back-off, so it is made here; a broker that takes messages and acknowledges none is left.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use longshore_agent_core::Backoff;
use longshore_agent_core::backoff::Jitter;
use rumqttc::{
    AsyncClient, Event, EventLoop, MqttOptions, Outgoing, Packet, QoS, TlsConfiguration, Transport,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::{Ack, Link, LinkEvent, NotSent};

/// Messages the channel to the poll task holds; more than the outbox ever has sealed.
const CHANNEL: usize = 512;
/// Longest packet, a full message and its topic.
const PACKET_BYTES: usize = 64 * 1024;
/// Connecting, subscribing, flushing: longer than this is failing.
const PATIENCE: Duration = Duration::from_secs(15);
/// Unacknowledged messages and not a packet from the broker for so long: the connection is dead.
const SILENCE: Duration = Duration::from_secs(60);

/// What a connection needs.
#[derive(Debug, Clone)]
pub struct MqttSettings {
    /// Broker, `mqtts://host:port`.
    pub url: String,
    /// Client id: the device id.
    pub client_id: String,
    /// What to subscribe to.
    pub filter: String,
    /// CA of the fleet, PEM.
    pub ca_pem: String,
    /// Client certificate, PEM.
    pub cert_pem: String,
    /// Its key, PKCS#8 PEM.
    pub key_pem: zeroize::Zeroizing<String>,
    /// Keep-alive.
    pub keep_alive: Duration,
    /// Waits between attempts.
    pub backoff: Backoff,
    /// The first connection, and the first after one that held, wait for up to this: what many devices lost together they must
    /// not take up together.
    pub spread: Duration,
}

/// Host and port of `mqtts://host:port`.
#[must_use]
pub fn parse_url(url: &str) -> Option<(String, u16)> {
    let rest = url.strip_prefix("mqtts://")?.trim_end_matches('/');
    let (host, port) = rest.rsplit_once(':').unwrap_or((rest, "8883"));
    let host = host.trim_start_matches('[').trim_end_matches(']');
    (!host.is_empty()).then_some((host.to_owned(), port.parse().ok()?))
}

/// A connection that is made again for as long as the value lives.
#[derive(Debug)]
pub struct MqttLink {
    client: Arc<Mutex<Option<AsyncClient>>>,
    task: tokio::task::JoinHandle<()>,
}

impl MqttLink {
    /// Starts connecting on `runtime`; `seed` is random; `on_event` is called from its thread and must not wait.
    ///
    /// # Errors
    /// When address or certificates are no such things.
    pub fn start(
        runtime: &tokio::runtime::Handle,
        settings: MqttSettings,
        seed: u64,
        on_event: impl Fn(LinkEvent) + Send + Sync + 'static,
    ) -> Result<Self, String> {
        let (host, port) = parse_url(&settings.url)
            .ok_or_else(|| format!("{:?} is not an address like mqtts://host:8883", settings.url))?;
        let tls = tls(&settings).map_err(|e| format!("TLS identity of this device: {e}"))?;
        let mut options = MqttOptions::new(&settings.client_id, host, port);
        options
            .set_keep_alive(settings.keep_alive)
            .set_clean_session(true)
            .set_manual_acks(true)
            .set_max_packet_size(PACKET_BYTES, PACKET_BYTES)
            .set_inflight(100)
            .set_transport(Transport::tls_with_config(TlsConfiguration::Rustls(Arc::new(tls))));
        let client = Arc::new(Mutex::new(None));
        let shared = Arc::clone(&client);
        let task =
            runtime.spawn(connect_for_ever(options, settings, Jitter::new(seed), shared, Arc::new(on_event)));
        Ok(Self { client, task })
    }
}

impl Link for MqttLink {
    fn publish(&self, topic: &str, bytes: Vec<u8>) -> Result<(), NotSent> {
        // An over-size publish would be stored before it fails to encode, and then loop.
        if bytes.len() + topic.len() + 16 > PACKET_BYTES {
            return Err(NotSent);
        }
        let client = self.client.lock().unwrap_or_else(PoisonError::into_inner);
        let client = client.as_ref().ok_or(NotSent)?;
        client.try_publish(topic, QoS::AtLeastOnce, false, bytes).map_err(|_| NotSent)
    }
    fn close(&self) {
        if let Some(client) = self.client.lock().unwrap_or_else(PoisonError::into_inner).take() {
            // When the channel is full the broker will find out by itself.
            let _ = client.try_disconnect();
        }
    }
}
impl Drop for MqttLink {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn tls(settings: &MqttSettings) -> Result<rustls::ClientConfig, String> {
    let mut roots = rustls::RootCertStore::empty();
    for cert in CertificateDer::pem_slice_iter(settings.ca_pem.as_bytes()) {
        roots.add(cert.map_err(|e| format!("{e:?}"))?).map_err(|e| e.to_string())?;
    }
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(settings.cert_pem.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|e| format!("{e:?}"))?;
    let key = PrivateKeyDer::from_pem_slice(settings.key_pem.as_bytes()).map_err(|e| format!("{e:?}"))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| e.to_string())?
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)
        .map_err(|e| e.to_string())
}

type OnEvent = Arc<dyn Fn(LinkEvent) + Send + Sync>;

async fn connect_for_ever(
    options: MqttOptions,
    settings: MqttSettings,
    mut jitter: Jitter,
    shared: Arc<Mutex<Option<AsyncClient>>>,
    on_event: OnEvent,
) {
    let mut failures = 0;
    let spread = u64::try_from(settings.spread.as_millis()).unwrap_or(u64::MAX);
    tokio::time::sleep(Duration::from_millis(jitter.up_to(spread))).await;
    loop {
        let begun = Instant::now();
        let (client, mut events) = AsyncClient::new(options.clone(), CHANNEL);
        events.network_options.set_connection_timeout(PATIENCE.as_secs());
        let why = match establish(&client, &mut events, &settings.filter, &on_event).await {
            Ok(()) => {
                *shared.lock().unwrap_or_else(PoisonError::into_inner) = Some(client.clone());
                on_event(LinkEvent::Up);
                forward(&client, &mut events, SILENCE.max(settings.keep_alive * 2), &on_event).await
            }
            Err(why) => why,
        };
        *shared.lock().unwrap_or_else(PoisonError::into_inner) = None;
        on_event(LinkEvent::Down(why));
        // A connection that held proves the broker well; the wait is then only a spread of many devices.
        let held = begun.elapsed() > Duration::from_secs(30);
        failures = if held { 0 } else { failures + 1 };
        let wait = if held { jitter.up_to(spread) } else { settings.backoff.wait_ms(failures, &mut jitter) };
        tokio::time::sleep(Duration::from_millis(wait)).await;
    }
}

/// Connects and subscribes; messages that come before the subscription is acknowledged are passed on, too.
async fn establish(
    client: &AsyncClient,
    events: &mut EventLoop,
    filter: &str,
    on_event: &OnEvent,
) -> Result<(), String> {
    let steps = async {
        loop {
            match events.poll().await.map_err(|e| e.to_string())? {
                Event::Incoming(Packet::ConnAck(_)) => {
                    client.try_subscribe(filter, QoS::AtLeastOnce).map_err(|e| e.to_string())?;
                }
                Event::Incoming(Packet::SubAck(ack)) => {
                    let refused = ack.return_codes.contains(&rumqttc::SubscribeReasonCode::Failure);
                    return if refused {
                        Err(format!("the broker refused the subscription to {filter}"))
                    } else {
                        Ok(())
                    };
                }
                Event::Incoming(Packet::Publish(p)) => deliver(client, p, on_event),
                _ => {}
            }
        }
    };
    tokio::time::timeout(PATIENCE, steps)
        .await
        .unwrap_or_else(|_| Err("the broker did not answer in time".into()))
}

/// Polls until the connection ends; answers why.
async fn forward(
    client: &AsyncClient,
    events: &mut EventLoop,
    silence: Duration,
    on_event: &OnEvent,
) -> String {
    let mut unacknowledged = 0_u64;
    let mut heard = Instant::now();
    loop {
        let event = match tokio::time::timeout(silence, events.poll()).await {
            Ok(Ok(event)) => event,
            Ok(Err(e)) => return e.to_string(),
            Err(_) => return "not a packet from the broker".into(),
        };
        match event {
            Event::Outgoing(Outgoing::Publish(_)) => {
                if unacknowledged == 0 {
                    heard = Instant::now();
                }
                unacknowledged += 1;
            }
            Event::Outgoing(_) => {}
            Event::Incoming(packet) => {
                if let Packet::PubAck(_) = packet {
                    unacknowledged = unacknowledged.saturating_sub(1);
                    heard = Instant::now();
                } else if let Packet::Publish(p) = packet {
                    deliver(client, p, on_event);
                }
            }
        }
        if unacknowledged > 0 && heard.elapsed() > silence {
            return "the broker acknowledges nothing".into();
        }
    }
}

fn deliver(client: &AsyncClient, p: rumqttc::Publish, on_event: &OnEvent) {
    let (topic, bytes, client) = (p.topic.clone(), p.payload.to_vec(), client.clone());
    let ack = Ack::new(move || {
        // An acknowledgement that is lost brings the message again, which is harmless.
        let _ = client.try_ack(&p);
    });
    on_event(LinkEvent::Message { topic, bytes, ack });
}

#[cfg(test)]
mod tests {
    use super::parse_url;

    #[test]
    fn broker_addresses() {
        assert_eq!(parse_url("mqtts://fleet.example:8884"), Some(("fleet.example".into(), 8884)));
        assert_eq!(parse_url("mqtts://fleet.example"), Some(("fleet.example".into(), 8883)));
        assert_eq!(parse_url("mqtts://[::1]:1"), Some(("::1".into(), 1)));
        for wrong in ["", "mqtt://x:1", "mqtts://", "mqtts://x:port"] {
            assert_eq!(parse_url(wrong), None, "{wrong}");
        }
    }
}
