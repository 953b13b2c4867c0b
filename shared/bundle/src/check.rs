//! The rules of a manifest that hold between fields.

mod monitor;

use std::collections::BTreeSet;

use crate::{DType, Dim, Manifest, ManifestError, PostStep, PreStep, Refusal, Role, TensorSpec};

/// Most files in a bundle.
const FILES_MAX: usize = 32;
/// Longest file, bytes.
const FILE_MAX_BYTES: u64 = 2 << 30;
/// Most inputs, or outputs.
const TENSORS_MAX: usize = 64;
/// Longest dimension.
const DIM_MAX: u64 = 1 << 31;
/// Most elements in one row of a tensor.
const ELEMENTS_MAX: u64 = 1 << 28;
/// Most rows in a request.
const BATCH_MAX: u32 = 65_536;
/// Most dimensions.
const RANK_MAX: usize = 8;

type Checked = Result<(), ManifestError>;

fn refuse(field: impl Into<String>, reason: Refusal) -> Checked {
    Err(ManifestError::manifest(field, reason))
}
fn rule(field: impl Into<String>, text: impl Into<String>) -> Checked {
    refuse(field, Refusal::Rule(text.into()))
}
fn at_most(field: &str, what: &'static str, found: usize, limit: usize) -> Checked {
    if found > limit {
        return refuse(field, Refusal::TooMany { what, found: found as u64, limit: limit as u64 });
    }
    Ok(())
}

impl Manifest {
    /// Every rule between fields.
    ///
    /// # Errors
    /// The first rule that is broken.
    pub fn check(&self) -> Checked {
        if self.schema != 1 {
            return refuse("schema", Refusal::Schema(self.schema));
        }
        if !is_utc_time(&self.created) {
            return rule("created", "must be a time like 2026-01-31T12:00:00Z");
        }
        self.check_files()?;
        specs("inputs", &self.inputs)?;
        specs("outputs", &self.outputs)?;
        self.check_batch()?;
        self.check_preprocess()?;
        self.check_postprocess()?;
        self.check_monitor()?;
        let Self { golden, requires, policy, .. } = self;
        for (field, v) in [("golden.abs", golden.abs), ("golden.rel", golden.rel)] {
            if !(v.is_finite() && (0.0..=1.0).contains(&v)) {
                return rule(field, "must be between 0 and 1");
            }
        }
        at_most("requires.targets", "targets", requires.targets.len(), 32)?;
        at_most("requires.features", "features", requires.features.len(), 32)?;
        if let Some((name, _)) = self.lineage.metrics.iter().find(|(_, v)| !v.is_finite()) {
            return rule(format!("lineage.metrics.{name}"), "must be a finite number");
        }
        if policy.retention_days == Some(0) {
            return rule("policy.retention_days", "must be at least 1; leave it out for no limit");
        }
        Ok(())
    }

    fn check_files(&self) -> Checked {
        at_most("files", "files", self.files.len(), FILES_MAX)?;
        let mut seen = BTreeSet::new();
        for (i, f) in self.files.iter().enumerate() {
            if !seen.insert(f.path.as_str().to_ascii_lowercase()) {
                return refuse(format!("files[{i}].path"), Refusal::Duplicate(f.path.to_string()));
            }
            if f.length > FILE_MAX_BYTES {
                let (found, limit) = (f.length, FILE_MAX_BYTES);
                return refuse(
                    format!("files[{i}].length"),
                    Refusal::TooMany { what: "bytes", found, limit },
                );
            }
            if f.length == 0 {
                return rule(format!("files[{i}].length"), "must not be 0");
            }
        }
        // A path must not also be the folder of another.
        if let Some(f) = self.files.iter().find(|f| {
            let dir = format!("{}/", f.path.as_str().to_ascii_lowercase());
            seen.iter().any(|p| p.starts_with(&dir))
        }) {
            return refuse("files", Refusal::Duplicate(f.path.to_string()));
        }
        for (role, needed) in [
            (Role::Model, true),
            (Role::Golden, true),
            (Role::Reference, false),
            (Role::Card, false),
            (Role::Mlbom, false),
        ] {
            let n = self.files.iter().filter(|f| f.role == role).count();
            if n > 1 || (needed && n == 0) {
                return refuse("files", Refusal::RoleCount(role.name(), n));
            }
        }
        Ok(())
    }

