//! What goes down to devices: receipts, assignments, commands, doorbells. Everything was committed before; losing any of
//! it is made good by the device's next hello, or by the sweep.

use std::sync::Arc;
use std::time::Duration;

use longshore_trust::tuf::edit;
use longshore_trust::{DeviceId, Envelope, PublicKey, Seq, StreamId};
use longshore_wire::{Down, Topic};

use super::client::Publisher;
use super::ingest::Identities;
use super::{Ask, Broker, Ends, Metrics};
use crate::app::{self, Shared};
use crate::events::FleetEvent;
use crate::store::director::Pending;
use crate::store::{StoreError, device, ingest};

/// How often silent devices and unanswered assignments are looked for.
const SWEEP: Duration = Duration::from_secs(15);
/// An online device has so long to answer an assignment before it is sent again, ms.
const ANSWER_MS: u64 = 30_000;
/// How often old windows and reports are forgotten, in sweeps.
const PRUNE_EVERY: u32 = 40;

/// Sends a receipt.
pub async fn receipt(app: &Shared, publisher: &Publisher, device: &DeviceId, stream: StreamId, up_to: Seq) {
    match app.director.receipt(device, stream, up_to, app.audit.latest(), app::now()) {
        Ok(bytes) => {
            let topic = Topic::down(&app.fleet, device, Down::Receipt);
            publisher.publish(&topic, bytes).await;
            Metrics::add(&app.gateway.metrics().receipts, 1);
        }
        Err(error) => tracing::error!(%device, %error, "cannot sign a receipt"),
    }
}

/// Answers a hello: assignment, commands and doorbell (the receipt has gone before).
pub async fn welcome(app: &Shared, publisher: &Publisher, device: &DeviceId) {
    push(app, publisher, device).await;
    doorbell(app, publisher, device).await;
}

async fn push(app: &Shared, publisher: &Publisher, device: &DeviceId) {
    match app.store.pending_for(device, app::now()).await {
        Ok(mut pending) => {
            if let Err(error) = renew(app, &mut pending).await {
                tracing::error!(%device, %error, "cannot read the roots that name former director keys");
            }
            if let Some(bytes) = pending.assignment {
                publisher.publish(&Topic::down(&app.fleet, device, Down::Assign), bytes).await;
            }
            for bytes in pending.commands {
                publisher.publish(&Topic::down(&app.fleet, device, Down::Command), bytes).await;
            }
        }
        Err(error) => tracing::error!(%device, %error, "cannot read what a device is to be sent"),
    }
}

/// What was signed before the director's key was rotated is signed again: devices that know the new root take nothing
/// else.
async fn renew(app: &Shared, pending: &mut Pending) -> Result<(), StoreError> {
    let current = app.director.public().id();
    let stale = |bytes: &[u8]| Envelope::parse(bytes).is_ok_and(|e| e.key_id() != current);
    let mut messages: Vec<&mut Vec<u8>> =
        pending.assignment.iter_mut().chain(&mut pending.commands).filter(|b| stale(b)).collect();
    if messages.is_empty() {
        return Ok(());
    }
    let roots = app.store.roots().await?;
    let former: Vec<PublicKey> =
        roots.iter().filter_map(|r| edit::read_root(r).ok()).flat_map(|r| r.director.keys).collect();
    for message in &mut messages {
        **message = app.director.renewed(std::mem::take(*message), &former);
    }
    Ok(())
}

async fn doorbell(app: &Shared, publisher: &Publisher, device: &DeviceId) {
    match app.trust.metadata("timestamp.json").await {
        Ok(Some(bytes)) => {
            publisher.publish(&Topic::down(&app.fleet, device, Down::Doorbell), bytes).await;
        }
        Ok(None) => {}
        Err(error) => tracing::error!(%error, "cannot read timestamp.json"),
    }
}

/// Does what is asked, and sweeps, until the server stops.
pub async fn run(app: Shared, mut ends: Ends, identities: Arc<Identities>, publisher: Publisher) {
    let mut sweep = tokio::time::interval(SWEEP);
    let mut sweeps = 0u32;
    loop {
        tokio::select! {
            () = app.stop.cancelled() => return,
            Some(ask) = ends.asks.recv() => answer(&app, &ends.broker, &identities, &publisher, ask).await,
            Some(device) = ends.left.recv() => gone(&app, ends.broker.as_ref(), &device).await,
            _ = sweep.tick() => {
                sweeps += 1;
                if let Err(error) = sweep_once(&app, ends.broker.as_ref(), &publisher, sweeps).await {
                    tracing::error!(%error, "the sweep over devices failed");
                }
            }
        }
    }
}

async fn answer(
    app: &Shared,
    broker: &Option<Broker>,
    identities: &Identities,
    publisher: &Publisher,
    ask: Ask,
) {
    match ask {
        Ask::Push(device) => push(app, publisher, &device).await,
        Ask::Doorbell => match app.store.online_devices().await {
            Ok(devices) => {
                for (device, _) in devices {
                    doorbell(app, publisher, &device).await;
                }
            }
            Err(error) => tracing::error!(%error, "cannot list online devices"),
        },
        Ask::Forget(device) => identities.forget(&device),
        Ask::Disconnect(device) => {
            identities.forget(&device);
            if let Some(broker) = broker {
                broker.disconnect(&device);
            }
        }
    }
}

async fn gone(app: &Shared, broker: Option<&Broker>, device: &DeviceId) {
    // It may have come back on another connection in the meantime.
    if broker.is_some_and(|b| b.is_connected(device)) {
        return;
    }
    if let Err(error) = mark_offline(app, device).await {
        tracing::error!(%device, %error, "cannot mark a device as offline");
    }
}

async fn mark_offline(app: &Shared, device: &DeviceId) -> Result<(), StoreError> {
    let mut tx = app.store.write().await?;
    let was_online = device::set_offline(&mut tx, device).await?;
    tx.commit().await?;
    if was_online {
        app.events.publish(FleetEvent::Device(device.clone()));
        app.events.publish(FleetEvent::Summary);
    }
    Ok(())
}

async fn sweep_once(
    app: &Shared,
    broker: Option<&Broker>,
    publisher: &Publisher,
    sweeps: u32,
) -> Result<(), StoreError> {
    let now = app::now();
    let silent_ms = app.config.limits.silent_s.saturating_mul(1000);
    for (device, last_seen) in app.store.online_devices().await? {
        let connected = broker.map(|b| b.is_connected(&device));
        let lost = match connected {
            // The embedded broker knows; a device that has just said hello and left again is told by `left`.
            Some(connected) => !connected && now.since(last_seen) > ANSWER_MS,
            None => now.since(last_seen) > silent_ms,
        };
        if lost {
            mark_offline(app, &device).await?;
        }
    }
    for device in app
        .store
        .unanswered_assignments(longshore_trust::UnixMs(now.0.saturating_sub(ANSWER_MS)), now)
        .await?
    {
        push(app, publisher, &device).await;
    }
    if sweeps.is_multiple_of(PRUNE_EVERY) {
        let keep = &app.config.keep;
        let mut tx = app.store.write().await?;
        ingest::prune(&mut tx, keep.windows_per_device, keep.reports_per_device).await?;
        tx.commit().await?;
    }
    Ok(())
}
