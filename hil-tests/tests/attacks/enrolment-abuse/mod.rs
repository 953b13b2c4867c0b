//! Claims that are not what they seem, over the server's own code and database.

use longshore_fleet::app;
use longshore_fleet::enrol::{Nonces, enrol};
use longshore_fleet::store::Store;
use longshore_trust::UnixMs;

use crate::server::{self, Home, LATER, add_token, draft};

#[test]
fn a_recorded_claim_is_worth_nothing_to_whoever_recorded_it() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let home = Home::new().await;
        let store = Store::open(&home.data().database()).await.unwrap();
        let (keys, nonces) = (home.keys(), Nonces::default());
        let director = server::director(&keys.fleet);
        let issuer = server::issuer(&keys, &director);
        let hash = add_token(&store, 1, LATER, None).await;
        let now = app::now();
        let nonce = nonces.open([1; 32], hash, now).unwrap();
        let claim = draft(&keys.fleet, "dev-1", 50, 1, nonce);
        let enrolled = enrol(&store, &issuer, &nonces, claim.request(), now).await.unwrap();

        // The thief saw everything on the wire but the keys. The claim again; with a new nonce; with the thief's request;
        // for another id; with the thief's key.
        let again = enrol(&store, &issuer, &nonces, claim.request(), now).await;
        assert_eq!(again.unwrap_err().code(), "enrol.nonce");
        let fresh = |n: u8| nonces.open([n; 32], hash, now).unwrap();
        let thief = draft(&keys.fleet, "dev-1", 66, 1, fresh(2));
        let refused = enrol(&store, &issuer, &nonces, thief.request(), now).await;
        assert_eq!(refused.unwrap_err().code(), "enrol.token_used");
        let other_id = draft(&keys.fleet, "dev-2", 66, 1, fresh(3));
        let refused = enrol(&store, &issuer, &nonces, other_id.request(), now).await;
        assert_eq!(refused.unwrap_err().code(), "enrol.token_used");
        let mut other_request = claim.request();
        other_request.csr_pem = thief.csr_pem.clone();
        let refused = enrol(&store, &issuer, &nonces, other_request, now).await;
        assert!(["enrol.claim", "enrol.nonce"].contains(&refused.unwrap_err().code()));

        let devices = store.devices(None, 10).await.unwrap();
        assert_eq!(devices.len(), 1);
        assert_eq!(devices[0].id, enrolled.device);
        let identity = store.device_identity(&enrolled.device).await.unwrap().unwrap();
        assert_eq!(identity.report_key, claim.report.public(), "and it is still the device's own key");
        let db = rusqlite::Connection::open(home.data().database()).unwrap();
        let deeds: i64 = db
            .query_row("SELECT count(*) FROM audit WHERE action = 'device.enrol'", [], |r| r.get(0))
            .unwrap();
        assert_eq!(deeds, 1);
    });
}

#[test]
fn guesses_and_half_made_claims_are_bounded() {
    let nonces = Nonces::default();
    let hash = longshore_trust::Digest::of(b"a live token");
    let now = UnixMs(1_800_000_000_000);
    let mut opened = 0u64;
    for n in 0..1_000_000u64 {
        let mut random = [0; 32];
        random[..8].copy_from_slice(&n.to_le_bytes());
        if nonces.open(random, hash, now).is_none() {
            break;
        }
        opened += 1;
    }
    assert!((1..=100_000).contains(&opened), "{opened} claims under way at once");
    // Old ones make room, and an old nonce is no nonce.
    let later = now.plus_ms(3_600_000);
    assert!(nonces.open([0xee; 32], hash, later).is_some());
    assert!(!nonces.take(&[0; 32], &hash, later));
    println!("{opened} claims can be under way, the next one is told to wait");
}

#[test]
fn a_token_is_160_bits_that_the_server_never_sees_before_they_are_used() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let home = Home::new().await;
        let store = Store::open(&home.data().database()).await.unwrap();
        add_token(&store, 7, LATER, None).await;
        store.close().await;
        // Nowhere in the database, neither as bytes nor as text.
        let token = server::token_bytes(7);
        assert_eq!(token.len() * 8, 160);
        let bytes = std::fs::read(home.data().database()).unwrap();
        let text = hex::encode(token);
        assert!(!bytes.windows(20).any(|w| w == token));
        assert!(!bytes.windows(40).any(|w| w == text.as_bytes()));
    });
}
