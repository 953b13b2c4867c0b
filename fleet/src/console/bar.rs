//! Stacked bars and lines as SVG. Sizes are attributes, because the content policy allows no inline style.

use std::fmt;

use askama::filters::HtmlSafe;

use super::badge::Escaped;

/// One part of a stacked bar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Part {
    /// Class of its colour.
    pub(super) class: &'static str,
    /// What it is.
    pub(super) name: String,
    /// How much.
    pub(super) value: u64,
}

/// Parts of a whole. Displays as an SVG image with a label that says the same in words.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Bar {
    /// The parts, left to right.
    pub(super) parts: Vec<Part>,
}

/// Colours of a series, in order; the last one is for the rest.
pub(super) const SERIES: [&str; 6] = ["s0", "s1", "s2", "s3", "s4", "s5"];

/// The colour of the n-th part.
pub(super) fn series(n: usize) -> &'static str {
    SERIES[n.min(SERIES.len() - 1)]
}

impl fmt::Display for Bar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole: u64 = self.parts.iter().map(|p| p.value).sum();
        let words: Vec<String> = self.parts.iter().map(|p| format!("{} {}", p.name, p.value)).collect();
        write!(
            f,
            "<svg class=\"bar\" role=\"img\" aria-label=\"{}\" viewBox=\"0 0 1000 14\" preserveAspectRatio=\"none\">",
            Escaped(&words.join(", "))
        )?;
        let mut before = 0;
        for part in self.parts.iter().filter(|p| p.value > 0) {
            let x = before * 1000 / whole;
            before += part.value;
            // Something is never drawn as nothing, and a hair of background divides the parts.
            let width = (before * 1000 / whole).saturating_sub(x).saturating_sub(2).max(2);
            write!(f, "<rect class=\"{}\" x=\"{x}\" y=\"0\" width=\"{width}\" height=\"14\"/>", part.class)?;
        }
        f.write_str("</svg>")
    }
}
// Names are escaped above, classes are constants, the rest is digits.
impl HtmlSafe for Bar {}

/// One column of a chart over time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Column {
    /// Its height.
    pub(super) value: u64,
    /// What it says when it is pointed at.
    pub(super) title: String,
}

/// Columns over time, oldest first. Displays as an SVG image.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Columns {
    /// The same in words.
    pub(super) label: String,
    /// The columns.
    pub(super) columns: Vec<Column>,
}

impl fmt::Display for Columns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let top = self.columns.iter().map(|c| c.value).max().unwrap_or(0).max(1);
        // A few columns stay slim: the chart always has room for a day.
        let slots = self.columns.len().max(24);
        write!(
            f,
            "<svg class=\"columns\" role=\"img\" aria-label=\"{}\" viewBox=\"0 0 {} 60\" preserveAspectRatio=\"none\">",
            Escaped(&self.label),
            slots * 10
        )?;
        for (i, column) in self.columns.iter().enumerate() {
            let height = (column.value.saturating_mul(56) / top).max(u64::from(column.value > 0));
            write!(
                f,
                "<rect class=\"s0\" x=\"{}\" y=\"{}\" width=\"8\" height=\"{height}\"><title>{}</title></rect>",
                (slots - self.columns.len() + i) * 10 + 1,
                60 - height,
                Escaped(&column.title)
            )?;
        }
        f.write_str("</svg>")
    }
}
impl HtmlSafe for Columns {}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(name: &str, value: u64) -> Part {
        Part { class: series(0), name: name.into(), value }
    }
    #[test]
    fn says_in_words_what_it_draws_and_escapes_them() {
        let bar = Bar { parts: vec![part("1.0.0", 3), part("\"><script>", 1)] };
        let svg = bar.to_string();
        assert!(svg.contains("aria-label=\"1.0.0 3, &quot;&gt;&lt;script&gt; 1\""), "{svg}");
        assert_eq!(svg.matches("<rect").count(), 2);
    }
    #[test]
    fn columns_are_scaled_to_the_highest_and_escape_their_words() {
        let column = |value, title: &str| Column { value, title: title.into() };
        let svg = Columns {
            label: "a & b".into(),
            columns: vec![column(0, "<x>"), column(10, "y"), column(u64::MAX / 100, "z")],
        }
        .to_string();
        assert!(svg.contains("a &amp; b") && svg.contains("&lt;x&gt;"), "{svg}");
        assert!(svg.contains("height=\"56\""), "{svg}");
        assert!(Columns::default().to_string().ends_with("</svg>"));
    }
    #[test]
    fn an_empty_bar_divides_by_nothing() {
        assert!(!Bar::default().to_string().contains("<rect"));
        assert!(!Bar { parts: vec![part("none", 0)] }.to_string().contains("<rect"));
    }
}
