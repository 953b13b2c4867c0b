//! A board was swapped: the device keeps its id and what it should run, the board gets keys of its own.

use longshore_trust::{DeviceId, UnixMs};
use longshore_wire::v1::{Commit, Guard, Probation, Slot};

use crate::director::{AssignmentDraft, Director, DirectorError};
use crate::jobs::planning;
use crate::store::{StoreError, Tx, catalogue, identity, rollout};

/// An assignment for a swapped board stays acceptable for so long, ms.
const GOOD_FOR_MS: u64 = 30 * 86_400_000;

/// Gives up the old keys and assigns to the new board what the old one ran. The new keys are written afterwards, in the
/// same transaction.
///
/// # Errors
/// When the database refuses.
pub(super) async fn retire(tx: &mut Tx, device: &DeviceId, now: UnixMs) -> Result<Vec<Slot>, StoreError> {
    let mut slots = Vec::new();
    for bundle in identity::desired(tx, device).await? {
        // A bundle that was never approved here, or is gone from the catalogue, is not assigned by guess.
        if let Some(version) = catalogue::version_of_bundle(tx, &bundle).await?
            && let Some(counter) = version.release_counter
        {
            slots.push(planning::slot(&version, counter));
        }
    }
    identity::retire_keys(tx, device, "the board was replaced", now).await?;
    identity::start_anew(tx, device).await?;
    Ok(slots)
}

/// Signs the assignment for the new board.
///
/// # Errors
/// [`DirectorError`].
pub(super) async fn reassign(
    tx: &mut Tx,
    director: &Director,
    device: &DeviceId,
    slots: Vec<Slot>,
    now: UnixMs,
) -> Result<(), DirectorError> {
    if slots.is_empty() {
        return Ok(());
    }
    let generation = rollout::next_generation(tx).await?;
    let until = now.plus_ms(GOOD_FOR_MS);
    let draft = AssignmentDraft {
        device: device.clone(),
        generation,
        rollout: None,
        slots,
        probation: Probation { min_ms: 0, commit: Commit::Local },
        guard: Guard { max_crashes: 1, ..Guard::default() },
        activate_by: until,
        not_after: until,
    };
    director.assign(tx, draft, now).await?;
    Ok(())
}
