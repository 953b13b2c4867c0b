//! Accepting connections, and letting them end.

use std::os::unix::net::UnixListener as StdUnixListener;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_util::task::TaskTracker;

use super::Service;
use super::feedback::Origin;
use super::routes::router;

/// Connections at once; the next one waits to be accepted.
const CONNECTIONS: usize = 512;
/// A connection that sends no whole request head in this time is closed.
const IDLE: Duration = Duration::from_secs(75);
/// How long requests may run on after the order to stop.
const DRAIN: Duration = Duration::from_millis(4500);
/// How often, at least, it is looked whether a computation never ends. Then the engine gives up, leaving its mark on the
/// counter page, and is started again.
const LOOK: Duration = Duration::from_secs(5);
/// What a client that waits too long has for being told so before the engine gives up.
const FAREWELL: Duration = Duration::from_millis(500);
/// Pause after an `accept` that failed for want of something.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The sockets, already bound and listening.
#[derive(Debug)]
pub struct Listeners {
    /// The unix socket.
    pub unix: StdUnixListener,
    /// Loopback TCP, if it is configured.
    pub tcp: Option<std::net::TcpListener>,
}

/// Whether to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// Go on.
    No,
    /// Accept nothing more, finish what runs.
    Drain,
    /// At once.
    Now,
}

/// Serves until told to stop; `ready` is called when connections are accepted.
///
/// # Errors
/// When a listener cannot be used, or a computation does not end.
pub async fn serve(
    service: Arc<Service>,
    listeners: Listeners,
    mut stop: watch::Receiver<Stop>,
    ready: impl FnOnce(),
) -> std::io::Result<()> {
    listeners.unix.set_nonblocking(true)?;
    let unix = UnixListener::from_std(listeners.unix)?;
    let tcp = match listeners.tcp {
        Some(tcp) => {
            tcp.set_nonblocking(true)?;
            Some(TcpListener::from_std(tcp)?)
        }
        None => None,
    };
    let (tracker, room) = (TaskTracker::new(), Arc::new(Semaphore::new(CONNECTIONS)));
    let unix_routes = router(Arc::clone(&service), Origin::Unix);
    let tcp_routes = router(Arc::clone(&service), Origin::Tcp);
    let longest = service.longest + FAREWELL;
    let mut look = tokio::time::interval(LOOK.min(service.longest / 4).max(Duration::from_millis(20)));
    ready();
    let mut free = None;
    while *stop.borrow() == Stop::No {
        let stopped = stop.clone();
        // Without a free place nothing is accepted, but orders are heard.
        let accept = free.is_some();
        tokio::select! {
            _ = stop.changed() => {}
            _ = look.tick() => {
                let now = Instant::now();
                service.shadows.look(&service.models, now);
                if service.pool.longest(now) > longest {
                    service.shadows.end(&service.models);
                    let text = format!("a model has not answered for {longest:?} (limits.request)");
                    return Err(std::io::Error::new(std::io::ErrorKind::TimedOut, text));
                }
            }
            permit = Arc::clone(&room).acquire_owned(), if !accept => free = permit.ok(),
            accepted = unix.accept(), if accept => match accepted {
                Ok((socket, _)) => {
                    let connection = connection(socket, unix_routes.clone(), stopped);
                    spawn(&tracker, connection, free.take());
                }
                Err(e) => pause(&e).await,
            },
            accepted = accept_tcp(tcp.as_ref()), if accept => match accepted {
                Ok(socket) => {
                    // Small answers must not wait for an acknowledgement; one that cannot be told so works too.
                    let _ = socket.set_nodelay(true);
                    let connection = connection(socket, tcp_routes.clone(), stopped);
                    spawn(&tracker, connection, free.take());
                }
                Err(e) => pause(&e).await,
            },
        }
    }
    service.draining.store(true, Relaxed);
    drop((unix, tcp));
    tracker.close();
    tokio::select! {
        () = tracker.wait() => {}
        () = tokio::time::sleep(DRAIN) => tracing::warn!("requests were still running when the engine had to stop"),
        _ = stop.wait_for(|s| *s == Stop::Now) => {}
    }
    service.shadows.end(&service.models);
    Ok(())
}

/// Runs a connection, which gives its place back when it ends.
fn spawn(
    tracker: &TaskTracker,
    connection: impl Future<Output = ()> + Send + 'static,
    place: Option<OwnedSemaphorePermit>,
) {
    tracker.spawn(async move {
        connection.await;
        drop(place);
    });
}

async fn accept_tcp(listener: Option<&TcpListener>) -> std::io::Result<tokio::net::TcpStream> {
    match listener {
        Some(l) => l.accept().await.map(|(socket, _)| socket),
        None => std::future::pending().await,
    }
}

async fn pause(e: &std::io::Error) {
    tracing::warn!("cannot accept a connection: {e}");
    tokio::time::sleep(ACCEPT_PAUSE).await;
}

async fn connection<S>(socket: S, routes: Router, mut stop: watch::Receiver<Stop>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE)
        .serve_connection(TokioIo::new(socket), TowerToHyperService::new(routes));
    let mut served = std::pin::pin!(served);
    // The value that is waited for must not be held: it is a lock.
    let stopping = async { stop.wait_for(|s| *s != Stop::No).await.map(|_| ()) };
    let ended = tokio::select! {
        ended = served.as_mut() => ended,
        _ = stopping => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    if let Err(e) = ended {
        // Clients hang up; that is their right.
        tracing::debug!("connection ended: {e}");
    }
}
