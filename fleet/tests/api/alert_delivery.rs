//! What is told to receivers that fail, hang, send elsewhere, refuse, or come back late.

use axum::http::StatusCode;
use base64::Engine as _;
use hmac::Mac as _;
use longshore_fleet::alerts::{deliver, judge};
use longshore_fleet::app::now;
use longshore_fleet::store::Store;
use longshore_fleet_core::alert::Receiver as Configured;
use longshore_fleet_core::alert::facts::FeatureState;
use longshore_trust::UnixMs;
use serde_json::{Value, json};

use crate::alerts::{MINUTE, RULES, drift, fleet, silent, watch};
use crate::receiver::{Does, Got, MailServer, Receiver};
use crate::support::Fleet;

const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// A secret in a file.
fn secret() -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), format!("{SECRET}\n")).unwrap();
    file
}
fn webhook(to: &Receiver, secret: &tempfile::NamedTempFile) -> String {
    format!(
        "{RULES}[[receiver]]\nname = \"ops\"\nkind = \"webhook\"\nurl = \"{}/hook\"\nsecret_file = \"{}\"\ntimeout = \"300ms\"\n",
        to.url,
        secret.path().display()
    )
}
fn receiver(fleet: &Fleet, name: &str) -> Configured {
    fleet.app.config.alerting.receiver(name).unwrap().clone()
}
/// Makes every delivery that is due. How many attempts.
async fn deliver(fleet: &Fleet, name: &str, at: UnixMs) -> u32 {
    let receiver = receiver(fleet, name);
    let mut n = 0;
    while deliver::one(&fleet.app, &receiver, at).await.unwrap() {
        n += 1;
        assert!(n < 100, "it never ends");
    }
    n
}
async fn deliveries(fleet: &Fleet, query: &str) -> Vec<Value> {
    fleet.get(&format!("/deliveries{query}")).await.json["items"].as_array().unwrap().clone()
}
/// As the standard says: the signature of a request.
fn expected_signature(got: &Got) -> String {
    let mut mac = hmac::Hmac::<sha2::Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
    let h = |name: &str| got.headers[name].clone();
    mac.update(format!("{}.{}.{}", h("webhook-id"), h("webhook-timestamp"), got.body).as_bytes());
    format!("v1,{}", base64::engine::general_purpose::STANDARD.encode(mac.finalize().into_bytes()))
}

#[tokio::test]
async fn a_signed_webhook_says_what_fires_and_what_is_over() {
    let (hook, secret) = (Receiver::new([]).await, secret());
    let fleet = fleet(&webhook(&hook, &secret)).await;
    let mut at = watch(&fleet, &silent(7), now(), 8).await;
    assert_eq!(deliver(&fleet, "ops", at).await, 1);
    at = watch(&fleet, &silent(0), at, 17).await;
    assert_eq!(deliver(&fleet, "ops", at).await, 1);
    let got = hook.got();
    for g in &got {
        assert_eq!(g.path, "/hook");
        assert_eq!(g.headers["webhook-signature"], expected_signature(g));
        assert!(g.headers["user-agent"].starts_with("longshore-fleet/"));
    }
    assert_ne!(got[0].headers["webhook-id"], got[1].headers["webhook-id"]);
    let said: Vec<Value> = got.iter().map(|g| serde_json::from_str(&g.body).unwrap()).collect();
    assert_eq!((&said[0]["type"], &said[1]["type"]), (&json!("alert.fired"), &json!("alert.resolved")));
    assert_eq!(said[0]["data"]["evidence"]["devices"]["count"], 7);
    assert_eq!(said[1]["data"]["resolved"]["by"], "recovered");
    assert!(deliveries(&fleet, "").await.iter().all(|d| d["state"] == "delivered"));
}

