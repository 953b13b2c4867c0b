//! The heat map: features by time. A table, so that every cell can be read by any reader; colours come from classes.

use longshore_fleet_core::monitor::{Span, State};
use longshore_trust::UnixMs;

use super::super::figures::{count, number};
use super::super::time::iso;
use crate::store::monitor::{Cell, CellHour, HOUR_MS};

/// One cell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Heat {
    /// Class of its colour.
    pub(super) class: &'static str,
    /// What it says.
    pub(super) words: String,
}

/// One column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Column {
    /// Shown above some columns only.
    pub(super) label: String,
    /// For readers: begin of the hour or day.
    pub(super) words: String,
}

/// Time in columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Axis {
    /// Hours of a column: 1 or 24.
    pub(super) hours: u64,
    starts: Vec<u64>,
}

/// Most columns.
pub(super) const COLUMNS_MAX: u64 = 168;

impl Axis {
    /// Columns of an hour where they fit, else of a day.
    pub(super) fn of(span: Span) -> Self {
        let hours = if (span.to.0 - span.from.0) / HOUR_MS <= COLUMNS_MAX { 1 } else { 24 };
        let width = hours * HOUR_MS;
        let first = span.from.0 / width * width;
        Self { hours, starts: (first..span.to.0).step_by(width as usize).collect() }
    }
    pub(super) fn columns(&self) -> Vec<Column> {
        let every = if self.starts.len() > 30 { 24 } else { 6 };
        let label = |start: u64| {
            let text = iso(UnixMs(start));
            let (day, hour) = (text.get(5..10).unwrap_or(""), text.get(11..16).unwrap_or(""));
            let number = start / HOUR_MS;
            match self.hours {
                24 => {
                    if (start / (24 * HOUR_MS)).is_multiple_of(7) {
                        day.to_owned()
                    } else {
                        String::new()
                    }
                }
                _ if number.is_multiple_of(24) => day.to_owned(),
                _ if number.is_multiple_of(every) => hour.to_owned(),
                _ => String::new(),
            }
        };
        self.starts.iter().map(|s| Column { label: label(*s), words: iso(UnixMs(*s)) }).collect()
    }
    /// Cells of one feature. Where a column has several hours, the worst one is shown.
    pub(super) fn cells(&self, hours: &[CellHour], feature: usize) -> Vec<Heat> {
        let width = self.hours * HOUR_MS;
        let mut worst: Vec<Option<Cell>> = vec![None; self.starts.len()];
        let first = self.starts.first().copied().unwrap_or(0);
        for hour in hours {
            let Some(cell) = hour.cells.get(feature) else { continue };
            // A day that was coarsened fills all of its columns.
            let last = hour.from.0 + hour.hours.max(1) * HOUR_MS - 1;
            let (from, to) = (hour.from.0.max(first), last);
            if to < first {
                continue;
            }
            let slots = ((from - first) / width)..=((to - first) / width);
            for slot in slots.filter_map(|s| usize::try_from(s).ok()) {
                if let Some(seen) = worst.get_mut(slot)
                    && seen.is_none_or(|s| order(&s) < order(cell))
                {
                    *seen = Some(*cell);
                }
            }
        }
        self.starts.iter().zip(worst).map(|(start, cell)| heat(*start, cell)).collect()
    }
}

/// Drift before doubt before "too few rows"; of equals the larger effect.
fn order(cell: &Cell) -> (u8, u32) {
    let rank = match cell.state {
        State::Insufficient => 0,
        State::Stable => 1,
        State::Undecided => 2,
        State::Drifted => 3,
    };
    // Effects are not negative: their bits rise with them.
    (rank, if cell.effect.is_nan() { 0 } else { cell.effect.max(0.0).to_bits() })
}

fn heat(start: u64, cell: Option<Cell>) -> Heat {
    let at = iso(UnixMs(start));
    let at = at.get(5..16).unwrap_or("").replace('T', " ");
    let Some(cell) = cell.filter(|c| c.n > 0) else {
        return Heat { class: "h0", words: format!("{at}: no rows") };
    };
    let class = match cell.state {
        State::Insufficient => "hi",
        State::Stable => "hs",
        State::Undecided => "hu",
        State::Drifted if cell.effect < 0.1 => "h1",
        State::Drifted if cell.effect < 0.25 => "h2",
        State::Drifted if cell.effect < 1.0 => "h3",
        State::Drifted => "h4",
    };
    let effect = if cell.effect.is_nan() {
        "–".to_owned()
    } else {
        number(f64::from((cell.effect * 1e4).round() / 1e4))
    };
    let state = if cell.state == State::Insufficient { "too few rows" } else { cell.state.name() };
    Heat { class, words: format!("{at}: {state}, PSI {effect}, {} rows", count(cell.n)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(state: State, effect: f32, n: u64) -> Cell {
        Cell { state, effect, p_adjusted: 0.5, n }
    }
    fn hour(from: u64, hours: u64, cells: Vec<Cell>) -> CellHour {
        CellHour { from: UnixMs(from * HOUR_MS), hours, at: UnixMs(0), cells }
    }

    #[test]
    fn each_hour_has_its_column_and_what_is_missing_says_so() {
        let axis = Axis::of(Span { from: UnixMs(100 * HOUR_MS), to: UnixMs(104 * HOUR_MS) });
        let hours = [
            hour(100, 1, vec![cell(State::Stable, 0.01, 900)]),
            hour(102, 1, vec![cell(State::Drifted, 0.3, 1200)]),
            hour(103, 1, vec![]),
        ];
        let cells = axis.cells(&hours, 0);
        let classes: Vec<&str> = cells.iter().map(|c| c.class).collect();
        assert_eq!(classes, ["hs", "h0", "h3", "h0"]);
        assert!(cells[2].words.ends_with("drifted, PSI 0.3, 1,200 rows"), "{}", cells[2].words);
        assert!(cells[1].words.ends_with("no rows"));
        assert_eq!(axis.columns().len(), 4);
    }
    #[test]
    fn long_spans_have_days_with_their_worst_hour_and_a_coarsened_day_fills_its_hours() {
        let axis = Axis::of(Span { from: UnixMs(0), to: UnixMs(30 * 24 * HOUR_MS) });
        assert_eq!((axis.hours, axis.starts.len()), (24, 30));
        let hours = [
            hour(1, 1, vec![cell(State::Drifted, 0.05, 10)]),
            hour(2, 1, vec![cell(State::Stable, 0.5, 10)]),
            hour(3, 1, vec![cell(State::Drifted, f32::NAN, 10)]),
            hour(24, 24, vec![cell(State::Insufficient, 0.5, 10)]),
        ];
        let cells = axis.cells(&hours, 0);
        assert_eq!((cells[0].class, cells[1].class, cells[2].class), ("h1", "hi", "h0"));
        let fine = Axis::of(Span { from: UnixMs(30 * HOUR_MS), to: UnixMs(40 * HOUR_MS) });
        assert!(fine.cells(&hours, 0).iter().all(|c| c.class == "hi"));
    }
}
