//! Relations as they are built, node by node: columns and demands are added at the end, tables are shared.

use std::sync::Arc;

use super::{Column, ColumnId, Definition, Hint, Lookup, Relations, Table, Zero};
use crate::graph::{Index, Wire};

/// Smallest and largest value.
pub(super) type Bounds = (i64, i64);

/// Bits of one lookup in a range, at most.
const LIMB: u8 = 16;

/// Relations under construction.
#[derive(Default)]
pub(super) struct Builder {
    pub(super) relations: Relations,
    /// The node whose gadget is being built.
    pub(super) node: usize,
}

impl Builder {
    /// Adds a column that no node of the graph makes.
    pub(super) fn given(&mut self, shape: Vec<usize>, (low, high): Bounds, definition: Definition) -> ColumnId {
        let role = if matches!(definition, Definition::Input(_)) { "input" } else { "weight" };
        self.relations.columns.push(Column { shape, definition, node: None, role, low, high });
        self.relations.columns.len() - 1
    }

    fn column(
        &mut self,
        shape: Vec<usize>,
        (low, high): Bounds,
        definition: Definition,
        role: &'static str,
    ) -> ColumnId {
        let node = Some(self.node);
        self.relations.columns.push(Column { shape, definition, node, role, low, high });
        self.relations.columns.len() - 1
    }

    /// A column that the prover commits.
    pub(super) fn witness(&mut self, like: ColumnId, bounds: Bounds, hint: Hint, role: &'static str) -> ColumnId {
        self.relations.hints.push(hint);
        self.column(self.shape(like).to_vec(), bounds, Definition::Witness, role)
    }

    /// `constant + sum(coefficient * column)`, within bounds that are known from the graph.
    pub(super) fn linear_within(
        &mut self,
        terms: Vec<(i64, ColumnId)>,
        constant: i64,
        bounds: Bounds,
        role: &'static str,
    ) -> ColumnId {
        let shape = self.shape(terms[0].1).to_vec();
        self.column(shape, bounds, Definition::Linear { terms, constant }, role)
    }

    /// `constant + sum(coefficient * column)`, its bounds from those of the columns.
    pub(super) fn linear(&mut self, terms: Vec<(i64, ColumnId)>, constant: i64, role: &'static str) -> ColumnId {
        let mut low = i128::from(constant);
        let mut high = low;
        for &(coefficient, column) in &terms {
            let (l, h) = self.bounds(column);
            let ends = [i128::from(coefficient) * i128::from(l), i128::from(coefficient) * i128::from(h)];
            low += ends[0].min(ends[1]);
            high += ends[0].max(ends[1]);
        }
        let narrow = |v: i128| v.clamp(i64::MIN.into(), i64::MAX.into()) as i64;
        self.linear_within(terms, constant, (narrow(low), narrow(high)), role)
    }

    /// One number in every cell.
    pub(super) fn constant(&mut self, like: ColumnId, value: i64, role: &'static str) -> ColumnId {
        let shape = self.shape(like).to_vec();
        self.column(shape, (value, value), Definition::Linear { terms: Vec::new(), constant: value }, role)
    }

    /// Columns rewired, within bounds that are known from the graph.
    pub(super) fn wire_within(
        &mut self,
        sources: Vec<ColumnId>,
        wire: Wire,
        shape: Vec<usize>,
        bounds: Bounds,
        role: &'static str,
    ) -> ColumnId {
        self.column(shape, bounds, Definition::Wire { sources, wire: Arc::new(wire) }, role)
    }

    /// One column rewired, with a wire that takes something for every cell and adds nothing up: bounds stay.
    pub(super) fn moved(&mut self, source: ColumnId, index: Index, shape: Vec<usize>, role: &'static str) -> ColumnId {
        let bounds = self.bounds(source);
        self.wire_within(vec![source], Wire { fan_in: 1, index }, shape, bounds, role)
    }

