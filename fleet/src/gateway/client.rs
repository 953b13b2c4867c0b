//! The gateway's connection: an MQTT 3.1.1 client of the configured broker. The only module that names rumqttc.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use longshore_wire::topic::Direction;
use longshore_wire::{Topic, Up};
use rumqttc::{
    AsyncClient, Event, EventLoop, MqttOptions, Packet, QoS, SubscribeReasonCode, TlsConfiguration, Transport,
};
use rustls::ClientConfig;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use super::Metrics;
use super::broker::GATEWAY;
use super::rate::RateLimit;
use crate::app::{self, Shared};

/// How the broker is reached.
pub enum Link {
    /// The embedded one, on loopback.
    Embedded {
        /// Its port.
        port: u16,
        /// This process's secret.
        secret: Arc<str>,
    },
    /// One that runs elsewhere.
    External {
        /// Host.
        host: String,
        /// Port.
        port: u16,
        /// Who we are and whom we trust.
        tls: Arc<ClientConfig>,
    },
}

impl Link {
    /// Whether several fleet nodes share the subscription.
    fn is_shared(&self) -> bool {
        matches!(self, Self::External { .. })
    }
}

/// One message as it came, its topic parsed, nothing of it believed.
pub struct Raw {
    /// Where it was published.
    pub topic: Topic,
    /// Which kind the topic says it is.
    pub up: Up,
    /// The bytes.
    pub payload: Vec<u8>,
}

/// The receiving half, with the filter to subscribe to.
pub struct Connection {
    events: EventLoop,
    filter: String,
}

/// Sends to devices.
#[derive(Clone)]
pub struct Publisher(AsyncClient);

impl Publisher {
    /// Publishes with QoS 1; waits while the link is down and its queue is full.
    pub async fn publish(&self, topic: &Topic, payload: Vec<u8>) {
        if let Err(error) = self.0.publish(topic.to_string(), QoS::AtLeastOnce, false, payload).await {
            tracing::debug!(%topic, %error, "could not hand a message to the broker");
        }
    }
}

/// Prepares the connection; it is made when [`run`] is polled.
pub fn connect(link: &Link, app: &Shared) -> (Publisher, Connection) {
    let mut options = match link {
        Link::Embedded { port, secret } => {
            let mut o = MqttOptions::new(GATEWAY, "127.0.0.1", *port);
            o.set_credentials(GATEWAY, secret.as_ref());
            o
        }
        Link::External { host, port, tls } => {
            let node = app::now().0;
            let mut o = MqttOptions::new(format!("{GATEWAY}-{node:x}"), host, *port);
            o.set_transport(Transport::tls_with_config(TlsConfiguration::Rustls(Arc::clone(tls))));
            o
        }
    };
    options
        .set_clean_session(true)
        .set_keep_alive(Duration::from_secs(30))
        .set_inflight(200)
        .set_max_packet_size(128 * 1024, 128 * 1024);
    let (client, mut events) = AsyncClient::new(options, 1024);
    events.network_options.set_tcp_nodelay(true);
    let connection = Connection { events, filter: Topic::up_filter(&app.fleet, link.is_shared()) };
    (Publisher(client), connection)
}

/// Receives until the server stops. Never waits for the database: a full queue drops, and devices send again.
pub async fn run(app: Shared, mut connection: Connection, publisher: Publisher, queue: mpsc::Sender<Raw>) {
    let metrics = app.gateway.metrics();
    let mut rate = RateLimit::new(app.config.limits.messages_per_s, app.config.limits.message_burst);
    let mut failures = 0u32;
    loop {
        let event = tokio::select! {
            () = app.stop.cancelled() => return,
            event = connection.events.poll() => event,
        };
        match event {
            Ok(Event::Incoming(Packet::ConnAck(_))) => {
                failures = 0;
                if let Err(error) = publisher.0.try_subscribe(&connection.filter, QoS::AtLeastOnce) {
                    tracing::error!(%error, "cannot subscribe to the devices' messages");
                }
            }
            Ok(Event::Incoming(Packet::SubAck(ack)))
                if ack.return_codes.contains(&SubscribeReasonCode::Failure) =>
            {
                tracing::error!(
                    filter = connection.filter,
                    "the broker refuses the subscription to the devices' messages: check its access rules"
                );
            }
            Ok(Event::Incoming(Packet::SubAck(_))) => {
                metrics.linked.store(true, Ordering::Relaxed);
                tracing::info!(filter = connection.filter, "listening to devices");
            }
            Ok(Event::Incoming(Packet::Publish(p))) => {
                Metrics::add(&metrics.received, 1);
                take(&app, &mut rate, &queue, &p.topic, p.payload.to_vec());
            }
            Ok(_) => {}
            Err(error) => {
                metrics.linked.store(false, Ordering::Relaxed);
                failures += 1;
                if failures == 1 || failures.is_multiple_of(60) {
                    tracing::warn!(%error, failures, "no connection to the MQTT broker; trying again");
                }
                let pause = Duration::from_millis(u64::from(failures.min(20)) * 100);
                tokio::time::sleep(pause).await;
            }
        }
    }
}

fn take(app: &Shared, rate: &mut RateLimit, queue: &mpsc::Sender<Raw>, topic: &str, payload: Vec<u8>) {
    let metrics = app.gateway.metrics();
    let parsed = match Topic::parse(topic) {
        Ok(t) if t.fleet == app.fleet => t,
        _ => return Metrics::add(&metrics.refused, 1),
    };
    let Direction::Up(up) = parsed.direction else {
        return Metrics::add(&metrics.refused, 1);
    };
    if !rate.admit(&parsed.device, app::now()) {
        return Metrics::add(&metrics.limited, 1);
    }
    let raw = Raw { topic: parsed, up, payload };
    if let Err(TrySendError::Full(_)) = queue.try_send(raw) {
        Metrics::add(&metrics.overrun, 1);
    }
}