    fn check_batch(&self) -> Checked {
        let Some(batch) = self.batch else { return Ok(()) };
        if batch.max == 0 || batch.max > BATCH_MAX {
            return rule("batch.max", format!("must be between 1 and {BATCH_MAX}"));
        }
        let Some(symbol) = self.batch_symbol() else {
            let text = format!("no input has a symbol (such as \"N\") at axis {}", batch.axis);
            return rule("batch.axis", text);
        };
        for (i, input) in self.inputs.iter().enumerate() {
            if input.shape.iter().filter(|d| matches!(d, Dim::Symbol(s) if s == symbol)).count() > 1 {
                return rule(
                    format!("inputs[{i}].shape"),
                    format!("the batch symbol {symbol:?} may appear once"),
                );
            }
        }
        Ok(())
    }

    fn input(&self, field: &str, name: &str) -> Result<&TensorSpec, ManifestError> {
        let found = self.inputs.iter().find(|s| s.name == name);
        found.ok_or_else(|| ManifestError::manifest(field, Refusal::MissingTensor(name.to_owned())))
    }

    fn check_preprocess(&self) -> Checked {
        at_most("preprocess", "steps", self.preprocess.len(), 64)?;
        for (i, step) in self.preprocess.iter().enumerate() {
            let field = format!("preprocess[{i}]");
            let spec = self.input(&format!("{field}.input"), step.input())?;
            if !spec.dtype.is_float() || spec.dtype == DType::Fp16 {
                let (found, expected) = (spec.dtype.to_string(), "FP32 or FP64".to_owned());
                return refuse(format!("{field}.input"), Refusal::DType { found, expected });
            }
            let first = !self.preprocess[..i].iter().any(|s| s.input() == step.input());
            match step {
                PreStep::Scale { factor, offset, .. } => finite(&field, &[*factor, *offset])?,
                PreStep::Clip { min, max, .. } => clip(&field, *min, *max)?,
                PreStep::Normalize { mean, std, axis, .. } => {
                    finite(&field, mean)?;
                    finite(&field, std)?;
                    if std.contains(&0.0) {
                        return rule(format!("{field}.std"), "must not hold 0");
                    }
                    let Some(dim) = axis_of(spec, *axis) else {
                        return rule(format!("{field}.axis"), "is not an axis of the input");
                    };
                    let fits = |n: usize| n == 1 || *dim == Dim::Fixed(n as u64);
                    if !fits(mean.len()) || !fits(std.len()) {
                        return rule(
                            field,
                            format!("mean and std need 1 entry, or as many as the axis has ({dim})"),
                        );
                    }
                }
                PreStep::Window { size, step, .. } => {
                    let fits = matches!(spec.shape.as_slice(), [Dim::Symbol(s), Dim::Fixed(n)]
                        if *n == u64::from(*size) && Some(s.as_str()) == self.batch_symbol());
                    if !fits || *size == 0 || *step == 0 || !first {
                        let text = "needs an input of shape [batch symbol, size], size and step above 0, and must come first";
                        return rule(field, text);
                    }
                }
                PreStep::OneHot { classes, .. } => {
                    if spec.shape.last() != Some(&Dim::Fixed(u64::from(*classes))) || *classes == 0 || !first
                    {
                        return rule(
                            field,
                            "needs an input whose last dimension is `classes`, and must come first",
                        );
                    }
                }
            }
        }
        Ok(())
    }

