//! Whether an assignment is accepted. The signature was verified before: these functions take the verified message.
//!
//! Two authorities must agree: what the director names must stand, to the last number, in targets metadata that a
//! threshold of offline keys signed. An assignment that disagrees in one slot is refused whole.

use std::collections::BTreeMap;

use longshore_trust::{AssignmentVersion, DeviceId, Digest, FleetId, Generation, ReleaseCounter, UnixMs};
use longshore_wire::v1::{Assignment, Message, Reason, Slot};

use crate::broken::{Rule, broken};

/// What verified targets metadata says about one manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetView {
    /// Length, bytes.
    pub length: u64,
    /// SHA-256.
    pub sha256: Digest,
    /// The release counter given by `approve`.
    pub release_counter: ReleaseCounter,
    /// Pairs `{from, to}`: a device that runs bundle `from` may go back to bundle `to`.
    pub rollback_ok: Vec<(Digest, Digest)>,
    /// Architectures it is for; empty: all.
    pub hw: Vec<String>,
}

/// The part of verified metadata that an assignment is held against.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TargetsView {
    /// Versions of `targets` and `models/<name>`.
    pub versions: BTreeMap<String, u64>,
    /// Manifests by target path.
    pub targets: BTreeMap<String, TargetView>,
}

/// Why an assignment is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// For another fleet.
    #[error("the assignment is for fleet {0}, not for this one")]
    WrongFleet(FleetId),
    /// For another device.
    #[error("the assignment is for device {0}, not for this one")]
    WrongDevice(DeviceId),
    /// Past its time.
    #[error("assignment {version} was to be accepted until {not_after} (Unix ms); it is {now}")]
    Expired {
        /// Which.
        version: AssignmentVersion,
        /// Its limit.
        not_after: UnixMs,
        /// The time now.
        now: UnixMs,
    },
    /// From a plan that a newer one has replaced on this device.
    #[error(
        "assignment {version} is of generation {generation}, and this device has accepted generation {accepted}: whoever sent it acts on an old plan"
    )]
    OldGeneration {
        /// Which.
        version: AssignmentVersion,
        /// Its generation.
        generation: Generation,
        /// The greatest one accepted.
        accepted: Generation,
    },
    /// The same model twice.
    #[error("assignment {0} names a model twice")]
    DuplicateModel(AssignmentVersion),
    /// The path does not belong to the model it is named for.
    #[error("{0:?} is not the manifest of a bundle of the model it is assigned for")]
    Path(String),
    /// Not a verified target.
    #[error("{0} is not a target that the offline keys approved")]
    NotATarget(String),
    /// A number differs from verified metadata.
    #[error("{path}: the assignment says {field} {assigned}, approved metadata says {approved}")]
    Disagrees {
        /// Target path.
        path: String,
        /// Which field.
        field: &'static str,
        /// By the director.
        assigned: String,
        /// By targets metadata.
        approved: String,
    },
}

impl Refusal {
    /// Code of [`Refusal::Expired`].
    pub const EXPIRED: &'static str = "assignment.expired";
    /// For machines.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::WrongFleet(_) => "assignment.wrong_fleet",
            Self::WrongDevice(_) => "assignment.wrong_device",
            Self::Expired { .. } => Self::EXPIRED,
            Self::OldGeneration { .. } => "assignment.old_generation",
            Self::DuplicateModel(_) => "assignment.duplicate_model",
            Self::Path(_) => "assignment.path",
            Self::NotATarget(_) => "assignment.not_a_target",
            Self::Disagrees { .. } => "assignment.disagrees_with_targets",
        }
    }
    /// As a report carries it.
    #[must_use]
    pub fn reason(&self) -> Reason {
        reason(self.code(), self.to_string())
    }
}

/// A reason with its text cut to what reports carry.
#[must_use]
pub fn reason(code: &str, detail: impl Into<String>) -> Reason {
    let mut detail: String = detail.into();
    if let Some((at, _)) = detail.char_indices().nth(500) {
        detail.truncate(at);
    }
    Reason { code: code.into(), detail }
}

/// Who is asked to accept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Its fleet.
    pub fleet: FleetId,
    /// Itself.
    pub device: DeviceId,
    /// Its architecture, as bundles name it (`x86_64`, `aarch64`, `arm`).
    pub arch: String,
}

/// First look, before any metadata is fetched. `Ok(None)`: nothing new (a repeat), harmless. `accepted` is the greatest
/// generation accepted so far: an executor that acts on an older plan is harmless.
///
/// # Errors
/// [`Refusal`].
pub fn arrive<'a>(
    me: &Device,
    last: AssignmentVersion,
    now: UnixMs,
    accepted: Generation,
    message: &'a Message<Assignment>,
) -> Result<Option<&'a Assignment>, Refusal> {
    let a = &message.body;
    if message.header.fleet != me.fleet {
        return Err(Refusal::WrongFleet(message.header.fleet.clone()));
    }
    if message.header.device != me.device {
        return Err(Refusal::WrongDevice(message.header.device.clone()));
    }
    if a.version <= last && !broken(Rule::OldAssignmentAgain) {
        return Ok(None);
    }
    if now > a.not_after {
        return Err(Refusal::Expired { version: a.version, not_after: a.not_after, now });
    }
    if a.generation < accepted && !broken(Rule::GenerationIgnored) {
        return Err(Refusal::OldGeneration { version: a.version, generation: a.generation, accepted });
    }
    for (i, slot) in a.slots.iter().enumerate() {
        if a.slots[..i].iter().any(|s| s.model == slot.model) {
            return Err(Refusal::DuplicateModel(a.version));
        }
        if version_of(slot).is_none() {
            return Err(Refusal::Path(slot.manifest_path.clone()));
        }
    }
    Ok(Some(a))
}

