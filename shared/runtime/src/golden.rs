//! Golden vectors: does this engine, on this CPU, give the answers the author got? And how fast?

use std::time::Instant;

use longshore_bundle::{DType, Golden, Manifest, ManifestError, Tensor};
use serde::Serialize;

use crate::{Model, RunError};

/// Least number of timed runs, as long as they fit the time below.
const RUNS_MIN: usize = 50;
/// Timing stops after this, once every vector has run.
const TIMED_MS: u128 = 500;

/// How far one output was from what was expected.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Deviation {
    /// Output.
    pub name: String,
    /// Greatest absolute difference.
    pub max_abs: f64,
    /// Greatest difference relative to the expected value (where that is not 0).
    pub max_rel: f64,
}

/// What the golden run found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct GoldenReport {
    /// Rows compared.
    pub rows: usize,
    /// Timed runs of one row each (of the whole request when the model has no batch axis).
    pub runs: usize,
    /// One entry an output.
    pub outputs: Vec<Deviation>,
    /// Median time of a run, microseconds.
    pub p50_us: u64,
    /// 99th percentile of the time of a run, microseconds.
    pub p99_us: u64,
}

/// Why a model fails its golden run.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum GoldenError {
    /// The golden file itself is refused.
    #[error(transparent)]
    File(#[from] ManifestError),
    /// The model does not run on it.
    #[error("golden vectors: {0}")]
    Run(#[from] RunError),
    /// An answer is too far off.
    #[error(
        "golden vectors: output `{output}`, row {row}, element {index}: expected {expected}, got {found} (allowed: {abs} + {rel} * |expected|). \
         The export and this engine do not agree; compare with ONNX Runtime, or raise `golden.abs` or `golden.rel` if the difference does not matter"
    )]
    Deviates {
        /// Output.
        output: String,
        /// Row, from 0.
        row: usize,
        /// Element of that row, from 0.
        index: usize,
        /// What the author got.
        expected: f64,
        /// What came out.
        found: f64,
        /// Absolute tolerance.
        abs: f64,
        /// Relative tolerance.
        rel: f64,
    },
    /// An answer of another shape.
    #[error("golden vectors: output `{output}` has shape {found:?}, expected {expected:?}")]
    Shape {
        /// Output.
        output: String,
        /// Expected.
        expected: Vec<usize>,
        /// Found.
        found: Vec<usize>,
    },
    /// Too slow for what the manifest promises.
    #[error(
        "too slow here: the 99th percentile of a run is {p99_us} us, `requires.max_p99_ms` allows {limit_ms} ms"
    )]
    Slow {
        /// Measured, microseconds.
        p99_us: u64,
        /// Allowed, ms.
        limit_ms: u32,
    },
}

impl GoldenError {
    /// Stable code for machines.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::File(e) => e.reason.code(),
            Self::Run(e) => e.code(),
            Self::Deviates { .. } => "golden.deviates",
            Self::Shape { .. } => "golden.shape",
            Self::Slow { .. } => "golden.slow",
        }
    }
}

/// Runs every golden vector and compares; then measures single rows.
///
/// # Errors
/// [`GoldenError`]: the first difference that is too large, or why it does not run.
pub fn run(model: &Model, manifest: &Manifest, golden: &[u8]) -> Result<GoldenReport, GoldenError> {
    run_vectors(model, manifest, &longshore_bundle::golden::parse(golden, manifest)?)
}

