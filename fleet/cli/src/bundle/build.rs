//! `longshore bundle build`.

use std::path::PathBuf;

use longshore_bundle::author::{self, NewFile};
use longshore_bundle::{Golden, Manifest, Role, Tensor};
use longshore_runtime::{GoldenReport, Limits, MemoryFigures, Model, golden};
use longshore_stats::{Profile, profile::Column};
use longshore_trust::{Digest, ModelName};
use serde_json::{Value, json};

use super::answers::Asked;
use super::graph::{self, Identity, Shape};
use super::{not_loaded, read, refused, size, table};
use crate::context::{Context, Failure};

/// Rows of golden vectors that are recorded when the author gives none.
const RECORDED_ROWS: usize = 16;

/// What goes into a bundle. `--version` is that of the bundle here, not the program.
#[derive(clap::Args)]
#[command(disable_version_flag = true)]
pub struct Args {
    /// The model, one ONNX file
    #[arg(long, value_name = "FILE")]
    model: PathBuf,
    /// Name of the model: the line of bundles it belongs to
    #[arg(long)]
    name: ModelName,
    /// Version of this bundle (semantic versioning)
    #[arg(long)]
    version: semver::Version,
    /// Validation (or training) data, to compare the field with: CSV with a header, or NPZ. With a further column `label`
    /// it also says what scores are worth, so that accuracy can be estimated where there are no labels; use rows that the
    /// model was not trained on for that
    #[arg(long, value_name = "FILE")]
    reference: Option<PathBuf>,
    /// Inputs and the outputs your framework gives for them: NPZ or safetensors, arrays `input.<name>` and
    /// `output.<name>` [default: recorded from this engine]
    #[arg(long, value_name = "FILE")]
    golden: Option<PathBuf>,
    /// Model card, for people
    #[arg(long, value_name = "FILE")]
    card: Option<PathBuf>,
    /// Names of the classes, in the order of the scores: `cat,dog`, or a file with one a line
    #[arg(long, value_name = "LIST|FILE")]
    labels: Option<String>,
    /// Most rows in one request [default: 64 if the first dimension is open]
    #[arg(long, value_name = "N")]
    max_batch: Option<u32>,
    /// Shape of an input where the file leaves it open: NAME=1,3,224,224 (letters stand for any length); repeatable
    #[arg(long, value_name = "NAME=DIMS", value_parser = graph::parse_shape)]
    shape: Vec<Shape>,
    /// Digest of the bundle this one was made from
    #[arg(long, value_name = "SHA256")]
    parent: Option<Digest>,
    /// TOML with further fields of the manifest (lineage, policy, requires, monitor, ...), laid over what is inferred
    #[arg(long, value_name = "FILE")]
    manifest_extra: Option<PathBuf>,
    /// Where to write the bundle; must not exist yet
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

/// Builds a bundle.
///
/// # Errors
/// Whatever a device would refuse; nothing is written then.
pub fn run(context: &Context, args: &Args) -> Result<(), Failure> {
    let onnx = read(&args.model)?;
    let file = args.model.display().to_string();
    let identity = Identity { name: args.name.clone(), version: args.version.clone(), created: created()? };
    let drafted = graph::draft(&onnx, &file, &args.shape, identity)?;
    let mut notes = drafted.notes;
    let mut manifest = drafted.manifest;
    manifest.parent = args.parent;
    if let (Some(max), Some(batch)) = (args.max_batch, manifest.batch.as_mut()) {
        batch.max = max;
    }
    if let Some(path) = &args.manifest_extra {
        manifest = lay_over(&manifest, path)?;
    }
    if manifest.monitor.classes.is_empty() || args.labels.is_some() {
        let labels = args.labels.as_deref().map(labels).transpose()?;
        author::describe_classes(&mut manifest, labels).map_err(|e| refused(&e))?;
    }
    let mut files = vec![NewFile::of(Role::Model, onnx.clone())];
    let mut columns = Vec::new();
    let mut profile = None;
    let mut answers = None;
    if let Some(path) = &args.reference {
        (columns, answers) = reference(&mut manifest, path)?;
        let made = Profile::of(&columns)
            .map_err(|e| Failure::refused("bundle.reference", format!("{}: {e}", path.display())))?;
        profile = Some(made);
    } else {
        notes.push("no --reference: drift cannot be measured in the field".to_owned());
    }
    if let Some(path) = &args.card {
        files.push(NewFile::of(Role::Card, read(path)?));
    }
    let limits = Limits::default();
    let model = Model::load(&manifest, &onnx, &limits).map_err(|e| not_loaded(&file, &e))?;
    if let Some(mut profile) = profile {
        match Asked::ask(&model, &manifest, &columns) {
            Ok(asked) => notes.extend(shown(&asked, &mut profile, answers.as_ref(), onnx.len())),
            Err(reason) if answers.is_some() => {
                notes.push(format!("no accuracy without labels in the field: {reason}"));
            }
            // Of a regression nobody expects scores.
            Err(_) if manifest.monitor.classes.is_empty() => {}
            Err(reason) => notes.push(format!("answers will not be compared with the reference's: {reason}")),
        }
        files.push(NewFile::of(Role::Reference, profile.to_bytes()));
    }
    let vectors = match &args.golden {
        Some(path) => author::golden_of(arrays(path)?, &manifest)
            .map_err(|e| Failure::refused(e.reason.code(), format!("{}: {e}", path.display())))?,
        None => {
            notes.push(
                "no --golden: vectors were recorded from this engine, so they prove other devices, not the export"
                    .to_owned(),
            );
            record(&model, &manifest, &columns)?
        }
    };
    let bytes = vectors.to_bytes().map_err(|r| Failure::refused(r.code(), r.to_string()))?;
    files.push(NewFile::of(Role::Golden, bytes));
    files.push(NewFile::of(Role::Mlbom, author::mlbom(&manifest, &Digest::of(&onnx))));
    let assembled = author::assemble(manifest, files).map_err(|e| refused(&e))?;
    let report = golden::run_vectors(&model, &assembled.manifest, &vectors)
        .map_err(|e| Failure::refused(e.code(), e.to_string()))?;
    let bundle = assembled.write(&args.out).map_err(|e| Failure::refused("bundle.write", e.to_string()))?;
    show(context, &bundle, &report, &notes);
    Ok(())
}

/// Puts what the model made of the reference into its profile; what is missing, for people.
fn shown(
    asked: &Asked<'_>,
    profile: &mut Profile,
    labels: Option<&Column>,
    model_bytes: usize,
) -> Vec<String> {
    let mut notes = Vec::new();
    profile.answers = Some(asked.answers());
    match labels.map(|labels| asked.quality(labels)) {
        Some(Ok(quality)) => profile.quality = Some(quality),
        Some(Err(reason)) => notes.push(format!("no accuracy without labels in the field: {reason}")),
        None => {}
    }
    match asked.attribution(profile, model_bytes) {
        Ok(table) => profile.attribution = Some(table),
        Err(reason) => notes.push(format!("which features matter is not known from the start: {reason}")),
    }
    notes
}

/// `SOURCE_DATE_EPOCH` where it is set, so that builds can be repeated; else now.
fn created() -> Result<String, Failure> {
    let time = match std::env::var("SOURCE_DATE_EPOCH") {
        Ok(text) => {
            text.parse::<i64>().ok().and_then(|s| jiff::Timestamp::from_second(s).ok()).ok_or_else(|| {
                Failure::usage(format!("SOURCE_DATE_EPOCH is {text:?}; it must be seconds since 1970"))
            })?
        }
        Err(_) => jiff::Timestamp::now(),
    };
    Ok(time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
}

fn labels(text: &str) -> Result<Vec<String>, Failure> {
    let path = std::path::Path::new(text);
    let list = if path.is_file() {
        let bytes = read(path)?;
        let text = String::from_utf8(bytes)
            .map_err(|_| Failure::usage(format!("{}: labels must be UTF-8 text", path.display())))?;
        text.lines().map(|l| l.trim().to_owned()).filter(|l| !l.is_empty()).collect()
    } else {
        text.split(',').map(|l| l.trim().to_owned()).collect::<Vec<_>>()
    };
    if list.len() < 2 || list.iter().any(String::is_empty) {
        return Err(Failure::usage(format!(
            "--labels {text}: give at least two names, as `cat,dog` or a file with one a line"
        )));
    }
    Ok(list)
}

/// Arrays of an NPZ archive or a safetensors file.
fn arrays(path: &std::path::Path) -> Result<Vec<Tensor>, Failure> {
    let bytes = read(path)?;
    let refuse = |text: String| Failure::refused("bundle.data", format!("{}: {text}", path.display()));
    if bytes.starts_with(b"PK") {
        author::read_npz(&bytes).map_err(|e| refuse(e.to_string()))
    } else {
        longshore_bundle::golden::read_safetensors(&bytes).map_err(|e| refuse(e.to_string()))
    }
}

/// Reads reference data and names the features it has. An author who lists features gets just those. Beside them the
/// column of answers, if there is one.
fn reference(
    manifest: &mut Manifest,
    path: &std::path::Path,
) -> Result<(author::NamedColumns, Option<Column>), Failure> {
    let refuse = |e: longshore_bundle::ManifestError| {
        Failure::refused(e.reason.code(), format!("{}: {e}", path.display()))
    };
    let is_archive = path.extension().is_some_and(|e| e == "npz" || e == "safetensors");
    let (columns, answers) = if is_archive {
        let arrays = arrays(path)?;
        let answers = author::answers_of_arrays(&arrays);
        (author::columns_of_arrays(manifest, &arrays).map_err(refuse)?, answers)
    } else {
        let columns = author::read_columns(&read(path)?)
            .map_err(|e| Failure::refused("bundle.data", format!("{}: {e}", path.display())))?;
        (columns.clone(), author::answers(columns))
    };
    let kept = if manifest.monitor.features.is_empty() {
        let (features, kept) = author::features_of(manifest, columns).map_err(refuse)?;
        manifest.monitor.features = features;
        kept
    } else {
        let wanted = |name: &str| manifest.monitor.features.iter().any(|f| f.name == name);
        columns.into_iter().filter(|(n, _)| wanted(n)).collect()
    };
    // What the model takes as input is no answer, whatever its name.
    let answers = answers.filter(|(name, _)| !kept.iter().any(|(n, _)| n == name)).map(|(_, column)| column);
    Ok((kept, answers))
}

/// Lays the fields of a TOML file over the manifest.
fn lay_over(manifest: &Manifest, path: &std::path::Path) -> Result<Manifest, Failure> {
    let shown = path.display();
    let text =
        String::from_utf8(read(path)?).map_err(|_| Failure::usage(format!("{shown}: must be UTF-8 text")))?;
    let extra: Value = toml::from_str(&text).map_err(|e| Failure::usage(format!("{shown}: {e}")))?;
    for fixed in ["schema", "files", "model", "version", "created"] {
        if extra.get(fixed).is_some() {
            return Err(Failure::usage(format!("{shown}: `{fixed}` is set by the build, not by this file")));
        }
    }
    let mut value = serde_json::to_value(manifest)
        .map_err(|e| Failure::refused("bundle.syntax", format!("cannot write the manifest as JSON: {e}")))?;
    merge(&mut value, extra);
    serde_json::from_value(value).map_err(|e| Failure::usage(format!("{shown}: {e}")))
}

fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from,
    }
}

