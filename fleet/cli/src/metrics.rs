//! `longshore metrics`: how good predictions are, from a table of labels and scores. No server, no keys.

mod classification;
mod fairness;
mod html;
mod regression;

use std::path::{Path, PathBuf};

use longshore_bundle::author::{Digits, NamedColumns};
use longshore_stats::profile::Column;

use crate::context::{Context, Failure};
use crate::tables;

/// What was predicted.
#[derive(clap::Subcommand)]
pub enum Command {
    /// Two classes: accuracy, F1, AUC, Brier, log loss, calibration; by group: fairness with intervals
    Classification(classification::Args),
    /// Numbers: mean and root mean squared error, bias, quantiles of errors, R2
    Regression(regression::Args),
}

/// Runs one of them.
///
/// # Errors
/// When the table cannot be read or lacks a column.
pub fn run(context: &Context, command: Command) -> Result<(), Failure> {
    match command {
        Command::Classification(args) => classification::run(context, &args),
        Command::Regression(args) => regression::run(context, &args),
    }
}

/// A table and what its columns are called.
struct Table {
    path: PathBuf,
    columns: NamedColumns,
}

impl Table {
    fn read(path: &Path) -> Result<Self, Failure> {
        Ok(Self { path: path.to_owned(), columns: tables::read(path, Digits::Exact)? })
    }
    /// The first of several names that the table has.
    fn column(&self, names: &[&str]) -> Result<&Column, Failure> {
        let find = |name: &&str| self.columns.iter().find(|(n, _)| n == *name).map(|(_, c)| c);
        names.iter().find_map(find).ok_or_else(|| {
            let has: Vec<&str> = self.columns.iter().map(|(n, _)| n.as_str()).collect();
            Failure::usage(format!(
                "{}: there is no column `{}` (it has: {})",
                self.path.display(),
                names.join("` or `"),
                has.join(", ")
            ))
        })
    }
    fn numbers(&self, names: &[&str]) -> Result<Vec<Option<f64>>, Failure> {
        match self.column(names)? {
            Column::Numeric(values) => Ok(values.clone()),
            Column::Categorical(words) => {
                let row = words.iter().position(|w| w.as_ref().is_some_and(|w| w.parse::<f64>().is_err()));
                let at = row.map_or(0, |r| r + 2);
                let text = format!("{}: column `{}`, row {at}: not a number", self.path.display(), names[0]);
                Err(Failure::refused("table", text))
            }
        }
    }
    /// The words of a column; NaN is none.
    fn words(&self, name: &str) -> Result<Vec<Option<String>>, Failure> {
        let is_word = |w: &String| !w.eq_ignore_ascii_case("nan");
        match tables::as_words(self.column(&[name])?.clone()) {
            Column::Categorical(words) => Ok(words.into_iter().map(|w| w.filter(is_word)).collect()),
            Column::Numeric(_) => Ok(Vec::new()),
        }
    }
    fn has(&self, name: &str) -> bool {
        self.columns.iter().any(|(n, _)| n == name)
    }
}

/// Writes a page.
fn write_page(path: Option<&PathBuf>, page: impl FnOnce() -> String) -> Result<(), Failure> {
    let Some(path) = path else { return Ok(()) };
    std::fs::write(path, page())
        .map_err(|e| Failure::refused("io", format!("cannot write {}: {e}", path.display())))
}
