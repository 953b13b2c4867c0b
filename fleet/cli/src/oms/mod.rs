//! `longshore oms`: OpenSSF Model Signing v1.0 of any directory or file, with an EC key.
//!
//! The options are those of the conformance adapters of that specification.

mod files;

use std::path::{Path, PathBuf};

use longshore_bundle::oms::{self, Mismatch, Model, OmsError, PrivateKey, PublicKey};
use serde_json::json;

use crate::context::{Context, Failure};
use files::Tree;

/// What can be done with model signatures.
#[derive(clap::Subcommand)]
pub enum Command {
    /// Hash every file of a model and sign the list
    SignModel(SignArgs),
    /// Check a signature, and that the model's files are those that were signed
    VerifyModel(VerifyArgs),
}

/// How signatures are made.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub enum Method {
    /// With an EC key (P-256, P-384 or P-521)
    Key,
}

/// What to sign.
#[derive(clap::Args)]
pub struct SignArgs {
    /// How to sign
    #[arg(long, value_enum, default_value = "key")]
    method: Method,
    /// The model: a directory, or one file
    #[arg(long, value_name = "PATH")]
    model_path: PathBuf,
    /// Where the signature goes; inside the model it leaves itself out
    #[arg(long, value_name = "FILE")]
    output_bundle: PathBuf,
    /// Private key, PEM (`openssl ecparam -name prime256v1 -genkey -noout`)
    #[arg(long, value_name = "PEM")]
    private_key: PathBuf,
    /// A path to leave out, with all below it: absolute, or relative to the model (may be repeated)
    #[arg(long, value_name = "PATH")]
    ignore_paths: Vec<PathBuf>,
    /// Sign the files that symbolic links lead to, as long as they lie inside the model
    #[arg(long)]
    allow_symlinks: bool,
}

/// What to check.
#[derive(clap::Args)]
pub struct VerifyArgs {
    /// How it was signed
    #[arg(long, value_enum, default_value = "key")]
    method: Method,
    /// The model: a directory, or one file
    #[arg(long, value_name = "PATH")]
    model_path: PathBuf,
    /// The signature
    #[arg(long, value_name = "FILE")]
    bundle: PathBuf,
    /// Public key, PEM
    #[arg(long, value_name = "PEM")]
    public_key: PathBuf,
    /// A path to leave out besides those that the signature names (may be repeated)
    #[arg(long, value_name = "PATH")]
    ignore_paths: Vec<PathBuf>,
    /// Accept files that were not signed
    #[arg(long)]
    ignore_unsigned_files: bool,
}

/// Runs one of them.
pub fn run(context: &Context, command: Command) -> Result<(), Failure> {
    match command {
        Command::SignModel(a) => {
            let Method::Key = a.method;
            let request = Sign {
                model: &a.model_path,
                out: &a.output_bundle,
                key: &private_key(&a.private_key)?,
                ignore: &a.ignore_paths,
                follow_links: a.allow_symlinks,
            };
            let model = sign(context, &request)?;
            said(context, &model, &format!("Signed {} file(s) of {}", model.files.len(), model.name))
        }
        Command::VerifyModel(a) => {
            let Method::Key = a.method;
            let check = Check { ignore: &a.ignore_paths, lenient: a.ignore_unsigned_files };
            let model = verify(context, &a.model_path, &a.bundle, &public_key(&a.public_key)?, &check)?;
            said(
                context,
                &model,
                &format!("{} file(s) of {} are those that were signed", model.files.len(), model.name),
            )
        }
    }
}

fn said(context: &Context, model: &Model, text: &str) -> Result<(), Failure> {
    if context.json() {
        println!(
            "{}",
            json!({ "ok": true, "model": model.name, "files": model.files, "digest": model.digest(), "ignored": model.ignored })
        );
    } else {
        println!("{text}; digest {}", model.digest());
    }
    Ok(())
}

fn refused(e: &OmsError) -> Failure {
    Failure::refused(e.code(), e.to_string())
}

