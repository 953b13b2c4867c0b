//! Alerts from the facts to the person who takes them on.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::http::StatusCode;
use longshore_fleet::alerts::judge;
use longshore_fleet::app::now;
use longshore_fleet_core::alert::facts::{DeviceFact, FeatureFact, FeatureState, ModelFact, What};
use longshore_fleet_core::alert::{Facts, Settings};
use longshore_trust::{Digest, UnixMs};
use serde_json::{Value, json};
use sqlx::sqlite::SqliteConnectOptions;

use crate::support::Fleet;

pub const MINUTE: u64 = 60_000;

pub const RULES: &str = r#"
[[alert]]
name = "drift"
kind = "drift"
threshold = 0.1
for = "5m"
severity = "critical"
retrain = true
[[alert]]
name = "silence"
kind = "silence"
threshold = "15m"
for = "5m"
"#;

/// A fleet with rules and receivers.
pub async fn fleet(config: &str) -> Fleet {
    let settings = Settings::parse(config).unwrap();
    Fleet::with(|c| c.alerting = settings.clone()).await
}

/// Two features of `m` have drifted, as far as `state` says so.
pub fn drift(state: FeatureState) -> Facts {
    let feature = |name: &str, effect| FeatureFact {
        name: name.into(),
        state,
        effect,
        interval: (effect - 0.1, effect + 0.1),
        p: 1e-12,
        rows: 5000,
    };
    let what = What::Drift(vec![feature("pixel_3", 0.4), feature("pixel_9", 0.9)]);
    let fact = ModelFact {
        model: "m".parse().unwrap(),
        version: "1.0.0".into(),
        bundle: Digest::of(b"1.0.0"),
        cohort: "fleet".into(),
        what,
    };
    Facts { models: vec![fact], ..Facts::default() }
}

/// So many of 100 devices are silent.
pub fn silent(n: u64) -> Facts {
    let sample = (0..n.min(3)).map(|i| format!("dev-{i}").parse().unwrap()).collect();
    let fact = DeviceFact { hits: n, of: 100, near: n, worst: Some(3_600_000.0), total: 0, sample };
    Facts { devices: [("silence".to_owned(), fact)].into(), ..Facts::default() }
}

/// Judges the same facts every minute, so many times; the time of the next look.
pub async fn watch(fleet: &Fleet, facts: &Facts, mut at: UnixMs, minutes: u64) -> UnixMs {
    for _ in 0..minutes {
        judge::judge(&fleet.app, facts, at).await.unwrap();
        at = at.plus_ms(MINUTE);
    }
    at
}

async fn list(fleet: &Fleet, query: &str) -> Vec<Value> {
    let answer = fleet.get(&format!("/alerts{query}")).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.json);
    answer.json["items"].as_array().unwrap().clone()
}

#[tokio::test]
async fn what_fires_is_in_the_inbox_and_is_taken_on_once_by_somebody_who_is_named() {
    let fleet = fleet(RULES).await;
    let mut facts = drift(FeatureState::Drifted);
    facts.devices = silent(7).devices;
    let at = watch(&fleet, &facts, now(), 3).await;
    assert!(list(&fleet, "").await.is_empty(), "nobody is told before `for` is over");
    assert_eq!(list(&fleet, "?state=pending").await.len(), 2);
    watch(&fleet, &facts, at, 5).await;
    let inbox = list(&fleet, "").await;
    let head: Vec<&str> = inbox.iter().map(|a| a["rule"].as_str().unwrap()).collect();
    assert_eq!(head, ["drift", "silence"], "the critical one first");
    assert_eq!(inbox[0]["evidence"]["features"].as_array().unwrap().len(), 2, "one alert for both features");
    assert_eq!(inbox[0]["evidence"]["features"][0]["name"], "pixel_9");
    assert_eq!(inbox[1]["evidence"]["devices"]["count"], 7);

    let path = format!("/alerts/{}", inbox[0]["id"]);
    let shown = fleet.get(&path).await;
    let etag = shown.headers["etag"].to_str().unwrap().to_owned();
    let mut request =
        fleet.request("POST", &format!("{path}/acknowledge"), Some(&json!({ "note": "looking" })));
    request.headers_mut().insert("if-match", "\"99\"".parse().unwrap());
    let stale = fleet.send(request).await;
    assert_eq!(
        (stale.status, stale.json["code"].as_str()),
        (StatusCode::PRECONDITION_FAILED, Some("alert.changed"))
    );
    let mut request =
        fleet.request("POST", &format!("{path}/acknowledge"), Some(&json!({ "note": "looking" })));
    request.headers_mut().insert("if-match", etag.parse().unwrap());
    let taken = fleet.send(request).await;
    assert_eq!(taken.status, StatusCode::OK, "{}", taken.json);
    assert_eq!(taken.json["acknowledged"]["by"], "admin");
    assert_ne!(taken.headers["etag"].to_str().unwrap(), etag);
    assert_eq!(taken.json["history"][0]["what"], "acknowledge");
    let audit = fleet.get("/audit/search?action=alert.acknowledge").await;
    assert!(audit.json["items"][0]["detail"].as_str().unwrap().contains("looking"), "{}", audit.json);
    assert_eq!(list(&fleet, "?state=firing").await.len(), 1);
    assert_eq!(list(&fleet, "?severity=critical&model=m&state=active").await.len(), 1);
    // It is over by itself.
    watch(&fleet, &drift(FeatureState::Stable), now().plus_ms(20 * MINUTE), 17).await;
    let over = fleet.get(&path).await.json;
    assert_eq!((&over["state"], &over["resolved"]["by"]), (&json!("resolved"), &json!("recovered")));
    let again = fleet.post(&format!("{path}/acknowledge"), json!({})).await;
    assert_eq!(again.json["code"], "alert.state");
}

