//! Ingest: verify, store a batch in one transaction, and only then answer.
//!
//! What always holds: a message is accepted only when its signature holds under the report key of the device that its
//! topic *and* its signed header name; its effect and its place in the stream commit together, so it counts once however
//! often it comes; a receipt names only what has been committed.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, RwLock};
use std::time::Duration;

use longshore_trust::log::LogHead;
use longshore_trust::{DeviceId, FleetId, Kind, PublicKey, Seq, StreamId, UnixMs};
use longshore_wire::topic::Direction;
use longshore_wire::v1::{
    self, Body, Events, Header, Hello, Message, MessageError, Report, ReportBody, Windows,
};
use longshore_wire::{Topic, Up};
use tokio::sync::mpsc;

use super::client::{Publisher, Raw};
use super::{Metrics, outbox};
use crate::app::{self, Shared};
use crate::audit::Seen;
use crate::events::FleetEvent;
use crate::store::device::DeviceIdentity;
use crate::store::monitor::Merger;
use crate::store::{self, Store, StoreError, audit};

/// Most messages in a transaction.
const BATCH: usize = 256;
/// How long a transaction waits for more.
const LINGER: Duration = Duration::from_millis(4);

/// A message whose signature and names have been checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Accepted {
    /// The signed header.
    pub header: Header,
    /// What it says.
    pub said: Said,
}

/// What a message says.
#[derive(Debug, Clone, PartialEq)]
pub enum Said {
    /// I am here.
    Hello(Hello),
    /// A report.
    Report(Report),
    /// Windows.
    Windows(Windows),
    /// Events.
    Events(Events),
    /// Signed by the device, of a kind and schema this server cannot read: kept as it is, so that the device goes on.
    Unreadable(Unreadable),
}

/// A message that its device signed and nobody here can read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable {
    /// By its topic and envelope.
    pub kind: Kind,
    /// The envelope, as received.
    pub bytes: Vec<u8>,
}

impl Said {
    /// What it says of the audit log.
    fn log(&self) -> &[LogHead] {
        match self {
            Self::Hello(hello) => &hello.log,
            Self::Report(Report { body: ReportBody::Health(health) }) => &health.log,
            _ => &[],
        }
    }
    fn kind(&self) -> Kind {
        match self {
            Self::Hello(_) => Kind::Hello,
            Self::Report(_) => Kind::Report,
            Self::Windows(_) => Kind::Windows,
            Self::Events(_) => Kind::Events,
            Self::Unreadable(u) => u.kind,
        }
    }
}

/// Why a message is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Not signed by the device, or not a message.
    #[error(transparent)]
    Message(#[from] MessageError),
    /// The signed header names another device or fleet than the topic.
    #[error("the signed header names {fleet}/{device}, the topic another")]
    Names {
        /// As signed.
        fleet: FleetId,
        /// As signed.
        device: DeviceId,
    },
    /// A topic of the other direction.
    #[error("not a topic that devices publish on")]
    Direction,
    /// A stored message has a sequence number from 1, a hello has 0 and the stream it speaks of.
    #[error("sequence number {0} cannot be")]
    Seq(Seq),
}

/// Checks one message: first its signature, then everything else.
///
/// # Errors
/// [`Refusal`].
pub fn verify(topic: &Topic, payload: &[u8], key: &PublicKey) -> Result<Accepted, Refusal> {
    let Direction::Up(up) = topic.direction else {
        return Err(Refusal::Direction);
    };
    let (header, said) = match up {
        // A hello is not stored: one that cannot be read is refused.
        Up::Hello => open::<Hello>(payload, key, Said::Hello)?,
        Up::Report => readable(open::<Report>(payload, key, Said::Report), payload, key, Kind::Report)?,
        Up::Windows => readable(open::<Windows>(payload, key, Said::Windows), payload, key, Kind::Windows)?,
        Up::Events => readable(open::<Events>(payload, key, Said::Events), payload, key, Kind::Events)?,
    };
    if header.fleet != topic.fleet || header.device != topic.device {
        return Err(Refusal::Names { fleet: header.fleet, device: header.device });
    }
    let fits = match &said {
        Said::Hello(h) => header.seq.0 == 0 && h.stream == header.stream && h.first_unreceipted.0 > 0,
        _ => header.seq.0 > 0,
    };
    if !fits || header.seq.0 > i64::MAX as u64 {
        return Err(Refusal::Seq(header.seq));
    }
    Ok(Accepted { header, said })
}