    fn check_postprocess(&self) -> Checked {
        at_most("postprocess", "steps", self.postprocess.len(), 64)?;
        let mut known: BTreeSet<&str> = self.outputs.iter().map(|o| o.name.as_str()).collect();
        for (i, step) in self.postprocess.iter().enumerate() {
            let field = format!("postprocess[{i}]");
            if !known.contains(step.output()) {
                return refuse(format!("{field}.output"), Refusal::MissingTensor(step.output().to_owned()));
            }
            if let Some(to) = step.to() {
                name(&format!("{field}.to"), to)?;
                if !known.insert(to) {
                    return refuse(format!("{field}.to"), Refusal::Duplicate(to.to_owned()));
                }
            }
            match step {
                PostStep::Scale { factor, offset, .. } => finite(&field, &[*factor, *offset])?,
                PostStep::Clip { min, max, .. } => clip(&field, *min, *max)?,
                PostStep::Threshold { at, .. } => finite(&field, &[*at])?,
                PostStep::Labels { .. } if self.monitor.classes.is_empty() => {
                    return rule(field, "needs the names in monitor.classes");
                }
                PostStep::Softmax { .. } | PostStep::Argmax { .. } | PostStep::Labels { .. } => {}
            }
        }
        // Types and shapes after each step, as the API shows them.
        self.api_outputs().map(|_| ())
    }

    /// Elements of one row of a tensor; `None` when another dimension is not fixed.
    #[must_use]
    pub fn row_elements(&self, spec: &TensorSpec) -> Option<u64> {
        spec.shape.iter().try_fold(1u64, |n, d| match d {
            Dim::Fixed(k) => n.checked_mul(*k),
            Dim::Symbol(s) if Some(s.as_str()) == self.batch_symbol() => Some(n),
            Dim::Symbol(_) => None,
        })
    }

    /// Inputs as a client sends them: what the graph takes, before preprocessing.
    #[must_use]
    pub fn api_inputs(&self) -> Vec<TensorSpec> {
        let mut inputs = self.inputs.clone();
        for input in &mut inputs {
            match self.preprocess.iter().find(|s| s.input() == input.name) {
                Some(PreStep::Window { .. }) => input.shape = vec![Dim::Symbol("samples".to_owned())],
                Some(PreStep::OneHot { .. }) => {
                    input.shape.pop();
                    input.dtype = DType::Int64;
                }
                _ => {}
            }
        }
        inputs
    }

    /// Outputs as a client gets them: what the graph gives, after postprocessing.
    ///
    /// # Errors
    /// When a step does not fit the type or shape it gets.
    pub fn api_outputs(&self) -> Result<Vec<TensorSpec>, ManifestError> {
        let mut outputs = self.outputs.clone();
        for (i, step) in self.postprocess.iter().enumerate() {
            let field = format!("postprocess[{i}].output");
            let missing =
                || ManifestError::manifest(field.clone(), Refusal::MissingTensor(step.output().to_owned()));
            let at = outputs.iter().position(|o| o.name == step.output()).ok_or_else(missing)?;
            let mut spec = outputs[at].clone();
            let is_index = matches!(step, PostStep::Labels { .. });
            let fits = if is_index {
                spec.dtype.is_integer()
            } else {
                matches!(spec.dtype, DType::Fp32 | DType::Fp64)
            };
            if !fits {
                let expected = if is_index { "whole numbers" } else { "FP32 or FP64" };
                let (found, expected) = (spec.dtype.to_string(), expected.to_owned());
                return Err(ManifestError::manifest(field, Refusal::DType { found, expected }));
            }
            match step {
                PostStep::Scale { .. } | PostStep::Clip { .. } => {}
                PostStep::Softmax { .. } | PostStep::Argmax { .. } if spec.shape.is_empty() => {
                    let (found, expected) = ("[]".to_owned(), "at least one axis".to_owned());
                    return Err(ManifestError::manifest(field, Refusal::Shape { found, expected }));
                }
                PostStep::Softmax { .. } => {}
                PostStep::Argmax { .. } => {
                    spec.shape.pop();
                    spec.dtype = DType::Int64;
                }
                PostStep::Threshold { .. } => spec.dtype = DType::Int64,
                PostStep::Labels { .. } => spec.dtype = DType::Bytes,
            }
            match step.to() {
                Some(to) => outputs.push(TensorSpec { name: to.to_owned(), ..spec }),
                None => outputs[at] = spec,
            }
        }
        Ok(outputs)
    }
}

