use super::*;
use crate::nesting::Level;
use crate::profile::{Column, Profile};
use crate::shadow::Compared;
use crate::window::Recorder;
use proptest::prelude::*;

#[test]
fn a_table_that_was_left_out_is_not_made_up() {
    let many = Counters { classes: vec![1; 1000], ..Counters::default() };
    let mut sum = Counters::default();
    sum.merge(&many).unwrap();
    assert_eq!(sum, many);
}
#[test]
fn a_table_that_only_one_side_has_is_kept() {
    let mut few = Counters { classes: vec![0; 2], ..Counters::default() };
    let mut labelled = Counters::with_classes(2);
    labelled.confusion[3] = 5;
    few.merge(&labelled).unwrap();
    assert_eq!(few.labelled(), 5);
}

fn reference(shift: f64) -> Profile {
    let columns: Vec<(String, Column)> = ["heat", "flow"]
        .iter()
        .map(|n| {
            ((*n).to_owned(), Column::Numeric((0..500).map(|i| Some(f64::from(i) / 50.0 + shift)).collect()))
        })
        .collect();
    Profile::of(&columns).unwrap()
}

/// What one row of every table adds.
fn row(seed: u64) -> Counters {
    let reference = reference(0.0);
    let mut recorder = Recorder::new(&reference, Level::Bins32);
    recorder.numbers(&[(seed % 13) as f64 - 1.0, (seed % 7) as f64]);
    let mut c = Counters::with_classes(2);
    let class = (seed % 2) as usize;
    c.rows = 1;
    c.requests = 1;
    c.low_margin = u64::from(seed.is_multiple_of(5));
    c.classes[class] = 1;
    c.confusion[class] = 1;
    c.latency_us.insert(seed as f64);
    c.scores = vec![ScoreTable::default(); 2];
    c.scores[class].insert((seed % 50) as f64 / 50.0);
    c.judged = vec![LabelledScores::default(); 2];
    c.judged[class].insert((seed % 50) as f64 / 50.0, seed.is_multiple_of(3));
    let mut errors = ErrorTable::new(0.1).unwrap();
    errors.insert(1.0, (seed % 11) as f64);
    c.regression = Some(errors);
    c.groups.rows = 1;
    c.groups.answers = vec![Answers::default(); 3];
    c.groups.answers[(seed % 3) as usize] = Answers { rows: 1, selected: seed % 2 };
    c.groups.outcomes.groups = vec![Outcomes::default(); 3];
    c.groups.outcomes.groups[(seed % 3) as usize].insert(true, seed.is_multiple_of(2));
    c.attribution = AttributionTable::new(2);
    c.attribution.insert(&[seed as f64 / 3.0, -1.0]).unwrap();
    c.profile = Some(recorder.take());
    let mut shadow = ShadowTable::new(2);
    let (active, candidate) = (Some(seed as u32 % 2), Some(seed as u32 / 2 % 2));
    shadow.insert(&Compared {
        active,
        candidate,
        agree: active == candidate,
        nan: false,
        steps: Some(seed as f64 - 500.0),
    });
    shadow.labelled.insert(seed.is_multiple_of(2), seed.is_multiple_of(3));
    c.shadow = Some(shadow);
    c
}

proptest! {
    #[test]
    fn merging_parts_is_counting_the_whole(seeds in prop::collection::vec(0u64..1000, 1..40), cut in 0usize..40) {
        let sum = |rows: &[u64]| {
            rows.iter().fold(Counters::default(), |mut sum, s| {
                sum.merge(&row(*s)).unwrap();
                sum
            })
        };
        let (a, b) = seeds.split_at(cut.min(seeds.len()));
        let mut parts = sum(b);
        parts.merge(&sum(a)).unwrap();
        let whole = sum(&seeds);
        prop_assert_eq!(&parts, &whole);
        let bytes = postcard::to_stdvec(&whole).unwrap();
        prop_assert_eq!(&postcard::from_bytes::<Counters>(&bytes).unwrap(), &whole);
        prop_assert_eq!(whole.rows, seeds.len() as u64);
        prop_assert!(!whole.is_empty());
        // Taking away is the opposite of adding.
        let (before, more) = (sum(a), sum(b));
        let since = whole.since(&before).unwrap();
        prop_assert_eq!(whole.since(&Counters::default()).unwrap(), whole.clone());
        if !a.is_empty() && !b.is_empty() {
            prop_assert_eq!(&since, &more);
            prop_assert_eq!(before.since(&whole), None);
        }
        prop_assert!(whole.since(&whole).unwrap().is_empty());
    }

    #[test]
    fn summands_that_fit_merge_to_the_whole(
        seeds in prop::collection::vec(0u64..1000, 1..30), most in 400usize..3000, order in any::<u64>(),
    ) {
        let mut whole = Counters::default();
        for s in &seeds {
            whole.merge(&row(*s)).unwrap();
        }
        let (mut parts, mut rest) = (Vec::new(), Some(whole.clone()));
        while let Some(left) = rest {
            let (part, more) = left.split_off(most);
            prop_assert!(split::encoded_bytes(&part) <= most, "{} > {most}", split::encoded_bytes(&part));
            // Each is a window for itself: a table of classes comes with the classes.
            let k = part.classes.len();
            prop_assert!(part.confusion.is_empty() || part.confusion.len() == k * k);
            parts.push(part);
            rest = more;
        }
        prop_assert!(parts.len() == 1 || split::encoded_bytes(&whole) > most);
        // In any order.
        let by = order as usize % parts.len();
        parts.rotate_left(by);
        let mut sum = Counters::default();
        for part in &parts {
            sum.merge(part).unwrap();
        }
        prop_assert_eq!(sum, whole);
    }
}

