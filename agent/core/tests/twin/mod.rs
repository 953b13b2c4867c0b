//! A device in memory: the update core, a store that commits when it is told to, and a world that answers wishes.

#![allow(dead_code)]

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use longshore_agent_core::Moment;
use longshore_agent_core::assignment::{Device, reason};
use longshore_agent_core::update::{
    Batch, Config, FetchFailure, Input, ModelRecord, Output, RollbackTo, Updates, Write,
};
use longshore_agent_core::{TargetView, TargetsView};
use longshore_trust::{
    AssignmentVersion, Digest, Generation, ModelName, ReleaseCounter, Seq, SigningKey, StreamId, TimeQuality,
    UnixMs,
};
use longshore_wire::v1::{
    Assignment, Command, CommandAction, Commit, EventKind, Guard, Header, Mode, Probation, Reason, SCHEMA,
    Slot, TargetsVersion, TrialReport, UpdateState, open, seal,
};

pub const T0: UnixMs = UnixMs(1_800_000_000_000);

pub fn model() -> ModelName {
    "digits".parse().unwrap()
}
pub fn me() -> Device {
    Device { fleet: "demo".parse().unwrap(), device: "dev-1".parse().unwrap(), arch: "x86_64".into() }
}
pub fn bundle(n: u64) -> Digest {
    Digest::of(&n.to_be_bytes())
}
pub fn path(n: u64) -> String {
    format!("digits/{n}.0.0/manifest.json")
}
pub fn slot(n: u64) -> Slot {
    Slot {
        model: model(),
        manifest_path: path(n),
        sha256: bundle(n),
        length: 100 + n,
        release_counter: ReleaseCounter(n),
        mode: Mode::Active,
    }
}
pub fn assignment(version: u64, n: u64, commit: Commit) -> Assignment {
    Assignment {
        version: AssignmentVersion(version),
        generation: Generation(version),
        rollout: None,
        issued: T0,
        activate_by: T0.plus_ms(3_600_000),
        not_after: T0.plus_ms(7_200_000),
        probation: Probation { min_ms: 5_000, commit },
        guard: Guard { max_error_permille: 100, max_crashes: 1, ..Guard::default() },
        targets_versions: vec![TargetsVersion { role: "targets".into(), version: 1 }],
        slots: vec![slot(n)],
    }
}
pub fn header(stream: u64, seq: u64) -> Header {
    Header {
        schema: SCHEMA,
        fleet: me().fleet,
        device: me().device,
        stream: StreamId(stream),
        seq: Seq(seq),
        time: T0,
        time_quality: TimeQuality::Ntp,
    }
}
/// The same, to be run in shadow.
pub fn shadow(version: u64, n: u64) -> Assignment {
    let mut a = assignment(version, n, Commit::Local);
    a.slots[0].mode = Mode::Shadow;
    a
}
fn director() -> SigningKey {
    SigningKey::from_seed(&[9; 32])
}
pub fn assigned(header: Header, a: Assignment) -> Input {
    let bytes = seal(header, a, &director()).unwrap();
    Input::Assignment(open(&bytes, &director().public()).unwrap())
}
pub fn command(seq: u64, action: CommandAction) -> Input {
    let body = Command { not_before: T0, not_after: T0.plus_ms(86_400_000), action };
    command_with(header(1, seq), body)
}
pub fn command_with(header: Header, body: Command) -> Input {
    let bytes = seal(header, body, &director()).unwrap();
    Input::Command(open(&bytes, &director().public()).unwrap())
}
pub fn view() -> TargetsView {
    let targets = (1..=9)
        .map(|n| {
            let back = if n > 1 { vec![(bundle(n), bundle(n - 1))] } else { Vec::new() };
            let target = TargetView {
                length: 100 + n,
                sha256: bundle(n),
                release_counter: ReleaseCounter(n),
                rollback_ok: back,
                hw: Vec::new(),
            };
            (path(n), target)
        })
        .collect();
    TargetsView { versions: BTreeMap::from([("targets".into(), 3)]), targets }
}
pub fn trial() -> TrialReport {
    TrialReport { load_ms: 1, golden_rows: 2, deviations: Vec::new(), p50_us: 3, p99_us: 4, rss_kib: 5 }
}

/// What survives a crash.
#[derive(Debug, Default, Clone)]
pub struct Disk {
    pub models: BTreeMap<ModelName, ModelRecord>,
    pub assigned: AssignmentVersion,
    pub commanded: (u64, u64),
    pub reports: Vec<(Digest, UpdateState)>,
    /// Of each report, why.
    pub why: Vec<Option<Reason>>,
    pub events: Vec<EventKind>,
    pub staged: BTreeSet<Digest>,
    /// Commands acknowledged: number, models changed.
    pub obeyed: Vec<(u64, u32)>,
    pub wiping: Option<(u64, u64)>,
    pub floors: Vec<ReleaseCounter>,
    pub commits: u64,
}

impl Disk {
    fn commit(&mut self, batch: &Batch) {
        self.commits += 1;
        for w in &batch.writes {
            match w {
                Write::Record(r) => {
                    self.floors.push(r.floor);
                    self.models.insert(r.model.clone(), (**r).clone());
                }
                Write::Report(r) => {
                    self.reports.push((r.bundle, r.state));
                    self.why.push(r.why.clone());
                }
                Write::Assigned(v) => self.assigned = *v,
                Write::Commanded(e, s) => self.commanded = (*e, *s),
                Write::Event(e) => self.events.push(e.clone()),
                Write::Obeyed(o) => self.obeyed.push((o.seq.0, o.changed)),
                Write::Wiping(e, s) => self.wiping = Some((*e, *s)),
            }
        }
    }
}

