//! Numbers as the console shows them.

/// `1234567` as `1,234,567`.
pub(super) fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(c);
    }
    out
}

/// [`count`] for a sum as the database returns it.
pub(super) fn sum(n: i64) -> String {
    count(u64::try_from(n).unwrap_or(0))
}

/// `part` of `whole` as `94.2 %`; a dash when there is nothing to divide by.
pub(super) fn share(part: u64, whole: u64) -> String {
    if whole == 0 {
        return "–".into();
    }
    percent(part as f64 / whole as f64)
}

/// `0.942` as `94.2 %`. Only exactly everything is shown as 100 %, only exactly nothing as 0 %.
pub(super) fn percent(share: f64) -> String {
    let shown = (share * 1000.0).round() / 10.0;
    let shown = if share < 1.0 && shown >= 100.0 {
        99.9
    } else if share > 0.0 && shown <= 0.0 {
        return "< 0.1 %".into();
    } else {
        shown
    };
    format!("{shown:.1} %")
}

/// Bytes in binary units: `1.4 MiB`.
pub(super) fn bytes(n: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = n as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 || value >= 100.0 {
        format!("{value:.0} {}", UNITS[unit])
    } else {
        format!("{value:.1} {}", UNITS[unit])
    }
}

/// Microseconds as `840 µs`, `3.2 ms` or `1.5 s`.
pub(super) fn micros(us: f64) -> String {
    if us < 1_000.0 {
        format!("{us:.0} µs")
    } else if us < 1_000_000.0 {
        format!("{:.1} ms", us / 1_000.0)
    } else {
        format!("{:.1} s", us / 1_000_000.0)
    }
}

/// A measured number without noise: four significant digits.
pub(super) fn number(x: f64) -> String {
    if x == 0.0 {
        return "0".into();
    }
    let magnitude = x.abs();
    if (0.001..100_000.0).contains(&magnitude) {
        let decimals = usize::try_from((3 - magnitude.log10().floor() as i32).clamp(0, 6)).unwrap_or(0);
        let text = format!("{x:.decimals$}");
        if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
    } else {
        format!("{x:.2e}")
    }
}

/// `one device`, `3 devices`.
pub(super) fn devices(n: u64) -> String {
    if n == 1 { "1 device".into() } else { format!("{} devices", count(n)) }
}

/// The first 12 digits of a digest, for reading.
pub(super) fn short(digest: &str) -> String {
    digest.chars().take(12).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!(count(0), "0");
        assert_eq!(count(999), "999");
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(share(1, 0), "–");
        assert_eq!(share(942, 1000), "94.2 %");
        assert_eq!(bytes(512), "512 B");
        assert_eq!(bytes(1_468_006), "1.4 MiB");
        assert_eq!(micros(840.0), "840 µs");
        assert_eq!(micros(3_200.0), "3.2 ms");
        assert_eq!(number(0.000_001_234), "1.23e-6");
        assert_eq!(number(0.0625), "0.0625");
        assert_eq!(number(1500.0), "1500");
    }
    #[test]
    fn nearly_all_is_not_all() {
        assert_eq!(percent(0.999_99), "99.9 %");
        assert_eq!(percent(1.0), "100.0 %");
        assert_eq!(percent(0.000_01), "< 0.1 %");
        assert_eq!(percent(0.0), "0.0 %");
    }
}
