use super::*;
use crate::profile::{Column, Profile};
use crate::window::{Recorder, Value};

fn reference(values: Vec<Option<f64>>) -> Profile {
    Profile::of(&[("x".to_owned(), Column::Numeric(values))]).unwrap()
}
fn ramp(rows: usize) -> Vec<Option<f64>> {
    (0..rows).map(|i| Some((i * 7919 % rows) as f64 / rows as f64)).collect()
}
fn judged(profile: &Profile, current: &[Value<'_>]) -> (FeatureDrift, Verdict) {
    let mut r = Recorder::new(profile, Level::Bins64);
    current.iter().for_each(|v| r.row(&[*v]));
    let d = compare(&profile.features[0], &r.window().features[0], Level::Bins64);
    let v = verdict(&d.evidence, d.evidence.p(), &Policy::default());
    (d, v)
}
fn numbers(values: impl IntoIterator<Item = f64>) -> Vec<Value<'static>> {
    values.into_iter().map(Value::Number).collect()
}

#[test]
fn the_same_data_are_stable_and_a_shift_is_drift() {
    let profile = reference(ramp(2000));
    let same: Vec<f64> = ramp(1000).into_iter().flatten().collect();
    assert_eq!(judged(&profile, &numbers(same.clone())).1.name(), "stable");
    let (d, v) = judged(&profile, &numbers(same.iter().map(|v| v + 0.2)));
    assert_eq!(v.name(), "drifted");
    let b = d.bounds.unwrap();
    assert!(b.ks.lo <= 0.2 && 0.2 <= b.ks.hi && d.evidence.interval.lo > 0.1);
    assert_eq!(d.evidence.bins, 8);
}

#[test]
fn few_rows_are_insufficient_and_never_no_drift() {
    let profile = reference(ramp(2000));
    for rows in [0, 1, 8, 79] {
        let (_, v) = judged(&profile, &numbers((0..rows).map(|i| f64::from(i) + 50.0)));
        assert!(matches!(v, Verdict::Insufficient { .. }), "{rows} rows: {v:?}");
    }
    let eight = reference(ramp(8));
    assert_eq!(
        judged(&eight, &numbers((0..5000).map(f64::from))).1,
        Verdict::Insufficient { rows: 8, needed: 80 }
    );
}

#[test]
fn what_cannot_be_excluded_is_undecided() {
    let profile = reference(ramp(100));
    // Not significant, but a hundred rows against a hundred could hide a shift that matters.
    let current = ramp(100).into_iter().flatten().map(|v| v * 0.95 + 0.03);
    let (d, v) = judged(&profile, &numbers(current));
    assert!(d.evidence.p() > 0.01 && v.name() == "undecided", "{v:?} {d:?}");
}

#[test]
fn a_tiny_difference_is_not_drift_however_sure() {
    let profile = reference(ramp(60_000));
    let current = ramp(60_000).into_iter().flatten().map(|v| v * 1.02 - 0.01);
    let (d, v) = judged(&profile, &numbers(current));
    assert!(d.evidence.p() < 1e-6 && d.evidence.effect < 0.02, "{d:?}");
    assert_eq!((v.name(), d.evidence.bins), ("stable", 16));
}

#[test]
fn a_feature_that_vanishes_or_changes_type_or_turns_nan_has_drifted() {
    let profile = reference(ramp(2000));
    for value in [Value::Missing, Value::Word("red"), Value::Number(f64::NAN), Value::Number(f64::INFINITY)] {
        let (d, v) = judged(&profile, &[value; 400]);
        assert_eq!(v.name(), "drifted", "{value:?}");
        assert_eq!((d.distances, d.bounds), (None, None));
    }
}

#[test]
fn a_constant_feature_is_stable_until_it_moves() {
    let profile = reference(vec![Some(3.0); 500]);
    assert_eq!(judged(&profile, &numbers([3.0; 300])).1.name(), "stable");
    for moved in [2.0, 3.0f64.next_up(), 3.0f64.next_down(), 1e300] {
        assert_eq!(judged(&profile, &numbers([moved; 300])).1.name(), "drifted", "{moved}");
    }
}

