//! A repository that never changes again, and a device that waits.

use longshore_trust::tuf::{Trusted, TufError};
use longshore_wire::v1::UpdateState;

use crate::field::Field;
use crate::repo::DAY_MS;
use crate::twin::bundle;

#[test]
fn expired_metadata_brings_nothing_new_and_stops_nothing_old() {
    let mut field = Field::new();
    field.device.now = field.device.now.plus_ms(60 * DAY_MS);
    field.tell(3, |_| {});
    let waiting = field.device.core.offered().unwrap().1.unwrap().clone();
    assert_eq!(waiting.code, "trust.refused");
    assert!(waiting.detail.contains("expired"), "{}", waiting.detail);
    field.unharmed("frozen");
    field.pass(200_000);
    assert_eq!(field.last(), (UpdateState::Expired, Some("trust.refused")));
    // Also over a restart, years later: what was verified is known, and it serves.
    field.device.now = field.device.now.plus_ms(3000 * DAY_MS);
    field.device.crash();
    field.pass(10_000);
    assert_eq!(field.device.serving, Some(bundle(2)));
    assert!(
        Trusted::load(&field.client.stored, None).unwrap().target("digits/2.0.0/manifest.json").is_some()
    );
}

#[test]
fn a_server_that_says_there_is_nothing_newer_is_believed_until_the_timestamp_expires_and_not_longer() {
    let mut field = Field::new();
    // Every refresh answers with the same files: no error, and no progress either.
    for day in 0..40 {
        let refreshed = {
            field.client.now = field.client.now.plus_ms(DAY_MS);
            field.client.refresh(&field.repo, &[])
        };
        match refreshed {
            Ok(_) => assert!(day < 31, "day {day}"),
            Err(e) => {
                assert!(matches!(e, TufError::Expired { .. }), "{e}");
                assert!(day >= 29, "day {day}");
            }
        }
    }
    assert!(matches!(field.client.refresh(&field.repo, &[]), Err(TufError::Expired { .. })));
}
