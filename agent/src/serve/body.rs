//! Reading request bodies within bounds: each body, all bodies together, and the time one may take.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, StatusCode, header};
use http_body_util::BodyExt as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::refusal::Refused;

/// How long a client may pause within a body.
const PAUSE: Duration = Duration::from_secs(30);
/// All bodies in memory together may be this many times the longest one.
const TOGETHER: u64 = 4;
/// Longest body that is read only to be forgotten.
const DISCARDED: u64 = 64 * 1024;
/// The budget is counted in pieces of this size.
const PIECE: u64 = 4096;

/// The bounds.
#[derive(Debug, Clone)]
pub struct BodyBounds {
    max_bytes: u64,
    room: Arc<Semaphore>,
}

/// A body and its share of the budget, which is given back when it is dropped.
#[derive(Debug)]
pub struct Held {
    /// The bytes.
    pub bytes: Vec<u8>,
    room: Option<OwnedSemaphorePermit>,
}

impl BodyBounds {
    /// Bodies of at most `max_bytes`.
    #[must_use]
    pub fn new(max_bytes: u64) -> Self {
        let pieces = (max_bytes.saturating_mul(TOGETHER) / PIECE).clamp(16, Semaphore::MAX_PERMITS as u64);
        Self { max_bytes, room: Arc::new(Semaphore::new(pieces as usize)) }
    }

    /// Reads a body of at most `limit` bytes (and never more than the bound of all bodies).
    ///
    /// # Errors
    /// 413 as soon as it is known to be too long (before anything is read, when the client says its length), 408 when the
    /// client pauses too long, 415 when it is compressed, 503 when other bodies fill the memory, 400 when it breaks off.
    pub async fn read(&self, headers: &HeaderMap, body: Body, limit: u64) -> Result<Held, Refused> {
        if headers.get(header::CONTENT_ENCODING).is_some_and(|v| v != "identity") {
            self.discard(headers, body).await;
            let text = "Content-Encoding: compressed requests are not taken; send the body as it is";
            return Err(Refused::with(StatusCode::UNSUPPORTED_MEDIA_TYPE, text));
        }
        self.read_as_sent(headers, body, limit).await
    }

    async fn read_as_sent(&self, headers: &HeaderMap, mut body: Body, limit: u64) -> Result<Held, Refused> {
        let limit = limit.min(self.max_bytes);
        let stated = headers
            .get(header::CONTENT_LENGTH)
            .and_then(|v| v.to_str().ok())
            .and_then(|v| v.parse::<u64>().ok());
        if stated.is_some_and(|n| n > limit) {
            return Err(too_long(limit));
        }
        let mut held = Held { bytes: Vec::new(), room: None };
        self.reserve(&mut held, stated.unwrap_or(PIECE))?;
        // A stated length is only a promise: memory follows what really comes.
        held.bytes.reserve(stated.unwrap_or(0).min(1 << 20) as usize);
        loop {
            let frame = tokio::time::timeout(PAUSE, body.frame()).await.map_err(|_| {
                Refused::with(StatusCode::REQUEST_TIMEOUT, "the request body did not arrive in time")
            })?;
            let Some(frame) = frame else { return Ok(held) };
            let frame = frame.map_err(|e| Refused::bad(format!("the request body broke off: {e}")))?;
            let Ok(data) = frame.into_data() else { continue };
            let length = held.bytes.len() as u64 + data.len() as u64;
            if length > limit {
                return Err(too_long(limit));
            }
            self.reserve(&mut held, length)?;
            held.bytes.extend_from_slice(&data);
        }
    }

    /// Reads a short body to its end and forgets it, before a refusal that has nothing to do with it: what is left unread
    /// costs the client its connection, and often the answer.
    pub async fn discard(&self, headers: &HeaderMap, body: Body) {
        // Whether it could be read changes nothing.
        let _ = self.read_as_sent(headers, body, DISCARDED).await;
    }

    /// Takes as much of the budget as `length` bytes need.
    fn reserve(&self, held: &mut Held, length: u64) -> Result<(), Refused> {
        let have = held.room.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let need = (length.div_ceil(PIECE) as usize).saturating_sub(have);
        if need == 0 {
            return Ok(());
        }
        let more =
            u32::try_from(need).ok().and_then(|n| Arc::clone(&self.room).try_acquire_many_owned(n).ok());
        let Some(more) = more else {
            let text = "too many large requests at once; try again in a second";
            return Err(Refused::with(StatusCode::SERVICE_UNAVAILABLE, text));
        };
        match &mut held.room {
            Some(room) => room.merge(more),
            None => held.room = Some(more),
        }
        Ok(())
    }
}

fn too_long(limit: u64) -> Refused {
    let text = format!("the request body is longer than the {limit} bytes allowed; send smaller batches");
    Refused::with(StatusCode::PAYLOAD_TOO_LARGE, text)
}
