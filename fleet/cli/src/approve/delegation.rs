//! Giving a model its role: one delegation in the top-level targets, so that its release keys can approve bundles and
//! two pending releases of different models never void each other's signatures.

use longshore_trust::ModelName;
use longshore_trust::tuf::ceremony::check_plain;
use longshore_trust::tuf::edit::{self, DelegationSpec, RoleKeys, Signed, TargetsSpec};
use serde_json::json;

use super::draft::role_of;
use super::{confirm, submit};
use crate::context::{Context, Failure};
use crate::http::Client;
use crate::keys::{FleetFile, Keyring, SigningArgs};
use crate::trust_store::{TrustStore, now};

const DAY_MS: u64 = 24 * 3600 * 1000;
/// Validity of the top-level targets.
const VALID_MS: u64 = 365 * DAY_MS;

fn targets_of(store: &TrustStore<'_>) -> Result<TargetsSpec, Failure> {
    let bytes = store.bytes_of("targets").unwrap_or_default();
    edit::read_targets(bytes).map_err(|e| {
        Failure::refused("trust.refused", format!("targets metadata was made by another program: {e}"))
    })
}
fn targets_keys(store: &TrustStore<'_>) -> Result<RoleKeys, Failure> {
    let root = edit::read_root(store.bytes_of("root").unwrap_or_default());
    let root = root
        .map_err(|e| Failure::refused("trust.refused", format!("root was made by another program: {e}")))?;
    Ok(root.targets)
}

/// Who signs `role`, if it is delegated.
pub(super) fn find(store: &TrustStore<'_>, role: &str) -> Result<Option<RoleKeys>, Failure> {
    let delegations = targets_of(store)?.delegations;
    Ok(delegations.into_iter().find(|d| d.role == role).map(|d| d.keys))
}
/// Whether the user holds a targets key.
pub(super) fn at_hand(store: &TrustStore<'_>, keyring: &Keyring) -> Result<bool, Failure> {
    Ok(keyring.count(&targets_keys(store)?) > 0)
}
/// Says who must do what.
pub(super) fn missing(model: &ModelName) -> Failure {
    Failure::refused(
        "approve.not_delegated",
        format!(
            "model {model} has no role yet, so nobody can approve its bundles. Holders of the targets keys run\n  \
             longshore keys delegate {model} --key targets-N.key\nonce; then run this command again."
        ),
    )
}

/// `longshore keys delegate`
pub fn run(context: &Context, model: &ModelName, keys: &SigningArgs, yes: bool) -> Result<(), Failure> {
    let mut keyring = Keyring::find(keys)?;
    let client = Client::from_context(context)?;
    let store = TrustStore::refresh(context.trust_dir()?, &client)?;
    if find(&store, &role_of(model))?.is_some() {
        if context.json() {
            println!("{}", json!({"ok": true, "model": model, "state": "already_delegated"}));
        } else {
            println!("{model} has its role already; nothing to do.");
        }
        return Ok(());
    }
    let outcome = add(context, &client, &store, &mut keyring, model, yes)?;
    if context.json() {
        let value = json!({"ok": true, "model": model, "state": outcome.state,
            "signatures": outcome.signatures, "threshold": outcome.threshold});
        println!("{value}");
    } else if outcome.published() {
        println!("{model} has its role. Approve its bundles with `longshore approve {model}@VERSION`.");
    } else {
        println!("{}", waiting(model, &outcome));
    }
    Ok(())
}

fn waiting(model: &ModelName, outcome: &submit::Outcome) -> String {
    format!(
        "Signed: {} of {} signatures. Another holder of a targets key runs\n  longshore keys delegate {model} --key FILE",
        outcome.signatures, outcome.threshold
    )
}

