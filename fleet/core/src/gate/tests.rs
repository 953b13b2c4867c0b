mod few;

use super::*;
use crate::policy::Policy;
use crate::rollout::Standing;

fn gate(extra: &str) -> Gate {
    Policy::parse(&format!(
        "name = \"p\"\n[[wave]]\nselect = {{ rest = true }}\n[gate]\nsuccess = 0.9\ndeadline = \"1h\"\non_fail = \"pause\"\n{extra}\n"
    ))
    .unwrap()
    .gate
}
/// Evidence of a test lives as long as the test.
fn held(measured: Measured) -> &'static Measured {
    Box::leak(Box::new(measured))
}
fn device(standing: Standing, reachable: bool) -> Evidence<'static> {
    Evidence {
        standing,
        reachable,
        candidate: Tally::default(),
        champion: None,
        measured: &Measured::NOTHING,
    }
}
fn labelled(n: u64, correct: u64) -> Tally {
    Tally { rows: n, errors: 0, labelled: n, correct }
}
fn pair(old: Tally, new: Tally) -> Evidence<'static> {
    Evidence {
        standing: Standing::Ok,
        reachable: true,
        candidate: new,
        champion: Some(old),
        measured: &Measured::NOTHING,
    }
}
fn of<'a>(v: &'a Verdict, name: &str) -> &'a GateResult {
    v.gates.iter().find(|g| g.gate == name).unwrap()
}

#[test]
fn unreachable_devices_neither_dilute_failures_nor_hold_a_wave_open() {
    let g = gate("");
    let mut wave = vec![device(Standing::Ok, true); 9];
    wave.extend(vec![device(Standing::OnItsWay, false); 50]);
    wave.push(device(Standing::Failed, true));
    let v = judge(&g, &wave, 1, 1);
    assert_eq!((v.counts.ok, v.counts.failed, v.counts.unreachable), (9, 1, 50));
    assert_eq!(of(&v, "success").value, Some(0.9));
    assert_eq!(v.outcome, Outcome::Pass);
    wave.push(device(Standing::Failed, true));
    assert_eq!(judge(&g, &wave, 2, 1).outcome, Outcome::Fail);
}

#[test]
fn a_wave_fails_as_soon_as_success_is_out_of_reach() {
    let g = gate("");
    let wave = [device(Standing::Failed, true), device(Standing::OnItsWay, true)];
    assert_eq!(judge(&g, &wave, 1, 1).outcome, Outcome::Fail);
    let mut wave = vec![device(Standing::OnItsWay, true); 19];
    wave.push(device(Standing::Failed, true));
    let v = judge(&g, &wave, 1, 1);
    assert_eq!(v.outcome, Outcome::NotYet);
    assert!(v.reasons().contains("needs the answer of 19 more devices"), "{}", v.reasons());
}

#[test]
fn called_back_devices_count_nowhere() {
    let g = gate("");
    let v = judge(&g, &[device(Standing::Ok, true), device(Standing::Out, false)], 0, 1);
    assert_eq!((v.outcome, v.counts.out), (Outcome::Pass, 1));
}

#[test]
fn an_absolute_number_of_failures_stops_the_rollout() {
    let g = gate("max_failed_devices = 2");
    let wave = vec![device(Standing::Ok, true); 100];
    assert_eq!(judge(&g, &wave, 2, 1).outcome, Outcome::Pass);
    assert_eq!(judge(&g, &wave, 3, 1).outcome, Outcome::Fail);
}

#[test]
fn rows_are_asked_for() {
    let v = judge(&gate("min_rows = 10"), &[device(Standing::Ok, true)], 0, 1);
    assert_eq!(v.outcome, Outcome::NotYet);
    assert_eq!(v.reasons(), "rows: not yet (needs 10 more rows)");
}

