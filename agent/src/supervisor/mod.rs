//! The supervisor: keys, network, database, decisions; it parses no model.
//!
//! One thread owns the database and both cores and does one thing after the other: it takes a happening from one
//! queue, hands it to a core, and does what the core wishes. Whatever waits (downloads, hashing, trials, refreshes,
//! reading from an engine) waits in a thread of its own and answers into the queue. Always true here: what a core
//! wishes to persist is committed before anything that depends on it is done.

mod act;
mod boot;
mod clock;
mod event;
mod heard;
mod loads;
pub(crate) mod lock;
mod metrics;
mod outbox;
mod process;
mod query;
mod renewal;
pub mod sealed;
mod serving;
mod shadow;
mod shift;
mod stop;
pub mod trial;

use std::collections::{BTreeMap, VecDeque};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use longshore_agent_core::backoff::Jitter;
use longshore_agent_core::renewal::Renewals;
use longshore_agent_core::update::{Batch, Input, NEVER};
use longshore_agent_core::{Allowance, Clock, Sync, Updates, sync};
use longshore_trust::tuf::Trusted;
use longshore_trust::{DeviceId, FleetId, ModelName, SigningKey, UnixMs};

use crate::code::Code;
use crate::config::Config;
use crate::engine::protocol::Label;
use crate::fetch::Remote;
use crate::host::notify;
use crate::link::Link;
use crate::store::Store;
use crate::wipe;
use event::{Happening, Queue};
use loads::Loads;
pub use process::program;
use serving::Serving;

/// Everything the supervisor holds.
pub struct Supervisor {
    config: Config,
    config_path: std::path::PathBuf,
    fleet: FleetId,
    device: DeviceId,
    report_key: SigningKey,
    store: Store,
    updates: Updates,
    sync: Sync,
    trusted: Arc<Trusted>,
    remote: Remote,
    link: Box<dyn Link>,
    link_up: bool,
    link_since: UnixMs,
    link_error: Option<String>,
    /// Attempts to connect that failed, one after the other.
    link_failures: u32,
    renewals: Renewals,
    /// An attempt to renew the certificate is under way.
    renewing: bool,
    /// The command by which this device is to be wiped.
    wiping: Option<(u64, u64)>,
    serving: Serving,
    loads: Loads,
    /// What the guard compares answers with, while something is on probation.
    shifts: shift::Baselines,
    queue: Queue,
    /// Facts on their way to the cores.
    inputs: VecDeque<Input>,
    feeding: bool,
    sync_inputs: VecDeque<sync::Input>,
    feeding_sync: bool,
    /// When update and sync core want to be woken, by [`Self::steady`].
    wake: (UnixMs, UnixMs),
    /// Labels that wait for the next transaction: engine, query, labels.
    feedback: Vec<(u64, u64, Vec<Label>)>,
    /// Downloads and trials in progress, to be told when nobody wants them.
    fetching: BTreeMap<ModelName, Arc<AtomicBool>>,
    trying: BTreeMap<ModelName, Arc<AtomicBool>>,
    refresh: Refreshing,
    /// Refreshes that anybody on the way can cause: doorbells, messages under a key that is not known.
    hints: Allowance,
    /// Batches that the database could not take yet; nothing overtakes them.
    unwritten: VecDeque<Batch>,
    clock: Clock,
    /// Id of the key that signed the last message of the director; 0 when there was none.
    director: u64,
    jitter: Jitter,
    /// The fleet has been asked for the time.
    asking_time: bool,
    started: UnixMs,
    boot: u64,
    boot_id: [u8; 16],
    sandbox: Vec<String>,
    code: Code,
    /// When a refused message was last recorded.
    refused_at: Option<Instant>,
    timers: Timers,
    stopping: Option<Instant>,
    /// The last windows were closed.
    farewell: bool,
    status_dirty: bool,
    _lock: std::fs::File,
    _net: tokio::runtime::Handle,
}

/// Refreshes of trust metadata.
#[derive(Debug, Default)]
struct Refreshing {
    /// What the newest offer wants to look at.
    offer: Vec<String>,
    /// What the refresh that runs looks at.
    running: Option<Vec<String>>,
    /// Another one is wanted after it.
    again: bool,
}

/// When regular things happen next.
#[derive(Debug)]
struct Timers {
    journal: Instant,
    window: Instant,
    health: Instant,
    refresh: Instant,
    renewal: Instant,
    time: Instant,
    save: Instant,
    status: Instant,
    retry: Option<Instant>,
    watchdog: Option<(Instant, Duration)>,
}

