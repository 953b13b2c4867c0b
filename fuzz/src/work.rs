//! The child of a hunt: makes inputs and runs them, after writing down which one it is about to run.

use std::io::{Seek as _, Write as _};
use std::path::Path;

use longshore_sandbox::{Limits, Memory};

use crate::{Target, mutate, seeds};

/// Runs inputs `from..to`; the number of the present one is in the file `mark`. Whatever a target does wrong ends the process.
///
/// # Errors
/// When the mark cannot be written or the limits cannot be set.
pub fn work(target: &Target, seed: u64, from: u64, to: u64, mark: &Path) -> anyhow::Result<()> {
    let seeds = seeds(target);
    let mut mark = std::fs::File::options().write(true).open(mark)?;
    longshore_runtime::look_at_cpu();
    let memory = Some(Memory::AddressSpace(target.memory_bytes));
    let limits = Limits { memory, cpu_s: None, files: 64, file_bytes: None };
    longshore_sandbox::limit(&limits).map_err(anyhow::Error::msg)?;
    for i in from..to {
        mark.rewind()?;
        mark.write_all(&i.to_le_bytes())?;
        (target.run)(&mutate::input(&seeds, target.shape, seed, i));
    }
    mark.rewind()?;
    mark.write_all(&to.to_le_bytes())?;
    Ok(())
}
