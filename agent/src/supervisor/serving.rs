//! The serving engine: started, kept alive, told what should answer.

use std::collections::BTreeMap;
use std::os::fd::{AsFd as _, OwnedFd};
use std::time::{Duration, Instant};

use longshore_agent_core::assignment::reason;
use longshore_agent_core::guard::Sample;
use longshore_agent_core::update::{Input, Installed, NO_PAGE, Phase};
use longshore_trust::{Digest, ModelName};
use longshore_wire::v1::EventKind;

use super::Supervisor;
use super::event::Happening;
use super::heard;
use super::loads::{self, State};
use super::process::{Process, Told, program};
use super::sealed::{self, SealError, SealedBundle};
use crate::engine::protocol::{FromEngine, LoadId, LoadRequest, ServingLimits, ToEngine};
use crate::fetch::bundle_dir;
use crate::page::{Page, PageSpec};
use crate::store::Watched;

/// How often an engine is asked whether it is alive, and how long it may be silent.
const PING_EVERY: Duration = Duration::from_secs(10);
const SILENCE: Duration = Duration::from_secs(40);
/// Predictions that a page remembers for labels, until they are journalled.
const RING_ROWS: u32 = 8_192;
/// An engine that lived shorter than this died young; then the next one waits longer.
const YOUNG: Duration = Duration::from_secs(10);

/// The sockets of the local API: bound once, so that callers wait while an engine is started again.
#[derive(Debug)]
pub struct Listeners {
    /// The unix socket.
    pub unix: OwnedFd,
    /// Loopback TCP.
    pub tcp: Option<OwnedFd>,
}

/// The serving engine and what it is to serve.
#[derive(Debug)]
pub struct Serving {
    listeners: Listeners,
    feedback_token: String,
    process: Option<Process>,
    generation: u64,
    pub(super) ready: bool,
    pub(super) starts: u32,
    born: Instant,
    heard: Instant,
    pinged: Instant,
    died_young: u32,
    start_at: Option<Instant>,
    pub(super) wanted: BTreeMap<ModelName, Installed>,
    /// What is to run beside it.
    pub(super) beside: BTreeMap<ModelName, Installed>,
}

impl Serving {
    /// Not started.
    pub fn new(listeners: Listeners, feedback_token: String) -> Self {
        let now = Instant::now();
        Self {
            listeners,
            feedback_token,
            process: None,
            generation: 0,
            ready: false,
            starts: 0,
            born: now,
            heard: now,
            pinged: now,
            died_young: 0,
            start_at: None,
            wanted: BTreeMap::new(),
            beside: BTreeMap::new(),
        }
    }
    /// When it next wants attention.
    pub fn due(&self) -> Option<Instant> {
        match &self.process {
            Some(_) => Some(self.pinged + PING_EVERY),
            None => self.start_at,
        }
    }
    /// Its process id, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Process::pid)
    }
    /// Which engine this is, counted since the start.
    pub fn generation(&self) -> u64 {
        self.generation
    }
    /// Kills it.
    pub fn kill(&self) {
        if let Some(process) = &self.process {
            process.kill();
        }
    }
    /// Sends a packet; an engine that does not take it is killed, and what was to be said is settled by its successor.
    pub fn send(&self, packet: &ToEngine, fds: &[&OwnedFd]) {
        let Some(process) = &self.process else { return };
        let fds: Vec<_> = fds.iter().map(|f| f.as_fd()).collect();
        if let Err(e) = process.send(packet, &fds) {
            tracing::error!("the engine takes no packets ({e}); it is stopped");
            process.kill();
        }
    }
}

impl Supervisor {
    /// Starts the serving engine; failing to is tried again.
    pub(super) fn start_engine(&mut self) {
        let s = &mut self.serving;
        s.start_at = None;
        s.generation += 1;
        s.starts = s.starts.saturating_add(1);
        s.ready = false;
        (s.born, s.heard, s.pinged) = (Instant::now(), Instant::now(), Instant::now());
        let (queue, generation) = (self.queue.clone(), s.generation);
        let started = program().and_then(|program| {
            Process::start(&program, false, move |told| {
                // The receiver is gone only when the process ends.
                let _ = queue.send(Happening::Engine(generation, told));
            })
        });
        match started {
            Ok(process) => s.process = Some(process),
            Err(e) => {
                tracing::error!("the engine cannot be started: {e}");
                s.start_at = Some(Instant::now() + Duration::from_secs(1));
                return;
            }
        }
        let packet = ToEngine::Serve {
            tcp: s.listeners.tcp.is_some(),
            max_body_bytes: self.config.serve.max_body_bytes,
            queue: self.config.serve.queue,
            feedback_token: s.feedback_token.clone(),
            limits: ServingLimits {
                memory_bytes: self.config.serve_memory_bytes(crate::host::memory_kib()),
                request_ms: super::boot::ms(self.config.limits.request),
            },
        };
        let fds: Vec<&OwnedFd> = [&s.listeners.unix].into_iter().chain(&s.listeners.tcp).collect();
        s.send(&packet, &fds);
        self.status_dirty = true;
    }

