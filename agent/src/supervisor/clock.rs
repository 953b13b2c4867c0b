//! The clocks of this device: read, attested by the fleet, held to what is signed, saved.

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use longshore_agent_core::assignment::reason;
use longshore_agent_core::clock::{Clock, Reading, Saved, Told};
use longshore_agent_core::{Moment, sync};
use longshore_trust::tuf::Trusted;
use longshore_trust::{Envelope, KeyId, UnixMs};
use longshore_wire::v1::{EventKind, TimeAnswer, open};
use serde_json::json;

use super::Supervisor;
use super::event::Happening;
use crate::host;
use crate::store::{Store, StoreError};

/// Attested again after so long: boot clocks drift by some seconds a day.
const AGAIN: Duration = Duration::from_secs(12 * 3600);
/// After a failure.
const RETRY: Duration = Duration::from_secs(60);
/// An answer that took longer says too little.
const SLOWEST_MS: u64 = 30_000;
/// Saved at least this often, for the day the power goes.
const SAVE_EVERY: Duration = Duration::from_secs(3600);
/// And on probation: a device that starts again and again must not keep a lease from lapsing.
const SAVE_ON_PROBATION: Duration = Duration::from_secs(60);

/// What came of a question for the time.
#[derive(Debug)]
pub struct TimeReply {
    nonce: [u8; 32],
    bytes: Vec<u8>,
    took_ms: u64,
    boot_ms: u64,
}

/// What was saved and whether the machine has been restarted since; then what the metadata at hand says.
pub(super) fn restore(store: &Store, trusted: &Trusted, boot_id: [u8; 16]) -> Result<Clock, StoreError> {
    let number = |key: &str| store.number(key).map(Option::unwrap_or_default);
    let saved = Saved {
        offline: UnixMs(number("time_offline")?),
        online: UnixMs(number("time_online")?),
        keys: number("time_keys")?,
        steady: UnixMs(number("steady")?),
        boot_ms: number("steady_boot_ms")?,
        attested: UnixMs(number("attested")?),
    };
    // A database that was begun anew knows the floors from its second copy, and no steady clock.
    let saved = (saved != Saved::default()).then(|| {
        let steady = if saved.steady > UnixMs(0) { saved.steady } else { host::now().0 };
        Saved { steady, ..saved }
    });
    let reading = host::reading();
    let mut clock = Clock::restore(saved, host::BUILT, number("steady_boot_id")? == short(boot_id), reading);
    follow(&mut clock, trusted, reading);
    Ok(clock)
}

fn follow(clock: &mut Clock, trusted: &Trusted, r: Reading) -> bool {
    let tag = trusted.time_keys_tag();
    let keys = u64::from_be_bytes(tag.0[..8].try_into().expect("a digest has 32 bytes"));
    clock.trust(trusted.issued_offline(), trusted.issued_online(), keys, r.boot_ms)
}

fn short(boot_id: [u8; 16]) -> u64 {
    u64::from_be_bytes(boot_id[..8].try_into().expect("half of 16 bytes"))
}

impl Supervisor {
    /// The time, how far it can be believed, and what expiry is judged by.
    pub(super) fn told(&self) -> Told {
        self.clock.tell(host::reading())
    }
    /// The time for records.
    pub(super) fn now(&self) -> UnixMs {
        self.told().time
    }
    /// A clock that nobody sets, for spans.
    pub(super) fn steady(&self) -> UnixMs {
        self.clock.steady(host::reading().boot_ms)
    }
    /// Both clocks of the update core.
    pub(super) fn moment(&self) -> Moment {
        let r = host::reading();
        Moment { now: self.clock.tell(r).expiry, steady: self.clock.steady(r.boot_ms) }
    }

