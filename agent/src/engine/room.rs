//! Room for one more model under the engine's own memory limit. An allocation beyond it would end the process, and with it
//! every model that serves; a load that cannot fit is refused before it begins.

use longshore_runtime::MemoryFigures;
use longshore_wire::v1::Reason;

use super::load::reason;

/// What loading takes for each byte of the ONNX file: weights as decoded, and as the optimiser lays them out.
const COPIES: u64 = 2;
/// What loading takes besides.
const BASE_BYTES: u64 = 8 << 20;

/// How much memory there is, and how much of it is taken.
pub struct Room {
    limit_bytes: u64,
    figures: MemoryFigures,
}

impl Room {
    /// Opens the figures; call it before the sandbox stands.
    pub fn open(limit_bytes: u64) -> Self {
        Self { limit_bytes, figures: MemoryFigures::open() }
    }
    /// Whether a model whose file has `onnx_bytes` fits beside what is loaded.
    ///
    /// # Errors
    /// `engine.memory`, with the figures.
    pub fn for_model(&self, onnx_bytes: u64) -> Result<(), Reason> {
        let taken = self.figures.private_kib().unwrap_or(0).saturating_mul(1024);
        let wanted = onnx_bytes.saturating_mul(COPIES).saturating_add(BASE_BYTES);
        if taken.saturating_add(wanted) <= self.limit_bytes {
            return Ok(());
        }
        let mib = |bytes: u64| bytes >> 20;
        Err(reason(
            "engine.memory",
            format!(
                "loading it takes about {} MiB, and {} of {} MiB are in use; raise limits.serve_memory_bytes if the machine has the memory",
                mib(wanted),
                mib(taken),
                mib(self.limit_bytes)
            ),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_that_cannot_fit_is_refused_with_figures() {
        let room = Room::open(1 << 40);
        assert_eq!(room.for_model(1 << 20), Ok(()));
        let refused = room.for_model(1 << 40).unwrap_err();
        assert_eq!(refused.code, "engine.memory");
        assert!(refused.detail.contains("of 1048576 MiB"), "{}", refused.detail);
        assert!(Room::open(1 << 20).for_model(0).is_err(), "what is taken already counts");
    }
}
