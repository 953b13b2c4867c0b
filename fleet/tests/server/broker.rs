//! The real broker, met by devices that do what they may not.

use std::sync::atomic::Ordering;
use std::time::Duration;

use longshore_fleet::serve::Running;
use longshore_fleet::store::device as registry;
use longshore_fleet::{app, gateway};
use longshore_trust::{AssignmentVersion, Seq};
use longshore_wire::v1::{self, Event, EventKind, Events, Hello, Receipt};
use longshore_wire::{Topic, Up};
use rumqttc::{
    AsyncClient, ConnectionError, Event as Mqtt, EventLoop, LastWill, MqttOptions, Packet, QoS,
    SubscribeReasonCode, TlsConfiguration, Transport,
};

use crate::support::{self, Device, Home, eventually};

pub fn options(running: &Running, device: &Device) -> MqttOptions {
    let port = running.mqtt.unwrap().port();
    let mut options = MqttOptions::new(device.id.as_str(), "localhost", port);
    options
        .set_transport(Transport::tls_with_config(TlsConfiguration::Rustls(device.tls())))
        .set_max_packet_size(128 * 1024, 128 * 1024)
        .set_clean_session(true);
    options
}

/// Polls until the connection is accepted or refused.
pub async fn connect(options: MqttOptions) -> Result<(AsyncClient, EventLoop), ConnectionError> {
    let (client, mut events) = AsyncClient::new(options, 64);
    loop {
        if let Mqtt::Incoming(Packet::ConnAck(_)) = events.poll().await? {
            return Ok((client, events));
        }
    }
}

pub async fn subscribe(client: &AsyncClient, events: &mut EventLoop, filter: &str) -> SubscribeReasonCode {
    client.subscribe(filter, QoS::AtLeastOnce).await.unwrap();
    loop {
        if let Mqtt::Incoming(Packet::SubAck(ack)) = events.poll().await.unwrap() {
            return ack.return_codes[0];
        }
    }
}

/// The next message on a topic that ends so.
pub async fn next(events: &mut EventLoop, ending: &str) -> Vec<u8> {
    loop {
        if let Mqtt::Incoming(Packet::Publish(p)) = events.poll().await.unwrap()
            && p.topic.ends_with(ending)
        {
            return p.payload.to_vec();
        }
    }
}

fn hello(device: &Device, first: u64) -> Vec<u8> {
    let hello = Hello {
        stream: device.stream,
        first_unreceipted: Seq(first),
        assignment_version: AssignmentVersion(0),
        tuf_versions: [("root".to_owned(), 1)].into(),
        fleet_epoch: 1,
        boot: 42,
        log: Vec::new(),
    };
    device.seal(0, hello)
}

