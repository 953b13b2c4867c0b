//! `longshore-sim`: plays scenarios.

#![forbid(unsafe_code)]

fn main() {}
