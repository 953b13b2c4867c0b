//! What this device saw of the fleet's audit log, for it to say later.
//!
//! Every checkpoint that came with a receipt is said in the next report, and the last one that was said is said again: so a
//! log that is rewritten between two reports is held against what was signed before. Nothing is judged here; the fleet, an
//! auditor, or both compare.

use longshore_trust::log::LogHead;

/// Most checkpoints that are remembered. When more come between two reports, the oldest stay and the newest.
pub const MAX: usize = 8;

/// Takes a checkpoint; whether anything changed.
pub fn saw(seen: &mut Vec<LogHead>, head: LogHead) -> bool {
    if seen.contains(&head) {
        return false;
    }
    if seen.len() >= MAX {
        seen.truncate(MAX - 1);
    }
    seen.push(head);
    true
}

/// These were put into a report: only the last of them is still needed, and what came after it.
pub fn said(seen: &mut Vec<LogHead>, reported: &[LogHead]) -> bool {
    let last = reported.last().and_then(|last| seen.iter().position(|h| h == last));
    match last {
        Some(at) if at > 0 => {
            seen.drain(..at);
            true
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use longshore_trust::Digest;

    fn head(n: u64) -> LogHead {
        LogHead { epoch: 1, size: n, root: Digest::of(&n.to_be_bytes()), signature: ([0; 32], [0; 32]) }
    }
    fn sizes(seen: &[LogHead]) -> Vec<u64> {
        seen.iter().map(|h| h.size).collect()
    }

    #[test]
    fn what_was_said_last_is_said_again_with_all_that_came_since() {
        let mut seen = Vec::new();
        assert!(saw(&mut seen, head(1)) && saw(&mut seen, head(2)));
        assert!(!saw(&mut seen, head(2)), "the same again is no news");
        let report = seen.clone();
        saw(&mut seen, head(3));
        assert!(said(&mut seen, &report));
        assert_eq!(sizes(&seen), [2, 3]);
        let report = seen.clone();
        assert!(said(&mut seen, &report) && !said(&mut seen, &report));
        assert_eq!(sizes(&seen), [3]);
    }
    #[test]
    fn too_many_between_two_reports_keep_the_oldest_and_the_newest() {
        let mut seen = Vec::new();
        for n in 1..=30 {
            saw(&mut seen, head(n));
            assert!(seen.len() <= MAX);
        }
        assert_eq!(sizes(&seen), [1, 2, 3, 4, 5, 6, 7, 30]);
    }
    #[test]
    fn a_report_of_something_else_forgets_nothing() {
        let mut seen = vec![head(4), head(5)];
        assert!(!said(&mut seen, &[head(9)]) && !said(&mut seen, &[]));
        assert_eq!(sizes(&seen), [4, 5]);
    }
}
