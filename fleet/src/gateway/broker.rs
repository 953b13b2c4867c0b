//! The embedded broker: mqtt5's client handler behind our own TLS accept loop. The only module that names mqtt5.
//!
//! What always holds: a connection is the device its certificate names, as long as the registry says so; it publishes
//! only under its own `up/` (its will too) and subscribes only under its own `down/`; nothing is retained or kept for
//! anybody. Only the gateway, on the loopback listener and with this process's secret, sees all devices.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use longshore_trust::{DeviceId, FleetId};
use longshore_wire::{Topic, topic::Direction};
use mqtt5::broker::auth::{AuthProvider, AuthResult};
use mqtt5::broker::client_handler::ClientHandler;
use mqtt5::broker::config::{BrokerConfig, StorageBackend, StorageConfig};
use mqtt5::broker::resource_monitor::{ResourceLimits, ResourceMonitor};
use mqtt5::broker::router::MessageRouter;
use mqtt5::broker::storage::QueueLimits;
use mqtt5::broker::sys_topics::BrokerStats;
use mqtt5::broker::tls_acceptor::TlsStreamWrapper;
use mqtt5::broker::transport::BrokerTransport;
use mqtt5::packet::connect::ConnectPacket;
use mqtt5::protocol::v5::reason_codes::ReasonCode;
use rustls::ServerConfig;
use subtle::ConstantTimeEq as _;
use tokio::net::TcpListener;
use tokio::sync::{broadcast, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::accept::{self, Limits};
use crate::store::Store;
use crate::tls::Peer;
use crate::{app, enrol};

/// Largest packet: a message of 48 KiB and room to spare.
const MAX_PACKET_BYTES: usize = 128 * 1024;
/// Client id of the gateway.
pub(super) const GATEWAY: &str = "longshore-gateway";

type Answer<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The running broker.
#[derive(Clone)]
pub struct Broker {
    config: Arc<BrokerConfig>,
    router: Arc<MessageRouter>,
    stats: Arc<BrokerStats>,
    resources: Arc<ResourceMonitor>,
    stopping: broadcast::Sender<()>,
    connected: Connected,
    store: Store,
    fleet: FleetId,
}

/// Which connection is whose. A device that connects anew takes its place before its old connection has ended.
#[derive(Clone)]
struct Connected {
    now: Arc<Mutex<HashMap<DeviceId, Connection>>>,
    next: Arc<std::sync::atomic::AtomicU64>,
    left: mpsc::UnboundedSender<DeviceId>,
}

/// One connection of a device: its number, and how to close it.
#[derive(Clone)]
struct Connection {
    number: u64,
    close: CancellationToken,
}

impl Connected {
    fn enter(&self, device: &DeviceId, connection: &Connection) {
        let mut now = self.now.lock().expect("nothing panics while it holds the connections");
        now.insert(device.clone(), connection.clone());
    }
    fn leave(&self, device: &DeviceId, number: u64) {
        let mut now = self.now.lock().expect("nothing panics while it holds the connections");
        if now.get(device).is_some_and(|c| c.number == number) {
            now.remove(device);
            // The gateway ends only with the process.
            let _ = self.left.send(device.clone());
        }
    }
}

impl Broker {
    /// A broker without listeners. Devices that leave are told to `left`.
    #[must_use]
    pub fn new(
        store: Store,
        fleet: FleetId,
        max_clients: usize,
        left: mpsc::UnboundedSender<DeviceId>,
    ) -> Self {
        let storage = StorageConfig {
            backend: StorageBackend::Memory,
            enable_persistence: false,
            ..StorageConfig::default()
        };
        let config = BrokerConfig {
            bind_addresses: Vec::new(),
            max_clients: max_clients + 1,
            session_expiry_interval: Duration::ZERO,
            max_packet_size: MAX_PACKET_BYTES,
            topic_alias_maximum: 0,
            retain_available: false,
            maximum_qos: 1,
            wildcard_subscription_available: true,
            subscription_identifier_available: false,
            shared_subscription_available: true,
            max_subscriptions_per_client: 8,
            max_retained_messages: 1,
            max_retained_message_size: 1,
            client_channel_capacity: 1024,
            max_outbound_inflight: 256,
            drain_batch: 64,
            server_keep_alive: None,
            server_receive_maximum: Some(256),
            response_information: None,
            storage_config: storage,
            sys_topics_enabled: false,
            ..BrokerConfig::default()
        };
        // Rates are limited by identity in the gateway, where what is held back is sent again; the broker would drop.
        let resources = ResourceMonitor::new(ResourceLimits {
            max_connections: max_clients + 1,
            max_connections_per_ip: max_clients + 1,
            max_message_rate_per_client: 0,
            max_bandwidth_per_client: u64::MAX,
            max_connection_rate: u32::MAX,
            rate_limit_window: Duration::from_secs(60),
        });
        let queues = QueueLimits { max_messages: 10_000, max_bytes: 64 << 20 };
        Self {
            config: Arc::new(config),
            router: Arc::new(MessageRouter::new().with_fallback_queue_limits(queues)),
            stats: Arc::new(BrokerStats::new()),
            resources: Arc::new(resources),
            stopping: broadcast::channel(1).0,
            connected: Connected { now: Arc::default(), next: Arc::default(), left },
            store,
            fleet,
        }
    }

    /// Whether a device is connected now.
    #[must_use]
    pub fn is_connected(&self, device: &DeviceId) -> bool {
        let now = self.connected.now.lock().expect("nothing panics while it holds the connections");
        now.contains_key(device)
    }
    /// How many devices are connected now.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.connected.now.lock().expect("nothing panics while it holds the connections").len()
    }
    /// Closes a device's connection.
    pub fn disconnect(&self, device: &DeviceId) {
        let now = self.connected.now.lock().expect("nothing panics while it holds the connections");
        if let Some(connection) = now.get(device) {
            connection.close.cancel();
        }
    }
    /// Closes all connections.
    pub fn stop(&self) {
        // An error means that there are none.
        let _ = self.stopping.send(());
    }

    async fn handle(&self, transport: BrokerTransport, from: SocketAddr, auth: Arc<dyn AuthProvider>) {
        let handler = ClientHandler::new(
            transport,
            from,
            Arc::clone(&self.config),
            Arc::clone(&self.router),
            auth,
            None,
            Arc::clone(&self.stats),
            Arc::clone(&self.resources),
            self.stopping.subscribe(),
        );
        if let Err(error) = handler.run().await {
            tracing::debug!(%from, %error, "an MQTT connection ended");
        }
    }

    /// Serves devices until `stop`.
    pub async fn serve_devices(
        self,
        listener: TcpListener,
        tls: Arc<ServerConfig>,
        limits: Limits,
        stop: CancellationToken,
        tasks: TaskTracker,
    ) {
        accept::run(listener, tls, limits, stop, tasks, move |stream, from| {
            let broker = self.clone();
            async move {
                let Some(peer) = Peer::of(stream.get_ref().1.peer_certificates(), &broker.fleet) else {
                    return tracing::warn!(%from, "closed: the certificate names no device of this fleet");
                };
                let device = peer.device.clone();
                let number = broker.connected.next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                let connection = Connection { number, close: CancellationToken::new() };
                let close = connection.close.clone();
                let auth = DeviceAuth {
                    peer,
                    connection,
                    fleet: broker.fleet.clone(),
                    store: broker.store.clone(),
                    connected: broker.connected.clone(),
                };
                let transport = BrokerTransport::tls(TlsStreamWrapper::new(stream));
                tokio::select! {
                    () = broker.handle(transport, from, Arc::new(auth)) => {}
                    // The handler is dropped in the middle, so what it registered is taken back here.
                    () = close.cancelled() => broker.router.unregister_client(device.as_str()).await,
                }
                broker.connected.leave(&device, number);
            }
        })
        .await;
    }

    /// Serves this process's gateway until `stop`: on loopback, in plain text, for whoever knows `secret`.
    pub async fn serve_gateway(
        self,
        listener: TcpListener,
        secret: Arc<str>,
        stop: CancellationToken,
        tasks: TaskTracker,
    ) {
        accept::each(listener, stop, |stream, from| {
            let (broker, secret) = (self.clone(), Arc::clone(&secret));
            tasks.spawn(async move {
                let filter = Topic::up_filter(&broker.fleet, false);
                let auth = GatewayAuth { secret, filter, fleet: broker.fleet.clone() };
                broker.handle(BrokerTransport::tcp(stream), from, Arc::new(auth)).await;
            });
        })
        .await;
    }
}

