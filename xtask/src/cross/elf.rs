//! Just enough of ELF to tell whether a program is linked statically: no program interpreter, no needed library.
//! Layout: System V ABI, chapter 4 (ELF header), chapter 5 (program header, dynamic section).

use std::path::Path;

use anyhow::{Context, Result, ensure};

const PT_DYNAMIC: u64 = 2;
const PT_INTERP: u64 = 3;
const DT_NEEDED: u64 = 1;

/// Whether the little-endian ELF program at `path` needs neither an interpreter nor a shared library. A static
/// position-independent program has a dynamic section of its own, so that alone says nothing.
///
/// # Errors
/// The file cannot be read or is not little-endian ELF.
pub fn is_static(path: &Path) -> Result<bool> {
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    needs_nothing(&bytes).with_context(|| format!("{} is not a program this understands", path.display()))
}

fn needs_nothing(elf: &[u8]) -> Result<bool> {
    ensure!(elf.starts_with(b"\x7fELF"), "no ELF magic");
    ensure!(elf.get(5) == Some(&1), "not little-endian");
    let wide = elf[4] == 2;
    // Offsets of e_phoff, e_phentsize, e_phnum; then of p_offset and p_filesz inside a program header; address size.
    let (phoff, phentsize, phnum, p_offset, p_filesz, word) =
        if wide { (32, 54, 56, 8, 32, 8) } else { (28, 42, 44, 4, 16, 4) };
    let table = number(elf, phoff, word)?;
    let entry_size = number(elf, phentsize, 2)?;
    for index in 0..number(elf, phnum, 2)? {
        let header = table + index * entry_size;
        match number(elf, header, 4)? {
            PT_INTERP => return Ok(false),
            PT_DYNAMIC => {
                let start = number(elf, header + p_offset, word)?;
                let length = number(elf, header + p_filesz, word)?;
                for entry in (start..start + length).step_by(2 * word as usize) {
                    if number(elf, entry, word)? == DT_NEEDED {
                        return Ok(false);
                    }
                }
            }
            _ => {}
        }
    }
    Ok(true)
}

/// The little-endian number of `width` bytes at `offset`.
fn number(bytes: &[u8], offset: u64, width: u64) -> Result<u64> {
    let start = usize::try_from(offset)?;
    let slice = bytes.get(start..start + width as usize).context("truncated")?;
    Ok(slice.iter().rev().fold(0, |value, byte| (value << 8) | u64::from(*byte)))
}

#[cfg(test)]
mod tests {
    use super::{is_static, needs_nothing};

    #[test]
    fn a_program_of_this_toolchain_with_glibc_is_dynamic() {
        let own = std::env::current_exe().expect("a test has a file");
        let dynamic = cfg!(target_env = "gnu");
        assert_eq!(is_static(&own).expect("it is ELF"), !dynamic);
    }

    #[test]
    fn truncated_and_foreign_files_are_errors() {
        assert!(needs_nothing(b"MZ").is_err());
        assert!(needs_nothing(b"\x7fELF\x02\x01").is_err());
        assert!(needs_nothing(b"\x7fELF\x02\x02 big-endian").is_err());
    }

    #[test]
    fn a_header_without_segments_needs_nothing() {
        let mut elf = vec![0u8; 64];
        elf[..6].copy_from_slice(b"\x7fELF\x02\x01");
        assert!(needs_nothing(&elf).expect("well formed"));
    }
}
