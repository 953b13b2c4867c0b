//! What ran where and when: from signed reports, whatever the order they come in and whatever the device's clock says.

use axum::http::StatusCode;
use longshore_fleet::app::now;
use longshore_trust::{Digest, TimeQuality, UnixMs};
use serde_json::{Value, json};

use crate::support::Fleet;

const HOUR: u64 = 3_600_000;

async fn at(fleet: &Fleet, query: &str) -> Value {
    let answer = fleet.get(&format!("/history?{query}")).await;
    assert_eq!(answer.status, StatusCode::OK, "{query}: {}", answer.json);
    answer.json
}
/// What the device ran at a moment.
async fn ran(fleet: &Fleet, device: &str, at_ms: u64) -> Value {
    at(fleet, &format!("device={device}&at={at_ms}")).await["items"][0]["version"].clone()
}
async fn count(fleet: &Fleet, version: &str, at_ms: u64) -> i64 {
    let counts = at(fleet, &format!("model=m&at={at_ms}")).await["counts"].take();
    let found = counts.as_array().unwrap().iter().find(|c| c["version"] == version).cloned();
    found.map_or(0, |c| c["devices"].as_i64().unwrap())
}

async fn three(fleet: &Fleet) -> [Digest; 3] {
    [
        fleet.release("1.0.0", 1, &[]).await,
        fleet.release("1.1.0", 2, &[]).await,
        fleet.release("1.2.0", 3, &[]).await,
    ]
}

#[tokio::test]
async fn any_past_moment_can_be_asked_for_and_late_reports_find_their_place() {
    let fleet = Fleet::new().await;
    let [one, two, three] = three(&fleet).await;
    let (a, b) = (fleet.device(1, None).await, fleet.device(2, None).await);
    // On the minute, so that counts by the minute say the same as the lines.
    let start = (now().0 - 10 * HOUR) / 60_000 * 60_000;
    let hour = |n: u64| UnixMs(start + n * HOUR);
    a.runs(Some(one), hour(1), TimeQuality::Ntp).await;
    b.runs(Some(one), hour(2), TimeQuality::Attested).await;
    a.runs(Some(three), hour(6), TimeQuality::Ntp).await;
    // Said later, of an earlier time; and once more, which is no news.
    a.runs(Some(two), hour(4), TimeQuality::Ntp).await;
    a.runs(Some(three), hour(7), TimeQuality::Ntp).await;
    b.runs(None, hour(8), TimeQuality::Ntp).await;

    for (n, version) in [(1, "1.0.0"), (3, "1.0.0"), (4, "1.1.0"), (5, "1.1.0"), (6, "1.2.0"), (9, "1.2.0")] {
        assert_eq!(ran(&fleet, "dev-1", hour(n).0).await, version, "hour {n}");
    }
    assert_eq!(ran(&fleet, "dev-1", hour(1).0 - 1).await, Value::Null, "before the first word");
    for (n, [ones, twos, threes]) in
        [(0, [0, 0, 0]), (1, [1, 0, 0]), (3, [2, 0, 0]), (4, [1, 1, 0]), (6, [1, 0, 1]), (9, [0, 0, 1])]
    {
        let shown = [
            count(&fleet, "1.0.0", hour(n).0).await,
            count(&fleet, "1.1.0", hour(n).0).await,
            count(&fleet, "1.2.0", hour(n).0).await,
        ];
        assert_eq!(shown, [ones, twos, threes], "hour {n}");
    }
    let then = at(&fleet, &format!("model=m&version=1.0.0&at={}", hour(5).0)).await;
    assert_eq!((&then["items"][0]["device"], then["items"].as_array().unwrap().len()), (&json!("dev-2"), 1));
    assert_eq!(
        (&then["items"][0]["since"], &then["items"][0]["until"]),
        (&json!(hour(2).0), &json!(hour(8).0))
    );
    let rfc = jiff::Timestamp::from_millisecond(i64::try_from(hour(5).0).unwrap()).unwrap();
    assert_eq!(at(&fleet, &format!("model=m&version=1.0.0&at={rfc}")).await, then);

    // Everything that ever served on a device, page by page.
    let first = at(&fleet, "device=dev-1&limit=2").await;
    let second =
        at(&fleet, &format!("device=dev-1&limit=2&cursor={}", first["next"].as_str().unwrap())).await;
    let versions: Vec<&Value> = [&first, &second]
        .into_iter()
        .flat_map(|p| p["items"].as_array().unwrap())
        .map(|i| &i["version"])
        .collect();
    assert_eq!(versions, ["1.2.0", "1.1.0", "1.0.0"]);
    assert_eq!(second["next"], Value::Null);
}

#[tokio::test]
async fn a_clock_that_cannot_be_relied_on_is_not() {
    let fleet = Fleet::new().await;
    let [one, two, three] = three(&fleet).await;
    let device = fleet.device(1, None).await;
    let before = now().0;
    device.runs(Some(one), UnixMs(86_400_000), TimeQuality::None).await;
    device.runs(Some(two), UnixMs(before + 400 * 24 * HOUR), TimeQuality::Ntp).await;
    device.runs(Some(three), UnixMs(0), TimeQuality::Ntp).await;
    let all = at(&fleet, "device=dev-1").await["items"].take();
    let lines = all.as_array().unwrap();
    assert_eq!(lines.len(), 3);
    for line in lines {
        assert_eq!(line["clock"], "fleet");
        let since = line["since"].as_u64().unwrap();
        assert!((before..=now().0).contains(&since), "{line}");
    }
    assert_eq!(lines[0]["version"], "1.2.0", "the last word counts");
}

#[tokio::test]
async fn what_cannot_be_asked_is_said() {
    let fleet = Fleet::new().await;
    fleet.release("1.0.0", 1, &[]).await;
    for (query, status, code) in [
        ("", StatusCode::UNPROCESSABLE_ENTITY, "history.of"),
        ("device=dev-1&model=m", StatusCode::UNPROCESSABLE_ENTITY, "history.of"),
        ("model=m&at=yesterday", StatusCode::UNPROCESSABLE_ENTITY, "history.at"),
        ("model=none", StatusCode::NOT_FOUND, "model.unknown"),
        ("model=m&version=9.9.9", StatusCode::NOT_FOUND, "version.unknown"),
        ("device=nobody", StatusCode::NOT_FOUND, "device.unknown"),
    ] {
        let answer = fleet.get(&format!("/history?{query}")).await;
        assert_eq!((answer.status, &answer.json["code"]), (status, &json!(code)), "{query}: {}", answer.json);
    }
}
