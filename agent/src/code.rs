//! Letting go of code that ran once, and of constants that were read once.
//!
//! Starting, parsing a model and optimising it run through most of the program, and the pages they touched stay mapped
//! for as long as the process lives, though what serves a model afterwards is a small part; so do the relocations, a
//! megabyte that the loader reads at start. Their content is the program's file, so they can be let go: whatever is needed
//! again is mapped again, a few microseconds a page. Nothing but pages of this very program that nobody could ever write is
//! let go: its code, and the constants before it. Data that were relocated at start are read-only by now as well, and hold
//! what no file holds; they lie behind the code.

use std::ffi::c_void;
use std::ops::Range;

/// Where the code and the constants of this program lie in memory.
#[derive(Debug, Clone, Default)]
pub struct Code {
    ranges: Vec<Range<usize>>,
}

impl Code {
    /// Looks it up; call it before a sandbox shuts `/proc` off. Where it cannot be read, nothing is ever let go.
    #[must_use]
    pub fn of_this_program() -> Self {
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
        let exe = std::fs::read_link("/proc/self/exe").unwrap_or_default();
        Self { ranges: unwritable(&maps, &exe.to_string_lossy()) }
    }
    /// Lets go of all of it. What runs at this moment is mapped again at once.
    #[allow(unsafe_code)]
    pub fn let_go(&self) {
        use rustix::mm::{Advice, madvise};
        for range in &self.ranges {
            // SAFETY: the range is a private, never writable mapping of the program's file. Its pages hold what the file
            // holds, before and after; a thread that runs or reads in one faults it in again. The mapping itself stays.
            let done = unsafe { madvise(range.start as *mut c_void, range.len(), Advice::LinuxDontNeed) };
            // Refused only where the kernel knows no such advice: then the pages merely stay.
            if let Err(e) = done {
                tracing::debug!("code cannot be let go: {e}");
            }
        }
    }
}

/// The private mappings of the file `exe` that never could be written, from the text of `/proc/self/maps`: its code, and
/// constants before its code. Behind the code the linker puts what is relocated.
fn unwritable(maps: &str, exe: &str) -> Vec<Range<usize>> {
    let range = |line: &str| {
        let mut fields = line.splitn(6, ' ');
        let (span, rights) = (fields.next()?, fields.next()?);
        let path = fields.nth(3)?.trim_start();
        let is_code = rights == "r-xp";
        if !(is_code || rights == "r--p") || path != exe || exe.is_empty() {
            return None;
        }
        let (from, to) = span.split_once('-')?;
        let address = |text| usize::from_str_radix(text, 16).ok();
        Some((is_code, address(from)?..address(to)?))
    };
    let all: Vec<_> = maps.lines().filter_map(range).collect();
    let code = all.iter().filter(|(is_code, _)| *is_code).map(|(_, r)| r.start).min();
    let before = |r: &Range<usize>| code.is_some_and(|code| r.end <= code);
    all.into_iter().filter(|(is_code, r)| *is_code || before(r)).map(|(_, r)| r).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAPS: &str = "\
5581c0000000-5581c0100000 r--p 00000000 fe:00 131 /usr/bin/longshore-agent
5581c0100000-5581c0d00000 r-xp 00100000 fe:00 131 /usr/bin/longshore-agent
5581c0d00000-5581c0da0000 r--p 00d00000 fe:00 131 /usr/bin/longshore-agent
5581c0da0000-5581c0db0000 rw-p 00da0000 fe:00 131 /usr/bin/longshore-agent
7f0000000000-7f0000200000 r-xp 00000000 fe:00 9 /usr/lib/libc.so.6
7f0000300000-7f0000301000 rwxp 00000000 fe:00 131 /usr/bin/longshore-agent
7ffd00000000-7ffd00001000 r-xp 00000000 00:00 0 [vdso]";

    #[test]
    fn only_what_could_never_be_written_of_the_program_itself_is_let_go() {
        let (constants, code) = (0x5581c0000000..0x5581c0100000, 0x5581c0100000..0x5581c0d00000);
        assert_eq!(unwritable(MAPS, "/usr/bin/longshore-agent"), vec![constants, code]);
        assert!(unwritable(MAPS, "").is_empty() && unwritable("nonsense", "x").is_empty());
        // Without code nobody knows what was relocated.
        assert!(unwritable(&MAPS.replace("r-xp", "r--p"), "/usr/bin/longshore-agent").is_empty());
    }
    #[test]
    fn a_program_goes_on_without_its_mapped_code_and_constants() {
        let code = Code::of_this_program();
        assert_eq!(code.ranges.len(), 2, "{code:?}");
        // KiB of the first mapping with these rights.
        let resident = |rights: &str| {
            let text = std::fs::read_to_string("/proc/self/smaps").unwrap();
            let its = text.split("\n").skip_while(|l| !l.contains(rights) || !l.contains("longshore"));
            let rss = its.skip(1).find(|l| l.starts_with("Rss:")).unwrap().to_owned();
            rss.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
        };
        let both = || [" r-xp ", " r--p "].map(resident);
        let before = both();
        code.let_go();
        let after = both();
        assert!(after[0] < before[0] && after[1] < before[1], "{before:?} KiB before, {after:?} after");
        let sum: u64 = (1..=1000).map(|i: u64| i.pow(2)).sum();
        assert_eq!(sum, 333_833_500);
    }
}