#[test]
fn unseen_categories_are_drift_and_are_told_apart() {
    let words = ["a", "b", "c"].iter().cycle().take(900).map(|w| Some((*w).to_owned())).collect();
    let profile = Profile::of(&[("x".to_owned(), Column::Categorical(words))]).unwrap();
    let same: Vec<Value<'_>> = ["a", "b", "c"].iter().cycle().take(600).map(|w| Value::Word(w)).collect();
    assert_eq!(judged(&profile, &same).1.name(), "stable");
    let other: Vec<Value<'_>> = ["a", "b", "z"].iter().cycle().take(600).map(|w| Value::Word(w)).collect();
    let (d, v) = judged(&profile, &other);
    assert_eq!(v.name(), "drifted");
    assert!((d.distances.unwrap().unseen - 1.0 / 3.0).abs() < 1e-12);
}

#[test]
fn a_coarser_window_gives_the_same_test() {
    let profile = reference(ramp(3000));
    let mut fine = Recorder::new(&profile, Level::Bins64);
    ramp(700).into_iter().flatten().for_each(|v| fine.numbers(&[v * v]));
    let fine = fine.take();
    let want = compare(&profile.features[0], &fine.features[0], Level::Bins64);
    for level in Level::ALL {
        let coarse = fine.coarsened(&profile, level).unwrap();
        let got = compare(&profile.features[0], &coarse.features[0], level);
        assert_eq!(got.evidence, want.evidence, "{level:?}");
        let (a, b) = (got.bounds.unwrap().ks, want.bounds.unwrap().ks);
        assert!(a.lo <= b.lo && a.hi >= b.hi, "{level:?}");
    }
}

#[test]
fn two_windows_can_be_compared_with_each_other() {
    let profile = reference(ramp(2000));
    let window = |shift: f64| {
        let mut r = Recorder::new(&profile, Level::Bins32);
        ramp(500).into_iter().flatten().for_each(|v| r.numbers(&[v + shift]));
        r.take().features.remove(0)
    };
    let f = &profile.features[0];
    assert!(evidence(f, Level::Bins32, &window(0.3), &window(0.3)).p() > 0.99);
    assert!(evidence(f, Level::Bins32, &window(0.3), &window(0.0)).p() < 1e-6);
}

#[test]
fn counts_at_the_end_of_u64_are_not_lost() {
    let profile = reference(ramp(2000));
    let f = &profile.features[0];
    let window = |at: usize, n: u64| {
        let mut w = Recorder::new(&profile, Level::Bins8).take().features.remove(0);
        (w.counts[at], w.counts[7]) = (n, n / 2);
        w
    };
    // Cells of 2^63 on both sides add up to 0 in 64 bits.
    for n in [1 << 63, u64::MAX] {
        let e = evidence(f, Level::Bins8, &window(0, n), &window(0, n));
        assert_eq!((e.bins, e.effect, e.p()), (2, 0.0, 1.0), "{n}");
        let e = evidence(f, Level::Bins8, &window(0, n), &window(1, n));
        assert!(e.bins == 3 && e.p() == 0.0 && e.effect > 5.0, "{e:?}");
    }
}

#[test]
fn of_a_window_of_another_shape_nothing_is_said() {
    let words = (0..500).map(|i| Some(["a", "b"][i % 2].to_owned())).collect();
    let kinds = Profile::of(&[("x".to_owned(), Column::Categorical(words))]).unwrap();
    for profile in [reference(ramp(2000)), kinds] {
        let f = &profile.features[0];
        for counts in [vec![], vec![5000], vec![5000; 2], vec![5000; 65], vec![5000; 100]] {
            let odd = FeatureWindow { counts, missing: 9000, ..FeatureWindow::from(f) };
            let d = compare(f, &odd, Level::Bins64);
            assert_eq!((d.distances, d.bounds), (None, None));
            assert!(d.evidence.p().is_nan(), "{:?}", d.evidence);
            assert_eq!(verdict(&d.evidence, 0.0, &Policy::default()).name(), "insufficient");
        }
    }
}
