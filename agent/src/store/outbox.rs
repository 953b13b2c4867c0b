//! Sealing, receipts and the replay ring.
//!
//! An unsealed row may be merged or replaced; sealing gives it a number and turns it into signed bytes, in one
//! transaction with its removal from where it waited. Receipted rows stay in a bounded ring: a fleet restored from a
//! backup asks for them again.

use longshore_stats::Counters;
use longshore_trust::{Digest, EnvelopeError, Kind, ModelName, Seq, StreamId, UnixMs};
use longshore_wire::v1::{
    Event, EventKind, Events, Gap, GapCause, GapKind, MessageError, Report, ReportBody, Window, WindowKey,
    Windows,
};
use rusqlite::{OptionalExtension as _, Transaction, params};

use super::windows::{decode, encode};
use super::{Op as _, Store, StoreError, gap, number, put, sql, unsql};

/// Bytes of windows that share a message, well below the envelope's limit.
const BATCH_BYTES: usize = 40 * 1024;
/// Bytes of a window's key, at most.
const KEY_BYTES: usize = 100;
/// Longest counters of a window in one message.
const WINDOW_BYTES: usize = BATCH_BYTES - KEY_BYTES;
/// Events that share a message.
const EVENTS_A_MESSAGE: usize = 50;
/// Receipted rows that are kept for a fleet that was restored.
const RING_ROWS: u64 = 5_000;
/// And how long, ms.
const RING_MS: u64 = 7 * 24 * 3_600_000;

/// What one message will carry.
#[derive(Debug, Clone, PartialEq)]
#[allow(clippy::large_enum_variant, reason = "one at a time, on its way into the database")]
pub enum Pending {
    /// A report.
    Report(Report),
    /// Events.
    Events(Events),
    /// Windows.
    Windows(Windows),
}

impl Pending {
    /// Its envelope kind.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Report(_) => Kind::Report,
            Self::Events(_) => Kind::Events,
            Self::Windows(_) => Kind::Windows,
        }
    }
}

/// What sealing did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SealOutcome {
    /// The numbers given.
    pub rows: Vec<Seq>,
    /// Bytes of windows among them.
    pub window_bytes: u64,
    /// Whether unsealed rows are left.
    pub more: bool,
}

/// Makes the signed bytes of a numbered message.
pub type Sign<'a> = dyn Fn(Seq, &Pending) -> Result<Vec<u8>, EnvelopeError> + 'a;

/// Rows of one table that became one message.
struct Taken {
    pending: Pending,
    ids: Vec<i64>,
    /// What is left of the only window: it did not fit.
    rest: Option<Counters>,
}

fn reports(tx: &Transaction<'_>, max: usize) -> Result<Vec<Taken>, StoreError> {
    let mut q =
        tx.prepare_cached("SELECT id, kind, body FROM report ORDER BY id LIMIT ?1").op("read reports")?;
    // Events share messages, so more rows than messages can be taken; the rest waits.
    let rows = q
        .query_map([max as i64], |r| Ok((r.get::<_, i64>(0)?, r.get::<_, u8>(1)?, r.get::<_, Vec<u8>>(2)?)))
        .op("read reports")?;
    let mut out: Vec<Taken> = Vec::new();
    for row in rows {
        let (id, kind, body) = row.op("read reports")?;
        let unreadable = |_| StoreError::Value(format!("report {id}"));
        if kind == Kind::Events as u8 {
            let event: Event = postcard::from_bytes(&body).map_err(unreadable)?;
            match out.last_mut() {
                Some(Taken { pending: Pending::Events(e), ids, .. }) if ids.len() < EVENTS_A_MESSAGE => {
                    e.events.push(event);
                    ids.push(id);
                }
                _ => out.push(Taken {
                    pending: Pending::Events(Events { events: vec![event] }),
                    ids: vec![id],
                    rest: None,
                }),
            }
        } else {
            let body: ReportBody = postcard::from_bytes(&body).map_err(unreadable)?;
            out.push(Taken { pending: Pending::Report(Report { body }), ids: vec![id], rest: None });
        }
    }
    Ok(out)
}

