//! Where passphrases come from: a file's first line, or the terminal.

use std::io::IsTerminal as _;
use std::path::Path;

use zeroize::Zeroizing;

use super::NewPassphraseArgs;
use crate::context::Failure;

/// Shortest passphrase accepted for new keys, in characters (NIST SP 800-63B, 5.1.1.1).
const MIN_CHARS: usize = 8;

/// The passphrase for new keys; `None` when the user chose to have none.
pub(super) fn for_new_keys(args: &NewPassphraseArgs) -> Result<Option<Zeroizing<String>>, Failure> {
    if args.no_passphrase {
        return Ok(None);
    }
    let passphrase = match &args.passphrase_file {
        Some(file) => from_file(file)?,
        None => {
            let first = ask("Passphrase for the new keys: ", "--passphrase-file FILE or --no-passphrase")?;
            if *ask("The same again: ", "--passphrase-file FILE")? != *first {
                return Err(Failure::usage("the two passphrases differ; nothing was made"));
            }
            first
        }
    };
    if passphrase.chars().count() < MIN_CHARS {
        return Err(Failure::usage(format!(
            "the passphrase is shorter than {MIN_CHARS} characters; nothing was made. Take several words."
        )));
    }
    Ok(Some(passphrase))
}

/// The first line of `file`.
pub(super) fn from_file(file: &Path) -> Result<Zeroizing<String>, Failure> {
    let text = std::fs::read_to_string(file).map(Zeroizing::new);
    let text =
        text.map_err(|e| Failure::usage(format!("cannot read the passphrase file {}: {e}", file.display())))?;
    let line = text.lines().next().unwrap_or_default();
    if line.is_empty() {
        return Err(Failure::usage(format!(
            "the passphrase file {} begins with an empty line; put the passphrase in its first line",
            file.display()
        )));
    }
    Ok(Zeroizing::new(line.to_owned()))
}

/// Asks on the terminal, without echo. `instead` says what to do where there is none.
pub(super) fn ask(prompt: &str, instead: &str) -> Result<Zeroizing<String>, Failure> {
    if !std::io::stdin().is_terminal() {
        return Err(Failure::usage(format!(
            "a passphrase is needed and there is no terminal to ask on: pass {instead}"
        )));
    }
    rpassword::prompt_password(prompt)
        .map(Zeroizing::new)
        .map_err(|e| Failure::refused("io", format!("cannot read the passphrase: {e}")))
}
