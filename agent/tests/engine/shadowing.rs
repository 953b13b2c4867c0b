//! A candidate in shadow in the real engine: it sees what was answered, answers nobody, and costs no more than its budget.

use std::time::{Duration, Instant};

use longshore_agent::engine::protocol::{FromEngine, LoadId, ToEngine};
use longshore_agent::page::{Page, PageSpec, boot_id};
use longshore_stats::ShadowTable;
use serde_json::json;

use crate::rig::{Bundle, Engine, digits, json_request};

const INFER: &str = "/v2/models/meter-digits/infer";

/// Loads a bundle into shadow.
fn beside(engine: &Engine, bundle: &Bundle, load: u64, permille: u16) -> Page {
    let spec = PageSpec::in_shadow(LoadId(load), &bundle.manifest, 4096, boot_id().unwrap());
    let (page, fd) = engine.page(&spec);
    engine.send_load(bundle.request(load), bundle.sealed(), fd);
    assert!(matches!(engine.event(), FromEngine::Loaded { load: l, .. } if l.0 == load));
    engine.send(&ToEngine::Shadow { load: LoadId(load), permille });
    assert_eq!(engine.event(), FromEngine::Shadowing(LoadId(load)));
    page
}
fn table(page: &Page) -> ShadowTable {
    page.snapshot().unwrap().shadow.unwrap()
}
/// Asks until so many rows were compared; how many rows were asked for.
fn ask_until(engine: &Engine, bundle: &Bundle, page: &Page, rows: u64) -> u64 {
    let (mut client, mut asked, begun) = (engine.client(), 0, Instant::now());
    while table(page).rows < rows {
        assert!(begun.elapsed() < Duration::from_secs(120), "{:?}", table(page));
        let r = client.post(INFER, &json_request(&bundle.rows(asked as usize % 8, 2), &json!({})));
        assert_eq!((r.status, r.json()["model_version"].as_str()), (200, Some("1.0.0")), "who answers");
        asked += 2;
        std::thread::sleep(Duration::from_millis(2));
    }
    asked
}

#[test]
fn a_candidate_sees_what_was_answered_and_answers_nobody() {
    let (engine, bundle, active) = Engine::serving();
    let page = beside(&engine, &bundle, 77, 1000);
    let asked = ask_until(&engine, &bundle, &page, 40);
    let t = table(&page);
    assert!(t.rows + t.skipped + t.errors <= asked && t.errors == 0, "{t:?}");
    assert_eq!(t.agreed, t.rows, "the same model gives the same answers");
    assert_eq!(t.matrix().map(|(_, n)| n).sum::<u64>(), t.rows);
    assert!(t.matrix().all(|((a, c), _)| a == c));
    assert_eq!(t.differences()[20], t.rows, "and the same scores");
    assert_eq!((t.active_us.count(), t.candidate_us.count()), (t.rows / 2, t.rows / 2));
    let c = page.snapshot().unwrap();
    assert_eq!((c.rows, c.requests, c.errors), (0, 0, 0), "it answered nothing");
    assert_eq!(active.snapshot().unwrap().rows, asked);
    // What it would have answered is there for labels: by the load and the number of the answer.
    let kept = page.shadowed(0).unwrap();
    assert_eq!(kept.len() as u64, t.rows);
    for (_, s) in kept {
        assert_eq!(active.prediction(s.seq).unwrap().unwrap().class, s.class);
        assert_eq!(s.load, active.spec().load);
    }
    // It goes, and the same bundle is loaded anew to answer.
    engine.send(&ToEngine::Activate(LoadId(77)));
    assert!(matches!(engine.event(), FromEngine::LoadFailed { .. }), "a load in shadow never answers");
    engine.send(&ToEngine::Unload(LoadId(77)));
    assert_eq!(engine.event(), FromEngine::Unloaded(LoadId(77)));
    let gone = table(&page);
    assert_eq!(gone.rows + gone.skipped + gone.errors, asked, "every row is accounted for: {gone:?}");
    let r = engine.client().post(INFER, &json_request(&bundle.rows(0, 1), &json!({})));
    assert_eq!(r.status, 200);
    assert_eq!(table(&page), gone);
}

