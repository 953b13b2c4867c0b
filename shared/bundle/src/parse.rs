//! Bytes to [`Manifest`], with errors that name the field. Rules between fields are in `check`.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::{Manifest, ManifestError, Refusal};

/// Longest manifest, bytes.
pub(crate) const MANIFEST_MAX_BYTES: usize = 256 * 1024;

pub(crate) fn parse(bytes: &[u8]) -> Result<Manifest, ManifestError> {
    if bytes.len() > MANIFEST_MAX_BYTES {
        let (found, limit) = (bytes.len() as u64, MANIFEST_MAX_BYTES as u64);
        return Err(ManifestError::manifest(
            "(whole file)",
            Refusal::TooMany { what: "bytes", found, limit },
        ));
    }
    // Straight into the struct: only so are keys that appear twice noticed.
    serde_json::from_slice(bytes).map_err(|e| explain(bytes, &e))
}

/// Finds which field an error of the strict parse is about.
fn explain(bytes: &[u8], error: &serde_json::Error) -> ManifestError {
    let whole = || ManifestError::manifest("(whole file)", Refusal::Syntax(error.to_string()));
    let Ok(Value::Object(map)) = serde_json::from_slice::<Value>(bytes) else {
        return whole();
    };
    match map.get("schema").and_then(Value::as_u64) {
        Some(1) => {}
        Some(other) => return ManifestError::manifest("schema", Refusal::Schema(other)),
        None => {
            let why = "must be there and be a whole number".to_owned();
            return ManifestError::manifest("schema", Refusal::Syntax(why));
        }
    }
    field_error(&map).unwrap_or_else(whole)
}

fn field_error(map: &Map<String, Value>) -> Option<ManifestError> {
    use crate::manifest::{Batch, FileEntry, Lineage, Monitor, Policy, Requires, Tolerance};
    use crate::{PostStep, PreStep, TensorSpec};
    for (key, value) in map {
        let found = match key.as_str() {
            "schema" => None,
            "model" => one::<longshore_trust::ModelName>(key, value),
            "version" => one::<semver::Version>(key, value),
            "created" => one::<String>(key, value),
            "parent" => one::<Option<longshore_trust::Digest>>(key, value),
            "files" => files(value).or_else(|| each::<FileEntry>(key, value)),
            "inputs" | "outputs" => each::<TensorSpec>(key, value),
            "batch" => one::<Option<Batch>>(key, value),
            "preprocess" => each::<PreStep>(key, value),
            "postprocess" => each::<PostStep>(key, value),
            "requires" => one::<Requires>(key, value),
            "monitor" => one::<Monitor>(key, value),
            "golden" => one::<Tolerance>(key, value),
            "lineage" => one::<Lineage>(key, value),
            "policy" => one::<Policy>(key, value),
            other => {
                let why = "is not a field of schema 1".to_owned();
                Some(ManifestError::manifest(other, Refusal::Syntax(why)))
            }
        };
        if found.is_some() {
            return found;
        }
    }
    None
}

fn one<T: DeserializeOwned>(field: &str, value: &Value) -> Option<ManifestError> {
    let e = T::deserialize(value).err()?;
    Some(ManifestError::manifest(field, Refusal::Syntax(e.to_string())))
}

fn each<T: DeserializeOwned>(field: &str, value: &Value) -> Option<ManifestError> {
    let Value::Array(items) = value else {
        return Some(ManifestError::manifest(field, Refusal::Syntax("must be a list".to_owned())));
    };
    items.iter().enumerate().find_map(|(i, v)| one::<T>(&format!("{field}[{i}]"), v))
}

/// Bad paths keep their own kind of refusal, which serde's text would lose.
fn files(value: &Value) -> Option<ManifestError> {
    value.as_array()?.iter().enumerate().find_map(|(i, f)| {
        let path = f.get("path")?.as_str()?;
        let refusal = crate::BundlePath::new(path).err()?;
        Some(ManifestError::manifest(format!("files[{i}].path"), refusal))
    })
}
