//! Where in a policy's text something is wrong, and how single values are read.

use std::ops::Range;

use toml::Spanned;

use super::parse_duration;

/// Why a policy is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {message}")]
pub struct PolicyError {
    /// Line of the file, from 1.
    pub line: usize,
    /// What is wrong, and what would be right.
    pub message: String,
}

/// The text of a policy, for finding lines in it.
pub(super) struct Lines<'a>(pub(super) &'a str);

impl Lines<'_> {
    /// A refusal at the line of `span`.
    pub(super) fn error(&self, span: &Range<usize>, message: impl Into<String>) -> PolicyError {
        let start = span.start.min(self.0.len());
        PolicyError {
            line: self.0.as_bytes()[..start].iter().filter(|b| **b == b'\n').count() + 1,
            message: message.into(),
        }
    }
    /// A length of time.
    pub(super) fn time(&self, value: &Spanned<String>) -> Result<u64, PolicyError> {
        parse_duration(value.as_ref()).map_err(|m| self.error(&value.span(), m))
    }
    /// A share from `least` to 1.
    pub(super) fn share(&self, key: &str, value: &Spanned<f64>, least: f64) -> Result<f64, PolicyError> {
        let v = *value.as_ref();
        if v >= least && v <= 1.0 {
            Ok(v)
        } else {
            Err(self
                .error(&value.span(), format!("{key} = {v} is impossible: give a share from {least} to 1")))
        }
    }
    /// A whole number in `range`.
    pub(super) fn whole(
        &self,
        key: &str,
        value: &Spanned<i64>,
        range: std::ops::RangeInclusive<i64>,
    ) -> Result<u64, PolicyError> {
        let v = *value.as_ref();
        if range.contains(&v) {
            Ok(v.unsigned_abs())
        } else {
            let (a, b) = range.into_inner();
            Err(self
                .error(&value.span(), format!("{key} = {v} is impossible: give a number from {a} to {b}")))
        }
    }
}
