use proptest::prelude::*;

use super::*;
use crate::nesting::Level;
use crate::profile::{Column, FeatureValues, Profile};
use crate::rows;
use crate::window::Recorder;

fn check(reference: &[f64], current: &[f64]) -> Option<(Bounds, f64, f64)> {
    let column = Column::Numeric(reference.iter().copied().map(Some).collect());
    let profile = Profile::of(&[("x".to_owned(), column)]).ok()?;
    let mut recorder = Recorder::new(&profile, Level::Bins64);
    current.iter().for_each(|v| recorder.numbers(&[*v]));
    let FeatureValues::Numeric(h) = &profile.features[0].values else { unreachable!() };
    let bounds = bounds(h, &recorder.window().features[0])?;
    let (a, b) =
        (rows::sorted_finite(reference.iter().copied()), rows::sorted_finite(current.iter().copied()));
    let clipped = rows::sorted_finite(b.iter().map(|v| v.clamp(h.min, h.max)));
    Some((bounds, rows::ks_statistic(&a, &b)?, rows::wasserstein(&a, &clipped)?))
}

#[test]
fn for_a_shift_by_one_range_both_are_known() {
    let reference: Vec<f64> = (0..6400).map(|i| f64::from(i) / 6400.0).collect();
    let current: Vec<f64> = reference.iter().map(|v| v + 2.0).collect();
    let (b, ks, w1) = check(&reference, &current).unwrap();
    assert_eq!((b.ks.lo, b.ks.hi, ks), (1.0, 1.0, 1.0));
    assert!(b.w1.lo <= w1 && w1 <= b.w1.hi && b.w1.hi - b.w1.lo < 0.02);
}

#[test]
fn intervals_are_no_wider_than_a_bin() {
    let reference: Vec<f64> = (0..6400).map(|i| f64::from(i) / 6400.0).collect();
    let current: Vec<f64> = reference.iter().map(|v| v * 0.9).collect();
    let (b, ks, _) = check(&reference, &current).unwrap();
    assert!((ks - 0.1).abs() < 1e-3 && b.ks.hi - b.ks.lo < 0.025, "{b:?}");
}

#[test]
fn atoms_leave_no_doubt() {
    let reference: Vec<f64> = (0..1700).map(|i| f64::from(i % 17)).collect();
    let current: Vec<f64> = (0..900).map(|i| f64::from(i % 9)).collect();
    let (b, ks, _) = check(&reference, &current).unwrap();
    assert_eq!((b.ks.lo, b.ks.hi), (ks, ks));
}

#[test]
fn a_constant_feature_that_moves_is_seen() {
    let (b, ks, _) = check(&[3.0; 100], &[3.5; 50]).unwrap();
    assert_eq!((b.ks.lo, ks), (1.0, 1.0));
    let (b, ..) = check(&[3.0; 100], &[3.0; 50]).unwrap();
    assert_eq!((b.ks.hi, b.w1.hi), (0.0, 0.0));
}

#[test]
fn without_numbers_there_is_no_interval() {
    assert!(check(&[1.0, 2.0], &[]).is_none());
    assert!(check(&[1.0, 2.0], &[f64::NAN, f64::INFINITY]).is_none());
}

#[test]
fn counts_beyond_two_to_the_53_keep_the_order_of_the_bounds() {
    let column = Column::Numeric((0..100).map(|i| Some(f64::from(i))).collect());
    let profile = Profile::of(&[("x".to_owned(), column)]).unwrap();
    let FeatureValues::Numeric(h) = &profile.features[0].values else { unreachable!() };
    let mut w = Recorder::new(&profile, Level::Bins64).take();
    w.features[0].counts.iter_mut().enumerate().for_each(|(i, n)| *n = (1 << 57) + i as u64);
    let b = bounds(h, &w.features[0]).unwrap();
    assert!(b.ks.lo <= b.ks.hi && b.w1.lo <= b.w1.hi && b.ks.hi <= 1.0);
}

#[test]
fn counts_of_a_liar_stay_bounds() {
    for reference in [vec![3.0; 100], (0..100).map(f64::from).collect()] {
        let column = Column::Numeric(reference.into_iter().map(Some).collect());
        let profile = Profile::of(&[("x".to_owned(), column)]).unwrap();
        let FeatureValues::Numeric(h) = &profile.features[0].values else { unreachable!() };
        for n in [1, u64::MAX] {
            let mut w = Recorder::new(&profile, Level::Bins64).take();
            let f = &mut w.features[0];
            f.counts.iter_mut().for_each(|c| *c = n);
            (f.below, f.above) = (u64::MAX, u64::MAX);
            let b = bounds(h, f).unwrap();
            assert!(b.ks.lo <= b.ks.hi && b.ks.hi <= 1.0 && b.w1.lo <= b.w1.hi, "{b:?}");
        }
    }
    // One bin that is both ends.
    let mut one = Histogram::bins_of([1.0].into_iter()).unwrap();
    one.insert(1.0);
    assert_eq!(one.counts, [1]);
    let both = FeatureWindow {
        below: u64::MAX,
        above: u64::MAX,
        counts: vec![9],
        ..FeatureWindow::from(&feature(&one))
    };
    assert!(bounds(&one, &both).unwrap().ks.hi <= 1.0);
}

fn feature(h: &Histogram) -> crate::profile::FeatureProfile {
    crate::profile::FeatureProfile { name: "x".into(), values: FeatureValues::Numeric(h.clone()), missing: 0 }
}

#[test]
fn a_range_beyond_f64_still_has_an_interval() {
    let ends: Vec<f64> = [[-1.7e308; 50], [1.7e308; 50]].concat();
    let moved: Vec<f64> = ends.iter().copied().skip(25).collect();
    let (b, _, w1) = check(&ends, &moved).unwrap();
    assert!(b.w1.lo <= w1 && w1 <= b.w1.hi && b.w1.lo.is_finite(), "{w1} {b:?}");
    let (b, ..) = check(&ends, &ends).unwrap();
    assert_eq!((b.w1.lo, b.w1.hi), (0.0, 0.0));
}

fn values() -> impl Strategy<Value = Vec<f64>> {
    let one = prop_oneof![
        4 => -10.0..10.0f64,
        2 => (-4i8..4).prop_map(f64::from),
        1 => Just(0.1), 1 => Just(0.1f64.next_up()), 1 => Just(-0.0),
        1 => -1e6..1e6f64,
        1 => Just(f64::NAN),
    ];
    proptest::collection::vec(one, 1..260)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]
    #[test]
    fn the_exact_distances_are_always_inside(reference in values(), current in values()) {
        if let Some((b, ks, w1)) = check(&reference, &current) {
            prop_assert!(b.ks.lo <= ks && ks <= b.ks.hi, "KS {} outside {:?}", ks, b.ks);
            // Two ways of adding the same floats: equal but for rounding.
            let slack = 1e-12 * (1.0 + w1);
            prop_assert!(b.w1.lo <= w1 + slack && w1 <= b.w1.hi + slack, "W1 {} outside {:?}", w1, b.w1);
            prop_assert!(b.ks.hi <= 1.0 + 1e-12);
        }
    }
}
