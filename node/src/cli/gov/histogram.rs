//! The drawing of a numeric vote: stake over values, on the scale that the ledger settles them on.

use assay_ledger::{place, records::ParameterBounds};

/// Rows of a drawing, at most.
const ROWS: u64 = 12;
/// Widest bar in characters; all stake that voted.
const WIDEST: usize = 50;
/// Shortest full bar.
const NARROWEST: usize = 6;

/// One account's number.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark {
    /// What it wants.
    pub(super) value: u64,
    /// Stake behind it, in grain.
    pub(super) stake: u64,
    /// Whether it was rejected as an outlier.
    pub(super) outlier: bool,
}

#[derive(Clone, Copy, Default)]
struct Row {
    agreeing: u128,
    outlying: u128,
    settled: bool,
}

/// The smallest value that lies at or above a place; the scale never falls.
fn value_at(bounds: ParameterBounds, bits: u64) -> u64 {
    let (mut low, mut high) = (bounds.low, bounds.high);
    while low < high {
        let middle = low + (high - low) / 2;
        if place(bounds, middle).bits() >= bits { high = middle } else { low = middle + 1 }
    }
    low
}

/// Draws marks in lines of `width` characters: the values' span cut into equal parts of the logarithmic scale, a row each.
/// Empty without marks.
pub(super) fn histogram(bounds: ParameterBounds, marks: &[Mark], settled: Option<u64>, width: usize) -> String {
    let at = |value| place(bounds, value).bits();
    let places = marks.iter().map(|mark| at(mark.value));
    let (Some(first), Some(last)) = (places.clone().min(), places.max()) else { return String::new() };
    let (span, total) = (last - first, marks.iter().map(|mark| u128::from(mark.stake)).sum::<u128>().max(1));
    let parts = if span == 0 { 1 } else { ROWS };
    let row_of = |value| {
        let row = u128::from(at(value).saturating_sub(first)) * u128::from(parts) / (u128::from(span) + 1);
        usize::try_from(row.min(u128::from(parts - 1))).unwrap_or(0)
    };
    let mut rows = vec![Row::default(); usize::try_from(parts).unwrap_or(1)];
    for mark in marks {
        let row = &mut rows[row_of(mark.value)];
        *(if mark.outlier { &mut row.outlying } else { &mut row.agreeing }) += u128::from(mark.stake);
    }
    if let Some(value) = settled {
        rows[row_of(value)].settled = true;
    }
    let begins = |row: usize| {
        let bits = u128::from(span + 1) * row as u128;
        value_at(bounds, first + u64::try_from(bits.div_ceil(u128::from(parts))).unwrap_or(u64::MAX - first))
    };
    let labels: Vec<String> = (0..rows.len()).map(|row| begins(row).to_string()).collect();
    let digits = labels.iter().map(String::len).max().unwrap_or(1);
    let note = settled.map_or(0, |value| format!(" <- {value}").len()).max(" outlier".len());
    // Label, two spaces, bar, one space, a share like `100.0 %`, a note.
    let bar = width.saturating_sub(digits + 2 + 1 + 7 + note).clamp(NARROWEST, WIDEST);
    let mut lines = String::new();
    for (i, (row, label)) in rows.iter().zip(&labels).enumerate() {
        // Where values lie further apart than parts of the scale do, a part without any begins where the next one does.
        if labels.get(i + 1) == Some(label) {
            continue;
        }
        let tenths = (row.agreeing + row.outlying) * 1000 / total;
        // Whoever has stake is seen, however little, and none of a bar is longer than all of it.
        let length = |stake: u128| usize::try_from((stake * bar as u128).div_ceil(total)).unwrap_or(bar);
        let outlying = length(row.outlying).min(bar - usize::from(row.agreeing > 0));
        let agreeing = length(row.agreeing).min(bar - outlying);
        let bars = format!("{}{}", "#".repeat(agreeing), "x".repeat(outlying));
        let stake = if tenths == 0 { String::new() } else { format!("{}.{} %", tenths / 10, tenths % 10) };
        let mark = match (row.settled, settled, row.outlying > 0) {
            (true, Some(value), _) => format!(" <- {value}"),
            (_, _, true) => " outlier".into(),
            _ => String::new(),
        };
        let line = format!("{label:>digits$}  {bars:<bar$} {stake:>7}{mark}");
        lines += line.trim_end();
        lines.push('\n');
    }
    lines
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BOUNDS: ParameterBounds = ParameterBounds { low: 0, high: 10_000 };

    fn mark(value: u64, stake: u64, outlier: bool) -> Mark {
        Mark { value, stake, outlier }
    }

    #[test]
    fn a_vote_is_drawn_with_its_settled_value_and_its_outlier() {
        let marks = [mark(3000, 10, false), mark(3000, 10, false), mark(3500, 10, false), mark(20, 10, true)];
        let drawn = histogram(BOUNDS, &marks, Some(3000), 60);
        let lines: Vec<&str> = drawn.lines().collect();
        assert_eq!(lines.len(), 12);
        assert_eq!(lines[0], "  20  xxxxxxxxxx                              25.0 % outlier");
        assert!(lines[11].starts_with("2285  ###") && lines[11].ends_with("75.0 % <- 3000"), "{drawn}");
        assert!(lines[1..11].iter().all(|line| !line.contains(['#', 'x'])), "{drawn}");
    }

    #[test]
    fn small_numbers_have_a_row_each_and_no_more() {
        let bounds = ParameterBounds { low: 1, high: 1000 };
        let drawn = histogram(bounds, &[mark(3, 20, false), mark(4, 10, false)], Some(3), 60);
        let labels: Vec<&str> = drawn.lines().map(|line| &line[..1]).collect();
        assert_eq!(labels, ["3", "4"], "{drawn}");
        assert!(drawn.contains("66.6 % <- 3") && drawn.contains("33.3 %"), "{drawn}");
    }

    #[test]
    fn votes_for_one_value_are_one_row_and_no_votes_are_none() {
        assert_eq!(histogram(BOUNDS, &[mark(7, 1, false)], Some(7), 40), "7  ##################### 100.0 % <- 7\n");
        assert_eq!(histogram(BOUNDS, &[], None, 40), "");
    }

    proptest! {
        #[test]
        fn every_line_fits_and_every_stake_is_drawn(
            votes in prop::collection::vec((0u64..=10_000, 1u64..=1_000_000_000_000_000_000, any::<bool>()), 1..40),
            width in 40usize..140,
        ) {
            let marks: Vec<Mark> = votes.iter().map(|(v, s, o)| mark(*v, *s, *o)).collect();
            let drawn = histogram(BOUNDS, &marks, Some(votes[0].0), width);
            prop_assert!(drawn.lines().count() <= 12);
            prop_assert!(drawn.lines().all(|line| line.len() <= width), "{drawn}");
            prop_assert_eq!(drawn.matches("<-").count(), 1);
            prop_assert!(marks.iter().all(|m| !m.outlier) || drawn.contains('x'));
            prop_assert!(marks.iter().all(|m| m.outlier) || drawn.contains('#'));
        }

        #[test]
        fn the_value_at_a_place_is_the_smallest_there(value in 0u64..=10_000) {
            let bits = place(BOUNDS, value).bits();
            let found = value_at(BOUNDS, bits);
            prop_assert!(place(BOUNDS, found).bits() >= bits && found <= value);
            prop_assert!(found == 0 || place(BOUNDS, found - 1).bits() < bits);
        }
    }
}
