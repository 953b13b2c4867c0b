//! The console's assets: exactly what the npm lock file names, copied where the server embeds them from.

use anyhow::{Context as _, Result};

use crate::prerequisites;
use crate::run::{command, root, run};

/// Installs and copies, unless the lock file and our own sources are unchanged since the last time.
///
/// # Errors
/// When Node is missing or npm fails.
pub fn main() -> Result<()> {
    let dir = root().join("fleet/assets");
    let stamp = dir.join("dist/.stamp");
    let wanted = fingerprint(&dir)?;
    if std::fs::read_to_string(&stamp).is_ok_and(|s| s == wanted) {
        return Ok(());
    }
    prerequisites::node()?;
    let mut npm = command("npm", &["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]);
    npm.current_dir(&dir);
    run(npm)?;
    let mut build = command("node", &["build.mjs"]);
    build.current_dir(&dir);
    run(build)?;
    std::fs::write(&stamp, wanted).with_context(|| format!("cannot write {}", stamp.display()))
}

/// SHA-256 over names and contents of what the assets are made of.
fn fingerprint(dir: &std::path::Path) -> Result<String> {
    use sha2::Digest as _;
    let mut files = Vec::new();
    collect(dir, &mut files)?;
    files.sort();
    let mut hash = sha2::Sha256::new();
    for file in files {
        hash.update(file.to_string_lossy().as_bytes());
        hash.update(std::fs::read(&file)?);
    }
    Ok(hex::encode(hash.finalize()))
}

fn collect(dir: &std::path::Path, out: &mut Vec<std::path::PathBuf>) -> Result<()> {
    for entry in std::fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() && name != "node_modules" && name != "dist" {
            collect(&path, out)?;
        } else if path.is_file() {
            out.push(path);
        }
    }
    Ok(())
}
