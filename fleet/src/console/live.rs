//! Tells open pages that what they show has changed, by server-sent events. The page then asks for itself again.
//!
//! What always holds: a burst of changes becomes one message, and each page gets it at a moment of its own; a page that was told too late is told once more, never
//! not at all; the connection ends when the server stops, and after some minutes, so that a lost session is noticed.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::{Query, State};
use axum::http::{HeaderValue, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use serde::Deserialize;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::shell::Ctx;
use crate::app::Shared;
use crate::events::FleetEvent;

/// Pages about one thing are told after this long: a person watches.
const CLOSE: Duration = Duration::from_millis(400);
/// Pages about the whole fleet, where something changes all the time.
const WIDE: Duration = Duration::from_millis(1500);
/// Rows were counted somewhere, nothing else: sums may be as old as this.
const SUMS: Duration = Duration::from_secs(5);
/// When the server is away, a browser tries again after this, and up to twice this.
const RETRY: Duration = Duration::from_secs(2);
/// How long one connection lasts. The browser opens the next one by itself.
const LONGEST: Duration = Duration::from_secs(600);

/// What a page shows; nothing given means the whole fleet.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct Topic {
    device: Option<String>,
    model: Option<String>,
    /// A model whose verdicts are shown; empty for all models.
    judged: Option<String>,
    rollout: Option<String>,
    /// Only alerts; the value says nothing.
    alerts: Option<String>,
}

impl Topic {
    fn is_wide(&self) -> bool {
        let none = [&self.device, &self.model, &self.judged, &self.rollout, &self.alerts];
        none.into_iter().all(Option::is_none)
    }
    /// How long to wait before this event is told; `None` when it does not touch the page.
    fn pause(&self, event: &FleetEvent) -> Option<Duration> {
        self.touches(event).then(|| match event {
            FleetEvent::Summary => SUMS,
            _ if self.is_wide() => WIDE,
            _ => CLOSE,
        })
    }
    fn touches(&self, event: &FleetEvent) -> bool {
        match event {
            FleetEvent::Device(id) => self.is_wide() || self.device.as_deref() == Some(id.as_str()),
            FleetEvent::Model(name) => self.is_wide() || self.model.as_deref() == Some(name.as_str()),
            FleetEvent::Judged(name) => {
                let shown = self.judged.as_deref().is_some_and(|j| j.is_empty() || j == name.as_str());
                shown || self.is_wide() || self.model.as_deref() == Some(name.as_str())
            }
            FleetEvent::Rollout(id) => self.is_wide() || self.rollout.as_deref() == Some(id.as_str()),
            // The number of them is on every page, but a page about one thing shows nothing else of them.
            FleetEvent::Alerts => self.alerts.is_some() || self.is_wide(),
            // Rows were counted somewhere: models and rollouts show sums of them.
            FleetEvent::Summary => self.device.is_none() && self.judged.is_none() && self.alerts.is_none(),
        }
    }
}

struct Listener {
    events: Receiver<FleetEvent>,
    topic: Topic,
    stop: CancellationToken,
    /// 0 in tests: nothing is waited for.
    pace: u32,
    end: Instant,
    first: bool,
}

impl Listener {
    /// Waits for something that touches the page and for the burst to be over. `None` when the connection must end.
    async fn changed(&mut self) -> Option<()> {
        // What changed between the making of the page and this connection is made good at once.
        if std::mem::take(&mut self.first) {
            return Some(());
        }
        // Many pages show the same: they do not all ask at the same moment.
        let spread = 1.0 + crate::app::jitter();
        let mut due: Option<Instant> = None;
        loop {
            let event = tokio::select! {
                () = self.stop.cancelled() => return None,
                () = sleep_until(self.end) => return None,
                () = sleep_until(due.unwrap_or(self.end)), if due.is_some() => break,
                event = self.events.recv() => event,
            };
            let pause = match event {
                Ok(event) => self.topic.pause(&event),
                Err(RecvError::Lagged(_)) => Some(WIDE),
                Err(RecvError::Closed) => return None,
            };
            if let Some(pause) = pause {
                // What a person waits for does not wait behind sums.
                let at = Instant::now() + pause.mul_f64(spread) * self.pace;
                due = Some(due.map_or(at, |d| d.min(at)));
            }
        }
        // The page reads the store after this; what is in the queue by now is in the store already.
        while !matches!(self.events.try_recv(), Err(TryRecvError::Empty | TryRecvError::Closed)) {}
        Some(())
    }
}

