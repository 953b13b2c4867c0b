//! Paths inside a bundle. One that exists can be joined to a directory without leaving it, on any file system.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};

use crate::Refusal;

/// File name of the manifest.
pub const MANIFEST: &str = "manifest.json";
/// File name of the optional OpenSSF Model Signing signature; it signs the directory, so it is never in `files`.
pub const SIGNATURE: &str = "model.sig";

/// A relative path of one or two parts, each of `A-Z a-z 0-9 . _ -`, not starting with a dot.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct BundlePath(String);

impl BundlePath {
    /// Checks `path`.
    ///
    /// # Errors
    /// [`Refusal::Path`] or [`Refusal::ReservedName`].
    pub fn new(path: &str) -> Result<Self, Refusal> {
        let bad = |why: &'static str| Refusal::Path { path: path.chars().take(200).collect(), why };
        if path.is_empty() || path.len() > 128 {
            return Err(bad("must have 1 to 128 characters"));
        }
        if path.starts_with('/') || path.contains('\\') || path.contains(':') {
            return Err(bad("must be relative, with `/` between its parts"));
        }
        let parts: Vec<&str> = path.split('/').collect();
        if parts.len() > 2 {
            return Err(bad("may lie at most one folder deep"));
        }
        for part in &parts {
            if *part == ".." || *part == "." {
                return Err(bad("must not contain `.` or `..` as a part"));
            }
            if part.is_empty() || part.starts_with('.') || part.ends_with('.') {
                return Err(bad("parts must not be empty, nor start or end with a dot"));
            }
            if !part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-')) {
                return Err(bad("may hold only A-Z a-z 0-9 . _ -"));
            }
            if is_device_name(part) {
                return Err(Refusal::ReservedName(path.to_owned()));
            }
        }
        if [MANIFEST, SIGNATURE].iter().any(|r| path.eq_ignore_ascii_case(r)) {
            return Err(Refusal::ReservedName(path.to_owned()));
        }
        Ok(Self(path.to_owned()))
    }
    /// The path as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Names that Windows opens as devices whatever their extension.
fn is_device_name(part: &str) -> bool {
    let stem = part.split('.').next().unwrap_or(part).to_ascii_uppercase();
    let numbered = |prefix: &str| {
        stem.strip_prefix(prefix).is_some_and(|n| n.len() == 1 && n.bytes().all(|b| b.is_ascii_digit()))
    };
    matches!(stem.as_str(), "CON" | "PRN" | "AUX" | "NUL") || numbered("COM") || numbered("LPT")
}

impl fmt::Display for BundlePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
impl<'de> Deserialize<'de> for BundlePath {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        Self::new(&String::deserialize(d)?).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_tame_relative_paths_are_taken() {
        for good in ["model.onnx", "a/b.bin", "x-1_2.lsp"] {
            assert!(BundlePath::new(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "/etc/passwd",
            "..",
            "../x",
            "a/../b",
            "./a",
            "a//b",
            "a/",
            "a/b/c",
            ".hidden",
            "a\\b",
            "C:x",
            "x\0",
            "ü",
            "end.",
            "manifest.json",
            "Manifest.JSON",
            "model.sig",
            "nul",
            "com1.onnx",
            "a/AUX.bin",
            &"a".repeat(129),
        ] {
            assert!(BundlePath::new(bad).is_err(), "{bad:?}");
        }
    }
}
