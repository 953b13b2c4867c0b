//! Leaving: the command by which a device wipes itself.

use longshore_trust::{DeviceId, UnixMs};
use longshore_wire::v1::CommandAction;

use crate::director::{Director, DirectorError};
use crate::store::{Tx, identity};

/// A device may be away for years and must still obey a wipe, ms.
const GOOD_FOR_MS: u64 = 10 * 366 * 86_400_000;

/// Tells a device to wipe itself; again, in place of the first command, as long as it has not said that it begins: on the way
/// a later command may have overtaken the first, which is refused from then on. Whether it was told now.
///
/// # Errors
/// [`DirectorError`].
pub async fn tell_to_wipe(
    tx: &mut Tx,
    director: &Director,
    device: &DeviceId,
    now: UnixMs,
) -> Result<bool, DirectorError> {
    if identity::wipe_seq(tx, device).await?.is_some() && identity::wipe_has_begun(tx, device).await? {
        return Ok(false);
    }
    let seq = director.command(tx, device, CommandAction::Wipe, now.plus_ms(GOOD_FOR_MS), now).await?;
    identity::ask_wipe(tx, device, seq, now).await?;
    Ok(true)
}