/// Golden vectors from the engine itself: rows of the reference data, or else numbers that are always the same.
fn record(model: &Model, manifest: &Manifest, columns: &[(String, Column)]) -> Result<Golden, Failure> {
    use longshore_bundle::Dim;
    let rows = manifest.batch.map_or(1, |b| RECORDED_ROWS.min(b.max as usize));
    let symbol = manifest.batch_symbol();
    let inputs: Vec<Tensor> = model
        .inputs()
        .iter()
        .map(|spec| {
            let length = |d: &Dim| match d {
                Dim::Fixed(n) => usize::try_from(*n).unwrap_or(1),
                Dim::Symbol(s) if Some(s.as_str()) == symbol => rows,
                Dim::Symbol(_) => 32,
            };
            let shape: Vec<usize> = spec.shape.iter().map(length).collect();
            let elements: usize = shape.iter().product();
            let real = from_columns(columns, rows, elements);
            let values = real.unwrap_or_else(|| (0..elements).map(|i| (i * 7 % 16) as f64 / 16.0).collect());
            let size = spec.dtype.size_bytes().unwrap_or(1);
            let data = match spec.dtype {
                longshore_bundle::DType::Fp32 => {
                    values.iter().flat_map(|v| (*v as f32).to_le_bytes()).collect()
                }
                longshore_bundle::DType::Fp64 => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
                d if d.is_float() => vec![0; elements * size],
                _ => values.iter().flat_map(|v| (*v as i64).to_le_bytes()[..size].to_vec()).collect(),
            };
            Tensor { name: spec.name.clone(), dtype: spec.dtype, shape, data }
        })
        .collect();
    let outputs = model.run(&inputs).map_err(|e| {
        Failure::refused(
            e.code(),
            format!("cannot record golden vectors: {e}. Give real inputs with --golden"),
        )
    })?;
    let outputs: Vec<Tensor> =
        outputs.into_iter().filter(|o| o.dtype != longshore_bundle::DType::Bytes).collect();
    if let Some(o) = outputs.iter().find(|o| o.has_nan()) {
        return Err(Failure::refused(
            "golden.nan",
            format!("output `{}` is NaN for made-up inputs; give real inputs with --golden", o.name),
        ));
    }
    Ok(Golden { inputs, outputs, rows })
}

