//! Doing what the sync core wishes, and taking what the link brings.

use std::time::{Duration, Instant};

use longshore_agent_core::assignment::reason;
use longshore_agent_core::sync::{Input, Output};
use longshore_agent_core::update;
use longshore_trust::log::LogHead;
use longshore_trust::{AssignmentVersion, Envelope, EnvelopeError, KeyId, Kind, Seq, SigningKey};
use longshore_wire::topic::Direction;
use longshore_wire::v1::{
    Assignment, Body, Command, EventKind, Events, Header, Hello, MessageError, Receipt, Report, SCHEMA,
    Windows, open, seal,
};
use longshore_wire::{Down, Topic, Up};

use super::Supervisor;
use crate::identity::Identity;
use crate::link::LinkEvent;
use crate::store::Pending;

/// Refused messages are recorded at most this often.
const REFUSED_EVERY: Duration = Duration::from_secs(60);

/// A message of ours, sealed before, with its place in another stream.
pub(super) fn reseal(
    header: &Header,
    seq: Seq,
    kind: Kind,
    bytes: &[u8],
    key: &SigningKey,
) -> Result<Vec<u8>, MessageError> {
    fn again<B: Body>(header: Header, bytes: &[u8], key: &SigningKey) -> Result<Vec<u8>, MessageError> {
        let message = open::<B>(bytes, &key.public())?.into_inner();
        let Header { time, time_quality, .. } = message.header;
        Ok(seal(Header { time, time_quality, ..header }, message.body, key)?)
    }
    let header = Header { seq, ..header.clone() };
    match kind {
        Kind::Windows => again::<Windows>(header, bytes, key),
        Kind::Events => again::<Events>(header, bytes, key),
        _ => again::<Report>(header, bytes, key),
    }
}

impl Supervisor {
    /// Hands a fact to the sync core and does what it wishes.
    pub(super) fn feed_sync(&mut self, input: Input) {
        self.sync_inputs.push_back(input);
        if self.feeding_sync {
            return;
        }
        self.feeding_sync = true;
        while let Some(input) = self.sync_inputs.pop_front() {
            let now = self.steady();
            self.sync.handle(now, input);
            loop {
                match self.sync.poll() {
                    Output::WakeAt(at) => {
                        self.wake.1 = at;
                        break;
                    }
                    wish => self.act_sync(wish),
                }
            }
        }
        self.feeding_sync = false;
    }

    fn act_sync(&mut self, wish: Output) {
        match wish {
            Output::Hello { first_unreceipted, fleet_epoch } => self.hello(first_unreceipted, fleet_epoch),
            Output::Seal { first, max, window_bytes } => self.seal(first, max, window_bytes),
            Output::Publish(seq) => self.publish(seq),
            Output::Receipted { up_to, fleet_epoch } => {
                let now = self.now();
                if let Err(e) = self.store.receipted(up_to, fleet_epoch, now) {
                    // The rows stay; the fleet knows them, and the next receipt covers them again.
                    tracing::error!("{e}");
                }
            }
            Output::Reoffer { after, was, fleet_epoch } => {
                tracing::warn!(
                    after = after.0,
                    was = was.0,
                    fleet_epoch,
                    "the fleet was restored; offering again what it lost"
                );
                let now = self.now();
                match self.store.reoffer(after, was, fleet_epoch, now) {
                    Ok(rows) => self.sync_inputs.push_back(Input::Reoffered(rows)),
                    Err(e) => {
                        tracing::error!("{e}");
                        self.sync_inputs.push_back(Input::NotReoffered);
                    }
                }
            }
            Output::Restart { fleet_had, keep_from } => self.restart_stream(fleet_had, keep_from),
            Output::Refused(what) => self.refused(reason("receipt.refused", what)),
            Output::WakeAt(at) => self.wake.1 = at,
        }
        self.status_dirty = true;
    }

    /// Keeps what the receipt says of the audit log, whatever becomes of the receipt.
    fn saw_log(&mut self, receipt: &Receipt) {
        if let Some(head) = receipt.log
            && let Err(e) = self.store.saw_log(head)
        {
            tracing::error!("{e}");
        }
    }
    /// What the next report says of the audit log. A report goes out without it rather than not at all.
    pub(super) fn log_seen(&self) -> Vec<LogHead> {
        self.store.log_seen().unwrap_or_else(|e| {
            tracing::error!("{e}");
            Vec::new()
        })
    }

