//! States as coloured words. The colour is never the only sign: the word is there, and the mark has a shape of its own.

use std::fmt;

use askama::filters::HtmlSafe;

/// How urgent a state is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tone {
    /// As it should be.
    Ok,
    /// Moving.
    Busy,
    /// Look at it soon.
    Warn,
    /// Look at it now.
    Bad,
    /// At rest.
    Idle,
}

impl Tone {
    pub(super) const fn class(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Busy => "busy",
            Self::Warn => "warn",
            Self::Bad => "bad",
            Self::Idle => "idle",
        }
    }
    /// Of a state by its stored name: devices', waves', rollouts' and versions' names do not collide.
    pub(super) fn of(state: &str) -> Self {
        match state {
            "committed" | "already" | "completed" | "passed" | "approved" | "online" | "ok" | "pass"
            | "published" => Self::Ok,
            "offered" | "accepted" | "downloading" | "verified" | "staged" | "trial" | "shadowing"
            | "probation" | "running" | "offering" | "soaking" | "judging" | "reverting" | "halting"
            | "scheduled" => Self::Busy,
            "paused"
            | "inconclusive"
            | "deferred"
            | "silent"
            | "unreachable"
            | "checked"
            | "too_late"
            | "expired"
            | "awaiting_authorization"
            | "deprecated"
            | "not_yet"
            | "insufficient" => Self::Warn,
            "failed"
            | "rejected"
            | "rolled_back"
            | "unable_to_roll_back"
            | "halted"
            | "reverted"
            | "refused"
            | "revoked"
            | "quarantined"
            | "fail" => Self::Bad,
            _ => Self::Idle,
        }
    }
}

/// A state, ready to be shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Badge {
    tone: Tone,
    text: String,
}

impl Badge {
    /// A state by its stored name.
    pub(super) fn state(state: &str) -> Self {
        Self { tone: Tone::of(state), text: state.replace('_', " ") }
    }
    /// How urgent it is.
    pub(super) const fn tone(&self) -> Tone {
        self.tone
    }
    /// Any words in any tone.
    pub(super) fn new(tone: Tone, text: impl Into<String>) -> Self {
        Self { tone, text: text.into() }
    }
}

impl fmt::Display for Badge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<span class=\"badge {}\">{}</span>", self.tone.class(), Escaped(&self.text))
    }
}
// The text is escaped above.
impl HtmlSafe for Badge {}

/// Text with the characters that mean something in HTML replaced.
pub(super) struct Escaped<'a>(pub(super) &'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '&' => f.write_str("&amp;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                _ => fmt::Write::write_char(f, c)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_from_outside_cannot_write_markup() {
        let shown = Badge::state("<img src=x onerror=\"a\">").to_string();
        assert!(!shown.contains("<img"), "{shown}");
        assert!(shown.contains("&lt;img src=x onerror=&quot;a&quot;&gt;"), "{shown}");
    }
    #[test]
    fn every_update_state_of_the_wire_has_a_tone() {
        use longshore_wire::v1::UpdateState as S;
        for (state, tone) in [
            (S::Committed, Tone::Ok),
            (S::Probation, Tone::Busy),
            (S::Deferred, Tone::Warn),
            (S::UnableToRollBack, Tone::Bad),
            (S::Cancelled, Tone::Idle),
        ] {
            assert_eq!(Tone::of(state.as_str()), tone, "{state:?}");
        }
    }
}
