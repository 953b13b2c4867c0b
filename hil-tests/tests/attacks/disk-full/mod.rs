//! A morning of a device, once for every write it makes: that one finds the disk full, and all behind it.

use longshore_agent::engine::protocol::LoadId;
use longshore_agent::store::{Store, StoreError};
use longshore_trust::{ReleaseCounter, Seq};

use crate::day::{self, T0};
use crate::faulty::Faults;

/// Each step with its name; a step that failed is done again, as the agent does.
fn steps() -> Vec<(&'static str, fn(&mut Store, &mut Option<LoadId>) -> Result<(), StoreError>)> {
    vec![
        ("a state change with its report", |s, _| s.apply(&day::batch(1), T0)),
        ("a load begins", |s, load| {
            if load.is_none() {
                *load = Some(day::begin(s)?);
            }
            Ok(())
        }),
        ("counters are journalled", |s, load| s.journal(&[day::delta(load.unwrap(), 30, 30)], T0).map(drop)),
        ("a window is closed", |s, _| s.close_windows(None, T0.plus_ms(60_000)).map(drop)),
        ("more is counted", |s, load| {
            s.journal(&[day::delta(load.unwrap(), 70, 40)], T0.plus_ms(61_000)).map(drop)
        }),
        ("another state change", |s, _| s.apply(&day::batch(2), T0.plus_ms(62_000))),
        ("something happens", |s, _| day::event(s, "clean")),
        ("rows are sealed", |s, _| {
            let first = s.last_sealed()?.next();
            s.seal(first, 200, u64::MAX, T0.plus_ms(63_000), &day::sign).map(drop)
        }),
        ("a receipt comes", |s, _| {
            let last = s.last_sealed()?;
            s.receipted(Seq(last.0.min(1)), 1, T0.plus_ms(64_000)).map(drop)
        }),
    ]
}

/// What must be there in the end, however often the disk was full on the way.
fn verify(dir: &std::path::Path, what: &str) {
    let s = day::open(dir).unwrap();
    let restored = s.restored().unwrap();
    assert_eq!(restored.models, [day::record(2)], "{what}");
    assert_eq!(restored.models[0].floor, ReleaseCounter(2), "{what}");
    assert_eq!((restored.assigned.0, restored.commanded), (2, (1, 2)), "{what}");
    assert_eq!(
        s.rows_totals().unwrap()[&"digits".parse().unwrap()],
        70,
        "{what}: no row is lost, none counts twice"
    );
    let names: Vec<String> = std::fs::read_dir(dir)
        .unwrap()
        .flatten()
        .map(|f| f.file_name().to_string_lossy().into_owned())
        .collect();
    assert!(!names.iter().any(|n| n.contains("corrupt")), "{what}: {names:?}");
}

#[test]
fn whichever_write_is_the_first_without_room_nothing_is_torn_lost_or_doubled() {
    let faults = Faults::begin();
    // Once without a fault, to know how many writes there are.
    let dir = tempfile::tempdir().unwrap();
    faults.take();
    let (mut store, mut load) = (day::open(dir.path()).unwrap(), None);
    for (what, step) in steps() {
        step(&mut store, &mut load).unwrap_or_else(|e| panic!("{what}: {e}"));
    }
    drop(store);
    let writes = faults.take().0;
    verify(dir.path(), "without a fault");
    assert!(writes > 50, "{writes}");

    let (mut refused, mut reopened) = (0, 0);
    for full_at in 0..writes {
        let dir = tempfile::tempdir().unwrap();
        let what = format!("full at write {full_at}");
        faults.room(Some(full_at));
        let mut store = match day::open(dir.path()) {
            Ok(store) => store,
            Err(e) => {
                assert!(e.is_full(), "{what}: {e}");
                faults.room(None);
                day::open(dir.path()).unwrap_or_else(|e| panic!("{what}: {e}"))
            }
        };
        let mut load = None;
        for (n, (name, step)) in steps().into_iter().enumerate() {
            if let Err(e) = step(&mut store, &mut load) {
                assert!(e.is_full(), "{what}, {name}: {e}");
                refused += 1;
                // Every other time the agent is started again before there is room.
                if (full_at + n as u64).is_multiple_of(2) {
                    drop(store);
                    faults.room(None);
                    store = day::open(dir.path()).unwrap_or_else(|e| panic!("{what}, {name}: {e}"));
                    reopened += 1;
                }
                faults.room(None);
                step(&mut store, &mut load)
                    .unwrap_or_else(|e| panic!("{what}, {name}, with room again: {e}"));
            }
        }
        drop(store);
        faults.room(None);
        verify(dir.path(), &what);
    }
    assert!(refused > 20 && reopened > 5, "{refused} {reopened}");
    println!(
        "{writes} writes, each the first without room: {refused} steps refused and done again, {reopened} with a restart"
    );
}

#[test]
fn a_download_that_finds_no_room_at_any_byte_is_put_off_and_goes_on() {
    use longshore_agent::fetch::{FileError, Limits, RangeReply, RangeSource, fetch_file};
    /// Has no room behind so many bytes, once.
    struct Full<'a>(&'a [u8], std::cell::Cell<Option<usize>>);
    impl RangeSource for Full<'_> {
        fn range(
            &self,
            _: &str,
            from: u64,
            to: u64,
            sink: &mut dyn FnMut(&[u8]) -> std::io::Result<()>,
        ) -> RangeReply {
            let (from, to) = (from as usize, to as usize);
            let end = self.1.get().map_or(to, |room| room.clamp(from, to));
            if let Err(e) = sink(&self.0[from..end]) {
                return RangeReply::Sink(e);
            }
            match self.1.take() {
                Some(_) => RangeReply::Sink(std::io::ErrorKind::StorageFull.into()),
                None => RangeReply::Done,
            }
        }
    }
    let bytes: Vec<u8> = (0..3000u32).map(|i| (i % 251) as u8).collect();
    for room in (0..bytes.len()).step_by(37) {
        let dir = tempfile::tempdir().unwrap();
        let source = Full(&bytes, Some(room).into());
        let cancel = std::sync::atomic::AtomicBool::new(false);
        let clock = || std::time::Duration::ZERO;
        let limits = Limits { cancel: &cancel, budget: u64::MAX.into(), clock: &clock };
        let part = dir.path().join("x.part");
        let digest = longshore_trust::Digest::of(&bytes);
        let fetch = || fetch_file(&source, "x", bytes.len() as u64, &digest, &part, &limits);
        assert!(matches!(fetch(), Err(FileError::NoSpace { .. })), "{room}");
        assert_eq!(part.metadata().unwrap().len(), room as u64, "what came is kept");
        fetch().unwrap();
        assert_eq!(std::fs::read(&part).unwrap(), bytes);
    }
}
