//! The engine's part of `GET /metrics`, as Prometheus text.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use super::models::Served;

/// Content type of the text format.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What the engine counts besides the counter pages.
#[derive(Debug, Default)]
pub struct Figures {
    rejected: AtomicU64,
}

impl Figures {
    /// A request found the queue full.
    pub fn rejected(&self) {
        self.rejected.fetch_add(1, Relaxed);
    }
}

/// The text. Counters of a model start anew when another bundle takes over.
#[must_use]
pub fn text(models: &[Arc<Served>], figures: &Figures, waiting: usize) -> String {
    let mut out = String::new();
    let mut line = |text: &str| {
        out.push_str(text);
        out.push('\n');
    };
    line("# HELP longshore_engine_info The engine that answers.");
    line("# TYPE longshore_engine_info gauge");
    line(&format!("longshore_engine_info{{version=\"{}\"}} 1", env!("CARGO_PKG_VERSION")));
    line("# HELP longshore_queue_waiting Requests that wait for a thread.");
    line("# TYPE longshore_queue_waiting gauge");
    line(&format!("longshore_queue_waiting {waiting}"));
    line("# HELP longshore_rejected_total Requests answered 503 because the queue was full.");
    line("# TYPE longshore_rejected_total counter");
    line(&format!("longshore_rejected_total {}", figures.rejected.load(Relaxed)));
    let counted: Vec<_> =
        models.iter().filter_map(|m| Some((labels(m), m, m.page().snapshot().ok()?))).collect();
    let mut family = |name: &str, kind: &str, help: &str, samples: &mut dyn FnMut(&mut String)| {
        let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
        samples(&mut out);
    };
    type Pick = fn(&longshore_stats::Counters) -> u64;
    let scalars: [(&str, &str, Pick); 7] = [
        ("longshore_requests_total", "Requests answered, errors included.", |c| c.requests),
        ("longshore_rows_total", "Rows answered.", |c| c.rows),
        ("longshore_row_errors_total", "Rows refused or failed.", |c| c.errors),
        ("longshore_row_nan_total", "Rows whose answer held a NaN.", |c| c.nan),
        ("longshore_row_low_margin_total", "Rows whose two best classes were nearly equal.", |c| {
            c.low_margin
        }),
        ("longshore_row_out_of_range_total", "Rows with a feature outside of the reference's range.", |c| {
            c.profile.as_ref().map_or(0, |p| p.rows_out_of_range)
        }),
        ("longshore_row_undeclared_group_total", "Rows without a declared group.", |c| c.groups.undeclared),
    ];
    for (name, help, pick) in scalars {
        family(name, "counter", help, &mut |out| {
            for (labels, _, c) in &counted {
                let _ = writeln!(out, "{name}{{{labels}}} {}", pick(c));
            }
        });
    }
    family("longshore_predictions_total", "counter", "Rows by predicted class.", &mut |out| {
        for (labels, m, c) in &counted {
            for (class, n) in m.manifest.monitor.classes.iter().zip(&c.classes) {
                let _ =
                    writeln!(out, "longshore_predictions_total{{{labels},class=\"{}\"}} {n}", escape(class));
            }
        }
    });
    family("longshore_request_latency_seconds", "summary", "Time to answer a request.", &mut |out| {
        for (labels, m, c) in &counted {
            for q in [0.5, 0.9, 0.99] {
                let seconds = c.latency_us.quantile(q).map_or(f64::NAN, |us| us / 1e6);
                let _ =
                    writeln!(out, "longshore_request_latency_seconds{{{labels},quantile=\"{q}\"}} {seconds}");
            }
            let sum = m.busy_us() as f64 / 1e6;
            let _ = writeln!(out, "longshore_request_latency_seconds_sum{{{labels}}} {sum}");
            let _ =
                writeln!(out, "longshore_request_latency_seconds_count{{{labels}}} {}", c.latency_us.count());
        }
    });
    out
}

fn labels(m: &Served) -> String {
    format!("model=\"{}\",version=\"{}\",bundle=\"{}\"", m.name(), escape(&m.version), m.digest.short())
}

fn escape(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
