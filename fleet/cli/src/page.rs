//! Pages for people: one HTML file that needs nothing else, with charts as inline SVG and their data as tables.

use std::fmt::Write as _;

const STYLE: &str = "
:root{--ink:#1b2733;--soft:#5b6b7a;--line:#d5dde5;--back:#fff;--card:#f7f9fb;--ref:#8ea3b8;--cur:#0b6bcb;
--bad:#b3261e;--good:#1a7f45;--doubt:#9a6700}
@media(prefers-color-scheme:dark){:root{--ink:#e6edf3;--soft:#9fb0c0;--line:#34424f;--back:#10161c;--card:#18212a;
--ref:#6f8499;--cur:#58a6ff;--bad:#ff7b72;--good:#56d364;--doubt:#e3b341}}
body{font:15px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--back);max-width:60rem;margin:2rem auto;padding:0 1rem}
h1{font-size:1.5rem;margin-bottom:.2rem}h2{font-size:1.1rem;margin:0}.lead,.note{color:var(--soft)}
section{border:1px solid var(--line);border-radius:8px;background:var(--card);padding:1rem;margin:1rem 0}
.head{display:flex;gap:.8rem;align-items:baseline;flex-wrap:wrap}
.badge{border:1px solid currentColor;border-radius:1rem;padding:0 .6rem;font-size:.85rem}
.drifted{color:var(--bad)}.stable{color:var(--good)}.undecided,.insufficient{color:var(--doubt)}
table{border-collapse:collapse;font-variant-numeric:tabular-nums;margin:.5rem 0}
th,td{padding:.15rem .8rem .15rem 0;text-align:right;border-bottom:1px solid var(--line)}
th:first-child,td:first-child{text-align:left}svg{max-width:100%;height:auto}svg text{font:11px system-ui,sans-serif;fill:var(--soft)}
.r{fill:var(--ref)}.c{fill:var(--cur)}.axis{stroke:var(--line)}.mark{stroke:var(--ink);stroke-width:2}.dot{fill:var(--ink)}
.limit{stroke:var(--bad);stroke-dasharray:3 3}.line{display:flex;gap:.8rem;align-items:center;flex-wrap:wrap}details{margin-top:.4rem}summary{cursor:pointer;color:var(--soft)}
.wide{overflow-x:auto}";

/// A whole page. `lead` and `title` are text, `body` is HTML.
pub fn page(title: &str, lead: &str, body: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
         <title>{0}</title><style>{STYLE}</style></head>\n<body><h1>{0}</h1>\n<p class=\"lead\">{1}</p>\n{body}</body></html>\n",
        escape(title),
        escape(lead)
    )
}

/// Text inside HTML and attributes.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

/// A number for people: four significant digits, `-` for what is not known.
pub fn number(value: f64) -> String {
    if !value.is_finite() {
        return if value.is_nan() { "-".into() } else { value.to_string() };
    }
    let size = value.abs();
    if value == 0.0 {
        "0".into()
    } else if !(1e-3..1e6).contains(&size) {
        format!("{value:.2e}")
    } else {
        let decimals = (3 - size.log10().floor() as i32).clamp(0, 6) as usize;
        let text = format!("{value:.decimals$}");
        if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
    }
}

/// A table of text cells; the first row is the header.
pub fn table(rows: &[Vec<String>]) -> String {
    let mut out = String::from("<div class=\"wide\"><table>");
    for (i, row) in rows.iter().enumerate() {
        let tag = if i == 0 { "th" } else { "td" };
        let cells: String = row.iter().map(|c| format!("<{tag}>{}</{tag}>", escape(c))).collect();
        let _ = write!(out, "<tr>{cells}</tr>");
    }
    out + "</table></div>"
}

/// Something that opens on a click.
pub fn details(summary: &str, body: &str) -> String {
    format!("<details><summary>{}</summary>{body}</details>", escape(summary))
}

/// Pairs of bars, reference and current, with a label below each pair.
pub fn paired_bars(title: &str, labels: &[String], reference: &[f64], current: &[f64]) -> String {
    let (width, height, bottom) = (680.0, 170.0, 150.0);
    let most = reference.iter().chain(current).fold(0.0f64, |m, v| m.max(*v)).max(1e-12);
    let step = (width - 40.0) / labels.len().max(1) as f64;
    let mut out = format!(
        "<svg viewBox=\"0 0 {width} {height}\" width=\"{width}\" role=\"img\" aria-label=\"{0}\"><title>{0}</title>\
         <text x=\"0\" y=\"12\">{1}</text><line class=\"axis\" x1=\"38\" x2=\"{width}\" y1=\"{bottom}\" y2=\"{bottom}\"/>",
        escape(title),
        escape(&format!("{:.0} %", most * 100.0)),
    );
    let every = labels.len().div_ceil(12);
    for (i, label) in labels.iter().enumerate() {
        let left = 38.0 + step * i as f64;
        for (share, class, at) in [(reference[i], "r", 0.08), (current[i], "c", 0.5)] {
            let tall = 140.0 * share / most;
            let _ = write!(
                out,
                "<rect class=\"{class}\" x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{tall:.1}\"><title>{}: {:.1} %</title></rect>",
                left + step * at,
                bottom - tall,
                step * 0.4,
                escape(label),
                share * 100.0
            );
        }
        if i % every == 0 {
            let _ =
                write!(out, "<text x=\"{left:.1}\" y=\"{}\">{}</text>", height - 4.0, escape(&short(label)));
        }
    }
    out + "</svg>"
}

fn short(label: &str) -> String {
    if label.chars().count() > 10 { label.chars().take(9).chain(['…']).collect() } else { label.to_owned() }
}

/// A value with its interval, as text and on a line from 0 to `end`; `limit` is drawn where it lies inside.
pub fn estimate(name: &str, value: f64, lo: f64, hi: f64, end: f64, limit: Option<f64>) -> String {
    let title = format!("{name} {}, 95 % interval {} to {}", number(value), number(lo), number(hi));
    let width = 320.0;
    let at = |v: f64| 6.0 + (width - 12.0) * (v / end).clamp(0.0, 1.0);
    let line = limit.filter(|l| *l <= end).map_or(String::new(), |l| {
        format!(
            "<line class=\"limit\" x1=\"{0:.1}\" x2=\"{0:.1}\" y1=\"2\" y2=\"26\"><title>{1}</title></line>",
            at(l),
            number(l)
        )
    });
    format!(
        "<div class=\"line\"><svg viewBox=\"0 0 {width} 28\" width=\"{width}\" role=\"img\" aria-label=\"{0}\"><title>{0}</title>\
         <line class=\"axis\" x1=\"6\" x2=\"{1}\" y1=\"14\" y2=\"14\"/>{line}\
         <line class=\"mark\" x1=\"{2:.1}\" x2=\"{3:.1}\" y1=\"14\" y2=\"14\"/><circle class=\"dot\" cx=\"{4:.1}\" cy=\"14\" r=\"4\"/></svg>\
         <span>{0}</span></div>",
        escape(&title),
        width - 6.0,
        at(lo),
        at(hi),
        at(value)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_columns_cannot_break_out() {
        let evil = "</title><script>alert('x')</script>\"&";
        let html = page(evil, evil, &paired_bars(evil, &[evil.to_owned()], &[0.5], &[0.5]));
        assert!(!html.contains("<script>") && html.contains("&lt;script&gt;"));
    }
    #[test]
    fn numbers_are_short() {
        let shown: Vec<String> =
            [0.0, 0.25, 1234.567, 12.3456, 1.0e-9, 3.0e9, f64::NAN, 1234567.0].map(number).into();
        assert_eq!(shown, ["0", "0.25", "1235", "12.35", "1.00e-9", "3.00e9", "-", "1.23e6"]);
    }
}
