//! Online backup and restore.