fn event(n: u64) -> Events {
    let kind = EventKind::AgentStart { last_end: format!("run {n}") };
    Events { events: vec![Event { time: app::now(), kind }] }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_says_hello_reports_and_gets_its_receipts() {
    let home = Home::new().await;
    let running = home.start().await;
    let device = support::enrol(&home, &running.app.store, "dev-1", 60).await;
    let (client, mut events) = connect(options(&running, &device)).await.unwrap();
    let filter = Topic::down_filter(&device.fleet, &device.id);
    assert!(matches!(subscribe(&client, &mut events, &filter).await, SubscribeReasonCode::Success(_)));
    client.publish(device.topic(Up::Hello), QoS::AtLeastOnce, false, hello(&device, 1)).await.unwrap();
    let key = home.offline.online[2].public();
    let receipt = v1::open::<Receipt>(&next(&mut events, "/receipt").await, &key).unwrap();
    assert_eq!((receipt.body.up_to, receipt.body.fleet_epoch), (Seq(0), 1));
    let doorbell = next(&mut events, "/doorbell").await;
    assert_eq!(Some(doorbell), running.app.trust.metadata("timestamp.json").await.unwrap());
    for seq in [1, 3, 2, 2] {
        let payload = device.seal(seq, event(seq));
        client.publish(device.topic(Up::Events), QoS::AtLeastOnce, false, payload).await.unwrap();
    }
    loop {
        let receipt = v1::open::<Receipt>(&next(&mut events, "/receipt").await, &key).unwrap();
        assert!(receipt.body.up_to <= Seq(3));
        if receipt.body.up_to == Seq(3) {
            break;
        }
    }
    assert_eq!(running.app.store.device_counts().await.unwrap().online, 1);
    drop((client, events));
    eventually("the device is offline", async || {
        running.app.store.device_counts().await.unwrap().online == 0
    })
    .await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn topics_of_others_are_closed_to_a_device() {
    let home = Home::new().await;
    let running = home.start().await;
    let store = &running.app.store;
    let (thief, victim) =
        (support::enrol(&home, store, "thief", 60).await, support::enrol(&home, store, "victim", 61).await);
    let (client, mut events) = connect(options(&running, &thief)).await.unwrap();
    for filter in [
        "#",
        "ls/1/demo/+/down/#",
        "ls/1/demo/victim/down/+",
        "ls/1/demo/thief/up/#",
        "$share/fleet/ls/1/demo/+/up/#",
        "$SYS/#",
    ] {
        let answer = subscribe(&client, &mut events, filter).await;
        assert_eq!(answer, SubscribeReasonCode::Failure, "{filter}");
    }
    // Whatever the broker does with the connection, nothing of it reaches the gateway.
    let before = running.app.gateway.metrics().received.load(Ordering::Relaxed);
    for topic in
        [victim.topic(Up::Hello), "ls/1/demo/victim/down/assign".into(), "ls/1/other/thief/up/hello".into()]
    {
        let (client, mut events) = connect(options(&running, &thief)).await.unwrap();
        client.publish(topic, QoS::AtLeastOnce, false, hello(&thief, 1)).await.unwrap();
        let answered = async {
            loop {
                match events.poll().await {
                    Ok(Mqtt::Incoming(Packet::PubAck(_))) | Err(_) => break,
                    Ok(_) => {}
                }
            }
        };
        // A broker may answer, close the connection or keep silent: what counts is asserted below.
        let _ = tokio::time::timeout(Duration::from_secs(1), answered).await;
    }
    // A message of its own, behind them, has arrived: so they would have.
    let (client, mut events) = connect(options(&running, &thief)).await.unwrap();
    subscribe(&client, &mut events, "ls/1/demo/thief/down/+").await;
    client.publish(thief.topic(Up::Hello), QoS::AtLeastOnce, false, hello(&thief, 1)).await.unwrap();
    next(&mut events, "/receipt").await;
    let after = running.app.gateway.metrics().received.load(Ordering::Relaxed);
    assert_eq!(after - before, 1);
    assert!(running.app.store.device(&victim.id).await.unwrap().unwrap().last_seen.is_none());
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_is_refused_that_is_not_what_its_certificate_says() {
    let home = Home::new().await;
    let running = home.start().await;
    let store = &running.app.store;
    let thief = support::enrol(&home, store, "thief", 60).await;
    support::enrol(&home, store, "victim", 61).await;

    let mut other_name = options(&running, &thief);
    other_name.set_client_id("victim".into());
    let mut gateway_name = options(&running, &thief);
    gateway_name.set_client_id("longshore-gateway".into());
    let mut foreign_will = options(&running, &thief);
    foreign_will.set_last_will(LastWill::new(
        "ls/1/demo/victim/up/hello",
        b"x".to_vec(),
        QoS::AtLeastOnce,
        false,
    ));
    let mut down_will = options(&running, &thief);
    down_will.set_last_will(LastWill::new(
        "ls/1/demo/thief/down/assign",
        b"x".to_vec(),
        QoS::AtLeastOnce,
        false,
    ));
    let mut kept_session = options(&running, &thief);
    kept_session.set_clean_session(false);
    let mut no_certificate = options(&running, &thief);
    let tls = support::client_tls(&thief.ca_pem, None);
    no_certificate.set_transport(Transport::tls_with_config(TlsConfiguration::Rustls(tls)));
    for (what, options) in [
        ("another's client id", other_name),
        ("the gateway's client id", gateway_name),
        ("a will for another", foreign_will),
        ("a will downwards", down_will),
        ("a kept session", kept_session),
        ("no certificate", no_certificate),
    ] {
        assert!(connect(options).await.is_err(), "{what}");
    }
    let mut own_will = options(&running, &thief);
    own_will.set_last_will(LastWill::new(
        "ls/1/demo/thief/up/events",
        b"x".to_vec(),
        QoS::AtLeastOnce,
        false,
    ));
    assert!(connect(own_will).await.is_ok());
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_device_is_put_out_and_stays_out() {
    let home = Home::new().await;
    let running = home.start().await;
    let app = &running.app;
    let device = support::enrol(&home, &app.store, "dev-1", 60).await;
    let (client, mut events) = connect(options(&running, &device)).await.unwrap();
    subscribe(&client, &mut events, "ls/1/demo/dev-1/down/+").await;
    let mut tx = app.store.write().await.unwrap();
    registry::revoke(&mut tx, &device.id, app::now()).await.unwrap();
    tx.commit().await.unwrap();
    app.gateway.disconnect(device.id.clone());
    while events.poll().await.is_ok() {}
    assert!(connect(options(&running, &device)).await.is_err());
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_clients_do_not_keep_others_waiting() {
    let mut home = Home::new().await;
    home.config.limits.handshake_s = 3600;
    let running = home.start().await;
    let device = support::enrol(&home, &running.app.store, "dev-1", 60).await;
    let mut silent = Vec::new();
    for address in [running.mqtt.unwrap(), running.device] {
        for _ in 0..100 {
            silent.push(tokio::net::TcpStream::connect(address).await.unwrap());
        }
    }
    // Their handshakes have an hour; this one must not need to wait for any of them.
    let (client, mut events) = connect(options(&running, &device)).await.unwrap();
    subscribe(&client, &mut events, "ls/1/demo/dev-1/down/+").await;
    let answer =
        support::https(running.device, device.tls(), support::get("/device/v1/bootstrap")).await.unwrap();
    assert_eq!(answer.status, 200);
    for stream in &silent {
        assert!(stream.try_read(&mut [0; 1]).is_err_and(|e| e.kind() == std::io::ErrorKind::WouldBlock));
    }
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn changed_messages_are_neither_accepted_nor_do_they_stop_anything() {
    let home = Home::new().await;
    let running = home.start().await;
    let device = support::enrol(&home, &running.app.store, "dev-1", 60).await;
    let topic = Topic::up(&device.fleet, &device.id, Up::Events);
    let good = device.seal(1, event(1));
    let key = device.report.public();
    assert!(gateway::verify(&topic, &good, &key).is_ok());
    for at in 0..good.len() {
        for change in [1u8, 0x40, 0xff] {
            let mut changed = good.clone();
            changed[at] ^= change;
            assert!(gateway::verify(&topic, &changed, &key).is_err(), "byte {at}");
        }
        assert!(gateway::verify(&topic, &good[..at], &key).is_err(), "cut at {at}");
    }
    let other = Topic::up(&device.fleet, &"dev-2".parse().unwrap(), Up::Events);
    assert!(gateway::verify(&other, &good, &key).is_err(), "another device's topic");
    let report = Topic::up(&device.fleet, &device.id, Up::Report);
    assert!(gateway::verify(&report, &good, &key).is_err(), "another kind's topic");
    assert!(gateway::verify(&topic, &device.seal(0, event(0)), &key).is_err(), "no sequence number");

    let (client, mut events) = connect(options(&running, &device)).await.unwrap();
    subscribe(&client, &mut events, "ls/1/demo/dev-1/down/+").await;
    for at in 0..100 {
        let mut changed = good.clone();
        changed[at % good.len()] ^= 0x55;
        client.publish(topic.to_string(), QoS::AtLeastOnce, false, changed).await.unwrap();
        events.poll().await.unwrap();
    }
    client.publish(topic.to_string(), QoS::AtLeastOnce, false, good).await.unwrap();
    let receipt = next(&mut events, "/receipt").await;
    let receipt = v1::open::<Receipt>(&receipt, &home.offline.online[2].public()).unwrap();
    assert_eq!(receipt.body.up_to, Seq(1));
    assert_eq!(running.app.gateway.metrics().stored.load(Ordering::Relaxed), 1);
    running.stop().await;
}
