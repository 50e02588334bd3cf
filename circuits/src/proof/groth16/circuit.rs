//! Relations and weights as constraints.
//!
//! Weights are constants, so linear columns, wires and products with weights are linear combinations and cost nothing until something
//! is demanded of them. What costs, a cell:
//!
//! | demand | constraints |
//! |---|---|
//! | a range of `b` bits | `b` |
//! | a zero | one for each product it cannot share a factor for, at least one; none where it can define a witness instead |
//! | two ranges and `u * v = 0` | `b + 1`: then `u + v` is the one of them that is not 0 |
//! | a clamp | the bits of its operand by the public bounds, and 1 to 4 |
//! | a table | see [`super::table`] |
//! | a product of two columns that are no weights | one for each product |
//!
//! Every demand of the relations is enforced as it is or more strictly, never less.

mod demands;
mod known;
mod sums;

use std::{collections::HashMap, sync::Arc};

use self::known::{known, values, wires};
use super::{
    bounds::{Cells, Interval, Product, bounds},
    builder::{Affine, Builder, Full, Hint, Source},
    public::{BINDING, Layout},
    r1cs::{ONE, Sum, System, Variable},
    table::Plan,
};
use crate::relation::{ColumnId, Definition, Relations, Zero};

/// More cells than this in all columns are refused before they are laid out.
const MOST_CELLS: usize = 1 << 27;

/// What the statement itself demands serves no node.
const STATEMENT: u32 = u32::MAX;

/// A circuit with its weights.
#[derive(Debug)]
pub(super) struct Circuit {
    /// The constraints.
    pub(super) system: System,
    /// How the private variables are found.
    pub(super) hints: Vec<Hint>,
    /// The public elements.
    pub(super) layout: Layout,
    /// Demands that define witnesses and so are no constraints: a trace that breaks one is not honest.
    pub(super) defining: Vec<Zero>,
}

/// How big a circuit is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Counts {
    /// Constraints.
    pub constraints: usize,
    /// Variables, public and private.
    pub variables: usize,
    /// Public field elements.
    pub public: usize,
}

/// Why there is no circuit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum BuildError {
    /// The relations are out of reach.
    Unsupported(String),
    /// The weights are not those of the relations.
    Weights(String),
}

impl Circuit {
    /// Builds it.
    pub(super) fn new(relations: &Relations, weights: &[Vec<i64>]) -> Result<Self, BuildError> {
        let (mut builder, layout, defining) = assemble(relations, Some(weights))?;
        builder.system.variables = builder.variables;
        builder.system.finish();
        let defining = defining.into_iter().map(|number| relations.zeros[number].clone()).collect();
        Ok(Self { system: builder.system, hints: builder.hints, layout, defining })
    }

    /// Counts what it would be, at most, for any weights.
    pub(super) fn count(relations: &Relations) -> Result<Counts, BuildError> {
        let (builder, layout, _) = assemble(relations, None)?;
        Ok(Counts { constraints: builder.constraints, variables: builder.variables, public: layout.elements() })
    }

    /// How big it is.
    pub(super) fn counts(&self) -> Counts {
        Counts { constraints: self.system.constraints(), variables: self.system.variables, public: self.system.public }
    }
}

/// Where a column's cells come from in the circuit.
#[derive(Debug, Clone)]
enum Kind {
    /// Weights, or derived from weights alone.
    Known,
    /// Variables from this one on, one a cell.
    Variables(Variable),
    /// A witness that this demand defines; the column's coefficient in it is 1 or -1.
    Defined { zero: usize, sign: i128 },
    /// Products of two columns, summed: variables from this one on.
    Products(Variable),
    /// As the relations define it.
    Derived,
}

struct Assembly<'a> {
    relations: &'a Relations,
    known: Vec<bool>,
    values: Vec<Option<Vec<i64>>>,
    wires: Vec<Option<Vec<u32>>>,
    bounds: Vec<Cells>,
    kinds: Vec<Kind>,
    builder: Builder,
    plans: HashMap<(usize, Interval), Arc<Plan>>,
}

