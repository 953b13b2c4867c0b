//! What an engine says, made fit for reports, logs and screens. It parses models of strangers, and node names of theirs
//! are in its reasons; one that was taken over says whatever it likes. Bounds and characters are put right here; that it
//! failed is believed as it is, and that it passed is what the golden vectors were for.

use longshore_wire::v1::{Reason, TrialReport};

/// What engines give reasons about.
const TOPICS: [&str; 6] = ["bundle.", "manifest.", "model.", "golden.", "engine.", "trial."];
/// Longest code.
const CODE_CHARS: usize = 40;
/// Longest detail, characters (`wire.md`).
const DETAIL_CHARS: usize = 500;
/// Most outputs of a report, and the longest name of one.
const OUTPUTS: usize = 64;
const NAME_CHARS: usize = 100;

/// A reason that can be shown and stored.
pub fn reason(said: Reason) -> Reason {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '.' || c == '_';
    let known = TOPICS.iter().any(|t| said.code.starts_with(t)) && said.code.chars().all(plain);
    let code = if known && said.code.len() <= CODE_CHARS { said.code } else { "engine.garbled".to_owned() };
    Reason { code, detail: clean(&said.detail, DETAIL_CHARS) }
}

/// A report with bounded lists and names.
pub fn report(mut said: TrialReport) -> TrialReport {
    said.deviations.truncate(OUTPUTS);
    for deviation in &mut said.deviations {
        deviation.output = clean(&deviation.output, NAME_CHARS);
    }
    said
}

/// Without characters that steer a terminal or turn the direction of text.
fn clean(text: &str, most: usize) -> String {
    let turns =
        |c: char| matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    text.chars().take(most).map(|c| if c.is_control() || turns(c) { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(code: &str, detail: &str) -> Reason {
        reason(Reason { code: code.into(), detail: detail.into() })
    }

    #[test]
    fn reasons_of_an_honest_engine_stay_as_they_are() {
        assert_eq!(
            said("model.not_onnx", "file ends \u{e4}"),
            Reason { code: "model.not_onnx".into(), detail: "file ends \u{e4}".into() }
        );
    }
    #[test]
    fn an_engine_that_was_taken_over_steers_neither_the_supervisor_nor_a_terminal() {
        for code in ["activate.page", "trial", "", "model.\u{1b}[2J", &format!("model.{}", "x".repeat(100))] {
            assert_eq!(said(code, "").code, "engine.garbled", "{code:?}");
        }
        let shown = said("model.node", &format!("node `\u{202e}\u{1b}[2J`{}", "y".repeat(100_000))).detail;
        assert!(!shown.contains(['\u{202e}', '\u{1b}']) && shown.chars().count() == 500);
        let mut told =
            TrialReport { load_ms: 1, golden_rows: 1, deviations: vec![], p50_us: 1, p99_us: 1, rss_kib: 1 };
        let one = longshore_wire::v1::Deviation { output: "\n".repeat(1000), max_abs: 0.0, max_rel: 0.0 };
        told.deviations = vec![one; 1000];
        let told = report(told);
        assert_eq!(
            (told.deviations.len(), told.deviations[0].output.as_str()),
            (64, &*"\u{fffd}".repeat(100))
        );
    }
}