    pub(super) fn header(&self, seq: Seq) -> Header {
        let told = self.told();
        Header {
            schema: SCHEMA,
            fleet: self.fleet.clone(),
            device: self.device.clone(),
            stream: self.store.stream(),
            seq,
            time: told.time,
            time_quality: told.quality,
        }
    }

    fn hello(&mut self, first_unreceipted: Seq, fleet_epoch: u64) {
        let hello = Hello {
            stream: self.store.stream(),
            first_unreceipted,
            assignment_version: self.updates.assigned(),
            tuf_versions: self.trusted.versions(),
            fleet_epoch,
            boot: self.boot,
            log: self.log_seen(),
        };
        match seal(self.header(Seq(0)), hello, &self.report_key) {
            Ok(bytes) => {
                let topic = Topic::up(&self.fleet, &self.device, Up::Hello).to_string();
                if self.link.publish(&topic, bytes).is_err() {
                    tracing::warn!("the link did not take the greeting");
                }
            }
            Err(e) => tracing::error!("greeting: {e}"),
        }
    }

    fn seal(&mut self, first: Seq, max: usize, window_bytes: u64) {
        let now = self.now();
        let (header, key) = (self.header(first), &self.report_key);
        let sign = |seq: Seq, pending: &Pending| -> Result<Vec<u8>, EnvelopeError> {
            let header = Header { seq, ..header.clone() };
            match pending {
                Pending::Report(r) => seal(header, r.clone(), key),
                Pending::Events(e) => seal(header, e.clone(), key),
                Pending::Windows(w) => seal(header, w.clone(), key),
            }
        };
        let answer = match self.store.seal(first, max, window_bytes, now, &sign) {
            Ok(s) => Input::Sealed { rows: s.rows, window_bytes: s.window_bytes, more: s.more },
            Err(e) => {
                tracing::error!("{e}; trying again");
                Input::Sealed { rows: Vec::new(), window_bytes: 0, more: true }
            }
        };
        self.sync_inputs.push_back(answer);
    }

    fn publish(&mut self, seq: Seq) {
        let row = match self.store.sealed(seq) {
            Ok(Some(row)) => row,
            Ok(None) => return,
            Err(e) => {
                tracing::error!("{e}");
                return self.sync_inputs.push_back(Input::NotSent(seq));
            }
        };
        let Some(up) = Up::of_kind(row.0) else { return };
        let topic = Topic::up(&self.fleet, &self.device, up).to_string();
        if self.link.publish(&topic, row.1).is_err() {
            self.sync_inputs.push_back(Input::NotSent(seq));
        }
    }

    pub(super) fn on_link(&mut self, event: LinkEvent) {
        match event {
            LinkEvent::Up => {
                tracing::info!("connected to the fleet");
                (self.link_up, self.link_since, self.link_error) = (true, self.now(), None);
                self.link_failures = 0;
                self.feed_sync(Input::LinkUp);
            }
            LinkEvent::Down(why) => {
                // The same words again are not news.
                if self.link_up || self.link_error.as_deref() != Some(&why) {
                    tracing::warn!("not connected to the fleet: {why}");
                }
                if self.link_up {
                    self.link_since = self.now();
                }
                self.link_failures = self.link_failures.saturating_add(1);
                // The certificate may be why: that it has expired is for the fleet's clock to say.
                if self.link_failures >= 4 || why.to_ascii_lowercase().contains("certificate") {
                    self.renewals.suspect(self.steady());
                    self.timers.renewal = Instant::now();
                }
                (self.link_up, self.link_error) = (false, Some(why));
                self.feed_sync(Input::LinkDown);
            }
            LinkEvent::Message { topic, bytes, ack } => {
                self.on_message(&topic, &bytes);
                ack.now();
            }
        }
        self.status_dirty = true;
    }