/// The version in `<model>/<version>/manifest.json`, if the path is one of this slot's model.
#[must_use]
pub fn version_of(slot: &Slot) -> Option<&str> {
    let rest = slot.manifest_path.strip_prefix(slot.model.as_str())?.strip_prefix('/')?;
    let version = rest.strip_suffix("/manifest.json")?;
    (!version.is_empty() && !version.contains('/') && version != "." && version != "..").then_some(version)
}

/// Whether the metadata at hand is at least as new as what the director looked at.
#[must_use]
pub fn recent_enough(a: &Assignment, view: &TargetsView) -> bool {
    a.targets_versions.iter().all(|t| view.versions.get(&t.role).is_some_and(|have| *have >= t.version))
}

/// Whether every slot is identical to verified targets.
///
/// # Errors
/// [`Refusal`] for the first slot that is not.
pub fn agree(a: &Assignment, view: &TargetsView) -> Result<(), Refusal> {
    if broken(Rule::TargetsNotAsked) {
        return Ok(());
    }
    for slot in &a.slots {
        let target = view
            .targets
            .get(&slot.manifest_path)
            .ok_or_else(|| Refusal::NotATarget(slot.manifest_path.clone()))?;
        let differs = |field, assigned: String, approved: String| {
            Err(Refusal::Disagrees { path: slot.manifest_path.clone(), field, assigned, approved })
        };
        if slot.sha256 != target.sha256 {
            return differs("sha256", slot.sha256.to_string(), target.sha256.to_string());
        }
        if slot.length != target.length {
            return differs("length", slot.length.to_string(), target.length.to_string());
        }
        if slot.release_counter != target.release_counter {
            return differs(
                "release_counter",
                slot.release_counter.to_string(),
                target.release_counter.to_string(),
            );
        }
    }
    Ok(())
}

/// Whether this one slot may be started on this device, given what it runs.
///
/// # Errors
/// The reason of a REJECTED report.
pub fn admissible(
    me: &Device,
    slot: &Slot,
    floor: ReleaseCounter,
    active: Option<Digest>,
    view: &TargetsView,
) -> Result<(), Reason> {
    let hw = view.targets.get(&slot.manifest_path).map_or(&[][..], |t| &t.hw);
    if !hw.is_empty() && !hw.contains(&me.arch) {
        return Err(reason(
            "incompatible.hw",
            format!("the bundle is for {}; this device is {}", hw.join(", "), me.arch),
        ));
    }
    if slot.release_counter < floor && !broken(Rule::FloorNotAsked) {
        // Only the model's own role speaks for it: the keys of another model open no way back.
        let own = format!("{}/", slot.model);
        let mut of_model = view.targets.iter().filter(|(path, _)| path.starts_with(&own));
        let allowed =
            active.is_some_and(|from| of_model.any(|(_, t)| t.rollback_ok.contains(&(from, slot.sha256))));
        if !allowed {
            return Err(reason(
                "policy.release_counter",
                format!(
                    "release counter {} is below this device's floor {floor}, and no offline key signed a way back from what runs",
                    slot.release_counter
                ),
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use longshore_wire::v1::Mode;

    use super::*;

    #[test]
    fn only_the_keys_of_a_model_open_its_way_back() {
        let (old, new) = (Digest::of(b"old"), Digest::of(b"new"));
        let me =
            Device { fleet: "f".parse().unwrap(), device: "d".parse().unwrap(), arch: "x86_64".to_owned() };
        let slot = Slot {
            model: "meter".parse().unwrap(),
            manifest_path: "meter/1.0.0/manifest.json".to_owned(),
            sha256: old,
            length: 1,
            release_counter: ReleaseCounter(1),
            mode: Mode::Active,
        };
        let back = |path: &str| {
            let target = TargetView {
                length: 1,
                sha256: new,
                release_counter: ReleaseCounter(2),
                rollback_ok: vec![(new, old)],
                hw: vec![],
            };
            let view = TargetsView {
                versions: BTreeMap::new(),
                targets: BTreeMap::from([(path.to_owned(), target)]),
            };
            admissible(&me, &slot, ReleaseCounter(2), Some(new), &view)
        };
        assert_eq!(back("meter/2.0.0/manifest.json"), Ok(()));
        for foreign in ["door/2.0.0/manifest.json", "meter-2/2.0.0/manifest.json"] {
            assert_eq!(back(foreign).unwrap_err().code, "policy.release_counter", "{foreign}");
        }
    }
}
