//! From relations to rows: columns first, then lookups, zeros and outputs. Here the columns.

use std::{collections::BTreeMap, sync::Arc};

use halo2_proofs::pasta::{Fp, group::ff::Field};

use super::{Block, Cells, DIGEST_ROWS, Demand, How, Layout, NONE, Shape, Sum, TABLE_WIDTH, Var, zeros::Terms};
use crate::{
    graph::{VOID, Wire},
    proof::{
        Unsupported,
        halo2::{MAX_K, NAME, UNUSABLE_ROWS, field::field},
    },
    relation::{ColumnId, Definition, Relations},
};

/// A sum of more terms is laid out at once: who reads it need not add it up again.
const LONG_SUM: usize = 6;

/// How a column is known.
pub(super) enum Known {
    /// Each cell is a variable.
    Cells(Cells),
    /// A sum that nobody has asked to be laid out.
    Sum(Terms),
}

/// A layout in the making.
pub(super) struct Builder<'r> {
    pub(super) relations: &'r Relations,
    pub(super) layout: Layout,
    pub(super) known: Vec<Known>,
    constants: BTreeMap<i64, Var>,
    /// Weights, by variable.
    pub(super) is_weight: Vec<bool>,
}

/// Lays relations out in a shape.
///
/// # Errors
/// [`Unsupported`] where they take more rows than the largest circuit has.
pub(crate) fn lay_out(relations: &Relations, shape: Shape) -> Result<Layout, Unsupported> {
    let mut builder = Builder::new(relations, shape);
    builder.public_inputs()?;
    for column in 0..relations.columns.len() {
        builder.column(column)?;
        builder.check_size(relations.columns[column].node)?;
    }
    builder.lookups()?;
    for zero in &relations.zeros {
        builder.zero(zero)?;
        builder.check_size(Some(zero.node))?;
    }
    builder.public_outputs()?;
    builder.finish()
}

pub(super) fn refuse(reason: String) -> Unsupported {
    Unsupported { system: NAME, reason }
}

impl<'r> Builder<'r> {
    fn new(relations: &'r Relations, shape: Shape) -> Self {
        let mut builder = Self {
            relations,
            layout: Layout {
                shape,
                k: 0,
                blocks: Vec::new(),
                vars: 0,
                demands: Vec::new(),
                a: Vec::new(),
                w: Vec::new(),
                acc: Vec::new(),
                z: Vec::new(),
                z_rows: Vec::new(),
                quads: Vec::new(),
                pieces: BTreeMap::new(),
                table: vec![[0; TABLE_WIDTH]],
                constants: Vec::new(),
                public: Vec::new(),
                inputs: Vec::new(),
                outputs: Vec::new(),
                unlaid: Vec::new(),
                weights: Vec::new(),
            },
            known: Vec::new(),
            constants: BTreeMap::new(),
            is_weight: Vec::new(),
        };
        for half in 0..DIGEST_ROWS {
            let var = builder.block(1, How::Digest(half))[0];
            builder.layout.public.push((half, var));
        }
        builder
    }

    /// New variables.
    pub(super) fn block(&mut self, len: usize, how: How) -> Cells {
        let first = self.layout.vars as Var;
        let is_weight = match how {
            How::Trace(column) => matches!(self.relations.columns[column].definition, Definition::Weight(_)),
            _ => false,
        };
        self.is_weight.resize(self.is_weight.len() + len, is_weight);
        self.layout.blocks.push(Block { first, len, how });
        self.layout.vars += len;
        (first..first + len as Var).collect()
    }

    /// The variable that is this number.
    fn constant(&mut self, value: i64) -> Var {
        if let Some(&var) = self.constants.get(&value) {
            return var;
        }
        let var = self.block(1, How::Constant(value))[0];
        self.constants.insert(value, var);
        self.layout.constants.push((value, var));
        var
    }

    pub(super) fn zero_var(&mut self) -> Var {
        self.constant(0)
    }

    /// Adds a row; gives its number.
    pub(super) fn row(&mut self, demand: Demand) -> usize {
        let terms = self.layout.shape.terms;
        self.layout.demands.push(demand);
        self.layout.a.resize(self.layout.a.len() + terms, NONE);
        self.layout.w.resize(self.layout.w.len() + terms, NONE);
        self.layout.acc.push(NONE);
        self.layout.demands.len() - 1
    }

