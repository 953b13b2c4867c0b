//! Counter pages: shared between engine and supervisor, so that killing any process loses no count.
