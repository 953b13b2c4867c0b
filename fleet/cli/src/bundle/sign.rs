//! `longshore bundle sign`: an OpenSSF Model Signing signature of the whole directory, as `model.sig` in it.

use std::path::PathBuf;

use longshore_bundle::{SIGNATURE, read_dir};
use serde_json::json;

use super::refused;
use crate::context::{Context, Failure};
use crate::oms;

/// What to sign, with what.
#[derive(clap::Args)]
pub struct Args {
    /// Directory of the bundle
    dir: PathBuf,
    /// Private EC key, PEM: P-256, P-384 or P-521 (`openssl ecparam -name prime256v1 -genkey -noout -out author.pem`)
    #[arg(long, value_name = "PEM")]
    private_key: PathBuf,
}

/// Signs a bundle whose files are what its manifest says.
pub fn run(context: &Context, args: &Args) -> Result<(), Failure> {
    let bundle = read_dir(&args.dir).map_err(|e| refused(&e))?;
    let key = oms::private_key(&args.private_key)?;
    let out = args.dir.join(SIGNATURE);
    let request = oms::Sign { model: &args.dir, out: &out, key: &key, ignore: &[], follow_links: false };
    let model = oms::sign(context, &request)?;
    if context.json() {
        println!(
            "{}",
            json!({ "ok": true, "digest": bundle.digest, "signature": out, "files": model.files.len() })
        );
    } else {
        println!(
            "Signed {}@{} ({} files) into {}. Any tool of OpenSSF Model Signing can check it:\n  \
             model_signing verify key {} --signature {} --public-key PUBLIC.pem",
            bundle.manifest.model,
            bundle.manifest.version,
            model.files.len(),
            out.display(),
            args.dir.display(),
            out.display()
        );
    }
    Ok(())
}
