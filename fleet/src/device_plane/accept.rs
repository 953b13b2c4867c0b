//! HTTP/1.1 over the accepted TLS connections of devices.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use longshore_trust::FleetId;
use rustls::ServerConfig;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::Layer as _;

use super::MaybePeer;
use crate::accept::{self, Limits};
use crate::tls::Peer;

/// Longest time for the head of a request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(15);
/// Longest life of a connection: a stalled download gives its permit back, and resumes by range.
const CONNECTION_LIFE: Duration = Duration::from_secs(3600);

/// Serves `router` on `listener` until `stop`; requests under way are finished.
pub async fn serve(
    listener: TcpListener,
    tls: Arc<ServerConfig>,
    limits: Limits,
    router: Router,
    fleet: FleetId,
    stop: CancellationToken,
    tasks: TaskTracker,
) {
    let closing = stop.clone();
    accept::run(listener, tls, limits, stop, tasks, move |stream, from| {
        let peer = Peer::of(stream.get_ref().1.peer_certificates(), &fleet);
        let service = axum::Extension(MaybePeer(peer)).layer(router.clone());
        let stop = closing.clone();
        async move {
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_TIMEOUT)
                .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
            tokio::pin!(connection);
            let life = tokio::time::sleep(CONNECTION_LIFE);
            let ended = tokio::select! {
                ended = connection.as_mut() => ended,
                () = stop.cancelled() => {
                    connection.as_mut().graceful_shutdown();
                    let grace = tokio::time::timeout(Duration::from_secs(5), connection).await;
                    grace.unwrap_or(Ok(()))
                }
                () = life => Ok(()),
            };
            if let Err(error) = ended {
                tracing::debug!(%from, %error, "a device connection ended");
            }
        }
    })
    .await;
}
