//! The harm of a version, from devices that are each compared with themselves.
//!
//! The unit of evidence is the device. Rows within a device are correlated, so its value is less certain than its rows make
//! it look: some of its variance (`fixed`) does not go away with more rows. How much that is, is assumed, and it gives way
//! to what is seen: the spread between devices is asked as well, and the larger of both standard errors counts. From
//! [`MANY_DEVICES`] on nothing is assumed: Student's t on the spread, and beside it a betting test
//! ([`longshore_stats::sequence::betting`]) that no device can spoil by a value far out, each at half of alpha.
//!
//! Bounds hold at every look at once (Robbins' normal mixture, [`longshore_stats::sequence::mixture`]): information grows with
//! rows, and what is learnt later refines what was learnt before.

use longshore_stats::sequence::{betting, mixture};

use super::control::Shift;
use super::{Evidence, normal, student};
use crate::rollout::Standing;

/// From so many devices on, the verdict must stand without any one of them.
pub const NO_SINGLE_DEVICE: usize = 3;
/// From so many devices on, nothing needs to be assumed about rows within one.
pub const MANY_DEVICES: usize = 30;

/// What one device of a wave has to say to a gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Voice {
    /// It is compared with itself.
    Heard,
    /// It runs the version and could be compared, once it has told enough.
    Silent,
    /// It can be heard and is on its way to the version, and could be compared then.
    Coming,
    /// It cannot be compared, whatever it does: nobody waits for it.
    Mute,
}
impl Voice {
    /// Of a device that is compared already, or `could` be.
    pub fn of(e: &Evidence<'_>, is_heard: bool, could: bool) -> Self {
        match e.standing {
            _ if is_heard => Self::Heard,
            Standing::Ok if could => Self::Silent,
            Standing::OnItsWay if could && e.reachable => Self::Coming,
            _ => Self::Mute,
        }
    }
}

/// The devices of a wave, as one gate hears them: where three could speak, fewer do not answer for the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Voices {
    pub heard: usize,
    pub silent: usize,
    pub coming: usize,
}
impl Voices {
    /// Devices that run the version and are or could be compared.
    pub fn able(&self) -> usize {
        self.heard + self.silent
    }
    /// How many more must be heard before the wave passes. One that is slow or defers is not waited for.
    pub fn wanted_to_pass(&self) -> usize {
        self.wanted_of(self.able())
    }
    /// How many more must be heard before it fails: the first that comes up does not stop it for those on their way.
    pub fn wanted_to_fail(&self) -> usize {
        self.wanted_of(self.able() + self.coming)
    }
    /// A wave that truly has one device or two is decided by those that are heard.
    fn wanted_of(&self, all: usize) -> usize {
        if all < NO_SINGLE_DEVICE { 0 } else { NO_SINGLE_DEVICE.saturating_sub(self.heard) }
    }
}
impl FromIterator<Voice> for Voices {
    fn from_iter<I: IntoIterator<Item = Voice>>(all: I) -> Self {
        let mut voices = Self::default();
        for voice in all {
            match voice {
                Voice::Heard => voices.heard += 1,
                Voice::Silent => voices.silent += 1,
                Voice::Coming => voices.coming += 1,
                Voice::Mute => {}
            }
        }
        voices
    }
}

/// One device against itself. Variances are of `harm`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Pair {
    /// How much worse the new version is on it.
    pub harm: f64,
    /// What more rows of the new version do not take away.
    pub fixed: f64,
    /// What they do: it falls with their number.
    pub rows: f64,
    /// Variance if its rows were independent: devices that agree better than that do so by chance.
    pub least: f64,
    /// Rows of the new version there are, over rows that are asked for.
    pub progress: f64,
}

/// What all devices show together.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Shown {
    /// Mean harm of a device, less what changed for control devices.
    pub harm: f64,
    /// Its standard error.
    pub se: f64,
    /// Information over the information at which looks are cheapest.
    ratio: f64,
    pub pairs: usize,
    /// Part of the variance that more rows take away.
    rows: f64,
}