/// `longshore-agent run`.
///
/// # Errors
/// Why the service cannot start, or had to end.
pub fn run(config_path: &Path) -> anyhow::Result<ExitCode> {
    let config = Config::load(config_path)?;
    if let Some(ended) = boot::wiped(&config)? {
        return Ok(ended);
    }
    let (mut supervisor, happenings) = boot::start(config_path)?;
    // A wipe that was written down and not begun comes before everything else.
    if supervisor.wiping.is_some() {
        supervisor.finish();
    } else {
        supervisor.turn(&happenings);
    }
    match supervisor.wiping {
        None => Ok(ExitCode::SUCCESS),
        Some((epoch, seq)) => {
            wipe::ask(&config.state_dir, epoch, seq)?;
            // Threads, sockets, lock: all of it ends here, and the wipe begins in a process of its own.
            drop(supervisor);
            Err(std::process::Command::new(process::program()?)
                .args(std::env::args_os().skip(1))
                .exec()
                .into())
        }
    }
}

/// What may wait unsealed.
fn quota(config: &Config) -> crate::store::Quota {
    crate::store::Quota { window_bytes: config.limits.buffer_bytes, reports: 5_000 }
}

impl Supervisor {
    /// The main loop.
    fn turn(&mut self, happenings: &Receiver<Happening>) {
        self.feed(Input::Boot);
        self.start_engine();
        while !self.is_over() {
            let wait = self.next_due().saturating_duration_since(Instant::now());
            match happenings.recv_timeout(wait) {
                Ok(first) => {
                    self.happen(first);
                    // What waits already is done in one go, so that labels share transactions.
                    for more in happenings.try_iter().take(64) {
                        self.happen(more);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                // This value holds a sender itself.
                Err(RecvTimeoutError::Disconnected) => break,
            }
            self.answer_feedback();
            self.tick();
        }
        self.finish();
    }

    fn next_due(&self) -> Instant {
        let from_core = |now: UnixMs, at: UnixMs| {
            let wait = if at == NEVER { 3_600_000 } else { at.since(now).min(3_600_000) };
            Instant::now() + Duration::from_millis(wait)
        };
        let steady = self.steady();
        let (update, sync) = (from_core(steady, self.wake.0), from_core(steady, self.wake.1));
        let t = &self.timers;
        let soon = Instant::now() + Duration::from_millis(if self.on_probation() { 500 } else { 3_600_000 });
        [t.journal, t.window, t.health, t.refresh, t.renewal, t.save, update, sync, soon]
            .into_iter()
            .chain((self.link_up && !self.asking_time).then_some(t.time))
            .chain(t.retry)
            .chain(self.loads.next_window(self.config.intervals.journal).map(|(_, at)| at))
            .chain(t.watchdog.map(|(at, _)| at))
            .chain(self.status_dirty.then_some(t.status))
            .chain(self.serving.due())
            .chain(self.stopping.map(|_| Instant::now() + Duration::from_millis(50)))
            .min()
            .unwrap_or(t.journal)
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Link(event) => self.on_link(event),
            Happening::Terminate => self.stop(),
            Happening::Reload => self.reload(),
            Happening::Engine(generation, told) => self.on_engine(generation, told),
            Happening::Prepared { generation, model, wanted, result } => {
                self.on_prepared(generation, &model, &wanted, result);
            }
            Happening::Fetched(model, bundle, result) => self.on_fetched(model, bundle, result),
            Happening::Tried(model, bundle, result) => {
                // Nobody waits for a trial that was cancelled; another one of the same bundle may be running.
                if !matches!(&result, Err(why) if why.code == trial::CANCELLED) {
                    self.trying.remove(&model);
                    self.feed(Input::Tried(model, bundle, result));
                }
            }
            Happening::Refreshed(result) => self.on_refreshed(result),
            Happening::Renewed(result) => self.on_renewed(result),
            Happening::Time(reply) => self.on_time(reply),
        }
    }

    /// What is due.
    fn tick(&mut self) {
        let now = Instant::now();
        if now >= self.timers.journal {
            self.timers.journal = now + self.config.intervals.journal;
            self.journal();
        }
        if now >= self.timers.window {
            self.timers.window = now + self.config.intervals.window;
            self.close_windows(None);
        }
        // Authors may want shorter windows than the configuration, never longer ones.
        let full = self.loads.next_window(self.config.intervals.journal);
        if let Some((bundle, _)) = full.filter(|(_, at)| now >= *at) {
            self.close_windows(Some(&bundle));
        }
        if now >= self.timers.health {
            self.timers.health = now + self.config.intervals.health;
            self.report_health();
        }
        if now >= self.timers.refresh {
            self.timers.refresh = now + self.config.intervals.refresh;
            self.start_refresh();
        }
        if let Some((at, every)) = self.timers.watchdog
            && now >= at
        {
            notify::watchdog();
            self.timers.watchdog = Some((now + every, every));
        }
        if self.timers.retry.is_some_and(|at| now >= at) {
            self.timers.retry = None;
            self.write_waiting();
        }
        self.tick_renewal(now);
        self.tick_clock(now);
        self.observe();
        self.tick_engine(now);
        self.feed(Input::Tick);
        self.feed_sync(sync::Input::Tick);
        if self.status_dirty && now >= self.timers.status {
            self.timers.status = now + Duration::from_millis(500);
            self.write_status();
        }
    }
}
