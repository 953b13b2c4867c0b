//! Upload of bundle files, by their SHA-256.

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use futures_util::StreamExt as _;
use longshore_trust::Digest;
use serde::Serialize;
use utoipa::ToSchema;

use super::problem::Problem;
use crate::app::{Shared, now};
use crate::auth::Actor;
use crate::objects::ObjectError;
use crate::store::catalogue;

/// Longest pause between two pieces of an upload.
const STALL: std::time::Duration = std::time::Duration::from_secs(60);

/// A stored file.
#[derive(Serialize, ToSchema)]
pub struct Stored {
    /// Its name.
    sha256: String,
    /// Its length, bytes.
    length: u64,
}

/// Stores a file under its SHA-256. Storing it twice does no harm.
#[utoipa::path(put, path = "/api/v1/objects/{sha256}", tag = "models",
    params(("sha256" = String, Path, description = "64 lower-case hex digits")),
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses((status = 200, body = Stored), (status = 413, body = Problem), (status = 422, body = Problem)))]
pub async fn put(
    State(app): State<Shared>,
    _: Actor,
    Path(sha256): Path<String>,
    body: Body,
) -> Result<Json<Stored>, Problem> {
    let digest: Digest = sha256
        .parse()
        .map_err(|e: longshore_trust::IdError| Problem::invalid("object.name", e.to_string()))?;
    let refused = |e: ObjectError| match e {
        ObjectError::Io { .. } => Problem::internal(&e),
        ObjectError::Digest { .. } => Problem::invalid("object.digest", e.to_string()),
        ObjectError::TooLong { .. } => {
            Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "object.too_large", e.to_string())
        }
    };
    let mut writer = app.objects.writer(app.config.limits.object_bytes).await.map_err(refused)?;
    let mut stream = body.into_data_stream();
    loop {
        let chunk = tokio::time::timeout(STALL, stream.next()).await.map_err(|_| {
            Problem::new(StatusCode::REQUEST_TIMEOUT, "object.stalled", "the upload stood still")
        })?;
        match chunk {
            None => break,
            Some(Ok(bytes)) => writer.write(&bytes).await.map_err(refused)?,
            Some(Err(e)) => {
                return Err(Problem::bad_request("object.broken", format!("the upload broke off: {e}")));
            }
        }
    }
    let length = writer.finish(&digest).await.map_err(refused)?;
    let mut tx = app.store.write().await?;
    catalogue::put_object(&mut tx, &digest, length, now()).await?;
    tx.commit().await?;
    Ok(Json(Stored { sha256: digest.to_hex(), length }))
}
