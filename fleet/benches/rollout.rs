//! One rollout of a large fleet without any cap: how long it takes to plan it, start it, offer it to everybody and halt it,
//! and how long whoever else writes meanwhile (ingest, a person at the console) waits for its turn. Prints one line of JSON.

#[path = "../tests/api/copies.rs"]
#[allow(clippy::unwrap_used, missing_docs)]
mod copies;
#[path = "../tests/api/support.rs"]
#[allow(dead_code, clippy::unwrap_used, clippy::expect_used, missing_docs)]
mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use longshore_fleet::app::now;
use longshore_fleet::jobs::executor::{self, Scope};
use longshore_fleet::store::set_meta;
use serde_json::{Value, json};
use support::Fleet;

/// Everything at once.
const POLICY: &str = r#"name = "bench"
[[wave]]
select = { rest = true }
[gate]
success = 0.9
deadline = "24h"
on_fail = "halt"
"#;
/// Another writer writes so often.
const EVERY: Duration = Duration::from_millis(5);

fn main() {
    let devices =
        std::env::var("LONGSHORE_BENCH_DEVICES").ok().and_then(|n| n.parse().ok()).unwrap_or(100_000);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    println!("{}", runtime.block_on(run(devices)));
}

async fn run(devices: u32) -> Value {
    let fleet = Fleet::new().await;
    let old = fleet.release("1.0.0", 1, &[]).await;
    fleet.release("1.1.0", 2, &[old]).await;
    fleet.device(1, Some(old)).await;
    copies::copies(&fleet.database(), devices).await;

    let body = json!({ "model": "m", "version": "1.1.0", "policy": POLICY, "brief": true });
    let (planned, plan) = beside_a_writer(&fleet, fleet.post("/rollouts", body)).await;
    let id = planned.json["id"].as_str().expect("a plan").to_owned();
    let act = async |act: &str| fleet.post(&format!("/rollouts/{id}/{act}"), json!({})).await.json;
    let (started, start) = beside_a_writer(&fleet, act("start")).await;
    assert_eq!(started["state"], "running", "{started}");
    let look = async || {
        while executor::tick(&fleet.app, Scope::UnderWay, now()).await.expect("the record can be read") {}
    };
    let (_, offer) = beside_a_writer(&fleet, look()).await;
    let detail = fleet.get(&format!("/rollouts/{id}")).await.json;
    let offered = &detail["waves"][0]["device_counts"]["offered"];
    assert_eq!(*offered, devices, "all of them");
    let (_, nothing) = beside_a_writer(&fleet, look()).await;
    let (halted, halt) = beside_a_writer(&fleet, act("halt")).await;
    assert_eq!(halted["state"], "halting", "{halted}");
    let (_, tell) = beside_a_writer(&fleet, look()).await;
    json!({
        "devices": devices, "plan": plan, "start": start, "offer_to_all": offer, "nothing_to_do": nothing,
        "halt": halt, "tell_all_to_halt": tell,
    })
}

/// Does something while somebody else writes; how long it took, and how long the other one waited for its turn.
async fn beside_a_writer<T>(fleet: &Fleet, what: impl Future<Output = T>) -> (T, Value) {
    let over = Arc::new(AtomicBool::new(false));
    let writer = tokio::spawn({
        let (over, store) = (Arc::clone(&over), fleet.app.store.clone());
        async move {
            let mut waits = Vec::new();
            while !over.load(Ordering::Relaxed) {
                let begun = Instant::now();
                let mut tx = store.write().await.expect("its turn");
                set_meta(&mut tx, "bench", "x").await.expect("written");
                tx.commit().await.expect("committed");
                waits.push(begun.elapsed().as_secs_f64() * 1_000.0);
                tokio::time::sleep(EVERY).await;
            }
            waits.sort_by(f64::total_cmp);
            waits
        }
    });
    let begun = Instant::now();
    let done = what.await;
    let seconds = (begun.elapsed().as_secs_f64() * 100.0).round() / 100.0;
    over.store(true, Ordering::Relaxed);
    let waits = writer.await.expect("the other writer");
    let at = |q: f64| waits[((waits.len() - 1) as f64 * q).round() as usize].round();
    (done, json!({ "seconds": seconds, "other_writer_p95_ms": at(0.95), "other_writer_longest_ms": at(1.0) }))
}
