//! Bundle files: only published ones, only for registered devices, whole or in part.

use std::collections::BTreeMap;

use longshore_fleet::app;
use longshore_fleet::store::device;
use longshore_trust::Digest;
use longshore_trust::tuf::TargetInfo;
use longshore_trust::tuf::edit::{self, TargetsSpec};

use crate::support::{self, Home, LATER, client_tls, get, https, signed};

#[tokio::test(flavor = "multi_thread")]
async fn targets_go_in_ranges_to_registered_devices_only() {
    let home = Home::new().await;
    let running = home.start().await;
    let app = &running.app;
    let device = support::enrol(&home, &app.store, "dev-1", 60).await;
    let content: Vec<u8> = (0..100_000u32).flat_map(u32::to_le_bytes).collect();
    let digest = app.objects.put(&content).await.unwrap();
    let unpublished = app.objects.put(b"a draft").await.unwrap();
    let info = TargetInfo { length: content.len() as u64, sha256: digest, custom: serde_json::Map::new() };
    let targets = TargetsSpec {
        version: 2,
        expires: LATER,
        targets: BTreeMap::from([("digits/1.0.0/model.onnx".to_owned(), info)]),
        delegations: Vec::new(),
    };
    let bytes = signed(edit::targets(&targets), &home.offline.targets[..2]);
    app.trust.submit("tester", "targets", &bytes, app::now()).await.unwrap();

    let path = format!("/targets/digits/1.0.0/{digest}.model.onnx");
    let whole = https(running.device, device.tls(), get(&path)).await.unwrap();
    assert_eq!((whole.status, Digest::of(&whole.body)), (200, digest));
    assert_eq!(whole.headers["accept-ranges"], "bytes");
    let mut part = get(&path);
    part.headers_mut().insert("range", "bytes=399990-".parse().unwrap());
    let part = https(running.device, device.tls(), part).await.unwrap();
    assert_eq!((part.status, &part.body[..]), (206, &content[399_990..]));
    assert_eq!(part.headers["content-range"], "bytes 399990-399999/400000");
    let mut beyond = get(&path);
    beyond.headers_mut().insert("range", "bytes=400000-".parse().unwrap());
    assert_eq!(https(running.device, device.tls(), beyond).await.unwrap().status, 416);

    for other in [
        format!("/targets/digits/1.0.0/{unpublished}.model.onnx"),
        format!("/targets/digits/1.0.1/{digest}.model.onnx"),
        "/targets/digits/1.0.0/model.onnx".to_owned(),
        "/targets/../fleet.db".to_owned(),
        format!("/targets/digits/1.0.0/..%2F{digest}.model.onnx"),
    ] {
        assert_eq!(https(running.device, device.tls(), get(&other)).await.unwrap().status, 404, "{other}");
    }
    let nobody = client_tls(&device.ca_pem, None);
    assert_eq!(https(running.device, nobody.clone(), get(&path)).await.unwrap().status, 401);
    assert_eq!(https(running.device, nobody, get("/trust/timestamp.json")).await.unwrap().status, 200);

    let mut tx = app.store.write().await.unwrap();
    device::revoke(&mut tx, &device.id, app::now()).await.unwrap();
    tx.commit().await.unwrap();
    let refused = https(running.device, device.tls(), get(&path)).await.unwrap();
    assert_eq!((refused.status, refused.json()["code"].as_str().unwrap()), (403, "device.revoked"));
    running.stop().await;
}
