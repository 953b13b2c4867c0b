//! Lengths of time and bandwidths as people write them: `30s`, `10m`, `4h`, `2d`, `500ms`; `20MB/s`.

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

const BANDWIDTHS: [(&str, u64); 7] = [
    ("KiB/s", 1 << 10),
    ("MiB/s", 1 << 20),
    ("GiB/s", 1 << 30),
    ("kB/s", 1_000),
    ("MB/s", 1_000_000),
    ("GB/s", 1_000_000_000),
    ("B/s", 1),
];

/// Bytes per second of `text`.
///
/// # Errors
/// A sentence that says what a bandwidth looks like.
pub fn parse_bandwidth(text: &str) -> Result<u64, String> {
    let wrong =
        || format!("{text:?} is no bandwidth; write for example \"500kB/s\", \"20MB/s\" or \"1GB/s\"");
    let (unit, factor) = BANDWIDTHS.iter().find(|(unit, _)| text.ends_with(unit)).ok_or_else(wrong)?;
    let n: u64 = text[..text.len() - unit.len()].trim().parse().map_err(|_| wrong())?;
    match n.checked_mul(*factor) {
        Some(0) => {
            Err("a bandwidth of 0 would bring the version to nobody: leave it out, or give more".to_owned())
        }
        Some(bytes) if bytes <= 1 << 50 => Ok(bytes),
        _ => Err(wrong()),
    }
}

/// `bytes` per second in its largest whole unit.
#[must_use]
pub fn human_bandwidth(bytes: u64) -> String {
    let (unit, factor) = BANDWIDTHS
        .iter()
        .filter(|(_, factor)| bytes.is_multiple_of(*factor) && bytes >= *factor)
        .max_by_key(|(_, factor)| *factor)
        .unwrap_or(&("B/s", 1));
    format!("{}{unit}", bytes / factor)
}
