//! One look at one cause, and what follows from it.

use longshore_trust::UnixMs;

use super::{Alert, Change, Ended, HELD_MS, Notice, Now, REOPEN_MS, STALE_MS, State, Told, gap_ms};
use crate::alert::evaluate::Seen;
use crate::alert::rule::Rule;

/// An alert that has grown by this factor is told again, also when it was acknowledged: it was acknowledged when it was small.
const GROWN: u64 = 10;

/// What one look did to one cause.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Step {
    /// The alert from now on; `None` where there is none (any more).
    pub alert: Option<Alert>,
    /// What has happened.
    pub change: Option<Change>,
    /// Whom to tell of what.
    pub notice: Option<Notice>,
    /// The alert is over for good: what comes now is another one.
    pub closed: bool,
}

/// What was seen of a cause in one look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Look {
    /// Whether it holds.
    pub seen: Seen,
    /// How large it is.
    pub weight: u64,
    /// Nobody is to be told.
    pub silenced: bool,
    /// How long nobody looked before this, ms: that time counts neither as holding nor as being over.
    pub blind_ms: u64,
}

/// One look at one cause. `rule` is `None` when its rule is gone.
#[must_use]
pub fn step(alert: Option<Alert>, rule: Option<&Rule>, look: Look, now: UnixMs) -> Step {
    let Some(rule) = rule else { return rule_gone(alert, look, now) };
    let Some(mut alert) = alert else {
        if look.seen != Seen::Holds {
            return Step::default();
        }
        let fresh = Alert { state: State::Pending { since: now }, flaps: 0, told: None };
        return step(Some(fresh), Some(rule), look, now);
    };
    alert.settle(look.blind_ms, now);
    let change = match alert.advance(rule, look.seen, now) {
        Moved::Stays => None,
        Moved::To(change) => Some(change),
        Moved::Vanished => return Step { closed: true, ..Step::default() },
        // What holds now opens an alert of its own at the next look.
        Moved::Closed => return Step { alert: Some(alert), closed: true, ..Step::default() },
    };
    let change = change.or_else(|| alert.outgrow(look));
    let notice = if look.silenced { None } else { alert.tell(rule, look.weight, now) };
    Step { alert: Some(alert), change, notice, closed: false }
}

enum Moved {
    Stays,
    To(Change),
    Vanished,
    Closed,
}

impl Alert {
    /// A clock that went back must not make anything wait for ever; time in which nobody looked is no evidence.
    fn settle(&mut self, blind_ms: u64, now: UnixMs) {
        let fix = |at: &mut UnixMs| *at = (*at).min(now);
        let shift = |at: &mut UnixMs| *at = at.plus_ms(blind_ms).min(now);
        match &mut self.state {
            State::Pending { since } => shift(since),
            State::Firing { since, now: look } | State::Acknowledged { since, now: look, .. } => {
                fix(since);
                if let Now::Clearing { since } | Now::Unmeasured { since } = look {
                    shift(since);
                }
            }
            State::Resolved { since, at, again, .. } => {
                fix(since);
                fix(at);
                if let Some(since) = again {
                    shift(since);
                }
            }
        }
        if let Some(told) = &mut self.told {
            fix(&mut told.at);
        }
    }

    fn advance(&mut self, rule: &Rule, seen: Seen, now: UnixMs) -> Moved {
        let owes_end = self.owes(false);
        match &mut self.state {
            State::Pending { since } => match seen {
                Seen::Clear => Moved::Vanished,
                // What hovers around the threshold or is not measured neither fires nor waits for ever.
                Seen::Near | Seen::Unknown if now.since(*since) > rule.for_ms.saturating_add(REOPEN_MS) => {
                    Moved::Vanished
                }
                Seen::Near | Seen::Unknown => Moved::Stays,
                Seen::Holds if now.since(*since) >= rule.for_ms => {
                    self.state = State::Firing { since: now, now: Now::Holding };
                    Moved::To(Change::Fired)
                }
                Seen::Holds => Moved::Stays,
            },
            State::Firing { since, now: look } => match look.next(rule, seen, now) {
                None => Moved::Stays,
                Some(ended) => {
                    let change = ended.change();
                    self.state = State::Resolved { since: *since, at: now, ended, again: None, ack: None };
                    Moved::To(change)
                }
            },
            State::Acknowledged { since, now: look, ack } => match look.next(rule, seen, now) {
                None => Moved::Stays,
                Some(ended) => {
                    let (change, ack) = (ended.change(), Some(ack.clone()));
                    self.state = State::Resolved { since: *since, at: now, ended, again: None, ack };
                    Moved::To(change)
                }
            },
            State::Resolved { at, ended, again, ack, .. } => {
                if let Ended::Person { gone, .. } = ended
                    && !*gone
                {
                    // Somebody has said that it is over although it was not seen to be.
                    *gone |= seen == Seen::Clear;
                    let held = now.since(*at) >= HELD_MS;
                    if seen == Seen::Holds && held {
                        self.flaps = self.flaps.saturating_add(1);
                        self.state = State::Firing { since: now, now: Now::Holding };
                        return Moved::To(Change::Again);
                    }
                    return if held && !owes_end { Moved::Closed } else { Moved::Stays };
                }
                match (seen, &again) {
                    (Seen::Holds, None) => *again = Some(now),
                    (Seen::Clear, Some(_)) => *again = None,
                    _ => {}
                }
                match again {
                    Some(since) if seen == Seen::Holds && now.since(*since) >= rule.for_ms => {
                        self.flaps = self.flaps.saturating_add(1);
                        self.state = match ack.take() {
                            Some(ack) => State::Acknowledged { since: now, now: Now::Holding, ack },
                            None => State::Firing { since: now, now: Now::Holding },
                        };
                        Moved::To(Change::Again)
                    }
                    // Hovering around the threshold ends it as being over does.
                    Some(since) if seen == Seen::Holds || now.since(*since) <= REOPEN_MS => Moved::Stays,
                    _ if now.since(*at) >= REOPEN_MS && !owes_end => Moved::Closed,
                    _ => Moved::Stays,
                }
            }
        }
    }