/// What its device signed has a place in its stream, also when this server cannot read it (a newer agent): without a
/// receipt the device would send it for ever, and nothing after it.
fn readable(
    opened: Result<(Header, Said), MessageError>,
    payload: &[u8],
    key: &PublicKey,
    kind: Kind,
) -> Result<(Header, Said), MessageError> {
    match opened {
        Err(MessageError::Body(_) | MessageError::UnknownSchema(_)) => {
            let header = v1::open_header(payload, kind, key)?.into_inner();
            Ok((header, Said::Unreadable(Unreadable { kind, bytes: payload.to_vec() })))
        }
        other => other,
    }
}

fn open<B: Body>(
    payload: &[u8],
    key: &PublicKey,
    said: fn(B) -> Said,
) -> Result<(Header, Said), MessageError> {
    let Message { header, body } = v1::open::<B>(payload, key)?.into_inner();
    Ok((header, said(body)))
}

/// What a committed batch asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcome {
    /// The prefix of every stream that was touched.
    pub receipts: BTreeMap<(DeviceId, StreamId), Seq>,
    /// Devices that said hello.
    pub hellos: BTreeSet<DeviceId>,
    /// Devices that were heard.
    pub devices: BTreeSet<DeviceId>,
    /// Rollouts that were reported on.
    pub rollouts: BTreeSet<longshore_trust::RolloutId>,
    /// Messages stored for the first time.
    pub stored: u64,
    /// Messages that were stored before.
    pub duplicates: u64,
    /// Messages that were kept without being read.
    pub quarantined: u64,
    /// Messages of devices that were revoked meanwhile.
    pub refused: u64,
    /// Whether counters have changed.
    pub counted: bool,
}

/// Stores a batch in one transaction. `epoch` is the fleet's.
///
/// # Errors
/// When the database refuses; then nothing of the batch is stored and nothing may be receipted.
pub async fn store_batch(
    store: &Store,
    batch: &[Accepted],
    epoch: u64,
    now: UnixMs,
) -> Result<Outcome, StoreError> {
    let mut out = Outcome::default();
    let mut touched: BTreeMap<(DeviceId, StreamId), Seq> = BTreeMap::new();
    let mut order: Vec<&Accepted> = batch.iter().collect();
    order.sort_by_key(|a| (&a.header.device, a.header.stream, a.header.seq));
    let mut tx = store.write().await?;
    let mut merger = Merger::default();
    let mut revoked: BTreeMap<&DeviceId, bool> = BTreeMap::new();
    for message in order {
        let header = &message.header;
        // Its key was looked up before this transaction: a revocation may have come between.
        let shut_out = match revoked.get(&header.device) {
            Some(known) => *known,
            None => {
                let found = store::identity::certificates(&mut tx, &header.device).await?.is_none();
                revoked.insert(&header.device, found);
                found
            }
        };
        if shut_out {
            out.refused += 1;
            continue;
        }
        let at_least = touched.entry((header.device.clone(), header.stream)).or_insert(Seq(0));
        out.devices.insert(header.device.clone());
        if let Some(newest) = message.said.log().last() {
            audit::witness::saw(&mut tx, &header.device, newest, header.time, now).await?;
        }
        if let Said::Hello(hello) = &message.said {
            store::ingest::hello(&mut tx, &header.device, hello, now).await?;
            if let Some(first) = never_to_come(&mut tx, header, hello, epoch, now).await? {
                *at_least = first;
            }
            out.hellos.insert(header.device.clone());
            continue;
        }
        let kind = message.said.kind() as u8;
        if !store::stream::claim(&mut tx, &header.device, header.stream, header.seq, kind, now).await? {
            out.duplicates += 1;
            continue;
        }
        out.stored += 1;
        apply(&mut tx, &mut merger, message, now, &mut out).await?;
    }
    merger.write(&mut tx, now).await?;
    for ((device, stream), at_least) in touched {
        let up_to = store::stream::advance(&mut tx, &device, stream, at_least).await?;
        out.receipts.insert((device, stream), up_to);
    }
    for device in &out.devices {
        store::ingest::seen(&mut tx, device, now).await?;
    }
    tx.commit().await?;
    Ok(out)
}

