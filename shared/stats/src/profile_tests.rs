use proptest::prelude::*;

use super::*;

fn numeric(values: &[f64]) -> Histogram {
    let mut h = Histogram::bins_of(values.iter().copied()).unwrap();
    values.iter().for_each(|v| h.insert(*v));
    h
}

#[test]
fn a_value_equal_to_an_edge_belongs_to_the_right_bin() {
    let h = numeric(&(0..1000).map(f64::from).collect::<Vec<_>>());
    assert_eq!(h.counts.len(), BINS_MAX);
    for (i, &edge) in h.edges.iter().enumerate() {
        assert_eq!(h.bin(edge), i + 1);
        assert_eq!(h.bin(edge.next_down()), i);
    }
}

#[test]
fn uniform_data_fills_all_bins_alike() {
    let h = numeric(&(0..6400).map(f64::from).collect::<Vec<_>>());
    assert!(h.counts.iter().all(|&n| n == 100), "{:?}", h.counts);
    assert!(h.atoms.is_empty());
}

#[test]
fn a_heavy_value_gets_a_bin_of_its_own() {
    let mut values: Vec<f64> = (1..=900).map(f64::from).collect();
    values.extend(std::iter::repeat_n(0.0, 100));
    values.extend(std::iter::repeat_n(450.0, 100));
    let h = numeric(&values);
    for (v, n) in [(0.0, 100), (450.0, 101)] {
        let bin = h.bin(v);
        assert_eq!(h.counts[bin], n);
        assert!(h.is_point(bin) && h.atoms.contains(&u16::try_from(bin).unwrap()));
        assert_ne!(h.bin(v.next_up()), bin);
    }
}

#[test]
fn whole_numbers_have_a_bin_each_and_what_lies_between_is_seen() {
    let h = numeric(&(0..1700).map(|i| f64::from(i % 17)).collect::<Vec<_>>());
    for v in 0..17 {
        assert_eq!(h.counts[h.bin(f64::from(v))], 100, "{v}");
        assert_eq!(h.counts[h.bin(f64::from(v) + 0.5)], 0, "{v}");
    }
    let forty = numeric(&(0..4000).map(|i| f64::from(i % 40)).collect::<Vec<_>>());
    assert_eq!((forty.counts.len(), forty.atoms.len()), (BINS_MAX, 40));
}

#[test]
fn a_reference_of_eight_rows_has_bins() {
    let h = numeric(&[5.0, 1.0, 2.0, 8.0, 3.0, 4.0, 7.0, 6.0]);
    assert_eq!((h.counts.as_slice(), h.min, h.max), (&[1; 8][..], 1.0, 8.0));
}

#[test]
fn more_than_256_features_are_refused() {
    let column = |i: usize| (format!("f{i}"), Column::Numeric(vec![Some(1.0)]));
    let columns: Vec<_> = (0..257).map(column).collect();
    assert_eq!(Profile::of(&columns), Err(ProfileError::TooManyFeatures(257)));
    assert!(Profile::of(&columns[..256]).is_ok());
}

#[test]
fn a_file_cannot_make_a_reader_hold_more_than_a_profile_may_have() {
    // 600,000 features of six bytes would be a hundred megabytes in memory.
    let feature = [0, 1, 0, 0, 0, 0];
    let file = |count: u64| {
        let mut bytes = HEADER.to_vec();
        bytes.extend(postcard::to_stdvec(&(7u64, count)).unwrap());
        (0..count).for_each(|_| bytes.extend(feature));
        bytes
    };
    assert!(matches!(Profile::from_bytes(&file(1)), Ok(p) if p.features.len() == 1));
    assert!(matches!(Profile::from_bytes(&file(600_000)), Err(ProfileError::Corrupt(_))));
}