#[test]
fn a_first_version_has_no_accuracy_gate() {
    let v = judge(&gate("accuracy_drop = 0.02"), &[device(Standing::Ok, true)], 0, 1);
    assert_eq!(of(&v, "accuracy").outcome, Outcome::NotApplicable);
    assert_eq!(v.outcome, Outcome::Pass);
}

#[test]
fn a_clearly_worse_version_fails_on_one_and_on_two_devices() {
    let g = gate("accuracy_drop = 0.02");
    let bad = pair(labelled(400, 390), labelled(200, 150));
    let one = judge(&g, std::slice::from_ref(&bad), 0, 2);
    assert_eq!(one.outcome, Outcome::Fail, "{one:?}");
    assert!(of(&one, "accuracy").method.as_deref().unwrap().contains("one device"));
    assert!(
        one.reasons().starts_with("accuracy: accuracy fell: 75.0 % right, 97.5 % with the version before"),
        "{}",
        one.reasons()
    );
    let two = judge(&g, &[bad, pair(labelled(400, 388), labelled(200, 156))], 0, 2);
    assert_eq!(two.outcome, Outcome::Fail);
    assert!(of(&two, "accuracy").numbers["harm_lower"] > 0.02);
}

#[test]
fn many_devices_that_agree_prove_harm_by_their_spread() {
    let g = gate("accuracy_drop = 0.02");
    let wave: Vec<_> =
        (0..40).map(|i| pair(labelled(5000, 4800), labelled(2000, 1740 + 10 * (i % 3)))).collect();
    let v = judge(&g, &wave, 0, 1);
    assert_eq!(v.outcome, Outcome::Fail, "{v:?}");
    assert!(of(&v, "accuracy").method.as_deref().unwrap().contains("spread between devices"));
}

#[test]
fn an_estimate_beyond_the_margin_never_passes() {
    let g = gate("accuracy_drop = 0.02\nmin_labelled = 20");
    let v = judge(&g, &[pair(labelled(100, 95), labelled(30, 26))], 0, 1);
    assert_eq!(v.outcome, Outcome::NotYet);
    assert!(v.reasons().contains("may be chance"), "{}", v.reasons());
}

#[test]
fn an_equal_version_passes_without_proof_in_a_small_wave_and_needs_proof_in_a_large_one() {
    let g = gate("accuracy_drop = 0.05\nmin_labelled = 20");
    let equal = pair(labelled(100, 95), labelled(40, 39));
    let small = judge(&g, &[equal; 2], 0, 1);
    assert_eq!(small.outcome, Outcome::Pass);
    assert!(of(&small, "accuracy").text.starts_with("no proof of harm"));
    let strict = gate("accuracy_drop = 0.05\nmin_labelled = 20\nevidence = \"proof_of_no_harm\"");
    assert_eq!(judge(&strict, &[equal; 2], 0, 1).outcome, Outcome::NotYet);
    let many = vec![pair(labelled(1000, 950), labelled(1000, 960)); 40];
    assert_eq!(judge(&g, &many, 0, 1).outcome, Outcome::Pass);
    assert!(of(&judge(&g, &many, 0, 1), "accuracy").text.starts_with("no harm"));
}

#[test]
fn without_labels_the_gate_says_what_it_needs() {
    let g = gate("accuracy_drop = 0.02\nmin_labelled = 50");
    let v = judge(&g, &[pair(labelled(100, 95), labelled(0, 0))], 0, 1);
    assert_eq!(v.reasons(), "accuracy: not yet (needs 50 more labelled rows)");
    let v = judge(&g, &[pair(labelled(3, 3), labelled(60, 60))], 0, 1);
    assert!(v.reasons().contains("of the previous version"), "{}", v.reasons());
}

#[test]
fn one_canary_with_some_hundred_labels_proves_a_loss_of_twenty_points() {
    // The worst version of the example, on one device of a demo: 97.5 % before, 77 % now.
    let g = gate("accuracy_drop = 0.05");
    let fails = |n: u64| {
        let v = judge(&g, &[pair(labelled(500, 487), labelled(n, n * 77 / 100))], 0, 2);
        v.outcome == Outcome::Fail
    };
    assert!(fails(150) && fails(250) && fails(1000));
}

