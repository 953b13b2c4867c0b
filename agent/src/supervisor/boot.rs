//! Starting: configuration, lock, identity, database, what the last run left, sockets, link.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use longshore_agent_core::assignment::Device;
use longshore_agent_core::backoff::Jitter;
use longshore_agent_core::renewal::Renewals;
use longshore_agent_core::{Allowance, Backoff, Sync, Updates, sync, update};
use longshore_trust::{AssignmentVersion, StreamId};
use longshore_wire::Topic;
use longshore_wire::v1::EventKind;
use tracing_subscriber::{Layer as _, layer::SubscriberExt as _, util::SubscriberInitExt as _};

use super::event::{Happening, Queue};
use super::loads::Loads;
use super::serving::{Listeners, Serving};
use super::{Supervisor, Timers, clock, lock};
use crate::code::Code;
use crate::config::{Config, LogFormat};
use crate::fetch::{HttpError, Remote, load_trusted};
use crate::host::{self, notify};
use crate::identity::{self, Identity};
use crate::link::{MqttLink, MqttSettings};
use crate::store::{Store, StoreError};
use crate::wipe;

/// How long a dying engine of the last run may take.
const LOCK_PATIENCE: Duration = Duration::from_secs(5);

fn log(config: &Config) {
    let filter =
        config.log.level.parse::<tracing_subscriber::filter::Targets>().unwrap_or_else(|_| {
            tracing_subscriber::filter::Targets::new().with_default(tracing::Level::INFO)
        });
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_target(false);
    let lines = match config.log.format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.json().boxed(),
    };
    // A second start in one process (tests) keeps the first log.
    let _ = tracing_subscriber::registry().with(lines.with_filter(filter)).try_init();
}

fn make_dirs(config: &Config) -> anyhow::Result<()> {
    let (state, run) = (&config.state_dir, &config.run_dir);
    for dir in
        [state, &state.join("bundles"), &state.join("staging"), &state.join("trust"), run, &run.join("pages")]
    {
        fs::DirBuilder::new().recursive(true).mode(0o750).create(dir).with_context(|| {
            format!(
                "cannot make the directory {}; the agent's user must be able to write there",
                dir.display()
            )
        })?;
    }
    Ok(())
}

/// Binds the sockets of the local API.
fn listen(config: &Config) -> anyhow::Result<Listeners> {
    let socket = config.socket();
    // The lock is held: a socket that is there belongs to nobody.
    let _ = fs::remove_file(&socket);
    let unix = UnixListener::bind(&socket)
        .with_context(|| format!("cannot make the API socket {}", socket.display()))?;
    fs::set_permissions(&socket, fs::Permissions::from_mode(0o660))?;
    let tcp = match config.serve.listen {
        None => None,
        Some(address) => Some(TcpListener::bind(address).with_context(|| {
            format!("the port of serve.listen = \"{address}\" cannot be used: another program has it, or it is not allowed; choose another port")
        })?),
    };
    Ok(Listeners { unix: unix.into(), tcp: tcp.map(Into::into) })
}

/// The token for labels over TCP; empty when there is none, which turns them off.
fn feedback_token(config: &Config) -> anyhow::Result<String> {
    let Some(path) = &config.serve.feedback_token_file else { return Ok(String::new()) };
    let text = fs::read_to_string(path).with_context(|| {
        format!(
            "cannot read serve.feedback_token_file {}; write a long random token into it (mode 0600)",
            path.display()
        )
    })?;
    if text.trim().is_empty() {
        bail!("{} is empty: write a long random token into it", path.display());
    }
    Ok(text.trim().to_owned())
}

