//! Delivery: at least once, with the effect of exactly once.
//!
//! Rows wait unsealed in the store, where they may be reordered and merged. A row that is *sealed* gets the next number
//! of its stream and never changes again. Always true here: a number is published only after the transaction that
//! sealed it was confirmed; a sealed row is offered again until the fleet's signed receipt covers it; a receipt for
//! more than was sent is refused, one for more than was ever sealed here begins a new stream; a newer fleet epoch with a lower receipt re-offers the replay ring.

use std::collections::{BTreeMap, VecDeque};

use longshore_trust::{Seq, StreamId, UnixMs};
use longshore_wire::v1::Receipt;

use crate::backoff::{Backoff, Jitter};
use crate::broken::{Rule, broken};
use crate::update::NEVER;

/// A new stream is begun at most this often, ms.
const RESTART_EVERY_MS: u64 = 3_600_000;

/// Limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Config {
    /// Most sealed rows without a receipt, and most rows on their way at a time.
    pub max_sealed: usize,
    /// When a row without a receipt is sent again.
    pub resend: Backoff,
    /// After a connect, how long rows that were sent before wait for the receipt that may cover them, ms.
    pub hello_wait_ms: u64,
    /// Bytes a minute for windows; reports and events are not held back.
    pub window_bytes_per_minute: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_sealed: 200,
            resend: Backoff { first_ms: 30_000, cap_ms: 600_000 },
            hello_wait_ms: 5_000,
            window_bytes_per_minute: 4 * 1024 * 1024,
        }
    }
}

/// A fact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// Connected and subscribed.
    LinkUp,
    /// Not connected.
    LinkDown,
    /// There may be unsealed rows.
    Backlog,
    /// Answer to [`Output::Seal`]: these rows are sealed and durable.
    Sealed {
        /// Their numbers.
        rows: Vec<Seq>,
        /// Bytes of windows among them.
        window_bytes: u64,
        /// Whether unsealed rows are left.
        more: bool,
    },
    /// The wire could not take it.
    NotSent(Seq),
    /// A verified receipt for this device.
    Receipt(Receipt),
    /// Answer to [`Output::Reoffer`]: what the ring still had, durable.
    Reoffered(Vec<Seq>),
    /// Answer to [`Output::Reoffer`]: the store could not, nothing has changed.
    NotReoffered,
    /// Answer to [`Output::Restart`]: the new stream, and what went over into it, durable.
    Restarted {
        /// The new stream.
        stream: StreamId,
        /// Its rows.
        rows: Vec<Seq>,
    },
    /// Time has passed.
    Tick,
}

/// A wish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Say hello with these.
    Hello {
        /// First number without a receipt.
        first_unreceipted: Seq,
        /// The last epoch seen.
        fleet_epoch: u64,
    },
    /// Seal up to `max` rows from `first` on, reports and events first, then windows newest first within `window_bytes`; answer
    /// [`Input::Sealed`].
    Seal {
        /// The first number.
        first: Seq,
        /// Most rows.
        max: usize,
        /// Most bytes of windows.
        window_bytes: u64,
    },
    /// Publish this sealed row.
    Publish(Seq),
    /// Remember the receipt: rows up to here move to the replay ring.
    Receipted {
        /// The end of the prefix.
        up_to: Seq,
        /// The epoch it was given in.
        fleet_epoch: u64,
    },
    /// The fleet lost what it had confirmed: everything of the ring after `after` is unreceipted again, what is missing becomes a
    /// gap row; answer [`Input::Reoffered`].
    Reoffer {
        /// What the fleet still has.
        after: Seq,
        /// What it had confirmed before.
        was: Seq,
        /// The new epoch.
        fleet_epoch: u64,
    },
    /// A receipt that cannot be right.
    Refused(&'static str),
    /// The fleet has more of the stream than was ever sealed here: an older image of the disk was put back. Begin a new
    /// stream; rows from `keep_from` on were sealed since the start and go over into it, the fleet has those before. Answer
    /// [`Input::Restarted`].
    Restart {
        /// What the fleet has.
        fleet_had: Seq,
        /// The first row to keep.
        keep_from: Seq,
    },
    /// Nothing more; call `handle` with [`Input::Tick`] at this time.
    WakeAt(UnixMs),
}

#[derive(Debug, Clone, Copy)]
struct Row {
    sends: u32,
    due: UnixMs,
}

