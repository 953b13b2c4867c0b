//! Messages between device and fleet, topics, and packets between supervisor and engine.

use longshore_agent::engine::protocol::{FromEngine, ToEngine};
use longshore_stats::Counters;
use longshore_trust::{Envelope, Kind, Seq, SigningKey, StreamId, TimeQuality, UnixMs};
use longshore_wire::Topic;
use longshore_wire::v1::{
    Assignment, Body, Claim, Command, Events, Header, Hello, Message, Receipt, Report, SCHEMA, Windows, open,
};
use serde::{Serialize, de::DeserializeOwned};

fn key() -> SigningKey {
    SigningKey::from_seed(&[9; 32])
}

pub fn message_seeds() -> Vec<Vec<u8>> {
    let header = Header {
        schema: SCHEMA,
        fleet: "demo".parse().expect("a name"),
        device: "dev-1".parse().expect("a name"),
        stream: StreamId(1),
        seq: Seq(2),
        time: UnixMs(1_800_000_000_000),
        time_quality: TimeQuality::Ntp,
    };
    let header = postcard::to_stdvec(&header).expect("headers encode");
    // Zeros are the empty or first of everything; what is too many of them stands behind the message.
    let mut out = Vec::new();
    for kind in Kind::ALL {
        out.push([&[kind as u8][..], &header, &[0; 64]].concat());
    }
    out
}

/// The first byte is the kind, the rest the body, rightly signed: the sender is a device or director that was taken over.
pub fn message(bytes: &[u8]) {
    let Some((kind, body)) = bytes.split_first() else { return };
    match Kind::from_u8(*kind) {
        Some(Kind::Hello) => read::<Hello>(body),
        Some(Kind::Report) => read::<Report>(body),
        Some(Kind::Windows) => read::<Windows>(body),
        Some(Kind::Events) => read::<Events>(body),
        Some(Kind::Assignment) => read::<Assignment>(body),
        Some(Kind::Command) => read::<Command>(body),
        Some(Kind::Receipt) => read::<Receipt>(body),
        Some(Kind::Claim) => read::<Claim>(body),
        _ => {}
    }
}

fn read<B: Body>(body: &[u8]) {
    let taken = postcard::take_from_bytes::<Message<B>>(body).ok().map(|(_, rest)| body.len() - rest.len());
    let Ok(sealed) = Envelope::seal(B::KIND, body.to_vec(), &key()) else { return };
    let whole = open::<B>(&sealed, &key().public());
    if taken != Some(body.len()) {
        assert!(whole.is_err(), "bytes behind a message are refused");
    }
    // What stands before them is a message of its own, unless it is of another schema.
    let Some(exact) = taken.and_then(|n| Envelope::seal(B::KIND, body[..n].to_vec(), &key()).ok()) else {
        return;
    };
    if let Ok(message) = open::<B>(&exact, &key().public()) {
        fixed(&*message);
        sum(&*message);
    }
}

/// The counts of a liar are added to those of others.
fn sum<B: Body>(message: &Message<B>) {
    let bytes = postcard::to_stdvec(message).expect("what was read encodes");
    if B::KIND != Kind::Windows {
        return;
    }
    let windows: Message<Windows> = postcard::from_bytes(&bytes).expect("it is of this kind");
    let mut total = Counters::default();
    for w in &windows.body.windows {
        for _ in 0..2 {
            // Tables of different sizes are refused.
            let _ = total.merge(&w.counters);
        }
        let _ = (total.latency_us.quantile(0.99), total.labelled(), total.correct(), total.is_empty());
    }
}

/// Encodes, reads and encodes again: the same bytes (values may hold a NaN, which equals nothing).
fn fixed<T: Serialize + DeserializeOwned>(value: &T) {
    let once = postcard::to_stdvec(value).expect("what was read encodes");
    let (again, rest) = postcard::take_from_bytes::<T>(&once).expect("what was encoded is read");
    assert!(rest.is_empty(), "to its end");
    assert_eq!(postcard::to_stdvec(&again).expect("it encoded before"), once, "as the same");
}

pub fn topic_seeds() -> Vec<Vec<u8>> {
    let topics = ["ls/1/demo/dev-1/up/report", "ls/1/demo/dev-1/down/command", "ls/1/demo/dev-1/up/+"];
    let mut out: Vec<Vec<u8>> = topics.iter().map(|t| t.as_bytes().to_vec()).collect();
    let (fleet, device) = ("demo".parse().expect("a name"), "dev-1".parse().expect("a name"));
    out.push(Topic::down_filter(&fleet, &device).into_bytes());
    out.push(Topic::up(&fleet, &device, longshore_wire::Up::Report).to_string().into_bytes());
    out
}

/// What parses is written as it was read.
pub fn topic(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(topic) = Topic::parse(text) {
        assert_eq!(topic.to_string(), text);
    }
}

pub fn packet_seeds() -> Vec<Vec<u8>> {
    let bytes = |p: &FromEngine| postcard::to_stdvec(p).expect("packets encode");
    vec![
        bytes(&FromEngine::Ready { sandbox: vec!["seccomp".into()] }),
        bytes(&FromEngine::Pong(7)),
        bytes(&FromEngine::LoadFailed {
            load: longshore_agent::engine::protocol::LoadId(3),
            reason: longshore_wire::v1::Reason { code: "model.node".into(), detail: "x".into() },
        }),
        vec![0; 64],
    ]
}

/// What an engine says to the supervisor, and the other way round.
pub fn packet(bytes: &[u8]) {
    if let Ok((packet, _)) = postcard::take_from_bytes::<FromEngine>(bytes) {
        fixed(&packet);
    }
    if let Ok((packet, _)) = postcard::take_from_bytes::<ToEngine>(bytes) {
        fixed(&packet);
    }
}