impl Shown {
    /// Of at least one pair.
    pub fn of(pairs: &[Pair], control: Option<&Shift>) -> Self {
        let n = pairs.len() as f64;
        let sum = |f: fn(&Pair) -> f64| pairs.iter().map(f).sum::<f64>();
        let mean = sum(|p| p.harm) / n;
        let assumed = sum(|p| p.fixed + p.rows) / (n * n);
        let spread = pairs.iter().map(|p| (p.harm - mean).powi(2)).sum::<f64>() / (n - 1.0).max(1.0) / n;
        let spread = spread.max(sum(|p| p.least) / (n * n));
        let own = match pairs.len() {
            1 => assumed,
            n if n < MANY_DEVICES => assumed.max(spread),
            _ => spread,
        };
        let asked = sum(|p| p.fixed + p.rows * p.progress) / (n * n);
        Self {
            harm: mean - control.map_or(0.0, |c| c.mean),
            se: (own + control.map_or(0.0, |c| c.variance)).sqrt(),
            ratio: mixture::BEST * asked / assumed.max(f64::MIN_POSITIVE),
            pairs: pairs.len(),
            rows: sum(|p| p.rows) / (n * n),
        }
    }
    /// How far the harm may be from what is shown, to one side, at this look.
    pub fn reach(&self, alpha: f64) -> f64 {
        let many = self.pairs >= MANY_DEVICES;
        let share = if many { alpha / 2.0 } else { alpha };
        if many {
            let look = mixture::alpha_of_look(share, self.ratio).unwrap_or(0.0);
            let df = u32::try_from(self.pairs - 1).unwrap_or(u32::MAX);
            student(1.0 - look, df) * self.se
        } else {
            mixture::reach(share, self.ratio).unwrap_or(f64::INFINITY) * self.se
        }
    }
    pub fn method(&self) -> &'static str {
        match self.pairs {
            1 => "one device, rows weighed for their correlation",
            n if n < MANY_DEVICES => "paired devices, rows weighed for their correlation",
            _ => "paired devices, spread between devices",
        }
    }
    /// How many times the rows, and how many devices in all, would bring `reach` down to `distance`.
    pub fn wanting(&self, reach: f64, distance: f64) -> (Option<f64>, f64) {
        let now = self.se * self.se;
        let target = now * (distance / reach).powi(2);
        let left = target - (now - self.rows).max(0.0);
        let times = (left > 0.0).then(|| self.rows / left).filter(|t| t.is_finite());
        (times, self.pairs as f64 * now / target.max(f64::MIN_POSITIVE))
    }
}

/// The pairs without the one of the greatest (or least) harm; `None` when they are too few to leave one out.
pub(super) fn without(pairs: &[Pair], greatest: bool) -> Option<Vec<Pair>> {
    if pairs.len() < NO_SINGLE_DEVICE {
        return None;
    }
    let order = |a: &usize, b: &usize| pairs[*a].harm.total_cmp(&pairs[*b].harm);
    let out = if greatest { (0..pairs.len()).max_by(order) } else { (0..pairs.len()).min_by(order) }?;
    let mut rest = pairs.to_vec();
    rest.remove(out);
    Some(rest)
}

/// Whether betting proves the mean harm to be beyond `margin`, each device counting for at most `cap` either way.
pub(super) fn betting_proves(
    pairs: &[Pair],
    control: Option<&Shift>,
    margin: f64,
    cap: f64,
    alpha: f64,
) -> bool {
    let shown = Shown::of(pairs, control);
    let look = mixture::alpha_of_look(alpha / 2.0, shown.ratio).unwrap_or(0.0);
    if pairs.len() < MANY_DEVICES || look <= 0.0 {
        return false;
    }
    let (moved, doubt) = control.map_or((0.0, 0.0), |c| (c.mean, normal(1.0 - look) * c.variance.sqrt()));
    let unit = |x: f64| (x.clamp(-cap, cap) + cap) / (2.0 * cap);
    let values = pairs.iter().map(|p| unit(p.harm - moved));
    let wealth = betting::ln_wealth_above(values, unit(margin + doubt), look);
    wealth.is_ok_and(|w| w >= -look.ln())
}
