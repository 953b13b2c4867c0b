use longshore_stats::profile::Column;
use longshore_stats::quality::attribution::AttributionTable;
use longshore_stats::quality::calibration::ReferenceQuality;
use longshore_stats::quality::regression::ErrorTable;
use longshore_stats::window::Recorder;
use longshore_stats::{Profile, drift::Policy};
use longshore_trust::Digest;

use super::super::{shape::LEVEL, verdict};
use super::*;

fn manifest(classes: &[&str]) -> Manifest {
    let digest = Digest::of(b"x").to_hex();
    let text = serde_json::json!({
        "schema": 1, "model": "m", "version": "1.0.0", "created": "2026-01-31T12:00:00Z",
        "files": [
            {"path": "model.onnx", "role": "model", "sha256": digest, "length": 1},
            {"path": "golden.safetensors", "role": "golden", "sha256": digest, "length": 1},
            {"path": "reference.lsp", "role": "reference", "sha256": digest, "length": 1},
        ],
        "inputs": [{ "name": "x", "dtype": "FP32", "shape": ["N", 2] }],
        "outputs": [{ "name": "y", "dtype": "FP32", "shape": ["N", 2] }],
        "batch": { "axis": 0, "max": 16 },
        "monitor": if classes.is_empty() {
            serde_json::json!({ "error_unit": 0.5 })
        } else {
            serde_json::json!({ "classes": classes, "score_output": "y", "features": [
                { "name": "a", "input": "x", "index": 0 }, { "name": "b", "input": "x", "index": 1 },
            ] })
        },
    });
    Manifest::parse(text.to_string().as_bytes()).unwrap()
}

fn reference() -> Profile {
    let column = |by: i32| Column::Numeric((0..1000).map(|i| Some(f64::from(i * by % 1000))).collect());
    let mut p = Profile::of(&[("a".into(), column(7)), ("b".into(), column(11))]).unwrap();
    let rows: Vec<(usize, usize, f64)> = (0..1000).map(|i| (usize::from(i % 10 == 0), 0, 0.9)).collect();
    p.quality = ReferenceQuality::of(&rows, 2);
    p
}

/// `rows` rows with scores of 0.9; feature `a` moved by `shift`.
fn counters(p: &Profile, rows: u32, shift: f64) -> Counters {
    let mut c = Counters::with_classes(2);
    let mut recorder = Recorder::new(p, LEVEL);
    let mut scores = vec![ScoreTable::default(); 2];
    for i in 0..rows {
        recorder.numbers(&[f64::from(i * 13 % 1000) * (1.0 - shift) + shift, f64::from(i * 17 % 1000)]);
        scores[0].insert(0.9);
        c.latency_us.insert(f64::from(100 + i % 50));
    }
    c.requests = u64::from(rows);
    c.rows = u64::from(rows);
    c.scores = scores;
    c.profile = Some(recorder.take());
    c
}

fn of() -> Version {
    Version { model: "m".parse().unwrap(), bundle: Digest::of(b"b"), version: "1.0.0".into() }
}

fn ask(c: &Counters, m: &Manifest, p: &Profile, quality: bool) -> QualityRow {
    let span = Span { from: UnixMs(0), to: UnixMs(1) };
    let found = verdict::judge(p, &[c.profile.as_ref()], &Policy::default()).unwrap();
    let drift = verdict::rows(&of(), &Cohort::Fleet, p, &found[0], span, UnixMs(1));
    let mut unlabelled = p.clone();
    unlabelled.quality = None;
    let subject = Subject {
        of: &of(),
        cohort: &Cohort::Fleet,
        manifest: m,
        reference: Some(if quality { p } else { &unlabelled }),
        devices: Devices { running: 5, silent: 1 },
        span,
        at: UnixMs(2),
    };
    row(&subject, c, &drift)
}

fn reason(row: &QualityRow) -> String {
    match &row.estimated {
        Estimate::NotEstimable { reason } => reason.clone(),
        Estimate::Estimable { accuracy, .. } => panic!("estimated {accuracy:?}"),
    }
}

#[test]
fn accuracy_is_estimated_where_inputs_are_the_references() {
    let (m, p) = (manifest(&["no", "yes"]), reference());
    let row = ask(&counters(&p, 1000, 0.0), &m, &p, true);
    let Estimate::Estimable { accuracy, assumption } = &row.estimated else { panic!("{:?}", row.estimated) };
    assert!((accuracy.value - 0.9).abs() < 0.01 && accuracy.lo < 0.9 && accuracy.hi > 0.9, "{accuracy:?}");
    assert!(assumption.contains("no concept drift") && accuracy.n == 1000);
    assert_eq!((row.accuracy, row.labelled, row.devices, row.silent_devices), (None, 0, 5, 1));
    let latency = row.latency.unwrap();
    assert!(
        latency.p50.lo < latency.p50.value && latency.p50.value < latency.p99.hi && latency.p50.n == 1000
    );
}

