//! A device as a step sees it: what is recorded, and what it has said since.

use longshore_trust::{Digest, UnixMs};
use longshore_wire::v1::UpdateState;

use super::super::{DeviceFact, DeviceState, Facts, Offer, RolloutState, Standing};
use super::{Action, OFFER_GOOD_FOR_MS, Opening};
use crate::broken::{Rule, broken};

/// A device whose offer lapsed through no fault of the version gets at most so many.
const MAX_ATTEMPTS: u32 = 5;

/// One device, with its state of now.
#[derive(Clone, Copy)]
pub(super) struct View<'a> {
    pub(super) fact: &'a DeviceFact,
    /// Its wave.
    pub(super) wave: usize,
    pub(super) state: DeviceState,
    /// How it counts.
    standing: Standing,
    /// What it was offered serves there for good: nothing is left to be handed out. Most devices of most steps are such, and
    /// a fleet of 100,000 facts is more than a processor's cache holds.
    pub(super) is_done: bool,
    /// It went back because the fleet was away for longer than its lease, or because another rollout took it over:
    /// nothing is wrong with the version.
    pub(super) lapsed: bool,
    /// It runs what it runs by another way than this rollout's offer.
    astray: bool,
    /// Its maintenance window: `None` when the policy has none.
    pub(super) window: Option<Option<Opening>>,
}

/// What a device that said nothing new is offered now, and as which attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wish {
    pub(super) attempt: u32,
}

impl<'a> View<'a> {
    /// What the device said about its present offer becomes its state; with what is to be recorded of that.
    pub(super) fn new(
        fact: &'a DeviceFact,
        facts: &Facts<'_>,
        window: Option<Option<Opening>>,
    ) -> (Self, Option<Action>) {
        let astray = Self::went_astray(fact, facts.state != RolloutState::Completed);
        let said = Self::said(fact, facts.plan.bundle, astray);
        let (state, code) = said.unwrap_or((fact.state, None));
        let is_new =
            said.is_some() && (state != fact.state || (code.is_some() && code != fact.code.as_deref()));
        let code = if is_new { code } else { fact.code.as_deref() };
        let lapsed = matches!(code, Some("lease.lapsed" | "superseded"));
        let is_done = matches!(state, DeviceState::Update(UpdateState::Committed | UpdateState::Already))
            && fact.offer.is_some_and(|o| !o.shadow);
        let (wave, standing) = (fact.wave, Standing::Out);
        let mut view = Self { fact, wave, state, standing, is_done, lapsed, astray, window };
        view.standing = view.counts_as();
        let action = is_new.then(|| Action::Device {
            device: fact.device.clone(),
            state,
            code: code.map(str::to_owned),
        });
        (view, action)
    }

    /// Only what answers to something that was offered, and can be true, is believed.
    fn said(d: &'a DeviceFact, bundle: Digest, astray: bool) -> Option<(DeviceState, Option<&'a str>)> {
        let of = |state, code| Some((DeviceState::Update(state), code));
        if d.revoked {
            return of(UpdateState::Decommissioned, None);
        }
        let report = d.report.as_ref()?;
        if d.revert.is_some_and(|v| report.version >= v) {
            // It answers to the revert: once its previous version serves, the new one has been taken back.
            let back = report.active.is_some() && report.active == d.previous;
            return match report.state {
                UpdateState::Committed
                | UpdateState::Already
                | UpdateState::Cancelled
                | UpdateState::RolledBack
                    if back =>
                {
                    of(UpdateState::RolledBack, Some("fleet.revert"))
                }
                s if s.is_terminal() => of(UpdateState::UnableToRollBack, report.code.as_deref()),
                _ => None,
            };
        }
        let offer = d.offer.as_ref()?;
        // It answered to a later assignment: it knows better what it runs. What it no longer runs proves nothing; what it runs
        // by another way it is asked for anew.
        if Self::went_on(d) && report.state.is_terminal() {
            let runs = report.active == Some(bundle);
            if !runs || astray && offer.attempts >= MAX_ATTEMPTS {
                return of(UpdateState::Cancelled, Some("fleet.behind_device"));
            }
            return astray.then_some((DeviceState::Waiting, Some("fleet.behind_device")));
        }
        // Waiting: what it said was about an offer before; it is to get a new one.
        if report.version != offer.version || d.state == DeviceState::Waiting {
            return None;
        }
        if is_possible(report.state, report.active, offer, bundle) {
            of(report.state, report.code.as_deref())
        } else {
            None
        }
    }

    /// It is recorded as one that runs the version, and speaks of a later assignment.
    fn went_on(d: &DeviceFact) -> bool {
        d.state.standing() == Standing::Ok
            && d.revert.is_none()
            && matches!((&d.report, &d.offer), (Some(r), Some(o)) if r.version > o.version)
    }

    /// The same, and it matters here: the rollout is still open, or its record (a backup that was put back) knows nothing of
    /// that assignment. To one that is complete it does not matter by whose word its version came back.
    fn went_astray(d: &DeviceFact, is_open: bool) -> bool {
        Self::went_on(d) && (is_open || d.report.as_ref().is_some_and(|r| r.version > d.assigned))
    }

