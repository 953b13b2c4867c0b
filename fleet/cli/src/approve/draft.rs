//! The next version of a model's role: what was approved before, and the new bundle. No I/O in [`Draft`].

use longshore_trust::tuf::ceremony::check_plain;
use longshore_trust::tuf::edit::{self, Signed, TargetsSpec};
use longshore_trust::tuf::{ReleaseInfo, RollbackOk, TargetInfo};
use longshore_trust::{Digest, ModelName, ReleaseCounter, UnixMs};

use super::candidate::{Candidate, MANIFEST};
use crate::context::Failure;
use crate::trust_store::TrustStore;

const DAY_MS: u64 = 24 * 3600 * 1000;
/// Validity of a model's role.
const VALID_MS: u64 = 180 * DAY_MS;
/// Longest validity that is signed with others: theirs may have begun a little later by their clock.
const MAX_VALID_MS: u64 = VALID_MS + 2 * DAY_MS;

/// The role that approves a model's bundles.
pub(super) fn role_of(model: &ModelName) -> String {
    format!("models/{model}")
}

/// The published version of `role`, verified; `None` when nothing was approved yet.
pub(super) fn current(
    store: &mut TrustStore<'_>,
    role: &str,
    candidate: &Candidate,
) -> Result<Option<TargetsSpec>, Failure> {
    if !store.trusted().lists(role) {
        return Ok(None);
    }
    store.resolve(candidate.path_of(MANIFEST))?;
    let bytes = store.bytes_of(role).ok_or_else(|| {
        Failure::refused(
            "trust.refused",
            format!("{role} is listed in the snapshot but is reached by no delegation"),
        )
    })?;
    let spec = edit::read_targets(bytes)
        .map_err(|e| Failure::refused("trust.refused", format!("{role} was made by another program: {e}")))?;
    Ok(Some(spec))
}

/// A bundle that was approved before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Approved {
    /// As in its target path.
    pub version: String,
    pub digest: Digest,
    pub release: ReleaseInfo,
}

/// The approved bundles of a role, oldest release first.
pub(super) fn approved(spec: &TargetsSpec) -> Vec<Approved> {
    let manifests = spec.targets.iter().filter_map(|(path, info)| {
        let version = path.strip_suffix(MANIFEST)?.strip_suffix('/')?.rsplit('/').next()?;
        Some(Approved {
            version: version.to_owned(),
            digest: info.sha256,
            release: ReleaseInfo::from_custom(&info.custom).ok()?,
        })
    });
    let mut out: Vec<_> = manifests.collect();
    out.sort_by_key(|a| a.release.release_counter);
    out
}

/// What is to be signed.
#[derive(Debug)]
pub(super) struct Draft {
    pub document: Signed,
    pub release: ReleaseInfo,
    /// The newest release before this one.
    pub previous: Option<Approved>,
    /// All files of the previous one, by path in the bundle.
    pub previous_files: Vec<(String, TargetInfo)>,
    /// Names for the digests in `release.rollback_ok`.
    pub approved: Vec<Approved>,
    pub expires: UnixMs,
    /// Whether others have begun to sign it.
    pub pending: bool,
}

impl Draft {
    /// The next version of the role; `None` when exactly this bundle is approved already.
    pub fn new(
        current: Option<&TargetsSpec>,
        candidate: &Candidate,
        way_back: bool,
        now: UnixMs,
    ) -> Result<Option<Self>, Failure> {
        if is_approved(current, candidate)? {
            return Ok(None);
        }
        let before = current.map(approved).unwrap_or_default();
        let release = ReleaseInfo {
            release_counter: next_counter(&before),
            rollback_ok: if way_back { ways_back(&before, candidate) } else { Vec::new() },
            hw: Vec::new(),
        };
        let spec = spec_of(current, candidate, &release, now.plus_ms(VALID_MS));
        Ok(Some(Self::with(edit::targets(&spec).issued(now), spec.expires, release, current, before, false)))
    }

