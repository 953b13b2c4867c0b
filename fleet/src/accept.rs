//! Accepting connections, with TLS: handshakes run beside each other, with a time limit and a bounded number of permits.
//!
//! What always holds: nothing an unknown client does before its handshake is done delays another's handshake; when the
//! permits are used up, new connections are closed at once instead of waiting.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Bounds of one listener.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Connections after their handshake.
    pub connections: usize,
    /// Handshakes under way.
    pub handshakes: usize,
    /// Longest handshake.
    pub handshake: Duration,
}

/// A port that cannot be listened on, with the configuration key that names it.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address} ({key}): {source}. {}", advice(.source, .key))]
pub struct ListenError {
    /// The address.
    pub address: SocketAddr,
    /// The configuration key.
    pub key: &'static str,
    /// Why.
    pub source: std::io::Error,
}

fn advice(e: &std::io::Error, key: &str) -> String {
    match e.kind() {
        std::io::ErrorKind::AddrInUse => {
            format!(
                "Another program uses this port (is a longshore-fleet running?): stop it, or set `{key}` to another port."
            )
        }
        std::io::ErrorKind::PermissionDenied => {
            format!("Ports below 1024 need a privilege: set `{key}` to a higher port.")
        }
        _ => format!("Set `{key}` to an address of this machine."),
    }
}

/// Binds a listener.
///
/// # Errors
/// [`ListenError`], which names `key`.
pub async fn listen(address: SocketAddr, key: &'static str) -> Result<TcpListener, ListenError> {
    TcpListener::bind(address).await.map_err(|source| ListenError { address, key, source })
}

/// Accepts until `stop`; then waits for nothing: connections end with their own tasks. Calls `serve` for every finished
/// handshake.
pub async fn run<F, Fut>(
    listener: TcpListener,
    tls: Arc<ServerConfig>,
    limits: Limits,
    stop: CancellationToken,
    tasks: TaskTracker,
    serve: F,
) where
    F: Fn(TlsStream<TcpStream>, SocketAddr) -> Fut + Clone + Send + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    let acceptor = TlsAcceptor::from(tls);
    let handshakes = Arc::new(Semaphore::new(limits.handshakes));
    let connections = Arc::new(Semaphore::new(limits.connections));
    each(listener, stop, |stream, from| {
        let Ok(handshake) = Arc::clone(&handshakes).try_acquire_owned() else {
            return tracing::debug!(%from, "closed: too many handshakes are under way");
        };
        let (acceptor, connections, serve) = (acceptor.clone(), Arc::clone(&connections), serve.clone());
        tasks.spawn(async move {
            let accepted = tokio::time::timeout(limits.handshake, acceptor.accept(stream)).await;
            drop(handshake);
            let stream = match accepted {
                Ok(Ok(stream)) => stream,
                Ok(Err(error)) => return tracing::debug!(%from, %error, "TLS handshake failed"),
                Err(_) => return tracing::debug!(%from, "TLS handshake took too long"),
            };
            let Ok(_permit) = connections.try_acquire_owned() else {
                return tracing::warn!(%from, "closed: all connection permits are in use");
            };
            serve(stream, from).await;
        });
    })
    .await;
}

/// Accepts until `stop` and hands over every connection.
pub async fn each(
    listener: TcpListener,
    stop: CancellationToken,
    mut take: impl FnMut(TcpStream, SocketAddr),
) {
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, from)) => {
                // Small packets both ways; failing to set it costs only latency.
                let _ = stream.set_nodelay(true);
                take(stream, from);
            }
            Err(error) => {
                // Out of descriptors, for example: wait for some to be closed instead of spinning.
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}
