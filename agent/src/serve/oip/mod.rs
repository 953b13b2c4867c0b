//! The Open Inference Protocol v2 (KServe, Triton) over HTTP: bytes to tensors and back, JSON and the binary tensor
//! extension. Pure: no socket, no model, no clock.

mod data;
mod request;
mod response;

pub use request::{InferRequest, LabelValue, Wanted, parse};
pub use response::{Attributions, Encoded, ResponseHead, encode};

/// The header that says how many bytes of a body are JSON; binary tensors follow.
pub const HEADER_LENGTH: &str = "inference-header-content-length";