/// Uniform numbers in 0..1, always the same ones.
struct Dice(u64);
impl Dice {
    fn roll(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as f64 / (1u64 << 53) as f64
    }
    fn right(&mut self, of: u64, accuracy: f64) -> u64 {
        (0..of).filter(|_| self.roll() < accuracy).count() as u64
    }
}

#[test]
fn looking_after_every_label_does_not_fail_an_equal_version_more_often_than_alpha() {
    let g = gate("accuracy_drop = 0.02\nmin_labelled = 100\nalpha = 0.05");
    let mut dice = Dice(88_172_645_463_325_252);
    let (mut failed, worlds) = (0, 500);
    for _ in 0..worlds {
        let old = labelled(1000, dice.right(1000, 0.8));
        let mut right = dice.right(9, 0.78);
        // The loss is exactly what is allowed: the hardest of the harmless versions.
        failed += u32::from((10..1200).any(|n| {
            right += dice.right(1, 0.78);
            judge(&g, &[pair(old, labelled(n, right))], 0, 1).outcome == Outcome::Fail
        }));
    }
    let share = f64::from(failed) / f64::from(worlds);
    assert!(share <= 0.05, "{share}");
}

#[test]
fn devices_that_contradict_each_other_prove_nothing_by_their_rows() {
    // One device lost 35 points, seven lost nothing: many rows, but the devices disagree.
    let g = gate("accuracy_drop = 0.01");
    let old = labelled(4000, 3800);
    let mut wave = vec![pair(old, labelled(4000, 3800)); 7];
    wave.push(pair(old, labelled(4000, 2400)));
    let v = judge(&g, &wave, 0, 1);
    assert_eq!(of(&v, "accuracy").outcome, Outcome::NotYet, "{v:?}");
}

fn with(measured: Measured) -> Evidence<'static> {
    Evidence { measured: held(measured), ..pair(labelled(5000, 4800), labelled(4000, 3840)) }
}
fn figures(before: Figures, now: Figures) -> Evidence<'static> {
    with(Measured { before, now, ..Measured::default() })
}

#[test]
fn more_failing_rows_fail_the_wave_and_as_many_as_before_pass() {
    let g = gate("error_rate_increase = 0.01");
    let errors = |n: u64, errors: u64| Tally { rows: n - errors, errors, labelled: 0, correct: 0 };
    let bad = pair(errors(4800, 10), errors(2000, 160));
    let v = judge(&g, &vec![bad; 4], 0, 2);
    assert_eq!(of(&v, "error_rate_increase").outcome, Outcome::Fail, "{v:?}");
    assert!(v.reasons().contains("8.00 % of rows fail, 0.21 % with the version before"), "{}", v.reasons());
    let good = pair(errors(4800, 10), errors(2000, 4));
    assert_eq!(judge(&g, &vec![good; 4], 0, 2).outcome, Outcome::Pass);
    let early = pair(errors(4800, 10), errors(20, 4));
    let v = judge(&g, &vec![early; 4], 0, 2);
    assert!(v.reasons().contains("needs devices with 50 rows"), "{}", v.reasons());
}

#[test]
fn a_slower_version_fails_and_people_see_ratios() {
    let g = gate("latency_p99_ratio = 1.25");
    let us = |p99_us: f64| Figures { p99_us: Some(p99_us), ..Figures::default() };
    let slow = judge(&g, &vec![figures(us(1000.0), us(4000.0)); 5], 0, 2);
    let result = of(&slow, "latency_p99_ratio");
    assert_eq!(result.outcome, Outcome::Fail, "{result:?}");
    assert!((result.value.unwrap() - 4.0).abs() < 1e-9 && (result.limit.unwrap() - 1.25).abs() < 1e-9);
    assert!(result.numbers["ratio_lower"] > 1.25 && result.numbers["ratio_lower"] < 4.0);
    let same = judge(&g, &vec![figures(us(1000.0), us(1010.0)); 5], 0, 2);
    assert_eq!(same.outcome, Outcome::Pass, "{same:?}");
    // Versions without any latency (a database of before) are not judged by it.
    let none = judge(&g, &vec![figures(us(1000.0), Figures::default()); 5], 0, 2);
    assert_eq!(of(&none, "latency_p99_ratio").outcome, Outcome::NotApplicable);
}

