//! One inference request, from its body to its answer. All of it is computed on a pool thread; it is counted exactly once,
//! before a byte of the answer is written, and an answer that nobody waits for is neither computed nor counted.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::AcqRel;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use longshore_bundle::Tensor;
use longshore_runtime::{Prediction, RunError};
use longshore_stats::counters::LOW_MARGIN;
use tokio::sync::oneshot;

use super::body::Held;
use super::explain::{self, Explainer, ROWS_ASKED_MAX};
use super::feedback::{Origin, allowed, truth};
use super::models::Served;
use super::oip::{self, HEADER_LENGTH, InferRequest, ResponseHead};
use super::refusal::Refused;
use super::shadow::{self, Beside, Owed};
use super::watch::Watch;
use super::{Service, feedback};
use crate::engine::protocol::{Label, Truth};
use crate::page::{NO_CLASS, NO_GROUP, RequestOutcome};

/// How many of the request's labels were joined.
const LABELS_JOINED: HeaderName = HeaderName::from_static("longshore-labels-joined");

/// An answer that has been counted.
struct Answer {
    encoded: Encoded,
    labels: Vec<Label>,
    /// For a candidate in shadow to look at.
    shadow: Option<shadow::Job>,
}

/// An answer to be sent, or one that waits to be explained.
enum Encoded {
    Now(oip::Encoded),
    Explained(Box<Waiting>),
}

/// What is needed to write an answer when its explanations have come.
struct Waiting {
    prediction_id: String,
    request: InferRequest,
    outputs: Vec<Tensor>,
    rows: Vec<oneshot::Receiver<Option<Vec<f64>>>>,
}

/// `POST /v2/models/{model}[/versions/{version}]/infer`.
///
/// # Errors
/// What the client did wrong (4xx), or why it must wait (503), or that the model failed (500).
pub async fn infer(
    service: &Service,
    model: &str,
    version: Option<&str>,
    origin: Origin,
    headers: &HeaderMap,
    body: Body,
) -> Result<Response, Refused> {
    let read = service.bounds.read(headers, body, u64::MAX).await;
    let arrived = Instant::now();
    let served = super::routes::find(service, model, version)?;
    let checked = read.and_then(|held| {
        let header_length = header_length(headers)?;
        Ok((held, header_length))
    });
    let (held, header_length) = checked.inspect_err(|refused| count_refusal(&served, refused, 1, arrived))?;
    let may_label = allowed(service, origin, headers);
    let counted = Arc::new(AtomicBool::new(false));
    let job = {
        let (served, explainer) = (Arc::clone(&served), service.explainer.clone());
        let beside = service.models.beside(served.name()).filter(|b| b.served.load != served.load);
        let request = Computed { served, beside, explainer, arrived, counted: Arc::clone(&counted) };
        move || request.answer(&held, header_length, &may_label)
    };
    let mut told = service.pool.run(job).inspect_err(|_| service.figures.rejected())?;
    let told = match tokio::time::timeout(service.longest, &mut told).await {
        Ok(told) => told,
        // Counted already: it has been answered this very moment.
        Err(_) if counted.swap(true, AcqRel) => told.await,
        Err(_) => {
            served.record_errors(1, micros(arrived));
            let s = service.longest.as_secs_f64();
            let text = format!("the model has not answered within {s} s (limits.request of the agent)");
            return Err(Refused::with(StatusCode::GATEWAY_TIMEOUT, text));
        }
    };
    // Without an answer the job was dropped, which happens only when the engine ends.
    let done = told.map_err(|_| Refused::from(super::pool::Full))?;
    let answer = done.inspect_err(|_| served.record_errors(1, micros(arrived)))??;
    let joined = match answer.labels.is_empty() {
        true => None,
        false => Some(feedback::join(service, answer.labels).await?),
    };
    let encoded = match answer.encoded {
        Encoded::Now(encoded) => encoded,
        Encoded::Explained(waiting) => explained(&served, *waiting, service.longest).await?,
    };
    let response = respond(encoded, joined)?;
    // The answer is on its way: now the candidate sees the rows, and nobody waits for that.
    answer.shadow.into_iter().for_each(|job| service.shadows.offer(job));
    Ok(response)
}

/// Writes an answer with its explanations; rows that are not explained in time go without.
async fn explained(served: &Served, waiting: Waiting, longest: Duration) -> Result<oip::Encoded, Refused> {
    let Waiting { prediction_id, request, outputs, rows } = waiting;
    let until = tokio::time::Instant::now() + longest;
    let mut explained = Vec::with_capacity(rows.len());
    for row in rows {
        let told = tokio::time::timeout_at(until, row).await;
        explained.push(told.ok().and_then(Result::ok).flatten());
    }
    let attributions = explain::attributions(served, explained);
    oip::encode(&head(served, &prediction_id, Some(&attributions)), &request, &outputs)
}

