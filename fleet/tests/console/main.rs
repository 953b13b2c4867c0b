//! The console as a browser sees it: every page, empty and filled; who may see it; what its forms do.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail")]

mod app;
mod browser;
mod fill;
mod forms;
mod monitor;
mod pages;
mod security;
