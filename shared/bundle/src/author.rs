//! Making a bundle.
