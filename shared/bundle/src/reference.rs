//! The reference profile of a bundle: that it fits the manifest, and how it is made of an author's data.

use longshore_stats::Profile;
use longshore_stats::profile::FeatureValues;

use crate::{FeatureKind, Manifest, ManifestError, Refusal, Role};

/// Reads a reference profile and compares its features with those the manifest monitors.
///
/// # Errors
/// [`ManifestError`] naming the file and the feature.
pub fn parse(bytes: &[u8], manifest: &Manifest) -> Result<Profile, ManifestError> {
    let file = manifest.file(Role::Reference).map_or("reference.lsp", |f| f.path.as_str());
    let profile = Profile::from_bytes(bytes)
        .map_err(|e| ManifestError::new(file, "(whole file)", Refusal::Syntax(e.to_string())))?;
    for feature in &manifest.monitor.features {
        let refuse = |text: &str| ManifestError::new(file, &feature.name, Refusal::Rule(text.to_owned()));
        let Some(found) = profile.feature(&feature.name) else {
            return Err(refuse("the manifest monitors it, but the profile does not have it"));
        };
        match (feature.kind, &found.values) {
            (FeatureKind::Numeric, FeatureValues::Numeric(_))
            | (FeatureKind::Categorical, FeatureValues::Categorical(_)) => {}
            _ => return Err(refuse("is numeric on one side and categorical on the other")),
        }
    }
    let monitored = manifest.monitor.features.len();
    if let Some(table) = profile.attribution.as_ref().filter(|t| t.features() != monitored) {
        let text =
            format!("has attributions of {} features; the manifest monitors {monitored}", table.features());
        return Err(ManifestError::new(file, "(attributions)", Refusal::Rule(text)));
    }
    Ok(profile)
}

/// The part of a profile that devices count: the monitored features, in the manifest's order. Both ends make it the same
/// way, so that what a device counted fits what the fleet compares it with.
#[must_use]
pub fn monitored(profile: &Profile, manifest: &Manifest) -> Profile {
    let of = |name: &str| profile.feature(name).cloned();
    Profile {
        rows: profile.rows,
        features: manifest.monitor.features.iter().filter_map(|f| of(&f.name)).collect(),
        quality: profile.quality.clone(),
        answers: profile.answers.clone(),
        attribution: profile.attribution.clone(),
    }
}
