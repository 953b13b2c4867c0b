//! Why a bundle is refused: always the file, the field and the reason.

/// A refusal, with the place it is about.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{file}: {field}: {reason}")]
pub struct ManifestError {
    /// File inside the bundle, e.g. `manifest.json`.
    pub file: String,
    /// Field or tensor in it, e.g. `files[2].path`.
    pub field: String,
    /// What is wrong with it.
    pub reason: Refusal,
}

impl ManifestError {
    /// A refusal of `field` in `file`.
    #[must_use]
    pub fn new(file: &str, field: impl Into<String>, reason: Refusal) -> Self {
        Self { file: file.to_owned(), field: field.into(), reason }
    }
    /// A refusal of `field` in `manifest.json`.
    #[must_use]
    pub fn manifest(field: impl Into<String>, reason: Refusal) -> Self {
        Self::new(crate::MANIFEST, field, reason)
    }
}

/// What is wrong.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// No valid JSON, a missing or unknown field, or a value of the wrong type.
    #[error("{0}")]
    Syntax(String),
    /// Made for another version of this format.
    #[error("schema {0} is not known here (this program reads schema 1); a newer agent may be needed")]
    Schema(u64),
    /// More than may be.
    #[error("{what}: {found} is more than the {limit} allowed")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many.
        found: u64,
        /// How many there may be.
        limit: u64,
    },
    /// A path that could leave the bundle or be read differently elsewhere.
    #[error("path {path:?} {why}")]
    Path {
        /// The path.
        path: String,
        /// The rule it breaks.
        why: &'static str,
    },
    /// A name with a meaning of its own.
    #[error("{0:?} is a reserved name")]
    ReservedName(String),
    /// Named twice (paths: also when they differ only in case).
    #[error("{0:?} appears twice")]
    Duplicate(String),
    /// A file of this role must be there, once.
    #[error("exactly one file with role `{0}` is needed, found {1}")]
    RoleCount(&'static str, usize),
    /// A tensor that is named elsewhere is not there.
    #[error("tensor `{0}` is missing")]
    MissingTensor(String),
    /// A tensor that nothing asks for.
    #[error("tensor `{0}` is not an input or output of this bundle")]
    StrayTensor(String),
    /// Wrong element type.
    #[error("element type is {found}, expected {expected}")]
    DType {
        /// Found.
        found: String,
        /// Expected.
        expected: String,
    },
    /// Wrong shape.
    #[error("shape is {found}, expected {expected}")]
    Shape {
        /// Found.
        found: String,
        /// Expected.
        expected: String,
    },
    /// A NaN where a number is needed.
    #[error("element {0} is NaN")]
    NaN(usize),
    /// The file is not as long as the manifest says.
    #[error("is {found} bytes long, the manifest says {expected}")]
    Length {
        /// Bytes found.
        found: u64,
        /// Bytes promised.
        expected: u64,
    },
    /// The content is not what the manifest pins.
    #[error("has SHA-256 {found}, the manifest says {expected}")]
    Hash {
        /// Found.
        found: longshore_trust::Digest,
        /// Promised.
        expected: longshore_trust::Digest,
    },
    /// A file that the manifest names is not there.
    #[error("the file is missing")]
    MissingFile,
    /// A file that the manifest does not name.
    #[error("the file is not named in the manifest; remove it")]
    StrayFile,
    /// A symbolic link, device, socket or pipe.
    #[error("is {0}; only plain files are allowed")]
    NotAFile(&'static str),
    /// A rule of one field.
    #[error("{0}")]
    Rule(String),
    /// Reading failed.
    #[error("cannot be read: {0}")]
    Io(String),
}

impl Refusal {
    /// Stable code for machines.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Syntax(_) => "bundle.syntax",
            Self::Schema(_) => "bundle.schema",
            Self::TooMany { .. } => "bundle.too_many",
            Self::Path { .. } => "bundle.path",
            Self::ReservedName(_) => "bundle.reserved_name",
            Self::Duplicate(_) => "bundle.duplicate",
            Self::RoleCount(..) => "bundle.role",
            Self::MissingTensor(_) => "bundle.missing_tensor",
            Self::StrayTensor(_) => "bundle.stray_tensor",
            Self::DType { .. } => "bundle.dtype",
            Self::Shape { .. } => "bundle.shape",
            Self::NaN(_) => "bundle.nan",
            Self::Length { .. } => "bundle.length",
            Self::Hash { .. } => "bundle.hash",
            Self::MissingFile => "bundle.missing_file",
            Self::StrayFile => "bundle.stray_file",
            Self::NotAFile(_) => "bundle.not_a_file",
            Self::Rule(_) => "bundle.rule",
            Self::Io(_) => "bundle.io",
        }
    }
}