#[test]
fn scores_that_leave_their_reference_further_than_before_fail() {
    let g = gate("score_shift = 0.1");
    let psi = |score_shift: f64| Figures { score_shift: Some(score_shift), ..Figures::default() };
    let moved = judge(&g, &vec![figures(psi(0.02), psi(0.5)); 5], 0, 2);
    assert_eq!(moved.outcome, Outcome::Fail, "{moved:?}");
    // Inputs that moved both versions say nothing against the new one.
    let both = judge(&g, &vec![figures(psi(0.5), psi(0.5)); 5], 0, 2);
    assert_eq!(both.outcome, Outcome::Pass, "{both:?}");
}

#[test]
fn an_estimate_fails_a_wave_and_never_passes_one() {
    let g = gate("accuracy_drop = 0.02\nmin_labelled = 50");
    let scored = |before: f64, now: f64| {
        let figures = |estimated: f64| Figures { estimated: Some(estimated), ..Figures::default() };
        let rows = Tally { rows: 4000, ..Tally::default() };
        let measured = Measured { before: figures(before), now: figures(now), ..Measured::default() };
        Evidence { measured: held(measured), ..pair(rows, rows) }
    };
    let worse = judge(&g, &vec![scored(0.95, 0.70); 6], 0, 2);
    assert_eq!(worse.outcome, Outcome::Fail, "{worse:?}");
    assert!(of(&worse, "accuracy_estimated").text.starts_with("estimated accuracy fell"), "{worse:?}");
    let equal = judge(&g, &vec![scored(0.95, 0.95); 6], 0, 2);
    assert_eq!(of(&equal, "accuracy_estimated").outcome, Outcome::NotApplicable);
    assert_eq!(equal.outcome, Outcome::NotYet, "labels are still asked for");
}

#[test]
fn hardware_that_computes_differently_fails_when_its_devices_agree() {
    let g = gate("golden_deviation = 1e-3");
    let on = |hw: &str, golden: f64| {
        with(Measured { golden: Some(golden), hardware: Some(hw.into()), ..Measured::default() })
    };
    let mut wave = vec![on("x86_64", 1e-6); 3];
    assert_eq!(judge(&g, &[device(Standing::Ok, true)], 0, 1).outcome, Outcome::NotYet);
    assert_eq!(judge(&g, &wave, 0, 1).outcome, Outcome::Pass);
    wave.push(on("aarch64", 0.02));
    let v = judge(&g, &wave, 0, 1);
    assert!(v.reasons().contains("needs 2 more devices of aarch64"), "one may lie: {}", v.reasons());
    wave.extend(vec![on("aarch64", 0.02); 2]);
    let v = judge(&g, &wave, 0, 1);
    assert_eq!(v.outcome, Outcome::Fail, "{v:?}");
    // One liar among them moves no median.
    wave.retain(|e| e.measured.hardware.as_deref() == Some("x86_64"));
    wave.push(on("x86_64", 1e9));
    assert_eq!(judge(&g, &wave, 0, 1).outcome, Outcome::Pass);
}