#[tokio::test]
async fn a_receiver_that_fails_is_tried_again_with_the_same_id_until_it_takes_it() {
    let script = [
        Does::Answers(500, ""),
        Does::Hangs,
        Does::Drops,
        Does::Answers(429, "retry-after: 120\r\n"),
        Does::Answers(408, ""),
    ];
    let (hook, secret) = (Receiver::new(script).await, secret());
    let fleet = fleet(&webhook(&hook, &secret)).await;
    let mut at = watch(&fleet, &silent(1), now(), 8).await;
    let mut waited = Vec::new();
    for attempt in 1..=6 {
        assert_eq!(deliver(&fleet, "ops", at).await, 1, "attempt {attempt}");
        assert_eq!(hook.got().len(), attempt);
        let state = deliveries(&fleet, "").await.remove(0);
        if attempt == 6 {
            assert_eq!((&state["state"], &state["attempts"]), (&json!("delivered"), &json!(6)));
            break;
        }
        assert_eq!(state["state"], "queued", "{state}");
        let due = state["due"].as_u64().unwrap();
        assert_eq!(deliver(&fleet, "ops", UnixMs(due - 1)).await, 0, "not before it is due");
        waited.push(due - at.0);
        at = UnixMs(due);
    }
    assert!(waited[3] >= 120_000, "what the receiver asks for is honoured: {waited:?}");
    let ids: std::collections::BTreeSet<String> =
        hook.got().iter().map(|g| g.headers["webhook-id"].clone()).collect();
    assert_eq!(ids.len(), 1, "a receiver can tell that it is the same message");
}

#[tokio::test]
async fn a_refusal_is_given_up_at_once_shown_and_tried_again_when_a_person_says_so() {
    let (hook, secret) = (Receiver::new([Does::Answers(404, "")]).await, secret());
    let fleet = fleet(&webhook(&hook, &secret)).await;
    let at = watch(&fleet, &silent(1), now(), 8).await;
    deliver(&fleet, "ops", at).await;
    let dead = deliveries(&fleet, "?state=dead").await;
    assert_eq!((dead.len(), hook.got().len()), (1, 1));
    assert!(dead[0]["last"].as_str().unwrap().contains("404"));
    let again = fleet.post(&format!("/deliveries/{}/retry", dead[0]["id"]), json!({})).await;
    assert_eq!(again.json["deliveries"], 1);
    assert_eq!(deliver(&fleet, "ops", now().plus_ms(1)).await, 1);
    assert_eq!(deliveries(&fleet, "?state=delivered").await.len(), 1);
    assert_eq!(
        fleet.get("/audit/search?action=alert.retry").await.json["items"].as_array().unwrap().len(),
        1
    );
}

#[tokio::test]
async fn no_redirect_is_followed() {
    let elsewhere = Receiver::new([]).await;
    let location: &'static str = format!("location: {}/\r\n", elsewhere.url).leak();
    let (hook, secret) = (Receiver::new([Does::Answers(307, location)]).await, secret());
    let fleet = fleet(&webhook(&hook, &secret)).await;
    let at = watch(&fleet, &silent(1), now(), 8).await;
    deliver(&fleet, "ops", at).await;
    assert!(elsewhere.got().is_empty());
    assert!(deliveries(&fleet, "?state=dead").await[0]["last"].as_str().unwrap().contains("final address"));
}

#[tokio::test]
async fn a_receiver_that_never_comes_back_is_given_up_and_the_end_is_not_told_before_the_beginning() {
    let (hook, secret) = (Receiver::new((0..500).map(|_| Does::Answers(503, ""))).await, secret());
    let fleet = fleet(&webhook(&hook, &secret)).await;
    let begin = now();
    let mut at = watch(&fleet, &silent(1), begin, 8).await;
    at = watch(&fleet, &silent(0), at, 17).await;
    let mut attempts = 0;
    while deliveries(&fleet, "?state=queued").await.len() == 2 {
        attempts += deliver(&fleet, "ops", at).await;
        at = at.plus_ms(20 * MINUTE);
        assert!(attempts < 500, "it is given up some time");
    }
    let all = deliveries(&fleet, "").await;
    assert_eq!((&all[1]["what"], &all[1]["state"]), (&json!("fired"), &json!("dead")), "the older one first");
    assert!(all[1]["last"].as_str().unwrap().contains("given up after"), "{}", all[1]);
    let got = hook.got();
    let end = got.iter().position(|g| g.body.contains("alert.resolved")).unwrap_or(got.len());
    assert!(
        end > 1 && got[end..].iter().all(|g| g.body.contains("alert.resolved")),
        "the end comes after all of the beginning"
    );
}

