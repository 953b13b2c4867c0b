use longshore_trust::{Digest, UnixMs};

use super::evaluate::conditions;
use super::facts::{DeviceFact, Facts, FeatureFact, FeatureState, ModelFact, TrustFact, What};
use super::silence::{Matcher, Silence, is_silenced};
use super::{Cause, Rule, Seen, Settings, Severity};
use crate::monitor::Measured;

fn rule(text: &str) -> Rule {
    Settings::parse(&format!("[[alert]]\nname = \"r\"\n{text}")).unwrap().rules.remove(0)
}
fn fact(version: &str, cohort: &str, what: What) -> ModelFact {
    ModelFact {
        model: "m".parse().unwrap(),
        version: version.into(),
        bundle: Digest::of(version.as_bytes()),
        cohort: cohort.into(),
        what,
    }
}
/// With its 95 % interval by Wilson.
fn share(hits: u64, n: u64) -> Measured {
    let i = longshore_stats::quality::proportion::wilson(hits, n, 1.96).unwrap();
    Measured { value: hits as f64 / n as f64, lo: i.lo, hi: i.hi, n }
}
fn feature(name: &str, state: FeatureState, effect: f64) -> FeatureFact {
    FeatureFact {
        name: name.into(),
        state,
        effect,
        interval: (effect * 0.8, effect * 1.2),
        p: 1e-9,
        rows: 1000,
    }
}
fn one(rule: &Rule, models: Vec<ModelFact>) -> super::Condition {
    let facts = Facts { models, ..Facts::default() };
    let mut found = conditions(rule, &facts, UnixMs(0));
    assert_eq!(found.len(), 1, "{found:?}");
    found.remove(0)
}

#[test]
fn features_that_drift_together_are_one_cause_with_its_features_and_versions() {
    use FeatureState::{Drifted, Stable};
    let r = rule("kind = \"drift\"\nthreshold = 0.1");
    let features = vec![feature("a", Drifted, 0.2), feature("b", Stable, 0.01), feature("c", Drifted, 0.7)];
    let c = one(
        &r,
        vec![
            fact("1.0.0", "fleet", What::Drift(features.clone())),
            fact("1.1.0", "fleet", What::Drift(vec![feature("d", Drifted, 0.3)])),
        ],
    );
    assert_eq!((c.seen, c.evidence.weight), (Seen::Holds, 3));
    let names: Vec<&str> = c.evidence.features.iter().map(|f| f.name.as_str()).collect();
    assert_eq!(names, ["c", "a", "d"]);
    assert_eq!(c.evidence.versions.len(), 2);
    assert!(
        c.evidence.summary.contains("c, a drifted") && c.evidence.summary.contains("1000 rows"),
        "{}",
        c.evidence.summary
    );
    // Sites are causes of their own only for rules that ask for them.
    let at_site = vec![fact("1.0.0", "site=ams", What::Drift(features))];
    assert!(conditions(&r, &Facts { models: at_site.clone(), ..Facts::default() }, UnixMs(0)).is_empty());
    let sites = rule("kind = \"drift\"\ncohort = { site = \"*\" }");
    assert_eq!(one(&sites, at_site).cause.to_string(), "r|m|site=ams");
}

#[test]
fn drift_needs_significance_and_effect() {
    use FeatureState::{Drifted, Stable, Unknown};
    let r = rule("kind = \"drift\"\nthreshold = 0.1\nmin_rows = 500");
    let seen = |f: Vec<FeatureFact>| one(&r, vec![fact("1", "fleet", What::Drift(f))]).seen;
    assert_eq!(seen(vec![feature("a", Drifted, 0.05)]), Seen::Clear, "significant, but small");
    assert_eq!(seen(vec![feature("a", Drifted, 0.09)]), Seen::Near);
    assert_eq!(seen(vec![feature("a", Unknown, 0.9)]), Seen::Unknown, "large, but perhaps chance");
    assert_eq!(seen(vec![feature("a", Stable, 0.0), feature("b", Unknown, 0.0)]), Seen::Unknown);
    assert_eq!(seen(vec![feature("a", Stable, 0.0)]), Seen::Clear);
    let few = FeatureFact { rows: 499, ..feature("a", Drifted, 0.9) };
    assert_ne!(seen(vec![few]), Seen::Holds);
}

#[test]
fn an_alert_is_over_when_its_own_features_are_whatever_cannot_be_said_of_others() {
    use FeatureState::{Drifted, Stable, Unknown};
    let r = rule("kind = \"drift\"\nthreshold = 0.1");
    let look = |a, b| {
        one(&r, vec![fact("1", "fleet", What::Drift(vec![feature("a", a, 0.5), feature("b", b, 0.5)]))])
    };
    let alert = look(Drifted, Unknown).evidence;
    assert_eq!(look(Stable, Unknown).seen_for(Some(&alert)), Seen::Clear);
    assert_eq!(look(Unknown, Stable).seen_for(Some(&alert)), Seen::Unknown);
    assert_eq!(look(Stable, Unknown).seen_for(None), Seen::Unknown);
    assert_eq!(look(Stable, Drifted).seen_for(Some(&alert)), Seen::Holds);
}

