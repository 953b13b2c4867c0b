//! Seals what a store hands out, as the supervisor does, with a key of the tests.

use longshore_agent::store::Pending;
use longshore_trust::{EnvelopeError, FleetId, Seq, SigningKey, StreamId, TimeQuality, UnixMs};
use longshore_wire::v1::{Header, SCHEMA, seal};

pub const T0: UnixMs = UnixMs(1_800_000_000_000);

pub fn key() -> SigningKey {
    SigningKey::from_seed(&[1; 32])
}
pub fn sign(seq: Seq, pending: &Pending) -> Result<Vec<u8>, EnvelopeError> {
    let header = Header {
        schema: SCHEMA,
        fleet: FleetId::new("demo").unwrap(),
        device: "dev-1".parse().unwrap(),
        stream: StreamId(1),
        seq,
        time: T0,
        time_quality: TimeQuality::None,
    };
    match pending {
        Pending::Report(r) => seal(header, r.clone(), &key()),
        Pending::Events(e) => seal(header, e.clone(), &key()),
        Pending::Windows(w) => seal(header, w.clone(), &key()),
    }
}
