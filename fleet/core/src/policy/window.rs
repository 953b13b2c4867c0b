//! Maintenance windows: when devices may take a version, each in its own time zone.
//!
//! A window opens at each moment its cron pattern names on the clock of the device's zone, and stays open for a length of
//! real time. A moment that a zone skips in spring opens the window when the clock goes on; one that it shows twice in
//! autumn opens it once.

use std::str::FromStr as _;

use croner::Cron;
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};
use longshore_trust::UnixMs;
use serde::{Deserialize, Serialize};

/// A maintenance window, in each device's own zone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// When it opens: minute, hour, day of month, month, day of week.
    pub cron: String,
    /// How long it stays open, ms.
    pub duration_ms: u64,
}

/// A window that is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Opening {
    /// Since when.
    pub from: UnixMs,
    /// When it closes; not in it any more.
    pub until: UnixMs,
}

/// A window whose pattern was read.
#[derive(Debug, Clone)]
pub struct Schedule {
    cron: Cron,
    duration_ms: u64,
}

/// Why a pattern cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ScheduleError(String);

impl Window {
    /// Reads the pattern.
    ///
    /// # Errors
    /// [`ScheduleError`] when it is none, or names no moment that ever comes.
    pub fn schedule(&self) -> Result<Schedule, ScheduleError> {
        let fields = self.cron.split_whitespace().count();
        if fields != 5 {
            return Err(ScheduleError(format!(
                "cron = {:?} has {fields} fields; it needs five (minute, hour, day of month, month, day of week), for \
                 example \"0 1 * * *\" for 01:00 each night",
                self.cron
            )));
        }
        let cron = Cron::from_str(&self.cron).map_err(|e| {
            ScheduleError(format!(
                "cron = {:?} cannot be read ({e}); write for example \"0 1 * * *\" for 01:00 each night",
                self.cron
            ))
        })?;
        let schedule = Schedule { cron, duration_ms: self.duration_ms };
        match schedule.next(UnixMs(1_767_225_600_000), &TimeZone::UTC) {
            Some(_) => Ok(schedule),
            None => Err(ScheduleError(format!(
                "cron = {:?} names a moment that never comes: the window would never open",
                self.cron
            ))),
        }
    }
}

fn zoned(at: UnixMs, zone: &TimeZone) -> Option<Zoned> {
    let ms = i64::try_from(at.0).ok()?;
    Some(Timestamp::from_millisecond(ms).ok()?.to_zoned(zone.clone()))
}
fn unix(at: &Zoned) -> Option<UnixMs> {
    u64::try_from(at.timestamp().as_millisecond()).ok().map(UnixMs)
}

