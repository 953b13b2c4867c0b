//! `longshore approve`.
use crate::context::{Context, Failure};

#[derive(clap::Args)]
pub struct Args {}

pub fn run(_context: &Context, _args: Args) -> Result<(), Failure> {
    Ok(())
}
