//! The OpenAPI document.

/// `LONGSHORE_BLESS=1` writes the snapshot anew.
#[test]
fn the_snapshot_is_what_the_server_says() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/openapi.json");
    let now = longshore_fleet::api::openapi();
    if std::env::var_os("LONGSHORE_BLESS").is_some() {
        std::fs::write(&path, &now).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap();
    assert!(
        kept == now,
        "docs/openapi.json is not what the server says: run this test with LONGSHORE_BLESS=1"
    );
}

#[test]
fn every_operation_says_what_it_does() {
    let document: serde_json::Value = serde_json::from_str(&longshore_fleet::api::openapi()).unwrap();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            assert!(operation["summary"].as_str().is_some_and(|s| s.len() > 8), "{method} {path}");
            assert!(!operation["tags"].as_array().unwrap().is_empty(), "{method} {path}");
        }
    }
}
