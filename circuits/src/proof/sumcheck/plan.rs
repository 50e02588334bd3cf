//! What both sides work out from the relations before anything is proved: lengths, blocks, the layout of lookups.

use std::sync::Arc;

use super::commitment::{Stack, weight_stack};
use super::digest;
use super::multilinear::log2_ceil;
use super::table::TableCells;
use super::wire;
use crate::relation::{ColumnId, Definition, Relations, Table};

/// No column has more cells.
const MOST_CELLS: usize = 1 << 28;

/// A run of the leaves of the lookups' tree: positions `offset .. offset + 2^log`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Leaves {
    /// Whose they are.
    pub(super) of: LeavesOf,
    /// Log of their number.
    pub(super) log: usize,
    /// Where they start: a multiple of `2^log`.
    pub(super) offset: usize,
}

/// Whose leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LeavesOf {
    /// The lookup of this position.
    Lookup(usize),
    /// The table of this position in [`Plan::tables`].
    Table(usize),
}

/// A table that is looked up.
#[derive(Debug)]
pub(super) struct UsedTable {
    /// Its position in the relations.
    pub(super) id: usize,
    /// Its cells.
    pub(super) cells: TableCells,
}

/// The relations, checked, and how they are laid out.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) relations: Arc<Relations>,
    /// Hash of the relations.
    pub(super) digest: [u8; 32],
    /// Cells of each column.
    pub(super) lengths: Vec<usize>,
    /// For a witness its block in the prover's list, for a weight its block in the model's.
    pub(super) blocks: Vec<usize>,
    /// The witness columns in the order of their blocks; the multiplicities of [`Self::tables`] follow.
    pub(super) witnesses: Vec<ColumnId>,
    /// Tables that are looked up.
    pub(super) tables: Vec<UsedTable>,
    /// The leaves of all lookups and tables, largest first, one after another.
    pub(super) leaves: Vec<Leaves>,
    /// Log of the leaves' number with padding.
    pub(super) leaf_variables: usize,
    /// Length of each input.
    pub(super) inputs: Vec<usize>,
    /// Length of each weight.
    pub(super) weights: Vec<usize>,
    /// The prover's list; none if there is nothing to commit to.
    pub(super) witness_stack: Option<Stack>,
    /// The model's list.
    pub(super) weights_stack: Stack,
}

impl Plan {
    /// Checks the relations and lays them out.
    pub(super) fn new(relations: Arc<Relations>) -> Result<Self, String> {
        let mut plan = Self {
            digest: digest::relations(&relations),
            lengths: Vec::with_capacity(relations.columns.len()),
            blocks: vec![0; relations.columns.len()],
            witnesses: vec![],
            tables: vec![],
            leaves: vec![],
            leaf_variables: 0,
            inputs: vec![],
            weights: vec![],
            witness_stack: None,
            weights_stack: weight_stack(&[]).map_err(|e| e.to_string())?,
            relations,
        };
        let relations = Arc::clone(&plan.relations);
        for (id, column) in relations.columns.iter().enumerate() {
            let served = column.node.map_or_else(String::new, |n| format!(" of node {n}"));
            plan.column(id).map_err(|e| format!("column {id} ({}){served}: {e}", column.role))?;
        }
        plan.inputs = plan.given(|d| if let Definition::Input(i) = d { Some(*i) } else { None }, "input")?;
        plan.weights = plan.given(|d| if let Definition::Weight(i) = d { Some(*i) } else { None }, "weight")?;
        for (at, zero) in relations.zeros.iter().enumerate() {
            let refuse = |e: &str| Err(format!("demand {at} of node {}: {e}", zero.node));
            let length = length(&zero.shape).map_err(|e| format!("demand {at} of node {}: {e}", zero.node))?;
            for (_, columns) in &zero.terms {
                if !(1..=3).contains(&columns.len()) {
                    return refuse("a product of none or of more than three columns");
                }
                if columns.iter().any(|&c| plan.lengths.get(c) != Some(&length)) {
                    return refuse("its columns are not all of its shape");
                }
            }
        }
        plan.lay_out_lookups()?;
        if let Some(output) = relations.outputs.iter().find(|o| o.column >= relations.columns.len()) {
            return Err(format!("output {} has no column {}", output.tensor, output.column));
        }
        let witnesses = plan.witnesses.iter().map(|&c| log2_ceil(plan.lengths[c]));
        let sizes: Vec<usize> = witnesses.chain(plan.tables.iter().map(|t| t.cells.log())).collect();
        if !sizes.is_empty() {
            plan.witness_stack = Some(Stack::new(&sizes).map_err(|e| format!("witness: {e}"))?);
        }
        plan.weights_stack = weight_stack(&plan.weights).map_err(|e| format!("weights: {e}"))?;
        Ok(plan)
    }

    /// The block of a table's multiplicities in the prover's list.
    pub(super) const fn multiplicities(&self, table: usize) -> usize {
        self.witnesses.len() + table
    }