/// Closed windows, newest first, packed into messages. Of one that fits no message, a part goes now and the rest the next
/// time: each is a window of the same key, and what they count adds up.
fn windows(tx: &Transaction<'_>, max: usize, budget: u64) -> Result<(Vec<Taken>, u64), StoreError> {
    let mut q = tx
        .prepare_cached(
            r#"SELECT id, model, bundle, start_ms, end_ms, supplement OR sent, counters FROM "window"
               WHERE counters IS NOT NULL AND end_ms IS NOT NULL ORDER BY end_ms DESC, id DESC LIMIT 2000"#,
        )
        .op("read windows")?;
    let mut rows = q.query([]).op("read windows")?;
    let (mut out, mut used, mut batch): (Vec<Taken>, u64, usize) = (Vec::new(), 0, 0);
    while let Some(r) = rows.next().op("read windows")? {
        let row = || -> rusqlite::Result<_> {
            Ok((
                r.get(0)?,
                r.get::<_, String>(1)?,
                r.get(2)?,
                r.get(3)?,
                r.get(4)?,
                r.get(5)?,
                r.get::<_, Vec<u8>>(6)?,
            ))
        };
        let (id, model, bundle, start, end, supplement, bytes): (i64, _, [u8; 32], i64, i64, bool, _) =
            row().op("read windows")?;
        let size = bytes.len().min(WINDOW_BYTES) + KEY_BYTES;
        let fits = !out.is_empty() && batch + size <= BATCH_BYTES;
        if used + size as u64 > budget || (!fits && out.len() >= max) {
            break;
        }
        let (counters, rest) = decode(&bytes)?.split_off(WINDOW_BYTES);
        let window = Window {
            key: WindowKey {
                model: ModelName::new(model).map_err(|e| StoreError::Value(e.to_string()))?,
                bundle: Digest(bundle),
                start: UnixMs(unsql(start)),
                end: UnixMs(unsql(end)),
            },
            supplement,
            counters,
        };
        used += size as u64;
        match out.last_mut() {
            Some(Taken { pending: Pending::Windows(w), ids, rest: None }) if fits && rest.is_none() => {
                w.windows.push(window);
                ids.push(id);
                batch += size;
            }
            _ => {
                out.push(Taken {
                    pending: Pending::Windows(Windows { windows: vec![window] }),
                    ids: vec![id],
                    rest,
                });
                batch = size;
            }
        }
    }
    Ok((out, used))
}

