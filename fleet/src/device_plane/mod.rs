//! HTTPS for devices: enrolment, renewal, time, trust metadata, bundle files.
//!
//! What always holds: bundle files go only to a device whose certificate this CA signed and whose registry entry stands;
//! a slow or silent client costs one of a bounded number of permits and never holds up another.

mod accept;
mod files;
mod identity;
mod problem;

use axum::extract::{DefaultBodyLimit, Query, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as B64;
use longshore_trust::Digest;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

pub use accept::serve;
pub use files::{targets_for_operators, trust};
pub use problem::Problem;

use crate::app::{self, Shared};
use crate::enrol::{self, EnrolError, EnrolRequest, Issuer, Nonces};
use crate::store::device::DeviceIdentity;
use crate::tls::{Ca, Peer};

/// Largest request body of a device, bytes.
const MAX_BODY_BYTES: usize = 256 * 1024;

/// Who is at the other end of this connection, if it showed a certificate.
#[derive(Debug, Clone)]
pub struct MaybePeer(pub Option<Peer>);

/// What the routes need beside the app.
#[derive(Clone)]
struct Plane {
    app: Shared,
    ca: Arc<Ca>,
    nonces: Arc<Nonces>,
    mqtt_url: Arc<str>,
}

impl Plane {
    fn issuer(&self) -> Issuer<'_> {
        Issuer {
            ca: &self.ca,
            fleet: &self.app.fleet,
            director: &self.app.director,
            life_s: self.app.config.certificates.life_s,
        }
    }
}

/// All routes for devices.
pub fn router(app: Shared, ca: Arc<Ca>, mqtt_url: &str) -> Router {
    let plane =
        Plane { app: Arc::clone(&app), ca, nonces: Arc::new(Nonces::default()), mqtt_url: mqtt_url.into() };
    Router::new()
        .route("/device/v1/bootstrap", get(bootstrap))
        .route("/device/v1/enroll/nonce", post(nonce))
        .route("/device/v1/enroll", post(enroll))
        .route("/device/v1/renew/nonce", post(identity::renew_nonce))
        .route("/device/v1/renew", post(identity::renew_certificate))
        .route("/device/v1/renew/proof", post(identity::prove))
        .route("/device/v1/time", post(identity::time))
        .route("/device/v1/wiped", post(identity::wiped))
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .with_state(plane)
        .merge(files::trust(Arc::clone(&app)))
        .merge(files::targets_for_devices(app))
        .fallback(async || {
            Problem::new(StatusCode::NOT_FOUND, "not_found", "there is nothing under this path")
        })
}

#[derive(Serialize)]
struct Bootstrap {
    fleet: String,
    ca_pem: String,
    root_json: String,
    mqtt_url: String,
}

#[derive(Deserialize)]
struct BootstrapQuery {
    /// SHA-256 of the root that the token pins.
    root: Option<Digest>,
}

async fn bootstrap(
    State(plane): State<Plane>,
    Query(query): Query<BootstrapQuery>,
) -> Result<Json<Bootstrap>, Problem> {
    // From the pinned root the device goes on by the ordinary trust update.
    let roots = plane.app.store.roots().await.map_err(|e| Problem::internal(&e))?;
    let root = match query.root {
        None => roots.into_iter().next_back(),
        Some(pinned) => roots.into_iter().find(|bytes| Digest::of(bytes) == pinned),
    };
    let root = root.ok_or_else(|| {
        Problem::new(
            StatusCode::NOT_FOUND,
            "device.root",
            "this fleet never had the root of trust that the token pins: is the token of another fleet?",
        )
    })?;
    Ok(Json(Bootstrap {
        fleet: plane.app.fleet.to_string(),
        ca_pem: plane.ca.pem().to_owned(),
        root_json: B64.encode(root),
        mqtt_url: plane.mqtt_url.to_string(),
    }))
}

#[derive(Deserialize)]
struct NonceRequest {
    token_hash: Digest,
}
#[derive(Serialize)]
struct NonceAnswer {
    nonce: String,
}

async fn nonce(
    State(plane): State<Plane>,
    Json(request): Json<NonceRequest>,
) -> Result<Json<NonceAnswer>, Problem> {
    let now = app::now();
    let live = plane.app.store.token_is_live(&request.token_hash, now).await;
    if !live.map_err(|e| Problem::internal(&e))? {
        return Err(refusal(&EnrolError::TokenUnknown));
    }
    let nonce = plane.nonces.open(random()?, request.token_hash, now).ok_or_else(|| {
        Problem::new(
            StatusCode::TOO_MANY_REQUESTS,
            "enrol.busy",
            "too many claims are under way: try again in two minutes",
        )
    })?;
    Ok(Json(NonceAnswer { nonce: B64.encode(nonce) }))
}

