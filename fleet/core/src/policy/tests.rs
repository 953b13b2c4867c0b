use super::*;

const SMALL: &str = r#"
name = "small"
[[wave]]
select = { count = 1 }
soak = "2s"
[[wave]]
select = { rest = true }
[gate]
accuracy_drop = 0.02
deadline = "1m"
on_fail = "revert"
"#;

fn wrong(text: &str) -> PolicyError {
    Policy::parse(text).unwrap_err()
}

#[test]
fn the_shipped_policies_are_valid_and_named_like_their_files() {
    for (name, text) in SHIPPED {
        assert_eq!(Policy::parse(text).unwrap().name, name);
    }
    assert!(shipped("careful").is_some() && shipped("none").is_none());
}

#[test]
fn what_is_left_out_has_a_default() {
    let p = Policy::parse(SMALL).unwrap();
    assert_eq!((p.waves[0].soak_ms, p.waves[0].probation_ms, p.waves[0].lease_ms), (2000, 2000, 3_600_000));
    assert_eq!((p.gate.min_devices, p.gate.min_labelled, p.gate.on_inconclusive), (1, 100, OnFail::Pause));
    assert!(p.reverts());
}

#[test]
fn an_unknown_key_is_named_with_its_line() {
    let e = wrong(&SMALL.replace("soak =", "soack ="));
    assert_eq!(e.line, 5);
    assert!(e.message.contains("soack"), "{e}");
}

#[test]
fn windows_caps_and_priorities_are_read() {
    let head = "bandwidth = \"20MB/s\"\npriority = 10\nauthorize = true\n";
    let waves = SMALL.replace("soak = \"2s\"", "soak = \"2s\"\nshadow = \"5s\"\nmax_per_minute = 500");
    let text = format!("{head}{waves}[window]\ncron = \"0 1 * * *\"\nduration = \"3h\"\n");
    let p = Policy::parse(&text).unwrap();
    assert_eq!((p.bandwidth, p.priority, p.authorize), (Some(20_000_000), 10, true));
    assert_eq!((p.waves[0].shadow_ms, p.waves[0].max_per_minute), (5_000, Some(500)));
    assert_eq!(p.window, Some(Window { cron: "0 1 * * *".into(), duration_ms: 3 * 3_600_000 }));
    let back: Policy = serde_json::from_str(&serde_json::to_string(&p).unwrap()).unwrap();
    assert_eq!(back, p);
}

#[test]
fn a_plan_of_before_has_the_defaults() {
    let p = Policy::parse(SMALL).unwrap();
    let json = serde_json::to_value(&p).unwrap();
    for key in ["window", "bandwidth", "priority", "authorize"] {
        assert!(json.get(key).is_none(), "{key} would change the hash of every stored plan");
    }
    assert!(json["waves"][0].get("shadow_ms").is_none());
}

#[test]
fn every_mistake_is_named_in_the_order_of_the_lines() {
    let text = SMALL.replace("count = 1", "count = 0").replace("rest = true", "where = \"site = 'a'\"");
    let wrong = Policy::check(&format!("priority = 5000\n{text}[window]\ncron = \"x\"\nduration = \"1s\"\n"))
        .unwrap_err();
    let lines: Vec<_> = wrong.iter().map(|e| e.line).collect();
    assert_eq!(lines, [1, 5, 8, 15], "{wrong:?}");
}

#[test]
fn an_unknown_key_names_the_nearest_right_one_or_its_table() {
    for (from, to, says) in [
        ("soak =", "soack =", "did you mean `soak`?"),
        ("rest = true", "remainder = true", "there are count, percent, rest, ring, labels, where"),
        ("[gate]", "[gate]\nsoak = \"1s\"", "it belongs to [[wave]]"),
        ("name =", "authorise = true\nname =", "did you mean `authorize`?"),
        ("on_fail =", "on_fial =", "did you mean `on_fail`?"),
        ("soak = \"2s\"", "soak = \"2s\"\nsoak = \"3s\"", "`soak` is given twice"),
        ("soak = \"2s\"", "soak = 30", "a length of time in quotes"),
        ("on_fail = \"revert\"", "", "`on_fail` is missing: give \"pause\", \"halt\" or \"revert\""),
    ] {
        let e = wrong(&SMALL.replacen(from, to, 1));
        assert!(e.message.contains(says), "{to}: {e}");
    }
}

#[test]
fn hints_know_the_keys_of_the_reader() {
    for (table, keys) in super::explain::KEYS {
        let text = match table {
            "the top level" => format!("zzzzzzzz = 1\n{SMALL}"),
            "[[wave]]" => SMALL.replacen("soak =", "zzzzzzzz =", 1),
            "`select`" => SMALL.replacen("count =", "zzzzzzzz =", 1),
            "[gate]" => SMALL.replacen("deadline =", "zzzzzzzz =", 1),
            "[window]" => format!("{SMALL}[window]\nzzzzzzzz = 1\n"),
            _ => format!("{SMALL}[guard]\nzzzzzzzz = 1\n"),
        };
        let said = wrong(&text).message;
        assert!(said.ends_with(&format!("there are {}", keys.join(", "))), "{table}: {said}");
    }
}

