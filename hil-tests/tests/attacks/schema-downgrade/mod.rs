//! Versions that are not spoken here.

use longshore_agent::store::{Store, StoreError};
use longshore_bundle::Manifest;
use longshore_trust::{Envelope, EnvelopeError, Kind, SigningKey, StreamId, UnixMs};
use longshore_wire::v1::{Assignment, Commit, Events, MessageError, SCHEMA, open, seal};

use crate::twin::{assignment, header};

fn key() -> SigningKey {
    SigningKey::from_seed(&[9; 32])
}

#[test]
fn no_envelope_version_but_ours_is_read() {
    let sealed = seal(header(1, 1), assignment(1, 1, Commit::Local), &key()).unwrap();
    let ours = sealed[0];
    for version in 0..=255 {
        let mut bytes = sealed.clone();
        bytes[0] = version;
        let read = open::<Assignment>(&bytes, &key().public());
        if version == ours {
            assert!(read.is_ok());
        } else {
            let wanted = MessageError::Envelope(EnvelopeError::UnknownVersion(version));
            assert_eq!(read.unwrap_err(), wanted);
        }
    }
}

#[test]
fn a_body_of_another_schema_is_refused_by_its_number_even_when_it_is_signed() {
    for schema in [0, 2, 3, 255, u16::MAX] {
        let header = longshore_wire::v1::Header { schema, ..header(1, 1) };
        let sealed = seal(header, assignment(1, 1, Commit::Local), &key()).unwrap();
        let refusal = open::<Assignment>(&sealed, &key().public()).unwrap_err();
        assert_eq!(refusal, MessageError::UnknownSchema(schema));
    }
    // The number is read first: behind it may stand anything, nothing of it is looked at.
    for body in [vec![2], vec![2, 0xff, 0xff, 0xff], [vec![2], vec![7; 5000]].concat()] {
        let sealed = Envelope::seal(Kind::Events, body, &key()).unwrap();
        assert_eq!(open::<Events>(&sealed, &key().public()).unwrap_err(), MessageError::UnknownSchema(2));
    }
    assert_eq!(SCHEMA, 1);
}

#[test]
fn a_body_that_is_too_short_too_long_or_of_another_kind_is_no_body() {
    let good = seal(header(1, 1), assignment(1, 1, Commit::Local), &key()).unwrap();
    let body = Envelope::open(&good, Kind::Assignment, &key().public()).unwrap().into_inner();
    for changed in [body[..body.len() - 1].to_vec(), [body.clone(), vec![0]].concat(), vec![1], Vec::new()] {
        let sealed = Envelope::seal(Kind::Assignment, changed, &key()).unwrap();
        let refusal = open::<Assignment>(&sealed, &key().public()).unwrap_err();
        assert_eq!(refusal, MessageError::Body(Kind::Assignment));
    }
}

#[test]
fn a_manifest_of_another_schema_is_not_read_as_ours() {
    let manifest = |schema: &str| {
        crate::api::Fleet::manifest("1.0.0").replace("\"schema\":1", &format!("\"schema\":{schema}"))
    };
    assert!(Manifest::parse(manifest("1").as_bytes()).is_ok());
    for schema in ["0", "2", "99", "\"1\"", "1.0", "null"] {
        assert!(Manifest::parse(manifest(schema).as_bytes()).is_err(), "{schema}");
    }
}

#[test]
fn a_database_of_a_newer_program_is_left_alone_by_device_and_server() {
    let dir = tempfile::tempdir().unwrap();
    let now = UnixMs(1_800_000_000_000);
    drop(Store::open(dir.path(), StreamId(1), now).unwrap());
    let raise = |file: &std::path::Path| {
        let conn = rusqlite::Connection::open(file).unwrap();
        conn.pragma_update(None, "user_version", 1000).unwrap();
    };
    raise(&dir.path().join("state.db"));
    assert!(matches!(Store::open(dir.path(), StreamId(1), now), Err(StoreError::Newer { .. })));
    assert!(
        !std::fs::read_dir(dir.path())
            .unwrap()
            .flatten()
            .any(|f| f.file_name().to_string_lossy().contains("corrupt"))
    );

    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        use longshore_fleet::store::{Store, StoreError};
        let file = dir.path().join("fleet.db");
        Store::open(&file).await.unwrap().close().await;
        raise(&file);
        assert!(matches!(Store::open(&file).await, Err(StoreError::Newer { .. })));
    });
}