#[tokio::test]
async fn what_was_committed_is_delivered_after_a_crash_at_any_point() {
    let (hook, secret) = (Receiver::new([]).await, secret());
    let fleet = fleet(&webhook(&hook, &secret)).await;
    let at = watch(&fleet, &silent(1), now(), 8).await;
    // Killed after the commit, before anything was sent: whoever opens the database finds it.
    let other = Store::open(fleet.app.store.path()).await.unwrap();
    let row = other.due_delivery("ops", at).await.unwrap().unwrap();
    // Killed after it was sent, before that was stored: it is sent again, and the receiver can tell.
    let outcome = deliver::attempt(&receiver(&fleet, "ops"), &row, at).await;
    assert!(matches!(outcome, longshore_fleet_core::alert::delivery::Outcome::Taken { .. }));
    assert_eq!(deliver(&fleet, "ops", at).await, 1);
    let got = hook.got();
    assert_eq!((got.len(), &got[0].body), (2, &got[1].body));
    assert_eq!(got[0].headers["webhook-id"], got[1].headers["webhook-id"]);
}

#[tokio::test]
async fn a_full_queue_gives_up_visibly_instead_of_growing() {
    let (hook, secret) = (Receiver::new([]).await, secret());
    let settings = longshore_fleet_core::alert::Settings::parse(&webhook(&hook, &secret)).unwrap();
    let fleet = Fleet::with(|c| {
        c.alerting = settings.clone();
        c.alerts.queue = 1;
    })
    .await;
    let at = watch(&fleet, &silent(1), now(), 8).await;
    watch(&fleet, &silent(0), at, 17).await;
    let all = deliveries(&fleet, "").await;
    assert_eq!((&all[0]["what"], &all[0]["state"]), (&json!("resolved"), &json!("dead")));
    assert!(all[0]["last"].as_str().unwrap().contains("wait for this receiver already"));
    assert_eq!(all[1]["state"], "queued");
}

#[tokio::test]
async fn a_silenced_alert_is_in_the_inbox_and_told_to_nobody_until_the_silence_ends() {
    let (hook, secret) = (Receiver::new([]).await, secret());
    let fleet = fleet(&webhook(&hook, &secret)).await;
    let body = json!({ "matcher": { "rule": "sil*" }, "until": now().0 + 3_600_000, "why": "power cut" });
    let made = fleet.post("/silences", body).await;
    assert_eq!((made.status, made.json["who"].as_str()), (StatusCode::CREATED, Some("admin")));
    let at = watch(&fleet, &silent(4), now(), 10).await;
    assert_eq!(fleet.get("/alerts?state=firing").await.json["items"].as_array().unwrap().len(), 1);
    assert!(deliveries(&fleet, "").await.is_empty());
    let path = format!("/silences/{}", made.json["id"]);
    assert_eq!(fleet.send(fleet.request("DELETE", &path, None)).await.status, StatusCode::NO_CONTENT);
    assert_eq!(fleet.send(fleet.request("DELETE", &path, None)).await.status, StatusCode::NOT_FOUND);
    watch(&fleet, &silent(4), at, 1).await;
    assert_eq!(deliveries(&fleet, "").await.len(), 1);
    assert_eq!(
        fleet.get("/audit/search?action=alert.silence").await.json["items"].as_array().unwrap().len(),
        1
    );
}