    /// How it counts. One that will be offered the version once more, because its lease ran out while the fleet could not
    /// be heard or because another rollout had it, has not failed: neither may take a version back.
    pub(super) fn standing(&self) -> Standing {
        self.standing
    }
    fn counts_as(&self) -> Standing {
        if self.fact.held {
            return Standing::Out;
        }
        let own = self.state.standing();
        // What a backup says of it counts once it has told what it did since.
        if own == Standing::Ok && (self.fact.untold || self.astray) {
            return Standing::OnItsWay;
        }
        if broken(Rule::OfflineIsSuccess) && !self.fact.online && own == Standing::OnItsWay {
            return Standing::Ok;
        }
        if self.fact.quarantined && own == Standing::OnItsWay {
            return Standing::Out;
        }
        let again = own == Standing::Failed
            && self.lapsed
            && self.fact.offer.is_some_and(|o| o.attempts < MAX_ATTEMPTS)
            && self.is_free();
        if again { Standing::OnItsWay } else { own }
    }

    /// Whether this rollout may offer it anything.
    fn is_free(&self) -> bool {
        let d = self.fact;
        !(d.revoked || d.held || d.quarantined || d.untold || d.revert.is_some())
    }

    /// Whether it wants an offer: it had none yet, or the last one lapsed through no fault of the version. `shadow` tells
    /// which of the two kinds its wave hands out now.
    pub(super) fn wish(&self, now: UnixMs, shadow: bool) -> Option<Wish> {
        use UpdateState as U;
        if self.is_done || !self.is_free() {
            return None;
        }
        // Outside its window nothing is offered; nor, with a window, to one that would not hear of it in time.
        let opening = match self.window {
            Some(None) => return None,
            Some(Some(_)) if !self.fact.online => return None,
            Some(opening) => opening,
            None => None,
        };
        let Some(offer) = self.fact.offer else { return Some(Wish { attempt: 1 }) };
        let over = offer.until.is_some_and(|until| until <= now);
        let again = (offer.attempts < MAX_ATTEMPTS).then_some(Wish { attempt: offer.attempts + 1 });
        // The end of a window is nobody's fault and uses up no attempt.
        let next_window = opening.is_some_and(|o| offer.at < o.from);
        let lapsed = || if next_window { Some(Wish { attempt: offer.attempts.max(1) }) } else { again };
        match self.state {
            DeviceState::Waiting => Some(Wish { attempt: offer.attempts + 1 }),
            // It ran the version beside the active one, or did not get that far: now it is to serve.
            DeviceState::Update(state) if offer.shadow && !shadow => {
                (state.standing_in_shadow()).then_some(Wish { attempt: 1 })
            }
            DeviceState::Update(U::Offered) if over && next_window => lapsed(),
            DeviceState::Update(U::Offered) if offer.passed_over => again,
            // It was away for so long that the offer itself ran out: nobody sends it any more, and no attempt was made.
            DeviceState::Update(U::Offered)
                if self.fact.online && now.since(offer.at) > OFFER_GOOD_FOR_MS =>
            {
                Some(Wish { attempt: offer.attempts.max(1) })
            }
            DeviceState::Update(U::Expired | U::TooLate) if opening.is_some() && !next_window => None,
            DeviceState::Update(U::Expired | U::TooLate) => lapsed(),
            DeviceState::Update(U::RolledBack) if self.lapsed => again,
            _ => None,
        }
    }

    /// It has ended, and never served the version or no longer does.
    pub(super) fn gave_up_before_serving(d: &DeviceFact, state: DeviceState) -> bool {
        use UpdateState as U;
        let ended = matches!(
            state,
            DeviceState::Update(
                U::Failed | U::Rejected | U::RolledBack | U::Cancelled | U::Expired | U::TooLate
            )
        );
        ended && d.report.as_ref().is_none_or(|r| r.active.is_none() || r.active == d.previous)
    }

    pub(super) fn answered_revert(&self) -> bool {
        matches!((&self.fact.report, self.fact.revert), (Some(r), Some(v)) if r.version >= v && r.state.is_terminal())
    }
}

trait InShadow {
    fn standing_in_shadow(self) -> bool;
}
impl InShadow for UpdateState {
    /// Whether a device that stood so when its shadow run was over is offered the version to serve.
    fn standing_in_shadow(self) -> bool {
        DeviceState::Update(self).standing() == Standing::OnItsWay || self == Self::Already
    }
}

/// Whether a device can truthfully be in this state after this offer: a version that it says runs must be what serves, and
/// one that was to run in shadow serves nothing.
fn is_possible(state: UpdateState, active: Option<Digest>, offer: &Offer, bundle: Digest) -> bool {
    use UpdateState as U;
    match state {
        U::Probation | U::Committed => !offer.shadow && active == Some(bundle),
        U::Already => active == Some(bundle),
        U::Trial => !offer.shadow,
        U::Shadowing => offer.shadow,
        _ => true,
    }
}
