//! What was done by whom.