#[test]
fn a_table_of_nothing_is_not_lost_when_a_window_is_cut() {
    let mut whole = row(5);
    whole.confusion = vec![0; 4];
    whole.judged = vec![LabelledScores::default(); 2];
    let (first, rest) = whole.clone().split_off(1);
    let mut sum = first;
    sum.merge(&rest.unwrap()).unwrap();
    assert_eq!(sum, whole);
    assert_eq!(row(5).split_off(usize::MAX), (row(5), None));
}

#[test]
fn counters_that_fell_or_have_another_shape_are_not_later() {
    let mut before = row(3);
    before.merge(&row(4)).unwrap();
    let later: [fn(&mut Counters); 6] = [
        |c| c.rows = 1,
        |c| c.scores = vec![ScoreTable::default(); 2],
        |c| c.profile.as_mut().unwrap().rows = 0,
        |c| c.profile = None,
        |c| c.groups.answers = vec![Answers::default(); 3],
        |c| c.classes.push(9),
    ];
    for (i, change) in later.iter().enumerate() {
        let mut now = before.clone();
        now.merge(&row(5)).unwrap();
        assert!(now.since(&before).is_some());
        change(&mut now);
        assert_eq!(now.since(&before), None, "{i}");
    }
}

#[test]
fn a_refused_merge_changes_nothing() {
    let good = row(3);
    let other_reference = {
        let mut recorder = Recorder::new(&reference(1.0), Level::Bins32);
        recorder.numbers(&[1.0, 1.0]);
        recorder.take()
    };
    let spoilt: [fn(&mut Counters); 7] = [
        |c| c.classes.push(0),
        |c| c.confusion.push(0),
        |c| c.scores.push(ScoreTable::default()),
        |c| c.judged.push(LabelledScores::default()),
        |c| c.groups.answers.push(Answers::default()),
        |c| c.attribution = AttributionTable::new(3),
        |c| c.regression = ErrorTable::new(0.2),
    ];
    for (i, spoil) in spoilt.iter().enumerate() {
        let (mut bad, mut sum) = (row(4), good.clone());
        spoil(&mut bad);
        assert!(sum.merge(&bad).is_err(), "{i}");
        assert_eq!(sum, good, "{i}");
    }
    let (bad, mut sum) = (Counters { profile: Some(other_reference), ..row(4) }, good.clone());
    assert!(matches!(sum.merge(&bad), Err(MergeError::Profile(_))));
    assert_eq!(sum, good);
}

#[test]
fn what_is_held_back_is_the_difference() {
    let mut c = row(1).groups;
    c.rows = 30;
    c.labelled = 7;
    assert_eq!(c.held(), (29, 6));
}

#[test]
fn attributions_that_cannot_have_been_counted_are_not_read() {
    // As they are written: rows, failed, sums, sums of sizes.
    let read = |signed: &[i128], absolute: &[u128]| {
        let bytes = postcard::to_stdvec(&(9u64, 0u64, signed, absolute)).unwrap();
        postcard::from_bytes::<AttributionTable>(&bytes).is_ok()
    };
    assert!(read(&[], &[]) && read(&[-3, 2], &[3, 5]));
    assert!(!read(&[1, 2], &[3]) && !read(&[], &[1]) && !read(&[-4], &[3]));
    assert!(read(&[0; 64], &[0; 64]) && !read(&[0; 65], &[0; 65]));
}
