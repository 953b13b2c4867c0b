//! Few devices of a wave that could all speak: none of them answers for the others, and the text says who is behind a harm.

use super::*;

/// 2,000 rows before, and so many since; everything about it is `good`, or nothing.
fn says(rows: u64, good: bool) -> Evidence<'static> {
    let tally = |rows: u64, good: bool| Tally {
        rows: if good { rows } else { rows / 2 },
        errors: if good { 0 } else { rows / 2 },
        labelled: rows / 2,
        correct: if good { rows * 47 / 100 } else { rows / 8 },
    };
    let figures = |good: bool| Figures {
        p99_us: Some(if good { 1000.0 } else { 50_000.0 }),
        score_shift: Some(if good { 0.01 } else { 3.0 }),
        estimated: Some(if good { 0.95 } else { 0.3 }),
    };
    let measured = Measured { before: figures(true), now: figures(good), ..Measured::default() };
    Evidence { measured: held(measured), ..pair(tally(2000, true), tally(rows, good)) }
}

const HARMS: [&str; 4] =
    ["accuracy_drop = 0.02", "error_rate_increase = 0.01", "latency_p99_ratio = 1.5", "score_shift = 0.2"];

/// The outcome of the one gate on a harm.
fn asked(keys: &str, wave: &[Evidence<'_>]) -> GateResult {
    let name = keys.split(' ').next().unwrap().replace("accuracy_drop", "accuracy");
    of(&judge(&gate(keys), wave, 0, 1), &name).clone()
}

#[test]
fn one_device_that_tells_much_neither_passes_nor_fails_a_wave_of_three() {
    for keys in HARMS {
        for (good, alone) in [(true, Outcome::Pass), (false, Outcome::Fail)] {
            let loud = says(4000, good);
            let wave = [loud, says(4, true), says(0, true)];
            let g = asked(keys, &wave);
            assert_eq!(g.outcome, Outcome::NotYet, "{keys}, {good}: {g:?}");
            assert!(g.text.contains("rows of 2 more devices"), "{}", g.text);
            let two = asked(keys, &[loud, loud, says(0, true)]);
            assert_eq!(two.outcome, Outcome::NotYet, "{keys}, {good}: {two:?}");
            assert!(two.text.contains("rows of 1 more device"), "{}", two.text);
            let three = asked(keys, &vec![loud; 3]);
            assert_eq!(three.outcome, alone, "{keys}: {three:?}");
            // A wave that has no more is not asked for more.
            for few in 1..=2 {
                assert_eq!(asked(keys, &vec![loud; few]).outcome, alone, "{keys}");
            }
            assert_eq!(asked(keys, &[loud, says(0, true)]).outcome, alone, "{keys}: of two, one is enough");
        }
    }
}

#[test]
fn nobody_waits_for_a_device_that_cannot_be_compared_or_has_gone() {
    let nothing_before = Evidence { champion: Some(Tally::default()), ..says(0, true) };
    let first = Evidence { champion: None, ..says(0, true) };
    let away = Evidence { reachable: false, standing: Standing::OnItsWay, ..says(0, true) };
    let failed = Evidence { standing: Standing::Failed, ..says(0, true) };
    for keys in HARMS {
        for other in [&nothing_before, &first, &away, &failed] {
            for (good, alone) in [(true, Outcome::Pass), (false, Outcome::Fail)] {
                let wave = [says(4000, good), *other, *other, *other];
                assert_eq!(asked(keys, &wave).outcome, alone, "{keys}: {other:?}");
            }
        }
    }
}

#[test]
fn the_first_that_comes_up_stops_nothing_for_those_on_their_way_and_one_that_defers_holds_nothing_open() {
    let coming = Evidence { standing: Standing::OnItsWay, ..says(0, true) };
    for keys in HARMS {
        let early = asked(keys, &[says(4000, false), coming, coming]);
        assert_eq!(early.outcome, Outcome::NotYet, "{early:?}");
        assert!(early.text.contains("do not decide for the others"), "{}", early.text);
        let good = asked(keys, &[says(4000, true), says(4000, true), coming]);
        assert_eq!(good.outcome, Outcome::Pass, "{good:?}");
    }
}

#[test]
fn labels_of_one_device_are_capped_while_others_could_bring_some() {
    // Three devices can be compared; two of them told 60 labels in all, and the loud one counts for half.
    let g = gate("accuracy_drop = 0.02\nmin_labelled = 200");
    let quiet = says(60, true);
    let v = judge(&g, &[says(4000, true), quiet, quiet], 0, 1);
    assert!(v.reasons().contains("needs 40 more labelled rows"), "{}", v.reasons());
}

#[test]
fn an_estimate_of_one_device_fails_no_wave_of_three() {
    let unlabelled = |e: Evidence<'static>| {
        let without = |t: Tally| Tally { labelled: 0, correct: 0, ..t };
        Evidence { candidate: without(e.candidate), champion: e.champion.map(without), ..e }
    };
    let g = gate("accuracy_drop = 0.02");
    let (bad, silent) = (unlabelled(says(4000, false)), unlabelled(says(10, true)));
    let estimated = |wave: &[Evidence<'_>]| of(&judge(&g, wave, 0, 1), "accuracy_estimated").outcome;
    assert_eq!(estimated(&[bad, silent, silent]), Outcome::NotApplicable);
    assert_eq!(estimated(&vec![bad; 3]), Outcome::Fail);
    assert_eq!(estimated(&[bad]), Outcome::Fail);
}

#[test]
fn one_device_in_shadow_does_not_decide_for_those_that_have_begun() {
    let g = gate("shadow_agreement = 0.9");
    let beside = |rows: u64, agreed: u64| Beside { rows, agreed, ..Beside::default() };
    let shadowing = |b: Beside| Evidence {
        standing: Standing::OnItsWay,
        measured: held(Measured { shadow: Some(b), ..Measured::default() }),
        ..says(0, true)
    };
    let of = |wave: &[Evidence<'_>]| of(&judge(&g, wave, 0, 1), AGREEMENT_GATE).clone();
    for agreed in [2000, 200] {
        let few = of(&[shadowing(beside(2000, agreed)), shadowing(beside(3, 3)), shadowing(beside(0, 0))]);
        assert_eq!(few.outcome, Outcome::NotYet, "{few:?}");
        assert!(few.text.contains("rows in shadow of 2 more devices"), "{}", few.text);
    }
    assert_eq!(of(&vec![shadowing(beside(2000, 2000)); 3]).outcome, Outcome::Pass);
    assert_eq!(of(&vec![shadowing(beside(2000, 200)); 3]).outcome, Outcome::Fail);
    // One that came when the shadow run was over serves it without any: nobody waits for its rows.
    let late = Evidence { standing: Standing::Ok, ..shadowing(beside(0, 0)) };
    let two = Evidence { standing: Standing::Ok, ..shadowing(beside(2000, 1990)) };
    assert_eq!(of(&[two, two, late]).outcome, Outcome::Pass);
}

#[test]
fn a_broken_device_that_holds_up_a_harmless_version_is_counted_in_the_text_and_the_gate_is_named() {
    let g = gate("accuracy_drop = 0.02\nerror_rate_increase = 0.01\nmin_labelled = 50");
    let fine = pair(labelled(2000, 1900), labelled(800, 760));
    let broken = pair(labelled(2000, 1900), labelled(800, 240));
    let v = judge(&g, &[fine, fine, fine, broken], 0, 1);
    let accuracy = of(&v, "accuracy");
    assert_eq!(accuracy.outcome, Outcome::NotYet, "{accuracy:?}");
    assert_eq!(accuracy.numbers["devices_beyond"], 1.0);
    let said = v.reasons();
    assert!(said.starts_with("accuracy: not yet (needs"), "{said}");
    assert!(
        said.contains(
            "1 of 4 devices is beyond +2.0 points, and without the one that shows the most of it the loss looks like +0.0"
        ),
        "{said}"
    );
    // Two of them that agree are no accident of one device, and nothing of the kind is said.
    let broken = pair(labelled(2000, 1900), labelled(120, 108));
    let fine = pair(labelled(2000, 1900), labelled(120, 113));
    let v = judge(&g, &[broken, broken, fine], 0, 1);
    assert!(v.reasons().contains("2 of 3 devices are beyond +2.0 points"), "{}", v.reasons());
    assert!(!v.reasons().contains("without the one"), "{}", v.reasons());
}

#[test]
fn texts_count_one_device_as_one() {
    let g = gate("max_failed_devices = 3\nmin_rows = 5\nmin_devices = 2\naccuracy_drop = 0.02");
    for wave in [
        vec![],
        vec![says(1, true)],
        vec![says(4000, true)],
        vec![says(0, true), Evidence { standing: Standing::OnItsWay, ..says(0, true) }],
    ] {
        for g in judge(&g, &wave, 1, 1).gates {
            for wrong in ["(s)", " 1 devices", " 1 rows", "1 more devices", "1 more rows", "(1 devices"] {
                assert!(!format!(" {}", g.text).contains(wrong), "{}", g.text);
            }
        }
    }
}

fn on(hardware: &str, golden: Option<f64>, standing: Standing) -> Evidence<'static> {
    let measured = Measured { golden, hardware: Some(hardware.into()), ..Measured::default() };
    Evidence { measured: held(measured), ..device(standing, true) }
}
fn golden(wave: &[Evidence<'_>]) -> GateResult {
    of(&judge(&gate("golden_deviation = 1e-3"), wave, 0, 1), "golden_deviation").clone()
}

#[test]
fn a_class_of_hardware_that_told_nothing_passes_on_nobody_elses_evidence() {
    let x86 = on("x86_64", Some(1e-6), Standing::Ok);
    let mut wave = vec![x86; 5];
    wave.push(on("aarch64", None, Standing::Ok));
    let g = golden(&wave);
    assert_eq!(g.outcome, Outcome::NotYet, "{g:?}");
    assert!(g.text.contains("none came from 1 device of aarch64"), "{}", g.text);
    wave.push(on("aarch64", Some(1e-5), Standing::Ok));
    assert_eq!(golden(&wave).outcome, Outcome::Pass);
    // One that does not run it yet, or never will, is no evidence that is missing.
    for standing in [Standing::OnItsWay, Standing::Failed, Standing::Out] {
        let mut wave = wave.clone();
        wave.push(on("riscv64", None, standing));
        assert_eq!(golden(&wave).outcome, Outcome::Pass, "{standing:?}");
    }
}

#[test]
fn a_device_that_makes_up_a_class_of_its_own_fails_nobody() {
    // All compute alike and a little off; one says that it is of other hardware, and not off at all.
    let mut wave = vec![on("x86_64", Some(0.02), Standing::Ok); 5];
    wave.push(on("made-up", Some(0.0), Standing::Ok));
    let g = golden(&wave);
    assert_eq!(g.outcome, Outcome::NotYet, "{g:?}");
    assert!(g.text.contains("needs 2 more devices of made-up"), "{}", g.text);
    wave.extend(vec![on("made-up", Some(0.0), Standing::Ok); 2]);
    assert_eq!(golden(&wave).outcome, Outcome::Fail);
    // The first that has told is not the whole wave.
    let first = [
        on("x86_64", Some(1e-6), Standing::Ok),
        on("aarch64", Some(0.5), Standing::Ok),
        on("x86_64", None, Standing::Ok),
    ];
    assert_eq!(golden(&first).outcome, Outcome::NotYet);
    let two = [on("x86_64", Some(1e-6), Standing::Ok), on("aarch64", Some(0.5), Standing::Ok)];
    assert_eq!(golden(&two).outcome, Outcome::Fail, "there are no others");
}
