//! Ingest, end to end: devices with client certificates publish pre-signed windows to the embedded broker; the clock stops
//! when each device holds a signed receipt for its last message. Prints one line of JSON.
//!
//! Load generator and server share the machine, as they would on a laptop: the figure is a floor.

#[path = "../tests/server/support.rs"]
#[allow(dead_code, clippy::unwrap_used, clippy::expect_used, missing_docs)]
mod support;

use std::time::{Duration, Instant};

use longshore_stats::Counters;
use longshore_trust::{AssignmentVersion, Digest, Seq, UnixMs};
use longshore_wire::v1::{self, Hello, Receipt, Window, WindowKey, Windows};
use longshore_wire::{Topic, Up};
use rumqttc::{AsyncClient, Event, EventLoop, MqttOptions, Packet, QoS, TlsConfiguration, Transport};
use support::{Device, Home};

/// Most messages of a device without a receipt, as in `longshore_agent_core::sync::Config`.
const UNRECEIPTED: usize = 200;
/// When the fleet has been silent so long, what has no receipt is sent again.
const RESEND: Duration = Duration::from_secs(5);

/// What one run does.
struct Load {
    devices: u8,
    messages: u64,
}

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let load = Load { devices: 20, messages: 1000 };
    let (seconds, cpu, again) = runtime.block_on(run(&load));
    let total = f64::from(load.devices) * load.messages as f64;
    println!(
        "{}",
        serde_json::json!({
            "devices": load.devices,
            "messages": total,
            "sent_again": again,
            "seconds": (seconds * 100.0).round() / 100.0,
            "messages_per_s": (total / seconds).round(),
            "cpu_us_per_message_with_generator": (cpu * 1e6 / total).round(),
        })
    );
}

async fn run(load: &Load) -> (f64, f64, u64) {
    let mut home = Home::new().await;
    home.config.limits.messages_per_s = 1_000_000;
    home.config.limits.message_burst = 1_000_000;
    let running = home.start().await;
    let key = running.app.director.public();
    let mut clients = Vec::new();
    for n in 0..load.devices {
        let device = support::enrol(&home, &running.app.store, &format!("dev-{n}"), 60 + n).await;
        let messages: Vec<Vec<u8>> = (1..=load.messages).map(|seq| device.seal(seq, windows(seq))).collect();
        clients.push((
            connect(&device, running.mqtt.expect("the embedded broker runs").port()).await,
            device,
            messages,
        ));
    }
    let (begin, cpu) = (Instant::now(), cpu_seconds());
    let tasks: Vec<_> = clients
        .into_iter()
        .map(|((client, events), device, messages)| {
            tokio::spawn(send(client, events, device, messages, key.clone()))
        })
        .collect();
    let mut again = 0;
    for task in tasks {
        again += task.await.expect("a device's task does not panic");
    }
    (begin.elapsed().as_secs_f64(), cpu_seconds() - cpu, again)
}

/// A window as a device with ten classes sends it.
fn windows(seq: u64) -> Windows {
    let mut counters = Counters::with_classes(10);
    counters.requests = 300;
    counters.rows = 300;
    for class in 0..10 {
        counters.classes[class] = 30;
        counters.confusion[class * 10 + class] = 29;
    }
    for us in 1..40 {
        counters.latency_us.insert(f64::from(us * 13));
    }
    let key = WindowKey {
        model: "digits".parse().expect("a name"),
        bundle: Digest::of(b"bundle"),
        start: UnixMs(seq * 300_000),
        end: UnixMs((seq + 1) * 300_000),
    };
    Windows { windows: vec![Window { key, supplement: false, counters }] }
}

async fn connect(device: &Device, port: u16) -> (AsyncClient, EventLoop) {
    let mut options = MqttOptions::new(device.id.as_str(), "localhost", port);
    options
        .set_transport(Transport::tls_with_config(TlsConfiguration::Rustls(device.tls())))
        .set_max_packet_size(128 * 1024, 128 * 1024)
        .set_inflight(UNRECEIPTED as u16)
        .set_clean_session(true);
    let (client, mut events) = AsyncClient::new(options, 2 * UNRECEIPTED);
    client.subscribe(Topic::down_filter(&device.fleet, &device.id), QoS::AtLeastOnce).await.expect("queued");
    while !matches!(events.poll().await.expect("the broker answers"), Event::Incoming(Packet::SubAck(_))) {}
    let hello = Hello {
        stream: device.stream,
        first_unreceipted: Seq(1),
        assignment_version: AssignmentVersion(0),
        tuf_versions: std::collections::BTreeMap::new(),
        fleet_epoch: 1,
        boot: 1,
        log: Vec::new(),
    };
    let topic = device.topic(Up::Hello);
    client.publish(topic, QoS::AtLeastOnce, false, device.seal(0, hello)).await.expect("queued");
    while !matches!(events.poll().await.expect("the broker answers"), Event::Incoming(Packet::PubAck(_))) {}
    (client, events)
}

/// Publishes and polls until the last receipt, as a device does: at most [`UNRECEIPTED`] messages are on their way, and
/// what gets no receipt is sent again.
async fn send(
    client: AsyncClient,
    mut events: EventLoop,
    device: Device,
    messages: Vec<Vec<u8>>,
    key: longshore_trust::PublicKey,
) -> u64 {
    let topic = device.topic(Up::Windows);
    let last = messages.len();
    let (mut up_to, mut sent, mut again) = (0, 0, 0);
    while up_to < last {
        while sent < last.min(up_to + UNRECEIPTED) {
            let message = messages[sent].clone();
            if client.try_publish(topic.clone(), QoS::AtLeastOnce, false, message).is_err() {
                break;
            }
            sent += 1;
        }
        match tokio::time::timeout(RESEND, events.poll()).await {
            Ok(Ok(Event::Incoming(Packet::Publish(p)))) if p.topic.ends_with("/receipt") => {
                let receipt = v1::open::<Receipt>(&p.payload, &key).expect("the fleet signs its receipts");
                up_to = up_to.max(receipt.body.up_to.0 as usize);
            }
            Ok(event) => drop(event.expect("the broker stays")),
            Err(_) => {
                again += (sent - up_to) as u64;
                sent = up_to;
            }
        }
    }
    again
}

/// User and system time of this process, s.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks: f64 = fields.iter().skip(11).take(2).filter_map(|f| f.parse::<f64>().ok()).sum();
    ticks / 100.0
}
