use std::collections::BTreeSet;

use jiff::tz::TimeZone;
use longshore_bundle::Requires;
use longshore_trust::{DeviceId, Digest, Generation, ReleaseCounter, UnixMs};

use super::*;
use crate::plan::{Candidate, Elsewhere, Presence, Request, plan};
use crate::policy::Policy;

const NEW: Digest = Digest([2; 32]);
const OLD: Digest = Digest([1; 32]);
/// 2026-06-10T00:00:00Z, a Wednesday.
const NOW: UnixMs = UnixMs(1_781_049_600_000);

fn candidate(n: usize) -> Candidate {
    Candidate {
        online: true,
        active: Some(OLD),
        active_counter: Some(ReleaseCounter(1)),
        ..Candidate::new(DeviceId::new(format!("dev-{n}")).unwrap())
    }
}
fn policy(text: &str) -> Policy {
    Policy::parse(text).unwrap_or_else(|e| panic!("{e}\n{text}"))
}
const CANARY: &str =
    "[[wave]]\nselect = { count = 2 }\nsoak = \"30m\"\n[[wave]]\nselect = { rest = true }\nsoak = \"10m\"\n";
fn gate(keys: &str) -> String {
    format!("[gate]\ndeadline = \"24h\"\non_fail = \"pause\"\n{keys}\n")
}
fn rehearsed(text: &str, inventory: &[Candidate], traffic: Option<Traffic>) -> (Plan, Rehearsal) {
    let (ways, requires) = (BTreeSet::from([(NEW, OLD)]), Requires::default());
    let made = plan(
        Request {
            id: "r-1".parse().unwrap(),
            parent: None,
            generation: Generation(1),
            model: "m".parse().unwrap(),
            version: "2.0.0".into(),
            bundle: NEW,
            release_counter: ReleaseCounter(2),
            bytes: 1_000_000,
            requires: &requires,
            ways_back: &ways,
            policy: policy(text),
        },
        inventory,
    )
    .unwrap();
    let zone = |name: &str| (name == "Asia/Tokyo").then(|| TimeZone::posix("JST-9").unwrap());
    let rehearsal = rehearse(&made, inventory, traffic, &zone, NOW);
    (made, rehearsal)
}
fn busy() -> Traffic {
    Traffic {
        rows_per_hour: 200.0,
        labelled_share: 0.2,
        history_h: 48.0,
        accuracy: 0.97,
        error_rate: 0.01,
        devices: 10,
    }
}
fn says(r: &Rehearsal, part: &str) -> bool {
    r.lint.iter().any(|l| l.contains(part))
}

#[test]
fn a_rehearsal_counts_devices_verdicts_bytes_and_time() {
    let mut inventory: Vec<_> = (0..10).map(candidate).collect();
    inventory[9].active = Some(NEW);
    inventory[8].quarantined = Some("failed 3 times".into());
    let text = format!("name = \"p\"\n{CANARY}{}", gate("min_rows = 400"));
    let (_, r) = rehearsed(&text, &inventory, Some(busy()));
    assert_eq!(
        r.verdicts,
        [("already", 1), ("compatible", 8), ("quarantined", 1)].map(|(k, v)| (k.to_owned(), v)).into()
    );
    assert_eq!((r.bytes, r.waves[0].bytes, r.waves[1].devices), (8_000_000, 2_000_000, 6));
    // 400 rows of two devices at 200 an hour are there after an hour, longer than the soak; the rest is quicker.
    assert_eq!(r.waves[0].passes_ms, Some(HOUR_MS));
    assert_eq!(r.eta_ms, Some(HOUR_MS + 20 * 60_000));
    assert_eq!(r.waves[1].passes_ms, r.eta_ms);
    assert!(r.waves[0].power.iter().all(|p| p.text.starts_with("2 devices x ")));
}

#[test]
fn caps_and_bandwidth_take_their_time() {
    let inventory: Vec<_> = (0..1000).map(candidate).collect();
    let text = format!(
        "name = \"p\"\nbandwidth = \"1MB/s\"\n{}{}",
        CANARY.replace("select = { rest = true }", "select = { rest = true }\nmax_per_minute = 10"),
        gate("min_rows = 1")
    );
    let (_, r) = rehearsed(&text, &inventory, Some(busy()));
    assert_eq!(r.waves[0].offering_ms, 2_000, "two megabytes at one a second");
    assert_eq!(r.waves[1].offering_ms, 99 * 60_000, "998 devices, ten a minute");
}

#[test]
fn devices_that_are_away_are_there_when_they_were_before() {
    let hour = NOW.0 / HOUR_MS;
    // Watched for four weeks, heard of each Wednesday from 06:00 on for two hours.
    let mut presence = Presence::new(hour - 4 * 168);
    for week in 1..=4 {
        for h in 6..8 {
            presence.heard_in(hour - week * 168 + h);
        }
    }
    let mut inventory: Vec<_> = (0..3).map(candidate).collect();
    for c in &mut inventory {
        c.online = false;
        c.presence = Some(presence.clone());
    }
    let text = format!("name = \"p\"\n{CANARY}{}", gate("min_rows = 0"));
    let (_, r) = rehearsed(&text, &inventory, None);
    assert_eq!(r.waves[0].passes_ms, Some(6 * HOUR_MS + 30 * 60_000));
    assert!((r.waves[0].reached - 2.0).abs() < 1e-9 && r.waves[0].unknown == 0);
    for c in &mut inventory {
        c.presence = None;
    }
    let (_, r) = rehearsed(&text, &inventory, None);
    assert_eq!((r.waves[0].passes_ms, r.waves[0].unknown, r.eta_ms), (None, 2, None), "nothing is guessed");
}

