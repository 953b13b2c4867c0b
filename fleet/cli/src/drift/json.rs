//! The report for machines. What is not known is `null`.

use longshore_stats::bounds::Interval;
use longshore_stats::window::FeatureWindow;
use serde_json::{Value, json};

use super::compare::{FeatureReport, Kind, Report};

/// One object.
pub fn report(report: &Report) -> Value {
    json!({
        "reference": report.reference,
        "current": report.current,
        "rows": { "reference": report.rows.0, "current": report.rows.1 },
        "binning": { "kind": "quantiles of the reference", "bins": report.bins },
        "policy": {
            "alpha": report.policy.alpha,
            "effect_min": report.policy.effect_min,
            "effect_material": report.policy.effect_material,
            "correction": "benjamini-hochberg",
        },
        "summary": report.summary(),
        "only_in_current": report.only_in_current,
        "skipped": report.skipped.iter().map(|(name, why)| json!({ "name": name, "reason": why })).collect::<Vec<_>>(),
        "features": report.features.iter().map(feature).collect::<Vec<_>>(),
    })
}

/// Two ends.
pub fn interval(i: Interval) -> Value {
    json!({ "lo": i.lo, "hi": i.hi })
}

fn absent(w: &FeatureWindow) -> Value {
    json!({
        "missing": w.missing,
        "nan": w.nan,
        "pos_inf": w.pos_inf,
        "neg_inf": w.neg_inf,
        "mistyped": w.mistyped,
    })
}

fn feature(f: &FeatureReport) -> Value {
    let e = &f.drift.evidence;
    let d = f.distances;
    let bounds = f.drift.bounds;
    let mut out = json!({
        "name": f.name,
        "n_ref": f.n.0,
        "n_cur": f.n.1,
        "ref_counts": f.counts.0,
        "cur_counts": f.counts.1,
        "psi": d.map(|d| d.psi),
        "js": d.map(|d| d.js),
        "hellinger": d.map(|d| d.hellinger),
        "linf": d.map(|d| d.linf),
        "unseen": d.map(|d| d.unseen),
        "chi2": { "stat": f.chi2.stat, "p": f.chi2.p, "dof": f.chi2.dof },
        "test": {
            "rows": { "reference": e.n, "current": e.m, "needed": e.rows_needed },
            "bins": e.bins,
            "stat": e.chi2.stat,
            "dof": e.chi2.dof,
            "p": e.p(),
            "q": f.q,
        },
        "verdict": f.verdict.name(),
        "effect": e.effect,
        "effect_interval": interval(e.interval),
        "absent": { "reference": absent(&f.windows.0), "current": absent(&f.windows.1) },
    });
    match &f.kind {
        Kind::Numeric { edges, exact } => {
            out["kind"] = json!("numeric");
            out["edges"] = json!(edges);
            out["ks"] = json!({
                "lo": bounds.map(|b| b.ks.lo),
                "hi": bounds.map(|b| b.ks.hi),
                "stat": exact.as_ref().map(|x| x.ks),
                "p": exact.as_ref().map(|x| x.p),
            });
            out["w1"] = json!({
                "lo": bounds.map(|b| b.w1.lo),
                "hi": bounds.map(|b| b.w1.hi),
                "of": "values clipped to the reference's range",
                "value": exact.as_ref().map(|x| x.w1),
            });
            out["out_of_range"] = json!({ "below": f.windows.1.below, "above": f.windows.1.above });
        }
        Kind::Categorical { vocabulary } => {
            out["kind"] = json!("categorical");
            out["edges"] = json!([]);
            out["categories"] = json!(vocabulary);
            // The last count is of everything outside the vocabulary.
            out["ks"] = Value::Null;
            out["w1"] = Value::Null;
        }
    }
    out
}