#[tokio::test]
async fn a_cause_that_comes_and_goes_is_one_alert() {
    let fleet = fleet(RULES).await;
    let mut at = now();
    for _ in 0..12 {
        at = watch(&fleet, &silent(3), at, 7).await;
        at = watch(&fleet, &silent(0), at, 17).await;
    }
    let inbox = list(&fleet, "").await;
    assert_eq!(inbox.len(), 1);
    assert!(inbox[0]["flaps"].as_u64().unwrap() >= 10, "{}", inbox[0]);
    // What comes back long after is another one.
    at = watch(&fleet, &silent(0), at, 800).await;
    watch(&fleet, &silent(3), at, 7).await;
    assert_eq!(list(&fleet, "").await.len(), 2);
}

#[tokio::test]
async fn an_alert_is_called_over_by_hand_only_with_a_reason() {
    let fleet = fleet(RULES).await;
    watch(&fleet, &silent(3), now(), 8).await;
    let path = format!("/alerts/{}", list(&fleet, "").await[0]["id"]);
    let bare = fleet.post(&format!("{path}/resolve"), json!({})).await;
    assert_eq!(bare.json["code"], "alert.invalid");
    let over = fleet.post(&format!("{path}/resolve"), json!({ "note": "site is being rebuilt" })).await;
    assert_eq!(over.json["resolved"]["who"], "admin");
    watch(&fleet, &silent(3), now().plus_ms(10 * MINUTE), 30).await;
    assert_eq!(list(&fleet, "?state=active").await.len(), 0, "it still holds, and a person has decided");
}

#[tokio::test]
async fn wrong_questions_are_answered_with_what_would_be_right() {
    let fleet = fleet(RULES).await;
    for (path, code) in [
        ("/alerts?state=loud", "alert.filter"),
        ("/alerts?cursor=x", "page.cursor"),
        ("/alerts/77", "alert.unknown"),
        ("/deliveries?state=lost", "delivery.filter"),
    ] {
        assert_eq!(fleet.get(path).await.json["code"], code, "{path}");
    }
    for (path, body, code) in [
        ("/alerts/77/acknowledge", json!({}), "alert.unknown"),
        ("/alerts/77/shout", json!({}), "alert.action"),
        ("/alerts/test", json!({ "receiver": "nobody" }), "receiver.unknown"),
        ("/deliveries/5/retry", json!({}), "dead.unknown"),
        ("/silences", json!({ "matcher": {}, "until": now().0 + 1000, "why": "x" }), "alert.invalid"),
        ("/silences", json!({ "matcher": { "rule": "a" }, "until": 5, "why": "x" }), "alert.invalid"),
        (
            "/silences",
            json!({ "matcher": { "rule": "a" }, "until": now().0 + 1000, "why": " " }),
            "alert.invalid",
        ),
        ("/silences", json!({ "matcher": { "rulee": "a" }, "until": 5, "why": "x" }), "request.invalid"),
    ] {
        assert_eq!(fleet.post(path, body).await.json["code"], code, "{path}");
    }
}