#[test]
fn what_changes_for_control_devices_too_is_no_harm() {
    let g = gate("accuracy_drop = 0.02");
    // Everybody lost ten points in the same hours.
    let wave: Vec<_> = (0..6).map(|_| pair(labelled(2000, 1900), labelled(1000, 850))).collect();
    let control = Control { before: labelled(2000, 1900), since: labelled(1000, 850) };
    assert_eq!(judge(&g, &wave, 0, 2).outcome, Outcome::Fail);
    let beside = judge_beside(&g, &wave, &[control; 8], 0, 2);
    assert_eq!(beside.outcome, Outcome::Pass, "{beside:?}");
    assert_eq!(of(&beside, "accuracy").numbers["control_devices"], 8.0);
    assert!(of(&beside, "accuracy").method.as_deref().unwrap().contains("8 control devices"));
    // One control device that claims the same does not excuse a bad version.
    let quiet = Control { before: labelled(2000, 1900), since: labelled(1000, 950) };
    let mut controls = vec![quiet; 7];
    controls.push(Control { before: labelled(2000, 2000), since: labelled(1000, 0) });
    assert_eq!(judge_beside(&g, &wave, &controls, 0, 2).outcome, Outcome::Fail);
}

#[test]
fn one_alpha_is_split_over_gates_and_waves() {
    let one = alpha_of_one(&gate("accuracy_drop = 0.02"), 1);
    let all =
        gate("accuracy_drop = 0.02\nerror_rate_increase = 0.01\nlatency_p99_ratio = 1.5\nscore_shift = 0.2");
    assert!((one - 0.01).abs() < 1e-12 && (alpha_of_one(&all, 5) - 0.01 / 20.0).abs() < 1e-12);
}

#[test]
fn all_that_a_wave_is_asked_shares_one_alpha_also_in_shadow() {
    let g = gate(
        "accuracy_drop = 0.02\nerror_rate_increase = 0.01\nlatency_p99_ratio = 1.5\nscore_shift = 0.2\n\
         shadow_agreement = 0.9\nalpha = 0.05",
    );
    // Everything is wrong with it, so that every gate speaks.
    let figures = |p99_us: f64, score_shift: f64, estimated: f64| Figures {
        p99_us: Some(p99_us),
        score_shift: Some(score_shift),
        estimated: Some(estimated),
    };
    let counted = |errors: u64, correct: u64| Tally { rows: 4000, errors, labelled: 4000, correct };
    for shadow in [None, Some(Beside { rows: 900, labelled: 900, only_active: 400, ..Beside::default() })] {
        let (before, now) = (figures(1e3, 0.0, 0.95), figures(9e3, 2.0, 0.5));
        let measured = Measured { before, now, shadow, ..Measured::default() };
        let bad = Evidence { measured: held(measured), ..pair(counted(0, 3800), counted(2000, 2000)) };
        let v = judge(&g, &vec![bad; 4], 0, 3);
        let alphas: Vec<f64> = v.gates.iter().filter_map(|g| g.numbers.get("alpha").copied()).collect();
        assert_eq!(alphas.len(), if shadow.is_some() { 7 } else { 5 }, "{v:?}");
        assert!(alphas.iter().sum::<f64>() <= 0.05 / 3.0 + 1e-12, "{alphas:?}");
    }
}

#[test]
fn many_devices_are_judged_without_any_assumption_and_one_far_out_does_not_spoil_it() {
    let g = gate("accuracy_drop = 0.02");
    let mut wave = vec![pair(labelled(1000, 950), labelled(1000, 850)); 200];
    wave.push(pair(labelled(1000, 0), labelled(1000, 1000)));
    let v = judge(&g, &wave, 0, 1);
    assert_eq!(v.outcome, Outcome::Fail, "{v:?}");
}

#[test]
fn what_is_missing_comes_as_a_number_of_rows_or_devices() {
    let g = gate("accuracy_drop = 0.02\nmin_labelled = 50");
    let wave: Vec<_> = (0..6).map(|i| pair(labelled(2000, 1900), labelled(60, 52 + i % 2))).collect();
    let v = judge(&g, &wave, 0, 2);
    let text = &of(&v, "accuracy").text;
    assert!(text.contains("needs about") && text.contains("more labelled rows on these devices"), "{text}");
    assert!(text.contains("more devices"), "{text}");
}
