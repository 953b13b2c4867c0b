//! How slow a server may be: below a floor over a whole minute it is left, and the download goes on later from where it
//! was. A server that sends a byte now and then could otherwise keep a device busy until its assignment has expired.

use std::collections::VecDeque;
use std::time::Duration;

/// Slower than this is too slow, bytes a second.
pub const FLOOR_BYTES_S: u64 = 1024;
/// Over this span.
pub const SPAN: Duration = Duration::from_secs(60);
/// What came is kept in slices of the span, so that a fast beginning buys no slow end.
const SLICES: u32 = 12;

/// What came of one file in the last [`SPAN`]. Time is an argument, counted from whenever the caller likes.
#[derive(Debug)]
pub struct Pace {
    begun: Duration,
    /// Start of a slice, bytes in it.
    slices: VecDeque<(Duration, u64)>,
}

impl Pace {
    /// Begins now.
    #[must_use]
    pub fn new(now: Duration) -> Self {
        Self { begun: now, slices: VecDeque::new() }
    }
    /// `bytes` have come; whether the last [`SPAN`] was fast enough. Nothing is judged before the first one is over.
    pub fn keeps_up(&mut self, now: Duration, bytes: u64) -> bool {
        match self.slices.back_mut() {
            Some((start, sum)) if now.saturating_sub(*start) < SPAN / SLICES => *sum += bytes,
            _ => self.slices.push_back((now, bytes)),
        }
        while self.slices.front().is_some_and(|(start, _)| now.saturating_sub(*start) > SPAN) {
            self.slices.pop_front();
        }
        let came: u64 = self.slices.iter().map(|(_, sum)| sum).sum();
        now.saturating_sub(self.begun) < SPAN || came >= FLOOR_BYTES_S * SPAN.as_secs()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Seconds until a server that sends `bytes` every `every` seconds is left; `None`: not within an hour.
    fn left_after(bytes: u64, every: u64, head_start: u64) -> Option<u64> {
        let mut pace = Pace::new(Duration::ZERO);
        pace.keeps_up(Duration::ZERO, head_start);
        (every..=3600).step_by(every as usize).find(|s| !pace.keeps_up(Duration::from_secs(*s), bytes))
    }

    #[test]
    fn a_trickle_is_left_after_a_minute_and_the_floor_is_not() {
        assert_eq!(left_after(1, 10, 0), Some(60));
        assert_eq!(left_after(1000, 1, 0), Some(60));
        assert_eq!(left_after(1100, 1, 0), None);
        assert_eq!(left_after(30_000, 20, 0), None, "in bursts");
    }
    #[test]
    fn a_fast_beginning_buys_no_slow_end() {
        let left = left_after(1, 1, 100 << 20).unwrap();
        assert!((60..=70).contains(&left), "{left}");
    }
}
