use proptest::prelude::*;

use super::*;

fn row(seed: u64, classes: u32) -> ShadowTable {
    let mut t = ShadowTable::new(classes);
    let class = |n: u64| u32::try_from(n).ok().filter(|_| classes > 0).map(|n| n % classes.max(1));
    let (active, candidate) = (class(seed), class(seed / 3));
    t.insert(&Compared {
        active,
        candidate,
        agree: active == candidate,
        nan: seed.is_multiple_of(11),
        steps: Some(seed as f64 / 7.0 - 30.0),
    });
    t.errors = u64::from(seed.is_multiple_of(5));
    t.skipped = seed % 3;
    t.active_us.insert(seed as f64);
    t.candidate_us.insert(seed as f64 * 2.0);
    t.labelled.insert(seed.is_multiple_of(2), seed.is_multiple_of(3));
    t
}

proptest! {
    #[test]
    fn merging_parts_is_counting_the_whole(
        seeds in prop::collection::vec(0u64..1000, 1..60), cut in 0usize..60, classes in prop::sample::select(vec![0u32, 2, 10, 32, 33]),
    ) {
        let sum = |seeds: &[u64]| seeds.iter().fold(ShadowTable::new(classes), |mut sum, s| {
            sum.merge(&row(*s, classes)).unwrap();
            sum
        });
        let whole = sum(&seeds);
        let (a, b) = seeds.split_at(cut.min(seeds.len()));
        let mut parts = sum(b);
        parts.merge(&sum(a)).unwrap();
        prop_assert_eq!(&parts, &whole);
        prop_assert_eq!(whole.since(&sum(a)), Some(sum(b)));
        prop_assert_eq!(whole.rows, seeds.len() as u64);
        let tabled: u64 = whole.matrix().map(|(_, n)| n).sum();
        prop_assert_eq!(tabled, if (1..=MATRIX_CLASSES_MAX).contains(&classes) { whole.rows } else { 0 });
        prop_assert_eq!(whole.differences().iter().sum::<u64>(), whole.rows);
        let on_diagonal: u64 = whole.matrix().filter(|((a, c), _)| a == c).map(|(_, n)| n).sum();
        prop_assert!(tabled == 0 || on_diagonal == whole.agreed);
        let mut again = ShadowTable::new(classes);
        for part in whole.clone().parts().iter().rev() {
            again.merge(part).unwrap();
        }
        prop_assert_eq!(&again, &whole);
        let bytes = postcard::to_stdvec(&whole).unwrap();
        prop_assert_eq!(&postcard::from_bytes::<ShadowTable>(&bytes).unwrap(), &whole);
        let text = serde_json::to_string(&whole).unwrap();
        prop_assert_eq!(&serde_json::from_str::<ShadowTable>(&text).unwrap(), &whole);
    }

    #[test]
    fn the_interval_holds_the_difference_and_turns_with_it(
        both in 0u64..200, a in 0u64..60, b in 0u64..60, neither in 0u64..200,
    ) {
        let rows = Judged { both, only_candidate: a, only_active: b, neither };
        let turned = Judged { only_candidate: b, only_active: a, ..rows };
        let Some((d, i)) = rows.difference() else { return Ok(()) };
        let (minus_d, turned) = turned.difference().unwrap();
        prop_assert!(i.lo <= d && d <= i.hi && (-1.0..=1.0).contains(&i.lo), "{d} {i:?}");
        prop_assert!((d + minus_d).abs() < 1e-12 && (i.lo + turned.hi).abs() < 1e-12, "{i:?} {turned:?}");
        if let Some(test) = rows.mcnemar() {
            prop_assert!((0.0..=1.0).contains(&test.p));
        }
    }
}

#[test]
fn tables_of_other_classes_are_refused_and_nothing_changes() {
    let (mut two, before) = (row(4, 2), row(4, 2));
    assert_eq!(two.merge(&row(4, 3)), Err(OtherClasses(2, 3)));
    assert_eq!(two, before);
    assert_eq!(two.since(&row(4, 3)), None);
    assert_eq!(row(4, 2).since(&row(5, 2)), None, "a count fell");
}

