use longshore_stats::profile::Column;
use longshore_stats::window::Value;

use super::*;

/// `features` features of 2,000 evenly spread values.
fn reference(features: usize) -> Profile {
    let column =
        |f: usize| Column::Numeric((0..2000).map(|i| Some(f64::from((i * 7 + f as i32) % 2000))).collect());
    let columns: Vec<_> = (0..features).map(|f| (format!("f{f}"), column(f))).collect();
    Profile::of(&columns).unwrap()
}

/// `rows` rows like the reference; feature 0 moved by `shift`.
fn window(reference: &Profile, rows: u32, shift: f64) -> WindowProfile {
    let mut recorder = Recorder::new(reference, LEVEL);
    let mut state = 12_345u64;
    for _ in 0..rows {
        let row: Vec<f64> = (0..reference.features.len())
            .map(|f| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                ((state >> 33) % 2000) as f64 + if f == 0 { shift } else { 0.0 }
            })
            .collect();
        recorder.numbers(&row);
    }
    recorder.take()
}

fn states(found: &[Vec<FeatureVerdict>]) -> Vec<Vec<State>> {
    found.iter().map(|s| s.iter().map(FeatureVerdict::state).collect()).collect()
}

#[test]
fn a_shift_is_drift_and_too_few_rows_are_never_no_drift() {
    use State::{Drifted, Insufficient, Stable};
    let r = reference(2);
    let subjects =
        [window(&r, 2000, 0.0), window(&r, 2000, 400.0), window(&r, 79, 400.0), window(&r, 1, 0.0)];
    let mut all: Vec<Option<&WindowProfile>> = subjects.iter().map(Some).collect();
    all.push(None);
    let found = judge(&r, &all, &Policy::default()).unwrap();
    let want = [
        [Stable, Stable],
        [Drifted, Stable],
        [Insufficient, Insufficient],
        [Insufficient, Insufficient],
        [Insufficient, Insufficient],
    ];
    assert_eq!(states(&found), want);
    assert_eq!(found[4][0].effect(), None, "of nothing nothing is said");
    assert!(found[4][0].p_adjusted.is_nan());
    let drifted = &found[1][0];
    let (effect, ks) = (drifted.effect().unwrap(), ks(drifted).unwrap());
    assert!(effect.lo > 0.02 && effect.lo <= effect.value && effect.value <= effect.hi && effect.n == 2000);
    // 400 of 2000 to the right: the distribution functions are 0.2 apart.
    assert!(ks.lo <= 0.22 && ks.hi >= 0.18 && ks.lo > 0.1, "{ks:?}");
}

#[test]
fn a_small_reference_gives_no_verdict() {
    let r =
        Profile::of(&[("f".into(), Column::Numeric((0..8).map(|i| Some(f64::from(i))).collect()))]).unwrap();
    let mut recorder = Recorder::new(&r, LEVEL);
    (0..10_000).for_each(|_| recorder.numbers(&[100.0]));
    let found = judge(&r, &[Some(&recorder.window())], &Policy::default()).unwrap();
    assert_eq!(states(&found), [[State::Insufficient]]);
}

#[test]
fn p_values_are_corrected_over_features_and_cohorts_together() {
    let r = reference(3);
    let windows: Vec<WindowProfile> =
        (0..4).map(|i| window(&r, 1000 + 7 * i, if i == 0 { 150.0 } else { 0.0 })).collect();
    let subjects: Vec<Option<&WindowProfile>> = windows.iter().map(Some).collect();
    let found = judge(&r, &subjects, &Policy::default()).unwrap();
    let p: Vec<f64> = found.iter().flatten().map(|v| v.drift.evidence.p()).collect();
    let q: Vec<f64> = found.iter().flatten().map(|v| v.p_adjusted).collect();
    assert_eq!(p.len(), 12);
    assert_eq!(q, fdr::adjusted(&p));
    let alone = judge(&r, &subjects[..1], &Policy::default()).unwrap();
    let (one, of_many) = (alone[0][0].p_adjusted, found[0][0].p_adjusted);
    assert!(one > 0.0 && of_many > 3.9 * one, "the family is all of them: {one} {of_many}");
}

