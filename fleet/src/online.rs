//! The online keys.