    /// Asks the fleet for the time, when it can be reached and it is time for it.
    pub(super) fn tick_clock(&mut self, now: Instant) {
        if now >= self.timers.save {
            self.save_clock();
        }
        if !self.link_up || self.asking_time || now < self.timers.time {
            return;
        }
        self.asking_time = true;
        let remote = self.remote.clone();
        self.spawn("time", move || {
            let nonce = host::random();
            let sent = host::reading().boot_ms;
            let body = json!({ "nonce": STANDARD.encode(nonce) });
            let reply = match remote.post_for_bytes("device/v1/time", &body) {
                Ok((200, bytes)) => {
                    let boot_ms = host::reading().boot_ms;
                    Ok(TimeReply { nonce, bytes, took_ms: boot_ms.saturating_sub(sent), boot_ms })
                }
                Ok((status, _)) => Err(format!("the fleet attests no time (it answered {status})")),
                Err(e) => Err(e.to_string()),
            };
            Happening::Time(reply)
        });
    }
    pub(super) fn on_time(&mut self, reply: Result<TimeReply, String>) {
        self.asking_time = false;
        let taken = reply.and_then(|reply| self.take_time(&reply));
        self.timers.time = Instant::now() + if taken.is_ok() { AGAIN } else { RETRY };
        match taken {
            Ok(()) => {
                self.save_clock();
                // Dates may have come by this.
                self.feed(longshore_agent_core::update::Input::Tick);
            }
            Err(why) => tracing::warn!("the time was not attested: {why}"),
        }
        self.status_dirty = true;
    }
    fn take_time(&mut self, reply: &TimeReply) -> Result<(), String> {
        let signer = Envelope::parse(&reply.bytes).map(|e| e.key_id()).unwrap_or(KeyId([0; 8]));
        let key = self.trusted.time_key_named(signer).ok_or("the root of trust names no time key")?;
        let answer = open::<TimeAnswer>(&reply.bytes, &key).map_err(|e| e.to_string());
        let answer = answer.inspect_err(|e| self.refused(reason("time.refused", e.clone())))?;
        if answer.header.fleet != self.fleet || answer.header.device != self.device {
            return Err("the answer is for another device".into());
        }
        if answer.body.nonce != reply.nonce {
            return Err("the answer is for another question".into());
        }
        if reply.took_ms > SLOWEST_MS {
            return Err(format!("the answer took {} ms", reply.took_ms));
        }
        let taken = self.clock.attest(answer.body.time, reply.boot_ms).map_err(|e| e.to_string());
        taken.inspect_err(|e| self.refused(reason("time.before_floor", e.clone())))
    }

    /// Holds the clock to the metadata at hand; a root that rotates the time keys drops what the old ones said.
    pub(super) fn follow_trust(&mut self) {
        let before = self.clock.is_attested();
        if follow(&mut self.clock, &self.trusted, host::reading()) {
            self.save_clock();
        }
        if before && !self.clock.is_attested() {
            tracing::warn!("the keys that tell the time were rotated: it is attested anew");
            self.timers.time = Instant::now();
        }
    }

    /// Saves floors and steady clock. A failure costs what was counted since the last time.
    pub(super) fn save_clock(&mut self) {
        self.timers.save = Instant::now() + if self.on_probation() { SAVE_ON_PROBATION } else { SAVE_EVERY };
        let s = self.clock.save(host::reading().boot_ms);
        let numbers = [
            ("time_offline", s.offline.0),
            ("time_online", s.online.0),
            ("time_keys", s.keys),
            ("steady", s.steady.0),
            ("steady_boot_ms", s.boot_ms),
            ("steady_boot_id", short(self.boot_id)),
            ("attested", s.attested.0),
        ];
        if let Err(e) = self.store.set_numbers(&numbers) {
            tracing::error!("{e}");
        }
    }

    /// Begins a new stream: the fleet has more of the old one than this database ever sent.
    pub(super) fn restart_stream(
        &mut self,
        fleet_had: longshore_trust::Seq,
        keep_from: longshore_trust::Seq,
    ) {
        let (now, old) = (self.now(), self.store.stream());
        let stream = longshore_trust::StreamId(u64::from_ne_bytes(host::random()));
        let sealed = self.sync.last_sealed();
        tracing::warn!(
            fleet_had = fleet_had.0,
            sealed = sealed.0,
            "the fleet has more of this device's messages than it ever sent: an older image of its disk was put back"
        );
        let header = self.header(longshore_trust::Seq(0));
        let header = longshore_wire::v1::Header { stream, ..header };
        let key = &self.report_key;
        let reseal = |seq, kind, bytes: &[u8]| super::outbox::reseal(&header, seq, kind, bytes, key);
        let event = EventKind::StreamRestarted { fleet_had: fleet_had.0, sealed: sealed.0 };
        match self.store.restart_stream(old, stream, keep_from, now, &event, &reseal) {
            Ok(rows) => self.sync_inputs.push_back(sync::Input::Restarted { stream, rows }),
            Err(e) => tracing::error!("{e}; the next receipt starts this again"),
        }
    }
}
