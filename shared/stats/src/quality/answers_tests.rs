use super::*;

/// SplitMix64.
struct Draw(u64);
impl Draw {
    fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }
    /// Ten classes, and scores that crowd near 1 as a trained network's do; a larger `unsure` spreads them.
    fn answers(&mut self, rows: u64, unsure: f64) -> ReferenceAnswers {
        let row = |_| ((self.uniform() * 10.0) as usize, 1.0 - 0.9 * self.uniform().powf(1.0 / unsure));
        ReferenceAnswers::of((0..rows).map(row).collect::<Vec<_>>(), 10)
    }
}

fn shifts(reference: &ReferenceAnswers, now: &ReferenceAnswers) -> Shifts {
    reference.shifts(&now.classes, &now.scores)
}
fn at_least(shifts: &Shifts) -> Option<f64> {
    shifts.surest().map(|s| s.at_least())
}

#[test]
fn chance_alone_is_no_shift_however_few_rows_there_are() {
    let mut draw = Draw(5);
    let (mut looks, mut false_alarms, mut worst) = (0, 0, 0.0f64);
    for reference_rows in [50, 100, 1_000, 20_000] {
        for rows in [200, 500, 5_000] {
            for _ in 0..200 {
                let reference = draw.answers(reference_rows, 0.2);
                let found = at_least(&shifts(&reference, &draw.answers(rows, 0.2))).unwrap();
                looks += 1;
                false_alarms += u32::from(found > 0.0);
                worst = worst.max(found);
            }
        }
    }
    eprintln!("{false_alarms} of {looks} looks show a shift by chance, the largest {worst:.3}");
    assert!(f64::from(false_alarms) <= 0.005 * f64::from(looks) && worst < 0.2);
}

#[test]
fn answers_that_have_moved_are_seen() {
    let mut draw = Draw(6);
    for reference_rows in [84, 1_000] {
        let reference = draw.answers(reference_rows, 0.2);
        let unsure = shifts(&reference, &draw.answers(400, 2.0));
        assert!(at_least(&unsure).unwrap() > 0.3, "{unsure:?}");
        let constant = ReferenceAnswers::of(vec![(3, 0.75); 200], 10);
        let found = shifts(&reference, &constant);
        assert!(at_least(&found).unwrap() > 2.0 && found.rows() == 200, "{found:?}");
        let widest = found.widest().unwrap();
        assert!(widest.excess() + widest.reach() > at_least(&found).unwrap());
    }
}

#[test]
fn too_few_rows_say_nothing() {
    let mut draw = Draw(7);
    let (reference, few) = (draw.answers(1_000, 0.2), draw.answers(199, 0.2));
    let none = shifts(&reference, &few);
    assert_eq!((none.surest(), none.widest(), none.rows()), (None, None, 0));
    assert_eq!(shifts(&draw.answers(49, 0.2), &reference).surest(), None);
    // One that always answers the same has one cell, and nothing to move in but the others.
    let always = ReferenceAnswers::of(vec![(0, 1.0); 500], 1);
    assert!(at_least(&shifts(&always, &always)) == Some(0.0));
    assert_eq!(Shift::of(&[500], &[500]), None);
    assert_eq!(Shift::of(&[500, 1], &[500]), None);
}

#[test]
fn cells_are_cut_by_the_reference_and_keep_every_row() {
    let cut = |r: &[u64], c: &[u64]| cells(r, c).unwrap();
    assert_eq!(cut(&[1, 2, 2, 5, 80, 6, 4, 0], &[1; 8]), (vec![5, 5, 80, 10], vec![3, 1, 1, 3]));
    assert_eq!(cut(&[40, 40, 15, 3, 2], &[1; 5]), (vec![40, 40, 15, 5], vec![1, 1, 1, 2]));
    assert_eq!(cut(&[40, 40, 18, 2], &[1; 4]), (vec![40, 40, 20], vec![1, 1, 2]));
    assert_eq!(cut(&[99, 1], &[0, 7]), (vec![99, 1], vec![0, 7]));
    assert_eq!(cut(&[0, 0], &[3, 4]), (vec![0, 0], vec![3, 4]));
}
