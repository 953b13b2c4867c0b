//! `longshore devices`.
use crate::context::{Context, Failure};

#[derive(clap::Subcommand)]
pub enum Command {}

pub fn run(_context: &Context, command: Command) -> Result<(), Failure> {
    match command {}
}
