//! Renewal, attested time and receipts of wipes: what a device asks with the certificate it has.
//!
//! What always holds: every route looks the device up in the registry; a certificate that is not good now gets a renewal
//! or hands in a wipe receipt, nothing else.

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as B64;
use longshore_wire::v1::{self, WipeStage, Wiped};
use serde::{Deserialize, Serialize};

use super::{MaybePeer, NonceAnswer, Plane, Problem, gone, random, shown};
use crate::app;
use crate::enrol::{RenewError, RenewRequest, may_renew, renew};
use crate::events::FleetEvent;
use crate::store::{audit, device, identity};

fn refusal(e: &RenewError) -> Response {
    let status = match e {
        RenewError::Store(e) => return Problem::internal(e).into_response(),
        RenewError::Early(_) => StatusCode::CONFLICT,
        RenewError::Request(_) | RenewError::Statement(_) | RenewError::Nonce => StatusCode::BAD_REQUEST,
        RenewError::Revoked(_) | RenewError::Superseded(_) => StatusCode::FORBIDDEN,
    };
    Problem::new(status, e.code(), e.to_string()).into_response()
}

pub(super) async fn renew_nonce(State(plane): State<Plane>, peer: Extension<MaybePeer>) -> Response {
    let peer = match shown(&peer) {
        Ok(peer) => peer,
        Err(problem) => return problem.into_response(),
    };
    let now = app::now();
    if let Err(e) = may_renew(&plane.app.store, &peer, now).await {
        return refusal(&e);
    }
    match random().map(|random| plane.nonces.open(random, peer.cert_sha256, now)) {
        Err(problem) => problem.into_response(),
        Ok(Some(nonce)) => Json(NonceAnswer { nonce: B64.encode(nonce) }).into_response(),
        Ok(None) => Problem::new(
            StatusCode::TOO_MANY_REQUESTS,
            "renew.busy",
            "too many renewals are under way: try again in two minutes",
        )
        .into_response(),
    }
}

#[derive(Deserialize)]
pub(super) struct RenewBody {
    statement: String,
    csr_pem: String,
}
#[derive(Serialize)]
struct RenewAnswer {
    cert_pem: String,
}

pub(super) async fn renew_certificate(
    State(plane): State<Plane>,
    peer: Extension<MaybePeer>,
    Json(body): Json<RenewBody>,
) -> Response {
    let peer = match shown(&peer) {
        Ok(peer) => peer,
        Err(problem) => return problem.into_response(),
    };
    let Ok(statement) = B64.decode(&body.statement) else {
        return refusal(&RenewError::Statement("it is not base64".into()));
    };
    let request = RenewRequest { statement, csr_pem: body.csr_pem };
    match renew(&plane.app.store, &plane.issuer(), &plane.nonces, &peer, request, app::now()).await {
        Ok(certificate) => {
            plane.app.events.publish(FleetEvent::Device(peer.device));
            Json(RenewAnswer { cert_pem: certificate.pem }).into_response()
        }
        Err(e) => {
            tracing::warn!(device = %peer.device, code = e.code(), error = %e, "refused a renewal");
            refusal(&e)
        }
    }
}

#[derive(Serialize)]
pub(super) struct Proof {
    device: String,
    certificate: String,
}

/// A connection with the new certificate is the proof: whoever sees it first (here or MQTT) ends the old one.
pub(super) async fn prove(
    State(plane): State<Plane>,
    peer: Extension<MaybePeer>,
) -> Result<Json<Proof>, Problem> {
    let peer = super::registered(&plane.app, &peer).await?;
    Ok(Json(Proof { device: peer.device.to_string(), certificate: peer.cert_sha256.to_string() }))
}

#[derive(Deserialize)]
pub(super) struct TimeBody {
    nonce: String,
}