/// As [`run`], for vectors that are read already.
///
/// # Errors
/// As [`run`].
pub fn run_vectors(model: &Model, manifest: &Manifest, golden: &Golden) -> Result<GoldenReport, GoldenError> {
    let symbol = manifest.batch_symbol();
    let axis_of = |specs: &[longshore_bundle::TensorSpec], name: &str| {
        let spec = specs.iter().find(|s| s.name == name)?;
        spec.shape
            .iter()
            .position(|d| matches!(d, longshore_bundle::Dim::Symbol(s) if Some(s.as_str()) == symbol))
    };
    let slice =
        |tensors: &[Tensor], specs: &[longshore_bundle::TensorSpec], from: usize, n: usize| -> Vec<Tensor> {
            tensors
                .iter()
                .map(|t| axis_of(specs, &t.name).map_or_else(|| t.clone(), |axis| rows_of(t, axis, from, n)))
                .collect()
        };
    // Rows can be cut only when every golden output has them.
    let can_cut = symbol.is_some()
        && golden.inputs.iter().any(|t| axis_of(model.inputs(), &t.name).is_some())
        && golden.outputs.iter().all(|t| axis_of(model.outputs(), &t.name).is_some());
    let step = if can_cut { model.max_rows().max(1) } else { golden.rows.max(1) };
    let mut deviations: Vec<Deviation> = golden
        .outputs
        .iter()
        .map(|t| Deviation { name: t.name.clone(), max_abs: 0.0, max_rel: 0.0 })
        .collect();
    for from in (0..golden.rows.max(1)).step_by(step) {
        let n = step.min(golden.rows.max(1) - from);
        let (inputs, expected) = if can_cut {
            (slice(&golden.inputs, model.inputs(), from, n), slice(&golden.outputs, model.outputs(), from, n))
        } else {
            (golden.inputs.clone(), golden.outputs.clone())
        };
        let answers = model.run(&inputs)?;
        for (want, deviation) in expected.iter().zip(&mut deviations) {
            let Some(got) = answers.iter().find(|a| a.name == want.name) else {
                continue;
            };
            compare(want, got, deviation, manifest, from)?;
        }
    }
    let one = if can_cut { 1 } else { golden.rows.max(1) };
    let requests: Vec<Vec<Tensor>> = (0..golden.rows.max(1))
        .step_by(one)
        .take(256)
        .map(
            |from| {
                if can_cut { slice(&golden.inputs, model.inputs(), from, 1) } else { golden.inputs.clone() }
            },
        )
        .collect();
    let mut times = time_runs(model, &requests)?;
    times.sort_unstable();
    let at = |q: usize| times[(times.len() - 1) * q / 100];
    let report = GoldenReport {
        rows: golden.rows,
        runs: times.len(),
        outputs: deviations,
        p50_us: at(50),
        p99_us: at(99),
    };
    match manifest.requires.max_p99_ms {
        Some(limit_ms) if report.p99_us > u64::from(limit_ms) * 1000 => {
            Err(GoldenError::Slow { p99_us: report.p99_us, limit_ms })
        }
        _ => Ok(report),
    }
}

fn time_runs(model: &Model, requests: &[Vec<Tensor>]) -> Result<Vec<u64>, RunError> {
    let begin = Instant::now();
    let mut times = Vec::new();
    for request in requests.iter().cycle().take(requests.len().max(RUNS_MIN)) {
        let start = Instant::now();
        model.run(request)?;
        times.push(u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX));
        if begin.elapsed().as_millis() > TIMED_MS && times.len() >= 3 {
            break;
        }
    }
    Ok(times)
}

/// `n` rows of `t` from row `from` on, where `axis` holds the rows.
fn rows_of(t: &Tensor, axis: usize, from: usize, n: usize) -> Tensor {
    let size = t.dtype.size_bytes().unwrap_or(1);
    let inner: usize = t.shape[axis + 1..].iter().product::<usize>() * size;
    let along = t.shape[axis];
    let data = t
        .data
        .chunks(along * inner)
        .flat_map(|c| c[from * inner..(from + n) * inner].iter().copied())
        .collect();
    let mut shape = t.shape.clone();
    shape[axis] = n;
    Tensor { name: t.name.clone(), dtype: t.dtype, shape, data }
}

fn compare(
    want: &Tensor,
    got: &Tensor,
    deviation: &mut Deviation,
    manifest: &Manifest,
    first_row: usize,
) -> Result<(), GoldenError> {
    if want.shape != got.shape || want.dtype != got.dtype {
        let (expected, found) = (want.shape.clone(), got.shape.clone());
        return Err(GoldenError::Shape { output: want.name.clone(), expected, found });
    }
    let exact = !want.dtype.is_float() || want.dtype == DType::Bool;
    let (abs, rel) = if exact { (0.0, 0.0) } else { (manifest.golden.abs, manifest.golden.rel) };
    let each: usize = want.shape.iter().skip(1).product::<usize>().max(1);
    for (i, (b, a)) in want.values().zip(got.values()).enumerate() {
        // Equal infinities are equal; their difference would be NaN.
        let off = if a == b { 0.0 } else { (a - b).abs() };
        deviation.max_abs = deviation.max_abs.max(off);
        if b != 0.0 {
            deviation.max_rel = deviation.max_rel.max(off / b.abs());
        }
        // A NaN is never close.
        if off.is_nan() || off > abs + rel * b.abs() || (off > 0.0 && b.is_infinite()) {
            let (row, index) = (first_row + i / each, i % each);
            let output = want.name.clone();
            return Err(GoldenError::Deviates { output, row, index, expected: b, found: a, abs, rel });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_cut_along_any_axis() {
        let t = Tensor::from_i64("x", &[2, 3], &[0, 1, 2, 10, 11, 12]);
        assert_eq!(rows_of(&t, 0, 1, 1), Tensor::from_i64("x", &[1, 3], &[10, 11, 12]));
        assert_eq!(rows_of(&t, 1, 1, 2), Tensor::from_i64("x", &[2, 2], &[1, 2, 11, 12]));
    }
}
