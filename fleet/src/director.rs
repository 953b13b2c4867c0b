//! The director: signs what one device is told, with the online key that `root.json` names.
//!
//! What always holds: an assignment or command is signed and stored in the caller's transaction, together with the
//! change that justifies it; its version or sequence number is greater than every one before it for that device. The
//! director chooses among approved bundles; the device refuses whatever does not agree with verified targets. The key
//! that signs is the one that the published root names.

use std::sync::{Arc, PoisonError, RwLock};

use longshore_trust::log::LogHead;
use longshore_trust::tuf::edit::RoleKeys;
use longshore_trust::{
    AssignmentVersion, DeviceId, Envelope, FleetId, Generation, PublicKey, RolloutId, Seq, SigningKey,
    StreamId, TimeQuality, UnixMs,
};
use longshore_wire::v1::{
    self, Assignment, Body, Command, CommandAction, Guard, Header, Probation, Receipt, Slot, TargetsVersion,
    TimeAnswer,
};

use crate::store::{self, StoreError, Tx};

/// What a device should run, before it has a version and a signature.
#[derive(Debug, Clone)]
pub struct AssignmentDraft {
    /// For whom.
    pub device: DeviceId,
    /// The plan it belongs to.
    pub generation: Generation,
    /// The rollout it belongs to.
    pub rollout: Option<RolloutId>,
    /// What to run.
    pub slots: Vec<Slot>,
    /// How probation ends.
    pub probation: Probation,
    /// When the device goes back by itself.
    pub guard: Guard,
    /// After this nothing of it is activated.
    pub activate_by: UnixMs,
    /// After this it is not accepted.
    pub not_after: UnixMs,
}

/// Why nothing was signed.
#[derive(Debug, thiserror::Error)]
pub enum DirectorError {
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The device is not in the registry, or was revoked.
    #[error("device {0} is not enrolled (or was revoked): nothing can be assigned to it")]
    UnknownDevice(DeviceId),
    /// The message would be over the wire's budget.
    #[error("the message for {device} is too long: {source}")]
    TooLong {
        /// For whom.
        device: DeviceId,
        /// How long.
        source: longshore_trust::EnvelopeError,
    },
}

/// Signs for devices.
#[derive(Clone)]
pub struct Director {
    keys: Arc<RwLock<Keys>>,
    fleet: FleetId,
    epoch: u64,
}

struct Keys {
    held: Vec<Arc<SigningKey>>,
    current: Arc<SigningKey>,
    time_held: Vec<Arc<SigningKey>>,
    time: Option<Arc<SigningKey>>,
}

/// The last of those that are named: the one that came last.
fn pick(held: &[Arc<SigningKey>], named: &RoleKeys) -> Option<Arc<SigningKey>> {
    held.iter().rev().find(|k| named.keys.contains(&k.public())).cloned()
}

