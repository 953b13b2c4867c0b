//! Figures by group.

use longshore_stats::quality::classification::THRESHOLD;
use longshore_stats::quality::fairness::{Compared, Fairness, GroupTable, Outcomes};
use longshore_stats::quality::proportion::Share;
use serde_json::{Value, json};

use crate::drift::interval;
use crate::show;

/// Groups and how they compare.
pub struct Groups {
    pub column: String,
    pub names: Vec<String>,
    pub table: GroupTable,
    pub fairness: Fairness,
    /// Rows without a group.
    pub without: u64,
}

impl Groups {
    /// Counts rows of (score, is of the class) by group.
    pub fn of(column: &str, rows: &[(f64, bool)], groups: &[Option<String>]) -> Self {
        let mut names: Vec<String> = groups.iter().flatten().cloned().collect();
        names.sort();
        names.dedup();
        let mut table = GroupTable { groups: vec![Outcomes::default(); names.len()] };
        let mut without = 0;
        for ((score, label), group) in rows.iter().zip(groups) {
            match group.as_ref().and_then(|g| names.binary_search(g).ok()) {
                Some(i) => table.groups[i].insert(*label, *score >= THRESHOLD),
                None => without += 1,
            }
        }
        Self { column: column.to_owned(), names, fairness: table.fairness(), table, without }
    }
    /// Short name, long name and figure of each comparison.
    pub fn comparisons(&self) -> [(&'static str, &'static str, Option<Compared>); 5] {
        let f = &self.fairness;
        [
            ("dpd", "demographic parity difference", f.parity_difference),
            ("dpr", "demographic parity ratio (disparate impact)", f.parity_ratio),
            ("eod", "equalised odds difference", f.odds_difference),
            ("eor", "equalised odds ratio", f.odds_ratio),
            ("eopp", "equal opportunity difference", f.opportunity_difference),
        ]
    }
    /// Rates of each group: selection, true positive, false positive.
    pub fn rates(&self) -> Vec<(&str, u64, [Option<Share>; 3])> {
        let rates = |i: usize| self.table.rates(i);
        let all = self.names.iter().enumerate().filter_map(|(i, name)| {
            let r = rates(i)?;
            Some((
                name.as_str(),
                self.table.groups[i].rows(),
                [r.selection, r.true_positive, r.false_positive],
            ))
        });
        all.collect()
    }
    /// Adds everything to a JSON object.
    pub fn add_to(&self, out: &mut Value) {
        for (key, _, c) in self.comparisons() {
            out[key] = json!(c.map(|c| c.value));
            out["intervals"][key] = c.map_or(Value::Null, |c| interval(c.interval));
        }
        let share = |s: Option<Share>| {
            s.map_or(Value::Null, |s| {
                json!({ "value": s.value, "hits": s.hits, "n": s.n, "lo": s.interval.lo, "hi": s.interval.hi })
            })
        };
        let rows = self.rates().into_iter().map(|(name, n, [selection, tpr, fpr])| {
            json!({
                "group": name,
                "n": n,
                "selection_rate": share(selection),
                "true_positive_rate": share(tpr),
                "false_positive_rate": share(fpr),
            })
        });
        out["group_column"] = json!(self.column);
        out["groups"] = Value::Array(rows.collect());
        out["rows_without_group"] = json!(self.without);
    }
    /// For people.
    pub fn print(&self) {
        let text = |s: Option<Share>| {
            s.map_or("-".to_owned(), |s| {
                format!("{:.3} ({:.3} to {:.3})", s.value, s.interval.lo, s.interval.hi)
            })
        };
        let rows = self.rates().into_iter().map(|(name, n, rates)| {
            [name.to_owned(), n.to_string()].into_iter().chain(rates.map(text)).collect()
        });
        let header = [self.column.as_str(), "rows", "selected", "true positive", "false positive"];
        println!("{}", show::table(&header, rows.collect()));
        let rows = self.comparisons().into_iter().map(|(_, name, c)| match c {
            Some(c) => {
                let interval = format!("{:.4} to {:.4}", c.interval.lo, c.interval.hi);
                vec![name.to_owned(), format!("{:.4}", c.value), interval]
            }
            None => vec![name.to_owned(), "-".into(), "fewer than two groups have the rate".into()],
        });
        println!("{}", show::table(&["fairness", "value", "95 %, all pairs together"], rows.collect()));
    }
}