/// A device that knows this epoch and offers nothing before `first_unreceipted` has lost what is missing below it: the
/// hole is written down, so that the prefix can pass it.
async fn never_to_come(
    tx: &mut store::Tx,
    header: &Header,
    hello: &Hello,
    epoch: u64,
    now: UnixMs,
) -> Result<Option<Seq>, StoreError> {
    if hello.fleet_epoch != epoch {
        return Ok(None);
    }
    let missing =
        store::stream::missing_below(tx, &header.device, hello.stream, hello.first_unreceipted).await?;
    if missing == 0 {
        return Ok(None);
    }
    let gap = serde_json::json!({"kind": "replay", "cause": "ring_turned", "count": missing,
        "stream": store::stream::stream_text(hello.stream), "before": hello.first_unreceipted});
    store::ingest::insert_event(tx, &header.device, header.time, "gap", &gap, now).await?;
    tracing::warn!(device = %header.device, missing, "a device can no longer send what this fleet has not stored");
    Ok(Some(Seq(hello.first_unreceipted.0 - 1)))
}

async fn apply(
    tx: &mut store::Tx,
    merger: &mut Merger,
    message: &Accepted,
    now: UnixMs,
    out: &mut Outcome,
) -> Result<(), StoreError> {
    let header = &message.header;
    match &message.said {
        Said::Hello(_) => {}
        Said::Report(report) => {
            store::ingest::report(tx, header, &report.body, now).await?;
            if let ReportBody::Update(u) = &report.body {
                out.rollouts.extend(u.rollout.clone());
            }
        }
        Said::Windows(windows) => {
            for w in &windows.windows {
                let added = store::ingest::add_window(tx, merger, header, w, now).await?;
                if added {
                    out.counted = true;
                } else {
                    let why = serde_json::json!({"code": "ingest.window", "model": w.key.model, "bundle": w.key.bundle,
                        "detail": "the tables of a window do not fit together, its bundle or its range; it was not counted"});
                    store::ingest::insert_event(tx, &header.device, header.time, "refused", &why, now)
                        .await?;
                    tracing::warn!(device = %header.device, model = %w.key.model, "a window was not counted");
                }
            }
        }
        Said::Events(events) => store::ingest::events(tx, &header.device, events, now).await?,
        Said::Unreadable(unreadable) => {
            out.quarantined += 1;
            let kind = unreadable.kind as u8;
            store::ingest::quarantine(tx, header, kind, &unreadable.bytes, now).await?;
            tracing::warn!(device = %header.device, seq = header.seq.0, "kept a message that this server cannot read");
        }
    }
    Ok(())
}

/// Keys of devices, remembered until they are forgotten.
pub struct Identities {
    store: Store,
    known: RwLock<Known>,
}

#[derive(Default)]
struct Known {
    keys: HashMap<DeviceId, Arc<DeviceIdentity>>,
    /// How often something was forgotten: what was read before that must not be remembered after it.
    forgotten: u64,
}

impl Identities {
    /// Empty.
    #[must_use]
    pub fn new(store: Store) -> Self {
        Self { store, known: RwLock::default() }
    }
    /// Looks a device up again next time.
    pub fn forget(&self, device: &DeviceId) {
        let mut known = self.known.write().expect("nothing panics while it holds the keys");
        known.keys.remove(device);
        known.forgotten += 1;
    }
    async fn get(&self, device: &DeviceId) -> Result<Option<Arc<DeviceIdentity>>, StoreError> {
        let (found, forgotten) = {
            let known = self.known.read().expect("nothing panics while it holds the keys");
            (known.keys.get(device).cloned(), known.forgotten)
        };
        if found.is_some() {
            return Ok(found);
        }
        let Some(identity) = self.store.device_identity(device).await? else {
            return Ok(None);
        };
        let identity = Arc::new(identity);
        let mut known = self.known.write().expect("nothing panics while it holds the keys");
        if known.forgotten == forgotten {
            known.keys.insert(device.clone(), Arc::clone(&identity));
        }
        Ok(Some(identity))
    }
}

