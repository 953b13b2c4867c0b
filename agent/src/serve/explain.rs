//! Which features made an answer: sampled rows are explained on one thread of the lowest priority, under a budget, so that
//! no request ever waits for an explanation.
//!
//! A row is explained by the difference that each monitored feature makes when it is put in the place of its reference's
//! median (`longshore_stats::quality::attribution`). Only sums leave the engine. What the budget has no room for is not
//! explained; what cannot be is counted as failed.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, sync_channel};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use longshore_bundle::Tensor;
use longshore_stats::quality::attribution::{AttributionTable, PAIRS_DEFAULT, Plan};
use tokio::sync::oneshot;

use super::models::Served;
use super::oip::Attributions;
use super::watch::Watch;
use crate::engine::protocol::{FromEngine, LoadId};

/// Rows that wait to be explained; more are not.
const QUEUE: usize = 16;
/// Rows of one request that are offered.
const ROWS_A_REQUEST: usize = 4;
/// Rows of a request that asks for explanations.
pub const ROWS_ASKED_MAX: usize = 8;
const METHOD: &str = "Shapley values of the score of the answered class, by 2 antithetic pairs of orders";
/// Processor time it may use: one part of this many.
const BUDGET_PARTS: u32 = 10;
/// Longest rest after one explanation.
const REST_MAX: Duration = Duration::from_secs(60);
/// Longest explanation.
const LONGEST: Duration = Duration::from_secs(10);
/// How often sums go to the supervisor.
const TELL_EVERY: Duration = Duration::from_secs(1);
/// Bytes of the inputs of one run: memory that a request of the largest batch may take is not taken for this.
const RUN_BYTES: usize = 4 << 20;
/// The lowest priority there is.
const NICE: i32 = 19;

/// One row to explain.
struct Job {
    /// What answered it. A load that goes meanwhile is not kept by rows that wait.
    served: Weak<Served>,
    /// Its inputs, as a request of one row.
    row: Vec<Tensor>,
    /// The class it was answered with.
    class: Option<u32>,
    seed: u64,
    /// Who waits for it; a sampled row has nobody, and is counted.
    asked: Option<oneshot::Sender<Option<Vec<f64>>>>,
}

/// Where rows are handed in.
#[derive(Clone)]
pub struct Explainer {
    jobs: SyncSender<Job>,
}

/// SplitMix64's finalizer: a sequence number becomes a number that looks random.
fn mixed(n: u64) -> u64 {
    let z = n.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl Explainer {
    /// Starts the thread; sums go out through `outbox`.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(outbox: Sender<FromEngine>) -> std::io::Result<Self> {
        let (jobs, receiver) = sync_channel(QUEUE);
        std::thread::Builder::new().name("explain".into()).spawn(move || work(&receiver, &outbox))?;
        Ok(Self { jobs })
    }
    /// Offers the sampled rows of an answered request, whose first row has sequence number `first`; never waits.
    pub fn sample(&self, served: &Arc<Served>, inputs: &[Tensor], first: u64, classes: &[Option<u32>]) {
        let permille = u64::from(served.manifest.monitor.explain_permille);
        let Some(watch) = served.watch.as_ref().filter(|w| permille > 0 && w.explains()) else { return };
        let seed = |row: usize| mixed(first.wrapping_add(row as u64) ^ served.load.0.rotate_left(40));
        let sampled = (0..classes.len()).filter(|row| seed(*row) % 1000 < permille);
        for row in sampled.take(ROWS_A_REQUEST) {
            let Some(inputs) = watch.row(row, inputs) else { return };
            let (class, seed) = (classes[row], seed(row));
            let job = Job { served: Arc::downgrade(served), row: inputs, class, seed, asked: None };
            if self.jobs.try_send(job).is_err() {
                return;
            }
        }
    }
    /// Explains all rows of an answered request, for the one who asked for it; never waits. Of a row that cannot be cut out,
    /// or has no room to wait in, the receiver says so.
    pub fn ask(
        &self,
        served: &Arc<Served>,
        inputs: &[Tensor],
        first: u64,
        classes: &[Option<u32>],
    ) -> Vec<oneshot::Receiver<Option<Vec<f64>>>> {
        let mut out = Vec::with_capacity(classes.len());
        for (row, class) in classes.iter().enumerate() {
            let (tell, told) = oneshot::channel();
            out.push(told);
            let Some(inputs) = served.watch.as_ref().and_then(|w| w.row(row, inputs)) else { continue };
            let seed = mixed(first.wrapping_add(row as u64));
            let job =
                Job { served: Arc::downgrade(served), row: inputs, class: *class, seed, asked: Some(tell) };
            if self.jobs.try_send(job).is_err() {
                tracing::debug!("no room to explain a row");
            }
        }
        out
    }
}