    /// A column in another shape, itself if it has that one.
    pub(super) fn reshaped(&mut self, source: ColumnId, shape: Vec<usize>, role: &'static str) -> ColumnId {
        if self.shape(source) == shape {
            return source;
        }
        self.moved(source, Index::Identity, shape, role)
    }

    /// The product of two columns of matrices.
    pub(super) fn mat_mul(&mut self, left: ColumnId, right: ColumnId, bounds: Bounds, role: &'static str) -> ColumnId {
        let (l, r) = (self.shape(left), self.shape(right));
        let shape = vec![l[0], l[1], r[2]];
        self.column(shape, bounds, Definition::MatMul { left, right }, role)
    }

    /// Demands that the sum of products vanishes.
    pub(super) fn zero(&mut self, mut terms: Vec<(i64, Vec<ColumnId>)>, constant: i64) {
        let shape = self.shape(terms[0].1[0]).to_vec();
        terms.retain(|(coefficient, _)| *coefficient != 0);
        self.relations.zeros.push(Zero { terms, constant, shape, node: self.node });
    }

    /// The table's position, new or old.
    pub(super) fn table(&mut self, table: Table) -> usize {
        if let Some(at) = self.relations.tables.iter().position(|t| *t == table) {
            return at;
        }
        self.relations.tables.push(table);
        self.relations.tables.len() - 1
    }

    /// A witness that the table gives for `x`, and the demand that it does.
    pub(super) fn looked(&mut self, table: Table, x: ColumnId, bounds: Bounds, role: &'static str) -> ColumnId {
        let table = self.table(table);
        let y = self.witness(x, bounds, Hint::Looked { table, x }, role);
        self.relations.lookups.push(Lookup { table, x, y: Some(y), node: self.node });
        y
    }

    /// Demands `0 <= x < 2^bits`, for up to 62 bits.
    ///
    /// Over [`LIMB`] bits, `x` is written in limbs of about one size: the upper ones are committed, the lowest is what
    /// remains, `x - sum(2^at * limb)`, and needs no commitment. Each is looked up in a range. Unique: the sum of the limbs is
    /// under `2^62 < p`, so it is `x` as an integer, and an integer has one way to be written in digits.
    pub(super) fn range(&mut self, x: ColumnId, bits: u8) {
        debug_assert!((1..=62).contains(&bits));
        let parts = bits.div_ceil(LIMB);
        let each = bits.div_ceil(parts);
        if parts == 1 {
            return self.range_lookup(x, bits);
        }
        let mut terms = vec![(1, x)];
        for part in 1..parts {
            let at = part * each;
            let size = each.min(bits - at);
            let role = ["", "limb 1", "limb 2", "limb 3"][usize::from(part)];
            let limb = self.witness(x, (0, (1 << size) - 1), Hint::Limb { of: x, at, bits: size }, role);
            self.range_lookup(limb, size);
            terms.push((-(1 << at), limb));
        }
        let lowest = self.linear_within(terms, 0, (0, (1 << each) - 1), "limb 0");
        self.range_lookup(lowest, each);
    }

    fn range_lookup(&mut self, x: ColumnId, bits: u8) {
        let table = self.table(Table::Range { bits });
        self.relations.lookups.push(Lookup { table, x, y: None, node: self.node });
    }

    pub(super) fn shape(&self, column: ColumnId) -> &[usize] {
        &self.relations.columns[column].shape
    }

    pub(super) fn bounds(&self, column: ColumnId) -> Bounds {
        let column = &self.relations.columns[column];
        (column.low, column.high)
    }
}

/// Bits that hold `0 ..= span`, at least 1.
pub(super) fn bits_of(span: i64) -> u8 {
    (64 - span.max(1).leading_zeros()) as u8
}

/// Bits of a range that holds `0 ..= span` and may be wider: rounded up, so that few tables serve all.
pub(super) fn width_of(span: i64) -> u8 {
    bits_of(span).next_multiple_of(4)
}
