//! Answering a request.

use std::panic::{AssertUnwindSafe, catch_unwind};

use longshore_bundle::golden::Symbols;
use longshore_bundle::{PreStep, Refusal, Tensor};
use tract_onnx::prelude::{TValue, TVec};

use crate::load::{Model, panic_text, wants_memory};
use crate::locate::causes;
use crate::{convert, steps};

/// Why a request has no answer.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum RunError {
    /// An input is not there.
    #[error("input `{0}` is missing")]
    MissingInput(String),
    /// An input that the model does not have, or one that is there twice.
    #[error("input `{0}` is not an input of this model, or is given twice")]
    UnknownInput(String),
    /// An input of another type, shape or length.
    #[error("input `{name}`: {reason}")]
    Input {
        /// Which.
        name: String,
        /// What is wrong.
        reason: Refusal,
    },
    /// More rows than the model takes at once.
    #[error("{found} rows in one request, at most {max} are allowed: send smaller batches")]
    Rows {
        /// Rows found.
        found: usize,
        /// Most rows.
        max: usize,
    },
    /// The model failed on this input.
    #[error("the model failed at node `{node}` (operator `{operator}`): {reason}")]
    Failed {
        /// Node of the graph; empty when the engine does not tell.
        node: String,
        /// Its operator.
        operator: String,
        /// What the engine says.
        reason: String,
    },
    /// The model needs more memory for this input than there is.
    #[error("the model needs more memory for this input than there is: {0}")]
    Memory(String),
    /// The engine broke on this input.
    #[error("the engine broke while running the model: {0}")]
    Panicked(String),
}

impl RunError {
    /// Whether the request is to blame, not the model.
    #[must_use]
    pub fn is_input(&self) -> bool {
        !matches!(self, Self::Failed { .. } | Self::Memory(_) | Self::Panicked(_))
    }
    /// Stable code for machines.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::MissingInput(_) => "input.missing",
            Self::UnknownInput(_) => "input.unknown",
            Self::Input { .. } => "input.invalid",
            Self::Rows { .. } => "input.rows",
            Self::Failed { .. } => "model.failed",
            Self::Memory(_) => "model.memory",
            Self::Panicked(_) => "model.panicked",
        }
    }
}

fn broke(panic: &(dyn std::any::Any + Send)) -> RunError {
    let text = panic_text(panic);
    if wants_memory(&text) { RunError::Memory(text) } else { RunError::Panicked(text) }
}

impl Model {
    /// Checks a request and says how many rows it has; nothing is computed.
    ///
    /// # Errors
    /// [`RunError`] with [`RunError::is_input`] true.
    pub fn rows(&self, inputs: &[Tensor]) -> Result<usize, RunError> {
        self.check(inputs).map(|(_, rows)| rows)
    }

    /// The inputs in the order of the graph, and the rows they hold.
    fn check<'a>(&self, inputs: &'a [Tensor]) -> Result<(TVec<&'a Tensor>, usize), RunError> {
        let mut ordered: TVec<&Tensor> = TVec::with_capacity(self.inputs.len());
        let mut symbols = Symbols::default();
        for spec in &self.inputs {
            let Some(tensor) = inputs.iter().find(|t| t.name == spec.name) else {
                return Err(RunError::MissingInput(spec.name.clone()));
            };
            let refuse = |reason| RunError::Input { name: spec.name.clone(), reason };
            if tensor.data.len() > self.max_tensor_bytes {
                let (found, limit) = (tensor.data.len() as u64, self.max_tensor_bytes as u64);
                return Err(refuse(Refusal::TooMany { what: "bytes", found, limit }));
            }
            symbols.check(tensor, spec).map_err(refuse)?;
            ordered.push(tensor);
        }
        if inputs.len() != self.inputs.len() {
            let known = |t: &Tensor| self.inputs.iter().filter(|s| s.name == t.name).count();
            let stray = inputs
                .iter()
                .enumerate()
                .find(|(i, t)| known(t) == 0 || inputs[..*i].iter().any(|other| other.name == t.name));
            return Err(RunError::UnknownInput(stray.map_or_else(String::new, |(_, t)| t.name.clone())));
        }
        let rows = self.count_rows(&ordered, &symbols)?;
        if rows > self.max_rows {
            return Err(RunError::Rows { found: rows, max: self.max_rows });
        }
        Ok((ordered, rows))
    }

    fn count_rows(&self, inputs: &[&Tensor], symbols: &Symbols<'_>) -> Result<usize, RunError> {
        let Some(symbol) = &self.batch_symbol else {
            return Ok(1);
        };
        if let Some(rows) = symbols.get(symbol) {
            return Ok(rows);
        }
        for step in &self.preprocess {
            if let PreStep::Window { input, size, step } = step
                && let Some(t) = inputs.iter().find(|t| t.name == *input)
            {
                let samples = t.shape.first().copied().unwrap_or(0);
                return steps::window_rows(samples, *size as usize, *step as usize).ok_or_else(|| {
                    RunError::Input {
                        name: input.clone(),
                        reason: Refusal::Rule(format!("{samples} samples do not fill one window of {size}")),
                    }
                });
            }
        }
        Ok(1)
    }

    /// Answers a request. Inputs may come in any order; outputs come in the order of [`Model::outputs`].
    ///
    /// # Errors
    /// [`RunError`]; [`RunError::is_input`] tells whose fault it is. Never panics.
    pub fn run(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, RunError> {
        let (ordered, _) = self.check(inputs)?;
        catch_unwind(AssertUnwindSafe(|| self.run_checked(&ordered)))
            .unwrap_or_else(|panic| Err(broke(&*panic)))
    }

    fn run_checked(&self, inputs: &[&Tensor]) -> Result<Vec<Tensor>, RunError> {
        let mut values: TVec<TValue> = TVec::with_capacity(inputs.len());
        for (tensor, spec) in inputs.iter().zip(&self.graph_inputs) {
            let steps = || self.preprocess.iter().filter(|s| s.input() == spec.name);
            let value = if steps().next().is_some() {
                let ready = steps::prepare(tensor, spec, steps())
                    .map_err(|reason| RunError::Input { name: spec.name.clone(), reason })?;
                convert::to_tract(ready.dtype, &ready.shape, &ready.data)
            } else {
                convert::to_tract(tensor.dtype, &tensor.shape, &tensor.data)
            };
            values.push(value.map_err(|e| self.failed(&e))?);
        }
        let answers = self.plan.run(values).map_err(|e| self.failed(&e))?;
        let mut outputs = Vec::with_capacity(self.outputs.len());
        for (spec, value) in self.graph_outputs.iter().zip(&answers) {
            outputs.push(convert::from_tract(&spec.name, value).map_err(|e| self.failed(&e))?);
        }
        steps::finish(&mut outputs, &self.postprocess, &self.class_names);
        Ok(outputs)
    }

    fn failed(&self, error: &tract_onnx::prelude::TractError) -> RunError {
        let causes = causes(error);
        let reason = causes.last().cloned().unwrap_or_default();
        match self.nodes.locate(&causes) {
            Some(place) => RunError::Failed { node: place.node, operator: place.operator, reason },
            None => {
                RunError::Failed { node: String::new(), operator: String::new(), reason: causes.join(": ") }
            }
        }
    }
}
