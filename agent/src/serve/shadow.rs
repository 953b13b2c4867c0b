//! A candidate beside what answers: it sees the rows of requests that have been answered, on one thread of the lowest
//! priority and under a budget of processor time, and nobody ever waits for it.
//!
//! Always true here: what a candidate makes of a row is counted and forgotten, never sent; a request's rows are compared or
//! counted as skipped; what waits is bounded in number and bytes; a run that does not end is given up, and the candidate
//! with it.

mod beside;

use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{Receiver, Sender, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use longshore_bundle::Tensor;
use longshore_runtime::Prediction;
use longshore_stats::shadow::{Compared, DIFFERENCE_STEP};

use super::models::{Models, Served};
use crate::engine::load::reason;
use crate::engine::protocol::{FromEngine, LoadId};
use crate::page::{NO_CLASS, ShadowOutcome};

pub use beside::{Beside, Owed};

/// Requests that wait; more are skipped.
const QUEUE: usize = 8;
/// Bytes of inputs that wait; a request alone in the queue may have more.
const QUEUE_BYTES: usize = 4 << 20;
/// Longest rest after one run.
const REST_MAX: Duration = Duration::from_secs(60);
/// The lowest priority there is.
const NICE: i32 = 19;
/// Numbers this close, relatively, are the same answer where a regression declares no unit of error.
const SAME: f64 = 1e-6;
/// A run may take as long as any request, and so many times the processor time of the answer: a busy core leaves the lowest
/// priority a seventieth of itself.
const PATIENCE: u32 = 200;
/// Code of a candidate whose run does not end.
const STALLED: &str = "engine.stalled";

/// The rows of one answered request.
pub struct Job {
    /// What becomes of them, and the candidate.
    pub owed: Owed,
    /// What answered.
    pub active: Weak<Served>,
    /// The load that answered, and its number of the first row.
    pub answered: (LoadId, u64),
    /// The request's inputs.
    pub inputs: Vec<Tensor>,
    /// What was answered.
    pub answers: Vec<Prediction>,
    /// Processor time of the answer's run, microseconds.
    pub active_us: u64,
}

/// Where answered requests are handed in.
#[derive(Debug)]
pub struct Shadows {
    lane: Mutex<Lane>,
    /// Longest computation of one request.
    longest: Duration,
    outbox: Sender<FromEngine>,
}

/// A thread and its queue. No computation can be stopped: a thread that does not come back is left with its lane.
#[derive(Debug, Clone)]
struct Lane {
    jobs: SyncSender<(usize, Job)>,
    shared: Arc<Shared>,
}

/// What the thread and whoever watches it know.
#[derive(Debug)]
struct Shared {
    queue: Mutex<Receiver<(usize, Job)>>,
    /// Bytes that wait.
    bytes: AtomicUsize,
    /// Taken away by whoever counts it: the thread that comes back, or the one that gave it up.
    running: Mutex<Option<Running>>,
}

/// The request that is being run.
#[derive(Debug)]
struct Running {
    owed: Owed,
    beside: Arc<Beside>,
    rows: u64,
    since: Instant,
    /// As long as it may take.
    longest: Duration,
}

impl Lane {
    fn start(longest: Duration) -> std::io::Result<Self> {
        let (jobs, receiver) = sync_channel(QUEUE);
        let (queue, bytes, running) = (Mutex::new(receiver), AtomicUsize::new(0), Mutex::new(None));
        let shared = Arc::new(Shared { queue, bytes, running });
        let its = Arc::clone(&shared);
        std::thread::Builder::new().name("shadow".into()).spawn(move || work(&its, longest))?;
        Ok(Self { jobs, shared })
    }
}

impl Shadows {
    /// Starts the thread. A request may take as long as `longest`.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(longest: Duration, outbox: Sender<FromEngine>) -> std::io::Result<Self> {
        Ok(Self { lane: Mutex::new(Lane::start(longest)?), longest, outbox })
    }
    fn lane(&self) -> Lane {
        self.lane.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
    /// Offers a request; never waits. What has no room is skipped.
    pub fn offer(&self, job: Job) {
        let Lane { jobs, shared } = self.lane();
        let bytes = job.inputs.iter().map(|t| t.data.len()).sum::<usize>().max(1);
        let before = shared.bytes.fetch_add(bytes, Relaxed);
        let fits = before == 0 || before.saturating_add(bytes) <= QUEUE_BYTES;
        if !fits || jobs.try_send((bytes, job)).is_err() {
            shared.bytes.fetch_sub(bytes, Relaxed);
        }
    }
    /// Gives up a candidate whose run has not ended by `now` though it should have: its rows have failed, the load is
    /// forgotten and the supervisor told. What its thread holds is held until the engine ends.
    pub fn look(&self, models: &Models, now: Instant) {
        let lane = self.lane();
        // A thread of the lowest priority may hold the lock for long: then it has come back, or is seen the next time.
        let Ok(mut running) = lane.shared.running.try_lock() else { return };
        let late = |r: &mut Running| now.saturating_duration_since(r.since) > r.longest;
        let Some(Running { mut owed, beside, rows, longest, .. }) = running.take_if(late) else { return };
        drop(running);
        if let Ok(new) = Lane::start(self.longest) {
            *self.lane.lock().unwrap_or_else(PoisonError::into_inner) = new;
        }
        lane.skip_all();
        owed.settle();
        beside.record(ShadowOutcome { errors: rows, ..ShadowOutcome::default() });
        let load = beside.served.load;
        drop(beside);
        // Unknown when the supervisor wants it no more; it waits for its end all the same.
        let _ = models.unload(load);
        let detail = format!("it was not through a request of {rows} rows after {} s", longest.as_secs());
        // When nobody listens any more the engine is ending.
        let _ = self.outbox.send(FromEngine::LoadFailed { load, reason: reason(STALLED, detail) });
    }
    /// The engine ends: what was not compared by now is skipped.
    pub fn end(&self, models: &Models) {
        let lane = self.lane();
        drop(lane.shared.running.try_lock().ok().and_then(|mut running| running.take()));
        lane.skip_all();
        models.end_shadows();
    }
}

impl Lane {
    /// Nothing of what waits is run.
    fn skip_all(&self) {
        // A thread that has the lock waits for a request: there is none.
        let Ok(queue) = self.shared.queue.try_lock() else { return };
        queue.try_iter().for_each(drop);
    }
}

/// Processor time this thread has used.
#[must_use]
pub fn used() -> Duration {
    let t = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(u64::try_from(t.tv_sec).unwrap_or(0), u32::try_from(t.tv_nsec).unwrap_or(0))
}

fn micros(d: Duration) -> u64 {
    u64::try_from(d.as_micros()).unwrap_or(u64::MAX)
}

fn work(shared: &Shared, longest: Duration) {
    // Refused only where priorities cannot be lowered at all; the budget holds all the same.
    let _ = rustix::process::setpriority_process(None, NICE);
    loop {
        let next = shared.queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok((bytes, job)) = next else { return };
        let done = run(job, &shared.running, longest);
        shared.bytes.fetch_sub(bytes, Relaxed);
        match done {
            Done::Nothing => {}
            Done::TooLate => return,
            Done::Rest(beside, rest) => {
                // Rows that come during the rest find no room, and are skipped: that is the budget.
                std::thread::sleep(rest);
                beside.upgrade().into_iter().for_each(|b| b.record(ShadowOutcome::default()));
            }
        }
    }
}

/// What became of a job.
enum Done {
    /// Its candidate, or what answered, is gone.
    Nothing,
    /// It was given up, and is counted.
    TooLate,
    /// It is counted; how long to rest so that the budget is kept.
    Rest(Weak<Beside>, Duration),
}

/// Runs one request in shadow.
fn run(job: Job, running: &Mutex<Option<Running>>, longest: Duration) -> Done {
    let Job { owed, active, answered, inputs, answers: given, active_us } = job;
    let Some((beside, active)) = owed.beside().zip(active.upgrade()) else { return Done::Nothing };
    let (before, since) = (used(), Instant::now());
    let candidate = Arc::clone(&beside.served);
    let rows = given.len();
    let longest = longest.saturating_add(Duration::from_micros(active_us).saturating_mul(PATIENCE));
    *running.lock().unwrap_or_else(PoisonError::into_inner) =
        Some(Running { owed, beside, rows: rows as u64, since, longest });
    let run = || {
        // The candidate may take other inputs than what serves, and then it fails.
        let found = candidate.model.rows(&inputs).ok()?;
        let _mark = candidate.page().enter();
        let outputs = candidate.model.run(&inputs).ok()?;
        (found == rows).then(|| candidate.model.predictions(rows, &outputs))
    };
    let answers = run();
    // Its own time, as that of what serves: how busy the device is says nothing about either.
    let cost = used().saturating_sub(before);
    let Some(Running { mut owed, beside, .. }) =
        running.lock().unwrap_or_else(PoisonError::into_inner).take()
    else {
        return Done::TooLate;
    };
    owed.settle();
    match answers {
        None => beside.record(ShadowOutcome { errors: rows as u64, ..ShadowOutcome::default() }),
        Some(answers) => {
            let both = given.iter().zip(&answers);
            let (compared, classes): (Vec<_>, Vec<_>) =
                both.map(|(a, c)| compare(&active, &candidate, a, c)).unzip();
            // Labels of a regression are no classes that could be right.
            let labelled = !candidate.manifest.monitor.classes.is_empty();
            beside.record(ShadowOutcome {
                rows: &compared,
                answers: if labelled { &classes } else { &[] },
                answered: (answered.0.0, answered.1),
                errors: 0,
                skipped: 0,
                active_us,
                candidate_us: micros(cost),
            });
        }
    }
    let spent = if cost.is_zero() { since.elapsed() } else { used().saturating_sub(before) };
    let share = f64::from(beside.permille) / 1000.0;
    Done::Rest(Arc::downgrade(&beside), spent.mul_f64(1.0 / share - 1.0).min(REST_MAX))
}

/// One row, and the candidate's class as the active bundle numbers it. Classes are compared by name: a candidate may have
/// more of them, or in another order.
fn compare(active: &Served, candidate: &Served, a: &Prediction, c: &Prediction) -> (Compared, u32) {
    let (ours, theirs) = (&active.manifest.monitor, &candidate.manifest.monitor);
    let place = |class: Option<u32>, from: &[String], to: &[String]| {
        let name = from.get(class? as usize)?;
        if to.get(class? as usize) == Some(name) {
            return class;
        }
        to.iter().position(|n| n == name).and_then(|at| u32::try_from(at).ok())
    };
    let difference = f64::from(c.score) - f64::from(a.score);
    let mut row = Compared { nan: c.nan, candidate: c.class, ..Compared::default() };
    if theirs.classes.is_empty() {
        let unit = theirs.error_unit;
        let near = unit.unwrap_or(SAME * f64::from(a.score).abs().max(f64::from(c.score).abs()));
        row.agree = difference.abs() <= near;
        row.steps = unit.map(|unit| difference / unit).filter(|steps| !steps.is_nan());
    } else {
        row.active = place(a.class, &ours.classes, &theirs.classes);
        row.agree = row.active.is_some() && row.active == c.class;
        let scored = ours.score_output.is_some() && theirs.score_output.is_some();
        row.steps = (scored && !difference.is_nan()).then_some(difference / DIFFERENCE_STEP);
    }
    (row, place(c.class, &theirs.classes, &ours.classes).unwrap_or(NO_CLASS))
}
