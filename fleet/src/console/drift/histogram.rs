//! Reference against current as SVG: pairs of bars. Sizes are attributes, because the content policy allows no inline
//! style; the table below it says the same.

use std::fmt;

use askama::filters::HtmlSafe;

use super::super::badge::Escaped;
use super::super::figures::percent;

const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 200.0;
const BOTTOM: f64 = 176.0;
const LEFT: f64 = 52.0;

/// One pair.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Pair {
    /// What falls into the bin.
    pub(super) label: String,
    /// Share of the reference.
    pub(super) reference: f64,
    /// Share of the rows judged.
    pub(super) current: f64,
}

/// The chart.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Histogram {
    /// The same in words.
    pub(super) label: String,
    /// The pairs, in the order of the scale.
    pub(super) pairs: Vec<Pair>,
}

impl fmt::Display for Histogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shares = self.pairs.iter().flat_map(|p| [p.reference, p.current]);
        let top = shares.fold(0.0f64, f64::max).max(1e-9);
        let step = (WIDTH - LEFT) / self.pairs.len().max(1) as f64;
        write!(
            f,
            "<svg class=\"hist\" role=\"img\" aria-label=\"{}\" viewBox=\"0 0 {WIDTH} {HEIGHT}\">\
             <text x=\"0\" y=\"14\">{}</text><line class=\"axis\" x1=\"{LEFT}\" x2=\"{WIDTH}\" y1=\"{BOTTOM}\" y2=\"{BOTTOM}\"/>",
            Escaped(&self.label),
            percent(top)
        )?;
        let every = self.pairs.len().div_ceil(10).max(1);
        for (i, pair) in self.pairs.iter().enumerate() {
            let left = LEFT + step * i as f64;
            for (share, class, name, at) in
                [(pair.reference, "s5", "reference", 0.1), (pair.current, "s0", "now", 0.5)]
            {
                let tall = (BOTTOM - 10.0) * share / top;
                write!(
                    f,
                    "<rect class=\"{class}\" x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{tall:.1}\"><title>{}, {name}: {}</title></rect>",
                    left + step * at,
                    BOTTOM - tall,
                    step * 0.4,
                    Escaped(&pair.label),
                    percent(share)
                )?;
            }
            if i % every == 0 {
                let short: String = pair.label.chars().take(15).collect();
                // Where there is no room to the right, it ends at the edge.
                let (at, anchor) = if left + 90.0 > WIDTH { (WIDTH, "end") } else { (left + 2.0, "start") };
                let y = HEIGHT - 6.0;
                write!(
                    f,
                    "<text x=\"{at:.1}\" y=\"{y}\" text-anchor=\"{anchor}\">{}</text>",
                    Escaped(&short)
                )?;
            }
        }
        f.write_str("</svg>")
    }
}
// Labels are escaped above, classes are constants, the rest is digits.
impl HtmlSafe for Histogram {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_cannot_write_markup_and_an_empty_chart_is_one() {
        let evil = "</title><script>x</script>".to_owned();
        let chart = Histogram {
            label: evil.clone(),
            pairs: vec![Pair { label: evil, reference: 0.5, current: 1.0 }],
        };
        let svg = chart.to_string();
        assert!(!svg.contains("<script>") && svg.contains("100.0 %"), "{svg}");
        assert!(Histogram::default().to_string().ends_with("</svg>"));
    }
}
