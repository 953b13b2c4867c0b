//! What happened, for people: one line a happening.

use std::collections::VecDeque;

use longshore_trust::UnixMs;

/// The moment at which every run begins: 2027-01-01.
pub const START: UnixMs = UnixMs(1_798_761_600_000);
/// Lines about single devices that are kept for a run that fails.
const TRACE: usize = 400;

/// Lines, oldest first.
#[derive(Debug, Default)]
pub struct Timeline {
    /// What a person in charge would want to know.
    pub lines: Vec<String>,
    /// The last of everything else.
    pub trace: VecDeque<String>,
    tracing: bool,
}

impl Timeline {
    /// With `tracing`, what single devices do is kept too.
    #[must_use]
    pub fn new(tracing: bool) -> Self {
        Self { tracing, ..Self::default() }
    }
    /// A line of the story.
    pub fn say(&mut self, now: UnixMs, text: impl AsRef<str>) {
        let line = format!("{}  {}", clock(now), text.as_ref());
        self.trace(now, || text.as_ref().to_owned());
        self.lines.push(line);
    }
    /// A line about a single device.
    pub fn trace(&mut self, now: UnixMs, text: impl FnOnce() -> String) {
        if !self.tracing {
            return;
        }
        if self.trace.len() == TRACE {
            self.trace.pop_front();
        }
        self.trace.push_back(format!("{}  {}", clock(now), text()));
    }
}

/// Time since the start: `2d 03:04:05`.
#[must_use]
pub fn clock(now: UnixMs) -> String {
    let s = now.since(START) / 1000;
    format!("{}d {:02}:{:02}:{:02}", s / 86_400, s / 3_600 % 24, s / 60 % 60, s % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_is_told_from_the_start() {
        assert_eq!(clock(START.plus_ms(90_061_000)), "1d 01:01:01");
    }
}
