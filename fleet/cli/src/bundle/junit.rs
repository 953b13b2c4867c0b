//! The result of a check as JUnit XML, which every CI system shows.

use std::time::Duration;

use longshore_runtime::{CheckError, CheckReport};

/// The XML: one suite, one case.
pub fn report(name: &str, result: &Result<CheckReport, CheckError>, took: Duration) -> String {
    let seconds = took.as_secs_f64();
    let (failures, body) = match result {
        Ok(r) => {
            let out = format!(
                "digest {}; {} golden rows; p50 {} us, p99 {} us",
                r.digest, r.golden.rows, r.golden.p50_us, r.golden.p99_us
            );
            (0, format!("<system-out>{}</system-out>", escape(&out)))
        }
        Err(e) => {
            let text = escape(&e.to_string());
            (1, format!("<failure type=\"{}\" message=\"{text}\">{text}</failure>", e.code()))
        }
    };
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <testsuite name=\"longshore bundle test\" tests=\"1\" failures=\"{failures}\" errors=\"0\" time=\"{seconds:.3}\">\n\
         \x20 <testcase classname=\"bundle\" name=\"{}\" time=\"{seconds:.3}\">{body}</testcase>\n</testsuite>\n",
        escape(name)
    )
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
    fn a_failure_names_its_reason_and_stays_valid_xml() {
        let error = longshore_bundle::ManifestError::manifest(
            "files[0].path",
            longshore_bundle::Refusal::ReservedName("a\"<b>&\u{7}".to_owned()),
        );
        let xml = report("dir", &Err(CheckError::Bundle(error)), Duration::from_millis(1500));
        assert!(xml.contains("failures=\"1\"") && xml.contains("type=\"bundle.reserved_name\""), "{xml}");
        assert!(xml.contains("time=\"1.500\"") && !xml.contains("<b>") && !xml.contains('\u{7}'), "{xml}");
    }
}