#[tokio::test]
async fn an_alertmanager_gets_what_fires_again_and_again_and_an_end() {
    let hook = Receiver::new([]).await;
    let config = format!(
        "{RULES}labels = {{ team = \"field\" }}\n[[receiver]]\nname = \"am\"\nkind = \"alertmanager\"\nurl = \"{}/am/\"\n",
        hook.url
    );
    let fleet = fleet(&config).await;
    let mut at = watch(&fleet, &silent(4), now(), 8).await;
    deliver(&fleet, "am", at).await;
    deliver::refresh(&fleet.app, &receiver(&fleet, "am"), at).await.unwrap();
    at = watch(&fleet, &silent(0), at, 17).await;
    deliver(&fleet, "am", at).await;
    deliver::refresh(&fleet.app, &receiver(&fleet, "am"), at).await.unwrap();
    let got = hook.got();
    assert_eq!(got.len(), 3, "what is over is not sent again");
    let of = |i: usize| -> Value {
        assert_eq!(got[i].path, "/am/api/v2/alerts");
        serde_json::from_str(&got[i].body).unwrap()
    };
    let (first, again, end) = (of(0), of(1), of(2));
    let time = |v: &Value| v.as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    for v in [&first, &again, &end] {
        let alert = &v[0];
        let want = json!({"alertname": "silence", "severity": "warning", "kind": "silence", "fleet": "harbour",
            "cohort": "fleet", "team": "field"});
        assert_eq!(alert["labels"], want, "the labels are the alert's identity there");
        assert!(alert["annotations"]["summary"].as_str().unwrap().contains("silent"));
        assert!(time(&alert["startsAt"]) < time(&alert["endsAt"]));
    }
    assert_eq!(first[0]["startsAt"], again[0]["startsAt"]);
    let at = jiff::Timestamp::from_millisecond(i64::try_from(at.0).unwrap()).unwrap();
    assert!(time(&first[0]["endsAt"]) > time(&end[0]["endsAt"]) || time(&end[0]["endsAt"]) <= at);
}

#[tokio::test]
async fn mail_goes_out_once_is_tried_again_and_given_up_as_the_server_says() {
    let server = MailServer::new(["451 later", "550 nobody here"]).await;
    let config = format!(
        "{RULES}[[receiver]]\nname = \"mail\"\nkind = \"smtp\"\nhost = \"127.0.0.1\"\nport = {}\ntls = \"none\"\nfrom = \"fleet@example.org\"\nto = [\"ops@example.org\"]\n",
        server.port
    );
    let fleet = fleet(&config).await;
    let at = watch(&fleet, &silent(4), now(), 8).await;
    deliver(&fleet, "mail", at).await;
    let tried = deliveries(&fleet, "?state=queued").await;
    assert!(
        tried[0]["last"].as_str().unwrap().contains("451")
            || tried[0]["last"].as_str().unwrap().contains("later"),
        "{tried:?}"
    );
    deliver(&fleet, "mail", UnixMs(tried[0]["due"].as_u64().unwrap())).await;
    let dead = deliveries(&fleet, "?state=dead").await;
    assert_eq!(dead.len(), 1, "{:?}", deliveries(&fleet, "").await);
    fleet.post("/deliveries/retry", json!({ "receiver": "mail" })).await;
    deliver(&fleet, "mail", now().plus_ms(1)).await;
    let mails = server.mails();
    assert_eq!(mails.len(), 1);
    let id = dead[0]["message"].as_str().unwrap();
    assert!(mails[0].contains(&format!("Message-ID: <{id}@example.org>")), "{}", mails[0]);
    assert!(mails[0].contains("Subject: [harbour WARNING] 4 devices of 100 silent"), "{}", mails[0]);
    assert!(mails[0].contains("longshore alerts acknowledge 1"), "{}", mails[0]);
}

