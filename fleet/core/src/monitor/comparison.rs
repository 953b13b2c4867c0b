//! Where else is it so? A drift beside the same model elsewhere, other models in the same place, and each kind of hardware.
//!
//! The table states what was found in each cell; it does not name a culprit.

use serde::{Deserialize, Serialize};

use super::{Cohort, DriftRow, State};

/// In which way a cell differs from the drift that is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Axis {
    /// The drift itself.
    Itself,
    /// Same model and feature, other cohort of the declared labels.
    OtherSite,
    /// Same cohort, other model: its feature of the same name, or else the one that moved most.
    OtherModel,
    /// Same model and feature, by kind of hardware.
    Hardware,
}

impl Axis {
    /// All of them, in the order of the table.
    pub const ALL: [Self; 4] = [Self::Itself, Self::OtherSite, Self::OtherModel, Self::Hardware];
    /// In words.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Itself => "this drift",
            Self::OtherSite => "same model, other cohort",
            Self::OtherModel => "same cohort, other model",
            Self::Hardware => "same model, by hardware",
        }
    }
}

/// One cell.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// How it differs.
    pub axis: Axis,
    /// What was found there.
    pub found: DriftRow,
}

/// The table around `subject`, out of current verdicts of any models; itself first, then by axis, largest effect first.
#[must_use]
pub fn table(subject: &DriftRow, verdicts: &[DriftRow]) -> Vec<Comparison> {
    let mut cells = vec![Comparison { axis: Axis::Itself, found: subject.clone() }];
    let mut others: Vec<&DriftRow> = Vec::new();
    for row in verdicts {
        let same_bundle = row.bundle == subject.bundle;
        if same_bundle && row.feature == subject.feature && row.cohort != subject.cohort {
            let axis = match row.cohort {
                Cohort::Hardware(_) => Axis::Hardware,
                Cohort::Fleet | Cohort::Labels(_) | Cohort::Other => Axis::OtherSite,
            };
            cells.push(Comparison { axis, found: row.clone() });
        } else if row.model != subject.model && row.cohort == subject.cohort {
            others.push(row);
        }
    }
    // Of each other version one cell: the feature of the same name, else the one that moved most.
    others.sort_by_key(|r| {
        (r.bundle, r.feature != subject.feature, std::cmp::Reverse((r.state, order(effect(r)))))
    });
    others.dedup_by_key(|r| r.bundle);
    cells.extend(others.into_iter().map(|r| Comparison { axis: Axis::OtherModel, found: r.clone() }));
    cells.sort_by(|a, b| a.axis.cmp(&b.axis).then(effect(&b.found).total_cmp(&effect(&a.found))));
    cells
}

fn effect(row: &DriftRow) -> f64 {
    row.effect.map_or(-1.0, |e| e.value)
}

/// An effect as an integer of the same order: effects are not negative, and of those the bits rise with the value.
fn order(effect: f64) -> u64 {
    if effect < 0.0 { 0 } else { effect.to_bits() + 1 }
}

/// How many cells of an axis are in a state, and how many there are.
#[must_use]
pub fn tally(cells: &[Comparison], axis: Axis, state: State) -> (usize, usize) {
    let of_axis = || cells.iter().filter(|c| c.axis == axis);
    (of_axis().filter(|c| c.found.state == state).count(), of_axis().count())
}

#[cfg(test)]
mod tests {
    use longshore_trust::{Digest, UnixMs};

    use super::super::{Measured, Span};
    use super::*;

    fn row(model: &str, cohort: &str, feature: &str, state: State, effect: f64) -> DriftRow {
        DriftRow {
            model: model.parse().unwrap(),
            bundle: Digest::of(model.as_bytes()),
            version: "1.0.0".into(),
            cohort: cohort.parse().unwrap(),
            feature: feature.into(),
            state,
            effect: Some(Measured { value: effect, lo: 0.0, hi: 1.0, n: 100 }),
            p: Some(0.5),
            p_adjusted: Some(0.5),
            n_reference: 500,
            n: 100,
            rows_needed: 80,
            span: Span { from: UnixMs(0), to: UnixMs(1) },
            at: UnixMs(1),
        }
    }

    #[test]
    fn the_table_has_other_sites_other_models_here_and_hardware() {
        let subject = row("m", "site=ams", "light", State::Drifted, 0.4);
        let all = [
            subject.clone(),
            row("m", "site=rtm", "light", State::Stable, 0.01),
            row("m", "site=rtm", "noise", State::Drifted, 0.9),
            row("m", "fleet", "light", State::Drifted, 0.2),
            row("m", "hw:pi", "light", State::Drifted, 0.3),
            row("m", "hw:n100", "light", State::Stable, 0.0),
            row("o", "site=ams", "heat", State::Drifted, 0.7),
            row("o", "site=ams", "light", State::Stable, 0.02),
            row("o", "site=rtm", "light", State::Drifted, 0.5),
            row("q", "site=ams", "a", State::Stable, 0.01),
            row("q", "site=ams", "b", State::Drifted, 0.6),
        ];
        let cells = table(&subject, &all);
        let shown: Vec<String> = cells
            .iter()
            .map(|c| format!("{:?} {} {} {}", c.axis, c.found.model, c.found.cohort, c.found.feature))
            .collect();
        let want = [
            "Itself m site=ams light",
            "OtherSite m fleet light",
            "OtherSite m site=rtm light",
            "OtherModel q site=ams b",
            "OtherModel o site=ams light",
            "Hardware m hw:pi light",
            "Hardware m hw:n100 light",
        ];
        assert_eq!(shown, want);
        assert_eq!(tally(&cells, Axis::Hardware, State::Drifted), (1, 2));
    }
}
