//! Streams of sealed messages and their contiguous prefix.
