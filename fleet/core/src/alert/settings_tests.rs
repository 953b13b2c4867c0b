use super::*;
use crate::alert::rule::Threshold;

const FILE: &str = r#"public_host = "x"
[[alert]]
name = "silence"
kind = "silence"
threshold = "15m"
for = "10m"
severity = "critical"
routes = ["ops"]
labels = { team = "field" }
[[alert]]
name = "drift-site"
kind = "drift"
model = "meter-*"
cohort = { site = "*" }
threshold = 0.2
retrain = true
[[receiver]]
name = "ops"
kind = "webhook"
url = "https://hooks.example/x"
secret_file = "/run/secrets/hook"
"#;

fn wrong(text: &str) -> AlertConfigError {
    Settings::parse(text).unwrap_err()
}

#[test]
fn the_shipped_rules_are_valid_and_cover_every_kind_that_needs_no_number_of_yours() {
    let shipped = Settings::default();
    assert!(shipped.shipped && shipped.receivers.is_empty());
    for kind in Kind::ALL {
        // How slow is too slow only the operator knows.
        assert_eq!(shipped.rules.iter().any(|r| r.kind == kind), kind != Kind::Latency, "{kind}");
    }
}

#[test]
fn a_configuration_with_rules_has_only_those_and_one_without_has_the_shipped_ones() {
    let s = Settings::parse(FILE).unwrap();
    assert_eq!((s.rules.len(), s.receivers.len(), s.shipped), (2, 1, false));
    let silence = s.rule("silence").unwrap();
    assert_eq!((silence.threshold, silence.for_ms), (Threshold::LongerMs(900_000), 600_000));
    assert_eq!(silence.repeat_ms, Some(3_600_000));
    assert!(silence.goes_to("ops") && !silence.goes_to("others"));
    assert!(s.rule("drift-site").unwrap().goes_to("others"), "without routes everybody is told");
    let only_receivers = FILE.split("[[receiver]]").nth(1).unwrap();
    let s = Settings::parse(&format!("[[receiver]]{only_receivers}")).unwrap();
    assert!(s.shipped && s.receivers.len() == 1 && s.rules == Settings::default().rules);
}

#[test]
fn every_mistake_is_named_with_its_line_and_what_would_be_right() {
    for (from, to, line, words) in [
        ("kind = \"silence\"", "kind = \"quiet\"", 4, "\"silence\""),
        ("threshold = \"15m\"", "threshold = 15", 5, "\"15m\""),
        ("threshold = \"15m\"", "threshold = \"soon\"", 5, "\"30s\""),
        ("for = \"10m\"", "for = \"ten\"", 6, "\"10m\""),
        ("\"critical\"", "\"bad\"", 7, "\"warning\""),
        ("[\"ops\"]", "[\"opps\"]", 8, "there are ops"),
        ("team = \"field\"", "severity = \"x\"", 2, "set by the server"),
        ("name = \"drift-site\"", "name = \"silence\"", 11, "two rules"),
        ("name = \"drift-site\"", "name = \"Drift site\"", 11, "a-z"),
        ("threshold = 0.2", "threshold = -1", 15, "threshold = 0.1"),
        ("threshold = 0.2", "drop = 0.2", 15, "for accuracy"),
        ("threshold = 0.2", "min_devices = 2", 15, "min_devices does nothing"),
        ("\"meter-*\"", "\"Meter\"", 13, "`*` stands for anything"),
        ("{ site = \"*\" }", "{}", 14, "site = \"ams\""),
        ("threshold = \"15m\"", "retrain = true", 5, "no training helps"),
        ("threshold = \"15m\"", "cohort = { site = \"*\" }", 5, "counts one group"),
        ("threshold = \"15m\"", "repeat_interval = \"5s\"", 5, "at least"),
        ("https://hooks", "ftp://hooks", 20, "https://HOST/PATH"),
        ("https://hooks", "https://me:secret@hooks", 20, "secret_file"),
        ("secret_file =", "host =", 21, "it takes url, secret_file"),
        ("secret_file =", "secret =", 21, "secret"),
    ] {
        assert!(FILE.contains(from), "{from}");
        let e = wrong(&FILE.replacen(from, to, 1));
        assert_eq!(e.line, line, "{to}: {e}");
        assert!(e.message.contains(words), "{to}: {e}");
    }
    assert!(wrong("[[alert]]\nname = \"a\"\nkind = \"latency\"\n").message.contains("threshold = 50"));
}

#[test]
fn mail_needs_addresses_and_sends_no_password_in_the_open() {
    let mail = "[[receiver]]\nname = \"m\"\nkind = \"smtp\"\nhost = \"h\"\nfrom = \"a@b\"\nto = [\"c@d\"]\n";
    let s = Settings::parse(mail).unwrap();
    assert!(matches!(&s.receivers[0].kind, ReceiverKind::Smtp(m) if m.port == 587));
    assert!(wrong(&mail.replace("a@b", "a")).message.contains("e-mail"));
    assert!(wrong(&mail.replace("[\"c@d\"]", "[]")).message.contains("to ="));
    assert!(wrong(&format!("{mail}user = \"u\"\n")).message.contains("password_file"));
    let open = format!("{mail}user = \"u\"\npassword_file = \"f\"\ntls = \"none\"\n");
    assert!(wrong(&open).message.contains("in the open"));
}

#[test]
fn rules_choose_models_and_cohorts() {
    let s = Settings::parse(FILE).unwrap();
    let rule = s.rule("drift-site").unwrap();
    assert!(rule.is_for_model("meter-digits") && !rule.is_for_model("pump"));
    assert!(rule.is_for_cohort("site=ams") && !rule.is_for_cohort("fleet") && !rule.is_for_cohort("hw:pi"));
    for (pattern, text, fits) in [
        ("*", "", true),
        ("a*c", "abc", true),
        ("a*c", "ab", false),
        ("*b*", "abc", true),
        ("abc", "abc", true),
        ("ab", "abc", false),
        ("a*a", "a", false),
    ] {
        assert_eq!(rule::matches_pattern(pattern, text), fits, "{pattern} {text}");
    }
}
