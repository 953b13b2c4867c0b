//! Tables that a command line names: CSV with a header, or NPZ.

use std::path::Path;

use longshore_bundle::author::{self, Digits, NamedColumns};
use longshore_stats::profile::Column;
use longshore_stats::window::Value;

use crate::context::Failure;

/// How the numbers of CSV files are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum FloatPrecision {
    /// As `pandas.read_csv` does by default before version 3 (17 digits), so that bin edges equal those of a notebook
    High,
    /// The nearest number
    RoundTrip,
}

impl FloatPrecision {
    /// For the reader.
    pub fn digits(self) -> Digits {
        match self {
            Self::High => Digits::Seventeen,
            Self::RoundTrip => Digits::Exact,
        }
    }
}

/// Reads the columns of a table. Arrays of an NPZ become a column each, or one for each element of a row.
///
/// # Errors
/// When the file cannot be read, naming the file and the place in it.
pub fn read(path: &Path, digits: Digits) -> Result<NamedColumns, Failure> {
    let bytes =
        std::fs::read(path).map_err(|e| Failure::usage(format!("cannot read {}: {e}", path.display())))?;
    let refuse = |e: author::DataError| Failure::refused("table", format!("{}: {e}", path.display()));
    if !bytes.starts_with(b"PK") {
        return author::read_columns_with(&bytes, digits).map_err(refuse);
    }
    let mut columns = NamedColumns::new();
    for array in author::read_npz(&bytes).map_err(refuse)? {
        let width = array.shape.iter().skip(1).product::<usize>();
        let values: Vec<f64> = array.values().collect();
        for i in 0..width {
            let column = values.iter().skip(i).step_by(width).map(|v| Some(*v)).collect();
            let name = if width == 1 { array.name.clone() } else { format!("{}_{i}", array.name) };
            columns.push((name, Column::Numeric(column)));
        }
    }
    Ok(columns)
}

/// Rows of a column.
pub fn rows(column: &Column) -> usize {
    match column {
        Column::Numeric(v) => v.len(),
        Column::Categorical(v) => v.len(),
    }
}

/// The cells of a column, as what they can be counted as. In a column of words, words that are numbers are numbers when
/// `scale` says that numbers are expected.
pub fn cells(column: &Column, scale: bool, digits: Digits) -> Vec<Value<'_>> {
    match column {
        Column::Numeric(values) => values.iter().map(|v| v.map_or(Value::Missing, Value::Number)).collect(),
        Column::Categorical(words) => words
            .iter()
            .map(|w| match w {
                None => Value::Missing,
                Some(w) => match digits.parse(w).filter(|_| scale) {
                    Some(number) => Value::Number(number),
                    None => Value::Word(w),
                },
            })
            .collect(),
    }
}

/// Whether a column was taken for numbers, so that the text of its cells is gone: `01` is 1.
pub fn is_of_numbers(column: &Column) -> bool {
    matches!(column, Column::Numeric(values) if values.iter().any(Option::is_some))
}

/// Words that are numbers, written as [`as_words`] writes numbers; for a column that is compared with one of numbers.
pub fn with_plain_numbers(column: Column, digits: Digits) -> Column {
    let plain = |w: String| digits.parse(&w).map_or(w, |v| (v + 0.0).to_string());
    match column {
        Column::Categorical(words) => Column::Categorical(words.into_iter().map(|w| w.map(plain)).collect()),
        numbers => numbers,
    }
}

/// A numeric column as words.
pub fn as_words(column: Column) -> Column {
    match column {
        Column::Numeric(values) => {
            Column::Categorical(values.into_iter().map(|v| v.map(|v| (v + 0.0).to_string())).collect())
        }
        words => words,
    }
}
