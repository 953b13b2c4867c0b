//! Durations in configuration files: `500ms`, `60s`, `5m`, `1h 30m`.

use std::time::Duration;

use serde::{Deserialize as _, Deserializer};

/// Reads one.
pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(d)?;
    let wrong = || {
        serde::de::Error::custom(format!(
            "{text:?} is no duration; write it like \"60s\", \"5m\" or \"500ms\""
        ))
    };
    let signed: jiff::SignedDuration = text.parse().map_err(|_| wrong())?;
    Duration::try_from(signed).map_err(|_| wrong())
}
