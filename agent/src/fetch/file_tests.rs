//! A server that misbehaves in every way a download must survive.

use std::cell::{Cell, RefCell};
use std::io;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use longshore_trust::Digest;

use super::{FileError, Limits, RangeReply, RangeSource, fetch_file};

/// A server that answers as it is told, and notes where each request began.
struct Server {
    bytes: Vec<u8>,
    /// Breaks after so many bytes of a request.
    cut: Option<usize>,
    status: Option<u16>,
    ranges: bool,
    asked: RefCell<Vec<u64>>,
    full: bool,
}

impl Server {
    fn of(bytes: Vec<u8>) -> Self {
        Self { bytes, cut: None, status: None, ranges: true, asked: RefCell::default(), full: false }
    }
}

impl RangeSource for Server {
    fn range(
        &self,
        _: &str,
        from: u64,
        to: u64,
        sink: &mut dyn FnMut(&[u8]) -> io::Result<()>,
    ) -> RangeReply {
        self.asked.borrow_mut().push(from);
        if let Some(s) = self.status {
            return RangeReply::Status(s);
        }
        if !self.ranges && from > 0 {
            return RangeReply::NoRanges;
        }
        if self.full {
            return RangeReply::Sink(io::ErrorKind::StorageFull.into());
        }
        let body = &self.bytes[from as usize..(to as usize).min(self.bytes.len())];
        let body = &body[..self.cut.unwrap_or(body.len()).min(body.len())];
        if let Err(e) = sink(body) {
            return RangeReply::Sink(e);
        }
        if self.cut.is_some() { RangeReply::Broken("cut".into()) } else { RangeReply::Done }
    }
}

fn fetch(server: &Server, wanted: &[u8], dir: &tempfile::TempDir) -> Result<(), FileError> {
    fetch_some(server, wanted, dir, u64::MAX)
}
fn fetch_some(server: &Server, wanted: &[u8], dir: &tempfile::TempDir, bytes: u64) -> Result<(), FileError> {
    let cancel = AtomicBool::new(false);
    let limits = Limits { cancel: &cancel, budget: Cell::new(bytes), clock: &|| Duration::ZERO };
    fetch_file(server, "m/1/f", wanted.len() as u64, &Digest::of(wanted), &dir.path().join("x.part"), &limits)
}

#[test]
fn a_broken_download_goes_on_where_it_stopped() {
    let dir = tempfile::tempdir().unwrap();
    let bytes: Vec<u8> = (0..100_000u32).map(|i| (i % 251) as u8).collect();
    let mut server = Server::of(bytes.clone());
    server.cut = Some(30_000);
    assert!(matches!(fetch(&server, &bytes, &dir), Err(FileError::Transient { .. })));
    server.cut = None;
    fetch(&server, &bytes, &dir).unwrap();
    assert_eq!(*server.asked.borrow(), [0, 30_000]);
    assert_eq!(std::fs::read(dir.path().join("x.part")).unwrap(), bytes);
}
#[test]
fn wrong_bytes_are_refused_and_not_resumed() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::of(vec![1; 1000]);
    assert!(matches!(fetch(&server, &[2; 1000], &dir), Err(FileError::Mismatch { .. })));
    assert!(!dir.path().join("x.part").exists());
}
#[test]
fn a_flipped_byte_in_what_was_there_before_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let bytes = vec![7; 5000];
    std::fs::write(dir.path().join("x.part"), [8; 100]).unwrap();
    let server = Server::of(bytes.clone());
    assert!(matches!(fetch(&server, &bytes, &dir), Err(FileError::Mismatch { .. })));
    fetch(&server, &bytes, &dir).unwrap();
}
#[test]
fn a_4xx_stops_and_a_5xx_is_tried_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = Server::of(vec![1; 10]);
    server.status = Some(404);
    assert!(matches!(fetch(&server, &[1; 10], &dir), Err(FileError::Refused { status: 404, .. })));
    server.status = Some(503);
    assert!(matches!(fetch(&server, &[1; 10], &dir), Err(FileError::Transient { .. })));
}
#[test]
fn a_full_disk_is_its_own_error() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = Server::of(vec![1; 10]);
    server.full = true;
    assert!(matches!(fetch(&server, &[1; 10], &dir), Err(FileError::NoSpace { .. })));
}
#[test]
fn a_server_without_ranges_starts_over() {
    let dir = tempfile::tempdir().unwrap();
    let bytes = vec![5; 1000];
    std::fs::write(dir.path().join("x.part"), [5; 10]).unwrap();
    let mut server = Server::of(bytes.clone());
    server.ranges = false;
    assert!(matches!(fetch(&server, &bytes, &dir), Err(FileError::Transient { .. })));
    fetch(&server, &bytes, &dir).unwrap();
}
#[test]
fn cancelling_is_seen_between_ranges() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::of(vec![1; 10]);
    let cancel = AtomicBool::new(true);
    let part = dir.path().join("x.part");
    let limits = Limits { cancel: &cancel, budget: Cell::new(100), clock: &|| Duration::ZERO };
    let result = fetch_file(&server, "f", 10, &Digest::of(&[1; 10]), &part, &limits);
    assert!(matches!(result, Err(FileError::Cancelled)));
    assert!(server.asked.borrow().is_empty());
}

#[test]
fn an_attempt_stops_at_its_bytes_and_the_next_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let bytes = vec![3; 1000];
    let server = Server::of(bytes.clone());
    assert!(matches!(fetch_some(&server, &bytes, &dir, 600), Err(FileError::Transient { .. })));
    fetch_some(&server, &bytes, &dir, 600).unwrap();
    assert_eq!(*server.asked.borrow(), [0, 600]);
}