/// The constraints, the public elements, and which demands define witnesses.
fn assemble(relations: &Relations, weights: Option<&[Vec<i64>]>) -> Result<(Builder, Layout, Vec<usize>), BuildError> {
    let mut cells = 0_usize;
    for column in &relations.columns {
        cells = cells.saturating_add(column.shape.iter().product());
        if cells > MOST_CELLS {
            return Err(BuildError::Unsupported(format!("over {MOST_CELLS} cells, the most it lays out")));
        }
    }
    let layout = Layout::new(relations);
    let wires = wires(relations)?;
    let known = known(relations);
    let values = match weights {
        Some(weights) => values(relations, weights, &wires, &known)?,
        None => vec![None; relations.columns.len()],
    };
    let bounds = bounds(relations, &values, &wires, weights.is_some());
    let mut assembly = Assembly {
        relations,
        kinds: vec![Kind::Derived; relations.columns.len()],
        builder: Builder::new(layout.elements(), weights.is_none()),
        plans: HashMap::new(),
        known,
        values,
        wires,
        bounds,
    };
    let mut at = None;
    let defining = assembly.all(&layout, &mut at).map_err(|full| {
        let node = at.map_or_else(|| "its statement".into(), |node: usize| format!("node {node}"));
        BuildError::Unsupported(match full {
            Full::Constraints => {
                format!("over {} constraints by {node}; the most is 2^21", super::builder::MOST_CONSTRAINTS)
            }
            Full::Entries => format!("linear combinations too long or too large at {node}"),
        })
    })?;
    Ok((assembly.builder, layout, defining))
}