fn part_sent(tx: &Transaction<'_>, window: i64, rest: &Counters) -> Result<(), StoreError> {
    tx.prepare_cached(r#"UPDATE "window" SET counters = ?2, sent = 1 WHERE id = ?1"#)
        .and_then(|mut q| q.execute(params![window, encode(rest)]))
        .op("seal a part")?;
    Ok(())
}

fn take_out(tx: &Transaction<'_>, taken: &Taken) -> Result<(), StoreError> {
    if let (Some(rest), Some(id)) = (&taken.rest, taken.ids.first()) {
        return part_sent(tx, *id, rest);
    }
    let sql = match taken.pending {
        // The key stays: late labels make a supplement of it.
        Pending::Windows(_) => r#"UPDATE "window" SET counters = NULL WHERE id = ?1"#,
        _ => "DELETE FROM report WHERE id = ?1",
    };
    let mut q = tx.prepare_cached(sql).op("seal")?;
    for id in &taken.ids {
        q.execute([id]).op("seal")?;
    }
    Ok(())
}

impl Store {
    /// Seals rows from `first` on: reports and events in their order, then windows newest first.
    ///
    /// # Errors
    /// [`StoreError`]; then nothing was sealed.
    pub fn seal(
        &mut self,
        first: Seq,
        max: usize,
        window_bytes: u64,
        now: UnixMs,
        sign: &Sign<'_>,
    ) -> Result<SealOutcome, StoreError> {
        let stream = self.stream;
        self.write(|tx| {
            let mut taken = reports(tx, max)?;
            let (wins, used) = windows(tx, max - taken.len().min(max), window_bytes)?;
            taken.extend(wins);
            let mut out = SealOutcome { rows: Vec::new(), window_bytes: used, more: false };
            let mut seq = first;
            for t in &taken {
                match sign(seq, &t.pending) {
                    Ok(bytes) => {
                        tx.prepare_cached("INSERT INTO outbox VALUES (?1, ?2, ?3, ?4, ?5, NULL)")
                            .and_then(|mut q| {
                                let kind = t.pending.kind() as u8;
                                q.execute(params![sql(stream.0), sql(seq.0), kind, bytes, sql(now.0)])
                            })
                            .op("seal")?;
                        if let Pending::Report(Report { body: ReportBody::Health(health) }) = &t.pending {
                            super::witness::said(tx, &health.log)?;
                        }
                        out.rows.push(seq);
                        seq = seq.next();
                    }
                    Err(_) => too_long(tx, &t.pending, now)?,
                }
                take_out(tx, t)?;
            }
            put(tx, "sealed", seq.0 - 1)?;
            out.more = tx
                .prepare_cached(
                    r#"SELECT EXISTS (SELECT 1 FROM report)
                       OR EXISTS (SELECT 1 FROM "window" WHERE counters IS NOT NULL AND end_ms IS NOT NULL)"#,
                )
                .and_then(|mut q| q.query_row([], |r| r.get(0)))
                .op("look for more")?;
            Ok(out)
        })
    }
    /// A sealed row.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn sealed(&self, seq: Seq) -> Result<Option<(Kind, Vec<u8>)>, StoreError> {
        let found: Option<(u8, Vec<u8>)> = self
            .conn
            .prepare_cached("SELECT kind, bytes FROM outbox WHERE stream = ?1 AND seq = ?2")
            .and_then(|mut q| {
                q.query_row([sql(self.stream.0), sql(seq.0)], |r| Ok((r.get(0)?, r.get(1)?))).optional()
            })
            .op("read a sealed row")?;
        Ok(found.and_then(|(kind, bytes)| Some((Kind::from_u8(kind)?, bytes))))
    }
    pub(super) fn unreceipted(&self) -> Result<Vec<Seq>, StoreError> {
        let mut q = self
            .conn
            .prepare_cached("SELECT seq FROM outbox WHERE stream = ?1 AND receipted IS NULL ORDER BY seq")
            .op("read the outbox")?;
        let rows = q.query_map([sql(self.stream.0)], |r| r.get::<_, i64>(0)).op("read the outbox")?;
        rows.map(|r| Ok(Seq(unsql(r.op("read the outbox")?)))).collect()
    }
    /// Rows that are not receipted, sealed or not: reports and windows.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn waiting(&self) -> Result<u64, StoreError> {
        self.conn
            .prepare_cached(
                r#"SELECT (SELECT count(*) FROM outbox WHERE receipted IS NULL) + (SELECT count(*) FROM report)
                   + (SELECT count(*) FROM "window" WHERE counters IS NOT NULL AND end_ms IS NOT NULL)"#,
            )
            .and_then(|mut q| q.query_row([], |r| r.get::<_, i64>(0)))
            .map(unsql)
            .op("count what waits")
    }
    /// The fleet has everything up to `up_to`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn receipted(&mut self, up_to: Seq, fleet_epoch: u64, now: UnixMs) -> Result<(), StoreError> {
        let stream = self.stream;
        self.write(|tx| {
            put(tx, "receipted", up_to.0)?;
            put(tx, "fleet_epoch", fleet_epoch)?;
            tx.prepare_cached(
                "UPDATE outbox SET receipted = ?3 WHERE stream = ?1 AND seq <= ?2 AND receipted IS NULL",
            )
            .and_then(|mut q| q.execute([sql(stream.0), sql(up_to.0), sql(now.0)]))
            .op("store a receipt")?;
            tx.prepare_cached("DELETE FROM outbox WHERE stream = ?1 AND seq <= ?2 AND receipted IS NOT NULL")
                .and_then(|mut q| q.execute([sql(stream.0), sql(up_to.0.saturating_sub(RING_ROWS))]))
                .op("turn the ring")?;
            tx.prepare_cached("DELETE FROM outbox WHERE receipted IS NOT NULL AND receipted < ?1")
                .and_then(|mut q| q.execute([sql(now.0.saturating_sub(RING_MS))]))
                .op("turn the ring")?;
            Ok(())
        })
    }
    /// The fleet was restored and has nothing after `after`: what the ring still holds waits again, what it does not
    /// hold becomes a gap row.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn reoffer(
        &mut self,
        after: Seq,
        was: Seq,
        fleet_epoch: u64,
        now: UnixMs,
    ) -> Result<Vec<Seq>, StoreError> {
        let stream = self.stream;
        self.write(|tx| {
            put(tx, "receipted", after.0)?;
            put(tx, "fleet_epoch", fleet_epoch)?;
            tx.execute(
                "UPDATE outbox SET receipted = NULL WHERE stream = ?1 AND seq > ?2",
                [sql(stream.0), sql(after.0)],
            )
            .op("offer the ring again")?;
            let held: i64 = tx
                .query_row(
                    "SELECT count(*) FROM outbox WHERE stream = ?1 AND seq > ?2 AND seq <= ?3",
                    [sql(stream.0), sql(after.0), sql(was.0)],
                    |r| r.get(0),
                )
                .op("count the ring")?;
            let missing = (was.0 - after.0).saturating_sub(unsql(held));
            if missing > 0 {
                let row = Gap {
                    kind: GapKind::Replay,
                    cause: GapCause::RingTurned,
                    count: missing,
                    from: UnixMs(0),
                    to: now,
                };
                gap(tx, now, row)?;
            }
            Ok(())
        })?;
        self.unreceipted()
    }
}