pub(super) async fn time(
    State(plane): State<Plane>,
    peer: Extension<MaybePeer>,
    Json(body): Json<TimeBody>,
) -> Result<Response, Problem> {
    let peer = super::registered(&plane.app, &peer).await?;
    let nonce = B64.decode(&body.nonce).ok().and_then(|n| <[u8; 32]>::try_from(n).ok()).ok_or_else(|| {
        Problem::new(StatusCode::BAD_REQUEST, "time.nonce", "the nonce is not 32 bytes of base64")
    })?;
    let answer = plane.app.director.attest(&peer.device, nonce, app::now());
    let answer = answer.map_err(|e| Problem::internal(&e))?.ok_or_else(|| {
        Problem::new(
            StatusCode::NOT_FOUND,
            "time.no_key",
            "this fleet has no time key: make one with `longshore keys new --role time`, add it with `longshore keys rotate time`",
        )
    })?;
    Ok(([(header::CONTENT_TYPE, "application/octet-stream")], answer).into_response())
}

#[derive(Deserialize)]
pub(super) struct WipedBody {
    statement: String,
}

/// Keeps a wipe receipt. After the last one the device's identity is revoked, in the same transaction. What proves it is
/// the report key: a device that was interrupted while its certificate was renewed may have only the one before.
pub(super) async fn wiped(
    State(plane): State<Plane>,
    peer: Extension<MaybePeer>,
    Json(body): Json<WipedBody>,
) -> Result<Json<serde_json::Value>, Problem> {
    let peer = shown(&peer)?;
    let wrong = |why: String| Problem::new(StatusCode::BAD_REQUEST, "wipe.receipt", why);
    let bytes = B64.decode(&body.statement).map_err(|_| wrong("the receipt is not base64".into()))?;
    let identity = plane.app.store.device_identity(&peer.device).await.map_err(|e| Problem::internal(&e))?;
    let identity = identity.ok_or_else(|| gone(&peer))?;
    let message = v1::open::<Wiped>(&bytes, &identity.report_key).map_err(|e| {
        // Of a board that was replaced: nobody waits for its receipt.
        if identity.admits(&peer.cert_sha256) { wrong(format!("the receipt: {e}")) } else { gone(&peer) }
    })?;
    let (header, said) = (&message.header, &message.body);
    if header.fleet != plane.app.fleet || header.device != peer.device {
        return Err(wrong("the receipt was signed for another device".into()));
    }
    let internal = |e: crate::store::StoreError| Problem::internal(&e);
    let now = app::now();
    let mut tx = plane.app.store.write().await.map_err(internal)?;
    // It may have been asked more than once, and a registry restored from a backup has forgotten the first time.
    if identity::wipe_seq(&mut tx, &peer.device).await.map_err(internal)?.is_none_or(|asked| said.seq > asked)
    {
        return Err(wrong(format!(
            "device {} was not told to wipe itself by command {}",
            peer.device, said.seq
        )));
    }
    let new =
        identity::insert_wipe_receipt(&mut tx, &peer.device, said.seq, said.stage, &bytes, header.time, now)
            .await
            .map_err(internal)?;
    let name = peer.device.as_str();
    if new {
        let detail = format!(
            "{}: {} bundles, {} files, {} bytes",
            said.stage.as_str(),
            said.bundles,
            said.files,
            said.bytes
        );
        audit::record(&mut tx, now, name, "device.wiped", name, &detail).await.map_err(internal)?;
    }
    let done = said.stage == WipeStage::Done;
    if done {
        identity::retire_keys(&mut tx, &peer.device, "decommissioned", now).await.map_err(internal)?;
        identity::set_wiped(&mut tx, &peer.device, now).await.map_err(internal)?;
        device::revoke(&mut tx, &peer.device, now).await.map_err(internal)?;
    }
    tx.commit().await.map_err(internal)?;
    if done {
        tracing::info!(device = name, "decommissioned");
        plane.app.gateway.disconnect(peer.device.clone());
    }
    plane.app.events.publish(FleetEvent::Device(peer.device));
    plane.app.events.publish(FleetEvent::Summary);
    Ok(Json(serde_json::json!({ "kept": said.stage })))
}