#[test]
fn counts_stop_at_the_end_of_u64_instead_of_turning_over() {
    let mut a = Profile::of(&[("x".into(), Column::Numeric(vec![Some(1.0); 3]))]).unwrap();
    let FeatureValues::Numeric(h) = &mut a.features[0].values else { unreachable!() };
    h.counts[1] = u64::MAX - 1;
    let b = a.clone();
    a.merge(&b).unwrap();
    let FeatureValues::Numeric(h) = &a.features[0].values else { unreachable!() };
    assert_eq!(h.counts[1], u64::MAX);
}

#[test]
fn a_constant_column_is_one_atom() {
    let h = numeric(&[3.0; 20]);
    assert_eq!((h.counts.as_slice(), h.atoms.as_slice()), (&[0, 20, 0][..], &[1][..]));
    assert_eq!(h.edges, [3.0, 3.0f64.next_up()]);
}

#[test]
fn special_values_and_the_range_are_counted_apart() {
    let mut h = numeric(&[1.0, 2.0, 3.0]).emptied();
    for v in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 0.5, 3.5, 2.0] {
        h.insert(v);
    }
    assert_eq!((h.nan, h.pos_inf, h.neg_inf, h.below, h.above, h.total()), (1, 1, 1, 1, 1, 3));
}

#[test]
fn negative_zero_is_zero() {
    let h = numeric(&[-1.0, 0.0, 1.0, 2.0]);
    assert_eq!(h.bin(-0.0), h.bin(0.0));
    assert!(h.edges.iter().all(|e| e.to_bits() != (-0.0f64).to_bits()));
    let least = -f64::from_bits(1);
    let h = numeric(&[least, least, 1.0, 1.0]);
    assert!(h.edges.contains(&0.0) && h.edges.iter().all(|e| e.to_bits() != (-0.0f64).to_bits()));
}

#[test]
fn rare_categories_count_as_other() {
    let mut c = Categories::vocabulary_of(["b", "a", "b"].into_iter());
    for v in ["a", "b", "c"] {
        c.insert(v);
    }
    assert_eq!((c.vocabulary, c.counts, c.other), (vec!["a".to_owned(), "b".to_owned()], vec![1, 1], 1));
}

#[test]
fn profiles_of_other_bins_are_not_merged() {
    let of = |v: Vec<Option<f64>>| Profile::of(&[("x".to_owned(), Column::Numeric(v))]).unwrap();
    let mut a = of(vec![Some(1.0), Some(2.0), None]);
    let before = a.clone();
    assert_eq!(a.merge(&of(vec![Some(1.0), Some(3.0)])), Err(ProfileError::OtherBins("x".to_owned())));
    assert_eq!(a, before);
    assert_eq!(a.features[0].missing, 1);
}

#[test]
fn an_empty_column_makes_no_profile() {
    let column = Column::Numeric(vec![None, Some(f64::NAN)]);
    assert!(matches!(Profile::of(&[("x".to_owned(), column)]), Err(ProfileError::Feature { .. })));
}

fn any_value() -> impl Strategy<Value = f64> {
    prop_oneof![
        -100.0..100.0f64,
        (-3i8..3).prop_map(f64::from),
        Just(f64::NAN),
        Just(f64::INFINITY),
        Just(f64::NEG_INFINITY),
        Just(-0.0),
        Just(f64::MAX),
    ]
}

