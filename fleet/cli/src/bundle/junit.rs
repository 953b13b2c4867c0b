//! The result of a bundle's check as a JUnit case.

use std::time::Duration;

use longshore_runtime::{CheckError, CheckReport};

use crate::junit::{Case, Outcome};

/// One case for the whole check.
pub fn case(name: &str, result: &Result<CheckReport, CheckError>, took: Duration) -> Case {
    let (outcome, said) = match result {
        Ok(r) => {
            let said = format!(
                "digest {}; {} golden rows; p50 {} us, p99 {} us",
                r.digest, r.golden.rows, r.golden.p50_us, r.golden.p99_us
            );
            (Outcome::Passed, said)
        }
        Err(e) => (Outcome::Failed { kind: e.code().to_string(), message: e.to_string() }, String::new()),
    };
    Case { class: "bundle".into(), name: name.to_owned(), seconds: took.as_secs_f64(), outcome, said }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_names_its_reason() {
        let error = longshore_bundle::ManifestError::manifest(
            "files[0].path",
            longshore_bundle::Refusal::ReservedName("a\"<b>&\u{7}".to_owned()),
        );
        let case = case("dir", &Err(CheckError::Bundle(error)), Duration::from_millis(1500));
        assert!(
            matches!(&case.outcome, Outcome::Failed { kind, .. } if kind == "bundle.reserved_name"),
            "{case:?}"
        );
    }
}