impl Assembly<'_> {
    fn all(&mut self, layout: &Layout, at: &mut Option<usize>) -> Result<Vec<usize>, Full> {
        self.builder.node = STATEMENT;
        self.bind()?;
        let skipped = self.choose();
        self.variables(layout, at)?;
        self.inputs(layout)?;
        let fused = self.fused();
        for (number, lookup) in self.relations.lookups.iter().enumerate() {
            *at = Some(lookup.node);
            self.builder.node = u32::try_from(lookup.node).unwrap_or(STATEMENT);
            match fused.get(&number) {
                Some(None) => {}
                Some(Some(other)) => self.range(lookup, Some(&self.relations.lookups[*other]))?,
                None => match lookup.y {
                    None => self.range(lookup, None)?,
                    Some(y) => self.pair(lookup, y)?,
                },
            }
        }
        for (number, zero) in self.relations.zeros.iter().enumerate() {
            *at = Some(zero.node);
            self.builder.node = u32::try_from(zero.node).unwrap_or(STATEMENT);
            if !skipped.contains(&number) {
                self.zero(zero)?;
            }
        }
        *at = None;
        self.builder.node = STATEMENT;
        self.outputs(layout)?;
        Ok(skipped)
    }

    /// Squares the binding's elements: each then has a part in a constraint, so that none can be changed in a proof at hand.
    fn bind(&mut self) -> Result<(), Full> {
        for element in 0..BINDING {
            let variable = 1 + Variable::try_from(element).unwrap_or(0);
            self.builder.product(Sum::of(variable), Sum::of(variable))?;
        }
        Ok(())
    }

    fn cells(&self, column: ColumnId) -> usize {
        self.relations.columns[column].shape.iter().product()
    }

    /// Gives variables to inputs, witnesses, products and sums that would be repeated too often.
    fn variables(&mut self, layout: &Layout, at: &mut Option<usize>) -> Result<(), Full> {
        let mut inputs: HashMap<usize, Variable> = HashMap::new();
        for column in 0..self.relations.columns.len() {
            let cells = self.cells(column);
            self.kinds[column] = match (&self.relations.columns[column].definition, &self.kinds[column]) {
                _ if self.known[column] => Kind::Known,
                (Definition::Input(number), _) => Kind::Variables(match inputs.get(number) {
                    Some(first) => *first,
                    None => {
                        let first = if layout.inputs[*number].packed.is_some() {
                            self.builder.cells(column, cells)?
                        } else {
                            Variable::try_from(1 + layout.input(*number)).map_err(|_| Full::Constraints)?
                        };
                        inputs.insert(*number, first);
                        first
                    }
                }),
                (Definition::Witness, Kind::Derived) => Kind::Variables(self.builder.cells(column, cells)?),
                (_, kind) => kind.clone(),
            };
        }
        let flat = self.flat();
        for (column, &flat) in flat.iter().enumerate() {
            *at = self.relations.columns[column].node;
            self.builder.node = at.and_then(|node| u32::try_from(node).ok()).unwrap_or(STATEMENT);
            if let (Kind::Derived, Definition::MatMul { left, right }) =
                (&self.kinds[column], &self.relations.columns[column].definition)
                && !self.known[*left]
                && !self.known[*right]
            {
                self.products(column, *left, *right)?;
            } else if flat {
                let cells = self.cells(column);
                let first = self.builder.cells(column, cells)?;
                for cell in self.each(cells) {
                    let sum = self.sum(column, cell);
                    let variable = first + Variable::try_from(cell).map_err(|_| Full::Constraints)?;
                    self.builder.equal(Affine::linear(sum), Sum::of(variable))?;
                }
                self.rest(cells)?;
                self.kinds[column] = Kind::Variables(first);
            }
        }
        Ok(())
    }

    fn products(&mut self, column: ColumnId, left: ColumnId, right: ColumnId) -> Result<(), Full> {
        let product = Product::new(self.relations, left, right);
        let first = Variable::try_from(self.builder.variables).map_err(|_| Full::Constraints)?;
        let cells = self.cells(column);
        if self.builder.constraints + cells.saturating_mul(product.depth) > super::builder::MOST_CONSTRAINTS {
            return Err(Full::Constraints);
        }
        for cell in 0..cells {
            for step in 0..product.depth {
                let (a, b) = product.operands(cell, step);
                let (a, b) = (self.sum(left, a), self.sum(right, b));
                self.builder.product(a, b)?;
            }
        }
        self.kinds[column] = Kind::Products(first);
        Ok(())
    }

    /// When counting, one cell stands for all.
    fn each(&mut self, cells: usize) -> std::ops::Range<usize> {
        if self.builder.counting {
            self.builder.mark();
            0..cells.min(1)
        } else {
            0..cells
        }
    }

    fn rest(&mut self, cells: usize) -> Result<(), Full> {
        if self.builder.counting { self.builder.repeat(cells.saturating_sub(1)) } else { Ok(()) }
    }

    fn of(&self, column: ColumnId, cell: usize) -> Source {
        Source { column, other: None, cell }
    }

    /// Packed inputs: their cells in range, and the packed elements made of them.
    fn inputs(&mut self, layout: &Layout) -> Result<(), Full> {
        let mut done = vec![false; layout.inputs.len()];
        for column in 0..self.relations.columns.len() {
            let Definition::Input(number) = self.relations.columns[column].definition else { continue };
            let part = &layout.inputs[number];
            if let Some((bits, _)) = part.packed
                && !std::mem::replace(&mut done[number], true)
            {
                for cell in self.each(part.cells) {
                    let x = self.sum(column, cell);
                    self.builder.bits(&x, self.of(column, cell), part.low, bits)?;
                }
                self.rest(part.cells)?;
                self.packed(column, layout.input(number), part)?;
            }
        }
        Ok(())
    }

    fn outputs(&mut self, layout: &Layout) -> Result<(), Full> {
        for (number, output) in self.relations.outputs.iter().enumerate() {
            self.packed(output.column, layout.output(number), &layout.outputs[number])?;
        }
        Ok(())
    }

    /// Demands that a column is what the public elements say.
    fn packed(&mut self, column: ColumnId, first: usize, part: &super::public::Part) -> Result<(), Full> {
        let (bits, each) = part.packed.unwrap_or((0, 1));
        let low = if part.packed.is_some() { i128::from(part.low) } else { 0 };
        for (at, start) in (0..part.cells).step_by(each).enumerate() {
            let element = Variable::try_from(1 + first + at).map_err(|_| Full::Constraints)?;
            let mut sum = Sum::default();
            for (place, cell) in (start..part.cells.min(start + each)).enumerate() {
                let weight = 1_i128 << (bits as usize * place);
                if !self.builder.counting {
                    self.add(&mut sum, column, cell, weight);
                }
                sum.add(ONE, -low.saturating_mul(weight));
            }
            self.builder.equal(Affine::linear(sum), Sum::of(element))?;
        }
        Ok(())
    }
}
