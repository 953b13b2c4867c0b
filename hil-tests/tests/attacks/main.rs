//! The attacks that Longshore holds itself to. One folder each: `attack.toml` says what the attacker has, tries and is
//! answered; `mod.rs` does it, against the real code. `docs/security.md` is written from the folders.

#![allow(clippy::type_complexity, reason = "tables of cases are read where they stand")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail")]

// The rigs of the crates under attack: a repository that can be broken at will, a device in memory, a whole server.
#[allow(dead_code, reason = "each test uses a part")]
#[path = "../../../shared/trust/tests/tuf/repo.rs"]
mod repo;
#[path = "../../../agent/core/tests/twin/mod.rs"]
mod twin;

#[allow(dead_code, reason = "each test uses a part")]
#[path = "../../../fleet/tests/api/support.rs"]
mod api;
#[allow(dead_code, reason = "each test uses a part")]
#[path = "../../../fleet/tests/server/support.rs"]
mod server;

mod day;
mod faulty;
mod field;
mod https;
mod site;

// The attacks.
#[path = "arbitrary-install/mod.rs"]
mod arbitrary_install;
#[path = "audit-log-rewrite/mod.rs"]
mod audit_log_rewrite;
#[path = "broken-clock/mod.rs"]
mod broken_clock;
#[path = "captured-server-at-enrolment/mod.rs"]
mod captured_server_at_enrolment;
#[path = "change-between-check-and-use/mod.rs"]
mod change_between_check_and_use;
#[path = "command-replay/mod.rs"]
mod command_replay;
#[path = "cross-device-and-cross-fleet-replay/mod.rs"]
mod cross_device_and_cross_fleet_replay;
#[path = "cross-protocol-signature-reuse/mod.rs"]
mod cross_protocol_signature_reuse;
#[path = "disk-full/mod.rs"]
mod disk_full;
#[path = "endless-data/mod.rs"]
mod endless_data;
#[path = "enrolment-abuse/mod.rs"]
mod enrolment_abuse;
#[path = "fast-forward/mod.rs"]
mod fast_forward;
#[path = "flash-wear/mod.rs"]
mod flash_wear;
#[path = "hostile-onnx/mod.rs"]
mod hostile_onnx;
#[path = "indefinite-freeze/mod.rs"]
mod indefinite_freeze;
#[path = "insider-on-the-console/mod.rs"]
mod insider_on_the_console;
#[path = "json-parser-differential/mod.rs"]
mod json_parser_differential;
#[path = "key-compromise-and-rotation/mod.rs"]
mod key_compromise_and_rotation;
#[path = "malicious-broker/mod.rs"]
mod malicious_broker;
#[path = "malicious-fleet-server/mod.rs"]
mod malicious_fleet_server;
#[path = "malicious-mirror/mod.rs"]
mod malicious_mirror;
#[path = "malicious-upload/mod.rs"]
mod malicious_upload;
#[path = "metadata-rollback/mod.rs"]
mod metadata_rollback;
#[path = "mix-and-match/mod.rs"]
mod mix_and_match;
#[path = "model-rollback/mod.rs"]
mod model_rollback;
#[path = "power-cut/mod.rs"]
mod power_cut;
#[path = "privacy-leak/mod.rs"]
mod privacy_leak;
#[path = "schema-downgrade/mod.rs"]
mod schema_downgrade;
#[path = "slow-retrieval/mod.rs"]
mod slow_retrieval;
#[path = "stolen-device/mod.rs"]
mod stolen_device;
#[path = "telemetry-poisoning/mod.rs"]
mod telemetry_poisoning;
#[path = "threshold-faking/mod.rs"]
mod threshold_faking;
#[path = "topic-spoofing/mod.rs"]
mod topic_spoofing;
#[path = "wrong-device-or-hardware/mod.rs"]
mod wrong_device_or_hardware;

use longshore_hil_tests::attacks;

#[test]
fn every_attack_has_its_folder_its_proofs_exist_and_the_document_says_so() {
    let breaches = attacks::check().unwrap();
    assert!(breaches.is_empty(), "{}", breaches.join("\n"));
}
