//! The rules of how a bundle is watched.

use longshore_stats::counters::GROUPS_MAX;

use super::{Checked, at_most, name, refuse, rule, unique};
use crate::manifest::FEATURES_MAX;
use crate::{Dim, Manifest, Refusal};

/// Most classes: the table of confusions has their square.
const CLASSES_MAX: usize = 256;
/// Most labels by which cohorts are kept apart: their values multiply.
const COHORT_LABELS_MAX: usize = 3;

impl Manifest {
    pub(super) fn check_monitor(&self) -> Checked {
        let m = &self.monitor;
        if !(1..=7 * 24 * 3600).contains(&m.window_s) {
            return rule("monitor.window_s", "must be between 1 second and 7 days");
        }
        at_most("monitor.classes", "classes", m.classes.len(), CLASSES_MAX)?;
        if m.classes.len() == 1 {
            return rule("monitor.classes", "needs at least 2 classes, or none for a regression");
        }
        unique("monitor.classes", m.classes.iter().map(String::as_str))?;
        let served = self.api_outputs()?;
        for (field, output) in
            [("monitor.score_output", &m.score_output), ("monitor.class_output", &m.class_output)]
        {
            let Some(output) = output else { continue };
            let Some(spec) = served.iter().find(|s| s.name == *output) else {
                return refuse(field, Refusal::MissingTensor(output.clone()));
            };
            let right =
                if field.ends_with("class_output") { spec.dtype.is_integer() } else { spec.dtype.is_float() };
            if !right {
                let expected =
                    if field.ends_with("class_output") { "whole numbers" } else { "floating point" };
                let (found, expected) = (spec.dtype.to_string(), expected.to_owned());
                return refuse(field, Refusal::DType { found, expected });
            }
        }
        if !m.classes.is_empty() && m.score_output.is_none() && m.class_output.is_none() {
            return rule("monitor.classes", "needs monitor.score_output or monitor.class_output beside it");
        }
        if let Some(spec) = m.score_output.as_ref().and_then(|o| served.iter().find(|s| s.name == *o))
            && let Some(Dim::Fixed(n)) = spec.shape.last()
            && m.classes.len() > 2
            && *n != m.classes.len() as u64
        {
            let text = format!("there are {} names, but `{}` has {n} scores", m.classes.len(), spec.name);
            return rule("monitor.classes", text);
        }
        at_most("monitor.features", "features", m.features.len(), FEATURES_MAX)?;
        unique("monitor.features", m.features.iter().map(|f| f.name.as_str()))?;
        for (i, f) in m.features.iter().enumerate() {
            let spec = self.input(&format!("monitor.features[{i}].input"), &f.input)?;
            if self.row_elements(spec).is_some_and(|n| u64::from(f.index) >= n) {
                let text = format!("a row of `{}` has no element {}", f.input, f.index);
                return rule(format!("monitor.features[{i}].index"), text);
            }
        }
        if m.explain_permille > 1000 {
            return rule("monitor.explain_permille", "must be at most 1000");
        }
        if m.error_unit.is_some_and(|u| !(u.is_finite() && u > 0.0)) {
            return rule("monitor.error_unit", "must be a number above 0: the smallest error that matters");
        }
        if m.error_unit.is_some() && !m.classes.is_empty() {
            return rule("monitor.error_unit", "is for a regression; this model has classes");
        }
        self.check_groups()?;
        at_most("monitor.cohorts", "labels", m.cohorts.len(), COHORT_LABELS_MAX)?;
        unique("monitor.cohorts", m.cohorts.iter().map(String::as_str))?;
        m.cohorts.iter().try_for_each(|label| name("monitor.cohorts", label))
    }

    fn check_groups(&self) -> Checked {
        let m = &self.monitor;
        if m.group.is_none() {
            return match (m.groups.is_empty(), &m.favourable) {
                (true, None) => Ok(()),
                _ => rule(
                    "monitor.group",
                    "needs the name of the attribute that groups and favourable are about",
                ),
            };
        }
        if !(2..=GROUPS_MAX).contains(&m.groups.len()) {
            let text = format!(
                "needs 2 to {GROUPS_MAX} values of monitor.group: groups are declared, never inferred"
            );
            return rule("monitor.groups", text);
        }
        unique("monitor.groups", m.groups.iter().map(String::as_str))?;
        m.groups.iter().try_for_each(|value| name("monitor.groups", value))?;
        if m.classes.is_empty() {
            return rule(
                "monitor.group",
                "groups are compared by the class they are given; this model has no classes",
            );
        }
        if m.favourable_class().is_none() {
            let text = match &m.favourable {
                Some(class) => format!("{class:?} is none of monitor.classes"),
                None => "say which class is good for whom it is given to (with more than two it cannot be guessed)".into(),
            };
            return rule("monitor.favourable", text);
        }
        Ok(())
    }
}
