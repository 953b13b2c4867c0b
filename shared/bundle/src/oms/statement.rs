//! The in-toto statement: which files, with which hashes, under which rules.

use std::collections::BTreeMap;

use longshore_trust::Digest;
use longshore_trust::tuf::parse_json;
use serde_json::{Value, json};

use super::OmsError;

/// What the statement is about.
pub const PREDICATE_TYPE: &str = "https://model_signing/signature/v1.0";
/// Before v1.0: one subject a file, no predicate. Read, never written.
const PREDICATE_TYPE_V0_1: &str = "https://model_signing/Digests/v0.1";
const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v1";

/// Why a path cannot stand in a signature.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the path {path:?} cannot be signed: {why}")]
pub struct NameError {
    /// The path, cut to 200 characters.
    pub path: String,
    /// Why.
    pub why: &'static str,
}

/// Whether `name` is a relative path with `/` between its parts that stays below where it begins.
///
/// # Errors
/// [`NameError`].
pub fn check_name(name: &str) -> Result<(), NameError> {
    let bad = |why| Err(NameError { path: name.chars().take(200).collect(), why });
    match () {
        () if name.is_empty() => bad("it is empty"),
        () if name.starts_with('/') => bad("it is absolute"),
        () if name.ends_with('/') => bad("it ends with a slash"),
        () if name.chars().any(char::is_control) => bad("it holds a control character"),
        () if name.split('/').any(|part| matches!(part, "" | "." | "..")) => {
            bad("a part of it is empty, `.` or `..`")
        }
        () => Ok(()),
    }
}

/// A signed (or to be signed) set of files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Model {
    /// Name of the directory (or file) when it was signed; says nothing about where it is now.
    pub name: String,
    /// SHA-256 of every file, by relative path. `.` alone is how the oldest signatures name a model of one file.
    pub files: BTreeMap<String, Digest>,
    /// Paths that are left out, with all below them.
    pub ignored: Vec<String>,
    /// Whether symbolic links stand for the files they lead to.
    pub follow_links: bool,
}

/// How a directory differs from what was signed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Mismatch {
    /// Signed, but not there.
    pub missing: Vec<String>,
    /// There, but not signed.
    pub extra: Vec<String>,
    /// There with other content.
    pub changed: Vec<String>,
}

impl Mismatch {
    /// Whether there is no difference.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.missing.is_empty() && self.extra.is_empty() && self.changed.is_empty()
    }
}

