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
fn gates_of_later_versions_are_refused_and_not_ignored() {
    for key in ["latency_p99_ratio = 1.25", "error_rate_increase = 0.01", "score_shift = 0.1"] {
        let e = wrong(&SMALL.replace("accuracy_drop = 0.02", key));
        assert_eq!(e.line, 9, "{key}");
        assert!(e.message.contains("refused rather than ignored"), "{e}");
    }
    for key in ["shadow = \"2h\"", "max_per_minute = 500"] {
        let e = wrong(&SMALL.replace("soak = \"2s\"", key));
        assert_eq!(e.line, 5, "{key}");
        assert!(e.message.contains("refused rather than ignored"), "{e}");
    }
    assert!(
        wrong(&format!("{SMALL}[window]\ncron = \"0 1 * * *\"\n")).message.contains("maintenance windows")
    );
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
    ] {
        let text = SMALL.replacen(from, to, 1);
        assert_eq!(wrong(&text).line, line, "{to}");
    }
    assert!(
        wrong("name = \"x\"\n[gate]\ndeadline = \"1m\"\non_fail = \"pause\"\n").message.contains("[[wave]]")
    );
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
}