    /// Refuses early what will not fit, before it takes memory.
    pub(super) fn check_size(&self, node: Option<usize>) -> Result<(), Unsupported> {
        let most = (1usize << MAX_K) - UNUSABLE_ROWS;
        let rows = self.layout.rows();
        let cells = most.saturating_mul(4 * self.layout.shape.terms);
        if rows.most() <= most && self.layout.vars <= cells {
            return Ok(());
        }
        let at = node.map_or_else(String::new, |n| format!(" at node {n}"));
        Err(refuse(format!(
            "more than 2^{MAX_K} rows{at} ({} of arithmetic, {} of ranges, {} of tables, {} of public values): use a \
             smaller model, or another proof system",
            rows.arithmetic, rows.ranges, rows.table, rows.public
        )))
    }

    pub(super) fn len_of(&self, column: ColumnId) -> Result<usize, Unsupported> {
        let size = |shape: &[usize]| shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d));
        size(&self.relations.columns[column].shape)
            .filter(|&n| n <= 1 << 26)
            .ok_or_else(|| refuse(format!("column {column} has more than 2^26 cells")))
    }

    fn column(&mut self, column: ColumnId) -> Result<(), Unsupported> {
        let relations = self.relations;
        let len = self.len_of(column)?;
        let known = match &relations.columns[column].definition {
            Definition::Input(_) | Definition::Witness => Known::Cells(self.block(len, How::Trace(column))),
            Definition::Weight(number) => {
                if *number != self.layout.weights.len() {
                    return Err(refuse(format!("column {column} is weight {number}, out of order")));
                }
                self.layout.weights.push(column);
                Known::Cells(self.block(len, How::Trace(column)))
            }
            Definition::Linear { terms, constant } => {
                let mut sum = Terms::constant(field(i128::from(*constant)));
                for &(coefficient, of) in terms {
                    self.add_to(&mut sum, field(i128::from(coefficient)), of);
                }
                self.layout.unlaid.push(column);
                match sum.alone() {
                    Some(cells) => Known::Cells(cells),
                    None => Known::Sum(sum),
                }
            }
            Definition::Wire { sources, wire } => {
                self.layout.unlaid.push(column);
                Known::Cells(self.wire(column, sources, wire, len)?)
            }
            Definition::MatMul { left, right } => Known::Cells(self.mat_mul(column, *left, *right, len)?),
        };
        let long = matches!(&known, Known::Sum(sum) if sum.terms.len() > LONG_SUM);
        self.known.push(known);
        if long {
            self.cells(column);
        }
        Ok(())
    }

    /// `sum += coefficient * column`, without laying anything out.
    pub(super) fn add_to(&self, sum: &mut Terms, coefficient: Fp, column: ColumnId) {
        match &self.known[column] {
            Known::Cells(cells) => sum.add(coefficient, cells),
            Known::Sum(inner) => {
                sum.constant += coefficient * inner.constant;
                for (c, cells) in &inner.terms {
                    sum.add(coefficient * c, cells);
                }
            }
        }
    }

    /// The column's variables; lays it out if it is a sum that was not.
    pub(super) fn cells(&mut self, column: ColumnId) -> Cells {
        let sum = match &self.known[column] {
            Known::Cells(cells) => return Arc::clone(cells),
            Known::Sum(sum) => sum.clone(),
        };
        // Sums over constants only have no cells of their own.
        let len = self.relations.columns[column].shape.iter().product();
        let cells = self.block(len, How::Trace(column));
        self.layout.unlaid.retain(|&c| c != column);
        let mut demand = sum;
        demand.add(-Fp::ONE, &cells);
        self.demand(Vec::new(), demand, len);
        self.known[column] = Known::Cells(Arc::clone(&cells));
        cells
    }

    fn wire(&mut self, column: ColumnId, sources: &[ColumnId], wire: &Wire, len: usize) -> Result<Cells, Unsupported> {
        let mut flat: Vec<Var> = Vec::new();
        for &source in sources {
            flat.extend(self.cells(source).iter());
        }
        wire.check(flat.len(), len).map_err(|reason| refuse(format!("column {column}: {reason}")))?;
        let zero = self.zero_var();
        let take = |entry| if entry == VOID { zero } else { flat[entry as usize] };
        let taken: Vec<Var> = wire.entries(len).map(take).collect();
        if wire.fan_in == 1 {
            return Ok(taken.into());
        }
        let fresh = self.block(len, How::Trace(column));
        let mut cells = Vec::with_capacity(len);
        for (group, &out) in taken.chunks(wire.fan_in as usize).zip(fresh.iter()) {
            let group: Vec<(Var, Var)> = group.iter().filter(|&&v| v != zero).map(|&v| (NONE, v)).collect();
            cells.push(match group[..] {
                [] => zero,
                [(_, one)] => one,
                _ => {
                    self.dot(Sum::Plain, &group, false);
                    self.name_sum(out);
                    out
                }
            });
        }
        Ok(cells.into())
    }

    fn mat_mul(&mut self, column: ColumnId, left: ColumnId, right: ColumnId, len: usize) -> Result<Cells, Unsupported> {
        let (l, r) = (self.cells(left), self.cells(right));
        let shape = |c: ColumnId| self.relations.columns[c].shape.clone();
        let (&[b, m, k], &[b2, k2, n]) = (&shape(left)[..], &shape(right)[..]) else {
            return Err(refuse(format!("column {column} multiplies what are not stacks of matrices")));
        };
        if (b, k) != (b2, k2) || len != b * m * n {
            return Err(refuse(format!("column {column} multiplies matrices that do not fit")));
        }
        let zero = self.zero_var();
        let fresh = self.block(len, How::Trace(column));
        let mut cells = Vec::with_capacity(len);
        let (mut weights, mut pairs) = (Vec::new(), Vec::new());
        for (at, &out) in fresh.iter().enumerate() {
            let (batch, i, j) = (at / (m * n), at / n % m, at % n);
            weights.clear();
            pairs.clear();
            for t in 0..k {
                let (x, y) = (l[(batch * m + i) * k + t], r[(batch * k + t) * n + j]);
                if x == zero || y == zero {
                    continue;
                }
                match (self.is_weight[x as usize], self.is_weight[y as usize]) {
                    (true, false) => weights.push((x, y)),
                    (false, true) => weights.push((y, x)),
                    _ => pairs.push((x, y)),
                }
            }
            if weights.is_empty() && pairs.is_empty() {
                cells.push(zero);
                continue;
            }
            self.dot(Sum::Weights, &weights, false);
            self.dot(Sum::Pairs, &pairs, !weights.is_empty());
            self.name_sum(out);
            cells.push(out);
            if at % 4096 == 0 {
                self.check_size(self.relations.columns[column].node)?;
            }
        }
        Ok(cells.into())
    }

    /// Rows that sum products (or the second of each pair), after the row before if `chained`.
    fn dot(&mut self, sum: Sum, products: &[(Var, Var)], chained: bool) {
        let zero = self.zero_var();
        let terms = self.layout.shape.terms;
        let a_row = match sum {
            Sum::Pairs => terms / 2,
            Sum::Weights | Sum::Plain => terms,
        };
        for (i, chunk) in products.chunks(a_row).enumerate() {
            let row = self.row(Demand::Dot { sum, chained: chained || i > 0 });
            // What is not used is tied to zero: a weight column is not the prover's to leave empty.
            let a = &mut self.layout.a[row * terms..][..terms];
            a.fill(zero);
            for (slot, &(first, second)) in chunk.iter().enumerate() {
                match sum {
                    Sum::Pairs => (a[2 * slot], a[2 * slot + 1]) = (first, second),
                    Sum::Plain => a[slot] = second,
                    Sum::Weights => {
                        a[slot] = second;
                        self.layout.w[row * terms + slot] = first;
                    }
                }
            }
        }
    }

    /// The last row's accumulator is this variable.
    fn name_sum(&mut self, out: Var) {
        if let Some(last) = self.layout.acc.last_mut() {
            *last = out;
        }
    }
}