#[test]
fn impossible_values_are_named_with_their_line() {
    for (from, to, line) in [
        ("count = 1", "count = 0", 4),
        ("count = 1", "percent = 101", 4),
        ("count = 1", "count = 1, percent = 5", 4),
        ("rest = true", "rest = false", 7),
        ("\"2s\"", "\"2 apples\"", 5),
        ("\"2s\"", "\"2m\"", 5),
        ("accuracy_drop = 0.02", "accuracy_drop = 2.0", 9),
        ("accuracy_drop = 0.02", "success = 0", 9),
        ("accuracy_drop = 0.02", "min_labelled = 5", 9),
        ("accuracy_drop = 0.02", "min_devices = 2", 4),
        ("accuracy_drop = 0.02", "alpha = 0.5", 9),
        ("\"revert\"", "\"explode\"", 11),
        ("\"1m\"", "\"100ms\"", 10),
        ("soak = \"2s\"", "shadow = \"2m\"", 5),
        ("soak = \"2s\"", "soak = \"1m\"", 5),
        ("soak = \"2s\"", "lease = \"1h\"\nsoak = \"40s\"\nshadow = \"20s\"", 6),
        ("soak = \"2s\"", "max_per_minute = 0", 5),
        ("count = 1", "where = \"site ==\"", 4),
        ("name =", "bandwidth = \"fast\"\nname =", 2),
        ("name =", "bandwidth = \"0MB/s\"\nname =", 2),
    ] {
        let text = SMALL.replacen(from, to, 1);
        assert_eq!(wrong(&text).line, line, "{to}");
    }
    assert!(
        wrong("name = \"x\"\n[gate]\ndeadline = \"1m\"\non_fail = \"pause\"\n").message.contains("[[wave]]")
    );
}

#[test]
fn the_guard_takes_a_shift_that_can_be_told_from_chance() {
    let with = |value: &str| format!("{SMALL}[guard]\nscore_shift = {value}\n");
    assert_eq!(Policy::parse(SMALL).unwrap().guard.score_shift, 0.0);
    assert_eq!(Policy::parse(&with("0.25")).unwrap().guard.score_shift, 0.25);
    assert_eq!(Policy::parse(&with("0.0")).unwrap().guard.score_shift, 0.0);
    for value in ["0.01", "-1.0", "11.0", "nan"] {
        assert!(wrong(&with(value)).message.contains("score_shift"), "{value}");
    }
}

#[test]
fn nothing_follows_the_rest() {
    let text = SMALL.replace("select = { count = 1 }", "select = { rest = true }");
    assert!(wrong(&text).message.contains("last one"));
}

#[test]
fn lengths_of_time_read_back() {
    for text in ["500ms", "30s", "10m", "4h", "2d"] {
        assert_eq!(human_duration(parse_duration(text).unwrap()), text);
    }
    for text in ["", "5", "s", "-1s", "1y", "99999999999999999999s", "1000d"] {
        assert!(parse_duration(text).is_err(), "{text}");
    }
    for text in ["1B/s", "500kB/s", "20MB/s", "3GiB/s"] {
        assert_eq!(human_bandwidth(parse_bandwidth(text).unwrap()), text);
    }
    for text in ["", "20", "20MB", "MB/s", "-1MB/s", "99999999999GB/s"] {
        assert!(parse_bandwidth(text).is_err(), "{text}");
    }
}

#[test]
fn every_gate_reads_its_key_and_refuses_what_it_could_never_mean() {
    let all = "accuracy_drop = 0.02\nerror_rate_increase = 0.01\nlatency_p99_ratio = 1.25\nscore_shift = 0.1\n\
               golden_deviation = 1e-3\nshadow_agreement = 0.95";
    let g = Policy::parse(&SMALL.replace("accuracy_drop = 0.02", all)).unwrap().gate;
    assert_eq!(
        (g.error_rate_increase, g.latency_p99_ratio, g.score_shift, g.golden_deviation, g.shadow_agreement),
        (Some(0.01), Some(1.25), Some(0.1), Some(1e-3), Some(0.95))
    );
    let read: Gate = serde_json::from_value(serde_json::to_value(&g).unwrap()).unwrap();
    assert_eq!(read, g);
    for (key, right) in [
        ("accuracy_drop = 1.0", "0.02"),
        ("error_rate_increase = -0.1", "0 to 1"),
        ("latency_p99_ratio = 1.0", "1.25"),
        ("latency_p99_ratio = nan", "1.25"),
        ("score_shift = 0.0", "0.1"),
        ("score_shift = inf", "0.1"),
        ("golden_deviation = 0.0", "1e-3"),
        ("shadow_agreement = 1.0", "0.95"),
        ("alpha = 0.05", "accuracy_drop"),
        ("evidence = \"no_proof_of_harm\"", "accuracy_drop"),
        ("accuracy_drop = 0.0 # nothing may be lost\nevidence = \"proof_of_no_harm\"", "0.01"),
    ] {
        let e = wrong(&SMALL.replace("accuracy_drop = 0.02", key));
        assert_eq!(e.line, 9, "{key}");
        assert!(e.message.contains(right), "{e}");
    }
}

#[test]
fn every_gate_on_harm_alone_takes_alpha_and_evidence() {
    let harms = [
        "accuracy_drop = 0.02",
        "error_rate_increase = 0.01",
        "latency_p99_ratio = 1.25",
        "score_shift = 0.1",
        "shadow_agreement = 0.95",
    ];
    for harm in harms {
        let keys = format!("{harm}\nalpha = 0.05\nevidence = \"no_proof_of_harm\"");
        let gate = Policy::parse(&SMALL.replace("accuracy_drop = 0.02", &keys)).unwrap().gate;
        assert_eq!((gate.alpha, gate.evidence), (0.05, Evidence::NoProofOfHarm), "{harm}");
    }
}

#[test]
fn all_mistakes_of_a_gate_are_named_at_once() {
    let bad = "accuracy_drop = 2.0\nlatency_p99_ratio = 0.5\nmin_rows = -1\nevidence = \"maybe\"";
    let text = SMALL.replace("accuracy_drop = 0.02", bad).replace("\"revert\"", "\"explode\"");
    let lines: Vec<_> = Policy::check(&text).unwrap_err().iter().map(|e| e.line).collect();
    assert_eq!(lines, [9, 10, 11, 12, 14]);
}
