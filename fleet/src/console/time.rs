//! Points in time as the console shows them: UTC in ISO form, and how long ago by the server's clock.

use std::fmt;

use askama::filters::HtmlSafe;
use longshore_trust::UnixMs;

/// A point in time, seen from `now`. Displays as HTML: the exact time and the distance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct When {
    at: UnixMs,
    now: UnixMs,
}

/// The same in little room: the distance, with the exact time as its title. Displays as HTML.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ago(When);

impl When {
    /// `at_ms` as the database has it.
    pub(super) fn new(at_ms: i64, now: UnixMs) -> Self {
        Self { at: UnixMs(u64::try_from(at_ms).unwrap_or(0)), now }
    }
    /// For tables.
    pub(super) fn brief(self) -> Ago {
        Ago(self)
    }
    /// `2026-11-23T07:01:02Z`.
    pub(super) fn iso(self) -> String {
        iso(self.at)
    }
    /// `2026-11-23 07:01:02 UTC`.
    fn long(self) -> String {
        let text = self.iso();
        format!("{} UTC", text.trim_end_matches('Z').replace('T', " "))
    }
    /// `3 min ago`, `in 2 d`.
    pub(super) fn relative(self) -> String {
        if self.at <= self.now {
            format!("{} ago", span(self.now.since(self.at)))
        } else {
            format!("in {}", span(self.at.since(self.now)))
        }
    }
}

/// A time in ISO form, to the second.
pub(super) fn iso(at: UnixMs) -> String {
    i64::try_from(at.secs())
        .ok()
        .and_then(|s| jiff::Timestamp::from_second(s).ok())
        .map_or_else(|| at.to_string(), |t| t.to_string())
}

/// A length of time in its greatest whole unit: `42 s`, `3 min`, `5 h`, `12 d`.
pub(super) fn span(ms: u64) -> String {
    let s = ms / 1000;
    match s {
        0..60 => format!("{s} s"),
        60..3_600 => format!("{} min", s / 60),
        3_600..86_400 => format!("{} h", s / 3_600),
        _ => format!("{} d", s / 86_400),
    }
}

impl fmt::Display for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "<span class=\"nowrap\">{}</span> <span class=\"soft\">(<time datetime=\"{}\" data-relative>{}</time>)</span>",
            self.long(),
            self.iso(),
            self.relative()
        )
    }
}
impl fmt::Display for Ago {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "<time class=\"nowrap\" datetime=\"{}\" title=\"{}\" data-relative>{}</time>",
            self.0.iso(),
            self.0.long(),
            self.0.relative()
        )
    }
}
// Both write digits, units and fixed markup only.
impl HtmlSafe for When {}
impl HtmlSafe for Ago {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_exact_and_relative_time() {
        let now = UnixMs(1_795_417_262_000);
        let when = When::new(1_795_417_082_000, now);
        assert_eq!(when.iso(), "2026-11-23T06:58:02Z");
        assert_eq!(when.relative(), "3 min ago");
        assert_eq!(When::new(1_795_417_262_000 + 172_800_000, now).relative(), "in 2 d");
        assert!(when.to_string().contains("2026-11-23 06:58:02 UTC"));
    }
    #[test]
    fn a_time_beyond_the_calendar_is_shown_as_it_is() {
        assert_eq!(iso(UnixMs(u64::MAX)), u64::MAX.to_string());
    }
}
