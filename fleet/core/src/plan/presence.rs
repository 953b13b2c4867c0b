//! When a device is there: how often it was heard of in each hour of the week.

/// Hours of a week.
pub const HOURS_A_WEEK: usize = 168;

/// How often a device was heard of in each hour of the week, UTC.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Presence {
    /// The first hour it was watched, since 1970.
    pub since_hour: u64,
    /// In how many weeks it was heard of in this hour; hour 0 is Thursday, 00:00. Counts stop at 255.
    pub heard: Box<[u8; HOURS_A_WEEK]>,
}

impl Presence {
    /// Of a device that is watched from this hour on.
    #[must_use]
    pub fn new(hour: u64) -> Self {
        Self { since_hour: hour, heard: Box::new([0; HOURS_A_WEEK]) }
    }
    /// It was heard of in this hour, for the first time.
    pub fn heard_in(&mut self, hour: u64) {
        let n = &mut self.heard[place(hour)];
        *n = n.saturating_add(1);
    }
    /// The share of weeks in which it was heard of in this hour of the week, as known at `now_hour`; `None` when that hour
    /// has never come since it is watched.
    #[must_use]
    pub fn share(&self, hour: u64, now_hour: u64) -> Option<f64> {
        let wanted = place(hour) as u64;
        let first = (wanted + HOURS_A_WEEK as u64 - place(self.since_hour) as u64) % HOURS_A_WEEK as u64;
        let watched = now_hour.checked_sub(self.since_hour)?;
        let weeks = (watched + 1).checked_sub(first + 1)? / HOURS_A_WEEK as u64 + 1;
        let heard = self.heard[place(hour)];
        // A count that has reached its end says nothing of what came after.
        let weeks = if heard == u8::MAX { u64::from(heard) } else { weeks };
        Some((f64::from(heard) / weeks as f64).min(1.0))
    }
}

fn place(hour: u64) -> usize {
    (hour % HOURS_A_WEEK as u64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_of_an_hour_is_known_once_it_has_come() {
        let mut p = Presence::new(1_000);
        p.heard_in(1_000);
        assert_eq!(p.share(1_000, 1_000), Some(1.0));
        assert_eq!(p.share(1_001, 1_000), None, "that hour has not come yet");
        assert_eq!(p.share(1_001, 1_001), Some(0.0));
        assert_eq!(p.share(999, 1_000), None);
        // A week on it was not there.
        assert_eq!(p.share(1_000, 1_168), Some(0.5));
        p.heard_in(1_168);
        assert_eq!(p.share(1_000 + 10 * 168, 1_168), Some(1.0));
        assert_eq!(p.share(1_000, 900), None, "a clock that was set back");
    }
    #[test]
    fn counts_stop_at_their_end() {
        let mut p = Presence::new(0);
        for week in 0..1000u64 {
            p.heard_in(week * 168);
        }
        assert_eq!(p.share(0, 999 * 168), Some(1.0));
    }
}