    /// A version that others have begun to sign: taken byte for byte if it approves exactly this bundle on top of what
    /// is published, refused otherwise.
    pub fn of_pending(
        document: Signed,
        current: Option<&TargetsSpec>,
        candidate: &Candidate,
        now: UnixMs,
    ) -> Result<Option<Self>, Failure> {
        let differs = |why: &str| {
            Failure::refused(
                "approve.pending",
                format!(
                    "a version of {} that waits for signatures {why}. Nothing was signed. If it is not wanted, let the \
                     fleet's administrator drop it.",
                    role_of(&candidate.name.model)
                ),
            )
        };
        if is_approved(current, candidate)? {
            return Ok(None);
        }
        let found =
            edit::read_targets(&document.to_bytes()).map_err(|e| differs(&format!("is malformed ({e})")))?;
        check_plain(&role_of(&candidate.name.model), &document, now)
            .map_err(|e| differs(&format!("is odd ({e})")))?;
        let before = current.map(approved).unwrap_or_default();
        let custom = found.targets.get(&candidate.path_of(MANIFEST)).map(|t| &t.custom);
        let custom = custom.ok_or_else(|| differs(&format!("does not approve {}", candidate.name)))?;
        let release = ReleaseInfo::from_custom(custom).map_err(|e| differs(&e.to_string()))?;
        if release.release_counter != next_counter(&before) {
            return Err(differs("has another release counter than the next one"));
        }
        let known = |d: &Digest| before.iter().any(|a| a.digest == *d);
        if release.rollback_ok.iter().any(|r| r.from != candidate.digest || !known(&r.to)) {
            return Err(differs("permits a way back to a bundle that is not approved"));
        }
        if found.expires > now.plus_ms(MAX_VALID_MS) || found.expires <= now {
            return Err(differs("expires at an unusual time"));
        }
        if found != spec_of(current, candidate, &release, found.expires) {
            return Err(differs("changes more than this bundle"));
        }
        Ok(Some(Self::with(document, found.expires, release, current, before, true)))
    }

    fn with(
        document: Signed,
        expires: UnixMs,
        release: ReleaseInfo,
        current: Option<&TargetsSpec>,
        approved: Vec<Approved>,
        pending: bool,
    ) -> Self {
        let previous = approved.last().cloned();
        let previous_files = match (&previous, current) {
            (Some(previous), Some(spec)) => files_of(spec, &previous.version),
            _ => Vec::new(),
        };
        Self { document, release, previous, previous_files, approved, expires, pending }
    }
    /// The version that an approved digest belongs to.
    pub fn version_of(&self, digest: &Digest) -> String {
        let found = self.approved.iter().find(|a| a.digest == *digest);
        found.map_or_else(|| digest.short(), |a| a.version.clone())
    }
}

/// Whether exactly this bundle is approved; another one under the same version is refused.
fn is_approved(current: Option<&TargetsSpec>, candidate: &Candidate) -> Result<bool, Failure> {
    match current.and_then(|spec| spec.targets.get(&candidate.path_of(MANIFEST))) {
        None => Ok(false),
        Some(info) if info.sha256 == candidate.digest => Ok(true),
        Some(info) => Err(Failure::refused(
            "approve.conflict",
            format!(
                "{} is approved already with other contents ({}): versions are never reused, build a new one",
                candidate.name, info.sha256
            ),
        )),
    }
}

fn next_counter(before: &[Approved]) -> ReleaseCounter {
    before.last().map_or(ReleaseCounter(1), |a| a.release.release_counter.next())
}

/// Back to the release before, and to the bundle it was made from if that is another approved one.
fn ways_back(before: &[Approved], candidate: &Candidate) -> Vec<RollbackOk> {
    let from = candidate.digest;
    let parent = candidate.manifest.parent.filter(|p| before.iter().any(|a| a.digest == *p));
    let mut to: Vec<Digest> = before.last().map(|a| a.digest).into_iter().chain(parent).collect();
    to.dedup();
    to.into_iter().map(|to| RollbackOk { from, to }).collect()
}

fn spec_of(
    current: Option<&TargetsSpec>,
    candidate: &Candidate,
    release: &ReleaseInfo,
    expires: UnixMs,
) -> TargetsSpec {
    let mut spec = TargetsSpec {
        version: current.map_or(1, |c| c.version + 1),
        expires,
        targets: current.map(|c| c.targets.clone()).unwrap_or_default(),
        delegations: current.map(|c| c.delegations.clone()).unwrap_or_default(),
    };
    spec.targets.extend(candidate.targets());
    if let Some(manifest) = spec.targets.get_mut(&candidate.path_of(MANIFEST)) {
        manifest.custom = release.to_custom();
    }
    spec
}

/// Files of an approved version, by path in the bundle.
fn files_of(spec: &TargetsSpec, version: &str) -> Vec<(String, TargetInfo)> {
    let files = spec.targets.iter().filter_map(|(path, info)| {
        let (_, rest) = path.split_once('/')?;
        let file = rest.strip_prefix(version)?.strip_prefix('/')?;
        Some((file.to_owned(), info.clone()))
    });
    files.collect()
}
