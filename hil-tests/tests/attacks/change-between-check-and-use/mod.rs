//! A byte of a running bundle is changed: in the memory that was checked, and on the disk before the next start.

use std::io::{Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::FileExt as _;

use longshore_agent::engine::sealed::seal;

use crate::site::{MODEL, Site, bundle};

#[test]
fn what_was_hashed_cannot_be_changed_any_more_by_anybody() {
    let bytes = vec![7u8; 100_000];
    let (fd, length, _) = seal("x", &mut bytes.as_slice(), 1 << 20).unwrap();
    let length = usize::try_from(length).unwrap();
    let mut file = std::fs::File::from(fd);
    for at in [0, 1, 50_000, length as u64 - 1, length as u64] {
        assert!(file.write_at(b"evil", at).is_err(), "byte {at}");
    }
    file.seek(SeekFrom::Start(0)).unwrap();
    assert!(file.write_all(b"evil").is_err());
    assert!(file.set_len(10).is_err() && file.set_len(1 << 20).is_err(), "neither shorter nor longer");
    // Through its name under /proc, which another process of the same user has, neither.
    use std::os::fd::AsRawFd as _;
    let name = format!("/proc/self/fd/{}", file.as_raw_fd());
    let opened = std::fs::OpenOptions::new().write(true).open(name);
    assert!(opened.is_err() || opened.unwrap().write_at(b"evil", 0).is_err());
    let mut now = vec![0; length];
    file.read_exact_at(&mut now, 0).unwrap();
    assert_eq!(now, bytes);
}

#[test]
fn a_byte_flipped_while_it_serves_is_found_at_the_next_start_and_told() {
    let mut site = Site::with_model();
    let runs = bundle(MODEL, "2.0.0");
    let (path, bytes) = runs.files.iter().find(|(p, _)| p.ends_with(".onnx")).unwrap();
    let file = site.state().join("bundles").join(runs.digest.to_hex()).join(path);
    let mut damaged = bytes.clone();
    damaged[bytes.len() / 2] ^= 1;
    std::fs::write(&file, &damaged).unwrap();
    // What serves is what was checked: it goes on until it is started again.
    assert!(site.runs("2.0.0", "committed"));
    site.kill_agent();
    site.start_agent();
    site.until("told to the fleet", |s| s.told(0).iter().any(|t| t.ends_with("rolled_back activate.verify")));
    site.until("the previous bundle", |s| s.model(MODEL)["version"] == "1.0.0");
    assert!(site.model(MODEL)["reason"].as_str().unwrap().contains("activate.verify"));
}