    pub(super) fn tick_engine(&mut self, now: Instant) {
        if self.serving.start_at.is_some_and(|at| now >= at) && self.stopping.is_none() {
            self.start_engine();
        }
        let s = &mut self.serving;
        if let Some(process) = &s.process
            && now >= s.pinged + PING_EVERY
        {
            s.pinged = now;
            if now.duration_since(s.heard) > SILENCE {
                tracing::error!("the engine does not answer; it is stopped");
                process.kill();
            } else {
                s.send(&ToEngine::Ping(0), &[]);
            }
        }
    }

    pub(super) fn on_engine(&mut self, generation: u64, told: Told) {
        if generation != self.serving.generation {
            return;
        }
        self.serving.heard = Instant::now();
        match told {
            Told::Gone(ending) => self.engine_gone(&ending.detail),
            Told::Packet(packet) => self.on_packet(packet),
        }
    }

    fn on_packet(&mut self, packet: FromEngine) {
        match packet {
            FromEngine::Ready { sandbox } => {
                self.serving.ready = true;
                if self.sandbox != sandbox {
                    self.sandbox = sandbox;
                    self.report_inventory();
                }
                crate::host::notify::ready("serving");
                self.feed(Input::EngineUp);
            }
            FromEngine::Loaded { load, load_ms } => {
                let Some((model, bundle)) = self.loads.get(load).map(|l| (l.model.clone(), l.bundle)) else {
                    return;
                };
                tracing::info!(%model, bundle = bundle.short(), load_ms, "loaded");
                if self.loads.get(load).is_some_and(|l| l.in_shadow) {
                    self.shadow_loaded(load, &model, &bundle);
                } else if self.serving.wanted.get(&model).is_some_and(|w| w.bundle == bundle) {
                    self.serving.send(&ToEngine::Activate(load), &[]);
                } else {
                    self.serving.send(&ToEngine::Unload(load), &[]);
                }
            }
            FromEngine::LoadFailed { load, reason } => {
                let Some((model, bundle)) = self.loads.get(load).map(|l| (l.model.clone(), l.bundle)) else {
                    return;
                };
                let in_shadow = self.loads.get(load).is_some_and(|l| l.in_shadow);
                self.loads.leave(load);
                self.journal();
                let why = heard::reason(reason);
                self.feed(match in_shadow {
                    true => Input::ShadowFailed(model, bundle, why),
                    false => Input::ServeFailed(model, bundle, why),
                });
            }
            FromEngine::Activated(load) => self.on_activated(load),
            FromEngine::Shadowing(load) => self.on_shadowing(load),
            FromEngine::Unloaded(load) => {
                let model = self.loads.get(load).filter(|l| !l.in_shadow).map(|l| l.model.clone());
                self.loads.leave(load);
                self.journal();
                if let Some(model) = model.filter(|m| !self.serving.wanted.contains_key(m)) {
                    self.feed(Input::Serving(model, None));
                }
            }
            FromEngine::Explained { load, table } => self.loads.explained(load, &table),
            FromEngine::Query { id, query } => self.on_query(id, query),
            FromEngine::Trial(_) | FromEngine::Pong(_) => {}
        }
    }

    fn on_activated(&mut self, load: LoadId) {
        let Some((model, bundle)) = self.loads.get(load).map(|l| (l.model.clone(), l.bundle)) else { return };
        let before = self.loads.active(&model).map(|(id, l)| (id, l.bundle));
        if let Some(now) = self.loads.get_mut(load) {
            now.state = State::Active;
        }
        if let Some((old, _)) = before.filter(|(old, _)| *old != load) {
            if let Some(l) = self.loads.get_mut(old) {
                l.state = State::Leaving;
            }
            self.serving.send(&ToEngine::Unload(old), &[]);
        }
        self.journal();
        if let Some((_, old_bundle)) = before {
            self.close_windows(Some(&old_bundle));
        }
        tracing::info!(%model, bundle = bundle.short(), "serving");
        self.feed(Input::Serving(model, Some(bundle)));
    }

