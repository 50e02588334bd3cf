//! How a statement becomes few public field elements.
//!
//! ```text
//! binding's digest       two elements of 128 bits
//! a short tensor         one element a cell
//! a long tensor          cells less their lower bound, each of the bits its bounds need, as many to an element as fit in 119
//! ```
//!
//! A proof's cost of verification grows with the number of elements, so 784 pixels travel in 56 of them. The verifier packs its
//! own values, each checked to lie within the public bounds, so what it packs has one reading. On the circuit's side the cells of
//! a packed *input* are range-checked, so the prover has only that reading too. A packed *output* needs no check: given the inputs the
//! relations leave one choice for it, which lies within the bounds, and two lists within the bounds never pack alike.

use ark_bn254::Fr;

use super::r1cs::field;
use crate::{
    proof::Statement,
    relation::{Definition, Relations},
};

/// Tensors of more cells than this are packed.
const ALONE: usize = 48;

/// Bits of a packed element: far under the field's, so that no value has two readings. Twice as many bits in half as many elements would
/// cost the same to verify.
const ELEMENT_BITS: usize = 119;

/// The binding's elements.
pub(super) const BINDING: usize = 2;

/// How one tensor of the statement is laid out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Part {
    /// Number of cells.
    pub(super) cells: usize,
    /// Smallest value.
    pub(super) low: i64,
    /// Largest value.
    pub(super) high: i64,
    /// Bits of a cell and cells an element; none when each cell is an element.
    pub(super) packed: Option<(u32, usize)>,
}

impl Part {
    fn new(cells: usize, low: i64, high: i64) -> Self {
        let bits = bits_of(i128::from(high) - i128::from(low)).max(1);
        let packed = (cells > ALONE).then_some((bits, ELEMENT_BITS / bits as usize));
        Self { cells, low, high, packed }
    }

    /// How many public elements it takes.
    pub(super) fn elements(&self) -> usize {
        self.packed.map_or(self.cells, |(_, each)| self.cells.div_ceil(each))
    }

    fn append(&self, values: &[i64], out: &mut Vec<Fr>) {
        let Some((bits, each)) = self.packed else {
            out.extend(values.iter().map(|v| field(i128::from(*v))));
            return;
        };
        for chunk in values.chunks(each) {
            let digits =
                chunk.iter().enumerate().map(|(at, v)| u128::from(v.abs_diff(self.low)) << (at * bits as usize));
            out.push(Fr::from(digits.sum::<u128>()));
        }
    }
}

/// The layout of a statement's public elements: the binding, the inputs, the outputs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Layout {
    /// By number of the graph's input.
    pub(super) inputs: Vec<Part>,
    /// By number of the graph's output.
    pub(super) outputs: Vec<Part>,
}

impl Layout {
    /// The layout that public relations have.
    pub(super) fn new(relations: &Relations) -> Self {
        let mut inputs = Vec::new();
        for column in &relations.columns {
            if let Definition::Input(number) = column.definition {
                let part = Part::new(column.shape.iter().product(), column.low, column.high);
                if inputs.len() <= number {
                    inputs.resize_with(number + 1, || Part::new(0, 0, 0));
                }
                inputs[number] = part;
            }
        }
        let outputs = relations.outputs.iter().map(|output| {
            let column = &relations.columns[output.column];
            Part::new(column.shape.iter().product(), column.low, column.high)
        });
        Self { inputs, outputs: outputs.collect() }
    }

    /// Number of public elements.
    pub(super) fn elements(&self) -> usize {
        BINDING + self.inputs.iter().chain(&self.outputs).map(Part::elements).sum::<usize>()
    }

    /// The first element of an input.
    pub(super) fn input(&self, number: usize) -> usize {
        BINDING + self.inputs[..number].iter().map(Part::elements).sum::<usize>()
    }

    /// The first element of an output.
    pub(super) fn output(&self, number: usize) -> usize {
        self.input(self.inputs.len()) + self.outputs[..number].iter().map(Part::elements).sum::<usize>()
    }

    /// The elements of a statement; says what does not fit.
    pub(super) fn of(&self, statement: Statement<'_>) -> Result<Vec<Fr>, String> {
        let mut out = Vec::with_capacity(self.elements());
        for half in statement.binding.chunks(16) {
            out.push(Fr::from(u128::from_le_bytes(half.try_into().expect("half of 32 bytes"))));
        }
        for (what, parts, values) in
            [("input", &self.inputs, statement.inputs), ("output", &self.outputs, statement.outputs)]
        {
            if parts.len() != values.len() {
                return Err(format!("expected {} {what}s, found {}", parts.len(), values.len()));
            }
            for (number, (part, values)) in parts.iter().zip(values).enumerate() {
                if part.cells != values.len() {
                    return Err(format!("{what} {number}: expected {} values, found {}", part.cells, values.len()));
                }
                if let Some(value) = values.iter().find(|v| **v < part.low || **v > part.high) {
                    return Err(format!("{what} {number}: {value} is outside {} to {}", part.low, part.high));
                }
                part.append(values, &mut out);
            }
        }
        Ok(out)
    }
}

/// Bits of a number that is not negative; 0 for 0.
pub(super) fn bits_of(value: i128) -> u32 {
    i128::BITS - value.max(0).leading_zeros()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn two_lists_within_bounds_never_pack_alike() {
        let part = Part::new(100, -128, 127);
        assert_eq!((part.packed, part.elements()), (Some((8, 14)), 8));
        let mut seen = std::collections::HashSet::new();
        for cell in 0..100 {
            for value in [-128, -1, 0, 1, 127] {
                let mut values = vec![7; 100];
                values[cell] = value;
                let mut out = Vec::new();
                part.append(&values, &mut out);
                assert!(seen.insert(out), "cell {cell} value {value}");
            }
        }
    }

    #[test]
    fn cells_pack_as_the_sum_of_their_shifts() {
        let part = Part::new(60, -1000, 1047);
        let (bits, each) = part.packed.expect("many cells");
        assert_eq!((bits, each), (11, 10));
        let values: Vec<i64> = (0..60).map(|i| (i * 37) % 2048 - 1000).collect();
        let mut out = Vec::new();
        part.append(&values, &mut out);
        for (element, chunk) in out.iter().zip(values.chunks(each)) {
            let mut sum = Fr::from(0_u64);
            for value in chunk.iter().rev() {
                sum = sum * Fr::from(1_u64 << bits) + field(i128::from(value + 1000));
            }
            assert_eq!(*element, sum);
        }
    }
}
