//! `longshore approve`: the offline half of a release.
//!
//! Always true here: what is signed is what was shown; what was shown was checked against the operator's own trust store
//! and never taken from the server on trust; a document that others have begun to sign is signed byte for byte or not
//! at all.

mod candidate;
mod delegation;
mod draft;
#[cfg(test)]
mod draft_tests;
mod show;
mod submit;

use std::io::{IsTerminal as _, Write as _};

use longshore_trust::tuf::edit::Signed;
use longshore_trust::{Digest, ModelName};
use semver::Version;
use serde_json::json;

use crate::context::{Context, Failure};
use crate::http::Client;
use crate::keys::{Keyring, SigningArgs};
use crate::trust_store::{TrustStore, now};
use candidate::Candidate;
use draft::Draft;

pub use delegation::run as delegate;

/// `longshore approve`
#[derive(clap::Args)]
pub struct Args {
    /// What to approve, e.g. meter-digits@1.1.0
    #[arg(value_name = "MODEL@VERSION")]
    pub bundle: BundleName,
    #[command(flatten)]
    pub keys: SigningArgs,
    /// Refuse unless the bundle has this digest (SHA-256 of manifest.json, as `longshore bundle build` printed it)
    #[arg(long, value_name = "SHA256")]
    pub digest: Option<Digest>,
    /// Do not sign a way back to the version before: devices can then not be sent back without offline keys
    #[arg(long)]
    pub no_return: bool,
    /// Do not ask before signing
    #[arg(long)]
    pub yes: bool,
}

/// `MODEL@VERSION`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BundleName {
    /// The model.
    pub model: ModelName,
    /// The version.
    pub version: Version,
}

impl std::str::FromStr for BundleName {
    type Err = String;
    fn from_str(s: &str) -> Result<Self, String> {
        let (model, version) =
            s.split_once('@').ok_or("write it as MODEL@VERSION, e.g. meter-digits@1.1.0")?;
        Ok(Self {
            model: model.parse().map_err(|e| format!("{e}"))?,
            version: version.parse().map_err(|e| format!("{version:?} is no version: {e}"))?,
        })
    }
}
impl std::fmt::Display for BundleName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}@{}", self.model, self.version)
    }
}

/// Runs it.
pub fn run(context: &Context, args: Args) -> Result<(), Failure> {
    let mut keyring = Keyring::find(&args.keys)?;
    let client = Client::from_context(context)?;
    let mut store = TrustStore::refresh(context.trust_dir()?, &client)?;
    let candidate = Candidate::fetch(&client, &args.bundle)?;
    if let Some(wanted) = args.digest.filter(|d| *d != candidate.digest) {
        return Err(Failure::refused(
            "approve.digest",
            format!(
                "the server's {} is bundle {}, not {wanted}: it is not the one you were given. Nothing was signed.",
                args.bundle, candidate.digest
            ),
        ));
    }

    let role = draft::role_of(&args.bundle.model);
    let mut delegated = delegation::find(&store, &role)?;
    if delegated.is_none() {
        if !delegation::at_hand(&store, &keyring)? {
            return Err(delegation::missing(&args.bundle.model));
        }
        delegation::add(context, &client, &store, &mut keyring, &args.bundle.model, args.yes)?;
        store = TrustStore::refresh(context.trust_dir()?, &client)?;
        delegated = delegation::find(&store, &role)?;
    }
    let release_keys = delegated.ok_or_else(|| delegation::missing(&args.bundle.model))?;

    let current = draft::current(&mut store, &role, &candidate)?;
    let draft = match submit::pending(&client, &role)? {
        Some(document) => Draft::of_pending(document, current.as_ref(), &candidate, now())?,
        None => Draft::new(current.as_ref(), &candidate, !args.no_return, now())?,
    };
    let Some(mut draft) = draft else {
        return already(context, &args.bundle, &candidate);
    };
    if keyring.count(&release_keys) == 0 {
        return Err(Failure::usage(format!(
            "none of the keys at hand is a release key of {}: it is approved by {} of {} release keys (`longshore keys \
             show` tells which key is which)",
            args.bundle.model,
            release_keys.threshold,
            release_keys.keys.len()
        )));
    }
    if !context.json() {
        show::release(&client, &draft, &candidate)?;
    }
    confirm(args.yes, "Sign this release?")?;

    let before = draft.document.valid_signatures(&release_keys);
    if keyring.sign(&mut draft.document, &release_keys)? == 0 && before < release_keys.threshold as usize {
        return Err(Failure::refused(
            "approve.signed_before",
            format!(
                "the keys at hand have already signed {} ({before} of {} signatures): another release manager must sign",
                args.bundle, release_keys.threshold
            ),
        ));
    }
    let outcome = submit::submit(&client, &role, &draft.document)?;
    report(context, &args.bundle, &candidate, &draft, &outcome);
    Ok(())
}

fn already(context: &Context, bundle: &BundleName, candidate: &Candidate) -> Result<(), Failure> {
    if context.json() {
        let value = json!({"ok": true, "model": bundle.model, "version": bundle.version,
            "digest": candidate.digest, "state": "already_approved"});
        println!("{value}");
    } else {
        println!("{bundle} is approved already; nothing to do.");
    }
    Ok(())
}

fn report(
    context: &Context,
    bundle: &BundleName,
    candidate: &Candidate,
    draft: &Draft,
    outcome: &submit::Outcome,
) {
    if context.json() {
        let value = json!({
            "ok": true, "model": bundle.model, "version": bundle.version, "digest": candidate.digest,
            "release_counter": draft.release.release_counter, "rollback_ok": draft.release.rollback_ok,
            "role_version": draft.document.version(), "state": outcome.state,
            "signatures": outcome.signatures, "threshold": outcome.threshold,
        });
        println!("{value}");
    } else if outcome.published() {
        println!(
            "{bundle} is approved: release {} of {}. Roll it out with `longshore rollout start {bundle}`.",
            draft.release.release_counter, bundle.model
        );
    } else {
        println!(
            "Signed: {} of {} signatures. Another release manager runs\n  longshore approve {bundle} --key FILE",
            outcome.signatures, outcome.threshold
        );
    }
}

/// Asks on the terminal unless `yes`.
pub(crate) fn confirm(yes: bool, question: &str) -> Result<(), Failure> {
    if yes {
        return Ok(());
    }
    if !std::io::stdin().is_terminal() {
        return Err(Failure::usage("there is no terminal to confirm on: pass --yes to sign what is shown"));
    }
    print!("{question} [y/N] ");
    std::io::stdout().flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    if matches!(answer.trim(), "y" | "Y" | "yes") {
        return Ok(());
    }
    Err(Failure::refused("approve.declined", "not signed"))
}

/// Bytes of a document that is to gain a signature, never rewritten otherwise.
fn reopen(bytes: &[u8], role: &str) -> Result<Signed, Failure> {
    Signed::from_bytes(bytes).map_err(|e| {
        Failure::refused("approve.pending", format!("the pending version of {role} cannot be used: {e}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bundle_is_named_by_model_and_version() {
        let name: BundleName = "meter-digits@1.2.0".parse().unwrap();
        assert_eq!(name.to_string(), "meter-digits@1.2.0");
        for wrong in ["meter-digits", "meter-digits@", "@1.0.0", "Meter@1.0.0", "m@1.0", "m/n@1.0.0"] {
            assert!(wrong.parse::<BundleName>().is_err(), "{wrong}");
        }
    }
}