fn head<'a>(
    served: &'a Served,
    prediction_id: &'a str,
    attributions: Option<&'a oip::Attributions>,
) -> ResponseHead<'a> {
    ResponseHead { model: served.name(), version: &served.version, prediction_id, attributions }
}

fn header_length(headers: &HeaderMap) -> Result<Option<usize>, Refused> {
    let Some(value) = headers.get(HEADER_LENGTH) else { return Ok(None) };
    let length = value.to_str().ok().and_then(|v| v.trim().parse().ok());
    length.map(Some).ok_or_else(|| Refused::bad("Inference-Header-Content-Length: must be a number of bytes"))
}

/// A refusal counts as an error of the model it was meant for, unless the agent itself was too busy.
fn count_refusal(served: &Served, refused: &Refused, rows: u32, arrived: Instant) {
    if refused.status != StatusCode::SERVICE_UNAVAILABLE {
        served.record_errors(rows, micros(arrived));
    }
}

fn micros(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX)
}

/// One request on a pool thread.
struct Computed {
    served: Arc<Served>,
    beside: Option<Arc<Beside>>,
    explainer: Explainer,
    arrived: Instant,
    /// Set by whoever counts the request: the computation, or the one that gave up waiting for it.
    counted: Arc<AtomicBool>,
}

impl Computed {
    fn answer(
        &self,
        held: &Held,
        header_length: Option<usize>,
        may_label: &Result<(), Refused>,
    ) -> Result<Answer, Refused> {
        let (served, arrived) = (&*self.served, self.arrived);
        let too_late = || Refused::with(StatusCode::GATEWAY_TIMEOUT, "nobody waits for this answer any more");
        let refuse = |refused: Refused, rows: u32| {
            if !self.counted.swap(true, AcqRel) {
                count_refusal(served, &refused, rows, arrived);
            }
            refused
        };
        let mut request = oip::parse(&held.bytes, header_length).map_err(|e| refuse(e, 1))?;
        let rows =
            served.model.rows(&request.inputs).map_err(|e| refuse(e.into(), claimed_rows(&request)))?;
        let rows = u32::try_from(rows).unwrap_or(u32::MAX);
        request.without_nan().inspect_err(|_| self.count_unanswered(&request, rows))?;
        check(served, &request, rows, may_label).map_err(|e| refuse(e, rows))?;
        let monitor = &served.manifest.monitor;
        let labels: Result<Vec<Truth>, Refused> =
            request.labels.iter().map(|label| truth(label, &monitor.classes, "parameters.label")).collect();
        let labels = labels.map_err(|e| refuse(e, rows))?;

        let begun = self.beside.as_ref().map(|_| shadow::used());
        let outputs = {
            let _mark = served.page().enter();
            served.model.run(&request.inputs).map_err(|e: RunError| refuse(e.into(), rows))?
        };
        let used = begun.map(|begun| shadow::used().saturating_sub(begun));
        let predictions = served.model.predictions(rows as usize, &outputs);
        let classes: Vec<u32> = predictions.iter().map(|p| p.class.unwrap_or(NO_CLASS)).collect();
        let scores: Vec<f32> = predictions.iter().map(|p| p.score).collect();
        let count = |pick: fn(&Prediction) -> bool| {
            u32::try_from(predictions.iter().filter(|p| pick(p)).count()).unwrap_or(u32::MAX)
        };
        let groups = groups(&request.groups, &monitor.groups, rows);
        let features = served.watch.as_ref().map(|w| w.count(rows as usize, &request.inputs));
        if self.counted.swap(true, AcqRel) {
            return Err(too_late());
        }
        // What is answered from here on is compared, or counted as skipped.
        let owed = self.beside.as_ref().map(|b| Owed::new(b, u64::from(rows)));
        let id = served.record(&RequestOutcome {
            rows,
            errors: 0,
            nan: count(|p| p.nan),
            low_margin: count(|p| f64::from(p.margin) < LOW_MARGIN),
            classes: &classes,
            scores: &scores,
            groups: &groups,
            features: features.as_ref(),
            latency_us: micros(arrived),
            unix_ms: unix_ms(),
        });
        if let Some((watch, tally)) = served.watch.as_ref().zip(features) {
            watch.done_with(tally);
        }
        let answered: Vec<Option<u32>> = predictions.iter().map(|p| p.class).collect();
        self.explainer.sample(&self.served, &request.inputs, id.seq, &answered);
        let prediction_id = id.to_string();
        let labels = (0..)
            .zip(labels)
            .map(|(row, truth)| Label { prediction_id: prediction_id.clone(), row, truth })
            .collect();
        let shadow = |inputs: Vec<Tensor>| {
            let (owed, used) = owed.zip(used)?;
            Some(shadow::Job {
                owed,
                active: Arc::downgrade(&self.served),
                answered: (id.load, id.seq),
                inputs,
                answers: predictions,
                active_us: u64::try_from(used.as_micros()).unwrap_or(u64::MAX),
            })
        };
        let (encoded, job) = if request.explain {
            let rows = self.explainer.ask(&self.served, &request.inputs, id.seq, &answered);
            (Encoded::Explained(Box::new(Waiting { prediction_id, request, outputs, rows })), None)
        } else {
            let encoded = oip::encode(&head(served, &prediction_id, None), &request, &outputs)?;
            // Nothing but the candidate needs the inputs any more.
            (Encoded::Now(encoded), shadow(std::mem::take(&mut request.inputs)))
        };
        Ok(Answer { encoded, labels, shadow: job })
    }
}

