//! `longshore-fleet`: the server and its maintenance commands.

use std::process::ExitCode;

fn main() -> ExitCode {
    longshore_fleet::serve::main()
}