/// What the explanations of a request look like.
#[must_use]
pub fn attributions(served: &Served, rows: Vec<Option<Vec<f64>>>) -> Attributions {
    let features = served.manifest.monitor.features.iter().map(|f| f.name.clone()).collect();
    Attributions { method: METHOD, baseline: "medians of the reference", features, rows }
}

fn work(jobs: &Receiver<Job>, outbox: &Sender<FromEngine>) {
    // Refused only where priorities cannot be lowered at all; the budget holds all the same.
    let _ = rustix::process::setpriority_process(None, NICE);
    let mut sums: BTreeMap<LoadId, AttributionTable> = BTreeMap::new();
    let mut told = Instant::now();
    loop {
        // Nothing to tell: nothing to wake up for.
        let next = match sums.is_empty() {
            true => jobs.recv().map_err(|_| RecvTimeoutError::Disconnected),
            false => jobs.recv_timeout(TELL_EVERY),
        };
        match next {
            Ok(job) => {
                let Some(served) = job.served.upgrade() else { continue };
                if job.asked.as_ref().is_some_and(oneshot::Sender::is_closed) {
                    continue;
                }
                let begun = Instant::now();
                let attributions = explain(&job, &served, begun);
                match job.asked {
                    // Whoever asked may have gone.
                    Some(asked) => _ = asked.send(attributions),
                    None => {
                        let features = served.watch.as_ref().map_or(0, Watch::features);
                        let sum = sums.entry(served.load).or_insert_with(|| AttributionTable::new(features));
                        if attributions.is_none_or(|a| sum.insert(&a).is_err()) {
                            sum.failed += 1;
                        }
                    }
                }
                // The load is let go before the rest, or it could not be unloaded.
                drop(served);
                std::thread::sleep((begun.elapsed() * (BUDGET_PARTS - 1)).min(REST_MAX));
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        if told.elapsed() >= TELL_EVERY {
            told = Instant::now();
            for (load, table) in std::mem::take(&mut sums) {
                if outbox.send(FromEngine::Explained { load, table }).is_err() {
                    return;
                }
            }
        }
    }
}

/// What each monitored feature did to the score of the answered class (or to the answer of a regression).
fn explain(job: &Job, served: &Served, begun: Instant) -> Option<Vec<f64>> {
    let watch = served.watch.as_ref()?;
    let plan = Plan::new(watch.features(), PAIRS_DEFAULT, job.seed).ok()?;
    let row_bytes = job.row.iter().map(|t| t.data.len()).sum::<usize>().max(1);
    let most = watch.rows_a_run(served.model.max_rows()).min(RUN_BYTES / row_bytes).max(1);
    let mut outputs = Vec::with_capacity(plan.coalitions().len());
    for chunk in plan.coalitions().chunks(most) {
        if begun.elapsed() > LONGEST {
            return None;
        }
        let inputs = watch.mixtures(&job.row, chunk);
        let answers = {
            let _mark = served.page().enter();
            served.model.run(&inputs).ok()?
        };
        outputs.extend(served.model.scores_of(chunk.len(), &answers, job.class)?);
    }
    plan.attributions(&outputs).ok()
}