fn pem(path: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(path)
        .map_err(|e| Failure::usage(format!("cannot read the key {}: {e}", path.display())))
}
/// Reads a private key.
pub fn private_key(path: &Path) -> Result<PrivateKey, Failure> {
    let text = zeroize::Zeroizing::new(pem(path)?);
    PrivateKey::from_pem(&text).map_err(|e| Failure::refused(e.code(), format!("{}: {e}", path.display())))
}
/// Reads a public key.
pub fn public_key(path: &Path) -> Result<PublicKey, Failure> {
    PublicKey::from_pem(&pem(path)?)
        .map_err(|e| Failure::refused(e.code(), format!("{}: {e}", path.display())))
}

/// What to sign, with what.
pub struct Sign<'a> {
    /// Directory or file.
    pub model: &'a Path,
    /// The signature file.
    pub out: &'a Path,
    /// The key.
    pub key: &'a PrivateKey,
    /// Left out.
    pub ignore: &'a [PathBuf],
    /// Whether links are followed.
    pub follow_links: bool,
}

/// Signs a model.
pub fn sign(context: &Context, request: &Sign<'_>) -> Result<Model, Failure> {
    let tree = Tree::open(request.model)?;
    let mut ignored: Vec<String> = oms::GIT_PATHS.map(str::to_owned).into();
    ignored.extend(request.ignore.iter().chain([&request.out.to_owned()]).filter_map(|p| tree.relative(p)));
    let paths = tree.list(&ignored, request.follow_links)?;
    let files = tree.hash(&paths, context.json())?;
    let model = Model { name: tree.name().to_owned(), files, ignored, follow_links: request.follow_links };
    let bundle = oms::sign(&model, request.key).map_err(|e| refused(&e))?;
    crate::trust_store::write_durably(request.out, bundle.as_bytes())
        .map_err(|e| Failure::refused("io", format!("cannot write {}: {e}", request.out.display())))?;
    Ok(model)
}

/// How strict a check is.
pub struct Check<'a> {
    /// Left out besides what the signature leaves out.
    pub ignore: &'a [PathBuf],
    /// Files that were not signed are no matter.
    pub lenient: bool,
}

/// Checks a model against its signature.
pub fn verify(
    context: &Context,
    model: &Path,
    bundle: &Path,
    key: &PublicKey,
    check: &Check<'_>,
) -> Result<Model, Failure> {
    let length = std::fs::metadata(bundle).map_or(0, |m| m.len());
    if length > oms::MAX_BUNDLE_BYTES as u64 {
        return Err(refused(&OmsError::Malformed(format!(
            "it is longer than {} bytes",
            oms::MAX_BUNDLE_BYTES
        ))));
    }
    let bytes = std::fs::read(bundle)
        .map_err(|e| Failure::usage(format!("cannot read the signature {}: {e}", bundle.display())))?;
    let mut signed = oms::verify(&bytes, key).map_err(|e| refused(&e))?;
    let tree = Tree::open(model)?;
    if tree.is_file()
        && let Some(digest) = signed.files.remove(".")
    {
        // The oldest signatures name a model of one file so.
        signed.files.insert(tree.name().to_owned(), digest);
    }
    let mut ignored = signed.ignored.clone();
    ignored.extend(oms::GIT_PATHS.map(str::to_owned));
    ignored.extend(check.ignore.iter().chain([&bundle.to_owned()]).filter_map(|p| tree.relative(p)));
    let paths = if check.lenient {
        tree.pick(signed.files.keys(), signed.follow_links)?
    } else {
        tree.list(&ignored, signed.follow_links)?
    };
    let found = tree.hash(&paths, context.json())?;
    let mismatch = signed.compare(&found);
    if mismatch.is_empty() { Ok(signed) } else { Err(differs(model, &mismatch)) }
}

fn differs(model: &Path, m: &Mismatch) -> Failure {
    let mut parts = Vec::new();
    for (what, names) in [("changed", &m.changed), ("missing", &m.missing), ("not signed", &m.extra)] {
        if !names.is_empty() {
            let shown: Vec<&str> = names.iter().take(10).map(String::as_str).collect();
            let more = names.len().saturating_sub(shown.len());
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            parts.push(format!("{what}: {}{more}", shown.join(", ")));
        }
    }
    let text = format!("{} is not the model that was signed; {}", model.display(), parts.join("; "));
    Failure::refused("oms.mismatch", text)
}
