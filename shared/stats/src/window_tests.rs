use proptest::prelude::*;

use super::*;
use crate::profile::Column;

fn profile() -> Profile {
    let numbers = (0..500).map(|i| Some(f64::from(i % 97) / 3.0)).collect();
    let words = (0..500).map(|i| Some(["red", "green", "blue"][i % 3].to_owned())).collect();
    Profile::of(&[
        ("size".to_owned(), Column::Numeric(numbers)),
        ("colour".to_owned(), Column::Categorical(words)),
        ("still".to_owned(), Column::Numeric(vec![Some(-0.0); 500])),
    ])
    .unwrap()
}

#[test]
fn an_empty_window_and_one_row_are_profiles() {
    let p = profile();
    let mut r = Recorder::new(&p, Level::Bins64);
    let empty = r.take();
    assert_eq!((empty.rows, empty.features.iter().map(FeatureWindow::counted).sum::<u64>()), (0, 0));
    r.row(&[Value::Number(1.0), Value::Word("red"), Value::Number(0.0)]);
    let one = r.take();
    assert_eq!((one.rows, one.rows_out_of_range), (1, 0));
    let mut sum = empty.clone();
    sum.merge(&one).unwrap();
    assert_eq!(sum, one);
    assert_eq!(r.take(), empty);
}

#[test]
fn references_with_the_same_bins_and_other_counts_are_others() {
    // Seventeen whole numbers have a bin each whatever their weight; where bins are joined depends on it.
    let of = |weight: usize| {
        let values =
            (0..17).flat_map(|v| vec![Some(f64::from(v)); if v < 4 { weight } else { 100 }]).collect();
        Profile::of(&[("x".to_owned(), Column::Numeric(values))]).unwrap()
    };
    let (even, uneven) = (of(100), of(200));
    let [a, b] = [&even, &uneven].map(|p| match &p.features[0].values {
        FeatureValues::Numeric(h) => (h.edges.clone(), nesting::starts(&h.counts, Level::Bins8)),
        FeatureValues::Categorical(_) => unreachable!(),
    });
    assert!(a.0 == b.0 && a.1 != b.1);
    let mut sum = Recorder::new(&even, Level::Bins8).take();
    let other = Recorder::new(&uneven, Level::Bins8).take();
    assert!(matches!(sum.merge(&other), Err(WindowMergeError::OtherReference(..))));
}

#[test]
fn every_value_has_one_place() {
    let p = profile();
    let mut r = Recorder::new(&p, Level::Bins32);
    let strange = [
        Value::Number(f64::NAN),
        Value::Number(f64::INFINITY),
        Value::Number(f64::NEG_INFINITY),
        Value::Missing,
        Value::Word("red"),
        Value::Word("violet"),
        Value::Number(-0.0),
        Value::Number(1e300),
        Value::Number(-1e300),
    ];
    for v in strange {
        r.row(&[v, v, v]);
    }
    let w = r.take();
    for f in &w.features {
        assert_eq!(f.counted() + f.absent(), strange.len() as u64, "{f:?}");
    }
    let [size, colour, still] = w.features.as_slice() else { unreachable!() };
    assert_eq!((size.nan, size.pos_inf, size.neg_inf, size.missing, size.mistyped), (1, 1, 1, 1, 2));
    assert_eq!((size.below, size.above, still.below, still.above), (1, 1, 1, 1));
    // Words no one has seen, and numbers as words: `other`, the last count.
    assert_eq!((colour.counts.as_slice(), colour.nan), (&[0, 0, 1, 6][..], 1));
    assert_eq!(w.rows_out_of_range, 9);
}

#[test]
fn negative_zero_is_zero_and_a_value_on_an_edge_goes_right() {
    let p = profile();
    let FeatureValues::Numeric(h) = &p.features[0].values else { unreachable!() };
    for edge in h.edges.clone() {
        let mut r = Recorder::new(&p, Level::Bins64);
        r.numbers(&[edge, 0.0, -0.0]);
        let w = r.take();
        assert_eq!(w.features[0].counts[h.bin(edge)], 1);
        assert_eq!(w.features[2].counts, [0, 1, 0]);
    }
}

#[test]
fn other_references_and_levels_are_refused_and_nothing_changes() {
    let p = profile();
    let other = Profile::of(&[("size".to_owned(), Column::Numeric(vec![Some(1.0), Some(2.0)]))]).unwrap();
    let mut w = Recorder::new(&p, Level::Bins64).take();
    let before = w.clone();
    let foreign = Recorder::new(&other, Level::Bins64).take();
    assert!(matches!(w.merge(&foreign), Err(WindowMergeError::OtherReference(..))));
    assert!(matches!(w.coarsened(&other, Level::Bins8), Err(WindowMergeError::OtherReference(..))));
    let coarse = Recorder::new(&p, Level::Bins8).take();
    assert_eq!(w.merge(&coarse), Err(WindowMergeError::OtherLevel(Level::Bins64, Level::Bins8)));
    let mut damaged = w.clone();
    damaged.features[1].counts.pop();
    assert_eq!(w.merge(&damaged), Err(WindowMergeError::OtherShape(1)));
    damaged.features.pop();
    assert!(matches!(w.merge(&damaged), Err(WindowMergeError::OtherShape(_))));
    assert_eq!(w, before);
}

