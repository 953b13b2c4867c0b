//! Starting: errors that say what to do, one process a directory, an orderly end.

use longshore_fleet::init::{self, DataDir};
use longshore_fleet::serve;

use crate::support::{Home, Offline};

async fn error(home: &Home, data: &DataDir) -> String {
    serve::start(data, home.config.clone()).await.err().expect("it must not start").to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_in_use_is_named_with_its_key() {
    let mut home = Home::new().await;
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap();
    for key in ["operator_listen", "device_listen", "mqtt_listen"] {
        let before = home.config.clone();
        match key {
            "operator_listen" => home.config.operator_listen = address,
            "device_listen" => home.config.device_listen = address,
            _ => home.config.mqtt_listen = address,
        }
        let e = error(&home, &home.data()).await;
        assert!(e.contains(&address.to_string()) && e.contains(key), "{e}");
        home.config = before;
    }
    // Nothing is left behind that would keep the next start out.
    home.start().await.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_serves_one_process() {
    let home = Home::new().await;
    let running = home.start().await;
    let e = error(&home, &home.data()).await;
    assert!(e.contains("in use by another longshore-fleet"), "{e}");
    running.stop().await;
    home.start().await.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_or_foreign_keys_teach_what_to_run() {
    let home = Home::new().await;
    let empty = DataDir::new(&home.dir.path().join("empty"));
    let e = error(&home, &empty).await;
    assert!(e.contains("longshore keys init") && e.contains("longshore-fleet init"), "{e}");

    std::fs::remove_file(home.data().online().join("director.key")).unwrap();
    let e = error(&home, &home.data()).await;
    assert!(e.contains("director.key"), "{e}");

    let other = Offline::new("other");
    let keys = home.dir.path().join("other-keys");
    other.write(&keys);
    let fresh = Home::new().await;
    let e = init::init(&keys, &fresh.data(), &fresh.config).await.err().unwrap().to_string();
    assert!(e.contains("holds fleet demo") && e.contains("other"), "{e}");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_root_does_not_name_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let offline = Offline::new("demo");
    let keys = dir.path().join("keys");
    offline.write(&keys);
    std::fs::copy(keys.join("snapshot.key"), keys.join("director.key")).unwrap();
    let data = DataDir::new(&dir.path().join("data"));
    let e = init::init(&keys, &data, &longshore_fleet::config::Config::default()).await.err().unwrap();
    assert!(e.to_string().contains("director"), "{e}");
}

#[tokio::test(flavor = "multi_thread")]
async fn init_again_with_the_same_keys_changes_nothing() {
    let home = Home::new().await;
    let before = std::fs::read(home.data().online().join("1.root.json")).unwrap();
    let opened = init::init(&home.dir.path().join("keys"), &home.data(), &home.config).await.unwrap();
    opened.store.close().await;
    drop(opened);
    assert_eq!(std::fs::read(home.data().online().join("1.root.json")).unwrap(), before);
    home.start().await.stop().await;
}