    fn on_message(&mut self, topic: &str, bytes: &[u8]) {
        let Ok(Topic { fleet, device, direction: Direction::Down(kind) }) = Topic::parse(topic) else {
            return;
        };
        if fleet != self.fleet || device != self.device {
            return;
        }
        if kind == Down::Doorbell {
            return self.on_doorbell(bytes);
        }
        let signer = Envelope::parse(bytes).map(|e| e.key_id()).unwrap_or(KeyId([0; 8]));
        let Some(key) = self.trusted.director_named(signer) else {
            tracing::warn!(
                "a message from the director, but no director is trusted; refreshing trust metadata"
            );
            if self.takes_a_hint() {
                self.start_refresh();
            }
            return;
        };
        let refused = match kind {
            Down::Assign => open::<Assignment>(bytes, &key).map(|m| {
                self.note_director(signer);
                self.feed(update::Input::Assignment(m));
            }),
            Down::Command => open::<Command>(bytes, &key).map(|m| {
                self.note_director(signer);
                self.feed(update::Input::Command(m));
            }),
            Down::Receipt => open::<Receipt>(bytes, &key).map(|m| {
                if m.header.fleet == self.fleet && m.header.device == self.device {
                    self.note_director(signer);
                    self.saw_log(&m.body);
                    self.feed_sync(Input::Receipt(m.body));
                }
            }),
            Down::Doorbell => Ok(()),
        };
        if let Err(e) = refused {
            // The director's key may have been rotated: the metadata that says so is fetched, the message comes again.
            if matches!(e, MessageError::Envelope(EnvelopeError::WrongKey(_))) && self.takes_a_hint() {
                self.start_refresh();
            }
            self.refused(reason("message.refused", format!("{}: {e}", kind.as_str())));
        }
    }

    /// Remembers who gave the numbers that count now, before they do.
    fn note_director(&mut self, signer: KeyId) {
        // A run that ended between a new root and its consequences has not drawn them yet.
        self.follow_director();
        let signer = u64::from_be_bytes(signer.0);
        if self.director != signer {
            match self.store.set_number("director", signer) {
                Ok(()) => self.director = signer,
                Err(e) => tracing::error!("{e}"),
            }
        }
    }
    /// Takes numbers back that were given under a key which the root names no more: one that was stolen could otherwise
    /// make this device refuse everything for ever.
    pub(super) fn follow_director(&mut self) {
        let signer = KeyId(self.director.to_be_bytes());
        let Some(key) =
            self.trusted.director_named(signer).filter(|k| self.director != 0 && k.id() != signer)
        else {
            return;
        };
        let numbers = match Identity::load(&self.config.state_dir) {
            Ok(Some(me)) => (AssignmentVersion(me.assignments_after), me.commands_after),
            other => return tracing::error!("the numbers of this enrolment cannot be read: {other:?}"),
        };
        tracing::warn!("the director's key was rotated: its numbers begin again");
        let (assigned, commanded) = numbers;
        self.feed(update::Input::NewDirector { assigned, commanded });
        self.sync.new_director();
        let new = u64::from_be_bytes(key.id().0);
        // Interrupted here, it is done once more.
        match self.store.set_numbers(&[("fleet_epoch", 0), ("director", new)]) {
            Ok(()) => self.director = new,
            Err(e) => tracing::error!("{e}"),
        }
    }

    fn on_doorbell(&mut self, bytes: &[u8]) {
        // A hint and nothing more: what it says is believed only after a refresh.
        if !self.takes_a_hint() {
            return;
        }
        let known =
            std::fs::read(self.config.state_dir.join("trust").join("timestamp.json")).unwrap_or_default();
        if known != bytes {
            // Everybody hears it at the same moment.
            let wait = self.jitter.up_to(super::boot::ms(self.config.link.spread));
            self.timers.refresh = self.timers.refresh.min(Instant::now() + Duration::from_millis(wait));
        }
        self.feed(update::Input::Doorbell);
    }

    /// Records a refused message, not more often than makes sense.
    pub(super) fn refused(&mut self, why: longshore_wire::v1::Reason) {
        if self.refused_at.is_some_and(|at| at.elapsed() < REFUSED_EVERY) {
            return;
        }
        self.refused_at = Some(Instant::now());
        tracing::warn!("{}", why.detail);
        let now = self.now();
        if let Err(e) = self.store.event(now, &EventKind::Refused(why)) {
            tracing::error!("{e}");
        }
        self.sync_inputs.push_back(Input::Backlog);
        self.feed_sync(Input::Tick);
    }

    /// Closes windows and sends everything now.
    pub(super) fn flush(&mut self) {
        self.close_windows(None);
        self.report_health();
    }
}
