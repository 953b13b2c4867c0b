//! One running server: opens the data directory, binds every port, starts every part, and ends them again.
//!
//! What always holds: all ports are bound before anything is served, so a port in use is an error message and not half a
//! server; when [`Running::stop`] has returned, everything that was answered is on the disk.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::accept::{self, Limits, ListenError};
use crate::app::{self, App, Shared};
use crate::config::{Broker as BrokerConfig, Config};
use crate::gateway::{self, Broker, Ends, Link};
use crate::init::{self, DataDir, DataError, Opened};
use crate::objects::ObjectDir;
use crate::store;
use crate::tls::{Clients, TlsError};
use crate::{device_plane, jobs, operator_plane};

/// How often the online roles are looked at.
const TRUST_TICK: Duration = Duration::from_secs(600);
/// How often what people must sign soon is named in the log, in ticks: twice a day.
const WARN_EVERY: u32 = 72;
/// How long parts may take to end.
const END: Duration = Duration::from_secs(10);

/// Why the server did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data directory.
    #[error(transparent)]
    Data(#[from] DataError),
    /// A port.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// Certificates.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The first administrator.
    #[error("cannot make the first administrator: {0}")]
    Auth(#[from] crate::auth::AuthError),
}

impl From<store::StoreError> for StartError {
    fn from(e: store::StoreError) -> Self {
        Self::Data(e.into())
    }
}

/// A server that runs.
pub struct Running {
    /// Its parts.
    pub app: Shared,
    /// Where console and API are.
    pub operator: SocketAddr,
    /// Where devices find HTTPS.
    pub device: SocketAddr,
    /// Where devices find MQTT; `None` with a broker elsewhere.
    pub mqtt: Option<SocketAddr>,
    /// The password of the administrator that was just made, if one was.
    pub first_password: Option<String>,
    broker: Option<Broker>,
    tasks: TaskTracker,
    _lock: std::fs::File,
}

/// Starts a server on an initialised data directory.
///
/// # Errors
/// [`StartError`]; nothing is left running then.
pub async fn start(data: &DataDir, config: Config) -> Result<Running, StartError> {
    let Opened { lock, store, trust, director, audit, ca, fleet, events, gateway, asks } =
        init::open(data, &config).await?;
    let operator = accept::listen(config.operator_listen, "operator_listen").await?;
    let device = accept::listen(config.device_listen, "device_listen").await?;
    let mqtt = match config.broker {
        BrokerConfig::Embedded => Some(accept::listen(config.mqtt_listen, "mqtt_listen").await?),
        BrokerConfig::External { .. } => None,
    };
    let objects = ObjectDir::open(&data.objects()).map_err(init::io("open", &data.objects()))?;
    crate::monitor::store_missing_shapes(&store, &objects).await?;
    note_configuration(&store, &config).await?;
    let first_password = first_admin(&store).await?;
    let mut tx = store.write().await?;
    store::device::set_all_offline(&mut tx).await?;
    tx.commit().await?;
    trust.refresh(app::now()).await.map_err(DataError::from)?;

    let addresses = (address(&operator)?, address(&device)?);
    let mqtt_address = mqtt.as_ref().map(address).transpose()?;
    let app: Shared = Arc::new(App {
        store,
        events,
        gateway,
        trust,
        objects,
        director,
        audit,
        config,
        fleet,
        stop: CancellationToken::new(),
    });
    let tasks = TaskTracker::new();
    let ca = Arc::new(ca);
    let server = ca.issue_server(&hosts(&app.config.public_host))?;
    let optional_tls = ca.server_config(&server, Clients::Anybody)?;
    let required_tls = ca.server_config(&server, Clients::Devices)?;

    let (left_tx, left) = tokio::sync::mpsc::unbounded_channel();
    let (link, broker) = match (mqtt, &app.config.broker) {
        (Some(listener), _) => {
            let clients = app.config.limits.mqtt_connections;
            let broker = Broker::new(app.store.clone(), app.fleet.clone(), clients, left_tx);
            let limits = limits(&app.config, clients);
            tasks.spawn(broker.clone().serve_devices(
                listener,
                required_tls,
                limits,
                app.stop.clone(),
                tasks.clone(),
            ));
            (embedded_link(&app, &broker, &tasks).await?, Some(broker))
        }
        (None, BrokerConfig::External { host, port }) => {
            let tls = ca.client_config(&ca.issue_gateway(&app.fleet)?)?;
            let link = Link::External { host: host.clone(), port: *port, tls };
            (link, None)
        }
        (None, BrokerConfig::Embedded) => unreachable!("the embedded broker has a listener"),
    };
    let ends = Ends { asks, left, broker: broker.clone() };
    gateway::spawn(&app, &link, ends, &tasks);
    let mqtt_url = mqtt_url(&app.config, mqtt_address);
    let connections = app.config.limits.device_connections;
    tasks.spawn(device_plane::serve(
        device,
        optional_tls,
        limits(&app.config, connections),
        device_plane::router(Arc::clone(&app), Arc::clone(&ca), &mqtt_url),
        app.fleet.clone(),
        app.stop.clone(),
        tasks.clone(),
    ));
    let routes = operator_plane::router(Arc::clone(&app));
    tasks.spawn(operator_plane::serve(operator, routes, app.stop.clone(), tasks.clone()));
    tasks.spawn(keep_trust_fresh(Arc::clone(&app)));
    tasks.spawn(crate::audit::run(Arc::clone(&app)));
    jobs::spawn(Arc::clone(&app));
    tracing::info!(
        fleet = %app.fleet,
        epoch = app.director.epoch(),
        operator = %addresses.0,
        device = %addresses.1,
        mqtt = mqtt_url,
        "the fleet server runs"
    );
    Ok(Running {
        app,
        operator: addresses.0,
        device: addresses.1,
        mqtt: mqtt_address,
        first_password,
        broker,
        tasks,
        _lock: lock,
    })
}

impl Running {
    /// Ends all parts and closes the database.
    pub async fn stop(self) {
        self.app.stop.cancel();
        if let Some(broker) = &self.broker {
            broker.stop();
        }
        self.tasks.close();
        if tokio::time::timeout(END, self.tasks.wait()).await.is_err() {
            tracing::warn!(tasks = self.tasks.len(), "some connections did not end in time");
        }
        self.app.store.close().await;
        tracing::info!("the fleet server has stopped");
    }
}

/// A loopback listener for the gateway and a secret that lives as long as this process.
async fn embedded_link(app: &Shared, broker: &Broker, tasks: &TaskTracker) -> Result<Link, StartError> {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let listener = accept::listen(any, "mqtt_listen").await?;
    let port = address(&listener)?.port();
    let mut secret = [0u8; 32];
    getrandom::fill(&mut secret).expect("the operating system has a random source");
    let secret: Arc<str> = hex::encode(secret).into();
    let serving =
        broker.clone().serve_gateway(listener, Arc::clone(&secret), app.stop.clone(), tasks.clone());
    tasks.spawn(serving);
    Ok(Link::Embedded { port, secret })
}

fn address(listener: &TcpListener) -> Result<SocketAddr, StartError> {
    Ok(listener
        .local_addr()
        .map_err(init::io("ask for the address of", std::path::Path::new("a listener")))?)
}

fn limits(config: &Config, connections: usize) -> Limits {
    Limits {
        connections,
        handshakes: connections.min(512),
        handshake: Duration::from_secs(config.limits.handshake_s),
    }
}

/// Names under which this server's certificate is valid.
fn hosts(public_host: &str) -> Vec<String> {
    let mut hosts: Vec<String> = ["localhost", "127.0.0.1", "::1"].map(str::to_owned).into();
    if !hosts.iter().any(|h| h == public_host) {
        hosts.push(public_host.to_owned());
    }
    hosts
}

/// Where devices find MQTT.
fn mqtt_url(config: &Config, embedded: Option<SocketAddr>) -> String {
    match (&config.broker, embedded) {
        (_, Some(address)) => format!("mqtts://{}:{}", config.public_host, address.port()),
        (broker, None) => String::from(broker.clone()),
    }
}

async fn keep_trust_fresh(app: Shared) {
    let mut tick = tokio::time::interval(TRUST_TICK);
    for turn in (0..WARN_EVERY).cycle() {
        tokio::select! {
            () = app.stop.cancelled() => return,
            _ = tick.tick() => {}
        }
        if let Err(error) = app.trust.refresh(app::now()).await {
            tracing::error!(%error, "cannot sign fresh trust metadata; devices take no new bundles when it expires");
        }
        if turn == 0
            && let Err(error) = app.trust.warn_of_expiry(app::now()).await
        {
            tracing::error!(%error, "cannot read when trust metadata expires");
        }
    }
}

/// Writes into the log that the server runs under another configuration than before.
async fn note_configuration(store: &store::Store, config: &Config) -> Result<(), store::StoreError> {
    let text = toml::to_string(config).unwrap_or_default();
    let digest = longshore_trust::Digest::of(text.as_bytes()).to_hex();
    let mut tx = store.write().await?;
    let before = store::get_meta(&mut tx, "config").await?;
    if before.as_deref() == Some(&digest) {
        return Ok(());
    }
    let was = before.unwrap_or_else(|| "none".into());
    let detail = format!("SHA-256 of what is in effect: {digest}, before: {was}");
    store::set_meta(&mut tx, "config", &digest).await?;
    store::audit::record(&mut tx, app::now(), "server", "config.change", "configuration", &detail).await?;
    tx.commit().await
}

/// Makes `admin` with a random password when there is nobody yet.
async fn first_admin(store: &store::Store) -> Result<Option<String>, StartError> {
    if store.people().await? > 0 {
        return Ok(None);
    }
    let password = random_password();
    crate::auth::create_admin(store, "admin", &password, app::now()).await?;
    Ok(Some(password))
}

/// 120 random bits, in letters and digits that are not mistaken for each other.
#[must_use]
pub fn random_password() -> String {
    const LETTERS: &[u8; 32] = b"abcdefghjkmnpqrstuvwxyz234567893";
    let mut bytes = [0u8; 24];
    getrandom::fill(&mut bytes).expect("the operating system has a random source");
    bytes.iter().map(|b| char::from(LETTERS[usize::from(b % 32)])).collect()
}
