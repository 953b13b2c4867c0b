//! The console's browser files are embedded; this says what to do when they have not been made yet.

use std::path::Path;

fn main() {
    let dist = Path::new("assets/dist");
    println!("cargo::rerun-if-changed=assets/dist");
    println!("cargo::rerun-if-changed=templates");
    for name in
        ["console.css", "console.js", "htmx.min.js", "htmx-sse.min.js", "idiomorph.min.js", "icon.svg"]
    {
        if !dist.join(name).is_file() {
            println!(
                "cargo::error=fleet/assets/dist/{name} is missing: run `cargo xtask assets` once (it needs node and npm; \
                 it installs the console's pinned browser packages and copies them there)"
            );
        }
    }
}
