//! A manifest from what is known: the graph's inputs and outputs, the reference data's columns, the labels.

use std::collections::BTreeSet;

use longshore_stats::profile::Column;
use longshore_trust::ModelName;
use semver::Version;

use super::{NamedColumns, rule};
use crate::{
    Batch, DType, Dim, FEATURES_MAX, Feature, FeatureKind, Lineage, Manifest, ManifestError, Monitor, Policy,
    Refusal, Requires, Tensor, TensorSpec, Tolerance,
};

/// Most rows in a request unless the author says otherwise.
const BATCH_DEFAULT: u32 = 64;

/// A manifest without files. A first dimension that is a symbol becomes the batch axis.
#[must_use]
pub fn draft(
    model: ModelName,
    version: Version,
    created: String,
    inputs: Vec<TensorSpec>,
    outputs: Vec<TensorSpec>,
) -> Manifest {
    let batch = matches!(inputs.first().and_then(|i| i.shape.first()), Some(Dim::Symbol(_)));
    Manifest {
        schema: 1,
        model,
        version,
        created,
        parent: None,
        files: Vec::new(),
        inputs,
        outputs,
        batch: batch.then_some(Batch { axis: 0, max: BATCH_DEFAULT }),
        preprocess: Vec::new(),
        postprocess: Vec::new(),
        requires: Requires::default(),
        monitor: Monitor::default(),
        golden: Tolerance::default(),
        lineage: Lineage::default(),
        policy: Policy::default(),
    }
}

/// Takes the outputs as the engine works them out: what an ONNX file says of them is often wrong. Dimensions that are
/// unknown in one output only get a symbol of their own.
#[must_use]
pub fn infer_outputs(manifest: &Manifest, engine: &[TensorSpec]) -> Vec<TensorSpec> {
    let known: BTreeSet<&str> = manifest
        .inputs
        .iter()
        .flat_map(|i| &i.shape)
        .filter_map(|d| match d {
            Dim::Symbol(s) => Some(s.as_str()),
            Dim::Fixed(_) => None,
        })
        .collect();
    let own = |i: usize, axis: usize, d: &Dim| match d {
        Dim::Symbol(s) if !known.contains(s.as_str()) => Dim::Symbol(format!("o{i}_{axis}")),
        other => other.clone(),
    };
    let spec = |(i, o): (usize, &TensorSpec)| TensorSpec {
        shape: o.shape.iter().enumerate().map(|(axis, d)| own(i, axis, d)).collect(),
        ..o.clone()
    };
    engine.iter().enumerate().map(spec).collect()
}

/// Finds where class and scores come from. With labels it must succeed; without, a whole-number output beside a table of
/// scores (as scikit-learn's exports have) is taken for a classifier with classes named `0`, `1`, and so on.
///
/// # Errors
/// When there are labels but no output has a score for each.
pub fn describe_classes(manifest: &mut Manifest, labels: Option<Vec<String>>) -> Result<(), ManifestError> {
    let outputs = manifest.api_outputs()?;
    let symbol = manifest.batch_symbol().map(str::to_owned);
    let is_row =
        |d: &Dim| matches!(d, Dim::Fixed(1)) || matches!(d, Dim::Symbol(s) if Some(s) == symbol.as_ref());
    let scores = |o: &TensorSpec| match o.shape.as_slice() {
        [rows @ .., Dim::Fixed(k)] if o.dtype.is_float() && rows.iter().all(is_row) => Some(*k),
        _ => None,
    };
    let is_class = |o: &TensorSpec| o.dtype.is_integer() && o.shape.iter().all(is_row);
    let class_output = outputs.iter().find(|o| is_class(o)).map(|o| o.name.clone());
    let Some(labels) = labels else {
        let table = outputs.iter().find_map(|o| Some((o, scores(o).filter(|k| (2..=256).contains(k))?)));
        if let (Some(_), Some((o, k))) = (&class_output, table) {
            manifest.monitor.classes = (0..k).map(|c| c.to_string()).collect();
            manifest.monitor.score_output = Some(o.name.clone());
            manifest.monitor.class_output = class_output;
        } else if manifest.monitor.score_output.is_none() {
            manifest.monitor.score_output =
                outputs.iter().find(|o| scores(o) == Some(1)).map(|o| o.name.clone());
        }
        return Ok(());
    };
    let k = labels.len() as u64;
    let fits = |o: &&TensorSpec| scores(o).is_some_and(|n| n == k || (n == 1 && k == 2));
    let score_output = outputs.iter().find(fits).map(|o| o.name.clone());
    if score_output.is_none() && class_output.is_none() {
        let shapes: Vec<String> = outputs.iter().map(ToString::to_string).collect();
        let text = format!("there are {k} labels, but no output has a score for each: {}", shapes.join(", "));
        return Err(rule("--labels", "(count)", text));
    }
    manifest.monitor.classes = labels;
    manifest.monitor.score_output = score_output;
    manifest.monitor.class_output = class_output;
    Ok(())
}

/// Columns that are answers, not features.
const ANSWERS: [&str; 8] = ["label", "labels", "target", "class", "y", "Y", "output", "expected"];