#[test]
fn what_is_no_window_of_a_reference_says_so() {
    let p = profile();
    for level in Level::ALL {
        let mut r = Recorder::new(&p, level);
        r.row(&[Value::Number(-1e9), Value::Word("violet"), Value::Number(1e9)]);
        r.row(&[Value::Missing, Value::Number(f64::NAN), Value::Word("red")]);
        let good = r.take();
        assert_eq!(good.check(&p), Ok(()));
        let spoilt: [fn(&mut WindowProfile); 6] = [
            |w| w.features[0].counts.push(0),
            |w| w.features[1].counts.clear(),
            |w| w.features[2].below = u64::MAX,
            |w| w.features[0].above = 1,
            |w| w.features[1].above = 1,
            |w| drop(w.features.pop()),
        ];
        for (i, spoil) in spoilt.iter().enumerate() {
            let mut bad = good.clone();
            spoil(&mut bad);
            assert!(matches!(bad.check(&p), Err(WindowMergeError::OtherShape(_))), "{level:?} {i}");
        }
        let foreign = WindowProfile { reference: ReferenceId(7), ..good };
        assert!(matches!(foreign.check(&p), Err(WindowMergeError::OtherReference(..))));
    }
}

#[test]
fn a_window_that_says_less_is_counted_as_missing() {
    let p = profile();
    let mut r = Recorder::new(&p, Level::Bins64);
    r.numbers(&[1.0]);
    r.row(&[]);
    let w = r.take();
    assert_eq!(w.features.iter().map(|f| f.missing).collect::<Vec<_>>(), [1, 2, 2]);
}

#[test]
fn counts_beyond_two_to_the_53_are_exact_and_stop_at_the_end() {
    let p = profile();
    let mut w = Recorder::new(&p, Level::Bins64).take();
    w.features[0].counts[0] = (1 << 53) + 1;
    let one = w.clone();
    w.merge(&one).unwrap();
    assert_eq!(w.features[0].counts[0], (1 << 54) + 2);
    w.features[0].counts[0] = u64::MAX;
    w.merge(&one).unwrap();
    assert_eq!((w.features[0].counts[0], w.features[0].counted()), (u64::MAX, u64::MAX));
}

fn any_row() -> impl Strategy<Value = (f64, u8, f64)> {
    let number = prop_oneof![
        6 => -5.0..40.0f64, 1 => Just(f64::NAN), 1 => Just(f64::INFINITY), 1 => Just(-0.0), 1 => Just(f64::MIN)
    ];
    (number.clone(), 0u8..6, number)
}

fn count_rows(p: &Profile, level: Level, rows: &[(f64, u8, f64)]) -> WindowProfile {
    let mut r = Recorder::new(p, level);
    for (a, word, b) in rows {
        let word = match word {
            0..=2 => Value::Word(["red", "green", "blue"][usize::from(*word)]),
            3 => Value::Word("violet"),
            4 => Value::Missing,
            _ => Value::Number(2.0),
        };
        r.row(&[Value::Number(*a), word, Value::Number(*b)]);
    }
    r.take()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]
    #[test]
    fn merging_any_partition_in_any_order_is_counting_the_whole(
        rows in proptest::collection::vec((any_row(), 0usize..5, any::<u64>()), 0..40),
        level in prop::sample::select(Level::ALL.to_vec()),
    ) {
        thread_local!(static PROFILE: Profile = profile());
        PROFILE.with(|p| {
            let all: Vec<_> = rows.iter().map(|(r, ..)| *r).collect();
            let whole = count_rows(p, level, &all);
            // Five parts, any of them empty, merged in an order the data choose.
            let mut parts: Vec<(u64, WindowProfile)> = (0..5)
                .map(|part| {
                    let own: Vec<_> = rows.iter().filter(|(_, at, _)| *at == part).map(|(r, ..)| *r).collect();
                    let key = rows.iter().map(|(.., k)| k.rotate_left(part as u32 * 13)).fold(0, u64::wrapping_add);
                    (key, count_rows(p, level, &own))
                })
                .collect();
            parts.sort_by_key(|(key, _)| *key);
            let mut sum = count_rows(p, level, &[]);
            for (_, part) in &parts {
                sum.merge(part).unwrap();
            }
            prop_assert_eq!(&sum, &whole);
            // Pairs first: addition is associative.
            let mut left = parts[0].1.clone();
            left.merge(&parts[1].1).unwrap();
            let mut right = parts[2].1.clone();
            right.merge(&parts[3].1).unwrap();
            right.merge(&parts[4].1).unwrap();
            left.merge(&right).unwrap();
            let bytes = postcard::to_stdvec(&left).unwrap();
            prop_assert_eq!(&bytes, &postcard::to_stdvec(&whole).unwrap());
            prop_assert_eq!(&postcard::from_bytes::<WindowProfile>(&bytes).unwrap(), &whole);
            Ok(())
        })?;
    }

    #[test]
    fn coarsening_commutes_with_merging(
        a in proptest::collection::vec(any_row(), 0..20),
        b in proptest::collection::vec(any_row(), 0..20),
    ) {
        thread_local!(static PROFILE: Profile = profile());
        PROFILE.with(|p| {
            for level in Level::ALL {
                let direct = count_rows(p, level, &[a.clone(), b.clone()].concat());
                let mut sum = count_rows(p, Level::Bins64, &a);
                sum.merge(&count_rows(p, Level::Bins64, &b)).unwrap();
                prop_assert_eq!(&sum.coarsened(p, level).unwrap(), &direct);
            }
            Ok(())
        })?;
    }
}