fn random() -> Result<[u8; 32], Problem> {
    let mut random = [0u8; 32];
    getrandom::fill(&mut random).map_err(|e| Problem::internal(&e))?;
    Ok(random)
}

#[derive(Deserialize)]
struct EnrollBody {
    claim: String,
    csr_pem: String,
    report_key: String,
    #[serde(default)]
    labels: serde_json::Map<String, serde_json::Value>,
}
#[derive(Serialize)]
struct EnrollAnswer {
    device: String,
    cert_pem: String,
    ca_pem: String,
    mqtt_url: String,
    /// Epoch and number of the last command that was not meant for this board.
    commands_after: (u64, u64),
    /// Version of the last assignment that was not meant for this board.
    assignments_after: u64,
}

async fn enroll(
    State(plane): State<Plane>,
    Json(body): Json<EnrollBody>,
) -> Result<Json<EnrollAnswer>, Problem> {
    let decode = |field: &'static str, text: &str| {
        B64.decode(text).map_err(|_| {
            Problem::new(StatusCode::BAD_REQUEST, "enrol.encoding", format!("{field} is not base64"))
        })
    };
    let request = EnrolRequest {
        claim: decode("claim", &body.claim)?,
        csr_pem: body.csr_pem,
        report_key: decode("report_key", &body.report_key)?,
        labels: body.labels,
    };
    let app = &plane.app;
    let enrolled = enrol::enrol(&app.store, &plane.issuer(), &plane.nonces, request, app::now())
        .await
        .map_err(|e| refusal(&e))?;
    // Also closes the connection of a board that was replaced.
    app.gateway.disconnect(enrolled.device.clone());
    app.events.publish(crate::events::FleetEvent::Device(enrolled.device.clone()));
    app.events.publish(crate::events::FleetEvent::Summary);
    Ok(Json(EnrollAnswer {
        device: enrolled.device.to_string(),
        cert_pem: enrolled.certificate.pem,
        ca_pem: plane.ca.pem().to_owned(),
        mqtt_url: plane.mqtt_url.to_string(),
        commands_after: enrolled.commands_after,
        assignments_after: enrolled.assignments_after,
    }))
}

fn refusal(e: &EnrolError) -> Problem {
    if let EnrolError::Store(_) | EnrolError::Director(_) = e {
        return Problem::internal(e);
    }
    let status = match e {
        EnrolError::Exists(_) | EnrolError::TokenUsed(_) => StatusCode::CONFLICT,
        EnrolError::Claim(_) | EnrolError::Request(_) | EnrolError::Labels => StatusCode::BAD_REQUEST,
        _ => StatusCode::FORBIDDEN,
    };
    tracing::warn!(code = e.code(), error = %e, "refused a claim");
    Problem::new(status, e.code(), e.to_string())
}

/// The certificate that was shown; nothing is known of it but that our CA signed it.
fn shown(peer: &Extension<MaybePeer>) -> Result<Peer, Problem> {
    peer.0.0.clone().ok_or_else(|| {
        Problem::new(
            StatusCode::UNAUTHORIZED,
            "device.certificate",
            "show the client certificate that enrolment gave to this device",
        )
    })
}

/// The device behind the certificate, if its registry entry stands and this is one of its own. Whatever its dates are.
async fn known(app: &Shared, peer: &Extension<MaybePeer>) -> Result<(Peer, DeviceIdentity), Problem> {
    let peer = shown(peer)?;
    let identity = app.store.device_identity(&peer.device).await.map_err(|e| Problem::internal(&e))?;
    match identity {
        Some(i) if i.admits(&peer.cert_sha256) => Ok((peer, i)),
        _ => Err(gone(&peer)),
    }
}

/// Nobody is known by this certificate.
fn gone(peer: &Peer) -> Problem {
    Problem::new(
        StatusCode::FORBIDDEN,
        "device.revoked",
        format!("device {} was revoked, or has a newer certificate: enrol it again", peer.device),
    )
}

/// Like [`known`], with a certificate that is good now. A new one that is seen for the first time ends the old one.
async fn registered(app: &Shared, peer: &Extension<MaybePeer>) -> Result<Peer, Problem> {
    let (peer, identity) = known(app, peer).await?;
    if !peer.is_good(app::now()) {
        return Err(Problem::new(
            StatusCode::FORBIDDEN,
            "device.certificate_expired",
            format!(
                "the certificate of device {} has expired (or is dated in the future): it is good for a renewal only",
                peer.device
            ),
        ));
    }
    let next = identity.next_cert_sha256.as_ref();
    if enrol::shown(&app.store, &peer, next).await.map_err(|e| Problem::internal(&e))? {
        // Whatever is connected with the old one comes back with the new one.
        app.gateway.disconnect(peer.device.clone());
    }
    Ok(peer)
}
