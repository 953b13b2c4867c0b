//! People, tokens, sessions.