proptest! {
    #[test]
    fn merging_parts_in_any_order_gives_the_whole(
        reference in proptest::collection::vec(-50.0..50.0f64, 1..200),
        data in proptest::collection::vec(any_value(), 0..300),
        cuts in proptest::collection::vec(0usize..300, 0..4),
    ) {
        let columns = [("x".to_owned(), Column::Numeric(reference.into_iter().map(Some).collect()))];
        let mut empty = Profile::of(&columns).unwrap();
        let FeatureValues::Numeric(h) = &empty.features[0].values else { unreachable!() };
        let bins = h.emptied();
        empty.rows = 0;
        let count = |part: &[f64]| {
            let mut h = bins.clone();
            part.iter().for_each(|v| h.insert(*v));
            let mut p = empty.clone();
            p.rows = part.len() as u64;
            p.features[0].values = FeatureValues::Numeric(h);
            p
        };
        let mut cuts: Vec<usize> = cuts.into_iter().map(|c| c.min(data.len())).collect();
        cuts.extend([0, data.len()]);
        cuts.sort_unstable();
        let parts: Vec<Profile> = cuts.windows(2).map(|w| count(&data[w[0]..w[1]])).collect();
        let mut forwards = count(&[]);
        parts.iter().for_each(|p| forwards.merge(p).unwrap());
        let mut backwards = count(&[]);
        parts.iter().rev().for_each(|p| backwards.merge(p).unwrap());
        prop_assert_eq!(&forwards, &count(&data));
        prop_assert_eq!(forwards, backwards);
    }

    #[test]
    fn bins_count_every_row_once(reference in proptest::collection::vec(any_value(), 1..300)) {
        if let Some(mut h) = Histogram::bins_of(reference.iter().copied()) {
            prop_assert!(h.check().is_ok());
            reference.iter().for_each(|v| h.insert(*v));
            prop_assert_eq!(h.total() + h.nan + h.pos_inf + h.neg_inf, reference.len() as u64);
            prop_assert_eq!((h.below, h.above), (0, 0));
        }
    }

    #[test]
    fn bytes_round_trip_and_damaged_bytes_never_panic(
        values in proptest::collection::vec(any_value(), 1..100),
        words in proptest::collection::vec("[a-c]{1,2}", 1..50),
        at in any::<prop::sample::Index>(),
        with in any::<u8>(),
    ) {
        let mut values: Vec<Option<f64>> = values.into_iter().map(Some).collect();
        values.push(Some(1.0));
        let words = Column::Categorical(words.into_iter().map(Some).collect());
        let mut p = Profile::of(&[("x".into(), Column::Numeric(values)), ("w".into(), words)]).unwrap();
        if with % 2 == 0 {
            let rows: Vec<_> = (0..300).map(|i| (i % 2, i % 3 % 2, f64::from(with) / 300.0)).collect();
            p.quality = ReferenceQuality::of(&rows, 2);
        }
        if with % 3 == 0 {
            p.answers = Some(ReferenceAnswers::of((0..90).map(|i| (i % 3, f64::from(with) / 300.0)), 3));
            let mut table = AttributionTable::new(2);
            table.insert(&[0.25, f64::from(with)]).unwrap();
            p.attribution = Some(table);
        }
        let bytes = p.to_bytes();
        prop_assert_eq!(&Profile::from_bytes(&bytes).unwrap(), &p);
        prop_assert!(Profile::from_bytes(&bytes[..at.index(bytes.len())]).is_err());
        let mut damaged = bytes;
        let i = at.index(damaged.len());
        damaged[i] = with;
        let _ = Profile::from_bytes(&damaged);
    }
}

#[test]
fn the_middle_stands_for_the_reference() {
    let numbers = Column::Numeric((0..1001).map(|i| Some(f64::from(i))).collect());
    let still = Column::Numeric(vec![Some(3.5); 40]);
    let kinds = ["2", "7", "7", "x"].map(|k| Some(k.to_owned())).to_vec();
    let words = Column::Categorical(vec![Some("red".to_owned()); 3]);
    let columns = [("n", numbers), ("s", still), ("k", Column::Categorical(kinds)), ("w", words)];
    let p = Profile::of(&columns.map(|(n, c)| (n.to_owned(), c))).unwrap();
    let middles: Vec<Option<f64>> = p.features.iter().map(|f| f.values.middle()).collect();
    assert!((middles[0].unwrap() - 500.0).abs() <= 16.0, "{middles:?}");
    assert_eq!(middles[1..], [Some(3.5), Some(7.0), None]);
}
