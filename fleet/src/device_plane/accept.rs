//! HTTPS: accepted TLS connections, each with the device its certificate names.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::ConnectInfo;
use axum::{Extension, Router};
use longshore_trust::FleetId;
use rustls::ServerConfig;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::Layer as _;

use super::MaybePeer;
use crate::accept::{self, Limits};
use crate::http;
use crate::tls::Peer;

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
        let service = Extension(MaybePeer(peer)).layer(router.clone());
        let service = Extension(ConnectInfo(from)).layer(service);
        http::connection(stream, service, CONNECTION_LIFE, closing.clone())
    })
    .await;
}
