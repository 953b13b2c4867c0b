//! Results as JUnit XML, which every CI system shows.
//!
//! What always holds: whatever a name or a message contains, the XML is well formed.

use std::fmt::Write as _;
use std::path::Path;

use crate::context::Failure;

/// How a case came out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Good.
    Passed,
    /// Bad: a code for machines, a sentence for people.
    Failed {
        /// The code.
        kind: String,
        /// The sentence.
        message: String,
    },
    /// Not asked, or not answered.
    Skipped(String),
}

/// One test case.
#[derive(Debug, Clone, PartialEq)]
pub struct Case {
    /// What it belongs to.
    pub class: String,
    /// Its name.
    pub name: String,
    /// How long it took.
    pub seconds: f64,
    /// How it came out.
    pub outcome: Outcome,
    /// Numbers and remarks.
    pub said: String,
}

/// The XML of one suite.
#[must_use]
pub fn xml(suite: &str, cases: &[Case]) -> String {
    let count =
        |matches: fn(&Outcome) -> bool| cases.iter().filter(|c| matches(&c.outcome)).count().to_string();
    let total: f64 = cases.iter().map(|c| c.seconds).sum();
    let mut out = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuite name=\"{}\" tests=\"{}\" failures=\"{}\" errors=\"0\" skipped=\"{}\" time=\"{total:.3}\">\n",
        escape(suite),
        cases.len(),
        count(|o| matches!(o, Outcome::Failed { .. })),
        count(|o| matches!(o, Outcome::Skipped(_))),
    );
    for case in cases {
        let mut body = match &case.outcome {
            Outcome::Passed => String::new(),
            Outcome::Skipped(why) => format!("<skipped message=\"{}\"/>", escape(why)),
            Outcome::Failed { kind, message } => {
                let message = escape(message);
                format!("<failure type=\"{}\" message=\"{message}\">{message}</failure>", escape(kind))
            }
        };
        if !case.said.is_empty() {
            body.push_str(&format!("<system-out>{}</system-out>", escape(&case.said)));
        }
        // Writing to a string cannot fail.
        let _ = writeln!(
            out,
            "  <testcase classname=\"{}\" name=\"{}\" time=\"{:.3}\">{body}</testcase>",
            escape(&case.class),
            escape(&case.name),
            case.seconds
        );
    }
    out + "</testsuite>\n"
}

/// Writes a suite to a file.
///
/// # Errors
/// When the file cannot be written.
pub fn write(path: &Path, suite: &str, cases: &[Case]) -> Result<(), Failure> {
    std::fs::write(path, xml(suite, cases))
        .map_err(|e| Failure::refused("io", format!("cannot write {}: {e}", path.display())))
}

fn escape(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\n' | '\t' => out.push(c),
            c if c.is_control() => {}
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_is_said_the_xml_stays_valid() {
        let case = |outcome, said: &str| Case {
            class: "wave 0".into(),
            name: "a\"<b>&\u{7}".into(),
            seconds: 1.5,
            outcome,
            said: said.into(),
        };
        let failed = Outcome::Failed { kind: "gate.fail".into(), message: "5 < 6".into() };
        let all = [
            case(Outcome::Passed, ""),
            case(failed, "n = 3"),
            case(Outcome::Skipped("not asked".into()), ""),
        ];
        let text = xml("s", &all);
        assert!(
            text.contains("tests=\"3\" failures=\"1\" errors=\"0\" skipped=\"1\" time=\"4.500\""),
            "{text}"
        );
        assert!(
            text.contains("message=\"5 &lt; 6\"") && text.contains("<system-out>n = 3</system-out>"),
            "{text}"
        );
        assert!(!text.contains("<b>") && !text.contains('\u{7}'), "{text}");
    }
}
