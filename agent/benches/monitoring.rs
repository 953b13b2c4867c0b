//! What watching costs a request: counting its features and recording it in the shared page, beside a loop that does
//! nothing with the same values and beside a page that watches nothing, in turns in one run. Prints one line of JSON.
//!
//! With `LONGSHORE_WINDOWS=FILE` it also writes encoded windows of a day to FILE: what compression would still save.

use std::hint::black_box;
use std::path::Path;
use std::time::Instant;

use longshore_agent::engine::protocol::LoadId;
use longshore_agent::page::{Page, PageSpec, RequestOutcome};
use longshore_agent::serve::watch::Watch;
use longshore_bundle::{Batch, DType, Dim, Feature, FeatureKind, Manifest, Tensor, TensorSpec, author};
use longshore_stats::Counters;
use longshore_stats::counters::encoded_bytes;
use longshore_stats::profile::{Column, Profile};
use serde_json::{Value, json};

const FEATURES: usize = 30;
const CLASSES: u32 = 10;
const ROUNDS: usize = 31;
/// Rows a round, whatever the size of the requests.
const ROWS: usize = 20_000;

/// Standard normal numbers (Marsaglia's polar method over SplitMix64).
struct Draw(u64);
impl Draw {
    fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }
    fn normal(&mut self) -> f64 {
        loop {
            let (a, b) = (2.0 * self.uniform() - 1.0, 2.0 * self.uniform() - 1.0);
            let s = a * a + b * b;
            if s > 0.0 && s < 1.0 {
                return a * (-2.0 * s.ln() / s).sqrt();
            }
        }
    }
}

fn main() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut draw = Draw(41);
    let (manifest, reference) = (manifest(), reference(&mut draw));
    let watch = Watch::new(&manifest, &reference);
    let single = cost(dir.path(), &manifest, &watch, 1, &mut draw);
    let batch = cost(dir.path(), &manifest, &watch, 64, &mut draw);
    let windows = windows(dir.path(), &manifest, &watch, &mut draw);
    println!("{}", json!({ "one_row_a_request": single, "64_rows_a_request": batch, "windows": windows }));
}

fn manifest() -> Manifest {
    let shape = vec![Dim::Symbol("batch".into()), Dim::Fixed(FEATURES as u64)];
    let input = TensorSpec { name: "x".into(), dtype: DType::Fp32, shape };
    let name = "meter".parse().expect("a name");
    let version = "1.0.0".parse().expect("a version");
    let mut manifest = author::draft(name, version, String::new(), vec![input], Vec::new());
    manifest.batch = Some(Batch { axis: 0, max: 1024 });
    manifest.monitor.classes = (0..CLASSES).map(|c| c.to_string()).collect();
    manifest.monitor.score_output = Some("scores".into());
    let feature = |i: usize| Feature {
        name: format!("f{i}"),
        input: "x".into(),
        index: i as u32,
        kind: FeatureKind::Numeric,
    };
    manifest.monitor.features = (0..FEATURES).map(feature).collect();
    manifest
}

fn reference(draw: &mut Draw) -> Profile {
    let column = |draw: &mut Draw| Column::Numeric((0..5_000).map(|_| Some(draw.normal())).collect());
    let columns: Vec<_> = (0..FEATURES).map(|i| (format!("f{i}"), column(draw))).collect();
    Profile::of(&columns).expect("a profile")
}

fn requests(rows: usize, draw: &mut Draw) -> Vec<Tensor> {
    let request = |_| {
        let values: Vec<f32> = (0..rows * FEATURES).map(|_| draw.normal() as f32).collect();
        Tensor::from_f32("x", &[rows, FEATURES], &values)
    };
    (0..ROWS / rows).map(request).collect()
}

