//! `longshore keys`: makes and looks after the keys that a fleet trusts. Files only, but for `delegate`, `submit` and
//! `status`, which talk to the server.
//!
//! Always true here: nothing is overwritten; a private key that leaves this module for a file is encrypted unless the
//! user said otherwise in so many words; key files are readable by their owner only.

mod authority;
mod change;
mod current;
mod describe;
mod draft_file;
mod init;
mod new;
mod passphrase;
mod private;
mod show;
mod sign;
mod status;

use std::path::PathBuf;

use longshore_trust::{FleetId, ModelName};

pub use crate::keys::init::FleetFile;
#[cfg(test)]
pub use crate::keys::private::KeyFile;
pub use crate::keys::private::Keyring;

use crate::context::{Context, Failure};

/// `longshore keys …`
#[derive(clap::Subcommand)]
pub enum Command {
    /// Make all keys of a new fleet: 2-of-3 for root, targets and release, or 1-of-1 with --solo
    Init(InitArgs),
    /// Make one key, and its public half
    New(new::NewArgs),
    /// Show what a key file, a folder of keys or a draft holds (never the private part)
    Show(ShowArgs),
    /// Who must sign what, and until when it holds; exit code 4 when something expires within 30 days
    Status(status::StatusArgs),
    /// Draft: let keys of a role come or go, or raise its threshold
    Rotate(change::RotateArgs),
    /// Draft: take a key out of every role that names it
    Revoke(change::RevokeArgs),
    /// Draft: sign metadata anew before it expires
    Renew(change::RenewArgs),
    /// Add your signatures to a draft, after showing what it changes
    Sign(sign::SignArgs),
    /// Send a signed draft to the fleet, which publishes all of it in one step
    Submit(sign::SubmitArgs),
    /// Give a new model its role, so that the release keys can approve its versions
    Delegate(DelegateArgs),
}

/// `longshore keys init`
#[derive(clap::Args)]
pub struct InitArgs {
    /// Name of the fleet: a-z, 0-9, '-' and '_'
    #[arg(long, value_name = "NAME")]
    pub fleet: FleetId,
    /// One key a role instead of 2-of-3: for a person alone. The fleet is marked as solo until it is raised
    #[arg(long)]
    pub solo: bool,
    /// Folder to make [default: <fleet>-keys]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    #[command(flatten)]
    pub passphrase: NewPassphraseArgs,
}

/// How new keys are protected. Without either option the passphrase is asked for, twice.
#[derive(clap::Args)]
pub struct NewPassphraseArgs {
    /// Encrypt the offline keys with the first line of this file
    #[arg(long, value_name = "FILE", conflicts_with = "no_passphrase")]
    pub passphrase_file: Option<PathBuf>,
    /// Leave the offline keys unencrypted: whoever copies the files can approve models
    #[arg(long)]
    pub no_passphrase: bool,
}

/// `longshore keys show`
#[derive(clap::Args)]
pub struct ShowArgs {
    /// A key file, a folder made by `longshore keys init`, or a draft
    #[arg(value_name = "DIR|FILE")]
    pub path: PathBuf,
}

/// `longshore keys delegate`
#[derive(clap::Args)]
pub struct DelegateArgs {
    /// The model
    #[arg(value_name = "MODEL")]
    pub model: ModelName,
    #[command(flatten)]
    pub keys: SigningArgs,
    /// Do not ask before signing
    #[arg(long)]
    pub yes: bool,
}

/// Which private keys a command signs with.
#[derive(Debug, Clone, clap::Args)]
pub struct SigningArgs {
    /// Folder with key files: the one made by `longshore keys init`, or any folder of *.key files
    #[arg(long, value_name = "DIR", required_unless_present = "key")]
    pub keys: Option<PathBuf>,
    /// One key file; may be given several times
    #[arg(long, value_name = "FILE")]
    pub key: Vec<PathBuf>,
    /// Passphrase of encrypted keys: the first line of this file [default: it is asked for]
    #[arg(long, value_name = "FILE")]
    pub passphrase_file: Option<PathBuf>,
}

/// Runs it.
pub fn run(context: &Context, command: Command) -> Result<(), Failure> {
    match command {
        Command::Init(args) => init::run(context, &args),
        Command::New(args) => new::run(context, &args),
        Command::Status(args) => status::run(context, &args),
        Command::Rotate(args) => change::rotate(context, &args),
        Command::Revoke(args) => change::revoke(context, &args),
        Command::Renew(args) => change::renew(context, &args),
        Command::Sign(args) => sign::sign(context, &args),
        Command::Submit(args) => sign::submit(context, &args),
        Command::Show(args) => show::run(context, &args.path),
        Command::Delegate(args) => crate::approve::delegate(context, &args.model, &args.keys, args.yes),
    }
}

/// The keys of a solo fleet, unencrypted, in `dir`.
#[cfg(test)]
pub fn made_for_tests(dir: &std::path::Path, fleet: &str) -> PathBuf {
    let out = dir.join("keys");
    std::fs::create_dir_all(dir).unwrap();
    init::make_in(&out, &fleet.parse().unwrap(), true);
    out
}