impl Schedule {
    /// The opening that `now` is in, if the window is open in this zone.
    #[must_use]
    pub fn open(&self, now: UnixMs, zone: &TimeZone) -> Option<Opening> {
        let from = unix(&self.cron.find_previous_occurrence(&zoned(now, zone)?, true).ok()?)?;
        let until = from.plus_ms(self.duration_ms);
        (from <= now && now < until).then_some(Opening { from, until })
    }
    /// When the window opens next in this zone, strictly after `now`.
    #[must_use]
    pub fn next(&self, now: UnixMs, zone: &TimeZone) -> Option<UnixMs> {
        unix(&self.cron.find_next_occurrence(&zoned(now, zone)?, false).ok()?)
    }
    /// How long a device may have to wait for the window, at the longest seen over a year from `now`, ms.
    #[must_use]
    pub fn longest_wait_ms(&self, now: UnixMs, zone: &TimeZone) -> u64 {
        let (mut at, mut longest) = (now, 0);
        for _ in 0..400 {
            let Some(next) = self.next(at, zone) else { return u64::MAX };
            longest = longest.max(next.since(at.plus_ms(if at == now { 0 } else { self.duration_ms })));
            at = next;
            if at.since(now) > 370 * 86_400_000 {
                break;
            }
        }
        longest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(cron: &str, hours: u64) -> Schedule {
        Window { cron: cron.to_owned(), duration_ms: hours * 3_600_000 }.schedule().unwrap()
    }
    fn at(text: &str) -> UnixMs {
        UnixMs(text.parse::<Timestamp>().unwrap().as_millisecond() as u64)
    }
    /// Central Europe, as a rule: needs no files.
    fn berlin() -> TimeZone {
        TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap()
    }

    #[test]
    fn a_window_is_open_in_each_zone_at_its_own_time() {
        let nights = window("0 1 * * *", 3);
        let tokyo = TimeZone::posix("JST-9").unwrap();
        for (moment, utc, tokyo_open) in [
            ("2026-06-10T00:59:59Z", false, false),
            ("2026-06-10T01:00:00Z", true, false),
            ("2026-06-10T03:59:59Z", true, false),
            ("2026-06-10T04:00:00Z", false, false),
            ("2026-06-09T16:00:00Z", false, true),
        ] {
            assert_eq!(nights.open(at(moment), &TimeZone::UTC).is_some(), utc, "{moment} UTC");
            assert_eq!(nights.open(at(moment), &tokyo).is_some(), tokyo_open, "{moment} Tokyo");
        }
        let open = nights.open(at("2026-06-10T02:00:00Z"), &TimeZone::UTC).unwrap();
        assert_eq!((open.from, open.until), (at("2026-06-10T01:00:00Z"), at("2026-06-10T04:00:00Z")));
        assert_eq!(nights.next(at("2026-06-10T01:00:00Z"), &TimeZone::UTC), Some(at("2026-06-11T01:00:00Z")));
    }

    #[test]
    fn a_moment_that_is_skipped_in_spring_opens_the_window_when_the_clock_goes_on() {
        // 2026-03-29: 02:00 CET becomes 03:00 CEST, at 01:00 UTC.
        let nights = window("30 2 * * *", 2);
        let from = nights.open(at("2026-03-29T01:45:00Z"), &berlin()).unwrap();
        assert!(
            from.from >= at("2026-03-29T01:00:00Z") && from.from <= at("2026-03-29T01:30:00Z"),
            "{from:?}"
        );
        assert_eq!(from.until.since(from.from), 2 * 3_600_000, "real time, not the clock's");
        assert!(nights.open(at("2026-03-29T00:59:00Z"), &berlin()).is_none());
        assert_eq!(nights.next(at("2026-03-28T12:00:00Z"), &berlin()), Some(from.from));
        // The night after is as usual: 02:30 CEST.
        assert_eq!(nights.next(at("2026-03-29T12:00:00Z"), &berlin()), Some(at("2026-03-30T00:30:00Z")));
    }

    #[test]
    fn a_moment_that_comes_twice_in_autumn_opens_the_window_once() {
        // 2026-10-25: 03:00 CEST becomes 02:00 CET, at 01:00 UTC: 02:30 is shown at 00:30 and at 01:30 UTC.
        let nights = window("30 2 * * *", 1);
        let first = nights.next(at("2026-10-24T12:00:00Z"), &berlin()).unwrap();
        assert_eq!(first, at("2026-10-25T00:30:00Z"));
        assert_eq!(
            nights.next(first, &berlin()),
            Some(at("2026-10-26T01:30:00Z")),
            "the next one is a day on"
        );
        assert!(nights.open(at("2026-10-25T01:29:00Z"), &berlin()).is_some());
        assert!(nights.open(at("2026-10-25T01:31:00Z"), &berlin()).is_none(), "an hour of real time is over");
    }

    #[test]
    fn a_window_over_the_change_of_the_clock_keeps_its_length() {
        let nights = window("0 1 * * *", 4);
        // Opens 00:00 UTC (01:00 CET), and four hours are four hours.
        let open = nights.open(at("2026-03-29T02:00:00Z"), &berlin()).unwrap();
        assert_eq!((open.from, open.until), (at("2026-03-29T00:00:00Z"), at("2026-03-29T04:00:00Z")));
    }

    #[test]
    fn impossible_patterns_are_refused_with_what_would_be_right() {
        for cron in ["", "1 2 3", "0 0 1 * * *", "61 * * * *", "x * * * *", "0 0 30 2 *"] {
            let e = Window { cron: cron.to_owned(), duration_ms: 1 }.schedule().unwrap_err().to_string();
            assert!(e.contains("0 1 * * *") || e.contains("never"), "{cron}: {e}");
        }
    }

    #[test]
    fn the_longest_wait_is_known() {
        let weekly = window("0 1 * * 0", 3);
        let wait = weekly.longest_wait_ms(at("2026-06-10T00:00:00Z"), &TimeZone::UTC);
        assert_eq!(wait, (7 * 24 - 3) * 3_600_000);
    }
}
