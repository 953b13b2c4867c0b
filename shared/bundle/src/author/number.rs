//! Decimal numbers as text: exactly, or as pandas reads them.

/// How the numbers of a CSV are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Digits {
    /// The nearest f64, as the standard says. What a device computes with.
    #[default]
    Exact,
    /// As `pandas.read_csv` does by default before version 3: the first 17 digits, leading zeros included, scaled by a
    /// power of ten. Off by some units in the last place; quantile edges then equal those of a notebook bit for bit.
    Seventeen,
}

/// Digits that pandas looks at.
const DIGITS_MAX: usize = 17;

impl Digits {
    /// The number that `text` is, if it is one.
    #[must_use]
    pub fn parse(self, text: &str) -> Option<f64> {
        let exact = text.parse::<f64>().ok()?;
        match self {
            Self::Seventeen if exact.is_finite() => seventeen(text),
            _ => Some(exact),
        }
    }
}

/// `text` is known to be a finite decimal number.
fn seventeen(text: &str) -> Option<f64> {
    let (negative, unsigned) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let (mantissa, exponent) = match unsigned.find(['e', 'E']) {
        Some(at) => (&unsigned[..at], unsigned[at + 1..].parse::<i32>().ok()?),
        None => (unsigned, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let mut number = 0.0;
    let mut seen = 0;
    let mut scale = exponent;
    for digit in whole.bytes() {
        if seen < DIGITS_MAX {
            number = number * 10.0 + f64::from(digit - b'0');
            seen += 1;
        } else {
            scale = scale.saturating_add(1);
        }
    }
    for digit in fraction.bytes().take(DIGITS_MAX - seen) {
        number = number * 10.0 + f64::from(digit - b'0');
        scale = scale.saturating_sub(1);
    }
    let number = if negative { -number } else { number };
    Some(match scale {
        ..-616 => 0.0 * number,
        -616..-308 => number / ten_to(-308 - scale) / 1e308,
        -308..=0 => number / ten_to(-scale),
        1..=308 => number * ten_to(scale),
        _ => number * f64::INFINITY,
    })
}

/// The f64 nearest to a power of ten, 0 to 308: a product of rounded powers would be off.
fn ten_to(power: i32) -> f64 {
    format!("1e{power}").parse().unwrap_or(f64::INFINITY)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Text and the result of `pandas.read_csv` 2.3.3.
    const PANDAS: &[(&str, f64)] = &[
        ("0.050563719136866279", 0.0505637191368662),
        ("-0.039719207847937969", -0.0397192078479379),
        ("12.77", 12.77),
        ("2.3900000000000001", 2.39),
        ("1e5", 100000.0),
        ("123456789012345678901", 1.2345678901234568e+20),
        ("0.00000000000000000123", 0.0),
        ("1.7976931348623157e308", 1.7976931348623157e+308),
        ("4.9e-324", 5e-324),
        ("1e-310", 1e-310),
        ("-7", -7.0),
        ("+3.5", 3.5),
        (".5", 0.5),
        ("5.", 5.0),
        ("1.5E-7", 1.5e-07),
        ("9.8765432109876543210e+20", 9.876543210987655e+20),
        ("0.30000000000000004", 0.3),
        ("-0.0", -0.0),
        ("100000000000000000000000", 1e+23),
        ("-5.27903820525131e-10", -5.27903820525131e-10),
        ("442.4338101753329", 442.4338101753329),
        ("-6.900554583951794e-11", -6.900554583951793e-11),
        ("-96036.56470538526", -96036.56470538526),
        ("835910086175.4379", 835910086175.4379),
        ("-8823.058870147443", -8823.058870147443),
        ("7.336001634962708e-06", 7.336001634962708e-06),
        ("5.594911004999955e-10", 5.594911004999955e-10),
        ("-4.765608427762922e-13", -4.765608427762922e-13),
        ("6.578400975568388e-05", 6.578400975568388e-05),
        ("6.008956770859324e-07", 6.008956770859324e-07),
        ("-0.0006703634811960168", -0.000670363481196),
        ("25395120482.626022", 25395120482.626022),
        ("0.09218459256686025", 0.0921845925668602),
        ("-8265634.947301563", -8265634.947301563),
        ("-0.3251950491711282", -0.3251950491711282),
        ("1.1907551420830664e-09", 1.1907551420830664e-09),
        ("-5.053555596830266e-05", -5.053555596830266e-05),
        ("-82130.75854692193", -82130.75854692193),
        ("6.809253588355442e-13", 6.809253588355442e-13),
    ];

    #[test]
    fn seventeen_digits_are_what_pandas_reads() {
        for (text, want) in PANDAS {
            let got = Digits::Seventeen.parse(text).unwrap();
            assert_eq!(got.to_bits(), want.to_bits(), "{text}: {got:?}, not {want:?}");
        }
    }
    #[test]
    fn exact_is_the_nearest_number() {
        assert_eq!(Digits::Exact.parse("0.050563719136866279"), Some(0.05056371913686628));
        assert_eq!(Digits::Seventeen.parse("0.1"), Some(0.1));
        assert_eq!(Digits::Seventeen.parse("inf"), Some(f64::INFINITY));
        assert!(Digits::Seventeen.parse("NaN").is_some_and(f64::is_nan));
        for no in ["", "x", "1,5", "0x10", "--1", "1e"] {
            assert_eq!((Digits::Exact.parse(no), Digits::Seventeen.parse(no)), (None, None), "{no}");
        }
    }
}
