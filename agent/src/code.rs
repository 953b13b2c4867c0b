//! Letting go of code that ran once.
//!
//! Starting, parsing a model and optimising it run through most of the program, and the pages they touched stay mapped
//! for as long as the process lives, though what serves a model afterwards is a small part. Their content is the
//! program's file, so they can be let go: whatever is needed again is mapped again, a few microseconds a page. Nothing but
//! unwritable, executable pages of this very program is ever let go; data that were relocated at start lie elsewhere.

use std::ffi::c_void;
use std::ops::Range;

/// Where the code of this program lies in memory.
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
        Self { ranges: executable(&maps, &exe.to_string_lossy()) }
    }
    /// Lets go of all of it. What runs at this moment is mapped again at once.
    #[allow(unsafe_code)]
    pub fn let_go(&self) {
        use rustix::mm::{Advice, madvise};
        for range in &self.ranges {
            // SAFETY: the range is a private, never writable mapping of the program's file. Its pages hold what the file
            // holds, before and after; a thread that runs in one faults it in again. The mapping itself stays.
            let done = unsafe { madvise(range.start as *mut c_void, range.len(), Advice::LinuxDontNeed) };
            // Refused only where the kernel knows no such advice: then the pages merely stay.
            if let Err(e) = done {
                tracing::debug!("code cannot be let go: {e}");
            }
        }
    }
}

/// The private executable mappings of the file `exe` that cannot be written, from the text of `/proc/self/maps`.
fn executable(maps: &str, exe: &str) -> Vec<Range<usize>> {
    let range = |line: &str| {
        let mut fields = line.splitn(6, ' ');
        let (span, rights) = (fields.next()?, fields.next()?);
        let path = fields.nth(3)?.trim_start();
        if rights != "r-xp" || path != exe || exe.is_empty() {
            return None;
        }
        let (from, to) = span.split_once('-')?;
        let address = |text| usize::from_str_radix(text, 16).ok();
        Some(address(from)?..address(to)?)
    };
    maps.lines().filter_map(range).collect()
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
    fn only_unwritable_code_of_the_program_itself_is_let_go() {
        assert_eq!(executable(MAPS, "/usr/bin/longshore-agent"), vec![0x5581c0100000..0x5581c0d00000]);
        assert!(executable(MAPS, "").is_empty() && executable("nonsense", "x").is_empty());
    }
    #[test]
    fn a_program_goes_on_without_its_mapped_code() {
        let code = Code::of_this_program();
        assert_eq!(code.ranges.len(), 1, "{code:?}");
        let resident = || {
            let text = std::fs::read_to_string("/proc/self/smaps").unwrap();
            let of_code = text.split("\n").skip_while(|l| !l.contains(" r-xp ") || !l.contains("longshore"));
            let rss = of_code.skip(1).find(|l| l.starts_with("Rss:")).unwrap().to_owned();
            rss.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
        };
        let before = resident();
        code.let_go();
        let after = resident();
        assert!(after < before, "{before} KiB before, {after} after");
        let sum: u64 = (1..=1000).map(|i: u64| i.pow(2)).sum();
        assert_eq!(sum, 333_833_500);
    }
}
