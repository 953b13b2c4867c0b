//! Whole rollouts on synthetic counters: devices with effects of their own, looked at all the time, judged by the gates
//! themselves.

use longshore_fleet_core::gate::{
    Canary, Control, Evidence, Figures, Measured, Outcome, Tally, judge_beside,
};
use longshore_fleet_core::policy::{OnFail, Policy, Select};
use longshore_fleet_core::rollout::Standing;

use super::dice::Dice;

const HOUR_MS: u64 = 3_600_000;

/// A fleet and what the new version does to it.
#[derive(Debug, Clone, Copy)]
pub struct World {
    pub devices: usize,
    pub rows_per_hour: u64,
    pub labelled_share: f64,
    /// Hours of the version before that were counted.
    pub history_h: u64,
    /// Minutes between two looks.
    pub look_min: u64,
    /// Share of right answers of the version before.
    pub accuracy: f64,
    /// Correlation of rows within a device.
    pub icc: f64,
    /// How much of that is not the device's but that of device and version together, so that pairs do not cancel it.
    pub own: f64,
    /// How much less accurate the new version is.
    pub harm: f64,
    /// How much less accurate everything becomes, from the moment a rollout starts, whoever runs what.
    pub weather: f64,
    pub error_rate: f64,
    /// How much more rows of the new version fail.
    pub more_errors: f64,
}

impl Default for World {
    /// What the marks are measured with.
    fn default() -> Self {
        Self {
            devices: 1000,
            rows_per_hour: 200,
            labelled_share: 0.2,
            history_h: 24,
            look_min: 15,
            accuracy: 0.9,
            icc: 0.02,
            own: 0.1,
            harm: 0.0,
            weather: 0.0,
            error_rate: 0.002,
            more_errors: 0.0,
        }
    }
}

/// How a rollout ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct End {
    /// What stopped it; `Pass` when nothing did.
    pub outcome: Outcome,
    /// Devices that had the new version by then.
    pub exposed: usize,
}

struct Device {
    accuracy: (f64, f64),
    errors: (f64, f64),
    /// Latency and scores as they would be with endless rows: of the version before, and of the new one.
    ln_p99: (f64, f64),
    shift: (f64, f64),
    before: Tally,
    since: Tally,
    /// Counted when the last wave was opened that it was not in.
    base: Option<Tally>,
    candidate: Tally,
    /// Chance in what latency and scores show, which rows make smaller but not other.
    noise: [f64; 4],
}

impl Device {
    /// All that it counted with the version before.
    fn champion(&self) -> Tally {
        let (a, b) = (self.before, self.since);
        Tally {
            rows: a.rows + b.rows,
            errors: a.errors + b.errors,
            labelled: a.labelled + b.labelled,
            correct: a.correct + b.correct,
        }
    }
}

impl World {
    /// The wave that the rehearsal is asked about.
    pub fn canary(&self, devices: u32, soak_ms: u64) -> Canary {
        Canary {
            devices,
            rows_per_hour: self.rows_per_hour as f64,
            labelled_share: self.labelled_share,
            history_h: self.history_h as f64,
            accuracy: self.accuracy,
            error_rate: self.error_rate,
            soak_ms,
            has_shadow: false,
        }
    }

    fn device(&self, dice: &mut Dice) -> Device {
        let per_row = |p: f64| p * (1.0 - p);
        let (old, new) = (self.accuracy, self.accuracy - self.harm);
        let level = dice.rate(old, self.icc * (1.0 - self.own));
        let apart = dice.normal() * (self.own * self.icc * (per_row(old) + per_row(new))).sqrt();
        let errors = dice.rate(self.error_rate, self.icc);
        let level_ms = 3.0 + 0.3 * dice.normal();
        let mut d = Device {
            accuracy: (level, (level - self.harm + apart).clamp(0.0, 1.0)),
            errors: (errors, dice.rate((errors + self.more_errors).min(1.0), self.own * self.icc)),
            ln_p99: (level_ms, level_ms + 0.1 * dice.normal()),
            shift: (0.02 * dice.normal().abs(), 0.02 * dice.normal().abs()),
            before: Tally::default(),
            since: Tally::default(),
            base: None,
            candidate: Tally::default(),
            noise: std::array::from_fn(|_| dice.normal()),
        };
        let rows = self.rows_per_hour * self.history_h;
        let mut before = d.before;
        self.count(&mut before, d.accuracy.0, d.errors.0, rows, dice);
        d.before = before;
        d
    }

    fn count(&self, t: &mut Tally, accuracy: f64, errors: f64, rows: u64, dice: &mut Dice) {
        let failed = dice.hits(rows, errors);
        let labelled = dice.hits(rows - failed, self.labelled_share);
        t.rows += rows - failed;
        t.errors += failed;
        t.labelled += labelled;
        t.correct += dice.hits(labelled, accuracy);
    }