/// The first column of a table that is named like an answer.
#[must_use]
pub fn answers(columns: NamedColumns) -> Option<(String, Column)> {
    columns.into_iter().find(|(n, _)| ANSWERS.contains(&n.as_str()))
}

/// The first array that is named like an answer and has one number a row.
#[must_use]
pub fn answers_of_arrays(arrays: &[Tensor]) -> Option<(String, Column)> {
    let one_a_row = |a: &&Tensor| a.shape.iter().skip(1).product::<usize>() == 1 && a.dtype != DType::Bytes;
    let array = arrays.iter().find(|a| ANSWERS.contains(&a.name.as_str()) && one_a_row(a))?;
    Some((array.name.clone(), Column::Numeric(array.values().map(Some).collect())))
}

/// Matches the columns of a reference table with the inputs: as many columns as one row of the only numeric input has
/// elements, or one column for each input of one element. A further column with an answer is left out.
///
/// # Errors
/// When the columns fit no input, or there are more than 256.
pub fn features_of(
    manifest: &Manifest,
    columns: NamedColumns,
) -> Result<(Vec<Feature>, NamedColumns), ManifestError> {
    let inputs = manifest.api_inputs();
    let width = |i: &TensorSpec| manifest.row_elements(i);
    let is_answer = |n: &str| ANSWERS.contains(&n);
    let by_name = |n: &str| inputs.iter().find(|i| i.name == n && width(i) == Some(1));
    if columns.iter().any(|(n, _)| by_name(n).is_some()) {
        let kept: Vec<(String, Column)> = columns.into_iter().filter(|(n, _)| by_name(n).is_some()).collect();
        let features = kept.iter().map(|(n, c)| feature(n, n, 0, c)).collect();
        return Ok((features, kept));
    }
    let found = columns.len() as u64;
    let answers = columns.iter().filter(|(n, _)| is_answer(n)).count() as u64;
    let Some(input) = inputs.iter().find(|i| width(i).is_some_and(|w| w == found || w + answers == found))
    else {
        let shapes: Vec<String> = inputs.iter().map(ToString::to_string).collect();
        let text = format!(
            "it has {found} columns, which fit no input ({}); give one column for each element of a row, in order",
            shapes.join(", ")
        );
        return Err(rule("reference data", "(columns)", text));
    };
    let drop_answers = width(input) != Some(found);
    let kept: Vec<(String, Column)> =
        columns.into_iter().filter(|(n, _)| !(drop_answers && is_answer(n))).collect();
    if kept.len() > FEATURES_MAX {
        let (found, limit) = (kept.len() as u64, FEATURES_MAX as u64);
        let reason = Refusal::TooMany { what: "features", found, limit };
        return Err(ManifestError::new("reference data", "(columns)", reason));
    }
    if let Some((n, _)) = kept.iter().find(|(_, c)| matches!(c, Column::Categorical(_))) {
        let text = "holds text, but the input takes numbers; encode it as the model expects it";
        return Err(rule("reference data", format!("column `{n}`"), text));
    }
    let features = kept.iter().zip(0..).map(|((n, c), i)| feature(n, &input.name, i, c)).collect();
    Ok((features, kept))
}

fn feature(name: &str, input: &str, index: u32, column: &Column) -> Feature {
    let kind = match column {
        Column::Numeric(_) => FeatureKind::Numeric,
        Column::Categorical(_) => FeatureKind::Categorical,
    };
    Feature { name: name.to_owned(), input: input.to_owned(), index, kind }
}

/// The columns of reference arrays: each array of the name of an input, or the only one that is no answer, cut into the
/// elements of a row.
///
/// # Errors
/// When an array fits no input.
pub fn columns_of_arrays(manifest: &Manifest, arrays: &[Tensor]) -> Result<NamedColumns, ManifestError> {
    let inputs = manifest.api_inputs();
    let data: Vec<&Tensor> = arrays.iter().filter(|a| !ANSWERS.contains(&a.name.as_str())).collect();
    let mut columns = Vec::new();
    for array in &data {
        let plain = array.name.strip_prefix("input.").unwrap_or(&array.name);
        let input = inputs.iter().find(|i| i.name == plain);
        let Some(input) = input.or_else(|| inputs.first().filter(|_| inputs.len() == 1 && data.len() == 1))
        else {
            let text = "is not the name of an input";
            return Err(rule("reference data", format!("array `{}`", array.name), text));
        };
        let width: usize = array.shape.iter().skip(1).product();
        if manifest.row_elements(input) != Some(width as u64) || array.dtype == DType::Bytes {
            let text = format!("has shape {:?}, one row of {input} has another size", array.shape);
            return Err(rule("reference data", format!("array `{}`", array.name), text));
        }
        if columns.len() + width > FEATURES_MAX {
            let (found, limit) = ((columns.len() + width) as u64, FEATURES_MAX as u64);
            let reason = Refusal::TooMany { what: "features", found, limit };
            return Err(ManifestError::new("reference data", format!("array `{}`", array.name), reason));
        }
        let values: Vec<f64> = array.values().collect();
        for i in 0..width {
            let column = values.iter().skip(i).step_by(width).map(|v| Some(*v)).collect();
            let name = if width == 1 { input.name.clone() } else { format!("{}_{i}", input.name) };
            columns.push((name, Column::Numeric(column)));
        }
    }
    Ok(columns)
}
