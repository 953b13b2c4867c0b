//! Lengths of time as people write them: `30s`, `10m`, `4h`, `2d`, `500ms`.

/// Milliseconds of `text`.
///
/// # Errors
/// A sentence that says what a length of time looks like.
pub fn parse_duration(text: &str) -> Result<u64, String> {
    let wrong =
        || format!("{text:?} is no length of time; write for example \"30s\", \"10m\", \"4h\" or \"2d\"");
    let digits = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
    let (number, unit) = text.split_at(digits);
    let n: u64 = number.parse().map_err(|_| wrong())?;
    let factor = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(wrong()),
    };
    n.checked_mul(factor)
        .filter(|ms| *ms <= 400 * 86_400_000)
        .ok_or_else(|| format!("{text:?} is longer than 400 days"))
}

/// `ms` in its largest whole unit.
#[must_use]
pub fn human_duration(ms: u64) -> String {
    for (factor, unit) in [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s")] {
        if ms >= factor && ms.is_multiple_of(factor) {
            return format!("{}{unit}", ms / factor);
        }
    }
    if ms >= 10_000 { format!("{}s", ms / 1000) } else { format!("{ms}ms") }
}
