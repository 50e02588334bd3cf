//! The position of the first largest along the last axis: a tournament of pairs that carry value and position.
//!
//! For a pair, `g` says that the second is greater (see [`super::greater`]: unique); ties stay with the first, which
//! is always the one before in the axis. The value carried on is `first + g * (second - first)` and the position, counted from
//! where the first's part begins, `i + g * (offset + j - i)`, where `i` and `j` are those of both parts and the second begins
//! at `offset`. Unique: both are functions of `g`, the values and the positions.

use super::{
    greater,
    halves::{flattened, round},
};
use crate::relation::{ColumnId, Hint, builder::Builder};

/// A part of the axis, already decided.
struct Part {
    /// Its largest value.
    value: ColumnId,
    /// Where in the part it is; none where the part has one position.
    position: Option<ColumnId>,
    /// Positions it covers.
    covers: i64,
}

/// Adds the gadget; gives the result in the shape asked for.
pub(in crate::relation) fn build(b: &mut Builder, x: ColumnId, shape: Vec<usize>) -> ColumnId {
    let value = flattened(b, x);
    let mut current = Part { value, position: None, covers: 1 };
    let mut left = Vec::new();
    while b.shape(current.value)[1] > 1 {
        let values = round(b, current.value);
        let positions = current.position.map(|p| round(b, p));
        if let Some(value) = values.left_over {
            let position = positions.as_ref().and_then(|p| p.left_over);
            left.push(Part { value, position, covers: current.covers });
        }
        let part = |value, position| Part { value, position, covers: current.covers };
        let first = part(values.first, positions.as_ref().map(|p| p.first));
        let second = part(values.second, positions.as_ref().map(|p| p.second));
        let last = b.shape(values.first)[1] == 1 && left.is_empty();
        current = decide(b, first, second, last);
    }
    // What was left over last lies next to what has been decided.
    while let Some(next) = left.pop() {
        current = decide(b, current, next, left.is_empty());
    }
    let position = current.position.unwrap_or_else(|| b.constant(current.value, 0, "position"));
    b.reshaped(position, shape, "position")
}

/// Two neighbouring parts in one; the last needs no value.
fn decide(b: &mut Builder, first: Part, second: Part, last: bool) -> Part {
    let bit = greater::build(b, second.value, first.value, "second is greater");
    let value = if last { first.value } else { carried(b, bit, &first, &second) };
    let offset = first.covers;
    let covers = offset + second.covers;
    let position = if offset == 1 && second.position.is_none() {
        bit
    } else {
        let (otherwise, then) = (first.position, second.position);
        let hint = Hint::Position { bit, otherwise, then, offset };
        let position = b.witness(bit, (0, covers - 1), hint, "position");
        let mut terms = vec![(1, vec![position]), (-offset, vec![bit])];
        if let Some(i) = otherwise {
            terms.extend([(-1, vec![i]), (1, vec![bit, i])]);
        }
        if let Some(j) = then {
            terms.push((-1, vec![bit, j]));
        }
        b.zero(terms, 0);
        position
    };
    Part { value, position: Some(position), covers }
}

fn carried(b: &mut Builder, bit: ColumnId, first: &Part, second: &Part) -> ColumnId {
    let ((al, ah), (bl, bh)) = (b.bounds(first.value), b.bounds(second.value));
    let hint = Hint::Larger { a: first.value, b: second.value };
    let value = b.witness(bit, (al.max(bl), ah.max(bh)), hint, "larger");
    let terms =
        vec![(1, vec![value]), (-1, vec![first.value]), (-1, vec![bit, second.value]), (1, vec![bit, first.value])];
    b.zero(terms, 0);
    value
}