#[test]
fn a_table_that_cannot_be_is_not_read() {
    let written = |change: &dyn Fn(&mut ShadowTable)| {
        let mut t = row(7, 2);
        change(&mut t);
        postcard::from_bytes::<ShadowTable>(&postcard::to_stdvec(&t).unwrap()).is_ok()
    };
    assert!(written(&|_| {}));
    assert!(!written(&|t| _ = t.matrix.insert(4, 1)), "a class that there is not");
    assert!(!written(&|t| t.classes = MATRIX_CLASSES_MAX + 1), "a matrix of too many classes");
    assert!(!written(&|t| _ = t.differences.pop()));
}

#[test]
fn nothing_counted_costs_little_and_says_nothing() {
    let empty = ShadowTable::new(10);
    let bytes = postcard::to_stdvec(&empty).unwrap();
    assert!(bytes.len() <= 20, "{} bytes", bytes.len());
    assert!(empty.counts().all(|n| n == 0));
    assert_eq!((empty.agreement(), empty.kappa(), empty.latency_ratio(0.99)), (None, None, None));
    assert_eq!((empty.labelled.mcnemar(), empty.labelled.difference()), (None, None));
}

#[test]
fn differences_have_a_middle_and_two_ends() {
    assert_eq!([-0.49, 0.0, 0.49].map(difference_bin), [Some(20); 3]);
    assert_eq!([-1e9, -20.0, -19.0].map(difference_bin), [Some(0), Some(0), Some(1)]);
    assert_eq!([20.0, f64::INFINITY].map(difference_bin), [Some(40); 2]);
    assert_eq!(difference_bin(f64::NAN), None);
}

/// The airway study of Bentur et al. in Fagerland, Lydersen and Laake, BMC Medical Research Methodology 13:91 (2013), table
/// 2: 1 and 7 discordant of 21 pairs, exact p = 0.070; the interval of Newcombe is -0.507 to -0.026 in their paper of 2014
/// (Statistics in Medicine 33:2850).
#[test]
fn published_figures_of_few_pairs() {
    let rows = Judged { both: 1, only_candidate: 1, only_active: 7, neither: 12 };
    let test = rows.mcnemar().unwrap();
    assert_eq!((test.discordant, test.method), (8, Method::ExactBinomial));
    assert!((test.p - 18.0 / 256.0).abs() < 1e-12, "{}", test.p);
    let (d, i) = rows.difference().unwrap();
    assert!((d + 6.0 / 21.0).abs() < 1e-12);
    assert!((i.lo + 0.507).abs() < 5e-4 && (i.hi + 0.026).abs() < 5e-4, "{i:?}");
}

/// Edwards' statistic of 121 against 59 is 61^2 / 180 = 20.672; its p by erfc(sqrt(x / 2)).
#[test]
fn many_pairs_are_corrected_for_continuity() {
    let test = mcnemar(121, 59).unwrap();
    assert_eq!((test.discordant, test.method), (180, Method::Edwards));
    assert!((test.p / 5.450_094_825_427_117e-6 - 1.0).abs() < 1e-9, "{:e}", test.p);
    assert_eq!(mcnemar(30, 30).unwrap().p, 1.0);
    // On both sides of the border the two methods say much the same.
    let (exact, corrected) = (mcnemar(5, 19).unwrap(), mcnemar(5, 20).unwrap());
    assert!((exact.p - 0.006_610_751_152_038_574).abs() < 1e-12, "{}", exact.p);
    assert!((corrected.p - 0.005_110_260_660_855_484).abs() < 1e-9, "{}", corrected.p);
}

/// Fleiss, Levin and Paik, Statistical Methods for Rates and Proportions (3rd ed.), table 18.1: kappa 0.676, its standard
/// error 0.087.
#[test]
fn kappa_is_what_the_textbook_has() {
    let mut t = ShadowTable::new(3);
    for (at, n) in [75, 1, 4, 5, 4, 1, 0, 0, 10].into_iter().enumerate() {
        t.add_cell(at, n);
    }
    let k = t.kappa().unwrap();
    assert_eq!(k.n, 100);
    assert!((k.kappa - 0.23 / 0.34).abs() < 1e-12, "{}", k.kappa);
    let se = (k.interval.hi - k.interval.lo) / 2.0 / 1.959_963_984_540_054;
    assert!((se - 0.087_7).abs() < 1e-3, "{se}");
    let mut one = ShadowTable::new(3);
    one.add_cell(0, 9);
    assert_eq!(one.kappa(), None, "all of one class: no chance to disagree");
}
