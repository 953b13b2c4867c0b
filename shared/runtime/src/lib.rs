//! The runtime: loads the model of a bundle and answers requests with it. The only crate that names tract, used by the
//! agent's engine, by `longshore bundle` and by the fleet's re-check, so that all three judge alike.
//!
//! Always true here: no panic of the engine leaves this crate (it becomes a typed error); the manifest's facts override
//! the ONNX file's; a model that is loaded takes only requests that fit its manifest; nothing is kept between requests.

#![forbid(unsafe_code)]

#[cfg(not(target_endian = "little"))]
compile_error!("tensors travel as little-endian bytes; a big-endian target needs a conversion in `convert`");

mod convert;
mod cpu;
pub mod describe;
pub mod doctor;
pub mod golden;
mod guard;
mod load;
mod locate;
mod memory;
mod predict;
mod recheck;
mod rewrite;
mod run;
mod steps;

pub use cpu::look_at_cpu;
pub use golden::{Deviation, GoldenError, GoldenReport};
pub use load::{Limits, LoadError, Model};
pub use longshore_bundle::{DType, Dim, Refusal, Tensor, TensorSpec};
pub use memory::MemoryFigures;
pub use predict::Prediction;
pub use recheck::{CheckError, CheckReport, Contents, recheck, recheck_bundle};
pub use run::RunError;
