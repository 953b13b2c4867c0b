//! Accuracy without labels: is it right where it speaks, and silent where it cannot know?

use std::path::Path;

use longshore_stats::drift::{self, Policy, Verdict};
use longshore_stats::nesting::Level;
use longshore_stats::profile::{Column, Profile};
use longshore_stats::quality::attribution::{AttributionTable, Plan};
use longshore_stats::quality::calibration::Calibration;
use longshore_stats::quality::cbpe::{self, Estimated, FeatureState, NotEstimable};
use longshore_stats::quality::scores::{LabelledScores, ScoreTable};
use longshore_stats::{Recorder, fdr};
use serde_json::{Value, json};

use crate::draw::Draw;

type Rows = Vec<(Vec<f64>, usize)>;

/// Softmax regression by gradient descent: enough of a model to be right or wrong.
struct Model {
    weights: Vec<Vec<f64>>,
    scale: f64,
}

impl Model {
    fn train(rows: &Rows, classes: usize, scale: f64, steps: usize, rate: f64) -> Self {
        let d = rows[0].0.len();
        let mut model = Self { weights: vec![vec![0.0; d + 1]; classes], scale };
        for _ in 0..steps {
            let mut gradient = vec![vec![0.0; d + 1]; classes];
            for (x, y) in rows {
                for (c, p) in model.scores(x).into_iter().enumerate() {
                    let error = p - f64::from(u8::from(c == *y));
                    gradient[c].iter_mut().zip(x).for_each(|(g, v)| *g += error * v / scale);
                    gradient[c][d] += error;
                }
            }
            for (w, g) in model.weights.iter_mut().flatten().zip(gradient.iter().flatten()) {
                *w -= rate * g / rows.len() as f64;
            }
        }
        model
    }
    fn scores(&self, x: &[f64]) -> Vec<f64> {
        let logit = |w: &Vec<f64>| w[x.len()] + w.iter().zip(x).map(|(w, v)| w * v / self.scale).sum::<f64>();
        let logits: Vec<f64> = self.weights.iter().map(logit).collect();
        let most = logits.iter().fold(f64::MIN, |m, v| m.max(*v));
        let e: Vec<f64> = logits.iter().map(|l| (l - most).exp()).collect();
        let sum: f64 = e.iter().sum();
        e.into_iter().map(|v| v / sum).collect()
    }
    /// Predicted class and its score.
    fn answer(&self, x: &[f64]) -> (usize, f64) {
        let scores = self.scores(x);
        let best = (0..scores.len()).max_by(|a, b| scores[*a].total_cmp(&scores[*b])).unwrap();
        (best, scores[best])
    }
    fn accuracy(&self, rows: &Rows) -> f64 {
        rows.iter().filter(|(x, y)| self.answer(x).0 == *y).count() as f64 / rows.len() as f64
    }
}

/// What an author ships: profile, calibration, and which features matter.
struct Reference {
    profile: Profile,
    calibration: Calibration,
    shares: Vec<f64>,
}

impl Reference {
    fn of(model: &Model, rows: &Rows) -> Self {
        let d = rows[0].0.len();
        let column = |i: usize| Column::Numeric(rows.iter().map(|(x, _)| Some(x[i])).collect());
        let columns: Vec<(String, Column)> = (0..d).map(|i| (format!("f{i}"), column(i))).collect();
        let mut top = LabelledScores::default();
        for (x, y) in rows {
            let (class, score) = model.answer(x);
            top.insert(score, class == *y);
        }
        let baseline: Vec<f64> =
            (0..d).map(|i| rows.iter().map(|(x, _)| x[i]).sum::<f64>() / rows.len() as f64).collect();
        let mut table = AttributionTable::new(d);
        for (i, (x, _)) in rows.iter().take(200).enumerate() {
            let plan = Plan::new(d, 2, i as u64).unwrap();
            let class = model.answer(x).0;
            let run = |mask: &u64| {
                let mixed: Vec<f64> =
                    (0..d).map(|i| if mask >> i & 1 == 1 { x[i] } else { baseline[i] }).collect();
                model.scores(&mixed)[class]
            };
            let outputs: Vec<f64> = plan.coalitions().iter().map(run).collect();
            table.insert(&plan.attributions(&outputs).unwrap()).unwrap();
        }
        Self {
            profile: Profile::of(&columns).unwrap(),
            calibration: Calibration::of(&top).unwrap(),
            shares: table.shares().unwrap(),
        }
    }
    fn estimate(&self, model: &Model, rows: &Rows) -> Result<Estimated, NotEstimable> {
        let mut recorder = Recorder::new(&self.profile, Level::Bins32);
        let mut scores = ScoreTable::default();
        for (x, _) in rows {
            recorder.numbers(x);
            scores.insert(model.answer(x).1);
        }
        let window = recorder.take();
        let evidence: Vec<_> = self
            .profile
            .features
            .iter()
            .zip(&window.features)
            .map(|(f, w)| drift::compare(f, w, Level::Bins32).evidence)
            .collect();
        let q = fdr::adjusted(&evidence.iter().map(drift::Evidence::p).collect::<Vec<_>>());
        let states: Vec<FeatureState> = evidence
            .iter()
            .zip(q)
            .zip(&self.shares)
            .map(|((e, q), share)| {
                let drifted = matches!(drift::verdict(e, q, &Policy::default()), Verdict::Drifted { .. });
                FeatureState { drifted, attribution: Some(*share) }
            })
            .collect();
        cbpe::accuracy(&scores, &self.calibration, window.rows_out_of_range, &states)
    }
}

