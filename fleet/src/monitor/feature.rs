//! One feature of one cohort, looked at closely.

use longshore_fleet_core::monitor::comparison::{self, Comparison};
use longshore_fleet_core::monitor::verdict::{self, FeatureVerdict};
use longshore_fleet_core::monitor::{Cohort, DriftRow, Measured, Span, State};
use longshore_stats::drift::Evidence;
use longshore_stats::profile::FeatureValues;
use longshore_stats::window::FeatureWindow;
use longshore_trust::UnixMs;

use super::{Source, SourceError, judge, policy};
use crate::app::App;

/// Most devices that are judged against the rest of their cohort.
const DEVICES_MAX: usize = 200;

/// One bin or category.
#[derive(Debug, Clone, PartialEq)]
pub struct Bin {
    /// What falls into it, for people.
    pub label: String,
    /// Rows of the reference.
    pub reference: u64,
    /// Rows of the cohort.
    pub current: u64,
}

/// A device against the rest of its cohort.
#[derive(Debug, Clone, PartialEq)]
pub struct Outlier {
    /// The device.
    pub device: String,
    /// The verdict.
    pub state: State,
    /// Effect against the rest of the cohort.
    pub effect: Option<Measured>,
    /// p corrected over the devices.
    pub p_adjusted: Option<f64>,
    /// Rows of the device.
    pub n: u64,
}

/// Everything there is to see of one feature.
#[derive(Debug, Clone)]
pub struct FeatureView {
    /// The verdict.
    pub row: DriftRow,
    /// With distances and guaranteed intervals.
    pub verdict: FeatureVerdict,
    /// Bins of the windows' level, values without a place on the scale last.
    pub bins: Vec<Bin>,
    /// Rows below and above the reference's range: reference, cohort.
    pub outside: (u64, u64),
    /// Cohort comparison.
    pub comparison: Vec<Comparison>,
    /// Devices whose windows are kept, those that stand out most first.
    pub devices: Vec<Outlier>,
    /// Whether there are more devices than were judged.
    pub devices_cut: bool,
}

/// Looks at a feature of a cohort over a span; `None` when there is no such feature or cohort.
///
/// # Errors
/// When the record cannot be read.
pub async fn feature(
    app: &App,
    source: &Source,
    cohort: &Cohort,
    name: &str,
    span: Span,
    at: UnixMs,
) -> Result<Option<FeatureView>, SourceError> {
    let Some(reference) = &source.reference else { return Ok(None) };
    let Some(index) = reference.features.iter().position(|f| f.name == name) else { return Ok(None) };
    let judged = judge(app, source, span, at).await?;
    let Some(found) = judged.cohort(cohort) else { return Ok(None) };
    let (Some(row), Some(verdict)) = (found.drift.get(index), found.verdicts.get(index)) else {
        return Ok(None);
    };
    // This version as judged now; other models as they were judged last.
    let mut around: Vec<DriftRow> =
        judged.cohorts.iter().filter_map(|c| c.drift.get(index).cloned()).collect();
    let (model, bundle) = (source.of.model.as_str(), source.of.bundle.to_hex());
    let others = app.store.drift_around(model, &bundle, cohort, name).await?;
    around.extend(others.into_iter().filter(|r| r.model != source.of.model));
    let window = found.counters.profile.as_ref().and_then(|p| p.features.get(index));
    let devices = outliers(app, source, cohort, index, judged.span).await?;
    Ok(Some(FeatureView {
        row: row.clone(),
        verdict: *verdict,
        bins: bins(source, index, window),
        outside: outside(source, index, window),
        comparison: comparison::table(row, &around),
        devices_cut: devices.len() >= DEVICES_MAX,
        devices,
    }))
}

fn outside(source: &Source, index: usize, window: Option<&FeatureWindow>) -> (u64, u64) {
    let sum = |w: &FeatureWindow| w.below.saturating_add(w.above);
    let reference = source.reference.as_ref().and_then(|r| r.features.get(index));
    (reference.map_or(0, |f| sum(&FeatureWindow::from(f))), window.map_or(0, sum))
}

/// What falls into the bin that begins at an edge. The edge after a single value is the next number there is: it is not shown.
fn range(edges: &[f64], i: usize) -> String {
    let edge = edges[i];
    let before = i.checked_sub(1).map(|before| edges[before]);
    match before {
        _ if edges.get(i + 1) == Some(&edge.next_up()) => format!("= {}", number(edge)),
        Some(single) if single.next_up() == edge => format!("> {}", number(single)),
        _ => format!("≥ {}", number(edge)),
    }
}