    fn column(&mut self, id: ColumnId) -> Result<(), String> {
        let relations = Arc::clone(&self.relations);
        let column = &relations.columns[id];
        let length = length(&column.shape)?;
        let earlier =
            |c: ColumnId| self.lengths.get(c).copied().ok_or_else(|| format!("reads column {c}, a later one"));
        match &column.definition {
            Definition::Input(_) => {}
            Definition::Weight(number) => self.blocks[id] = *number,
            Definition::Witness => {
                self.blocks[id] = self.witnesses.len();
                self.witnesses.push(id);
            }
            Definition::Linear { terms, .. } => {
                for &(_, term) in terms {
                    let found = earlier(term)?;
                    if found != length {
                        return Err(format!("adds up column {term} of {found} cells, expected {length}"));
                    }
                }
            }
            Definition::Wire { sources, wire } => {
                let mut total = 0_usize;
                for &source in sources {
                    total += earlier(source)?;
                }
                let expected = (wire.fan_in as usize).checked_mul(length).filter(|&n| 0 < n && n <= 16 * MOST_CELLS);
                let found = wire::entries(wire, total)?;
                if expected != Some(found) {
                    return Err(format!("wire of {found} entries, expected {} times {length}", wire.fan_in));
                }
            }
            Definition::MatMul { left, right } => {
                earlier(*left)?;
                earlier(*right)?;
                let of = |c: ColumnId| <[usize; 3]>::try_from(relations.columns[c].shape.as_slice());
                let (Ok([b, m, n]), Ok([lb, lm, k]), Ok([rb, rk, rn])) = (of(id), of(*left), of(*right)) else {
                    return Err("a matrix product has three axes, and so have its operands".into());
                };
                if (b, m, n, k) != (lb, lm, rn, rk) || b != rb {
                    return Err(format!("[{lb}, {lm}, {k}] by [{rb}, {rk}, {rn}] does not give [{b}, {m}, {n}]"));
                }
            }
        }
        self.lengths.push(length);
        Ok(())
    }

    /// The lengths of the given columns by their number, each number there and of one length.
    fn given(&self, number: impl Fn(&Definition) -> Option<usize>, what: &str) -> Result<Vec<usize>, String> {
        let mut lengths = std::collections::BTreeMap::new();
        for (column, &length) in self.relations.columns.iter().zip(&self.lengths) {
            if let Some(n) = number(&column.definition)
                && lengths.insert(n, length).is_some_and(|other| other != length)
            {
                return Err(format!("{what} {n} has two lengths"));
            }
        }
        match lengths.keys().enumerate().find(|&(at, &n)| at != n) {
            Some((at, _)) => Err(format!("{what} {at} has no column")),
            None => Ok(lengths.into_values().collect()),
        }
    }

    fn lay_out_lookups(&mut self) -> Result<(), String> {
        let relations = Arc::clone(&self.relations);
        let mut used = vec![None; relations.tables.len()];
        for (at, lookup) in relations.lookups.iter().enumerate() {
            let refuse = |e: String| Err(format!("lookup {at} of node {}: {e}", lookup.node));
            let Some(table) = relations.tables.get(lookup.table) else {
                return refuse(format!("there is no table {}", lookup.table));
            };
            let Some(&length) = self.lengths.get(lookup.x) else {
                return refuse(format!("there is no column {}", lookup.x));
            };
            match (table, lookup.y) {
                (Table::Range { .. }, None) => {}
                (Table::Clamp { .. } | Table::Map { .. }, Some(y)) if self.lengths.get(y) == Some(&length) => {}
                _ => return refuse("a range looks up one column, a function two of one shape".into()),
            }
            if used[lookup.table].is_none() {
                used[lookup.table] = Some(self.tables.len());
                let cells = TableCells::new(table).map_err(|e| format!("table {}: {e}", lookup.table))?;
                self.tables.push(UsedTable { id: lookup.table, cells });
            }
            self.leaves.push(Leaves { of: LeavesOf::Lookup(at), log: log2_ceil(length), offset: 0 });
        }
        let tables = self.tables.iter().enumerate();
        self.leaves.extend(tables.map(|(at, t)| Leaves { of: LeavesOf::Table(at), log: t.cells.log(), offset: 0 }));
        self.leaves.sort_by_key(|l| std::cmp::Reverse(l.log));
        let mut end = 0;
        for leaves in &mut self.leaves {
            leaves.offset = end;
            end += 1 << leaves.log;
        }
        self.leaf_variables = log2_ceil(end.max(1));
        Ok(())
    }
}

fn length(shape: &[usize]) -> Result<usize, String> {
    shape
        .iter()
        .try_fold(1_usize, |n, &size| n.checked_mul(size))
        .filter(|&n| 0 < n && n <= MOST_CELLS)
        .ok_or_else(|| format!("a shape of {shape:?}, expected 1 to {MOST_CELLS} cells"))
}
