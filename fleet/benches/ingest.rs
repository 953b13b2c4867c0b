//! Ingest, end to end: devices with client certificates publish pre-signed windows to the embedded broker; the clock stops
//! when each device holds a signed receipt for its last message. Prints one line of JSON.
//!
//! Load generator and server share the machine, as they would on a laptop: the figure is a floor.

#[path = "../tests/server/support.rs"]
#[allow(dead_code, clippy::unwrap_used, clippy::expect_used, missing_docs)]
mod support;

use std::time::{Duration, Instant};

use longshore_stats::nesting::Level;
use longshore_stats::profile::Column;
use longshore_stats::quality::scores::{LabelledScores, ScoreTable};
use longshore_stats::{Counters, Profile, Recorder};
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

/// What came of it.
struct Run {
    seconds: f64,
    /// Of server and generator together.
    cpu_s: f64,
    /// Messages that had to be sent again.
    again: u64,
    bytes: usize,
}

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let load = Load { devices: 20, messages: 1000 };
    let Run { seconds, cpu_s, again, bytes } = runtime.block_on(run(&load));
    let total = f64::from(load.devices) * load.messages as f64;
    println!(
        "{}",
        serde_json::json!({
            "devices": load.devices,
            "messages": total,
            "sent_again": again,
            "seconds": (seconds * 100.0).round() / 100.0,
            "messages_per_s": (total / seconds).round(),
            "cpu_us_per_message_with_generator": (cpu_s * 1e6 / total).round(),
            "bytes_per_message": (bytes as f64 / total).round(),
        })
    );
}

async fn run(load: &Load) -> Run {
    let mut home = Home::new().await;
    home.config.limits.messages_per_s = 1_000_000;
    home.config.limits.message_burst = 1_000_000;
    let running = home.start().await;
    let key = running.app.director.public();
    let mut recorder = Recorder::new(&reference(), Level::Bins32);
    let (mut clients, mut bytes) = (Vec::new(), 0);
    for n in 0..load.devices {
        let device = support::enrol(&home, &running.app.store, &format!("dev-{n}"), 60 + n).await;
        let messages: Vec<Vec<u8>> =
            (1..=load.messages).map(|seq| device.seal(seq, windows(seq, &mut recorder))).collect();
        bytes += messages.iter().map(Vec::len).sum::<usize>();
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
    Run { seconds: begin.elapsed().as_secs_f64(), cpu_s: cpu_seconds() - cpu, again, bytes }
}

/// Reference data of a model with thirty features.
fn reference() -> Profile {
    let column = |f: u32| Column::Numeric((0..2000).map(|i| Some(f64::from(i * (f + 3) % 997))).collect());
    Profile::of(&(0..30).map(|f| (format!("f{f}"), column(f))).collect::<Vec<_>>()).expect("thirty columns")
}

/// A window as a device sends it: ten classes, thirty features, 300 rows, all with labels.
fn windows(seq: u64, recorder: &mut Recorder) -> Windows {
    let mut counters = Counters::with_classes(10);
    counters.requests = 300;
    counters.rows = 300;
    counters.scores = vec![ScoreTable::default(); 10];
    counters.judged = vec![LabelledScores::default(); 10];
    for row in 0..300u32 {
        let (class, score) = (row as usize % 10, f64::from(row * 7 % 100) / 100.0);
        counters.classes[class] += 1;
        counters.confusion[class * 10 + class] += 1;
        counters.scores[class].insert(score);
        counters.judged[class].insert(score, true);
        counters.latency_us.insert(f64::from(row * 13));
        let values: Vec<f64> = (0..30).map(|f| f64::from((row + seq as u32) * (f + 3) % 997)).collect();
        recorder.numbers(&values);
    }
    counters.profile = Some(recorder.take());
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
