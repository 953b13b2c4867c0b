//! The TUF client against a repository that we can break at will. One name, one behaviour.

// What a helper of a test cannot do is a failed test.
#![allow(clippy::unwrap_used)]

#[path = "tuf/repo.rs"]
mod repo;

#[path = "tuf/attacks.rs"]
mod attacks;
#[path = "tuf/ceremony.rs"]
mod ceremony;
#[path = "tuf/delegations.rs"]
mod delegations;
#[path = "tuf/editing.rs"]
mod editing;
#[path = "tuf/json.rs"]
mod json;
#[path = "tuf/keys.rs"]
mod keys;
#[path = "tuf/mutation.rs"]
mod mutation;
#[path = "tuf/offline.rs"]
mod offline;
#[path = "tuf/workflow.rs"]
mod workflow;
