//! Devices as witnesses of the audit log: what they were told before it was changed, they say after it.

use longshore_fleet::serve::Running;
use longshore_fleet::store::audit::{self, witness::Alarm};
use longshore_fleet::{app, backup};
use longshore_trust::log::LogHead;
use longshore_trust::{AssignmentVersion, Seq};
use longshore_wire::v1::{self, Health, Hello, Receipt, Report, ReportBody};
use longshore_wire::{Topic, Up};
use rumqttc::QoS;
use sqlx::sqlite::SqliteConnectOptions;

use crate::broker::{connect, next, options, subscribe};
use crate::support::{self, Device, Home};

fn hello(device: &Device, log: Vec<LogHead>) -> Vec<u8> {
    let hello = Hello {
        stream: device.stream,
        first_unreceipted: Seq(1),
        assignment_version: AssignmentVersion(0),
        tuf_versions: [("root".to_owned(), 1)].into(),
        fleet_epoch: 1,
        boot: 42,
        log,
    };
    device.seal(0, hello)
}
fn health(device: &Device, seq: u64, log: Vec<LogHead>) -> Vec<u8> {
    let health = Health {
        uptime_s: 1,
        load1_centi: 0,
        memory_free_kib: 0,
        disk_free_kib: 0,
        temperature_centi_c: None,
        agent_pss_kib: 0,
        written_bytes: 0,
        outbox_rows: 0,
        engine_starts: 1,
        models: Vec::new(),
        log,
    };
    device.seal(seq, Report { body: ReportBody::Health(health) })
}

/// What the receipt of one message says of the log.
async fn say(home: &Home, running: &Running, device: &Device, up: Up, payload: Vec<u8>) -> Option<LogHead> {
    let (client, mut events) = connect(options(running, device)).await.unwrap();
    subscribe(&client, &mut events, &Topic::down_filter(&device.fleet, &device.id)).await;
    client.publish(device.topic(up), QoS::AtLeastOnce, false, payload).await.unwrap();
    let key = home.offline.online[2].public();
    v1::open::<Receipt>(&next(&mut events, "/receipt").await, &key).unwrap().body.log
}
async fn alarms(running: &Running) -> Vec<Alarm> {
    running.app.store.audit_alarms(9).await.unwrap()
}
async fn metric(running: &Running, name: &str) -> String {
    let stream = tokio::net::TcpStream::connect(running.operator).await.unwrap();
    let io = hyper_util::rt::TokioIo::new(stream);
    let (mut send, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
    tokio::spawn(connection);
    let answer = send.send_request(support::get("/metrics")).await.unwrap();
    let body = http_body_util::BodyExt::collect(answer.into_body()).await.unwrap().to_bytes();
    let text = String::from_utf8(body.to_vec()).unwrap();
    let line = text.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name} in {text}")).to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_rewritten_between_two_runs_is_found_by_the_first_device_that_says_hello() {
    let home = Home::new().await;
    let running = home.start().await;
    let device = support::enrol(&home, &running.app.store, "dev-1", 60).await;
    running.app.audit.checkpoint(app::now()).await.unwrap();
    let told = say(&home, &running, &device, Up::Hello, hello(&device, Vec::new())).await.unwrap();
    told.verify(running.app.audit.public()).unwrap();
    running.stop().await;

    // Somebody at the database takes the enrolment out of the log, and makes everything fit again.
    let options = SqliteConnectOptions::new().filename(home.data().database());
    let pool = sqlx::SqlitePool::connect_with(options).await.unwrap();
    for sql in [
        "DROP TRIGGER audit_never_changes",
        "DROP TRIGGER audit_never_shrinks",
        "CREATE TABLE kept AS SELECT * FROM audit WHERE action <> 'device.enrol' ORDER BY leaf",
        "DELETE FROM audit",
        "DELETE FROM audit_node",
        "DELETE FROM audit_checkpoint",
    ] {
        sqlx::query(sql).execute(&pool).await.unwrap();
    }
    let kept: Vec<(String, String)> =
        sqlx::query_as("SELECT actor, action FROM kept").fetch_all(&pool).await.unwrap();
    pool.close().await;
    let store = longshore_fleet::store::Store::open(&home.data().database()).await.unwrap();
    let mut tx = store.write().await.unwrap();
    for (actor, action) in kept {
        audit::record(&mut tx, app::now(), &actor, &action, "", "").await.unwrap();
    }
    tx.commit().await.unwrap();
    store.close().await;

    let running = home.start().await;
    assert_eq!(alarms(&running).await, [], "the server alone cannot know");
    say(&home, &running, &device, Up::Report, health(&device, 1, vec![told])).await;
    let found = alarms(&running).await;
    assert_eq!((found.len(), found[0].kind.as_str()), (1, "fork"), "{found:?}");
    assert_eq!(found[0].device, Some(device.id.clone()));
    assert_eq!(metric(&running, "longshore_audit_forks_total").await, "1");
    assert_eq!(metric(&running, "longshore_audit_witnesses").await, "1");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_is_said_to_be_one_with_its_epoch_and_what_it_cost() {
    let home = Home::new().await;
    let running = home.start().await;
    let device = support::enrol(&home, &running.app.store, "dev-1", 60).await;
    let out = home.dir.path().join("backup");
    backup::backup(&home.data(), &out, app::now()).await.unwrap();
    let public = running.app.audit.public().clone();
    for n in 0..30 {
        let mut tx = running.app.store.write().await.unwrap();
        audit::record(&mut tx, app::now(), "admin", "test.entry", &n.to_string(), "").await.unwrap();
        tx.commit().await.unwrap();
    }
    running.app.audit.checkpoint(app::now()).await.unwrap();
    let told = say(&home, &running, &device, Up::Hello, hello(&device, Vec::new())).await.unwrap();
    running.stop().await;
    assert_eq!(backup::restore(&out, &home.data(), true, app::now()).await.unwrap(), 2);

    let running = home.start().await;
    assert_eq!(running.app.audit.public(), &public, "the log keeps its key");
    let told_now = say(&home, &running, &device, Up::Hello, hello(&device, vec![told])).await;
    let found = alarms(&running).await;
    assert_eq!((found.len(), found[0].kind.as_str()), (1, "rolled_back"), "{found:?}");
    assert!(found[0].detail.starts_with("log rolled back at restore, epoch 2"), "{}", found[0].detail);
    assert_eq!(metric(&running, "longshore_audit_rollbacks_total").await, "1");
    assert_eq!(metric(&running, "longshore_audit_forks_total").await, "0");
    // The restore is an entry; what is signed from now on names the new epoch.
    let restore = audit::Search { action: Some("fleet.restore".into()), ..Default::default() };
    assert_eq!(running.app.store.audit_search(&restore, 9).await.unwrap().len(), 1);
    assert!(told_now.is_none_or(|h| h.epoch == 2));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_key_that_was_replaced_is_told() {
    let home = Home::new().await;
    let running = home.start().await;
    running.app.audit.checkpoint(app::now()).await.unwrap().unwrap();
    running.stop().await;
    let key = home.data().root().join(longshore_fleet::audit::KEY_FILE);
    std::fs::remove_file(key).unwrap();
    for _ in 0..2 {
        let running = home.start().await;
        let found = alarms(&running).await;
        assert_eq!((found.len(), found[0].kind.as_str(), &found[0].device), (1, "fork", &None), "{found:?}");
        assert!(found[0].detail.contains("log.key"), "{}", found[0].detail);
        running.app.audit.checkpoint(app::now()).await.unwrap().unwrap();
        running.stop().await;
    }
}