    fn engine_gone(&mut self, how: &str) {
        let s = &mut self.serving;
        s.process = None;
        s.ready = false;
        let blamed = loads::blame(self.loads.engine_died(), &self.on_trial());
        self.journal();
        self.status_dirty = true;
        if self.stopping.is_some() {
            return;
        }
        tracing::error!(how, blamed = blamed.map(|b| b.short()), "the engine died");
        let s = &mut self.serving;
        s.died_young = if s.born.elapsed() < YOUNG { s.died_young + 1 } else { 0 };
        let wait = match s.died_young {
            0..=2 => Duration::ZERO,
            3..=5 => Duration::from_secs(1),
            _ => Duration::from_secs(15),
        };
        s.start_at = Some(Instant::now() + wait);
        let crash = EventKind::EngineCrash { blamed, how: how.chars().take(200).collect() };
        let now = self.now();
        if let Err(e) = self.store.event(now, &crash) {
            tracing::error!("{e}");
        }
        self.feed_sync(longshore_agent_core::sync::Input::Backlog);
        self.feed(Input::EngineDown(blamed));
    }

    /// The core wants this bundle (or nothing) to answer for the model.
    pub(super) fn serve(&mut self, model: ModelName, wanted: Option<Installed>) {
        let active = self.loads.active(&model).map(|(id, l)| (id, l.bundle));
        let Some(wanted) = wanted else {
            self.serving.wanted.remove(&model);
            match active {
                Some((load, _)) => {
                    // From now on it does not count as what answers, should the same bundle be wanted again.
                    if let Some(l) = self.loads.get_mut(load) {
                        l.state = State::Leaving;
                    }
                    self.serving.send(&ToEngine::Unload(load), &[]);
                }
                None => self.feed(Input::Serving(model, None)),
            }
            return;
        };
        let bundle = wanted.bundle;
        self.serving.wanted.insert(model.clone(), wanted.clone());
        if active.is_some_and(|(_, b)| b == bundle) {
            return self.feed(Input::Serving(model, Some(bundle)));
        }
        if self.loads.loading(&model, &bundle, false) || !self.serving.ready {
            return;
        }
        self.prepare(model, wanted);
    }

    /// Copies a bundle into sealed memory, for the engine.
    pub(super) fn prepare(&mut self, model: ModelName, wanted: Installed) {
        let bundle = wanted.bundle;
        let dir = bundle_dir(&self.config.state_dir, &bundle);
        let generation = self.serving.generation;
        self.spawn("prepare", move || {
            let result = sealed::bundle(&dir, &bundle).map(Box::new);
            Happening::Prepared { generation, model, wanted: Box::new(wanted), result }
        });
    }

    pub(super) fn on_prepared(
        &mut self,
        generation: u64,
        model: &ModelName,
        wanted: &Installed,
        result: Result<Box<SealedBundle>, SealError>,
    ) {
        let still = self.serving.wanted.get(model).is_some_and(|w| w.bundle == wanted.bundle);
        // The same bundle never does both.
        let in_shadow = !still && self.serving.beside.get(model).is_some_and(|w| w.bundle == wanted.bundle);
        let loading = self.loads.loading(model, &wanted.bundle, in_shadow);
        let wished = still || in_shadow;
        if generation != self.serving.generation || self.serving.process.is_none() || !wished || loading {
            return;
        }
        let failed = match result {
            Ok(sealed) => self.hand_over(model, wanted, in_shadow, &sealed).err(),
            Err(e) => Some(reason("activate.verify", e.to_string())),
        };
        if let Some(why) = failed {
            tracing::error!(%model, bundle = wanted.bundle.short(), "{}", why.detail);
            let damaged = why.code == "activate.verify";
            if in_shadow {
                return self.feed(Input::ShadowFailed(model.clone(), wanted.bundle, why));
            }
            self.feed(Input::ServeFailed(model.clone(), wanted.bundle, why));
            if damaged {
                self.repair(model, wanted);
            }
        }
    }