#[test]
fn profiles_of_another_reference_are_a_typed_refusal() {
    let (r, other) = (reference(2), reference(3));
    let of_other = window(&other, 100, 0.0);
    let refused = judge(&r, &[Some(&of_other)], &Policy::default()).unwrap_err();
    assert!(matches!(refused, WindowMergeError::OtherReference(..)));
    let mut damaged = window(&r, 100, 0.0);
    damaged.features.pop();
    assert!(matches!(judge(&r, &[Some(&damaged)], &Policy::default()), Err(WindowMergeError::OtherShape(_))));
    assert!(is_of(&r, &window(&r, 1, 0.0)) && !is_of(&r, &of_other));
}

#[test]
fn counts_beyond_two_to_the_53_are_judged() {
    let r = reference(1);
    let mut big = window(&r, 6400, 0.0);
    big.features[0].counts.iter_mut().for_each(|n| *n <<= 50);
    big.rows <<= 50;
    let found = judge(&r, &[Some(&big)], &Policy::default()).unwrap();
    assert_eq!(states(&found), [[State::Stable]]);
    assert_eq!(found[0][0].effect().unwrap().n, 6400 << 50);
}

#[test]
fn a_feature_that_vanishes_has_drifted() {
    let r = reference(2);
    let mut recorder = Recorder::new(&r, LEVEL);
    for i in 0..2000 {
        recorder.row(&[Value::Missing, Value::Number(f64::from(i))]);
    }
    let found = judge(&r, &[Some(&recorder.window())], &Policy::default()).unwrap();
    assert_eq!(states(&found), [[State::Drifted, State::Stable]]);
    assert_eq!(ks(&found[0][0]), None, "there is no number to measure a distance by");
}

#[test]
fn one_device_of_a_cohort_stands_out_against_the_rest_of_it() {
    let r = reference(1);
    let (odd, usual) = (window(&r, 1500, 500.0), window(&r, 1500, 0.0));
    let mut cohort = odd.clone();
    (0..6).for_each(|_| cohort.merge(&usual).unwrap());
    let evidence = [against_rest(&r, &cohort, &odd)[0], against_rest(&r, &cohort, &usual)[0]];
    assert_eq!((evidence[0].n, evidence[0].m), (9000, 1500));
    let found = outliers(&evidence, &Policy::default());
    let names: Vec<State> = found.iter().map(|(_, v)| State::from(v)).collect();
    assert_eq!(names[0], State::Drifted);
    assert!(evidence[0].effect > 10.0 * evidence[1].effect);
}

#[test]
fn rows_say_what_they_rest_on() {
    let r = reference(2);
    let w = window(&r, 2000, 400.0);
    let of = Version {
        model: "m".parse().unwrap(),
        bundle: longshore_trust::Digest::of(b"b"),
        version: "1.0.0".into(),
    };
    let span = Span { from: UnixMs(0), to: UnixMs(10) };
    let found = judge(&r, &[Some(&w), None], &Policy::default()).unwrap();
    let shown = rows(&of, &Cohort::Fleet, &r, &found[0], span, UnixMs(11));
    assert_eq!(
        (shown.len(), shown[0].feature.as_str(), shown[0].n, shown[0].n_reference),
        (2, "f0", 2000, 2000)
    );
    assert!(shown[0].p_adjusted.unwrap() < 1e-6 && shown[0].rows_needed == 80);
    let nothing = rows(&of, &Cohort::Fleet, &r, &found[1], span, UnixMs(11));
    assert_eq!((nothing[0].p, nothing[0].effect, nothing[0].n), (None, None, 0));
    let json = serde_json::to_string(&nothing).unwrap();
    assert_eq!(serde_json::from_str::<Vec<DriftRow>>(&json).unwrap(), nothing);
}
