//! A server whose every byte takes its time. Time is the test's own: the clock is an argument of a download.

use std::cell::{Cell, RefCell};
use std::io;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use longshore_agent::fetch::{FLOOR_BYTES_S, FileError, Limits, RangeReply, RangeSource, SPAN, fetch_file};
use longshore_agent_core::assignment::reason;
use longshore_agent_core::update::{FetchFailure, Input};
use longshore_trust::Digest;
use longshore_wire::v1::{Commit, UpdateState};

use crate::twin::{Twin, assigned, assignment, bundle, header, model};

/// Sends `piece` bytes every `every` after a fast beginning of `fast` bytes, at most `answer` bytes a request.
struct Trickle {
    bytes: Vec<u8>,
    fast: u64,
    piece: usize,
    every: Duration,
    answer: u64,
    now: Cell<Duration>,
    asked: RefCell<Vec<u64>>,
}

impl Trickle {
    fn new(piece: usize, every: Duration) -> Self {
        let bytes = (0..200_000u32).map(|i| (i % 251) as u8).collect();
        Self {
            bytes,
            fast: 0,
            piece,
            every,
            answer: u64::MAX,
            now: Cell::default(),
            asked: RefCell::default(),
        }
    }
    fn fetch(&self, dir: &tempfile::TempDir) -> Result<(), FileError> {
        let cancel = AtomicBool::new(false);
        let limits = Limits { cancel: &cancel, budget: Cell::new(u64::MAX), clock: &|| self.now.get() };
        let length = self.bytes.len() as u64;
        fetch_file(self, "m/x", length, &Digest::of(&self.bytes), &dir.path().join("x.part"), &limits)
    }
}

impl RangeSource for Trickle {
    fn range(
        &self,
        _: &str,
        from: u64,
        to: u64,
        sink: &mut dyn FnMut(&[u8]) -> io::Result<()>,
    ) -> RangeReply {
        self.asked.borrow_mut().push(from);
        let to = to.min(from.saturating_add(self.answer)) as usize;
        let mut at = from as usize;
        while at < to {
            let piece = if (at as u64) < self.fast { 10_000 } else { self.piece };
            if at as u64 >= self.fast {
                self.now.set(self.now.get() + self.every);
            }
            let end = to.min(at + piece);
            if let Err(e) = sink(&self.bytes[at..end]) {
                return RangeReply::Sink(e);
            }
            at = end;
        }
        RangeReply::Done
    }
}

#[test]
fn a_trickle_is_left_after_a_minute_and_the_next_attempt_goes_on_from_there() {
    assert_eq!((FLOOR_BYTES_S, SPAN), (1024, Duration::from_secs(60)));
    let dir = tempfile::tempdir().unwrap();
    let mut server = Trickle::new(1, Duration::from_secs(1));
    let refusal = server.fetch(&dir).unwrap_err();
    assert!(matches!(refusal, FileError::Slow { .. }), "{refusal}");
    let left = server.now.get();
    assert!(left >= SPAN && left < SPAN + Duration::from_secs(10), "left after {left:?}");
    let kept = dir.path().join("x.part").metadata().unwrap().len();
    assert!(kept > 0);
    // The server is itself again.
    (server.piece, server.every) = (10_000, Duration::from_millis(1));
    server.fetch(&dir).unwrap();
    assert_eq!(*server.asked.borrow(), [0, kept], "what came first is not asked for again");
    assert_eq!(std::fs::read(dir.path().join("x.part")).unwrap(), server.bytes);
}

#[test]
fn a_fast_beginning_and_many_short_answers_buy_nothing() {
    let mut patient = Trickle::new(1, Duration::from_secs(1));
    patient.fast = 150_000;
    let mut choppy = Trickle::new(1, Duration::from_secs(5));
    choppy.answer = 3;
    for server in [patient, choppy] {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(server.fetch(&dir), Err(FileError::Slow { .. })));
        assert!(server.now.get() < SPAN * 2, "left after {:?}", server.now.get());
    }
}

#[test]
fn a_slow_line_that_keeps_the_floor_is_not_left() {
    let dir = tempfile::tempdir().unwrap();
    let server = Trickle::new(1100, Duration::from_secs(1));
    server.fetch(&dir).unwrap();
    assert!(server.now.get() > SPAN * 2);
}

#[test]
fn the_fleet_hears_of_it_and_the_update_ends_in_time() {
    let mut device = Twin::new();
    device.install(1, 1);
    let mut order = assignment(2, 2, Commit::Local);
    (order.activate_by, order.not_after) = (device.now.plus_ms(3_600_000), device.now.plus_ms(7_200_000));
    device.feed(assigned(header(1, 2), order));
    let slow = || {
        Err(FetchFailure::Transient(reason("download.slow", "the server sent less than 1024 bytes a second")))
    };
    let mut attempts = 0;
    for _ in 0..1000 {
        while device.commit() {}
        match device.wishes.pop_front() {
            Some(longshore_agent_core::update::Output::Fetch(..)) => {
                attempts += 1;
                device.now = device.now.plus_ms(61_000);
                device.feed(Input::Fetched(model(), bundle(2), slow()));
            }
            Some(wish) => {
                device.wishes.push_front(wish);
                device.work();
            }
            None if device.record().update.is_none() => break,
            None => {
                device.now = device.now.max(device.wake);
                device.feed(Input::Tick);
            }
        }
    }
    let told = device.disk.reports.iter().zip(&device.disk.why).filter(|(r, why)| {
        r.1 == UpdateState::Downloading && why.as_ref().is_some_and(|w| w.code == "download.slow")
    });
    let told = told.count();
    assert!(attempts > 8 && told >= 4 && told < attempts, "{told} reports of {attempts} attempts");
    assert_eq!(device.states(2).last(), Some(&UpdateState::TooLate));
    assert_eq!(device.disk.why.last().unwrap().as_ref().unwrap().code, "download.deadline");
    assert_eq!(device.serving, Some(bundle(1)));
}