#[tokio::test]
async fn a_training_is_asked_for_once_a_cause_signed_and_provable() {
    let (hook, ci, secret) = (Receiver::new([]).await, Receiver::new([]).await, secret());
    let config = format!(
        "{}[[receiver]]\nname = \"ci\"\nkind = \"dispatch\"\nurl = \"{}/repos/o/r/dispatches\"\nsecret_file = \"{s}\"\ntoken_file = \"{s}\"\n",
        webhook(&hook, &secret),
        ci.url,
        s = secret.path().display()
    );
    let fleet = fleet(&config).await;
    let mut at = now();
    for _ in 0..3 {
        at = watch(&fleet, &drift(FeatureState::Drifted), at, 8).await;
        at = watch(&fleet, &drift(FeatureState::Stable), at, 17).await;
    }
    deliver(&fleet, "ci", at).await;
    deliver(&fleet, "ops", at).await;
    let got = ci.got();
    assert_eq!(got.len(), 1, "once, however often it flaps");
    assert_eq!(got[0].headers["authorization"], format!("Bearer {SECRET}"));
    let body: Value = serde_json::from_str(&got[0].body).unwrap();
    assert_eq!(body["event_type"], "longshore-retrain");
    let payload = &body["client_payload"];
    assert!(payload.as_object().unwrap().len() <= 10, "GitHub takes ten keys");
    let text = payload["request"].as_str().unwrap();
    let mut mac = hmac::Hmac::<sha2::Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
    let (id, time) = (payload["id"].as_str().unwrap(), payload["timestamp"].as_str().unwrap());
    mac.update(format!("{id}.{time}.{text}").as_bytes());
    let signed = base64::engine::general_purpose::STANDARD.encode(mac.finalize().into_bytes());
    assert_eq!(payload["signature"], format!("v1,{signed}"));
    let request: Value = serde_json::from_str(text).unwrap();
    assert_eq!(request["type"], "model.retrain");
    assert_eq!(request["data"]["version"], "1.0.0");
    assert_eq!(request["data"]["features"], json!(["pixel_9", "pixel_3"]));
    assert_eq!(request["data"]["evidence"]["features"][0]["n"], 5000);
    // The audit log holds the digest of exactly what was sent.
    let digest = longshore_trust::Digest::of(text.as_bytes()).to_hex();
    let audit = fleet.get("/audit/search?action=model.retrain").await.json;
    assert!(audit["items"][0]["detail"].as_str().unwrap().contains(&digest), "{audit}");
    let kept = fleet.get("/retraining").await.json;
    assert_eq!((&kept["items"][0]["sha256"], &kept["items"][0]["model"]), (&json!(digest), &json!("m")));
    assert_eq!(kept["items"].as_array().unwrap().len(), 1);
    assert!(hook.got().iter().any(|g| g.body.contains("model.retrain")), "webhooks are told as well");
}

#[tokio::test]
async fn a_test_says_at_once_what_came_of_it() {
    let (hook, secret) = (Receiver::new([Does::Answers(204, ""), Does::Hangs]).await, secret());
    let fleet = fleet(&webhook(&hook, &secret)).await;
    let body = json!({ "receiver": "ops" });
    let good = fleet.post("/alerts/test", body.clone()).await.json;
    assert_eq!((&good["delivered"], hook.got().len()), (&json!(true), 1));
    let hung = fleet.post("/alerts/test", body).await.json;
    assert_eq!(hung["delivered"], false, "{hung}");
    assert!(hung["said"].as_str().unwrap().contains("no answer within 300 ms"));
}

#[tokio::test]
async fn a_missing_secret_is_waited_for_and_never_replaced_by_nothing() {
    let (hook, secret) = (Receiver::new([]).await, secret());
    let fleet = fleet(&webhook(&hook, &secret)).await;
    let at = watch(&fleet, &silent(1), now(), 8).await;
    std::fs::write(secret.path(), "short").unwrap();
    deliver(&fleet, "ops", at).await;
    assert!(hook.got().is_empty(), "nothing leaves unsigned");
    let waiting = deliveries(&fleet, "?state=queued").await;
    assert!(waiting[0]["last"].as_str().unwrap().contains("at least 16 bytes"), "{waiting:?}");
    std::fs::write(secret.path(), SECRET).unwrap();
    deliver(&fleet, "ops", UnixMs(waiting[0]["due"].as_u64().unwrap())).await;
    assert_eq!(hook.got().len(), 1);
}

