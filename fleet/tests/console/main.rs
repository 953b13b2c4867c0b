//! The console as a browser sees it: every page, empty and filled; who may see it; what its forms do.

mod app;
mod browser;
mod fill;
mod forms;
mod pages;
mod security;
