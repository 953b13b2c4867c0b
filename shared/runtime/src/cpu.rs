//! What the engine has to know of the CPU.

/// Looks at the CPU once: its features and caches, some of which are files under `/proc` and `/sys`. Call it before a
/// sandbox closes the file system; kernels for an unknown CPU are slower.
pub fn look_at_cpu() {
    use tract_onnx::prelude::tract_linalg;
    let _ = tract_linalg::isa::native();
    let _ = tract_linalg::cache::cache_info();
    let _ = tract_linalg::cache::last_level_cache();
}