impl Model {
    /// Whether a path is left out.
    #[must_use]
    pub fn ignores(ignored: &[String], path: &str) -> bool {
        ignored.iter().any(|i| {
            path.strip_prefix(i.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        })
    }
    /// SHA-256 over the hashes of all files, in the order of their names.
    #[must_use]
    pub fn digest(&self) -> Digest {
        digest_of(self.files.values())
    }
    /// How `found` differs from this.
    #[must_use]
    pub fn compare(&self, found: &BTreeMap<String, Digest>) -> Mismatch {
        let lacking = |a: &BTreeMap<String, Digest>, b: &BTreeMap<String, Digest>| {
            a.keys().filter(|k| !b.contains_key(*k)).cloned().collect()
        };
        let differs = |(name, digest): &(&String, &Digest)| found.get(*name).is_some_and(|f| f != *digest);
        Mismatch {
            missing: lacking(&self.files, found),
            extra: lacking(found, &self.files),
            changed: self.files.iter().filter(differs).map(|(name, _)| name.clone()).collect(),
        }
    }

    /// The statement's bytes; the same for the same model.
    pub(super) fn to_statement(&self) -> Result<Vec<u8>, OmsError> {
        if self.files.is_empty() {
            return Err(OmsError::Statement("there is no file to sign".into()));
        }
        for name in self.files.keys() {
            check_name(name).map_err(|e| OmsError::Statement(e.to_string()))?;
        }
        let resources: Vec<Value> = self
            .files
            .iter()
            .map(|(name, digest)| json!({ "name": name, "algorithm": "sha256", "digest": digest.to_hex() }))
            .collect();
        let mut ignored = self.ignored.clone();
        ignored.sort();
        ignored.dedup();
        let statement = json!({
            "_type": STATEMENT_TYPE,
            "subject": [{ "name": self.name, "digest": { "sha256": self.digest().to_hex() } }],
            "predicateType": PREDICATE_TYPE,
            "predicate": {
                "serialization": {
                    "method": "files", "hash_type": "sha256", "allow_symlinks": self.follow_links,
                    "ignore_paths": ignored,
                },
                "resources": resources,
            },
        });
        Ok(statement.to_string().into_bytes())
    }

    /// Reads a statement whose signature holds.
    pub(super) fn from_statement(bytes: &[u8]) -> Result<Self, OmsError> {
        let value =
            parse_json(bytes).map_err(|e| OmsError::Statement(format!("it is not plain JSON: {e}")))?;
        if value["_type"] != STATEMENT_TYPE {
            return Err(OmsError::Statement(format!(
                "it is not an in-toto statement v1 (_type {})",
                value["_type"]
            )));
        }
        match value["predicateType"].as_str() {
            Some(PREDICATE_TYPE) => Self::from_v1(&value),
            Some(PREDICATE_TYPE_V0_1) => Self::from_v0_1(&value),
            _ => Err(OmsError::Statement(format!("its predicate type is {}", value["predicateType"]))),
        }
    }

    fn from_v1(value: &Value) -> Result<Self, OmsError> {
        let [subject] = value["subject"].as_array().map_or(&[][..], Vec::as_slice) else {
            return Err(OmsError::Statement("it does not have exactly one subject".into()));
        };
        let serialization = &value["predicate"]["serialization"];
        let follow_links =
            match (&serialization["method"], &serialization["hash_type"], &serialization["allow_symlinks"]) {
                (Value::String(m), _, _) if m != "files" => {
                    return Err(OmsError::Unsupported(format!("the serialization method {m:?}")));
                }
                (_, Value::String(h), _) if h != "sha256" => {
                    return Err(OmsError::Unsupported(format!("the hash {h:?}")));
                }
                (Value::String(_), Value::String(_), Value::Bool(follow)) => *follow,
                _ => return Err(OmsError::Statement("it does not say how files were serialized".into())),
            };
        let ignored = match &serialization["ignore_paths"] {
            Value::Null => Vec::new(),
            Value::Array(paths) => paths
                .iter()
                .map(|p| {
                    p.as_str()
                        .map(str::to_owned)
                        .ok_or_else(|| OmsError::Statement("an ignored path is no text".into()))
                })
                .collect::<Result<_, _>>()?,
            _ => return Err(OmsError::Statement("its ignored paths are no list".into())),
        };
        let resources = value["predicate"]["resources"].as_array().map_or(&[][..], Vec::as_slice);
        let (files, order) = read_files(resources.iter().map(|r| (r, &r["digest"], &r["algorithm"])))?;
        // In the order as listed: other signers sort by path components, which is not the order of the names.
        let (found, expected) =
            (digest_of(order.iter()), subject["digest"]["sha256"].as_str().unwrap_or_default());
        if found.to_hex() != expected {
            return Err(OmsError::Subject { found, expected: expected.chars().take(80).collect() });
        }
        let name = subject["name"].as_str().filter(|n| !n.is_empty());
        let name = name.ok_or_else(|| OmsError::Statement("its subject has no name".into()))?.to_owned();
        Ok(Self { name, files, ignored, follow_links })
    }

    fn from_v0_1(value: &Value) -> Result<Self, OmsError> {
        let subjects = value["subject"].as_array().map_or(&[][..], Vec::as_slice);
        let algorithm = Value::from("sha256");
        let (files, _) = read_files(subjects.iter().map(|s| (s, &s["digest"]["sha256"], &algorithm)))?;
        Ok(Self { name: "model".into(), files, ignored: Vec::new(), follow_links: false })
    }
}

fn digest_of<'a>(digests: impl Iterator<Item = &'a Digest>) -> Digest {
    Digest::of(&digests.flat_map(|d| d.0).collect::<Vec<u8>>())
}

type Files = (BTreeMap<String, Digest>, Vec<Digest>);

fn read_files<'a>(
    resources: impl Iterator<Item = (&'a Value, &'a Value, &'a Value)>,
) -> Result<Files, OmsError> {
    let (mut files, mut order) = (BTreeMap::new(), Vec::new());
    for (resource, digest, algorithm) in resources {
        let name =
            resource["name"].as_str().ok_or_else(|| OmsError::Statement("a file has no name".into()))?;
        if algorithm != "sha256" {
            return Err(OmsError::Unsupported(format!("the hash {algorithm} of {name:?}")));
        }
        let digest: Digest = digest
            .as_str()
            .and_then(|d| d.parse().ok())
            .ok_or_else(|| OmsError::Statement(format!("the hash of {name:?} is not 64 hex digits")))?;
        if name != "." {
            check_name(name).map_err(|e| OmsError::Statement(e.to_string()))?;
        }
        if files.insert(name.to_owned(), digest).is_some() {
            return Err(OmsError::Statement(format!("{name:?} is listed twice")));
        }
        order.push(digest);
    }
    match (files.is_empty(), files.contains_key(".") && files.len() > 1) {
        (true, _) => Err(OmsError::Statement("it lists no file".into())),
        (_, true) => Err(OmsError::Statement("it lists `.` among other files".into())),
        _ => Ok((files, order)),
    }
}