#[test]
fn the_gate_says_why_there_is_no_estimate() {
    let (m, p) = (manifest(&["no", "yes"]), reference());
    assert!(reason(&ask(&counters(&p, 499, 0.0), &m, &p, true)).contains("499 rows"));
    assert!(reason(&ask(&counters(&p, 1000, 0.0), &m, &p, false)).contains("column `label`"));
    let shifted = counters(&p, 1000, 0.4);
    let text = reason(&ask(&shifted, &m, &p, true));
    assert!(text.contains("feature `a` has drifted") && text.contains("counts as important"), "{text}");
    // Explained: what drifted does not matter.
    let mut light = shifted.clone();
    light.attribution = AttributionTable::new(2);
    light.attribution.insert(&[0.01, 0.99]).unwrap();
    assert!(matches!(ask(&light, &m, &p, true).estimated, Estimate::Estimable { .. }));
    let mut heavy = shifted;
    heavy.attribution = AttributionTable::new(2);
    heavy.attribution.insert(&[0.5, 0.5]).unwrap();
    assert!(reason(&ask(&heavy, &m, &p, true)).contains("50 % of the attribution"));
    // The bundle knew it from the start; what either says counts.
    let mut built = p.clone();
    built.attribution = Some(light.attribution.clone());
    let unexplained = Counters { attribution: AttributionTable::default(), ..heavy.clone() };
    assert!(matches!(ask(&unexplained, &m, &built, true).estimated, Estimate::Estimable { .. }));
    assert!(reason(&ask(&heavy, &m, &built, true)).contains("50 % of the attribution"));
    built.attribution = Some(heavy.attribution);
    assert!(reason(&ask(&light, &m, &built, true)).contains("50 % of the attribution"));
    let blind = Counters { profile: None, ..counters(&p, 1000, 0.0) };
    assert!(reason(&ask(&blind, &m, &p, true)).contains("no feature was counted"));
}

#[test]
fn labelled_rows_give_shares_with_intervals() {
    let (m, p) = (manifest(&["no", "yes"]), reference());
    let mut c = counters(&p, 600, 0.0);
    c.confusion = vec![80, 10, 5, 105];
    c.judged = vec![LabelledScores::default(); 2];
    (0..185).for_each(|_| c.judged[0].insert(0.95, true));
    (0..15).for_each(|_| c.judged[1].insert(0.55, false));
    c.errors = 6;
    let row = ask(&c, &m, &p, true);
    let accuracy = row.accuracy.unwrap();
    assert_eq!((accuracy.value, accuracy.n), (0.925, 200));
    assert!(accuracy.lo < 0.925 && accuracy.hi > 0.925);
    let found = row.classification.unwrap();
    assert_eq!(found.confusion, [[80, 10], [5, 105]]);
    assert_eq!(found.classes[1].recall.unwrap().value, 105.0 / 110.0);
    assert_eq!(found.auc.unwrap().value, 1.0);
    assert!(found.brier.unwrap().value < 0.1 && found.ece.unwrap().n == 200);
    assert_eq!(row.error_rate.unwrap().value, 6.0 / 606.0);
}

#[test]
fn a_regression_has_errors_and_no_estimate() {
    let (m, p) = (manifest(&[]), reference());
    let mut c = Counters::default();
    let mut table = ErrorTable::new(0.5).unwrap();
    (0..100).for_each(|i| table.insert(0.0, f64::from(i) / 10.0));
    c.regression = Some(table);
    let row = ask(&c, &m, &p, true);
    let found = row.regression.clone().unwrap();
    let mae = found.mae.unwrap();
    assert!(mae.lo <= 4.95 && 4.95 <= mae.hi && mae.n == 100, "{mae:?}");
    assert!(reason(&row).contains("regression"));
    assert!(row.classification.is_none() && row.fairness.is_none());
}

#[test]
fn an_empty_window_says_nothing() {
    let (m, p) = (manifest(&["no", "yes"]), reference());
    let row = ask(&Counters::default(), &m, &p, true);
    assert_eq!((row.accuracy, row.error_rate, row.latency), (None, None, None));
    assert!(row.classification.is_none());
    reason(&row);
    let json = serde_json::to_string(&row).unwrap();
    assert_eq!(serde_json::from_str::<QualityRow>(&json).unwrap(), row);
}