/// Signals and network on a thread of their own.
fn net(queue: Queue) -> anyhow::Result<tokio::runtime::Handle> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let handle = runtime.handle().clone();
    use tokio::signal::unix::{SignalKind, signal};
    let _guard = handle.enter();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut reload = signal(SignalKind::hangup())?;
    let signals = async move {
        loop {
            let happening = tokio::select! {
                _ = terminate.recv() => Happening::Terminate,
                _ = interrupt.recv() => Happening::Terminate,
                _ = reload.recv() => Happening::Reload,
            };
            if queue.send(happening).is_err() {
                return;
            }
        }
    };
    std::thread::Builder::new().name("net".into()).spawn(move || runtime.block_on(signals))?;
    Ok(handle)
}

fn enrolled(config: &Config) -> anyhow::Result<Identity> {
    Identity::load(&config.state_dir)?.with_context(|| {
        format!(
            "this device has not joined a fleet yet ({} holds no identity): run `longshore-agent enroll --token-file FILE`",
            config.state_dir.display()
        )
    })
}

/// What is left to do on a device that was decommissioned: the rest of its wipe, or nothing.
pub(super) fn wiped(config: &Config) -> anyhow::Result<Option<ExitCode>> {
    let state = &config.state_dir;
    if wipe::is_pending(state) {
        log(config);
        let _ = rustls::crypto::ring::default_provider().install_default();
        let _lock = lock::take(state, LOCK_PATIENCE)
            .context("another agent is running on this device while it is being wiped: stop it first")?;
        return wipe::run(config).map(Some);
    }
    let Some(left) = wipe::decommissioned(state) else { return Ok(None) };
    if identity::dir(state).join("enrolment.json").exists() {
        return Ok(None);
    }
    log(config);
    let name = left.device.map_or_else(|| "this device".to_owned(), |d| format!("this device, once {d},"));
    tracing::warn!("{name} was decommissioned and wiped: there is nothing to run. Enrol it with a new token");
    Ok(Some(ExitCode::SUCCESS))
}

/// HTTPS to the fleet, as this device.
pub(super) fn remote(me: &Identity) -> Result<Remote, HttpError> {
    Remote::new(&me.url, &me.ca_pem, &me.cert_pem, &me.key_pem)
}

/// MQTT to the fleet, as this device.
pub(super) fn link(
    net: &tokio::runtime::Handle,
    config: &Config,
    me: &Identity,
    queue: Queue,
) -> anyhow::Result<MqttLink> {
    let settings = MqttSettings {
        url: me.mqtt_url.clone(),
        client_id: me.device.to_string(),
        filter: Topic::down_filter(&me.fleet, &me.device),
        ca_pem: me.ca_pem.clone(),
        cert_pem: me.cert_pem.clone(),
        key_pem: me.key_pem.clone(),
        keep_alive: config.link.keep_alive,
        backoff: Backoff { first_ms: ms(config.link.retry_min), cap_ms: ms(config.link.retry_max) },
        spread: config.link.spread,
    };
    MqttLink::start(net, settings, u64::from_ne_bytes(host::random()), move |event| {
        // The receiver is gone only when the process ends.
        let _ = queue.send(Happening::Link(event));
    })
    .map_err(anyhow::Error::msg)
}

