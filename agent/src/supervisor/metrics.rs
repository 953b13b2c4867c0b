//! The supervisor's part of `/metrics`: Prometheus text exposition, format 0.0.4.

use std::fmt::Write as _;

use crate::status::Status;

/// Renders a status.
pub fn text(s: &Status) -> String {
    let mut out = String::new();
    let mut gauge = |name: &str, kind: &str, help: &str, rows: &[(String, u64)]| {
        // Writing to a string cannot fail.
        let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
        for (labels, value) in rows {
            let _ = writeln!(out, "{name}{labels} {value}");
        }
    };
    let one = |v: u64| [(String::new(), v)];
    gauge(
        "longshore_link_up",
        "gauge",
        "Whether the agent is connected to its fleet.",
        &one(u64::from(s.link.up)),
    );
    gauge("longshore_outbox_rows", "gauge", "Messages without a receipt.", &one(s.outbox_rows));
    gauge("longshore_gap_rows", "counter", "Rows of the gap ledger.", &one(s.gaps));
    gauge(
        "longshore_engine_starts_total",
        "counter",
        "Starts of the serving engine.",
        &one(u64::from(s.engine.starts)),
    );
    gauge(
        "longshore_assignment_version",
        "gauge",
        "Greatest assignment accepted.",
        &one(s.assignment_version.0),
    );
    let rows: Vec<(String, u64)> =
        s.models.iter().map(|m| (format!("{{model=\"{}\"}}", m.model), m.rows_total)).collect();
    gauge("longshore_rows_journalled_total", "counter", "Rows ever journalled.", &rows);
    let held: Vec<(String, u64)> =
        s.models.iter().map(|m| (format!("{{model=\"{}\"}}", m.model), m.rows_held)).collect();
    gauge(
        "longshore_group_rows_held",
        "gauge",
        "Rows of groups that are held back: too few to leave.",
        &held,
    );
    let trust: Vec<(String, u64)> = s
        .trust
        .iter()
        .map(|(role, v)| (format!("{{role=\"{}\"}}", role.replace(['"', '\\'], "_")), *v))
        .collect();
    gauge("longshore_trust_version", "gauge", "Version of trusted metadata.", &trust);
    out
}