#[test]
fn windows_are_waited_for_in_each_zone() {
    let mut inventory: Vec<_> = (0..2).map(candidate).collect();
    inventory[0].zone = Some("Asia/Tokyo".into());
    inventory[1].bad_zone = Some("Mars/Olympus".into());
    let window = "[window]\ncron = \"0 2 * * *\"\nduration = \"1h\"\n";
    let text = format!("name = \"p\"\n[[wave]]\nselect = {{ rest = true }}\n{window}{}", gate(""));
    let (_, r) = rehearsed(&text, &inventory, None);
    // 02:00 in Tokyo is 17:00 UTC; in UTC the window opens at 02:00.
    assert_eq!(r.waves[0].offering_ms, 17 * HOUR_MS);
    assert!(says(&r, "\"Mars/Olympus\" is no time zone"), "{:?}", r.lint);
    inventory[1].bad_zone = None;
    let (_, r) = rehearsed(&text, &inventory, None);
    assert!(says(&r, "taken in UTC"), "{:?}", r.lint);
}

#[test]
fn lint_names_what_is_probably_not_meant() {
    let inventory: Vec<_> = (0..2).map(candidate).collect();
    let lint = |text: &str, traffic| rehearsed(text, &inventory, traffic).1;
    let r = lint(&format!("name = \"p\"\n{CANARY}{}", gate("min_rows = 100000")), Some(busy()));
    assert!(says(&r, "wave 0: the gate needs more rows than 2 devices make in 1d"), "{:?}", r.lint);
    assert!(says(&r, "wave 1 (the rest) selects nothing"), "{:?}", r.lint);
    assert_eq!(r.waves[0].passes_ms, None);
    let r = lint(&format!("name = \"p\"\n{CANARY}{}", gate("")), None);
    assert!(says(&r, "nothing was counted with the present version"), "{:?}", r.lint);
    assert!(says(&r, "no gate asks for a row"), "{:?}", r.lint);
    let weekly = "[window]\ncron = \"0 2 * * 0\"\nduration = \"1h\"\n";
    let r = lint(&format!("name = \"p\"\n{CANARY}{weekly}{}", gate("")), None);
    assert!(says(&r, "can never pass"), "{:?}", r.lint);
    let site =
        CANARY.replace("count = 2", "where = 'site == \"ams\"'").replace("soak = \"30m\"", "optional = true");
    let r = lint(&format!("name = \"p\"\n{site}{}", gate("")), None);
    assert!(says(&r, "no device has the label \"site\""), "{:?}", r.lint);
    let r = lint(&format!("name = \"p\"\n[[wave]]\nselect = {{ rest = true }}\n{}", gate("")), None);
    assert!(says(&r, "no canary"), "{:?}", r.lint);
    let r = lint(&format!("name = \"p\"\n[[wave]]\nselect = {{ count = 2 }}\n{}", gate("")), None);
    assert!(says(&r, "the last wave is not"), "{:?}", r.lint);
}

#[test]
fn lint_names_a_wave_that_would_still_soak_at_its_deadline() {
    let inventory: Vec<_> = (0..600).map(candidate).collect();
    // 599 minutes (9 h 59 min) to offer it, 8 h of shadow and 6 of soak: a minute less than a day.
    let wave = "[[wave]]\nselect = { rest = true }\nmax_per_minute = 1\nsoak = \"6h\"\nshadow = \"8h\"\n";
    let lint = |wave: &str, keys: &str| {
        rehearsed(&format!("name = \"p\"\n{wave}{}", gate(keys)), &inventory, Some(busy())).1
    };
    let says_so = |r: &Rehearsal| says(r, "still soaking then is inconclusive");
    let r = lint(wave, "");
    assert!(!says_so(&r) && r.waves[0].passes_ms.is_some(), "{:?}", r.lint);
    let r = lint(&wave.replace("6h", "361m"), "");
    assert!(says_so(&r) && r.waves[0].passes_ms.is_none(), "{:?}", r.lint);
    assert!(
        says(
            &r,
            "wave 0: offering it to 600 devices takes 599m at least, its shadow run 8h, its soak 361m: together"
        ),
        "{:?}",
        r.lint
    );
    // 720,600 rows of 600 devices at 200 an hour take longer than the soak.
    let r = lint(wave, "min_rows = 722000");
    assert!(says_so(&r) && says(&r, "the rows that the gate asks for 361m"), "{:?}", r.lint);
}

#[test]
fn devices_without_a_way_back_or_in_another_rollout_are_named() {
    let mut inventory: Vec<_> = (0..3).map(candidate).collect();
    inventory[0].active = Some(Digest([9; 32]));
    inventory[1].elsewhere = Some(Elsewhere { rollout: "r-0".parse().unwrap(), priority: 5 });
    let all = "[[wave]]\nselect = { rest = true }\n";
    let (_, r) = rehearsed(&format!("name = \"p\"\n{all}{}", gate("")), &inventory, None);
    assert!(says(&r, "for 1 device no offline key signed the way back"), "{:?}", r.lint);
    assert!(
        says(&r, "1 device (dev-1) is in rollout r-0 (priority 5)") && says(&r, "cannot start"),
        "{:?}",
        r.lint
    );
    let (_, r) = rehearsed(&format!("name = \"p\"\npriority = 6\n{all}{}", gate("")), &inventory, None);
    assert!(says(&r, "takes it over when it starts"), "{:?}", r.lint);
}