/// Decides for one connection, which is one device.
struct DeviceAuth {
    peer: Peer,
    connection: Connection,
    fleet: FleetId,
    store: Store,
    connected: Connected,
}

impl DeviceAuth {
    async fn admit(&self, connect: &ConnectPacket) -> Result<(), &'static str> {
        if connect.client_id != self.peer.device.as_str() {
            return Err("the client id is not the device of the certificate");
        }
        if !connect.clean_start {
            return Err("sessions are not kept: connect with clean_session = true");
        }
        if let Some(will) = &connect.will {
            if !may_publish(&self.fleet, &self.peer.device, &will.topic) {
                return Err("the will is for a topic of another device");
            }
            if will.retain {
                return Err("the will is to be retained");
            }
        }
        match self.store.device_identity(&self.peer.device).await {
            Ok(Some(_)) if !self.peer.is_good(app::now()) => Err("its certificate is not good now"),
            Ok(Some(identity)) if identity.admits(&self.peer.cert_sha256) => {
                let next = identity.next_cert_sha256.as_ref();
                match enrol::shown(&self.store, &self.peer, next).await {
                    Ok(_) => Ok(()),
                    Err(error) => {
                        tracing::error!(%error, "cannot put a new certificate in place of the old one");
                        Err("the registry cannot be written")
                    }
                }
            }
            Ok(_) => Err("revoked, or it has a newer certificate"),
            Err(error) => {
                tracing::error!(%error, "cannot look up a device");
                Err("the registry cannot be read")
            }
        }
    }
}

