//! HTTPS for devices.
