//! Trust metadata and bundle files, by names that never change their content (`timestamp.json` alone does).
//!
//! What always holds: only files that published targets metadata names are handed out, under exactly the path and digest
//! it names.

use std::ops::RangeInclusive;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Router};
use longshore_trust::Digest;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};
use tokio_util::io::ReaderStream;

use super::{MaybePeer, Problem, registered};
use crate::app::Shared;

const FOR_EVER: &str = "public, max-age=31536000, immutable";

/// `GET /trust/…`: for everybody; it is signed.
pub fn trust(app: Shared) -> Router {
    Router::new().route("/trust/{*name}", get(metadata)).with_state(app)
}

/// `GET /targets/…` for devices with a certificate.
pub(super) fn targets_for_devices(app: Shared) -> Router {
    Router::new().route("/targets/{*path}", get(target_for_device)).with_state(app)
}

/// `GET /targets/…` on the operator plane, which asks for no certificate.
pub fn targets_for_operators(app: Shared) -> Router {
    Router::new().route("/targets/{*path}", get(target)).with_state(app)
}

async fn metadata(State(app): State<Shared>, Path(name): Path<String>) -> Result<Response, Problem> {
    let bytes = app.trust.metadata(&name).await.map_err(|e| Problem::internal(&e))?;
    let Some(bytes) = bytes else {
        return Err(Problem::new(
            StatusCode::NOT_FOUND,
            "trust.not_found",
            format!("there is no metadata {name}"),
        ));
    };
    let cache = if name == "timestamp.json" { "no-cache" } else { FOR_EVER };
    let head = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, cache)];
    Ok((head, bytes).into_response())
}

async fn target_for_device(
    State(app): State<Shared>,
    peer: Extension<MaybePeer>,
    path: Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    registered(&app, &peer).await?;
    target(State(app), path, headers).await
}

async fn target(
    State(app): State<Shared>,
    Path(path): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let missing = || {
        Problem::new(
            StatusCode::NOT_FOUND,
            "targets.not_found",
            format!("no published target has the path {path:?}"),
        )
    };
    let (name, digest) = split(&path).ok_or_else(missing)?;
    if !app.store.is_target(&name, &digest).await.map_err(|e| Problem::internal(&e))? {
        return Err(missing());
    }
    let opened = app.objects.open_file(&digest).await.map_err(|e| Problem::internal(&e))?;
    let (mut file, length) = opened.ok_or_else(|| {
        Problem::internal(&format!("object {digest} of target {name} is missing from the object directory"))
    })?;
    let etag = format!("\"{digest}\"");
    let asked = headers.get(header::RANGE).and_then(|v| v.to_str().ok());
    let fits = headers.get(header::IF_RANGE).is_none_or(|v| v.as_bytes() == etag.as_bytes());
    let common = |status, length: u64| {
        Response::builder()
            .status(status)
            .header(header::CONTENT_TYPE, "application/octet-stream")
            .header(header::ACCEPT_RANGES, "bytes")
            .header(header::ETAG, etag.as_str())
            .header(header::CACHE_CONTROL, FOR_EVER)
            .header(header::CONTENT_LENGTH, length)
    };
    let answer = match asked.filter(|_| fits).map(|text| range(text, length)) {
        None | Some(Range::Ignored) => common(StatusCode::OK, length).body(stream(file, length)),
        Some(Range::Bytes(r)) => {
            let n = r.end() - r.start() + 1;
            file.seek(std::io::SeekFrom::Start(*r.start())).await.map_err(|e| Problem::internal(&e))?;
            common(StatusCode::PARTIAL_CONTENT, n)
                .header(header::CONTENT_RANGE, format!("bytes {}-{}/{length}", r.start(), r.end()))
                .body(stream(file, n))
        }
        Some(Range::Unsatisfiable) => common(StatusCode::RANGE_NOT_SATISFIABLE, 0)
            .header(header::CONTENT_RANGE, format!("bytes */{length}"))
            .body(Body::empty()),
    };
    answer.map_err(|e| Problem::internal(&e))
}

fn stream(file: tokio::fs::File, length: u64) -> Body {
    Body::from_stream(ReaderStream::with_capacity(file.take(length), 64 * 1024))
}

/// `<dir>/<sha256>.<basename>` as target path and digest.
fn split(path: &str) -> Option<(String, Digest)> {
    let (dir, file) = path.rsplit_once('/')?;
    let (digest, base) = file.split_once('.')?;
    Some((format!("{dir}/{base}"), digest.parse().ok()?))
}

#[derive(Debug, PartialEq, Eq)]
enum Range {
    /// Not a range of bytes, or several: the whole is sent.
    Ignored,
    Bytes(RangeInclusive<u64>),
    Unsatisfiable,
}

/// RFC 9110, 14.2, for one range.
fn range(text: &str, length: u64) -> Range {
    let Some(spec) = text.strip_prefix("bytes=").filter(|s| !s.contains(',')) else {
        return Range::Ignored;
    };
    let Some((first, last)) = spec.trim().split_once('-') else {
        return Range::Ignored;
    };
    let (start, end) = match (first.parse::<u64>(), last.parse::<u64>()) {
        (Ok(a), Ok(b)) if a <= b => (a, b.min(length.saturating_sub(1))),
        (Ok(a), Err(_)) if last.is_empty() => (a, length.saturating_sub(1)),
        (Err(_), Ok(n)) if first.is_empty() && n > 0 => (length.saturating_sub(n), length.saturating_sub(1)),
        _ => return Range::Ignored,
    };
    if start >= length { Range::Unsatisfiable } else { Range::Bytes(start..=end) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        assert_eq!(range("bytes=0-", 10), Range::Bytes(0..=9));
        assert_eq!(range("bytes=4-5", 10), Range::Bytes(4..=5));
        assert_eq!(range("bytes=4-99", 10), Range::Bytes(4..=9));
        assert_eq!(range("bytes=-3", 10), Range::Bytes(7..=9));
        assert_eq!(range("bytes=-30", 10), Range::Bytes(0..=9));
        assert_eq!(range("bytes=10-", 10), Range::Unsatisfiable);
        for odd in ["bytes=5-4", "bytes=a-b", "bytes=1-2,4-5", "lines=1-2", "bytes=-0", "bytes=-", "bytes"] {
            assert_eq!(range(odd, 10), Range::Ignored, "{odd}");
        }
        assert_eq!(range("bytes=0-", 0), Range::Unsatisfiable);
    }
    #[test]
    fn target_paths() {
        let d = Digest::of(b"x");
        assert_eq!(split(&format!("m/1.0.0/{d}.manifest.json")), Some(("m/1.0.0/manifest.json".into(), d)));
        assert_eq!(split("m/1.0.0/manifest.json"), None);
        assert_eq!(split("manifest.json"), None);
    }
}
