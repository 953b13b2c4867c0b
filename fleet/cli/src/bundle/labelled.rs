//! Runs the model over labelled reference rows: how often it is right, and what its scores are worth.

use longshore_bundle::author::NamedColumns;
use longshore_bundle::{DType, Dim, Manifest, Tensor};
use longshore_runtime::Model;
use longshore_stats::profile::Column;
use longshore_stats::quality::calibration::{ROWS_MIN, ReferenceQuality};

/// Most rows that are run.
const ROWS_MAX: usize = 20_000;

/// The quality, or why there is none.
///
/// # Errors
/// A reason for people.
pub fn quality(
    model: &Model,
    manifest: &Manifest,
    columns: &NamedColumns,
    answers: &Column,
) -> Result<ReferenceQuality, String> {
    let classes = &manifest.monitor.classes;
    if classes.is_empty() || manifest.monitor.score_output.is_none() {
        return Err("the model has no classes with scores".to_owned());
    }
    let table = table(columns)?;
    let usable: Vec<(usize, &Vec<f64>)> = table
        .iter()
        .enumerate()
        .filter(|(_, row)| row.iter().all(|v| v.is_finite()))
        .filter_map(|(i, row)| Some((class(answers, i, classes)?, row)))
        .take(ROWS_MAX)
        .collect();
    let mut judged = Vec::with_capacity(usable.len());
    for part in usable.chunks(model.max_rows().max(1)) {
        let rows: Vec<&[f64]> = part.iter().map(|(_, row)| row.as_slice()).collect();
        let inputs = inputs(model, manifest, columns, &rows)?;
        let outputs = model.run(&inputs).map_err(|e| format!("the model refuses a labelled row: {e}"))?;
        for ((truth, _), p) in part.iter().zip(model.predictions(rows.len(), &outputs)) {
            if let Some(class) = p.class {
                judged.push((*truth, class as usize, f64::from(p.score)));
            }
        }
    }
    ReferenceQuality::of(&judged, classes.len()).ok_or_else(|| {
        format!("{} labelled rows have a class and a score, {ROWS_MIN} are needed", judged.len())
    })
}

/// Rows of numbers; what is missing is NaN.
fn table(columns: &NamedColumns) -> Result<Vec<Vec<f64>>, String> {
    let mut rows: Vec<Vec<f64>> = Vec::new();
    for (name, column) in columns {
        let Column::Numeric(values) = column else {
            return Err(format!("column `{name}` holds text, which cannot be given to the model here"));
        };
        rows.resize_with(values.len().max(rows.len()), Vec::new);
        rows.iter_mut().zip(values).for_each(|(row, v)| row.push(v.unwrap_or(f64::NAN)));
    }
    Ok(rows)
}

/// The class of a row's answer: by its name, or by its number.
fn class(answers: &Column, row: usize, classes: &[String]) -> Option<usize> {
    match answers {
        Column::Categorical(words) => {
            let word = words.get(row)?.as_ref()?;
            classes.iter().position(|c| c == word)
        }
        Column::Numeric(values) => {
            let value = (*values.get(row)?)?;
            // Classes may be numbers in another order, as the names say.
            let named = classes.iter().position(|c| c.parse::<f64>() == Ok(value));
            named.or_else(|| (0..classes.len()).find(|i| *i as f64 == value))
        }
    }
}

/// Tensors of one request: a column for each input of one element, or all columns for the only input.
fn inputs(
    model: &Model,
    manifest: &Manifest,
    columns: &NamedColumns,
    rows: &[&[f64]],
) -> Result<Vec<Tensor>, String> {
    let symbol = manifest.batch_symbol();
    let one_each = model.inputs().iter().all(|i| columns.iter().any(|(n, _)| *n == i.name));
    let tensor = |spec: &longshore_bundle::TensorSpec| {
        let wanted: Vec<usize> = match columns.iter().position(|(n, _)| *n == spec.name) {
            Some(at) if one_each => vec![at],
            _ if model.inputs().len() == 1 => (0..columns.len()).collect(),
            _ => return Err(format!("no column for input `{}`", spec.name)),
        };
        let length = |d: &Dim| match d {
            Dim::Fixed(n) => usize::try_from(*n).ok(),
            Dim::Symbol(s) => (Some(s.as_str()) == symbol).then_some(rows.len()),
        };
        let shape: Option<Vec<usize>> = spec.shape.iter().map(length).collect();
        let shape = shape.filter(|s| s.iter().product::<usize>() == rows.len() * wanted.len());
        let shape = shape.ok_or_else(|| format!("{} columns do not make a row of {spec}", wanted.len()))?;
        let values = rows.iter().flat_map(|row| wanted.iter().map(|i| row[*i]));
        let data = match spec.dtype {
            DType::Fp32 => values.flat_map(|v| (v as f32).to_le_bytes()).collect(),
            DType::Fp64 => values.flat_map(f64::to_le_bytes).collect(),
            d if d.is_integer() => {
                let size = d.size_bytes().unwrap_or(1);
                values.flat_map(|v| (v as i64).to_le_bytes()[..size].to_vec()).collect()
            }
            other => return Err(format!("input `{}` is of type {other:?}", spec.name)),
        };
        Ok(Tensor { name: spec.name.clone(), dtype: spec.dtype, shape, data })
    };
    model.inputs().iter().map(tensor).collect()
}