#[tokio::test]
async fn deliveries_to_receivers_that_are_gone_end_and_metrics_say_how_many() {
    let (hook, secret) = (Receiver::new([]).await, secret());
    let fleet = fleet(&webhook(&hook, &secret)).await;
    judge::judge(&fleet.app, &silent(1), now()).await.unwrap();
    watch(&fleet, &silent(1), now().plus_ms(MINUTE), 8).await;
    let mut tx = fleet.app.store.write().await.unwrap();
    let n = longshore_fleet::store::alert::delivery::give_up_unknown(&mut tx, &["other".into()], now())
        .await
        .unwrap();
    tx.commit().await.unwrap();
    assert_eq!(n, 1);
    let text = longshore_fleet::alerts::metrics(&fleet.app).await.unwrap();
    assert!(text.contains("longshore_alert_deliveries{receiver=\"ops\",state=\"dead\"} 1"), "{text}");
    assert!(text.contains("longshore_alerts{state=\"firing\",severity=\"warning\"} 1"), "{text}");
    assert!(text.contains("longshore_alerts{state=\"acknowledged\",severity=\"critical\"} 0"), "{text}");
}

#[tokio::test]
async fn transitions_of_a_rollout_are_told_once_in_order_and_only_to_who_takes_them() {
    use crate::support::POLICY;
    use longshore_fleet::alerts::rollouts;
    let (hook, secret) = (Receiver::new([Does::Answers(500, "")]).await, secret());
    let both = format!("{}takes = [\"rollouts\"]\n", webhook(&hook, &secret));
    let other = "[[receiver]]\nname = \"quiet\"\nkind = \"webhook\"\nurl = \"http://127.0.0.1:1/\"\n";
    let fleet = fleet(&format!("{both}{other}")).await;
    fleet.release("1.0.0", 1, &[]).await;
    let _device = fleet.device(1, None).await;
    let body = json!({ "model": "m", "version": "1.0.0", "policy": POLICY.replace("revert", "halt") });
    let id = fleet.post("/rollouts", body).await.json["id"].as_str().unwrap().to_owned();
    let at = now();
    assert!(rollouts::tell(&fleet.app, at).await.unwrap() > 0);
    assert_eq!(rollouts::tell(&fleet.app, at).await.unwrap(), 0, "told once");
    fleet.post(&format!("/rollouts/{id}/start"), json!({})).await;
    fleet.post(&format!("/rollouts/{id}/halt"), json!({})).await;
    rollouts::tell(&fleet.app, at).await.unwrap();
    // The first attempt fails: nothing about this rollout overtakes it.
    assert_eq!(deliver(&fleet, "ops", at).await, 1);
    let later = at.plus_ms(3_600_000);
    let told = deliver(&fleet, "ops", later).await;
    let got: Vec<Value> = hook.got().iter().map(|g| serde_json::from_str(&g.body).unwrap()).collect();
    let kinds: Vec<&str> = got.iter().map(|g| g["type"].as_str().unwrap()).collect();
    assert_eq!(
        kinds[..4],
        ["rollout.planned", "rollout.planned", "rollout.running", "rollout.halting"],
        "{kinds:?}"
    );
    assert_eq!(told as usize + 1, kinds.len());
    assert_eq!((&got[2]["data"]["rollout"], &got[2]["data"]["state"]), (&json!(id), &json!("running")));
    assert_eq!(hook.got()[1].headers["webhook-signature"], expected_signature(&hook.got()[1]));
    let all = deliveries(&fleet, "").await;
    assert!(all.iter().all(|d| d["receiver"] == "ops" && d["rollout"] == id.as_str()), "{all:?}");
}
