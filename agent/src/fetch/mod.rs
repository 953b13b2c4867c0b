//! Getting bytes from the fleet: trust metadata and the files of bundles, over HTTPS with the fleet's CA pinned.
//!
//! The transport is never trusted: every byte is held against verified metadata before it is used, a file is complete
//! only after it was hashed again from the disk, and a stream is cut at the length that was signed.

mod bundle;
mod file;
mod http;
mod metadata;
mod pace;

pub use bundle::{BundleJob, CANCELLED, bundle_dir, collect, verify_bundle};
pub use file::{FileError, Limits, RangeReply, RangeSource, fetch_file};
pub use http::{HttpError, Remote};
pub use metadata::{load_trusted, refresh, view_of};
pub use pace::{FLOOR_BYTES_S, Pace, SPAN};
