use proptest::prelude::*;

use super::*;

fn run(plan: &Plan, row: &[f64], baseline: &[f64], f: impl Fn(&[f64]) -> f64) -> (Vec<f64>, f64) {
    let outputs: Vec<f64> = plan
        .coalitions()
        .iter()
        .map(|mask| {
            let mixed: Vec<f64> =
                (0..row.len()).map(|i| if mask >> i & 1 == 1 { row[i] } else { baseline[i] }).collect();
            f(&mixed)
        })
        .collect();
    (plan.attributions(&outputs).unwrap(), outputs[1] - outputs[0])
}

#[test]
fn as_many_rows_as_promised_and_the_same_seed_gives_the_same_plan() {
    for (d, pairs) in [(1, 2), (2, 1), (10, 2), (64, 2), (30, 5)] {
        let plan = Plan::new(d, pairs, 7).unwrap();
        assert_eq!(plan.coalitions().len(), 2 * pairs * (d - 1) + 2);
        assert_eq!(plan, Plan::new(d, pairs, 7).unwrap());
    }
    assert_ne!(Plan::new(30, 2, 7).unwrap(), Plan::new(30, 2, 8).unwrap());
    for d in [0, 65] {
        assert_eq!(Plan::new(d, 2, 7), Err(AttributionError::Features(d)));
    }
}

#[test]
fn a_sum_of_features_is_explained_exactly() {
    let plan = Plan::new(5, 1, 3).unwrap();
    let weights = [1.0, -2.0, 0.0, 4.0, 0.5];
    let linear = |x: &[f64]| x.iter().zip(weights).map(|(a, w)| a * w).sum();
    let (phi, _) = run(&plan, &[1.0, 2.0, 3.0, 4.0, 5.0], &[0.0, 1.0, 1.0, 0.0, 1.0], linear);
    for (got, want) in phi.iter().zip([1.0, -2.0, 0.0, 16.0, 2.0]) {
        assert!((got - want).abs() < 1e-12, "{phi:?}");
    }
}

#[test]
fn a_product_is_shared_evenly_by_a_pair() {
    // Exact Shapley values of x y from (0, 0) to (2, 3) are 3 and 3; an order and its reverse give just that.
    let (phi, total) = run(&Plan::new(2, 1, 1).unwrap(), &[2.0, 3.0], &[0.0, 0.0], |x| x[0] * x[1]);
    assert_eq!((phi, total), (vec![3.0, 3.0], 6.0));
}

#[test]
fn outputs_that_are_wrong_are_refused() {
    let plan = Plan::new(3, 2, 1).unwrap();
    assert_eq!(plan.attributions(&[1.0]), Err(AttributionError::Outputs { asked: 10, found: 1 }));
    let mut outputs = vec![0.0; 10];
    outputs[4] = f64::NAN;
    assert_eq!(plan.attributions(&outputs), Err(AttributionError::NotFinite(4)));
}

#[test]
fn tables_of_nothing_say_nothing() {
    let mut t = AttributionTable::new(2);
    assert_eq!((t.mean(), t.shares()), (None, None));
    assert!(t.insert(&[1.0]).is_err() && t.merge(&AttributionTable::new(3)).is_err());
    t.insert(&[0.0, 0.0]).unwrap();
    assert_eq!((t.mean(), t.shares()), (Some(vec![0.0, 0.0]), None));
    t.insert(&[1.0, -3.0]).unwrap();
    assert_eq!((t.mean(), t.shares()), (Some(vec![0.5, -1.5]), Some(vec![0.25, 0.75])));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]
    #[test]
    fn attributions_add_up_and_so_do_their_merged_sums(
        rows in proptest::collection::vec(proptest::collection::vec(-10.0..10.0f64, 12), 1..20),
        seed in any::<u64>(), pairs in 1usize..4, cut in 0usize..20,
    ) {
        let model = |x: &[f64]| (x[0] * x[1] - x[2]).tanh() * 50.0 + x[3..].iter().map(|v| v.sin()).product::<f64>();
        let baseline = vec![0.5; 12];
        let plan = Plan::new(12, pairs, seed).unwrap();
        let (mut whole, mut sum) = (AttributionTable::new(12), AttributionTable::new(12));
        let mut other = sum.clone();
        let mut total = 0.0;
        for (i, row) in rows.iter().enumerate() {
            let (phi, difference) = run(&plan, row, &baseline, model);
            prop_assert!((phi.iter().sum::<f64>() - difference).abs() < 1e-9);
            total += difference;
            whole.insert(&phi).unwrap();
            if i < cut { sum.insert(&phi).unwrap() } else { other.insert(&phi).unwrap() }
        }
        sum.merge(&other).unwrap();
        prop_assert_eq!(&sum, &whole);
        let mean: f64 = whole.mean().unwrap().iter().sum();
        prop_assert!((mean - total / rows.len() as f64).abs() < 1e-9);
        let bytes = postcard::to_stdvec(&whole).unwrap();
        prop_assert_eq!(&postcard::from_bytes::<AttributionTable>(&bytes).unwrap(), &whole);
    }
}

#[test]
fn what_has_no_finite_sum_is_counted_as_failed() {
    let mut t = AttributionTable::new(2);
    for bad in
        [[f64::INFINITY, 1.0], [f64::NAN, 1.0], [f64::INFINITY, f64::NEG_INFINITY], [f64::MAX, f64::MAX]]
    {
        t.insert(&bad).unwrap();
    }
    assert_eq!((t.rows, t.failed, t.mean(), t.shares()), (0, 4, None, None));
}