/// A device publishes exactly on the known kinds of its own `up/`.
fn may_publish(fleet: &FleetId, device: &DeviceId, topic: &str) -> bool {
    matches!(Topic::parse(topic),
        Ok(Topic { fleet: f, device: d, direction: Direction::Up(_) }) if f == *fleet && d == *device)
}
/// A device subscribes to its own `down/`: one kind, `+` or `#`.
fn may_subscribe(fleet: &FleetId, device: &DeviceId, filter: &str) -> bool {
    let own = format!("ls/1/{fleet}/{device}/down/");
    match filter.strip_prefix(&own) {
        Some("+" | "#") => true,
        Some(_) => matches!(Topic::parse(filter), Ok(Topic { direction: Direction::Down(_), .. })),
        None => false,
    }
}

impl AuthProvider for DeviceAuth {
    fn authenticate<'a>(
        &'a self,
        connect: &'a ConnectPacket,
        from: SocketAddr,
    ) -> Answer<'a, mqtt5::error::Result<AuthResult>> {
        Box::pin(async move {
            match self.admit(connect).await {
                Ok(()) => {
                    self.connected.enter(&self.peer.device, &self.connection);
                    // A revocation between the look and the entry has closed what was there then: look once more.
                    if let Err(why) = self.admit(connect).await {
                        tracing::warn!(device = %self.peer.device, %from, why, "refused an MQTT connection");
                        return Ok(AuthResult::fail(ReasonCode::NotAuthorized));
                    }
                    Ok(AuthResult::success_with_user(self.peer.device.as_str()))
                }
                Err(why) => {
                    tracing::warn!(device = %self.peer.device, %from, why, "refused an MQTT connection");
                    Ok(AuthResult::fail(ReasonCode::NotAuthorized))
                }
            }
        })
    }
    fn authorize_publish<'a>(&'a self, _: &str, _: Option<&'a str>, topic: &'a str) -> Answer<'a, bool> {
        Box::pin(async move { may_publish(&self.fleet, &self.peer.device, topic) })
    }
    fn authorize_subscribe<'a>(&'a self, _: &str, _: Option<&'a str>, filter: &'a str) -> Answer<'a, bool> {
        Box::pin(async move { may_subscribe(&self.fleet, &self.peer.device, filter) })
    }
}

