//! A model is replaced while requests run.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use longshore_agent::engine::protocol::{FromEngine, ToEngine};
use serde_json::json;

use crate::rig::{Engine, digits, json_request};

const INFER: &str = "/v2/models/meter-digits/infer";

#[test]
fn no_request_fails_and_no_row_is_lost_while_models_are_swapped() {
    let engine = Engine::start();
    let bundles = [digits("1.0.0"), digits("1.1.0")];
    let (first, page) = engine.load(&bundles[0]);
    engine.activate(first);
    let mut pages = vec![page];
    let mut active = first;
    let body = json_request(&bundles[0].rows(0, 5), &json!({}));
    let (stop, served) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|s| {
        for _ in 0..3 {
            s.spawn(|| {
                let mut client = engine.client();
                while !stop.load(Relaxed) {
                    let r = client.post(INFER, &body);
                    assert_eq!(r.status, 200, "{r:?}");
                    served.fetch_add(5, Relaxed);
                }
            });
        }
        let some_more = || {
            let before = served.load(Relaxed);
            while served.load(Relaxed) < before + 50 {
                std::thread::yield_now();
            }
        };
        some_more();
        for n in 1..=8 {
            let (load, page) = engine.load(&bundles[n % 2]);
            pages.push(page);
            engine.activate(load);
            engine.send(&ToEngine::Unload(active));
            assert_eq!(engine.event(), FromEngine::Unloaded(active), "told once its last request has ended");
            active = load;
            some_more();
        }
        stop.store(true, Relaxed);
    });
    let counted: u64 = pages.iter().map(|p| p.snapshot().unwrap().rows).sum();
    assert_eq!(counted, served.load(Relaxed));
    assert!(pages.iter().all(|p| p.snapshot().unwrap().rows > 0), "each load had its share");
    assert_eq!(engine.client().get("/v2/models/meter-digits").json()["versions"], json!(["1.0.0"]));
    engine.send(&ToEngine::Unload(active));
    assert_eq!(engine.event(), FromEngine::Unloaded(active));
    assert_eq!(engine.client().post(INFER, &body).status, 404, "nothing answers any more");
}
