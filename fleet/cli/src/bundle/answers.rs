//! Runs the model over the reference rows: what it answers, how often that is right where rows are labelled, what its
//! scores are worth, and which features decide. The same files give the same bytes.

use longshore_bundle::author::NamedColumns;
use longshore_bundle::{DType, Dim, Manifest, Tensor};
use longshore_runtime::Model;
use longshore_stats::Profile;
use longshore_stats::profile::Column;
use longshore_stats::quality::answers::ReferenceAnswers;
use longshore_stats::quality::attribution::{AttributionTable, FEATURES_MAX, PAIRS_DEFAULT, Plan};
use longshore_stats::quality::calibration::{ROWS_MIN, ReferenceQuality};

/// Most rows that are run.
const ROWS_MAX: usize = 20_000;
/// Rows that are explained, of a small model; of a larger one so many fewer as it is larger than [`EXPLAINED_BYTES`] over
/// them. What is left out is how long it takes: a bundle is the same wherever it is built.
const EXPLAINED_MAX: usize = 50;
const EXPLAINED_MIN: usize = 4;
const EXPLAINED_BYTES: usize = 50 << 20;

/// A reference row that the model answered.
struct Answered {
    row: usize,
    class: usize,
    score: f64,
}

/// The reference rows as the model takes them.
pub struct Asked<'a> {
    model: &'a Model,
    manifest: &'a Manifest,
    columns: &'a NamedColumns,
    /// Rows without a gap, with their number.
    rows: Vec<(usize, Vec<f64>)>,
    answered: Vec<Answered>,
}

impl<'a> Asked<'a> {
    /// Runs the model over all rows.
    ///
    /// # Errors
    /// A reason for people.
    pub fn ask(model: &'a Model, manifest: &'a Manifest, columns: &'a NamedColumns) -> Result<Self, String> {
        if manifest.monitor.classes.is_empty() || manifest.monitor.score_output.is_none() {
            return Err("the model has no classes with scores".to_owned());
        }
        let rows = table(columns)?.into_iter().enumerate();
        let rows = rows.filter(|(_, row)| row.iter().all(|v| v.is_finite())).take(ROWS_MAX).collect();
        let mut asked = Self { model, manifest, columns, rows, answered: Vec::new() };
        for part in asked.rows.chunks(model.max_rows().max(1)) {
            let values: Vec<&[f64]> = part.iter().map(|(_, row)| row.as_slice()).collect();
            let outputs = asked.run(&values)?;
            for ((row, _), p) in part.iter().zip(model.predictions(values.len(), &outputs)) {
                if let Some(class) = p.class {
                    let (class, score) = (class as usize, f64::from(p.score));
                    asked.answered.push(Answered { row: *row, class, score });
                }
            }
        }
        Ok(asked)
    }
    fn run(&self, rows: &[&[f64]]) -> Result<Vec<Tensor>, String> {
        let inputs = inputs(self.model, self.manifest, self.columns, rows)?;
        self.model.run(&inputs).map_err(|e| format!("the model refuses a reference row: {e}"))
    }
    /// What it answered.
    pub fn answers(&self) -> ReferenceAnswers {
        let rows = self.answered.iter().map(|a| (a.class, a.score));
        ReferenceAnswers::of(rows, self.manifest.monitor.classes.len())
    }
    /// How good it is, where `labels` has the true answers.
    ///
    /// # Errors
    /// Why nothing can be said.
    pub fn quality(&self, labels: &Column) -> Result<ReferenceQuality, String> {
        let classes = &self.manifest.monitor.classes;
        let judged: Vec<(usize, usize, f64)> = self
            .answered
            .iter()
            .filter_map(|a| Some((class(labels, a.row, classes)?, a.class, a.score)))
            .collect();
        ReferenceQuality::of(&judged, classes.len()).ok_or_else(|| {
            format!("{} labelled rows have a class and a score, {ROWS_MIN} are needed", judged.len())
        })
    }
    /// How much each monitored feature matters to the score of the answered class: rows spread over all of the reference,
    /// against its medians, as devices explain theirs. The same numbers whatever `SOURCE_DATE_EPOCH` says.
    ///
    /// # Errors
    /// Why nothing can be said.
    pub fn attribution(&self, profile: &Profile, model_bytes: usize) -> Result<AttributionTable, String> {
        let features = &self.manifest.monitor.features;
        if features.is_empty() || features.len() > FEATURES_MAX {
            return Err(format!(
                "{} features are watched, 1 to {FEATURES_MAX} can be explained",
                features.len()
            ));
        }
        let place = |name: &str| self.columns.iter().position(|(n, _)| n == name);
        let places: Vec<usize> = features.iter().filter_map(|f| place(&f.name)).collect();
        if places.len() != features.len() {
            return Err("the table does not have every watched feature".to_owned());
        }
        let middle = |f: &longshore_bundle::Feature| profile.feature(&f.name).and_then(|p| p.values.middle());
        let baseline: Vec<Option<f64>> = features.iter().map(middle).collect();
        let most = (EXPLAINED_BYTES / model_bytes.max(1)).clamp(EXPLAINED_MIN, EXPLAINED_MAX);
        let every = self.answered.len().div_ceil(most).max(1);
        let mut table = AttributionTable::new(features.len());
        for answered in self.answered.iter().step_by(every) {
            let Some((_, row)) = self.rows.iter().find(|(i, _)| *i == answered.row) else { continue };
            let plan =
                Plan::new(features.len(), PAIRS_DEFAULT, answered.row as u64).map_err(|e| e.to_string())?;
            let mixed: Vec<Vec<f64>> = plan
                .coalitions()
                .iter()
                .map(|mask| {
                    let mut mixed = row.clone();
                    for (i, (at, middle)) in places.iter().zip(&baseline).enumerate() {
                        if mask >> i & 1 == 0
                            && let Some(middle) = middle
                        {
                            mixed[*at] = *middle;
                        }
                    }
                    mixed
                })
                .collect();
            let mut scores = Vec::with_capacity(mixed.len());
            for part in mixed.chunks(self.model.max_rows().max(1)) {
                let values: Vec<&[f64]> = part.iter().map(Vec::as_slice).collect();
                let outputs = self.run(&values)?;
                let class = u32::try_from(answered.class).ok();
                scores.extend(
                    self.model.scores_of(values.len(), &outputs, class).ok_or("its answers have no score")?,
                );
            }
            let parts = plan.attributions(&scores).map_err(|e| e.to_string())?;
            table.insert(&parts).map_err(|e| e.to_string())?;
        }
        Ok(table)
    }
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
