//! The real `longshore-agent enroll` against servers that are not, or are no longer, the operator's.

use std::sync::atomic::Ordering;

use longshore_fleet::app;
use longshore_trust::tuf::edit;
use longshore_trust::{Digest, UnixMs};
use serde_json::{Value, json};

use crate::server;
use crate::site::{Approval, MODEL, Site, bundle, slot};

fn refused(site: &Site, token: &Value, because: &str) {
    let out = site.enroll(token);
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert_eq!(out.status.code(), Some(1), "{said}");
    assert!(said.contains(because), "{because:?} is not in: {said}");
    assert!(!site.state().join("identity/enrolment.json").exists(), "{because}");
    assert!(!site.state().join("trust/root.json").exists(), "{because}");
    let devices = site.runtime.block_on(site.running.app.store.devices(None, 10)).unwrap();
    assert!(devices.is_empty(), "{because}");
}

#[test]
fn a_server_with_a_root_of_its_own_enrols_nobody() {
    let site = Site::new();
    let token = site.token(1);
    // The thief has put a root of their own in the place of the fleet's: same fleet, same CA, same address.
    let mut spec = site.home.offline.root_spec(1);
    let thief = server::key(66);
    let own = server::role(std::slice::from_ref(&thief), 1);
    (spec.root, spec.targets) = (own.clone(), own);
    let root = server::signed(edit::root(&spec), std::slice::from_ref(&thief));
    site.database().execute("UPDATE role_metadata SET bytes = ?1 WHERE role = 'root'", [&root]).unwrap();
    // Asked for the pinned root by name, the server has none; one that lies and hands out its own is found out.
    refused(&site, &token, "token");
    let mut lied_to = token.clone();
    lied_to["root_sha256"] = json!(Digest::of(&root));
    // Only a token that names the thief's root would do, and that is made on the operator's machine, not here.
    let out = site.enroll(&lied_to);
    assert!(
        out.status.success(),
        "the refusal above is for the pin: {}",
        String::from_utf8_lossy(&out.stderr)
    );
}

#[test]
fn a_server_that_hands_out_its_own_root_under_the_pinned_name_is_found_out() {
    use base64::Engine as _;
    use std::io::Write as _;
    let site = Site::new();
    let mut token = site.token(1);
    let ca = site.home.keys().ca.pem().to_owned();
    let root = server::signed(edit::root(&site.home.offline.root_spec(7)), &site.home.offline.root[..2]);
    let answer = json!({
        "fleet": "demo", "ca_pem": ca, "mqtt_url": "mqtts://localhost:1",
        "root_json": base64::engine::general_purpose::STANDARD.encode(&root),
    })
    .to_string();
    let rogue = crate::https::Rogue::start(move |_, wire| {
        wire.write_all(
            format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{answer}", answer.len()).as_bytes(),
        )
    });
    token["url"] = json!(rogue.url);
    refused(&site, &token, "another root of trust");
    assert_eq!(rogue.requests(), 1, "it asked for the bootstrap; the token's secret was never sent");
    let other_ca = json!({"fleet": "demo", "ca_pem": rogue.ca_pem(), "mqtt_url": "mqtts://localhost:1",
        "root_json": base64::engine::general_purpose::STANDARD.encode(&site.home.keys().root)})
    .to_string();
    let rogue = crate::https::Rogue::start(move |_, wire| {
        wire.write_all(
            format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{other_ca}", other_ca.len()).as_bytes(),
        )
    });
    token["url"] = json!(rogue.url);
    refused(&site, &token, "another certificate authority");
    assert_eq!(rogue.requests(), 1);
}

#[test]
fn a_token_that_the_thief_made_up_is_not_in_the_fleets_record() {
    let site = Site::new();
    let mut token = site.token(1);
    token["token"] = json!("13".repeat(20));
    refused(&site, &token, "token");
    token["token"] = json!(hex::encode(server::token_bytes(2)));
    site.runtime.block_on(async {
        // Expired.
        server::add_token(&site.running.app.store, 2, UnixMs(app::now().0 - 1), None).await;
    });
    refused(&site, &token, "token");
}

#[test]
fn a_device_that_is_enrolled_by_a_captured_server_under_the_true_root_obeys_the_offline_keys() {
    // All the thief can do is what the operator's server could: make it a device of the true fleet.
    let mut site = Site::new();
    let token = site.token(3);
    assert!(site.enroll(&token).status.success());
    assert_eq!(std::fs::read(site.state().join("trust/root.json")).unwrap(), site.home.keys().root);
    site.start_agent();
    let approved = bundle(MODEL, "1.0.0");
    site.approve(MODEL, "1.0.0", &approved, Approval { counter: 1, ..Approval::default() });
    let never = bundle(MODEL, "5.0.0");
    site.upload(&never);
    site.until("connected", |s| s.running.app.gateway.metrics().hellos.load(Ordering::Relaxed) > 0);
    site.assign(vec![slot(MODEL, "5.0.0", &never, 5)], |_, _| {});
    site.until("refused", |s| s.refusals("assignment.not_a_target") == 1);
    assert_eq!(site.model(MODEL)["version"], Value::Null);
}