fn from_columns(columns: &[(String, Column)], rows: usize, elements: usize) -> Option<Vec<f64>> {
    if columns.is_empty() || columns.len() * rows != elements {
        return None;
    }
    let mut out = Vec::with_capacity(elements);
    for row in 0..rows {
        for (_, column) in columns {
            let Column::Numeric(values) = column else { return None };
            out.push((*values.get(row % values.len().max(1))?)?);
        }
    }
    Some(out)
}

fn show(context: &Context, bundle: &longshore_bundle::Bundle, report: &GoldenReport, notes: &[String]) {
    let manifest = &bundle.manifest;
    if context.json() {
        let value = json!({
            "ok": true,
            "dir": bundle.dir,
            "model": manifest.model,
            "version": manifest.version,
            "digest": bundle.digest,
            "total_bytes": manifest.total_bytes(),
            "golden": report,
            "peak_rss_kb": MemoryFigures::open().peak_kib(),
            "notes": notes,
        });
        println!("{value}");
        return;
    }
    println!("{} {}  {}", manifest.model, manifest.version, bundle.dir.display());
    let mut t = table();
    let specs = |specs: &[longshore_bundle::TensorSpec]| {
        specs.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    };
    t.add_row(["digest", &bundle.digest.to_hex()]);
    t.add_row(["inputs", &specs(&manifest.api_inputs())]);
    t.add_row(["outputs", &specs(&manifest.api_outputs().unwrap_or_default())]);
    let batch = manifest.batch.map_or("one row a request".to_owned(), |b| format!("up to {} rows", b.max));
    t.add_row(["batch", &batch]);
    let classes = match manifest.monitor.classes.len() {
        0 => "none (regression)".to_owned(),
        k => format!("{k}: {}", shortened(&manifest.monitor.classes)),
    };
    t.add_row(["classes", &classes]);
    t.add_row(["features watched", &manifest.monitor.features.len().to_string()]);
    t.add_row(["size", &size(manifest.total_bytes())]);
    let worst = report.outputs.iter().fold(0.0f64, |m, d| m.max(d.max_abs));
    t.add_row(["golden vectors", &format!("{} rows, largest deviation {worst:.1e}", report.rows)]);
    t.add_row(["latency here", &format!("p50 {} us, p99 {} us", report.p50_us, report.p99_us)]);
    if let Some(kb) = MemoryFigures::open().peak_kib() {
        t.add_row(["peak memory", &size(kb * 1024)]);
    }
    println!("{t}");
    for note in notes {
        println!("note: {note}");
    }
}

fn shortened(names: &[String]) -> String {
    let shown = names.iter().take(12).map(String::as_str).collect::<Vec<_>>().join(", ");
    if names.len() > 12 { format!("{shown}, ...") } else { shown }
}