/// Signs the delegation with the targets keys at hand and submits it.
pub(super) fn add(
    context: &Context,
    client: &Client,
    store: &TrustStore<'_>,
    keyring: &mut Keyring,
    model: &ModelName,
    yes: bool,
) -> Result<submit::Outcome, Failure> {
    let keys = targets_keys(store)?;
    if keyring.count(&keys) == 0 {
        return Err(Failure::usage(format!(
            "none of the keys at hand is a targets key: {} of {} targets keys must sign a new model's role",
            keys.threshold,
            keys.keys.len()
        )));
    }
    let release = FleetFile::read(&context.trust_dir()?)?.release()?;
    let current = targets_of(store)?;
    still_release_keys(&current, &release)?;
    let wanted = next(&current, model, &release);
    let mut document = match submit::pending(client, "targets")? {
        Some(document) => same(document, &wanted, model)?,
        None => edit::targets(&wanted),
    };
    if !context.json() {
        println!(
            "New role models/{model}: its bundles are approved by {} of {} release keys.",
            release.threshold,
            release.keys.len()
        );
    }
    confirm(yes, "Sign this delegation with your targets key?")?;
    if keyring.sign(&mut document, &keys)? == 0 {
        return Err(Failure::refused(
            "delegate.signed_before",
            format!(
                "the keys at hand have already signed the role of {model}: another holder of a targets key must sign"
            ),
        ));
    }
    submit::submit(client, "targets", &document)
}

/// `fleet.json` is not signed and may have missed a rotation: keys that no model's role names any more may have been
/// revoked, and a new model is not given to them.
fn still_release_keys(current: &TargetsSpec, release: &RoleKeys) -> Result<(), Failure> {
    let named = |key| current.delegations.iter().any(|d| d.keys.keys.contains(key));
    if current.delegations.is_empty() || release.keys.iter().all(named) {
        return Ok(());
    }
    Err(Failure::refused(
        "delegate.stale",
        "fleet.json in the trust folder names release keys that no model's role names: they may have been revoked. Run \
         `longshore keys status`, or copy the fleet.json that was written when the release keys were rotated last",
    ))
}

fn next(current: &TargetsSpec, model: &ModelName, release: &RoleKeys) -> TargetsSpec {
    let mut spec = current.clone();
    spec.version += 1;
    spec.expires = now().plus_ms(VALID_MS);
    spec.delegations.push(DelegationSpec {
        role: role_of(model),
        keys: release.clone(),
        paths: vec![format!("{model}/*/*"), format!("{model}/*/*/*")],
        terminating: true,
    });
    spec
}

/// A pending document, if it says exactly what `wanted` says; its expiry may lie a little earlier.
fn same(document: Signed, wanted: &TargetsSpec, model: &ModelName) -> Result<Signed, Failure> {
    let differs = || {
        Failure::refused(
            "approve.pending",
            format!(
                "targets metadata that waits for signatures does something else than give {model} its role. Nothing was \
                 signed. Let it be completed or dropped first."
            ),
        )
    };
    check_plain("targets", &document, now()).map_err(|_| differs())?;
    let found = edit::read_targets(&document.to_bytes()).map_err(|_| differs())?;
    let expires = found.expires;
    let adjusted = TargetsSpec { expires, ..wanted.clone() };
    // Signed days ago at the earliest; one that expires later than a fresh one, or sooner than that, is odd.
    let in_time = expires <= wanted.expires.plus_ms(DAY_MS) && expires.plus_ms(60 * DAY_MS) >= wanted.expires;
    if in_time && found == adjusted { Ok(document) } else { Err(differs()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use longshore_trust::SigningKey;

    #[test]
    fn the_second_holder_signs_whatever_the_order_of_the_keys_in_fleet_json() {
        let model: ModelName = "digits".parse().unwrap();
        let keys: Vec<_> = (1..=4).map(|n| SigningKey::from_seed(&[n; 32]).public()).collect();
        let none = TargetsSpec { version: 1, expires: now(), targets: [].into(), delegations: vec![] };
        for turn in 0..keys.len() {
            let mut keys = keys.clone();
            keys.rotate_left(turn);
            let wanted = next(&none, &model, &RoleKeys { keys, threshold: 2 });
            let pending = Signed::from_bytes(&edit::targets(&wanted).to_bytes()).unwrap();
            assert!(same(pending, &wanted, &model).is_ok(), "turned by {turn}");
        }
        let other = next(&none, &model, &RoleKeys { keys: keys[1..].to_vec(), threshold: 2 });
        let wanted = next(&none, &model, &RoleKeys { keys, threshold: 2 });
        assert!(same(edit::targets(&other), &wanted, &model).is_err());
    }
}
