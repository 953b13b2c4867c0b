//! The sandbox of the engine.