fn page(dir: &Path, name: &str, manifest: &Manifest, watch: Option<&Watch>) -> Page {
    let shape = watch.map(|w| w.places().shape().clone());
    let spec = PageSpec::of(LoadId(1), manifest, shape, 8_192, [7; 16]);
    Page::create(&dir.join(name), &spec).expect("a page").0
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
fn tenth(v: f64) -> f64 {
    (v * 10.0).round() / 10.0
}

/// Nanoseconds of one pass over all requests.
fn timed(mut pass: impl FnMut()) -> f64 {
    let begin = Instant::now();
    pass();
    begin.elapsed().as_nanos() as f64
}

fn outcome<'a>(classes: &'a [u32], scores: &'a [f32]) -> RequestOutcome<'a> {
    RequestOutcome {
        rows: classes.len() as u32,
        classes,
        scores,
        latency_us: 900,
        ..RequestOutcome::default()
    }
}

fn cost(dir: &Path, manifest: &Manifest, watch: &Watch, rows: usize, draw: &mut Draw) -> Value {
    let requests = requests(rows, draw);
    let (classes, scores) = (vec![3u32; rows], vec![0.9f32; rows]);
    let watched = page(dir, &format!("watched-{rows}"), manifest, Some(watch));
    let plain = page(dir, &format!("plain-{rows}"), manifest, None);
    let (mut nothing, mut recording, mut watching) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        nothing.push(timed(|| {
            for tensor in &requests {
                tensor.values().for_each(|v| _ = black_box(v));
            }
        }));
        recording.push(timed(|| {
            for tensor in &requests {
                black_box(tensor);
                plain.record(&outcome(&classes, &scores));
            }
        }));
        watching.push(timed(|| {
            for tensor in &requests {
                let tally = watch.count(rows, std::slice::from_ref(black_box(tensor)));
                watched.record(&RequestOutcome { features: Some(&tally), ..outcome(&classes, &scores) });
                watch.done_with(tally);
            }
        }));
    }
    let values = (requests.len() * rows * FEATURES) as f64;
    let (nothing, recording, watching) = (median(nothing), median(recording), median(watching));
    let added = (watching - recording - nothing) / values;
    let request_us = (watching - nothing) / requests.len() as f64 / 1000.0;
    json!({
        "ns_per_value_of_nothing": tenth(nothing / values),
        "ns_per_value_added": tenth(added),
        "record_without_features_ns": tenth(recording / requests.len() as f64),
        "record_with_features_ns": tenth(watching / requests.len() as f64),
        "percent_of_a_1_ms_inference": (request_us / rows as f64 * 10.0).round() / 100.0,
        "ok": added <= 15.0 && request_us / rows as f64 <= 10.0,
    })
}

/// What windows of an hour of a busy device weigh, and what merging them takes.
fn windows(dir: &Path, manifest: &Manifest, watch: &Watch, draw: &mut Draw) -> Value {
    let page = page(dir, "windows", manifest, Some(watch));
    let (mut windows, mut before) = (Vec::new(), Counters::default());
    for hour in 0..24u64 {
        for tensor in requests(20, draw).iter().take(50) {
            let tally = watch.count(20, std::slice::from_ref(tensor));
            let classes: Vec<u32> = (0..20).map(|_| (draw.uniform() * f64::from(CLASSES)) as u32).collect();
            let scores: Vec<f32> = (0..20).map(|_| (1.0 - draw.uniform().powi(3) * 0.6) as f32).collect();
            let latency_us = 800 + (draw.uniform() * 400.0) as u64 + hour;
            page.record(&RequestOutcome { features: Some(&tally), latency_us, ..outcome(&classes, &scores) });
            watch.done_with(tally);
        }
        let now = page.snapshot().expect("a snapshot");
        windows.push(now.since(&before).expect("counters rise"));
        before = now;
    }
    if let Some(file) = std::env::var_os("LONGSHORE_WINDOWS") {
        let encode = |w: &Counters| postcard::to_stdvec(w).expect("counters encode");
        let bytes: Vec<u8> = windows.iter().flat_map(encode).collect();
        std::fs::write(&file, &bytes).expect("the windows are written");
        let one = Path::new(&file).with_extension("one");
        std::fs::write(one, encode(&windows[0])).expect("the window is written");
    }
    let merging = (0..ROUNDS).map(|_| {
        let mut sum = windows[0].clone();
        timed(|| windows.iter().for_each(|w| black_box(&mut sum).merge(w).expect("windows merge")))
            / windows.len() as f64
    });
    let bytes: Vec<f64> = windows.iter().map(|w| encoded_bytes(w) as f64).collect();
    json!({
        "rows_a_window": windows[0].rows,
        "bytes_a_window_of_30_features": median(bytes),
        "merge_ns_a_window": median(merging.collect()).round(),
        "page_bytes_but_the_ring": page.state_bytes(),
    })
}