/// Seals a row of this kind anew, under this number.
pub type Reseal<'a> = dyn Fn(Seq, Kind, &[u8]) -> Result<Vec<u8>, MessageError> + 'a;

impl Store {
    /// Begins a new stream in place of `old`, of which the fleet has more than was ever sealed here: rows before
    /// `keep_from` it has, later ones go over. Answers their new numbers.
    ///
    /// # Errors
    /// [`StoreError`]; then nothing has changed.
    pub fn restart_stream(
        &mut self,
        old: StreamId,
        new: StreamId,
        keep_from: Seq,
        now: UnixMs,
        told: &EventKind,
        reseal: &Reseal<'_>,
    ) -> Result<Vec<Seq>, StoreError> {
        let rows = self.write(|tx| {
            let mut q = tx
                .prepare("SELECT seq, kind, bytes FROM outbox WHERE stream = ?1 AND receipted IS NULL ORDER BY seq")
                .op("read the outbox")?;
            let found = q
                .query_map([sql(old.0)], |r| Ok((r.get::<_, i64>(0)?, r.get::<_, u8>(1)?, r.get::<_, Vec<u8>>(2)?)))
                .and_then(Iterator::collect::<Result<Vec<_>, _>>)
                .op("read the outbox")?;
            let mut seq = Seq(1);
            let (mut rows, mut lost) = (Vec::new(), 0);
            for (_, kind, bytes) in found.iter().filter(|(at, ..)| unsql(*at) >= keep_from.0) {
                let again = Kind::from_u8(*kind).map(|k| reseal(seq, k, bytes));
                let Some(Ok(again)) = again else {
                    lost += 1;
                    continue;
                };
                tx.execute(
                    "INSERT INTO outbox VALUES (?1, ?2, ?3, ?4, ?5, NULL)",
                    params![sql(new.0), sql(seq.0), kind, again, sql(now.0)],
                )
                .op("seal anew")?;
                rows.push(seq);
                seq = seq.next();
            }
            tx.execute("DELETE FROM outbox WHERE stream = ?1", [sql(old.0)]).op("end a stream")?;
            put(tx, "stream", new.0)?;
            put(tx, "sealed", seq.0 - 1)?;
            put(tx, "receipted", 0)?;
            super::event(tx, now, told.clone())?;
            // What was sent from the lost state may come again, and what it held and was not sent is gone: how much cannot
            // be known here.
            let row = |kind, count| Gap { kind, cause: GapCause::RolledBack, count, from: UnixMs(0), to: now };
            gap(tx, now, row(GapKind::Counters, 0))?;
            if lost > 0 {
                gap(tx, now, row(GapKind::Reports, lost))?;
            }
            Ok(rows)
        })?;
        self.stream = new;
        Ok(rows)
    }
}

/// A message that no envelope can hold: dropped, and counted.
fn too_long(tx: &Transaction<'_>, pending: &Pending, now: UnixMs) -> Result<(), StoreError> {
    let row = |kind, count| Gap { kind, cause: GapCause::Quota, count, from: now, to: now };
    // A gap row that does not fit either would come back for ever.
    let only_gaps = |e: &Events| e.events.iter().all(|e| matches!(e.kind, EventKind::Gap(_)));
    match pending {
        Pending::Windows(w) => gap(tx, now, row(GapKind::Windows, w.windows.len() as u64)),
        Pending::Report(_) => gap(tx, now, row(GapKind::Reports, 1)),
        Pending::Events(e) if only_gaps(e) => Ok(()),
        Pending::Events(e) => gap(tx, now, row(GapKind::Reports, e.events.len() as u64)),
    }
}

impl Store {
    /// The end of what was ever sealed in this stream.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn last_sealed(&self) -> Result<Seq, StoreError> {
        Ok(Seq(number(&self.conn, "sealed")?.unwrap_or(0)))
    }
}
