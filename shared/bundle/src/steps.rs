//! What is done to tensors before and after the graph: a small closed set, so that no code travels in a bundle.

use serde::{Deserialize, Serialize};

/// A step before the graph. Steps of an input run in the order of the manifest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case", deny_unknown_fields)]
pub enum PreStep {
    /// `x * factor + offset`, element by element.
    Scale {
        /// Input.
        input: String,
        /// Factor.
        factor: f64,
        /// Added after the multiplication.
        #[serde(default, skip_serializing_if = "is_zero")]
        offset: f64,
    },
    /// `(x - mean[i]) / std[i]` along `axis`; lists of one entry hold for all.
    Normalize {
        /// Input.
        input: String,
        /// Means.
        mean: Vec<f64>,
        /// Standard deviations, none zero.
        std: Vec<f64>,
        /// Axis the lists run along; negative counts from the end.
        #[serde(default = "last_axis")]
        axis: i32,
    },
    /// Limits every element to `min..=max`.
    Clip {
        /// Input.
        input: String,
        /// Least value.
        min: f64,
        /// Greatest value.
        max: f64,
    },
    /// Cuts a signal of shape `[length]` into rows: row i holds `size` samples from `i * step`. Samples that fill no
    /// row are not used.
    Window {
        /// Input, of shape `[batch, size]`.
        input: String,
        /// Samples a row.
        size: u32,
        /// Samples from one row's start to the next's.
        step: u32,
    },
    /// Whole numbers `0..classes` to vectors with a single 1 along a new last axis.
    OneHot {
        /// Input, whose last dimension is `classes`.
        input: String,
        /// Length of the vectors.
        classes: u32,
    },
}

impl PreStep {
    /// The input it changes.
    #[must_use]
    pub fn input(&self) -> &str {
        match self {
            Self::Scale { input, .. }
            | Self::Normalize { input, .. }
            | Self::Clip { input, .. }
            | Self::Window { input, .. }
            | Self::OneHot { input, .. } => input,
        }
    }
}

/// A step after the graph. `to` names a new output; without it the output is replaced.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case", deny_unknown_fields)]
pub enum PostStep {
    /// `x * factor + offset`, element by element.
    Scale {
        /// Output.
        output: String,
        /// Factor.
        factor: f64,
        /// Added after the multiplication.
        #[serde(default, skip_serializing_if = "is_zero")]
        offset: f64,
        /// New output.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        to: Option<String>,
    },
    /// Limits every element to `min..=max`.
    Clip {
        /// Output.
        output: String,
        /// Least value.
        min: f64,
        /// Greatest value.
        max: f64,
        /// New output.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        to: Option<String>,
    },
    /// `exp(x_i - max) / sum` along the last axis.
    Softmax {
        /// Output.
        output: String,
        /// New output.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        to: Option<String>,
    },
    /// Index of the greatest element along the last axis (the first of equals), as INT64; that axis goes.
    Argmax {
        /// Output.
        output: String,
        /// New output.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        to: Option<String>,
    },
    /// 1 where the element is `at` or more, else 0, as INT64.
    Threshold {
        /// Output.
        output: String,
        /// Limit.
        at: f64,
        /// New output.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        to: Option<String>,
    },
    /// Whole numbers to the names in `monitor.classes`, as BYTES.
    Labels {
        /// Output, of whole numbers.
        output: String,
        /// New output.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        to: Option<String>,
    },
}

impl PostStep {
    /// The output it reads.
    #[must_use]
    pub fn output(&self) -> &str {
        match self {
            Self::Scale { output, .. }
            | Self::Clip { output, .. }
            | Self::Softmax { output, .. }
            | Self::Argmax { output, .. }
            | Self::Threshold { output, .. }
            | Self::Labels { output, .. } => output,
        }
    }
    /// The output it makes, when it is a new one.
    #[must_use]
    pub fn to(&self) -> Option<&str> {
        match self {
            Self::Scale { to, .. }
            | Self::Clip { to, .. }
            | Self::Softmax { to, .. }
            | Self::Argmax { to, .. }
            | Self::Threshold { to, .. }
            | Self::Labels { to, .. } => to.as_deref(),
        }
    }
}

fn last_axis() -> i32 {
    -1
}
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(v: &f64) -> bool {
    *v == 0.0
}
