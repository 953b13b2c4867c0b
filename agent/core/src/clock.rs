//! What time it is, on a device whose clock may say anything.
//!
//! Two floors, both persisted: the *offline* floor (the build, and when root and targets were signed) never falls; the
//! *online* floor (when the timestamp was signed, attested time) is dropped when the root rotates those keys, so that a
//! stolen time key cannot freeze a device for ever. NTP and the clock of the board never raise a floor. *Attested* time is
//! the fleet's signed answer to a nonce of this device, carried on by the boot clock.
//!
//! Three readings come of it: the time for records, with its quality; the time that expiry is judged by, which the board's
//! clock can put forward by 48 hours at most; and a *steady* clock for spans, which nobody can set: it runs with the boot
//! clock, goes on where it was after a reboot, and gains the time the device was off only when that is attested on both
//! sides.

use longshore_trust::{TimeQuality, UnixMs};

/// The longest absence that the steady clock makes up for, ms: a time key that was stolen must not put it where no span ends
/// any more, because nothing takes that back.
const LONGEST_ABSENCE_MS: u64 = 20 * 366 * 86_400_000;
/// The board's clock alone puts expiry forward by at most this, ms.
pub const LEAP_MS: u64 = 48 * 3_600_000;

/// Now, by two clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Moment {
    /// What dates in documents are held against.
    pub now: UnixMs,
    /// What spans are measured by; its zero means nothing.
    pub steady: UnixMs,
}
impl From<UnixMs> for Moment {
    /// Both clocks agree.
    fn from(now: UnixMs) -> Self {
        Self { now, steady: now }
    }
}
impl Moment {
    /// When, by the steady clock, the date `at` comes if nobody sets a clock.
    #[must_use]
    pub fn steady_at(&self, at: UnixMs) -> UnixMs {
        if at == UnixMs(u64::MAX) { at } else { self.steady.plus_ms(at.since(self.now)) }
    }
}

/// What the machine's clocks say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// The wall clock.
    pub wall: UnixMs,
    /// Whether a time service says that it is right.
    pub synchronised: bool,
    /// Since the machine was started, sleep included, ms.
    pub boot_ms: u64,
}

/// What is persisted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Saved {
    /// Not before this, ever.
    pub offline: UnixMs,
    /// Not before this, under these keys.
    pub online: UnixMs,
    /// Names the keys that raised the online floor.
    pub keys: u64,
    /// The steady clock when this was written.
    pub steady: UnixMs,
    /// The boot clock when this was written.
    pub boot_ms: u64,
    /// The attested time when this was written; 0 when there was none.
    pub attested: UnixMs,
}

/// A time and how far it can be believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Told {
    /// For records.
    pub time: UnixMs,
    /// Of it.
    pub quality: TimeQuality,
    /// For expiry.
    pub expiry: UnixMs,
}

/// A time known at a reading of the boot clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Anchor {
    time: UnixMs,
    boot_ms: u64,
}
impl Anchor {
    fn at(self, boot_ms: u64) -> UnixMs {
        self.time.plus_ms(boot_ms.saturating_sub(self.boot_ms))
    }
}

/// Why an answer about the time is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TimeRefusal {
    /// Earlier than an offline signature.
    #[error("the attested time {attested} is before {floor}, when something offline was signed (Unix ms)")]
    BeforeFloor {
        /// What was attested.
        attested: UnixMs,
        /// What is known.
        floor: UnixMs,
    },
}

/// The clocks of one device.
#[derive(Debug, Clone)]
pub struct Clock {
    offline: UnixMs,
    online: UnixMs,
    keys: u64,
    /// The latest that is known for sure: it is not earlier.
    known: Anchor,
    attested: Option<Anchor>,
    steady: Anchor,
    /// Attested when the last boot ended, and what this boot has counted since: the difference is how long it was off.
    before: Option<(UnixMs, UnixMs)>,
}

