//! What counting costs, beside a loop that does nothing, in one run.

use std::hint::black_box;
use std::path::Path;
use std::time::Instant;

use longshore_stats::nesting::Level;
use longshore_stats::profile::{Column, Profile};
use longshore_stats::{Recorder, WindowProfile};
use serde_json::{Value, json};

use crate::draw::Draw;

const FEATURES: usize = 30;
const REPEATS: usize = 15;

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn tenth(v: f64) -> f64 {
    (v * 10.0).round() / 10.0
}

fn profile(rows: &[Vec<f64>]) -> Profile {
    let column = |i: usize| Column::Numeric(rows.iter().map(|r| Some(r[i])).collect());
    let columns: Vec<_> = (0..rows[0].len()).map(|i| (format!("f{i}"), column(i))).collect();
    Profile::of(&columns).unwrap()
}

/// Nanoseconds a value: of counting, and of a loop that only looks at the values.
fn per_value(profile: &Profile, level: Level, rows: &[Vec<f64>]) -> (f64, f64) {
    let values = rows.iter().map(Vec::len).sum::<usize>() as f64;
    let (mut counting, mut nothing) = (Vec::new(), Vec::new());
    for _ in 0..REPEATS {
        let begin = Instant::now();
        for value in rows.iter().flatten() {
            black_box(*value);
        }
        nothing.push(begin.elapsed().as_nanos() as f64 / values);
        let mut recorder = Recorder::new(profile, level);
        let begin = Instant::now();
        rows.iter().for_each(|r| recorder.numbers(black_box(r)));
        counting.push(begin.elapsed().as_nanos() as f64 / values);
        black_box(recorder.window());
    }
    (median(counting), median(nothing))
}

fn merge_ns(parts: &[WindowProfile]) -> f64 {
    let vectors = (parts.len() * FEATURES) as f64;
    let runs = (0..REPEATS).map(|_| {
        let mut sum = parts[0].clone();
        let begin = Instant::now();
        for p in parts {
            sum.merge(black_box(p)).unwrap();
        }
        let took = begin.elapsed().as_nanos() as f64;
        black_box(&sum);
        took / vectors
    });
    median(runs.collect())
}

/// All figures.
pub fn all() -> Value {
    let mut draw = Draw::new(23);
    let row = |d: &mut Draw| -> Vec<f64> { (0..FEATURES).map(|_| d.normal()).collect() };
    let reference: Vec<Vec<f64>> = (0..5_000).map(|_| row(&mut draw)).collect();
    let rows: Vec<Vec<f64>> = (0..20_000).map(|_| row(&mut draw)).collect();
    let profile = profile(&reference);
    let (counting, nothing) = per_value(&profile, Level::Bins32, &rows);
    let parts: Vec<WindowProfile> = rows
        .chunks(1_000)
        .cycle()
        .take(200)
        .map(|chunk| {
            let mut r = Recorder::new(&profile, Level::Bins32);
            chunk.iter().for_each(|row| r.numbers(row));
            r.take()
        })
        .collect();
    let bytes = postcard::to_stdvec(&parts[0]).unwrap().len();
    let added = counting - nothing;
    json!({
        "ns_per_value": tenth(counting),
        "ns_per_value_of_nothing": tenth(nothing),
        "ns_per_value_added": tenth(added),
        "ok": added <= 15.0,
        "window_bytes_30_features_32_bins_1000_rows": bytes,
        "counters_bytes_in_memory": parts[0].counter_bytes(),
        "merge_ns_per_32_bin_vector": tenth(merge_ns(&parts)),
        "percent_of_a_1_ms_inference_30_features": (added * FEATURES as f64 / 1e6 * 1e4).round() / 100.0,
    })
}

/// The cost on the numbers of a table.
pub fn table(path: &Path) -> Value {
    let mut reader = csv::Reader::from_path(path).unwrap();
    let rows: Vec<Vec<f64>> =
        reader.records().map(|r| r.unwrap().iter().map(|c| c.parse().unwrap()).collect()).collect();
    let (reference, current) = rows.split_at(rows.len() / 2);
    let profile = profile(reference);
    let (counting, nothing) = per_value(&profile, Level::Bins32, current);
    json!({ "rows": current.len(), "columns": current[0].len(), "ns_per_value": tenth(counting),
            "ns_per_value_of_nothing": tenth(nothing) })
}