/// Decides for the loopback listener.
struct GatewayAuth {
    secret: Arc<str>,
    filter: String,
    fleet: FleetId,
}

impl AuthProvider for GatewayAuth {
    fn authenticate<'a>(
        &'a self,
        connect: &'a ConnectPacket,
        _: SocketAddr,
    ) -> Answer<'a, mqtt5::error::Result<AuthResult>> {
        Box::pin(async move {
            let password = connect.password.as_deref().unwrap_or_default();
            let known = connect.client_id == GATEWAY
                && connect.will.is_none()
                && bool::from(password.ct_eq(self.secret.as_bytes()));
            Ok(if known {
                AuthResult::success_with_user(GATEWAY)
            } else {
                tracing::warn!("somebody on this machine tried to be the gateway");
                AuthResult::fail(ReasonCode::NotAuthorized)
            })
        })
    }
    fn authorize_publish<'a>(&'a self, _: &str, _: Option<&'a str>, topic: &'a str) -> Answer<'a, bool> {
        Box::pin(async move {
            matches!(Topic::parse(topic),
                Ok(Topic { fleet, direction: Direction::Down(_), .. }) if fleet == self.fleet)
        })
    }
    fn authorize_subscribe<'a>(&'a self, _: &str, _: Option<&'a str>, filter: &'a str) -> Answer<'a, bool> {
        Box::pin(async move { filter == self.filter })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_publishes_only_its_own_known_topics() {
        let (f, d) = ("demo".parse().unwrap(), "dev-1".parse().unwrap());
        for kind in ["hello", "report", "windows", "events"] {
            assert!(may_publish(&f, &d, &format!("ls/1/demo/dev-1/up/{kind}")));
        }
        for topic in [
            "ls/1/demo/dev-2/up/hello",
            "ls/1/demo/dev-1/down/assign",
            "ls/1/other/dev-1/up/hello",
            "ls/1/demo/dev-1/up/other",
            "ls/1/demo/dev-1/up/hello/x",
            "$SYS/broker",
            "ls/1/demo/dev-1/up/../../dev-2/up/hello",
            "",
        ] {
            assert!(!may_publish(&f, &d, topic), "{topic}");
        }
    }
    #[test]
    fn a_device_subscribes_only_its_own_down() {
        let (f, d) = ("demo".parse().unwrap(), "dev-1".parse().unwrap());
        for filter in ["+", "#", "assign", "receipt"] {
            assert!(may_subscribe(&f, &d, &format!("ls/1/demo/dev-1/down/{filter}")));
        }
        for filter in [
            "#",
            "+/+/+/+/+/+",
            "ls/1/demo/+/down/#",
            "ls/1/demo/dev-2/down/#",
            "ls/1/demo/dev-1/up/#",
            "ls/1/demo/dev-1/#",
            "ls/1/demo/dev-1/down/x/#",
            "$share/g/ls/1/demo/dev-1/down/#",
            "$SYS/#",
        ] {
            assert!(!may_subscribe(&f, &d, filter), "{filter}");
        }
    }
}
