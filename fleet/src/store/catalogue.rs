//! Models, versions, aliases.