impl Computed {
    /// Counts rows that are refused for what they hold: as errors, and what their features looked like.
    fn count_unanswered(&self, request: &InferRequest, rows: u32) {
        if self.counted.swap(true, AcqRel) {
            return;
        }
        let watch = self.served.watch.as_ref();
        let features = watch.map(|w| w.count(rows as usize, &request.inputs));
        self.served.record(&RequestOutcome {
            errors: rows,
            features: features.as_ref(),
            latency_us: micros(self.arrived),
            ..RequestOutcome::default()
        });
        if let (Some(watch), Some(tally)) = (watch, features) {
            watch.done_with(tally);
        }
    }
}

/// The declared group of each row; a row that names another, or none, has none. What it named is forgotten here.
fn groups(named: &[String], declared: &[String], rows: u32) -> Vec<u8> {
    let index = |name: &String| {
        declared.iter().position(|d| d == name).and_then(|i| u8::try_from(i).ok()).unwrap_or(NO_GROUP)
    };
    match named {
        [] => Vec::new(),
        [one] => vec![index(one); rows as usize],
        many => many.iter().map(index).collect(),
    }
}

/// How many rows a request that was refused wanted: the first dimension of its first input, at least one.
fn claimed_rows(request: &InferRequest) -> u32 {
    let first = request.inputs.first().and_then(|t| t.shape.first()).copied().unwrap_or(1);
    // An absurd claim is one refused request, not four thousand million errors.
    if first > 65_536 { 1 } else { first.max(1) as u32 }
}

/// Everything of a request that can be refused before it is computed, so that what is computed is answered.
fn check(
    served: &Served,
    request: &InferRequest,
    rows: u32,
    may_label: &Result<(), Refused>,
) -> Result<(), Refused> {
    let outputs = served.model.outputs();
    if let Some(unknown) = request.outputs.iter().find(|w| !outputs.iter().any(|o| o.name == w.name)) {
        let known: Vec<&str> = outputs.iter().map(|o| o.name.as_str()).collect();
        let text = format!("output `{}`: this model has {}", unknown.name, known.join(", "));
        return Err(Refused::bad(text));
    }
    if request.explain {
        if !served.watch.as_ref().is_some_and(Watch::explains) {
            return Err(Refused::bad(
                "parameters.explain: this bundle cannot be explained: it needs a reference, and 1 to 64 monitored features along the first axis",
            ));
        }
        if rows as usize > ROWS_ASKED_MAX {
            let text =
                format!("parameters.explain: {rows} rows, at most {ROWS_ASKED_MAX} can be explained at once");
            return Err(Refused::bad(text));
        }
    }
    if !request.groups.is_empty() && served.manifest.monitor.group.is_none() {
        return Err(Refused::bad("parameters.group: this model declares no group attribute"));
    }
    if request.groups.len() > 1 && request.groups.len() != rows as usize {
        let n = request.groups.len();
        return Err(Refused::bad(format!(
            "parameters.group: {n} groups for {rows} rows; send one for all, or one a row"
        )));
    }
    if !request.labels.is_empty() {
        may_label.clone()?;
        if request.labels.len() != rows as usize {
            let n = request.labels.len();
            return Err(Refused::bad(format!(
                "parameters.label: {n} labels for {rows} rows; send one a row"
            )));
        }
    }
    Ok(())
}

fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

fn respond(encoded: oip::Encoded, joined: Option<u64>) -> Result<Response, Refused> {
    let mut response = encoded.body.into_response();
    let headers = response.headers_mut();
    let kind = match encoded.header_length {
        Some(length) => {
            headers.insert(HEADER_LENGTH, HeaderValue::from(length));
            "application/octet-stream"
        }
        None => "application/json",
    };
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    if let Some(joined) = joined {
        headers.insert(LABELS_JOINED, HeaderValue::from(joined));
    }
    Ok(response)
}