    /// Whether receivers believe otherwise. They are never told of the end of what they have not heard.
    fn owes(&self, firing: bool) -> bool {
        self.told.map_or(firing, |t| t.firing != firing)
    }

    /// An acknowledgement was for what it was then.
    fn outgrow(&mut self, look: Look) -> Option<Change> {
        let told = self.told.as_mut()?;
        if !told.firing || look.weight < told.weight.max(1).saturating_mul(GROWN) {
            return None;
        }
        match &self.state {
            State::Acknowledged { since, now, .. } => {
                self.state = State::Firing { since: *since, now: *now };
                Some(Change::Grown)
            }
            _ => None,
        }
    }

    fn tell(&mut self, rule: &Rule, weight: u64, now: UnixMs) -> Option<Notice> {
        let firing = match &self.state {
            State::Pending { .. } => return None,
            State::Firing { .. } | State::Acknowledged { .. } => true,
            State::Resolved { .. } => false,
        };
        let taken_on = matches!(self.state, State::Acknowledged { .. });
        let rested = self.told.is_none_or(|t| now.since(t.at) >= gap_ms(self.flaps));
        let notice = match self.told {
            // Who has taken it on need not be told that it came back.
            _ if firing && self.owes(true) && !taken_on && rested => Notice::Fired,
            _ if !firing && self.owes(false) && rested => Notice::Resolved,
            Some(t) if firing && t.firing && rested && weight >= t.weight.max(1).saturating_mul(GROWN) => {
                Notice::Grown
            }
            Some(t)
                if firing
                    && t.firing
                    && !taken_on
                    && rested
                    && rule.repeat_ms.is_some_and(|ms| now.since(t.at) >= ms) =>
            {
                Notice::Repeated
            }
            _ => return None,
        };
        self.told = Some(Told { at: now, firing, weight });
        Some(notice)
    }
}

impl Now {
    /// Looks once more; why it is over, if it is.
    fn next(&mut self, rule: &Rule, seen: Seen, now: UnixMs) -> Option<Ended> {
        *self = match (seen, *self) {
            (Seen::Holds | Seen::Near, _) => Self::Holding,
            (Seen::Clear, Self::Clearing { since }) => Self::Clearing { since },
            (Seen::Clear, _) => Self::Clearing { since: now },
            (Seen::Unknown, Self::Unmeasured { since }) => Self::Unmeasured { since },
            (Seen::Unknown, _) => Self::Unmeasured { since: now },
        };
        match *self {
            Self::Clearing { since } if now.since(since) >= rule.resolve_ms => Some(Ended::Recovered),
            Self::Unmeasured { since } if now.since(since) >= STALE_MS => Some(Ended::Unmeasured),
            _ => None,
        }
    }
}

impl Ended {
    const fn change(&self) -> Change {
        match self {
            Self::Unmeasured => Change::Unmeasured,
            Self::RuleGone => Change::RuleGone,
            Self::Recovered | Self::Person { .. } => Change::Recovered,
        }
    }
}

/// Nothing is judged any more; whoever was told that it fires is told that it is over.
fn rule_gone(alert: Option<Alert>, look: Look, now: UnixMs) -> Step {
    let Some(mut alert) = alert else { return Step::default() };
    let (since, ack) = match &alert.state {
        State::Pending { .. } => return Step { closed: true, ..Step::default() },
        State::Firing { since, .. } => (*since, None),
        State::Acknowledged { since, ack, .. } => (*since, Some(ack.clone())),
        State::Resolved { .. } => return Step { alert: Some(alert), closed: true, ..Step::default() },
    };
    alert.state = State::Resolved { since, at: now, ended: Ended::RuleGone, again: None, ack };
    let notice = alert.owes(false).then_some(Notice::Resolved);
    if notice.is_some() {
        alert.told = Some(Told { at: now, firing: false, weight: look.weight });
    }
    Step { alert: Some(alert), change: Some(Change::RuleGone), notice, closed: true }
}