/// `GET /live`: says `changed` whenever the topic changed.
pub(super) async fn stream(State(app): State<Shared>, _ctx: Ctx, Query(topic): Query<Topic>) -> Response {
    let listener = Listener {
        events: app.events.subscribe(),
        pace: 1,
        topic,
        stop: app.stop.clone(),
        end: Instant::now() + LONGEST,
        first: true,
    };
    let events = stream::unfold(listener, |mut listener| async move {
        listener.changed().await?;
        let event =
            Event::default().event("changed").data("1").retry(RETRY.mul_f64(1.0 + crate::app::jitter()));
        Some((Ok::<_, Infallible>(event), listener))
    });
    let mut response =
        Sse::new(events).keep_alive(KeepAlive::new().interval(Duration::from_secs(20))).into_response();
    // A proxy that buffers would hold the events back.
    response.headers_mut().insert("x-accel-buffering", HeaderValue::from_static("no"));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use longshore_trust::{DeviceId, RolloutId};

    fn device(id: &str) -> FleetEvent {
        FleetEvent::Device(DeviceId::new(id).unwrap())
    }
    fn listener(bus: &crate::events::Bus, topic: Topic) -> Listener {
        Listener {
            events: bus.subscribe(),
            topic,
            stop: CancellationToken::new(),
            pace: 0,
            end: Instant::now() + LONGEST,
            first: false,
        }
    }

    #[test]
    fn a_page_hears_only_of_what_it_shows() {
        let one = Topic { device: Some("a".into()), ..Topic::default() };
        assert!(one.touches(&device("a")));
        assert!(!one.touches(&device("b")));
        assert!(!one.touches(&FleetEvent::Summary));
        assert!(Topic::default().touches(&device("b")));
        let judged = Topic { judged: Some("m".into()), ..Topic::default() };
        assert!(judged.touches(&FleetEvent::Judged("m".parse().unwrap())));
        assert!(!judged.touches(&FleetEvent::Judged("n".parse().unwrap())));
        assert!(!judged.touches(&FleetEvent::Summary), "rows alone change no verdict");
        let all = Topic { judged: Some(String::new()), ..Topic::default() };
        assert!(all.touches(&FleetEvent::Judged("n".parse().unwrap())));
        let rollout = Topic { rollout: Some("r".into()), ..Topic::default() };
        assert!(rollout.touches(&FleetEvent::Rollout(RolloutId::new("r").unwrap())));
        assert!(rollout.touches(&FleetEvent::Summary));
        let moved = FleetEvent::Rollout(RolloutId::new("r").unwrap());
        assert!(
            rollout.pause(&moved) < rollout.pause(&FleetEvent::Summary),
            "sums may wait, transitions not"
        );
    }

    #[tokio::test]
    async fn a_burst_is_one_message_and_lag_is_a_message() {
        let bus = crate::events::Bus::new();
        let mut heard = listener(&bus, Topic::default());
        // More than the bus keeps: the listener lags.
        (0..5000).for_each(|_| bus.publish(FleetEvent::Summary));
        assert_eq!(heard.changed().await, Some(()));
        bus.publish(device("a"));
        assert_eq!(heard.changed().await, Some(()));
        assert!(matches!(heard.events.try_recv(), Err(TryRecvError::Empty)));
    }

    #[tokio::test]
    async fn the_connection_ends_when_the_server_stops_and_when_it_is_old() {
        let bus = crate::events::Bus::new();
        let mut heard = listener(&bus, Topic::default());
        heard.stop.cancel();
        assert_eq!(heard.changed().await, None);
        let mut old = listener(&bus, Topic::default());
        old.end = Instant::now();
        assert_eq!(old.changed().await, None);
    }
}
