//! Every page of the console with 100,000 devices, 20 versions and 30 rollouts in the database: the server's time for each, as
//! a browser without scripts asks for it. Prints a table and one line of JSON.
//!
//! The data are seeded and made by SQL, so that every run sees the same fleet; no sockets: what is measured is the server.

#[path = "../tests/console/app.rs"]
#[allow(dead_code, clippy::unwrap_used, clippy::expect_used, missing_docs)]
mod app;
#[path = "../tests/console/browser.rs"]
#[allow(dead_code, clippy::unwrap_used, clippy::expect_used, missing_docs)]
mod browser;
#[path = "../tests/console/crowd.rs"]
#[allow(dead_code, clippy::unwrap_used, clippy::expect_used, missing_docs)]
mod crowd;
#[path = "../tests/console/fill.rs"]
#[allow(dead_code, clippy::unwrap_used, clippy::expect_used, missing_docs)]
mod fill;

use std::time::Instant;

use app::Server;
use browser::Browser;

/// How often each page is asked for.
const ASKED: usize = 40;
/// Most of a page's 95th percentile, ms.
const MARK_MS: f64 = 100.0;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let devices =
        std::env::var("LONGSHORE_BENCH_DEVICES").ok().and_then(|n| n.parse().ok()).unwrap_or(100_000);
    let only = std::env::var("LONGSHORE_BENCH_PAGE").unwrap_or_default();
    runtime.block_on(run(devices, &only));
}

async fn run(devices: u64, only: &str) {
    let server = Server::empty().await;
    let begin = Instant::now();
    crowd::fill(&server.database(), devices).await;
    let bytes = std::fs::metadata(server.database()).map_or(0, |m| m.len());
    println!(
        "{devices} devices, {} versions, {} rollouts: {} MB, filled in {:.1} s",
        crowd::VERSIONS,
        crowd::ROLLOUTS,
        bytes >> 20,
        begin.elapsed().as_secs_f64()
    );
    let browser = Browser::signed_in(&server).await;
    let mut rows = Vec::new();
    for path in crowd::pages(devices).into_iter().filter(|p| p.contains(only)) {
        let mut times: Vec<f64> = Vec::new();
        let mut size = 0;
        for _ in 0..ASKED {
            let begin = Instant::now();
            let page = browser.get(&path).await;
            times.push(begin.elapsed().as_secs_f64() * 1000.0);
            assert_eq!(page.status, 200, "{path}: {}", page.text);
            size = page.text.len();
        }
        times.sort_by(f64::total_cmp);
        let at = |q: f64| times[((times.len() - 1) as f64 * q).round() as usize];
        println!("{:>8.1} {:>8.1} {:>8.1} ms {:>5} KB  {path}", at(0.5), at(0.95), at(1.0), size >> 10);
        rows.push((path, at(0.5), at(0.95)));
    }
    let worst = rows.iter().map(|r| r.2).fold(0.0, f64::max);
    let round = |x: f64| (x * 10.0).round() / 10.0;
    let slow: Vec<&str> = rows.iter().filter(|r| r.2 > MARK_MS).map(|r| r.0.as_str()).collect();
    let pages: Vec<serde_json::Value> = rows
        .iter()
        .map(|(path, p50, p95)| serde_json::json!({ "page": path, "p50_ms": round(*p50), "p95_ms": round(*p95) }))
        .collect();
    println!(
        "{}",
        serde_json::json!({
            "devices": devices, "versions": crowd::VERSIONS, "rollouts": crowd::ROLLOUTS, "database_mb": bytes >> 20,
            "asked": ASKED, "worst_p95_ms": round(worst), "mark_ms": MARK_MS, "beyond_mark": slow, "pages": pages,
        })
    );
}
