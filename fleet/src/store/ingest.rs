//! What devices said, and what it changes.