pub struct Twin {
    pub core: Updates,
    pub disk: Disk,
    /// The clock that nobody sets.
    pub now: UnixMs,
    /// How far the other one is off, ms.
    pub leap_ms: i64,
    pub waiting: VecDeque<Batch>,
    pub wishes: VecDeque<Output>,
    pub wake: UnixMs,
    pub engine_up: bool,
    pub serving: Option<Digest>,
    /// What runs beside it.
    pub beside: Option<Digest>,
    pub bad: BTreeSet<Digest>,
    pub view: TargetsView,
}

impl Twin {
    pub fn new() -> Self {
        let mut twin = Self {
            core: Updates::restore(me(), Config::default(), AssignmentVersion(0), (0, 0), [], 1),
            disk: Disk::default(),
            now: T0,
            leap_ms: 0,
            waiting: VecDeque::new(),
            wishes: VecDeque::new(),
            wake: UnixMs(0),
            engine_up: false,
            serving: None,
            beside: None,
            bad: BTreeSet::new(),
            view: view(),
        };
        twin.feed(Input::Boot);
        twin.engine_up = true;
        twin.feed(Input::EngineUp);
        twin
    }
    /// Hands over one fact and collects wishes; nothing is committed and nothing done.
    pub fn feed(&mut self, input: Input) {
        let now = UnixMs(self.now.0.saturating_add_signed(self.leap_ms));
        self.core.handle(Moment { now, steady: self.now }, input);
        loop {
            match self.core.poll() {
                Output::WakeAt(t) => {
                    self.wake = t;
                    return;
                }
                Output::Persist(b) => self.waiting.push_back(b),
                wish => self.wishes.push_back(wish),
            }
        }
    }
    /// Commits the oldest transaction that waits.
    pub fn commit(&mut self) -> bool {
        let Some(batch) = self.waiting.pop_front() else { return false };
        self.disk.commit(&batch);
        self.feed(Input::Persisted(batch.token));
        true
    }
    /// Does the oldest wish, as a healthy world would.
    pub fn work(&mut self) -> bool {
        let Some(wish) = self.wishes.pop_front() else { return false };
        match wish {
            Output::Refresh(_) => {
                let view = self.view.clone();
                self.feed(Input::Targets(Ok(view)));
            }
            Output::Fetch(m, i) => {
                self.disk.staged.insert(i.bundle);
                self.feed(Input::Fetched(m, i.bundle, Ok(())));
            }
            Output::Trial(m, i) => {
                assert!(self.disk.staged.contains(&i.bundle), "a trial of something that is not complete");
                let result = if self.bad.contains(&i.bundle) {
                    Err(reason("trial.golden", "bad"))
                } else {
                    Ok(trial())
                };
                self.feed(Input::Tried(m, i.bundle, result));
            }
            Output::Serve(m, wanted) if self.engine_up => {
                self.serving = wanted.as_ref().map(|i| i.bundle);
                if let Some(b) = self.serving {
                    assert!(self.disk.staged.contains(&b), "something that is not complete is served");
                }
                let serving = self.serving;
                self.feed(Input::Serving(m, serving));
            }
            Output::Shadow(m, wanted) if self.engine_up => {
                self.beside = wanted.as_ref().map(|i| i.bundle);
                if let Some(b) = self.beside {
                    assert!(self.disk.staged.contains(&b), "something that is not complete runs beside");
                    self.feed(Input::Shadowing(m, b));
                }
            }
            _ => {}
        }
        true
    }
    /// Until nothing waits and nothing is wished.
    pub fn settle(&mut self) {
        for _ in 0..10_000 {
            if !self.commit() && !self.work() {
                return;
            }
        }
        panic!("it never settles");
    }
    /// Time passes in steps; everything due is done.
    pub fn pass(&mut self, ms: u64) {
        let end = self.now.plus_ms(ms);
        for _ in 0..10_000 {
            self.settle();
            let next = self.wake.min(end);
            self.now = self.now.max(next);
            self.feed(Input::Tick);
            self.settle();
            if self.now >= end {
                return;
            }
        }
        panic!("time stands still: the core asks to be woken in the past ({} at {})", self.wake, self.now);
    }
    /// The process dies: what was not committed is gone.
    pub fn crash(&mut self) {
        self.waiting.clear();
        self.wishes.clear();
        (self.serving, self.beside) = (None, None);
        let d = &self.disk;
        let models: Vec<ModelRecord> = d.models.values().cloned().collect();
        self.core = Updates::restore(me(), Config::default(), d.assigned, d.commanded, models, 2);
        self.engine_up = false;
        self.feed(Input::Boot);
        self.engine_up = true;
        self.feed(Input::EngineUp);
    }
    pub fn record(&self) -> &ModelRecord {
        self.core.model(&model()).expect("the model is known")
    }
    pub fn record_or_none(&self) -> Option<&ModelRecord> {
        self.core.model(&model())
    }
    pub fn states(&self, n: u64) -> Vec<UpdateState> {
        self.disk.reports.iter().filter(|(b, _)| *b == bundle(n)).map(|(_, s)| *s).collect()
    }
    pub fn install(&mut self, version: u64, n: u64) {
        let a = assignment(version, n, Commit::Local);
        self.feed(assigned(header(1, version), a));
        self.pass(6_000);
    }
    pub fn rolls_back_to(&self) -> Option<&RollbackTo> {
        self.record().update.as_ref()?.rollback()
    }
}

pub fn transient() -> FetchFailure {
    FetchFailure::Transient(reason("download.network", "gone"))
}
