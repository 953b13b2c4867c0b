//! The registry of devices.
