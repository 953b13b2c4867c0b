//! The one date format of TUF metadata: `YYYY-MM-DDTHH:MM:SSZ`, UTC, proleptic Gregorian.

use crate::UnixMs;

const DAY_SECS: i64 = 86_400;

/// Days since 1970-01-01 (Howard Hinnant, "chrono-compatible low-level date algorithms", days_from_civil).
fn days_from_civil(y: i64, m: i64, d: i64) -> i64 {
    let y = if m <= 2 { y - 1 } else { y };
    let era = y.div_euclid(400);
    let yoe = y.rem_euclid(400);
    let doy = (153 * (m + if m > 2 { -3 } else { 9 }) + 2) / 5 + d - 1;
    let doe = yoe * 365 + yoe / 4 - yoe / 100 + doy;
    era * 146_097 + doe - 719_468
}

/// The reverse (same source, civil_from_days).
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let doe = z.rem_euclid(146_097);
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let d = doy - (153 * mp + 2) / 5 + 1;
    let m = if mp < 10 { mp + 3 } else { mp - 9 };
    (yoe + era * 400 + i64::from(m <= 2), m, d)
}

/// `None` when `s` is not exactly of that form or no such date exists. Dates before 1970 become 0: long expired.
pub(super) fn parse(s: &str) -> Option<UnixMs> {
    let b = s.as_bytes();
    if b.len() != 20 || !b.is_ascii() {
        return None;
    }
    let shape = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':'), (19, b'Z')];
    if shape.iter().any(|&(at, c)| b[at] != c) {
        return None;
    }
    let number = |from: usize, to: usize| -> Option<i64> {
        let digits = &b[from..to];
        if !digits.iter().all(u8::is_ascii_digit) {
            return None;
        }
        Some(digits.iter().fold(0, |n, d| n * 10 + i64::from(d - b'0')))
    };
    let (y, mo, d) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (h, mi, sec) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    let in_range = y >= 1 && (1..=12).contains(&mo) && d >= 1 && h <= 23 && mi <= 59 && sec <= 59;
    let days = days_from_civil(y, mo, d);
    if !in_range || civil_from_days(days) != (y, mo, d) {
        return None;
    }
    let secs = days * DAY_SECS + h * 3600 + mi * 60 + sec;
    Some(UnixMs::from_secs(u64::try_from(secs).unwrap_or(0)))
}

/// Latest time that four digits of year can say: 9999-12-31T23:59:59Z.
const LAST_SECS: u64 = 253_402_300_799;

/// Rounded down to the second; capped at the year 9999.
pub(super) fn format(t: UnixMs) -> String {
    let secs = i64::try_from(t.secs().min(LAST_SECS)).expect("capped far below 2^63");
    let (y, m, d) = civil_from_days(secs.div_euclid(DAY_SECS));
    let s = secs.rem_euclid(DAY_SECS);
    format!("{y:04}-{m:02}-{d:02}T{:02}:{:02}:{:02}Z", s / 3600, s / 60 % 60, s % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_dates() {
        for (text, secs) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2000-02-29T12:00:01Z", 951_825_601),
            ("2038-01-19T03:14:08Z", 2_147_483_648),
            ("9999-12-31T23:59:59Z", LAST_SECS),
        ] {
            assert_eq!(parse(text), Some(UnixMs::from_secs(secs)), "{text}");
            assert_eq!(format(UnixMs::from_secs(secs)), text);
        }
        assert_eq!(parse("1969-12-31T23:59:59Z"), Some(UnixMs(0)));
        assert_eq!(format(UnixMs(u64::MAX)), "9999-12-31T23:59:59Z");
    }
    #[test]
    fn every_other_shape_is_refused() {
        for text in [
            "",
            "2026-01-01",
            "2026-01-01T00:00:00",
            "2026-01-01T00:00:00+00:00",
            "2026-01-01T00:00:00.0Z",
            "2026-02-29T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-00-10T00:00:00Z",
            "2026-01-32T00:00:00Z",
            "2026-01-01T24:00:00Z",
            "2026-01-01T00:60:00Z",
            "2026-01-01T00:00:60Z",
            "2026-01-01t00:00:00Z",
            "+026-01-01T00:00:00Z",
            "２026-01-01T00:00Z",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
    #[test]
    fn every_day_of_four_centuries_comes_back() {
        for day in 0..146_097 {
            let t = UnixMs::from_secs(day * 86_400);
            assert_eq!(parse(&format(t)), Some(t));
        }
    }
}