    fn hand_over(
        &mut self,
        model: &ModelName,
        wanted: &Installed,
        in_shadow: bool,
        sealed: &SealedBundle,
    ) -> Result<(), longshore_wire::v1::Reason> {
        let broken = |e: &dyn std::fmt::Display| reason(NO_PAGE, e.to_string());
        let now = self.now();
        let shape = sealed.shape.clone()?;
        let watched = Watched::of(&sealed.manifest);
        let load = self.store.begin_load(model, &wanted.bundle, watched, now).map_err(|e| broken(&e))?;
        let spec = match in_shadow {
            true => PageSpec::in_shadow(load, &sealed.manifest, RING_ROWS, self.boot_id),
            false => PageSpec::of(load, &sealed.manifest, shape, RING_ROWS, self.boot_id),
        };
        let (page, page_fd) = Page::create(&self.loads.page_path(load), &spec).map_err(|e| {
            // Without a page there is nothing to lose; the row would only be a false gap.
            let _ = self.store.end_load(load);
            broken(&e)
        })?;
        let wish = Duration::from_secs(u64::from(sealed.manifest.monitor.window_s));
        self.loads.insert(load, model.clone(), wanted.bundle, page, wish);
        let packet = ToEngine::Load(LoadRequest {
            load,
            model: model.clone(),
            version: wanted.version.clone(),
            digest: wanted.bundle,
            files: sealed.paths.clone(),
        });
        let fds: Vec<&OwnedFd> = sealed.fds.iter().chain([&page_fd]).collect();
        self.serving.send(&packet, &fds);
        Ok(())
    }

    /// Makes counters durable.
    pub(super) fn journal(&mut self) {
        let now = self.now();
        if let Err(e) = self.loads.journal(&mut self.store, now) {
            tracing::error!("{e}; counters stay in their pages until the next time");
        }
        self.status_dirty = true;
    }

    /// Journals and closes windows (of one bundle, or all), then sees to what waits.
    pub(super) fn close_windows(&mut self, only: Option<&Digest>) {
        self.journal();
        self.loads.windows_closed(only, Instant::now());
        let now = self.now();
        let quota = super::quota(&self.config);
        let keep = u64::from(self.config.limits.prediction_rows);
        let done = self
            .store
            .close_windows(only, now)
            .and_then(|_| self.store.enforce(&quota, now))
            .and_then(|()| self.store.prune_predictions(keep));
        if let Err(e) = done {
            tracing::error!("{e}");
        }
        self.store.lay_ballast();
        self.feed_sync(longshore_agent_core::sync::Input::Backlog);
    }

    /// Bundles that serve, or begin to, and are not committed.
    fn on_trial(&self) -> Vec<Digest> {
        let uncommitted = self.updates.models().filter_map(|r| r.update.as_ref());
        let runs = |at: &Phase| {
            matches!(at, Phase::Shadowing { .. } | Phase::Activating { .. } | Phase::Probation { .. })
        };
        uncommitted.filter(|u| runs(&u.at)).map(|u| u.wanted.bundle.bundle).collect()
    }

    /// Shows the guard what candidates have done.
    pub(super) fn observe(&mut self) {
        let on_trial: Vec<(ModelName, Digest, Option<Digest>, bool)> = self
            .updates
            .models()
            .filter_map(|r| {
                let u = r.update.as_ref()?;
                let Phase::Probation { rollback, .. } = &u.at else { return None };
                let compared = u.wanted.guard.max_score_shift_permille > 0;
                Some((r.model.clone(), u.wanted.bundle.bundle, rollback.bundle().map(|b| b.bundle), compared))
            })
            .collect();
        if on_trial.is_empty() {
            self.shifts.clear();
        }
        for (model, bundle, before, compared) in on_trial {
            let Some(c) = self.loads.snapshot(&model, &bundle) else { continue };
            let sample = Sample {
                requests: c.requests,
                rows: c.rows,
                errors: c.errors,
                nan: c.nan,
                p99_us: c.latency_us.quantile(0.99).map(|v| v as u64),
                baseline_p99_us: before.and_then(|b| self.loads.p99_us(&b)),
                score_shift: before.filter(|_| compared).and_then(|b| self.score_shift(&bundle, &c, &b)),
            };
            self.feed(Input::Observed(model, bundle, sample));
        }
        self.observe_shadows();
    }
}