impl Clock {
    /// From what was saved. `built`: this program is not older; `same_boot`: whether the machine has not been restarted since.
    #[must_use]
    pub fn restore(saved: Option<Saved>, built: UnixMs, same_boot: bool, r: Reading) -> Self {
        // A device that never counted begins its steady clock at the wall's: only its pace matters.
        let s = saved.unwrap_or(Saved { steady: r.wall.max(built), ..Saved::default() });
        let offline = s.offline.max(built);
        let floor = offline.max(s.online);
        let went = if same_boot { r.boot_ms.saturating_sub(s.boot_ms) } else { r.boot_ms };
        let steady = if saved.is_some() { s.steady.plus_ms(went) } else { s.steady };
        let was_attested = (s.attested > UnixMs(0)).then_some(s.attested);
        let attested = was_attested.filter(|_| same_boot).map(|time| Anchor { time, boot_ms: s.boot_ms });
        Self {
            offline,
            online: s.online,
            keys: s.keys,
            known: Anchor {
                time: floor,
                boot_ms: if same_boot && saved.is_some() { s.boot_ms } else { r.boot_ms },
            },
            attested,
            steady: Anchor { time: steady, boot_ms: r.boot_ms },
            before: was_attested.filter(|_| !same_boot).map(|time| (time, s.steady)),
        }
    }
    /// What has to be saved now.
    #[must_use]
    pub fn save(&self, boot_ms: u64) -> Saved {
        let attested = self.attested.map_or(UnixMs(0), |a| a.at(boot_ms));
        Saved {
            offline: self.offline,
            online: self.online.max(attested),
            keys: self.keys,
            steady: self.steady.at(boot_ms),
            boot_ms,
            attested,
        }
    }
    /// The time.
    #[must_use]
    pub fn tell(&self, r: Reading) -> Told {
        let known = self.known.at(r.boot_ms);
        if let Some(a) = self.attested {
            let time = a.at(r.boot_ms).max(known);
            return Told { time, quality: TimeQuality::Attested, expiry: time };
        }
        if r.wall < known {
            return Told { time: known, quality: TimeQuality::Floor, expiry: known };
        }
        let leap = r.wall.since(known) > LEAP_MS;
        let expiry = if leap { known } else { r.wall };
        let quality = match (r.synchronised, leap) {
            (true, _) => TimeQuality::Ntp,
            (false, false) => TimeQuality::Floor,
            (false, true) => TimeQuality::None,
        };
        Told { time: r.wall, quality, expiry }
    }
    /// The steady clock.
    #[must_use]
    pub fn steady(&self, boot_ms: u64) -> UnixMs {
        self.steady.at(boot_ms)
    }
    /// Whether the time is attested in this boot.
    #[must_use]
    pub fn is_attested(&self) -> bool {
        self.attested.is_some()
    }
    /// The floors: offline, online.
    #[must_use]
    pub fn floors(&self) -> (UnixMs, UnixMs) {
        (self.offline, self.online)
    }

    /// What verified metadata says about when it was signed, and the keys that its root names now. Whether a floor has moved
    /// by so much that it should be saved.
    pub fn trust(
        &mut self,
        offline: Option<UnixMs>,
        online: Option<UnixMs>,
        keys: u64,
        boot_ms: u64,
    ) -> bool {
        let before = (self.offline, self.online, self.keys);
        self.offline = self.offline.max(offline.unwrap_or_default());
        if keys != self.keys {
            // Whoever held the old keys may have named any time.
            (self.keys, self.online, self.attested) = (keys, UnixMs(0), None);
            (self.known, self.before) = (Anchor { time: self.offline, boot_ms }, None);
        }
        self.online = self.online.max(online.unwrap_or_default());
        self.raise(self.offline.max(self.online), boot_ms);
        let moved = |a: UnixMs, b: UnixMs| a.since(b) > 3_600_000 || a < b;
        moved(self.offline, before.0) || moved(self.online, before.1) || keys != before.2
    }
    /// The fleet's verified answer to a nonce, received when the boot clock said `boot_ms`.
    ///
    /// # Errors
    /// [`TimeRefusal`]; nothing has changed then.
    pub fn attest(&mut self, time: UnixMs, boot_ms: u64) -> Result<(), TimeRefusal> {
        if time < self.offline {
            return Err(TimeRefusal::BeforeFloor { attested: time, floor: self.offline });
        }
        if let Some((then, steady)) = self.before.take() {
            let really = time.since(then).min(LONGEST_ABSENCE_MS);
            let counted = self.steady.at(boot_ms).since(steady);
            self.steady =
                Anchor { time: self.steady.at(boot_ms).plus_ms(really.saturating_sub(counted)), boot_ms };
        }
        self.online = self.online.max(time);
        self.attested = Some(Anchor { time, boot_ms });
        self.raise(time, boot_ms);
        Ok(())
    }
    fn raise(&mut self, floor: UnixMs, boot_ms: u64) {
        if floor > self.known.at(boot_ms) {
            self.known = Anchor { time: floor, boot_ms };
        }
    }
}

#[cfg(test)]
mod tests;
