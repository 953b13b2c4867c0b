//! Targets that break: a hunter that finds nothing must be shown to find something.

use crate::{Shape, Target};

const fn planted(name: &'static str, run: fn(&[u8])) -> Target {
    Target {
        name,
        promise: "none",
        shape: Shape::Bytes,
        memory_bytes: 256 << 20,
        inputs: 3_000,
        contained: false,
        seeds: || vec![b"abc".to_vec(), b"xyz-0123456789".to_vec()],
        run,
    }
}

/// Known to break.
pub const PLANTED: &[Target] = &[
    planted("planted-panic", |bytes| assert!(!bytes.starts_with(b"b"), "as planned")),
    planted("planted-memory", |bytes| {
        if bytes.contains(&0xff) {
            let mut taken = vec![0u8; 1 << 30];
            taken[bytes.len()] = 1;
            std::hint::black_box(&taken);
        }
    }),
    planted("planted-stack", |bytes| {
        if bytes.len() > 40 {
            std::hint::black_box(dig(bytes.len() as u64));
        }
    }),
];

#[allow(unconditional_recursion, reason = "that is what is planted")]
fn dig(n: u64) -> u64 {
    let room = std::hint::black_box([n; 64]);
    dig(room[3] + 1) + room[7]
}