/// Thirty features of unequal weight, a noisy truth.
fn task(draw: &mut Draw, rows: usize) -> Rows {
    (0..rows)
        .map(|_| {
            let x: Vec<f64> = (0..30).map(|_| draw.normal()).collect();
            let z: f64 = x.iter().enumerate().map(|(i, v)| v * 2.0 * 0.85f64.powi(i as i32)).sum();
            let y = usize::from(draw.uniform() < 1.0 / (1.0 + (-z).exp()));
            (x, y)
        })
        .collect()
}

fn rounded(v: f64) -> f64 {
    (v * 1e4).round() / 1e4
}

/// Ways a sensor breaks, none of which leaves the reference's range.
type Break = fn(f64) -> f64;
const BREAKS: [(&str, Break); 4] = [
    ("stuck", |_| 0.3),
    ("offset", |v| (v + 1.0).clamp(-3.0, 3.0)),
    ("sign", |v| if v > 0.0 { v } else { -v }),
    ("quantised", |v| (v * 0.5).round() * 2.0),
];

/// A task of thirty features: in support, then with each feature broken in turn.
pub fn synthetic() -> Value {
    let mut draw = Draw::new(17);
    let model = Model::train(&task(&mut draw, 3_000), 2, 1.0, 200, 1.0);
    let reference = Reference::of(&model, &task(&mut draw, 20_000));
    let (mut worst, mut sum, mut refused, runs) = (0.0f64, 0.0, 0, 20);
    for _ in 0..runs {
        let rows = task(&mut draw, 20_000);
        match reference.estimate(&model, &rows) {
            Ok(e) => {
                let error = (e.value - model.accuracy(&rows)).abs();
                worst = worst.max(error);
                sum += error;
            }
            Err(_) => refused += 1,
        }
    }
    let (mut heavy, mut heavy_refused, mut light, mut light_worst) = (0, 0, 0, 0.0f64);
    let rows = task(&mut draw, 5_000);
    for feature in 0..30 {
        for (_, broken) in BREAKS {
            let broken: Rows = rows
                .iter()
                .cloned()
                .map(|(mut x, y)| {
                    x[feature] = broken(x[feature]);
                    (x, y)
                })
                .collect();
            let got = reference.estimate(&model, &broken);
            if reference.shares[feature] >= cbpe::ATTRIBUTION_MIN {
                heavy += 1;
                heavy_refused += u32::from(got.is_err());
            } else if let Ok(e) = got {
                light += 1;
                light_worst = light_worst.max((e.value - model.accuracy(&broken)).abs());
            }
        }
    }
    json!({
        "in_support": { "windows": runs, "rows": 20_000, "refused": refused, "mean_error": rounded(sum / f64::from(runs - refused)),
                        "worst_error": rounded(worst), "accuracy": rounded(model.accuracy(&rows)), "ok": worst <= 0.01 && refused == 0 },
        "one_broken_of_thirty": { "important": heavy, "refused": heavy_refused, "ok": heavy == heavy_refused,
                                  "unimportant_estimated": light, "their_worst_error": rounded(light_worst) },
    })
}

fn read_digits() -> Rows {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/meter-digits/field/stream.csv");
    let mut reader = csv::Reader::from_path(path).unwrap();
    reader
        .records()
        .map(|r| {
            let cells: Vec<f64> = r.unwrap().iter().map(|c| c.parse().unwrap()).collect();
            (cells[..64].to_vec(), cells[64] as usize)
        })
        .collect()
}

/// The picture one pixel to the right, what leaves it lost.
fn moved(x: &[f64]) -> Vec<f64> {
    (0..64).map(|i| if i % 8 == 0 { 0.0 } else { x[i - 1] }).collect()
}

/// Real digits: of 800 labelled pictures, half to learn from, half as the author's reference. "In support" are windows
/// drawn again from the reference itself. Pictures that the reference has never seen are refused too, and must be: of 64
/// pixels some always leave the range of 200 pictures.
pub fn digits() -> Value {
    let mut draw = Draw::new(19);
    let mut all = read_digits();
    draw.shuffle(&mut all);
    let kept = all.split_off(400);
    let model = Model::train(&all, 10, 16.0, 300, 4.0);
    let reference = Reference::of(&model, &kept);
    let mut again =
        |rows: usize| -> Rows { (0..rows).map(|_| kept[draw.below(kept.len())].clone()).collect() };
    let (mut worst, mut sum, mut refused, runs) = (0.0f64, 0.0, 0, 20);
    for _ in 0..runs {
        let rows = again(5_000);
        match reference.estimate(&model, &rows) {
            Ok(e) => {
                let error = (e.value - model.accuracy(&rows)).abs();
                worst = worst.max(error);
                sum += error;
            }
            Err(_) => refused += 1,
        }
    }
    let shifted: Rows = again(1_000).into_iter().map(|(x, y)| (moved(&x), y)).collect();
    let answer = reference.estimate(&model, &shifted);
    let half: Rows = kept[..200].to_vec();
    let unseen: Rows = kept[200..].iter().cycle().take(1_000).cloned().collect();
    let fresh = Reference::of(&model, &half).estimate(&model, &unseen);
    let why = |r: &Result<Estimated, NotEstimable>| r.as_ref().err().map(ToString::to_string);
    json!({
        "in_support": { "windows": runs, "rows": 5_000, "refused": refused, "mean_error": rounded(sum / f64::from(runs - refused)),
                        "worst_error": rounded(worst), "accuracy": rounded(model.accuracy(&kept)), "ok": worst <= 0.01 && refused == 0 },
        "shifted_by_a_pixel": { "accuracy": rounded(model.accuracy(&shifted)), "refused": answer.is_err(), "why": why(&answer) },
        "unseen_pictures_reference_of_200": { "refused": fresh.is_err(), "why": why(&fresh) },
    })
}