#[tokio::test]
async fn a_hundred_thousand_silent_devices_are_one_alert_for_as_many_questions_as_ten() {
    let config = "[[alert]]\nname = \"silence\"\nkind = \"silence\"\nthreshold = \"15m\"\nfor = \"0s\"\n\
        [[alert]]\nname = \"disk\"\nkind = \"disk\"\nfor = \"0s\"\n\
        [[alert]]\nname = \"losses\"\nkind = \"gaps\"\nfor = \"0s\"\n\
        [[receiver]]\nname = \"ops\"\nkind = \"webhook\"\nurl = \"http://127.0.0.1:9/\"\n";
    let asked = count_statements();
    let mut questions = Vec::new();
    for n in [10u32, 100_000] {
        let fleet = fleet(config).await;
        fill(&fleet, n).await;
        let at = now();
        let before = asked.load(Ordering::SeqCst);
        judge::look(&fleet.app, at).await.unwrap();
        questions.push(asked.load(Ordering::SeqCst) - before);
        let inbox = list(&fleet, "").await;
        assert_eq!(inbox.len(), 3, "{inbox:?}");
        for (rule, hits) in [("silence", n), ("disk", n / 2), ("losses", n / 10)] {
            let alert = inbox.iter().find(|a| a["rule"] == rule).unwrap();
            assert_eq!(alert["evidence"]["devices"]["count"], hits, "{alert}");
            assert!(alert["evidence"]["devices"]["sample"].as_array().unwrap().len() <= 20);
            assert!(alert.to_string().len() < 4096, "what is told stays small");
        }
        assert_eq!(fleet.get("/deliveries").await.json["items"].as_array().unwrap().len(), 3);
        // The list behind it comes in pages.
        let silence = inbox.iter().find(|a| a["rule"] == "silence").unwrap();
        let page = fleet.get(&format!("/alerts/{}/devices?limit=4", silence["id"])).await.json;
        assert_eq!(page["items"].as_array().unwrap().len(), 4);
        let next = page["next"].as_str().unwrap();
        let more = fleet.get(&format!("/alerts/{}/devices?limit=4&cursor={next}", silence["id"])).await.json;
        assert!(more["items"][0]["id"].as_str().unwrap() > next);
    }
    assert!(questions[0] > 0, "statements are counted");
    // A connection that is opened meanwhile asks a few things of its own.
    assert!(questions[1] <= questions[0] + 10, "{questions:?}");
}

/// Counts statements as sqlx reports them. Each test has its process, so the whole process may count.
fn count_statements() -> Arc<AtomicU64> {
    struct Counter(Arc<AtomicU64>);
    impl tracing::Subscriber for Counter {
        fn enabled(&self, m: &tracing::Metadata<'_>) -> bool {
            m.target().starts_with("sqlx::query")
        }
        fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
            tracing::span::Id::from_u64(1)
        }
        fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
        fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
        fn event(&self, _: &tracing::Event<'_>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
        fn enter(&self, _: &tracing::span::Id) {}
        fn exit(&self, _: &tracing::span::Id) {}
    }
    let count = Arc::new(AtomicU64::new(0));
    tracing::subscriber::set_global_default(Counter(Arc::clone(&count))).unwrap();
    count
}

/// Devices that were last heard of an hour ago; half of them with a full disk, a tenth with losses.
async fn fill(fleet: &Fleet, n: u32) {
    let options = SqliteConnectOptions::new().filename(fleet.app.store.path());
    let pool = sqlx::SqlitePool::connect_with(options).await.unwrap();
    let at = i64::try_from(now().0).unwrap();
    sqlx::query(
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1)
         INSERT INTO device (id, report_key, cert_sha256, enrolled_at, last_seen, online, inventory, health)
         SELECT printf('dev-%06d', i), x'00', '', ?2 - 86400000, ?2 - 3600000, 0, '{\"disk_kib\":1000000}',
             json_object('disk_free_kib', CASE i % 2 WHEN 0 THEN 1000 ELSE 900000 END) FROM n",
    )
    .bind(n)
    .bind(at)
    .execute(&pool)
    .await
    .unwrap();
    sqlx::query(
        "INSERT INTO device_event (device, time, kind, body, received)
         SELECT id, ?1, 'gap', '{\"kind\":\"counters\",\"cause\":\"power_cut\",\"count\":3}', ?1 - 1000 FROM device
         WHERE substr(id, -1) = '0'",
    )
    .bind(at)
    .execute(&pool)
    .await
    .unwrap();
    pool.close().await;
}

#[test]
fn the_configurations_of_the_guide_are_valid() {
    let guide = include_str!("../../../docs/guides/alerts.md");
    let blocks: Vec<&str> =
        guide.split("```toml\n").skip(1).map(|b| b.split("```").next().unwrap()).collect();
    assert!(blocks.len() >= 2, "the blocks were not found");
    for block in blocks {
        let config = longshore_fleet::config::Config::parse(block, std::path::Path::new("guide.toml"));
        let alerting = config.unwrap_or_else(|e| panic!("{e}\n{block}")).alerting;
        assert!(alerting.receiver("ops").is_some());
        assert!(alerting.rules.iter().all(|r| r.goes_to("ops")));
    }
}
