//! A candidate beside what answers: it sees the rows of requests that have been answered, on one thread of the lowest
//! priority and under a budget of processor time, and nobody ever waits for it.
//!
//! Always true here: what a candidate makes of a row is counted and forgotten, never sent; a request's rows are compared or
//! counted as skipped; what waits is bounded in number and bytes.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use longshore_bundle::Tensor;
use longshore_runtime::Prediction;
use longshore_stats::shadow::{Compared, DIFFERENCE_STEP};

use super::models::Served;
use crate::engine::protocol::LoadId;
use crate::page::{NO_CLASS, ShadowOutcome};

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

/// A candidate that runs beside what answers.
#[derive(Debug)]
pub struct Beside {
    /// What it is.
    pub served: Arc<Served>,
    /// Processor time it may use, per mille of a core.
    pub permille: u16,
    /// Rows skipped that the page does not know yet.
    skipped: AtomicU64,
}

impl Beside {
    /// Nothing is skipped yet.
    #[must_use]
    pub fn new(served: Arc<Served>, permille: u16) -> Self {
        Self { served, permille: permille.clamp(1, 1000), skipped: AtomicU64::new(0) }
    }
    /// Rows of an answered request are not compared. The page hears of it with the next that are.
    pub fn skip(&self, rows: u64) {
        self.skipped.fetch_add(rows, Relaxed);
    }
}

/// The rows of one answered request.
pub struct Job {
    /// The candidate. One that goes meanwhile is not kept by rows that wait.
    pub beside: Weak<Beside>,
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
#[derive(Debug, Clone)]
pub struct Shadows {
    jobs: SyncSender<(usize, Job)>,
    waiting: Arc<AtomicUsize>,
}

impl Shadows {
    /// Starts the thread.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start() -> std::io::Result<Self> {
        let (jobs, receiver) = sync_channel(QUEUE);
        let waiting = Arc::new(AtomicUsize::new(0));
        let bytes = Arc::clone(&waiting);
        std::thread::Builder::new().name("shadow".into()).spawn(move || work(&receiver, &bytes))?;
        Ok(Self { jobs, waiting })
    }
    /// Offers a request; never waits. What has no room is counted as skipped.
    pub fn offer(&self, job: Job) {
        let Some(beside) = job.beside.upgrade() else { return };
        let rows = job.answers.len() as u64;
        let bytes = job.inputs.iter().map(|t| t.data.len()).sum::<usize>().max(1);
        let before = self.waiting.fetch_add(bytes, Relaxed);
        let fits = before == 0 || before.saturating_add(bytes) <= QUEUE_BYTES;
        if !fits || self.jobs.try_send((bytes, job)).is_err() {
            self.waiting.fetch_sub(bytes, Relaxed);
            beside.skip(rows);
        }
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

fn work(jobs: &Receiver<(usize, Job)>, waiting: &AtomicUsize) {
    // Refused only where priorities cannot be lowered at all; the budget holds all the same.
    let _ = rustix::process::setpriority_process(None, NICE);
    while let Ok((bytes, job)) = jobs.recv() {
        let rest = run(job);
        waiting.fetch_sub(bytes, Relaxed);
        // Rows that come during the rest find no room, and are skipped: that is the budget.
        std::thread::sleep(rest);
    }
}

/// Runs one request in shadow; how long to rest so that the budget is kept.
fn run(job: Job) -> Duration {
    let Some((beside, active)) = job.beside.upgrade().zip(job.active.upgrade()) else {
        return Duration::ZERO;
    };
    let (before, begun) = (used(), Instant::now());
    let candidate = &beside.served;
    let rows = job.answers.len();
    let run = || {
        // The candidate may take other inputs than what serves, and then it fails.
        let found = candidate.model.rows(&job.inputs).ok()?;
        let _mark = candidate.page().enter();
        let outputs = candidate.model.run(&job.inputs).ok()?;
        (found == rows).then(|| candidate.model.predictions(rows, &outputs))
    };
    let answers = run();
    // Its own time, as that of what serves: how busy the device is says nothing about either.
    let cost = used().saturating_sub(before);
    let skipped = beside.skipped.swap(0, Relaxed);
    match answers {
        None => {
            let outcome = ShadowOutcome { errors: rows as u64, skipped, ..ShadowOutcome::default() };
            candidate.page().record_shadow(&outcome);
        }
        Some(answers) => {
            let both = job.answers.iter().zip(&answers);
            let (compared, classes): (Vec<_>, Vec<_>) =
                both.map(|(a, c)| compare(&active, candidate, a, c)).unzip();
            // Labels of a regression are no classes that could be right.
            let labelled = !candidate.manifest.monitor.classes.is_empty();
            candidate.page().record_shadow(&ShadowOutcome {
                rows: &compared,
                answers: if labelled { &classes } else { &[] },
                answered: (job.answered.0.0, job.answered.1),
                errors: 0,
                skipped,
                active_us: job.active_us,
                candidate_us: micros(cost),
            });
        }
    }
    let spent = if cost.is_zero() { begun.elapsed() } else { used().saturating_sub(before) };
    let share = f64::from(beside.permille) / 1000.0;
    spent.mul_f64(1.0 / share - 1.0).min(REST_MAX)
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