/// What is sealed and not receipted, and when it is due.
#[derive(Debug)]
pub struct Sync {
    config: Config,
    jitter: Jitter,
    stream: StreamId,
    next: Seq,
    receipted: Seq,
    epoch: u64,
    rows: BTreeMap<Seq, Row>,
    /// The greatest number that may have been sent.
    sent: Seq,
    /// The first number given out since the start.
    born: Seq,
    /// No new stream is begun before: whoever can sign receipts must not make a device count without end.
    restart_after: UnixMs,
    up: bool,
    backlog: bool,
    sealing: bool,
    /// Windows have used up their bytes: not asked again before.
    seal_after: UnixMs,
    /// The prefix and epoch that take effect once the ring is durably offered again.
    reoffering: Option<(Seq, u64)>,
    /// Whether the fleet has answered on this connection, and when it is greeted again while it has not.
    answered: bool,
    hello_due: UnixMs,
    hellos: u32,
    /// Bytes of windows that may be sealed now, and when that was worked out.
    allowance: u64,
    allowance_at: UnixMs,
    out: VecDeque<Output>,
    now: UnixMs,
}

impl Sync {
    /// From the store: the stream, the next free number, the end of the receipted prefix, rows without a receipt, the
    /// last epoch. `seed` is random.
    #[must_use]
    pub fn restore(
        config: Config,
        stream: StreamId,
        next: Seq,
        receipted: Seq,
        unreceipted: &[Seq],
        epoch: u64,
        seed: u64,
    ) -> Self {
        // They may have been sent before the process ended.
        let rows = unreceipted.iter().map(|s| (*s, Row { sends: 1, due: UnixMs(0) })).collect();
        Self {
            config,
            jitter: Jitter::new(seed),
            stream,
            next,
            receipted,
            epoch,
            rows,
            sent: Seq(next.0.saturating_sub(1)),
            born: next,
            restart_after: UnixMs(0),
            up: false,
            backlog: true,
            sealing: false,
            seal_after: UnixMs(0),
            reoffering: None,
            answered: false,
            hello_due: NEVER,
            hellos: 0,
            allowance: config.window_bytes_per_minute,
            allowance_at: UnixMs(0),
            out: VecDeque::new(),
            now: UnixMs(0),
        }
    }
    /// The stream.
    #[must_use]
    pub fn stream(&self) -> StreamId {
        self.stream
    }
    /// Sealed rows without a receipt.
    #[must_use]
    pub fn unreceipted(&self) -> usize {
        self.rows.len()
    }
    /// The greatest number ever sealed in this stream.
    #[must_use]
    pub fn last_sealed(&self) -> Seq {
        Seq(self.next.0.saturating_sub(1))
    }
    /// The end of the receipted prefix.
    #[must_use]
    pub fn receipted(&self) -> Seq {
        self.receipted
    }
    /// The director who signed the last receipt is trusted no more: the epoch it named may be one that no fleet ever reaches.
    pub fn new_director(&mut self) {
        self.epoch = 0;
    }
    /// The last epoch of the fleet.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.epoch
    }
    /// Whether the link is up.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.up
    }

    /// Takes one fact.
    pub fn handle(&mut self, now: UnixMs, input: Input) {
        self.now = now;
        match input {
            Input::LinkUp => {
                self.up = true;
                let due = now.plus_ms(self.config.hello_wait_ms);
                for row in self.rows.values_mut() {
                    row.due = if row.sends > 0 { due } else { now };
                    row.sends = row.sends.min(1);
                }
                self.answered = false;
                self.hellos = 0;
                self.hello();
            }
            Input::LinkDown => self.up = false,
            Input::Backlog => {
                self.backlog = true;
                self.seal_after = now;
            }
            Input::Sealed { rows, window_bytes, more } => {
                self.sealing = false;
                self.backlog = more;
                if rows.is_empty() {
                    self.seal_after = now.plus_ms(5_000);
                }
                self.allowance = self.allowance.saturating_sub(window_bytes);
                for seq in rows {
                    if !broken(Rule::NumbersTwice) || !seq.0.is_multiple_of(16) {
                        self.next = self.next.max(seq.next());
                    }
                    self.rows.insert(seq, Row { sends: 0, due: now });
                }
            }
            Input::NotSent(seq) => {
                if let Some(row) = self.rows.get_mut(&seq) {
                    row.due = now.plus_ms(1_000 + self.jitter.up_to(1_000));
                }
            }
            Input::Receipt(receipt) => self.on_receipt(receipt),
            Input::Reoffered(rows) => {
                if let Some((after, epoch)) = self.reoffering.take() {
                    (self.receipted, self.epoch) = (after, epoch);
                }
                self.rows = rows
                    .into_iter()
                    .map(|s| (s, Row { sends: 0, due: now }))
                    .chain(self.rows.clone())
                    .collect();
                if self.up {
                    self.hello();
                }
            }
            Input::NotReoffered => {
                // Under the old epoch the fleet gives nothing up for lost; its answer starts this again.
                self.reoffering = None;
                self.answered = false;
                self.hello_due = now.plus_ms(self.config.hello_wait_ms);
            }
            Input::Restarted { stream, rows } => {
                self.stream = stream;
                self.next = rows.last().map_or(Seq(1), |s| s.next());
                (self.receipted, self.sent, self.born) = (Seq(0), Seq(0), Seq(1));
                self.rows = rows.into_iter().map(|s| (s, Row { sends: 0, due: now })).collect();
                self.answered = false;
                self.hellos = 0;
                self.backlog = true;
                if self.up {
                    self.hello();
                }
            }
            Input::Tick => {}
        }
        self.work();
    }

    /// The next wish; ends with [`Output::WakeAt`].
    pub fn poll(&mut self) -> Output {
        self.out.pop_front().unwrap_or_else(|| Output::WakeAt(self.wake_at()))
    }

    fn wake_at(&self) -> UnixMs {
        if !self.up || self.reoffering.is_some() {
            return NEVER;
        }
        let greet = if self.must_greet() { self.hello_due } else { NEVER };
        let due =
            self.rows.values().take(self.config.max_sealed).map(|r| r.due).min().unwrap_or(NEVER).min(greet);
        let starved = self.backlog && !self.sealing && self.rows.len() < self.config.max_sealed;
        if starved { due.min(self.seal_after) } else { due }
    }

    /// The first number that the fleet has not confirmed and that can still be sent.
    fn first(&self) -> Seq {
        self.rows.keys().next().copied().unwrap_or(self.next)
    }
    /// Whether the fleet has to be greeted (again): it has not answered, or waits for numbers that are never coming.
    fn must_greet(&self) -> bool {
        !self.answered || self.first() > self.receipted.next()
    }
    fn hello(&mut self) {
        self.out.push_back(Output::Hello { first_unreceipted: self.first(), fleet_epoch: self.epoch });
        self.hello_due = self.now.plus_ms(self.config.resend.wait_ms(self.hellos, &mut self.jitter));
        self.hellos += 1;
    }

    fn on_receipt(&mut self, r: Receipt) {
        if r.stream != self.stream || r.fleet_epoch < self.epoch || self.reoffering.is_some() {
            return;
        }
        // Only what answers a greeting can tell of a past that this database has lost.
        let greeted = !std::mem::replace(&mut self.answered, true);
        if r.up_to > self.sent {
            self.out.push_back(Output::Refused("a receipt for more than was sent"));
            if greeted && r.up_to > self.last_sealed() && self.now >= self.restart_after {
                self.restart_after = self.now.plus_ms(RESTART_EVERY_MS);
                self.out.push_back(Output::Restart { fleet_had: r.up_to, keep_from: self.born });
            }
            return;
        }
        let newer = r.fleet_epoch > self.epoch;
        if newer && r.up_to < self.receipted && !broken(Rule::NoReoffer) {
            let was = self.receipted;
            self.reoffering = Some((r.up_to, r.fleet_epoch));
            self.out.push_back(Output::Reoffer { after: r.up_to, was, fleet_epoch: r.fleet_epoch });
            return;
        }
        self.epoch = r.fleet_epoch;
        if newer || r.up_to > self.receipted {
            self.receipted = self.receipted.max(r.up_to);
            self.rows = self.rows.split_off(&r.up_to.next());
            self.out.push_back(Output::Receipted { up_to: self.receipted, fleet_epoch: self.epoch });
        }
    }

    fn work(&mut self) {
        if !self.up || self.reoffering.is_some() {
            return;
        }
        let now = self.now;
        if self.must_greet() && self.hello_due <= now {
            self.hello();
        }
        // A ring that is offered again may be much longer than what the link holds: its oldest rows go first, the others
        // when receipts have made room.
        for (seq, row) in self.rows.iter_mut().take(self.config.max_sealed) {
            if row.due <= now {
                self.out.push_back(Output::Publish(*seq));
                row.due = now.plus_ms(self.config.resend.wait_ms(row.sends, &mut self.jitter));
                row.sends += 1;
                self.sent = self.sent.max(*seq);
            }
        }
        self.refill();
        let room = self.config.max_sealed.saturating_sub(self.rows.len());
        if self.backlog && !self.sealing && room > 0 && self.seal_after <= now {
            self.sealing = true;
            self.out.push_back(Output::Seal { first: self.next, max: room, window_bytes: self.allowance });
        }
    }

    fn refill(&mut self) {
        let per_minute = self.config.window_bytes_per_minute;
        let passed = self.now.since(self.allowance_at).min(60_000);
        let gained = per_minute.saturating_mul(passed) / 60_000;
        if gained > 0 {
            self.allowance = self.allowance.saturating_add(gained).min(per_minute);
            self.allowance_at = self.now;
        }
    }
}
