//! Nonces for claims: random, bound to one token, good once and for two minutes, bounded in number.

use std::collections::HashMap;
use std::sync::Mutex;

use longshore_trust::{Digest, UnixMs};

/// How long a nonce is good, ms.
const LIFETIME_MS: u64 = 120_000;
/// Open nonces in all.
const MAX_OPEN: usize = 20_000;
/// Open nonces of one token.
const MAX_PER_TOKEN: usize = 256;

/// The open nonces of this process.
#[derive(Debug, Default)]
pub struct Nonces(Mutex<HashMap<[u8; 32], (Digest, UnixMs)>>);

impl Nonces {
    /// Opens the nonce `random` for a token; `None` when there are too many.
    pub fn open(&self, random: [u8; 32], token_hash: Digest, now: UnixMs) -> Option<[u8; 32]> {
        let mut open = self.0.lock().expect("nothing panics while it holds the nonces");
        open.retain(|_, (_, until)| *until > now);
        let of_token = open.values().filter(|(hash, _)| *hash == token_hash).count();
        if open.len() >= MAX_OPEN || of_token >= MAX_PER_TOKEN {
            return None;
        }
        open.insert(random, (token_hash, now.plus_ms(LIFETIME_MS)));
        Some(random)
    }
    /// Uses a nonce up. Whether it was open for this token.
    pub fn take(&self, nonce: &[u8; 32], token_hash: &Digest, now: UnixMs) -> bool {
        let mut open = self.0.lock().expect("nothing panics while it holds the nonces");
        match open.get(nonce) {
            Some((hash, until)) if hash == token_hash && *until > now => open.remove(nonce).is_some(),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nonce_serves_once_its_own_token_and_not_for_ever() {
        let nonces = Nonces::default();
        let (a, b) = (Digest::of(b"a"), Digest::of(b"b"));
        let t0 = UnixMs(1_000_000);
        assert!(nonces.open([1; 32], a, t0).is_some());
        assert!(!nonces.take(&[1; 32], &b, t0), "another token");
        assert!(!nonces.take(&[2; 32], &a, t0), "another nonce");
        assert!(nonces.take(&[1; 32], &a, t0));
        assert!(!nonces.take(&[1; 32], &a, t0), "twice");
        nonces.open([3; 32], a, t0);
        assert!(!nonces.take(&[3; 32], &a, t0.plus_ms(LIFETIME_MS)), "too late");
    }
    #[test]
    fn one_token_cannot_use_up_all_nonces() {
        let nonces = Nonces::default();
        let t0 = UnixMs(1);
        for n in 0..MAX_PER_TOKEN {
            let mut random = [0; 32];
            random[..8].copy_from_slice(&n.to_le_bytes());
            assert!(nonces.open(random, Digest::of(b"a"), t0).is_some());
        }
        assert!(nonces.open([9; 32], Digest::of(b"a"), t0).is_none());
        assert!(nonces.open([9; 32], Digest::of(b"b"), t0).is_some());
    }
}
