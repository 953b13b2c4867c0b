//! The browser files, embedded in the program. Their addresses carry a part of their hash, so they may be kept for ever.

use std::fmt::Write as _;
use std::sync::LazyLock;

use axum::extract::{Path, Query};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use rust_embed::RustEmbed;
use serde::Deserialize;

#[derive(RustEmbed)]
#[folder = "assets/dist"]
struct Files;

/// Addresses of the files a page loads.
#[derive(Debug)]
pub(super) struct Urls {
    pub(super) css: String,
    pub(super) js: String,
    pub(super) htmx: String,
    pub(super) sse: String,
    pub(super) morph: String,
    pub(super) icon: String,
}

/// As they are in this program.
pub(super) static URLS: LazyLock<Urls> = LazyLock::new(|| Urls {
    css: url("console.css"),
    js: url("console.js"),
    htmx: url("htmx.min.js"),
    sse: url("htmx-sse.min.js"),
    morph: url("idiomorph.min.js"),
    icon: url("icon.svg"),
});

fn tag(file: &rust_embed::EmbeddedFile) -> String {
    file.metadata.sha256_hash().iter().take(8).fold(String::new(), |mut out, byte| {
        // Writing to a string cannot fail.
        let _ = write!(out, "{byte:02x}");
        out
    })
}

fn url(name: &str) -> String {
    let file = Files::get(name).expect("build.rs refuses to build without this file");
    format!("/assets/{name}?v={}", tag(&file))
}

#[derive(Deserialize)]
pub(super) struct Version {
    v: Option<String>,
}

/// `GET /assets/{name}`: open to everybody, it is the same in every copy of the program.
pub(super) async fn file(
    Path(name): Path<String>,
    Query(asked): Query<Version>,
    headers: HeaderMap,
) -> Response {
    let Some(file) = Files::get(&name) else {
        return (StatusCode::NOT_FOUND, "no such file").into_response();
    };
    let tag = tag(&file);
    let etag = format!("\"{tag}\"");
    let kept =
        if asked.v.as_deref() == Some(&tag) { "public, max-age=31536000, immutable" } else { "no-cache" };
    let mut out = HeaderMap::new();
    out.insert(header::CACHE_CONTROL, HeaderValue::from_static(kept));
    if let Ok(value) = HeaderValue::from_str(&etag) {
        out.insert(header::ETAG, value);
    }
    if headers.get(header::IF_NONE_MATCH).is_some_and(|v| v.as_bytes() == etag.as_bytes()) {
        return (StatusCode::NOT_MODIFIED, out).into_response();
    }
    if let Ok(value) = HeaderValue::from_str(file.metadata.mimetype()) {
        out.insert(header::CONTENT_TYPE, value);
    }
    (out, file.data.into_owned()).into_response()
}
