//! The engine's ends of the control socket: a thread that obeys, one that reports, one that loads. Loading takes seconds
//! and must not keep a ping or an activation waiting.

use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::Builder;

use longshore_wire::v1::Reason;
use tokio::sync::watch;

use super::channel::Channel;
use super::load::{load, reason};
use super::protocol::{FromEngine, LoadRequest, ToEngine};
use super::room::Room;
use crate::code::Code;
use crate::page::{Page, PageSpec};
use crate::serve::models::{Gone, Served};
use crate::serve::queries::Reply;
use crate::serve::watch::Watch;
use crate::serve::{Service, Stop};

/// Niceness of what loads and tries models: requests come first.
pub(super) const BACKGROUND_NICE: i32 = 10;

/// Starts the three threads. `stop` is set when the supervisor says so or is gone.
///
/// # Errors
/// When a thread cannot be started.
pub fn start(
    control: Channel,
    to_send: Receiver<FromEngine>,
    outbox: Sender<FromEngine>,
    service: Arc<Service>,
    (room, code): (Room, Code),
    stop: watch::Sender<Stop>,
) -> std::io::Result<()> {
    let control = Arc::new(control);
    let (to_load, loads) = channel();
    let loader = (Arc::clone(&service), outbox.clone());
    Builder::new()
        .name("load".into())
        .spawn(move || load_all(&loads, &loader.0, &loader.1, (&room, &code)))?;
    let sender = Arc::clone(&control);
    Builder::new().name("report".into()).spawn(move || {
        // A closed socket is noticed by the thread that reads it.
        while to_send.recv().is_ok_and(|message| sender.send(&message, &[]).is_ok()) {}
    })?;
    Builder::new().name("obey".into()).spawn(move || {
        obey(&control, &outbox, &service, &stop, &to_load);
        stop.send_replace(Stop::Now);
    })?;
    Ok(())
}

/// Obeys until the socket closes.
fn obey(
    control: &Channel,
    outbox: &Sender<FromEngine>,
    service: &Service,
    stop: &watch::Sender<Stop>,
    to_load: &Sender<(LoadRequest, Vec<OwnedFd>)>,
) {
    loop {
        let (message, fds) = match control.recv::<ToEngine>() {
            Ok(Some(got)) => got,
            Ok(None) => return,
            Err(e) => {
                tracing::error!("engine: {e}");
                return;
            }
        };
        let answer = match message {
            ToEngine::Load(request) => {
                if to_load.send((request, fds)).is_err() {
                    return;
                }
                None
            }
            ToEngine::Activate(load) => Some(match service.models.activate(load) {
                Ok(()) => FromEngine::Activated(load),
                Err(e) => FromEngine::LoadFailed { load, reason: reason("engine.unknown_load", e) },
            }),
            ToEngine::Shadow { load, permille } => Some(match service.models.shadow(load, permille) {
                Ok(()) => FromEngine::Shadowing(load),
                Err(e) => FromEngine::LoadFailed { load, reason: reason("engine.unknown_load", e) },
            }),
            // The report that it is gone comes when the last request that uses it has ended.
            ToEngine::Unload(load) => service.models.unload(load).err().map(|_| FromEngine::Unloaded(load)),
            ToEngine::Reply { id, status, body } => {
                service.queries.answered(id, Reply { status, body });
                None
            }
            ToEngine::Drain => {
                stop.send_replace(Stop::Drain);
                None
            }
            ToEngine::Ping(n) => Some(FromEngine::Pong(n)),
            ToEngine::Serve { .. } | ToEngine::Trial { .. } => {
                tracing::error!("engine: a first packet came twice");
                return;
            }
        };
        if answer.is_some_and(|a| outbox.send(a).is_err()) {
            return;
        }
    }
}

fn load_all(
    loads: &Receiver<(LoadRequest, Vec<OwnedFd>)>,
    service: &Service,
    outbox: &Sender<FromEngine>,
    (room, code): (&Room, &Code),
) {
    // Refused only where priorities cannot be lowered at all; then loading is merely less polite.
    let _ = rustix::process::setpriority_process(None, BACKGROUND_NICE);
    while let Ok((request, fds)) = loads.recv() {
        let load = request.load;
        let done = catch_unwind(AssertUnwindSafe(|| load_one(&request, fds, outbox, room)));
        let answer = match done {
            Ok(Ok((served, load_ms))) => {
                service.models.add(served);
                FromEngine::Loaded { load, load_ms }
            }
            Ok(Err(reason)) => FromEngine::LoadFailed { load, reason },
            Err(_) => FromEngine::LoadFailed {
                load,
                reason: reason("engine.panic", "the engine broke while loading"),
            },
        };
        // Most of the program is for loading, and the next load may be weeks away.
        code.let_go();
        if outbox.send(answer).is_err() {
            return;
        }
    }
}

fn load_one(
    request: &LoadRequest,
    mut fds: Vec<OwnedFd>,
    outbox: &Sender<FromEngine>,
    room: &Room,
) -> Result<(Served, u32), Reason> {
    let page = fds.pop().ok_or_else(|| reason("engine.request", "no counter page was handed over"))?;
    let page = Page::from_fd(page).map_err(|e| reason("engine.page", e))?;
    let bundle = load(request, fds, Some(room))?;
    let spec = page.spec();
    let reference = bundle.reference.as_ref().filter(|_| !spec.shadow);
    let watch = reference.map(|r| Watch::new(&bundle.manifest, r));
    let shape = watch.as_ref().map(|w| w.places().shape().clone());
    let wanted = match spec.shadow {
        true => PageSpec::in_shadow(request.load, &bundle.manifest, spec.ring_rows, spec.boot_id),
        false => PageSpec::of(request.load, &bundle.manifest, shape, spec.ring_rows, spec.boot_id),
    };
    if spec != wanted {
        let what = |s: &PageSpec| {
            let features = s.shape.as_ref().map_or(0, |s| s.counts.len());
            let (load, reference) = (s.load.0, s.shape.as_ref().map_or(0, |s| s.reference.0));
            format!(
                "load {load} with {} classes, {} groups and {features} features of reference {reference:x}",
                s.classes, s.groups
            )
        };
        let detail = format!("the counter page is of {}, wanted {}", what(&spec), what(&wanted));
        return Err(reason("engine.page", detail));
    }
    let gone = Gone::new(request.load, outbox.clone());
    let served = Served::new(request.load, request.digest, bundle.manifest, bundle.model, watch, page, gone);
    Ok((served, bundle.load_ms))
}
