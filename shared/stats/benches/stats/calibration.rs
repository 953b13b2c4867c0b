//! Does the test keep its promise, and does it find what is there?

use longshore_stats::drift::{self, FeatureDrift, Policy, Verdict};
use longshore_stats::nesting::Level;
use longshore_stats::profile::{Column, Profile};
use longshore_stats::{Recorder, fdr, rows};
use serde_json::{Value, json};

use crate::draw::Draw;

const WINDOWS: [usize; 8] = [100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000];
const TRIALS: u32 = 2_000;

/// Ways a feature can be distributed.
type Shape = fn(&mut Draw) -> f64;
const SHAPES: [(&str, Shape); 4] = [
    ("normal", Draw::normal),
    ("whole numbers", |d| (d.normal() * 2.0).round()),
    ("half zeros", |d| if d.uniform() < 0.5 { 0.0 } else { d.normal().exp() }),
    ("heavy tails", |d| d.normal() / d.uniform()),
];

fn profile(values: &[f64]) -> Profile {
    let column = Column::Numeric(values.iter().copied().map(Some).collect());
    Profile::of(&[("x".to_owned(), column)]).unwrap()
}

fn judged(profile: &Profile, current: &[f64]) -> (FeatureDrift, Verdict) {
    let mut r = Recorder::new(profile, Level::Bins64);
    current.iter().for_each(|v| r.numbers(&[*v]));
    let d = drift::compare(&profile.features[0], &r.window().features[0], Level::Bins64);
    (d, drift::verdict(&d.evidence, d.evidence.p(), &Policy::default()))
}

/// The folklore beside it: deciles, PSI above 0.1.
fn folklore(reference: &[f64], current: &[f64]) -> bool {
    let (a, b) =
        (rows::sorted_finite(reference.iter().copied()), rows::sorted_finite(current.iter().copied()));
    let edges = rows::quantile_edges(&a, 10);
    longshore_stats::distance::psi(&rows::counts(&a, &edges), &rows::counts(&b, &edges)).unwrap() > 0.1
}

fn share(hits: u32, of: u32) -> f64 {
    (f64::from(hits) / f64::from(of) * 1e4).round() / 1e4
}

/// Reference and window from the same distribution: how often is that called a difference?
pub fn false_alarms() -> Value {
    let mut out = Vec::new();
    let mut worst = 0.0f64;
    for window in WINDOWS {
        let mut line = json!({ "window": window });
        let trials = if window > 5_000 { TRIALS / 2 } else { TRIALS };
        let mut by_folklore = 0;
        for (s, (name, shape)) in SHAPES.iter().enumerate() {
            let mut draw = Draw::new(1_000 * window as u64 + s as u64);
            let (mut significant, mut drifted) = (0, 0);
            for _ in 0..trials {
                let reference: Vec<f64> = (0..2_000).map(|_| shape(&mut draw)).collect();
                let current: Vec<f64> = (0..window).map(|_| shape(&mut draw)).collect();
                let (d, v) = judged(&profile(&reference), &current);
                significant += u32::from(d.evidence.p() <= 0.01);
                drifted += u32::from(matches!(v, Verdict::Drifted { .. }));
                by_folklore += u32::from(s == 0 && folklore(&reference, &current));
            }
            worst = worst.max(share(significant, trials));
            line[*name] =
                json!({ "significant": share(significant, trials), "drifted": share(drifted, trials) });
        }
        line["psi_above_0.1"] = json!(share(by_folklore, trials));
        out.push(line);
    }
    json!({ "alpha": 0.01, "reference": 2_000, "worst": worst, "ok": worst <= 0.02, "windows": out })
}

/// A shift by a quarter of a standard deviation: how often is it found?
pub fn power() -> Value {
    let mut draw = Draw::new(7);
    let (mut found, mut by_folklore) = (0, 0);
    for _ in 0..TRIALS {
        let reference: Vec<f64> = (0..2_000).map(|_| draw.normal()).collect();
        let current: Vec<f64> = (0..1_000).map(|_| draw.normal() + 0.25).collect();
        found += u32::from(matches!(judged(&profile(&reference), &current).1, Verdict::Drifted { .. }));
        by_folklore += u32::from(folklore(&reference, &current));
    }
    let power = share(found, TRIALS);
    json!({ "shift": 0.25, "reference": 2_000, "window": 1_000, "power": power, "ok": power >= 0.95,
            "psi_above_0.1": share(by_folklore, TRIALS) })
}

/// How often does the interval of the effect hold the true effect? The truth is taken from two million rows.
pub fn coverage() -> Value {
    let mut out = Vec::new();
    for shift in [0.0, 0.1, 0.25, 0.5, 1.0] {
        let mut draw = Draw::new(11);
        let mut inside = 0;
        for _ in 0..400 {
            let reference: Vec<f64> = (0..2_000).map(|_| draw.normal()).collect();
            let current: Vec<f64> = (0..1_000).map(|_| draw.normal() + shift).collect();
            let profile = profile(&reference);
            let (d, _) = judged(&profile, &current);
            // The true effect over these very bins, from the normal distribution itself.
            let longshore_stats::profile::FeatureValues::Numeric(h) = &profile.features[0].values else {
                continue;
            };
            let coarse = h.at_level(Level::Bins8);
            let cdf = |x: f64| longshore_stats::special::normal_cdf(x);
            let edges: Vec<f64> =
                std::iter::once(f64::NEG_INFINITY).chain(coarse.edges).chain([f64::INFINITY]).collect();
            let truth: f64 = edges
                .windows(2)
                .map(|e| {
                    let p = cdf(e[1]) - cdf(e[0]);
                    let q = cdf(e[1] - shift) - cdf(e[0] - shift);
                    if p > 0.0 && q > 0.0 { (p - q) * (p / q).ln() } else { 0.0 }
                })
                .sum();
            let i = d.evidence.interval;
            inside += u32::from(i.lo <= truth && truth <= i.hi);
        }
        out.push(json!({ "shift": shift, "holds": share(inside, 400) }));
    }
    json!({ "promised": 0.95, "shifts": out })
}

/// A hundred features of which none has drifted: how often is any called drifted?
pub fn many_features() -> Value {
    let mut draw = Draw::new(13);
    let (mut corrected, mut uncorrected) = (0, 0);
    let trials = 200;
    for _ in 0..trials {
        let p: Vec<f64> = (0..100)
            .map(|_| {
                let reference: Vec<f64> = (0..1_000).map(|_| draw.normal()).collect();
                let current: Vec<f64> = (0..500).map(|_| draw.normal()).collect();
                judged(&profile(&reference), &current).0.evidence.p()
            })
            .collect();
        uncorrected += u32::from(p.iter().any(|p| *p <= 0.01));
        corrected += u32::from(fdr::adjusted(&p).iter().any(|q| *q <= 0.01));
    }
    json!({ "features": 100, "any_alarm": share(corrected, trials), "any_alarm_uncorrected": share(uncorrected, trials) })
}