/// Prepares everything; the engine is not started yet.
pub(super) fn start(config_path: &Path) -> anyhow::Result<(Supervisor, Receiver<Happening>)> {
    let config = Config::load(config_path)?;
    log(&config);
    // Set once for all TLS of this process; a second start in one process finds it set.
    let _ = rustls::crypto::ring::default_provider().install_default();
    make_dirs(&config)?;
    let identity = enrolled(&config)?;
    let guard = lock::take(&config.state_dir, LOCK_PATIENCE).with_context(|| {
        format!(
            "another agent is running on {}: stop it first, or give this one its own state_dir",
            config.state_dir.display()
        )
    })?;
    let trusted = load_trusted(&config.state_dir.join("trust"))
        .context("the trust metadata of this device cannot be used; enrol it again with a new token")?;
    let listeners = listen(&config)?;
    let token = feedback_token(&config)?;

    let now = host::now().0.max(host::BUILT);
    let stream = StreamId(u64::from_ne_bytes(host::random()));
    let mut store = Store::open(&config.state_dir, stream, now)?;
    let last_end = match store.number("running")? {
        None => "first",
        Some(0) => "clean",
        Some(_) => "killed",
    };
    store.set_number("running", 1)?;
    store.event(now, &EventKind::AgentStart { last_end: last_end.into() })?;
    let boot_id = host::boot_id()?;
    let clock = clock::restore(&store, &trusted, boot_id)?;
    let director = store.number("director")?.unwrap_or(0);
    // An agent that never lives long enough to close a window must not fill the disk with its starts.
    if let Err(e) = store.enforce(&super::quota(&config), now) {
        tracing::error!("{e}");
    }
    let loads = Loads::take_up(&mut store, config.run_dir.join("pages"), boot_id, now)?;

    let restored = store.restored()?;
    let me = Device {
        fleet: identity.fleet.clone(),
        device: identity.device.clone(),
        arch: std::env::consts::ARCH.into(),
    };
    let margin = 15_000;
    let limits = update::Config { trial_ms: ms(config.limits.trial) + margin, ..update::Config::default() };
    let seed = || u64::from_ne_bytes(host::random());
    // What was meant for the board before this one is not for this one.
    let assigned = restored.assigned.max(AssignmentVersion(identity.assignments_after));
    let commanded = restored.commanded.max(identity.commands_after);
    let updates = Updates::restore(me, limits, assigned, commanded, restored.models, seed());
    let sync = Sync::restore(
        sync::Config::default(),
        store.stream(),
        restored.next,
        restored.receipted,
        &restored.unreceipted,
        restored.fleet_epoch,
        seed(),
    );

    let (queue, happenings) = channel();
    let net = net(queue.clone())?;
    let remote = remote(&identity)?;
    let link = link(&net, &config, &identity, queue.clone())?;
    let wiping = store
        .number("wipe_seq")?
        .map(|seq| Ok::<_, StoreError>((store.number("wipe_epoch")?.unwrap_or(0), seq)));
    let wiping = wiping.transpose()?;

    let at = Instant::now();
    let timers = Timers {
        journal: at + config.intervals.journal,
        window: at + config.intervals.window,
        health: at + Duration::from_secs(2).min(config.intervals.health),
        refresh: at + config.intervals.refresh,
        renewal: at,
        time: at,
        save: at,
        status: at,
        retry: None,
        watchdog: notify::watchdog_interval().map(|every| (at + every, every)),
    };
    tracing::info!(fleet = %identity.fleet, device = %identity.device, last_end, "agent started");
    let supervisor = Supervisor {
        serving: Serving::new(listeners, token),
        config_path: config_path.to_owned(),
        config,
        fleet: identity.fleet,
        device: identity.device,
        report_key: identity.report_key,
        store,
        updates,
        sync,
        trusted: Arc::new(trusted),
        remote,
        link: Box::new(link),
        link_up: false,
        link_since: now,
        link_error: None,
        link_failures: 0,
        renewals: Renewals::new(identity.life, seed()),
        renewing: false,
        wiping,
        loads,
        shifts: Default::default(),
        queue,
        inputs: Default::default(),
        feeding: false,
        sync_inputs: Default::default(),
        feeding_sync: false,
        wake: Default::default(),
        feedback: Vec::new(),
        fetching: Default::default(),
        trying: Default::default(),
        refresh: Default::default(),
        hints: Allowance::new(20, 10_000),
        unwritten: Default::default(),
        clock,
        director,
        jitter: Jitter::new(seed()),
        asking_time: false,
        started: now,
        boot: seed(),
        boot_id,
        sandbox: Vec::new(),
        code: Code::of_this_program(),
        refused_at: None,
        timers,
        stopping: None,
        farewell: false,
        status_dirty: true,
        _lock: guard,
        _net: net,
    };
    Ok((supervisor, happenings))
}

/// Whole milliseconds.
pub(super) fn ms(d: Duration) -> u64 {
    u64::try_from(d.as_millis()).unwrap_or(u64::MAX)
}
