//! Server-sent events: says *that* something changed; whoever listens reads it.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::State;
use axum::response::Sse;
use axum::response::sse::{Event, KeepAlive};
use futures_util::{Stream, StreamExt as _};
use tokio_stream::wrappers::BroadcastStream;

use super::problem::Problem;
use crate::app::Shared;
use crate::auth::Actor;
use crate::events::FleetEvent;

/// A stream of `{"kind", "id"}`, one an event; `{"kind": "lagged"}` says that some were missed: read everything again.
#[utoipa::path(get, path = "/api/v1/events", tag = "fleet",
    responses((status = 200, content_type = "text/event-stream"), (status = 401, body = Problem)))]
pub async fn stream(
    State(app): State<Shared>,
    _: Actor,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let events = BroadcastStream::new(app.events.subscribe()).map(|event| {
        let (kind, id) = match event {
            Ok(FleetEvent::Device(d)) => ("device", d.to_string()),
            Ok(FleetEvent::Rollout(r)) => ("rollout", r.to_string()),
            Ok(FleetEvent::Model(m)) => ("model", m.to_string()),
            Ok(FleetEvent::Judged(m)) => ("judged", m.to_string()),
            Ok(FleetEvent::Alerts) => ("alerts", String::new()),
            Ok(FleetEvent::Summary) => ("summary", String::new()),
            Err(_) => ("lagged", String::new()),
        };
        Ok(Event::default().data(serde_json::json!({ "kind": kind, "id": id }).to_string()))
    });
    let stopped = app.stop.clone().cancelled_owned();
    Sse::new(events.take_until(stopped)).keep_alive(KeepAlive::new().interval(Duration::from_secs(15)))
}