impl Director {
    /// With one online director key; `epoch` is the fleet's.
    #[must_use]
    pub fn new(key: SigningKey, fleet: FleetId, epoch: u64) -> Self {
        Self::with_keys(vec![key], fleet, epoch)
    }
    /// With all director keys at hand; the first one signs until [`Director::follow`] says otherwise.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn with_keys(keys: Vec<SigningKey>, fleet: FleetId, epoch: u64) -> Self {
        let held: Vec<_> = keys.into_iter().map(Arc::new).collect();
        let current = Arc::clone(held.first().expect("the online keys hold at least one director key"));
        Self {
            keys: Arc::new(RwLock::new(Keys { held, current, time_held: Vec::new(), time: None })),
            fleet,
            epoch,
        }
    }
    /// These keys are at hand now; the one that signs goes on.
    pub(crate) fn hold(&self, keys: Vec<SigningKey>) {
        let mut own = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        own.held = keys.into_iter().map(Arc::new).collect();
    }
    /// Whether a key is at hand that `named` names.
    pub(crate) fn holds(&self, named: &RoleKeys) -> bool {
        pick(&self.keys.read().unwrap_or_else(PoisonError::into_inner).held, named).is_some()
    }
    /// From now on the key that `named` names signs.
    pub(crate) fn follow(&self, named: &RoleKeys) {
        let mut own = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(key) = pick(&own.held, named) {
            own.current = key;
        }
    }
    fn key(&self) -> Arc<SigningKey> {
        Arc::clone(&self.keys.read().unwrap_or_else(PoisonError::into_inner).current)
    }
    /// A stored message as the key of now signs it: a message that was signed before the key was rotated, by one of
    /// `former` (the keys that earlier roots named), is signed again with the same contents.
    #[must_use]
    pub fn renewed(&self, bytes: Vec<u8>, former: &[PublicKey]) -> Vec<u8> {
        let key = self.key();
        let Ok(envelope) = Envelope::parse(&bytes) else { return bytes };
        let (Some(kind), signer) = (envelope.kind(), envelope.key_id()) else { return bytes };
        let Some(signer) = former.iter().find(|k| k.id() == signer && **k != key.public()) else {
            return bytes;
        };
        let again =
            envelope.verify(kind, signer).and_then(|body| Envelope::seal(kind, body.into_inner(), &key));
        again.unwrap_or(bytes)
    }
    /// With the keys that attest the time, too.
    #[must_use]
    pub fn with_time_keys(self, keys: Vec<SigningKey>) -> Self {
        self.hold_time(keys);
        {
            let mut own = self.keys.write().unwrap_or_else(PoisonError::into_inner);
            own.time = own.time_held.first().cloned();
        }
        self
    }
    /// These time keys are at hand now; the one that signs goes on.
    pub(crate) fn hold_time(&self, keys: Vec<SigningKey>) {
        let mut own = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        own.time_held = keys.into_iter().map(Arc::new).collect();
    }
    /// Whether a time key is at hand that `named` names.
    pub(crate) fn holds_time(&self, named: &RoleKeys) -> bool {
        pick(&self.keys.read().unwrap_or_else(PoisonError::into_inner).time_held, named).is_some()
    }
    /// From now on the time key that `named` names signs; none does when the root names none.
    pub(crate) fn follow_time(&self, named: Option<&RoleKeys>) {
        let mut own = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        own.time = named.and_then(|named| pick(&own.time_held, named));
    }
    /// The epoch it signs under.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.epoch
    }
    /// The public half of its key.
    #[must_use]
    pub fn public(&self) -> longshore_trust::PublicKey {
        self.key().public()
    }

    /// Signs an assignment and stores it as the newest of its device.
    ///
    /// # Errors
    /// [`DirectorError`]; the transaction should be dropped then.
    pub async fn assign(
        &self,
        tx: &mut Tx,
        draft: AssignmentDraft,
        now: UnixMs,
    ) -> Result<AssignmentVersion, DirectorError> {
        let seq = self.next_seq(tx, &draft.device).await?;
        let version = store::director::next_assignment_version(tx, &draft.device, self.epoch).await?;
        let signed = store::director::newest_generation(tx, &draft.device, self.epoch).await?;
        let generation = draft.generation.max(signed);
        let mut targets_versions = Vec::new();
        for role in std::iter::once("targets".to_owned())
            .chain(draft.slots.iter().map(|s| format!("models/{}", s.model)))
        {
            if let Some(version) = store::trust::newest_version(tx, &role).await? {
                targets_versions.push(TargetsVersion { role, version });
            }
        }
        let body = Assignment {
            version,
            generation,
            rollout: draft.rollout.clone(),
            issued: now,
            activate_by: draft.activate_by,
            not_after: draft.not_after,
            probation: draft.probation,
            guard: draft.guard,
            targets_versions,
            slots: draft.slots,
        };
        let bytes = self.seal(&draft.device, seq, now, body)?;
        store::director::insert_assignment(
            tx,
            &store::director::StoredAssignment {
                device: draft.device,
                version,
                generation,
                rollout: draft.rollout,
                bytes,
                created: now,
                not_after: draft.not_after,
            },
        )
        .await?;
        Ok(version)
    }

    /// Signs a command and stores it; it is offered until `not_after`.
    ///
    /// # Errors
    /// [`DirectorError`]; the transaction should be dropped then.
    pub async fn command(
        &self,
        tx: &mut Tx,
        device: &DeviceId,
        action: CommandAction,
        not_after: UnixMs,
        now: UnixMs,
    ) -> Result<Seq, DirectorError> {
        let seq = self.next_seq(tx, device).await?;
        let body = Command { not_before: now, not_after, action };
        let bytes = self.seal(device, seq, now, body)?;
        store::director::insert_command(tx, device, seq, &bytes, now, not_after).await?;
        Ok(seq)
    }

    /// Signs a receipt. Receipts are not stored and do not order anything, so they carry sequence number 0.
    ///
    /// # Errors
    /// Never in practice: a receipt is short.
    pub fn receipt(
        &self,
        device: &DeviceId,
        stream: StreamId,
        up_to: Seq,
        log: Option<LogHead>,
        now: UnixMs,
    ) -> Result<Vec<u8>, DirectorError> {
        let body = Receipt { stream, up_to, fleet_epoch: self.epoch, log };
        self.seal(device, Seq(0), now, body)
    }

    /// Signs the time in answer to a device's nonce; `None` when this fleet has no time key.
    ///
    /// # Errors
    /// Never in practice: an answer is short.
    pub fn attest(
        &self,
        device: &DeviceId,
        nonce: [u8; 32],
        now: UnixMs,
    ) -> Result<Option<Vec<u8>>, DirectorError> {
        let key = self.keys.read().unwrap_or_else(PoisonError::into_inner).time.clone();
        let Some(key) = key else { return Ok(None) };
        self.seal_with(&key, device, Seq(0), now, TimeAnswer { nonce, time: now }).map(Some)
    }

    async fn next_seq(&self, tx: &mut Tx, device: &DeviceId) -> Result<Seq, DirectorError> {
        store::director::next_down_seq(tx, device, self.epoch)
            .await?
            .ok_or_else(|| DirectorError::UnknownDevice(device.clone()))
    }

    fn seal<B: Body>(
        &self,
        device: &DeviceId,
        seq: Seq,
        now: UnixMs,
        body: B,
    ) -> Result<Vec<u8>, DirectorError> {
        self.seal_with(&self.key(), device, seq, now, body)
    }
    fn seal_with<B: Body>(
        &self,
        key: &SigningKey,
        device: &DeviceId,
        seq: Seq,
        now: UnixMs,
        body: B,
    ) -> Result<Vec<u8>, DirectorError> {
        let header = Header {
            schema: v1::SCHEMA,
            fleet: self.fleet.clone(),
            device: device.clone(),
            stream: StreamId(self.epoch),
            seq,
            time: now,
            time_quality: TimeQuality::Ntp,
        };
        v1::seal(header, body, key)
            .map_err(|source| DirectorError::TooLong { device: device.clone(), source })
    }
}