fn specs(field: &str, specs: &[TensorSpec]) -> Checked {
    if specs.is_empty() {
        return rule(field, "must not be empty");
    }
    at_most(field, "tensors", specs.len(), TENSORS_MAX)?;
    for (i, s) in specs.iter().enumerate() {
        name(&format!("{field}[{i}].name"), &s.name)?;
    }
    unique(field, specs.iter().map(|s| s.name.as_str()))?;
    for (i, s) in specs.iter().enumerate() {
        if s.dtype == DType::Bytes {
            let (found, expected) =
                ("BYTES".to_owned(), "a number type; strings do not enter a graph".to_owned());
            return refuse(format!("{field}[{i}].dtype"), Refusal::DType { found, expected });
        }
        let shape = format!("{field}[{i}].shape");
        at_most(&shape, "dimensions", s.shape.len(), RANK_MAX)?;
        let mut elements = 1u64;
        for d in &s.shape {
            match d {
                Dim::Fixed(n) if *n == 0 || *n > DIM_MAX => {
                    return rule(shape, format!("dimension {n} must be between 1 and {DIM_MAX}"));
                }
                Dim::Fixed(n) => elements = elements.saturating_mul(*n),
                Dim::Symbol(symbol) => {
                    let mut b = symbol.bytes();
                    let head = b.next().is_some_and(|c| c.is_ascii_alphabetic());
                    if !head || symbol.len() > 32 || !b.all(|c| c.is_ascii_alphanumeric() || c == b'_') {
                        return rule(
                            shape,
                            format!("{symbol:?} is no symbol: use a letter, then letters, digits or _"),
                        );
                    }
                }
            }
        }
        if elements > ELEMENTS_MAX {
            let (what, found, limit) = ("elements", elements, ELEMENTS_MAX);
            return refuse(shape, Refusal::TooMany { what, found, limit });
        }
    }
    Ok(())
}

fn name(field: &str, name: &str) -> Checked {
    if name.is_empty() || name.len() > 256 || name.chars().any(char::is_control) {
        return rule(field, "must have 1 to 256 characters, none of them a control character");
    }
    Ok(())
}

fn unique<'a>(field: &str, names: impl Iterator<Item = &'a str>) -> Checked {
    let mut seen = BTreeSet::new();
    for (i, n) in names.enumerate() {
        name(&format!("{field}[{i}]"), n)?;
        if !seen.insert(n) {
            return refuse(format!("{field}[{i}]"), Refusal::Duplicate(n.to_owned()));
        }
    }
    Ok(())
}

fn finite(field: &str, values: &[f64]) -> Checked {
    if values.iter().all(|v| v.is_finite()) { Ok(()) } else { rule(field, "must hold finite numbers") }
}

fn clip(field: &str, min: f64, max: f64) -> Checked {
    finite(field, &[min, max])?;
    if min > max { rule(field, "min must not be above max") } else { Ok(()) }
}

fn axis_of(spec: &TensorSpec, axis: i32) -> Option<&Dim> {
    let rank = i32::try_from(spec.shape.len()).ok()?;
    let axis = if axis < 0 { axis + rank } else { axis };
    spec.shape.get(usize::try_from(axis).ok()?)
}

/// `YYYY-MM-DDTHH:MM:SSZ`.
fn is_utc_time(text: &str) -> bool {
    let b = text.as_bytes();
    let pattern = b"dddd-dd-ddTdd:dd:ddZ";
    let number =
        |r: std::ops::Range<usize>| text.get(r).and_then(|t| t.parse::<u32>().ok()).unwrap_or(u32::MAX);
    b.len() == pattern.len()
        && b.iter().zip(pattern).all(|(c, p)| if *p == b'd' { c.is_ascii_digit() } else { c == p })
        && (1..=12).contains(&number(5..7))
        && (1..=31).contains(&number(8..10))
        && number(11..13) < 24
        && number(14..16) < 60
        && number(17..19) <= 60
}
