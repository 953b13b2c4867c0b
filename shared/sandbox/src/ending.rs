//! Why a process that was shut in ended without an answer: its status, and the last words on its standard error.
//!
//! The words come from a process that may have been taken over: they only choose between names for the same fact, that
//! it failed, and are cut and cleaned before anybody reads them.

use std::io::Read;
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;

/// How much of standard error is kept: its end.
const KEPT_BYTES: usize = 4096;
/// Longest line that is shown, characters.
const SHOWN_CHARS: usize = 200;
/// SIGXCPU on every Linux this runs on.
const SIGXCPU: i32 = 24;

/// What ended it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// It asked for more memory than it may have.
    Memory,
    /// It nested too deeply.
    Stack,
    /// It computed longer than it may.
    CpuTime,
    /// It broke one of its own assumptions (programs that do not survive a panic).
    Panic,
    /// Anything else.
    Crash,
}

/// How a process ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ending {
    /// What ended it.
    pub cause: Cause,
    /// Status and last line, for people.
    pub detail: String,
}

impl Ending {
    /// From the status and the end of standard error.
    #[must_use]
    pub fn of(status: ExitStatus, last_words: &LastWords) -> Self {
        let last_words = &*last_words.text();
        let cause = match status.signal() {
            Some(SIGXCPU) => Cause::CpuTime,
            _ if last_words.contains("memory allocation of")
                || last_words.contains("Cannot allocate memory") =>
            {
                Cause::Memory
            }
            _ if last_words.contains("has overflowed its stack") => Cause::Stack,
            _ if last_words.contains("panicked at") => Cause::Panic,
            _ => Cause::Crash,
        };
        let lines: Vec<&str> =
            last_words.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with("note:")).collect();
        let telling =
            |l: &&str| ["memory allocation", "overflowed", "panicked"].iter().any(|t| l.contains(t));
        let line = match lines.iter().rposition(telling) {
            // A panic says where, and what in the next line.
            Some(at) if cause == Cause::Panic => {
                lines[at..].iter().take(2).copied().collect::<Vec<_>>().join(" ")
            }
            Some(at) => lines[at].to_owned(),
            None => lines.last().copied().unwrap_or_default().to_owned(),
        };
        let line: String = line.chars().filter(|c| !c.is_control()).take(SHOWN_CHARS).collect();
        let detail = if line.is_empty() { status.to_string() } else { format!("{status}: {line}") };
        Self { cause, detail }
    }
    /// The end of a code such as `trial.memory`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self.cause {
            Cause::Memory => "memory",
            Cause::Stack => "stack",
            Cause::CpuTime => "cpu_time",
            Cause::Panic => "panic",
            Cause::Crash => "crash",
        }
    }
}

/// The end of what a process wrote to its standard error; nothing it writes makes this grow.
#[derive(Debug, Default)]
pub struct LastWords(Vec<u8>);

impl LastWords {
    /// Takes the next piece.
    pub fn push(&mut self, piece: &[u8]) {
        self.0.extend_from_slice(piece);
        let surplus = self.0.len().saturating_sub(KEPT_BYTES);
        self.0.drain(..surplus);
    }
    /// Reads all there is.
    #[must_use]
    pub fn of(mut from: impl Read) -> Self {
        let (mut words, mut buffer) = (Self::default(), [0u8; KEPT_BYTES]);
        loop {
            match from.read(&mut buffer) {
                Ok(0) => return words,
                Ok(n) => words.push(&buffer[..n]),
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                // What was heard until then is all there is.
                Err(_) => return words,
            }
        }
    }
    /// As text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.0).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cause_is_told_from_status_and_last_words() {
        let of = |raw, words: &str| Ending::of(ExitStatus::from_raw(raw), &LastWords::of(words.as_bytes()));
        assert_eq!(of(6, "x\nmemory allocation of 99 bytes failed\n").cause, Cause::Memory);
        assert_eq!(of(6, "\nthread 'main' has overflowed its stack\nfatal\n").cause, Cause::Stack);
        assert_eq!(of(24, "").cause, Cause::CpuTime);
        assert_eq!(of(6, "thread 'main' panicked at x.rs:1:1").cause, Cause::Panic);
        assert!(
            of(6, "thread 'x' panicked at x.rs:1:1:\nno way\nnote: more")
                .detail
                .ends_with("x.rs:1:1: no way")
        );
        assert_eq!(of(11, "").cause, Cause::Crash);
        let shown = of(11, "first\nsecond\u{1b}[31m\n\n").detail;
        assert!(shown.ends_with("second[31m") && shown.contains("11"), "{shown}");
    }
    #[test]
    fn endless_words_are_cut_at_their_beginning() {
        let words = [b"a".repeat(100_000), b"the end".to_vec()].concat();
        let kept = LastWords::of(words.as_slice()).text();
        assert!(kept.len() == KEPT_BYTES && kept.ends_with("the end"));
    }
}