/// Bins of the level that devices count in.
fn bins(source: &Source, index: usize, window: Option<&FeatureWindow>) -> Vec<Bin> {
    let Some(feature) = source.reference.as_ref().and_then(|r| r.features.get(index)) else {
        return Vec::new();
    };
    let count = |i: usize| window.and_then(|w| w.counts.get(i).copied()).unwrap_or(0);
    let labelled: Vec<(String, u64)> = match &feature.values {
        FeatureValues::Numeric(h) => {
            let h = h.at_level(longshore_fleet_core::monitor::shape::LEVEL);
            let first = h.edges.first().map_or("all".to_owned(), |e| format!("< {}", number(*e)));
            let labels = [first].into_iter().chain((0..h.edges.len()).map(|i| range(&h.edges, i)));
            labels.zip(h.counts.iter().copied()).collect()
        }
        FeatureValues::Categorical(c) => {
            let words = c.vocabulary.iter().cloned().chain(["any other".to_owned()]);
            words.zip(c.counts.iter().copied().chain([c.other])).collect()
        }
    };
    let mut bins: Vec<Bin> = labelled
        .into_iter()
        .enumerate()
        .map(|(i, (label, reference))| Bin { label, reference, current: count(i) })
        .collect();
    let absent = FeatureWindow::from(feature).absent();
    bins.push(Bin {
        label: "no usable value".to_owned(),
        reference: absent,
        current: window.map_or(0, FeatureWindow::absent),
    });
    bins
}

/// Four significant digits.
fn number(v: f64) -> String {
    let size = v.abs();
    if v == 0.0 {
        return "0".to_owned();
    }
    if !(1e-3..1e6).contains(&size) {
        return format!("{v:.2e}");
    }
    let decimals = usize::try_from((3 - size.log10().floor() as i32).clamp(0, 6)).unwrap_or(0);
    let text = format!("{v:.decimals$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

async fn outliers(
    app: &App,
    source: &Source,
    cohort: &Cohort,
    index: usize,
    span: Span,
) -> Result<Vec<Outlier>, SourceError> {
    let Some(reference) = source.reference.as_ref() else { return Ok(Vec::new()) };
    let bundle = source.of.bundle.to_hex();
    let declared = &source.manifest.monitor.cohorts;
    let devices = app.store.device_profiles(&bundle, cohort, declared, span, DEVICES_MAX).await?;
    let devices: Vec<_> = devices.into_iter().filter(|d| verdict::is_of(reference, &d.profile)).collect();
    // The rest of the cohort, of the same windows, so that what a device has is part of the whole.
    let Some(mut whole) = devices.first().map(|d| d.profile.clone()) else { return Ok(Vec::new()) };
    let fits: Vec<bool> =
        devices.iter().enumerate().map(|(i, d)| i == 0 || whole.merge(&d.profile).is_ok()).collect();
    let devices: Vec<_> = devices.into_iter().zip(fits).filter(|(_, fits)| *fits).map(|(d, _)| d).collect();
    if devices.len() < 2 {
        return Ok(Vec::new());
    }
    let evidence: Vec<Evidence> = devices
        .iter()
        .filter_map(|d| verdict::against_rest(reference, &whole, &d.profile).get(index).copied())
        .collect();
    let found = verdict::outliers(&evidence, &policy(&app.config.monitor));
    let mut out: Vec<Outlier> = devices
        .into_iter()
        .zip(evidence)
        .zip(found)
        .map(|((d, e), (q, v))| Outlier {
            device: d.device,
            state: State::from(&v),
            effect: Measured::new(e.effect, e.interval, e.m),
            p_adjusted: (!q.is_nan()).then_some(q),
            n: e.m,
        })
        .collect();
    let effect = |o: &Outlier| o.effect.map_or(-1.0, |e| e.value);
    out.sort_by(|a, b| b.state.cmp(&a.state).then(effect(b).total_cmp(&effect(a))));
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_single_value_is_named_and_the_number_after_it_is_not() {
        let edges = [0.0, 0f64.next_up(), 4.0, 5.0, 5f64.next_up()];
        let labels: Vec<String> = (0..edges.len()).map(|i| range(&edges, i)).collect();
        assert_eq!(labels, ["= 0", "> 0", "≥ 4", "= 5", "> 5"]);
    }
}