/// Ingests until the server stops.
pub async fn run(
    app: Shared,
    mut incoming: mpsc::Receiver<Raw>,
    identities: Arc<Identities>,
    publisher: Publisher,
) {
    let mut raw = Vec::with_capacity(BATCH);
    loop {
        tokio::select! {
            () = app.stop.cancelled() => return,
            n = incoming.recv_many(&mut raw, BATCH) => if n == 0 { return },
        }
        let until = tokio::time::Instant::now() + LINGER;
        while raw.len() < BATCH {
            match tokio::time::timeout_at(until, incoming.recv()).await {
                Ok(Some(r)) => raw.push(r),
                Ok(None) | Err(_) => break,
            }
        }
        let mut batch = Vec::with_capacity(raw.len());
        for r in raw.drain(..) {
            match check(&identities, &r).await {
                Ok(Some(accepted)) => batch.push(accepted),
                Ok(None) => Metrics::add(&app.gateway.metrics().refused, 1),
                Err(error) => tracing::error!(%error, "cannot look up a device's key"),
            }
        }
        if !batch.is_empty() {
            commit(&app, &batch, &publisher).await;
        }
    }
}

async fn check(identities: &Identities, raw: &Raw) -> Result<Option<Accepted>, StoreError> {
    let Some(identity) = identities.get(&raw.topic.device).await? else {
        tracing::debug!(device = %raw.topic.device, "a message of an unknown or revoked device");
        return Ok(None);
    };
    match verify(&raw.topic, &raw.payload, &identity.report_key) {
        Ok(accepted) => Ok(Some(accepted)),
        Err(refusal) => {
            tracing::warn!(device = %raw.topic.device, kind = raw.up.as_str(), %refusal, "refused a message");
            Ok(None)
        }
    }
}

async fn commit(app: &Shared, batch: &[Accepted], publisher: &Publisher) {
    match store_batch(&app.store, batch, app.director.epoch(), app::now()).await {
        // A report that shows that the log was changed gets no receipt before that is written down.
        Ok(outcome) => match app.audit.witnessed(&witnessed(batch), app::now()).await {
            Ok(()) => answer(app, &outcome, publisher).await,
            Err(error) => {
                tracing::error!(%error, "cannot hold reports against the audit log; they get no receipt")
            }
        },
        Err(error) if batch.len() == 1 => {
            tracing::error!(device = %batch[0].header.device, %error, "a message could not be stored; it gets no receipt");
        }
        Err(error) => {
            // One message must not hold up all others: each for itself.
            tracing::error!(messages = batch.len(), %error, "a batch could not be stored; trying its messages one by one");
            for message in batch {
                Box::pin(commit(app, std::slice::from_ref(message), publisher)).await;
            }
        }
    }
}

/// What devices say they saw of the audit log.
fn witnessed(batch: &[Accepted]) -> Vec<Seen> {
    let seen = |a: &Accepted| {
        let heads: Vec<_> = a.said.log().iter().take(v1::MAX_LOG_HEADS).copied().collect();
        (!heads.is_empty()).then(|| Seen { device: a.header.device.clone(), heads })
    };
    batch.iter().filter_map(seen).collect()
}

async fn answer(app: &Shared, outcome: &Outcome, publisher: &Publisher) {
    let metrics = app.gateway.metrics();
    Metrics::add(&metrics.batches, 1);
    Metrics::add(&metrics.stored, outcome.stored);
    Metrics::add(&metrics.duplicates, outcome.duplicates);
    Metrics::add(&metrics.quarantined, outcome.quarantined);
    Metrics::add(&metrics.refused, outcome.refused);
    for device in &outcome.devices {
        app.events.publish(FleetEvent::Device(device.clone()));
    }
    for rollout in &outcome.rollouts {
        app.events.publish(FleetEvent::Rollout(rollout.clone()));
    }
    if outcome.counted || !outcome.hellos.is_empty() {
        app.events.publish(FleetEvent::Summary);
    }
    for ((device, stream), up_to) in &outcome.receipts {
        outbox::receipt(app, publisher, device, *stream, *up_to).await;
    }
    for device in &outcome.hellos {
        Metrics::add(&metrics.hellos, 1);
        outbox::welcome(app, publisher, device).await;
    }
}
