//! The load: each device is sent the held-out digits, in order, with their labels as feedback.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use crate::socket::{Answer, Socket};

/// Rows a request carries.
const BATCH: usize = 4;

/// One labelled picture.
#[derive(Debug, Clone)]
pub struct Row {
    pixels: Vec<f32>,
    label: u32,
}

impl Row {
    /// The picture as a camera sees it that was knocked: everything is one column further to the right.
    #[must_use]
    pub fn shifted(&self) -> Self {
        let side = self.pixels.len().isqrt().max(1);
        let pixels = self.pixels.chunks(side).flat_map(|line| {
            std::iter::once(0.0).chain(line.iter().copied().take(line.len().saturating_sub(1)))
        });
        Self { pixels: pixels.collect(), label: self.label }
    }
}

/// Reads `field/stream.csv`: 64 pixels and a label a row.
///
/// # Errors
/// When the file is missing or a field is no number.
pub fn read(path: &Path) -> Result<Vec<Row>> {
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    text.lines()
        .skip(1)
        .enumerate()
        .map(|(i, line)| {
            let fields: Vec<f32> = line
                .split(',')
                .map(|f| f.trim().parse::<f32>())
                .collect::<Result<_, _>>()
                .with_context(|| format!("{} line {}", path.display(), i + 2))?;
            let (label, pixels) = fields.split_last().context("an empty line")?;
            Ok(Row { pixels: pixels.to_vec(), label: *label as u32 })
        })
        .collect()
}

/// What became of the rows sent, over all devices.
#[derive(Debug, Default)]
pub struct Tally {
    served: AtomicU64,
    aborted: AtomicU64,
    refused: AtomicU64,
    labelled: AtomicU64,
}

impl Tally {
    /// A tally that is known already.
    #[must_use]
    pub fn of(served: u64, aborted: u64) -> Self {
        Self { served: served.into(), aborted: aborted.into(), ..Self::default() }
    }
    /// Adds the counts of another.
    pub fn add(&self, other: &Self) {
        for (a, b) in [
            (&self.served, &other.served),
            (&self.aborted, &other.aborted),
            (&self.refused, &other.refused),
            (&self.labelled, &other.labelled),
        ] {
            a.fetch_add(b.load(Ordering::Relaxed), Ordering::Relaxed);
        }
    }
    /// Rows in responses received.
    #[must_use]
    pub fn served(&self) -> u64 {
        self.served.load(Ordering::Relaxed)
    }
    /// Rows in requests whose connection died unanswered.
    #[must_use]
    pub fn aborted(&self) -> u64 {
        self.aborted.load(Ordering::Relaxed)
    }
    /// Requests answered with an error.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }
    /// Labels that found their prediction.
    #[must_use]
    pub fn labelled(&self) -> u64 {
        self.labelled.load(Ordering::Relaxed)
    }
}

/// A running load.
pub struct Load {
    threads: Vec<JoinHandle<()>>,
    stop: Arc<AtomicBool>,
    /// The running totals.
    pub tally: Arc<Tally>,
}

impl Load {
    /// Starts one thread a socket; each begins at another row of the stream.
    pub fn start(sockets: &[Socket], rows: Vec<Row>, pause: Duration) -> Self {
        let (stop, tally, rows) =
            (Arc::new(AtomicBool::new(false)), Arc::new(Tally::default()), Arc::new(rows));
        let threads = sockets
            .iter()
            .enumerate()
            .map(|(i, socket)| {
                let (socket, stop, tally, rows) = (socket.clone(), stop.clone(), tally.clone(), rows.clone());
                let first = i * rows.len() / sockets.len().max(1);
                std::thread::spawn(move || {
                    let mut at = first;
                    while !stop.load(Ordering::Relaxed) {
                        let batch: Vec<&Row> = (0..BATCH).map(|j| &rows[(at + j) % rows.len()]).collect();
                        if send(&socket, &batch, &tally) {
                            at += BATCH;
                        }
                        std::thread::sleep(pause);
                    }
                })
            })
            .collect();
        Self { threads, stop, tally }
    }
    /// Stops after the requests that are under way.
    pub fn stop(self) -> Arc<Tally> {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().expect("a load thread does not panic");
        }
        self.tally
    }
}

/// The inference request for some rows.
#[must_use]
pub fn request(batch: &[&Row]) -> Value {
    let data: Vec<f32> = batch.iter().flat_map(|r| r.pixels.iter().copied()).collect();
    json!({ "inputs": [{ "name": "pixels", "datatype": "FP32", "shape": [batch.len(), 64], "data": data }] })
}

/// Sends one batch and its labels; whether it was answered.
fn send(socket: &Socket, batch: &[&Row], tally: &Tally) -> bool {
    let request = request(batch);
    match socket.post("/v2/models/meter-digits/infer", &request) {
        Answer::Response(200, body) => {
            tally.served.fetch_add(batch.len() as u64, Ordering::Relaxed);
            if let Some(id) = body.pointer("/parameters/prediction_id").and_then(Value::as_str) {
                feed_back(socket, id, batch, tally);
            }
            true
        }
        Answer::Response(..) => {
            tally.refused.fetch_add(1, Ordering::Relaxed);
            false
        }
        Answer::NotSent => false,
        Answer::Aborted => {
            tally.aborted.fetch_add(batch.len() as u64, Ordering::Relaxed);
            false
        }
    }
}

fn feed_back(socket: &Socket, id: &str, batch: &[&Row], tally: &Tally) {
    let labels: Vec<Value> = batch
        .iter()
        .enumerate()
        .map(|(row, r)| json!({ "prediction_id": id, "row": row, "label": r.label }))
        .collect();
    if let Answer::Response(200, body) = socket.post("/longshore/v1/feedback", &Value::Array(labels)) {
        tally.labelled.fetch_add(body["joined"].as_u64().unwrap_or(0), Ordering::Relaxed);
    }
}