    fn measured(d: &Device) -> Measured {
        let n = |t: &Tally| (t.rows + t.errors).max(1) as f64;
        let champion = d.champion();
        let (old, new) = (n(&champion), n(&d.candidate));
        // Rows of a 99th percentile, and a chi-square of nineteen degrees less its mean.
        let p99 = |ln: f64, n: f64, z: f64| Some((ln + z * (25.0 / n).sqrt()).exp() * 1000.0);
        let psi = |shift: f64, n: f64, z: f64| Some(shift + z * 38f64.sqrt() / n);
        Measured {
            now: Figures {
                p99_us: p99(d.ln_p99.1, new, d.noise[0]),
                score_shift: psi(d.shift.1, new, d.noise[1]),
                estimated: None,
            },
            before: Figures {
                p99_us: p99(d.ln_p99.0, old, d.noise[2]),
                score_shift: psi(d.shift.0, old, d.noise[3]),
                estimated: None,
            },
            control: d.base,
            ..Measured::default()
        }
    }
    fn evidence<'a>((d, measured): (&Device, &'a Measured)) -> Evidence<'a> {
        let (candidate, champion) = (d.candidate, Some(d.champion()));
        Evidence { standing: Standing::Ok, reachable: true, candidate, champion, measured }
    }

    /// One rollout by `policy`, judged at every look; a harm or a deadline ends it.
    pub fn rollout(&self, policy: &Policy, seed: u64) -> End {
        let mut dice = Dice::new(seed);
        let mut fleet: Vec<Device> = (0..self.devices).map(|_| self.device(&mut dice)).collect();
        let mut exposed = 0;
        for wave in &policy.waves {
            let left = self.devices - exposed;
            let size = match &wave.select {
                Select::Rest => left,
                select => select.cap(self.devices).unwrap_or(0).min(left),
            };
            if size == 0 {
                continue;
            }
            let from = exposed;
            exposed += size;
            fleet[exposed..].iter_mut().for_each(|d| d.base = Some(d.champion()));
            let outcome = self.wave(policy, wave.soak_ms, &mut fleet, (from, exposed), &mut dice);
            if outcome != Outcome::Pass {
                return End { outcome, exposed };
            }
        }
        End { outcome: Outcome::Pass, exposed }
    }

    fn wave(
        &self,
        policy: &Policy,
        soak_ms: u64,
        fleet: &mut [Device],
        (from, to): (usize, usize),
        dice: &mut Dice,
    ) -> Outcome {
        let gate = &policy.gate;
        let step = self.look_min * 60_000;
        let rows = self.rows_per_hour * step / HOUR_MS;
        let mut now = 0;
        loop {
            now += step;
            for d in &mut fleet[from..to] {
                let mut t = d.candidate;
                self.count(&mut t, d.accuracy.1 - self.weather, d.errors.1, rows, dice);
                d.candidate = t;
            }
            for d in &mut fleet[to..] {
                let mut t = d.since;
                self.count(&mut t, d.accuracy.0 - self.weather, d.errors.0, rows, dice);
                d.since = t;
            }
            let measured: Vec<Measured> = fleet[from..to].iter().map(Self::measured).collect();
            let wave: Vec<Evidence<'_>> = fleet[from..to].iter().zip(&measured).map(Self::evidence).collect();
            let controls: Vec<Control> = fleet[to..]
                .iter()
                .filter_map(|d| Some(Control { before: d.base?, since: d.champion().since(&d.base?) }))
                .collect();
            let outcome = judge_beside(gate, &wave, &controls, 0, policy.waves.len()).outcome;
            match outcome {
                Outcome::Fail => return Outcome::Fail,
                Outcome::Pass if now >= soak_ms => return Outcome::Pass,
                _ if now >= gate.deadline_ms => return Outcome::Inconclusive,
                _ => {}
            }
        }
    }
}

/// Of many rollouts, how they ended.
#[derive(Debug, Clone, Copy, Default)]
pub struct Ends {
    pub rollouts: usize,
    /// A harm was proven.
    pub failed: usize,
    /// The deadline came first.
    pub inconclusive: usize,
    /// Of both, those that ended with less than a tenth of the fleet exposed.
    pub early: usize,
    /// Of the proven ones, the same.
    pub early_failed: usize,
}

impl Ends {
    pub fn of(world: &World, policy: &Policy, rollouts: usize, seed: u64) -> Self {
        assert_eq!(policy.gate.on_inconclusive, OnFail::Pause, "an inconclusive wave stops a rollout");
        let mut all = Self { rollouts, ..Self::default() };
        for k in 0..rollouts as u64 {
            let end = world.rollout(policy, seed.wrapping_mul(1_000_003).wrapping_add(k));
            let early = usize::from(end.exposed * 10 < world.devices);
            match end.outcome {
                Outcome::Fail => {
                    all.failed += 1;
                    all.early += early;
                    all.early_failed += early;
                }
                Outcome::Inconclusive => {
                    all.inconclusive += 1;
                    all.early += early;
                }
                _ => {}
            }
        }
        all
    }
    pub fn share(&self, of: usize) -> f64 {
        of as f64 / self.rollouts as f64
    }
    pub fn stopped(&self) -> f64 {
        self.share(self.failed + self.inconclusive)
    }
}