#[test]
fn another_version_is_compared_row_by_row() {
    let (engine, bundle, _active) = Engine::serving();
    let page = beside(&engine, &digits("1.1.0"), 78, 1000);
    ask_until(&engine, &bundle, &page, 40);
    let t = table(&page);
    let same: u64 = t.matrix().filter(|((a, c), _)| a == c).map(|(_, n)| n).sum();
    assert_eq!((same, t.errors, t.classes), (t.agreed, 0, 10));
    assert_eq!(t.differences().iter().sum::<u64>(), t.rows);
    assert!(t.differences()[20] < t.rows, "no two versions score alike on every row");
}

#[test]
fn what_the_budget_has_no_room_for_is_skipped_and_counted_and_delays_nobody() {
    let (engine, bundle, active) = Engine::serving();
    let page = beside(&engine, &bundle, 79, 1);
    let begun = Instant::now();
    let mut client = engine.client();
    let mut asked = 0;
    while table(&page).skipped == 0 {
        assert!(begun.elapsed() < Duration::from_secs(120), "{:?}", table(&page));
        for _ in 0..50 {
            assert_eq!(client.post(INFER, &json_request(&bundle.rows(0, 2), &json!({}))).status, 200);
            asked += 2;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    let t = table(&page);
    assert!(t.skipped > 0 && t.rows + t.skipped <= asked, "{t:?} of {asked}");
    assert!(t.rows < asked / 2, "one per mille of a core is not for every row: {t:?} of {asked}");
    assert_eq!(active.snapshot().unwrap().rows, asked, "everybody was answered");
}

/// Asks a candidate with hardly any budget for many rows, most of which wait or are skipped when it is over.
fn asked_in_vain(engine: &Engine, bundle: &Bundle) -> u64 {
    let mut client = engine.client();
    for _ in 0..60 {
        assert_eq!(client.post(INFER, &json_request(&bundle.rows(0, 2), &json!({}))).status, 200);
    }
    120
}
fn is_whole(page: &Page, asked: u64) {
    let t = table(page);
    assert_eq!(t.rows + t.skipped + t.errors, asked, "{t:?}");
    assert!(t.skipped > 0, "{t:?}");
}

#[test]
fn rows_that_wait_when_a_candidate_or_the_engine_goes_are_skipped_and_counted() {
    let (mut engine, bundle, _active) = Engine::serving();
    let page = beside(&engine, &bundle, 80, 1);
    let asked = asked_in_vain(&engine, &bundle);
    engine.send(&ToEngine::Unload(LoadId(80)));
    assert_eq!(engine.event(), FromEngine::Unloaded(LoadId(80)));
    is_whole(&page, asked);
    let page = beside(&engine, &bundle, 81, 1);
    let asked = asked_in_vain(&engine, &bundle);
    engine.send(&ToEngine::Drain);
    assert!(engine.child.wait().unwrap().success());
    page.recover().unwrap();
    is_whole(&page, asked);
}

#[test]
fn rows_that_are_explained_are_not_compared_and_counted_as_skipped() {
    let engine = Engine::start();
    let bundle = crate::rig::watched_digits();
    let (load, _active) = engine.load(&bundle);
    engine.activate(load);
    let page = beside(&engine, &bundle, 82, 1000);
    let explain = json!({ "parameters": { "explain": true } });
    assert_eq!(engine.client().post(INFER, &json_request(&bundle.rows(0, 3), &explain)).status, 200);
    engine.send(&ToEngine::Unload(LoadId(82)));
    // Sums of what was explained may come before.
    while engine.event() != FromEngine::Unloaded(LoadId(82)) {}
    let t = table(&page);
    assert_eq!((t.rows, t.errors, t.skipped), (0, 0, 3));
}
