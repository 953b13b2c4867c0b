use proptest::prelude::*;

use super::*;
use crate::sequence::bernoulli;

/// Uniform numbers in 0..1, always the same ones.
struct Dice(u64);
impl Dice {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }
    fn roll(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as f64 / (1u64 << 53) as f64
    }
}

#[test]
fn before_the_first_observation_everything_is_possible() {
    let s = Hedged::new(0.05).unwrap();
    assert_eq!((s.n(), s.mean(), s.interval()), (0, None, Interval { lo: 0.0, hi: 1.0 }));
}

#[test]
fn values_out_of_range_and_no_alpha_are_refused_and_change_nothing() {
    let mut s = Hedged::new(0.05).unwrap();
    for bad in [-0.001, 1.001, f64::NAN, f64::INFINITY] {
        assert!(matches!(s.observe(bad), Err(SequenceError::OutOfRange(_))), "{bad}");
        assert!(ln_wealth_above([bad], 0.5, 0.05).is_err() && ln_wealth_above([0.5], bad, 0.05).is_err());
    }
    assert_eq!(s.n(), 0);
    for alpha in [0.0, 1.0, f64::NAN] {
        assert!(Hedged::new(alpha).is_err() && ln_wealth_above([0.5], 0.5, alpha).is_err());
    }
}

#[test]
fn constants_are_found_quickly_and_held_for_ever() {
    for value in [0.0, 0.3, 1.0] {
        let mut s = Hedged::new(0.01).unwrap();
        for _ in 0..2000 {
            s.observe(value).unwrap();
            let i = s.interval();
            assert!(i.lo <= value && value <= i.hi, "{value} {i:?}");
        }
        let i = s.interval();
        assert!(i.hi - i.lo < 0.02, "{value}: {i:?}");
    }
}

#[test]
fn the_truth_is_held_at_all_looks_at_once_as_often_as_promised() {
    // Laws with very different variances; the mean of each is known.
    type Law = fn(&mut Dice) -> f64;
    let laws: [(f64, Law); 4] = [
        (0.05, |d| f64::from(u8::from(d.roll() < 0.05))),
        (0.5, Dice::roll),
        (0.55, |d| 0.5 + 0.1 * d.roll()),
        (0.01, |d| if d.roll() < 0.99 { 0.0 } else { 1.0 }),
    ];
    let (worlds, looks, alpha) = (200, 300, 0.1);
    for (k, (mean, law)) in laws.iter().enumerate() {
        let missed = (0..worlds)
            .filter(|w| {
                let mut dice = Dice::new(1000 * k as u64 + w + 1);
                let mut s = Hedged::new(alpha).unwrap();
                (0..looks).any(|_| {
                    s.observe(law(&mut dice)).unwrap();
                    let i = s.interval();
                    i.lo > *mean || i.hi < *mean
                })
            })
            .count();
        // Three standard deviations of the count above alpha.
        let most = alpha * worlds as f64 + 3.0 * (worlds as f64 * alpha * (1.0 - alpha)).sqrt();
        assert!((missed as f64) <= most, "law {k}: {missed} of {worlds}");
    }
}

#[test]
fn it_knows_a_small_variance_where_a_share_does_not() {
    let mut dice = Dice::new(7);
    let mut s = Hedged::new(0.05).unwrap();
    for _ in 0..1000 {
        s.observe(0.45 + 0.1 * dice.roll()).unwrap();
    }
    let (ours, share) = (s.interval(), bernoulli::interval(500, 1000, 0.05).unwrap());
    assert!((ours.hi - ours.lo) * 4.0 < share.hi - share.lo, "{ours:?} {share:?}");
}

#[test]
fn wealth_against_a_false_mean_grows_and_against_a_true_one_does_not() {
    let values = |n: usize| (0..n).map(|i| if i % 10 == 0 { 1.0 } else { 0.5 });
    let rich = (1000f64).ln();
    assert!(ln_wealth_above(values(400), 0.4, 0.001).unwrap() > rich);
    assert!(ln_wealth_above(values(400), 0.55, 0.001).unwrap() < 1.0);
    assert_eq!(ln_wealth_above([], 0.4, 0.001), Ok(0.0));
}

proptest! {
    #[test]
    fn whatever_is_observed_the_interval_never_widens(
        values in proptest::collection::vec(0.0f64..=1.0, 0..200),
        alpha in 0.001f64..0.5,
    ) {
        let mut s = Hedged::new(alpha).unwrap();
        let mut before = s.interval();
        for v in values {
            s.observe(v).unwrap();
            let now = s.interval();
            prop_assert!(now.lo >= before.lo && now.hi <= before.hi && now.lo <= now.hi);
            before = now;
        }
    }
    #[test]
    fn what_is_mirrored_has_the_mirrored_interval(values in proptest::collection::vec(0.0f64..=1.0, 1..100)) {
        let (mut a, mut b) = (Hedged::new(0.05).unwrap(), Hedged::new(0.05).unwrap());
        for v in values {
            a.observe(v).unwrap();
            b.observe(1.0 - v).unwrap();
        }
        let (x, y) = (a.interval(), b.interval());
        prop_assert!((x.lo - (1.0 - y.hi)).abs() < 0.0021 && (x.hi - (1.0 - y.lo)).abs() < 0.0021, "{:?} {:?}", x, y);
    }
}