#[test]
fn accuracy_is_below_only_when_the_whole_interval_is() {
    let r = rule("kind = \"accuracy\"\ndrop = 0.05\nmin_rows = 100");
    let seen = |correct, labelled, reference| {
        let facts = Facts {
            models: vec![fact("1", "fleet", What::Accuracy { share: share(correct, labelled), reference })],
            ..Facts::default()
        };
        conditions(&r, &facts, UnixMs(0)).first().map(|c| c.seen)
    };
    assert_eq!(seen(80, 100, Some(0.95)), Some(Seen::Holds));
    assert_eq!(seen(88, 100, Some(0.95)), Some(Seen::Near));
    assert_eq!(seen(95, 100, Some(0.95)), Some(Seen::Clear));
    assert_eq!(seen(10, 99, Some(0.95)), Some(Seen::Unknown));
    assert_eq!(seen(10, 100, None), None, "nothing to compare with");
    let absolute = rule("kind = \"accuracy\"\nthreshold = 0.9\nmin_rows = 100");
    assert_eq!(
        one(&absolute, vec![fact("1", "fleet", What::Accuracy { share: share(10, 100), reference: None })])
            .seen,
        Seen::Holds
    );
}

#[test]
fn an_accuracy_that_is_not_estimable_says_why_and_decides_nothing() {
    let r = rule("kind = \"accuracy_estimated\"\nthreshold = 0.9");
    let c = one(
        &r,
        vec![fact(
            "1",
            "fleet",
            What::Estimated { share: Err("feature `a` drifted".into()), reference: None },
        )],
    );
    assert_eq!(c.seen, Seen::Unknown);
    assert!(c.evidence.summary.contains("feature `a` drifted"));
}

#[test]
fn errors_latency_and_fairness() {
    let errors = rule("kind = \"error_rate\"\nthreshold = 0.01");
    let seen = |failed, rows| one(&errors, vec![fact("1", "fleet", What::Errors(share(failed, rows)))]).seen;
    assert_eq!(
        (seen(0, 1000), seen(12, 1000), seen(50, 1000), seen(50, 99)),
        (Seen::Clear, Seen::Near, Seen::Holds, Seen::Unknown)
    );
    let latency = rule("kind = \"latency\"\nthreshold = 50");
    let p99 = |value, lo| Measured { value, lo, hi: value * 1.2, n: 500 };
    let seen = |value, lo| one(&latency, vec![fact("1", "fleet", What::Latency(p99(value, lo)))]).seen;
    assert_eq!(
        (seen(39.0, 35.0), seen(52.0, 45.0), seen(60.0, 51.0)),
        (Seen::Clear, Seen::Near, Seen::Holds)
    );
    let fairness = rule("kind = \"fairness\"\nthreshold = 0.1");
    let fair = |value, lo| What::Fairness {
        name: "parity_difference".into(),
        difference: Measured { value, lo, hi: value + 0.1, n: 500 },
    };
    assert_eq!(one(&fairness, vec![fact("1", "fleet", fair(0.3, 0.2))]).seen, Seen::Holds);
    assert_eq!(one(&fairness, vec![fact("1", "fleet", fair(0.15, 0.05))]).seen, Seen::Near);
}

#[test]
fn fifty_thousand_silent_devices_are_one_condition() {
    let r = rule("kind = \"silence\"\nthreshold = \"15m\"");
    let mut facts = Facts::default();
    assert!(conditions(&r, &facts, UnixMs(0)).is_empty(), "what was not counted is not judged");
    let sample = vec!["d-1".parse().unwrap()];
    let silent =
        DeviceFact { hits: 50_000, of: 100_000, near: 51_000, worst: Some(5_400_000.0), total: 0, sample };
    facts.devices.insert("r".into(), silent);
    let found = conditions(&r, &facts, UnixMs(0));
    assert_eq!((found.len(), found[0].seen, found[0].evidence.weight), (1, Seen::Holds, 50_000));
    assert!(
        found[0]
            .evidence
            .summary
            .contains("50000 devices of 100000 silent for more than 15m, the longest for 90m"),
        "{}",
        found[0].evidence.summary
    );
    let none = DeviceFact { of: 100, ..DeviceFact::default() };
    facts.devices.insert("r".into(), none);
    assert_eq!(conditions(&r, &facts, UnixMs(0))[0].seen, Seen::Clear);
}

#[test]
fn roles_that_end_soon_are_one_cause_and_the_server_has_its_own_time() {
    let r = rule("kind = \"trust_expiry\"\nthreshold = \"14d\"");
    let day = 86_400_000;
    let role = |role: &str, days: u64, online| TrustFact {
        role: role.into(),
        version: 3,
        expires: UnixMs(days * day),
        online,
    };
    let mut facts =
        Facts { trust: vec![role("root", 400, false), role("timestamp", 1, true)], ..Facts::default() };
    assert_eq!(conditions(&r, &facts, UnixMs(0))[0].seen, Seen::Clear);
    facts.trust.extend([role("targets", 13, false), role("models/m", 0, false)]);
    let found = conditions(&r, &facts, UnixMs(0)).remove(0);
    assert_eq!(
        (found.seen, found.evidence.roles),
        (Seen::Holds, vec!["models/m".to_owned(), "targets".to_owned()])
    );
    assert!(
        found.evidence.summary.contains("models/m version 3 has expired, targets version 3 expires in 13d"),
        "{}",
        found.evidence.summary
    );
}

#[test]
fn a_silence_fits_what_it_names_until_it_ends() {
    let r = rule("kind = \"drift\"\nseverity = \"critical\"");
    let cause = Cause { rule: "r".into(), model: "meter-digits".into(), cohort: "site=ams".into() };
    let of =
        |matcher: Matcher| is_silenced(&[Silence { matcher, until: UnixMs(100) }], &cause, &r, UnixMs(50));
    assert!(of(Matcher { model: Some("meter-*".into()), ..Matcher::default() }));
    assert!(!of(Matcher {
        model: Some("meter-*".into()),
        cohort: Some("site=rtm".into()),
        ..Matcher::default()
    }));
    assert!(of(Matcher { severity: Some(Severity::Critical), ..Matcher::default() }));
    let over = [Silence { matcher: Matcher::default(), until: UnixMs(50) }];
    assert!(!is_silenced(&over, &cause, &r, UnixMs(50)));
}
