//! A graph in columns and demands, node by node.

use super::{
    ArithmetiseError, ColumnId, Definition, Output, Relations, Table,
    builder::{Bounds, Builder},
    gadget::{
        arg_max, conv, divide, greater, lookup, mat_mul, mul, reduce_max,
        rescale::{self, Readers, Rescale, Rescaled, Unclamped},
        sqrt,
    },
};
use crate::graph::{Graph, Index, Node, Op, TensorId};

impl Relations {
    /// The relations of a graph: its inputs, its weights, then node by node. The same graph gives the same relations.
    ///
    /// # Errors
    /// A graph that does not pass [`Graph::check`]; a node whose bounds leave a proof ambiguous.
    pub fn of(graph: &Graph) -> Result<Self, ArithmetiseError> {
        graph.check()?;
        let mut walk = Walk::start(graph);
        for (index, node) in graph.nodes.iter().enumerate() {
            walk.b.node = index;
            let made = walk.node(node).map_err(|reason| ArithmetiseError::Node {
                node: node.name.clone(),
                op: node.op.name(),
                reason,
            })?;
            walk.made[node.output as usize] = made;
        }
        Ok(walk.finish())
    }
}

/// What stands for a tensor.
enum Made {
    /// Not made yet.
    Nothing,
    /// Its column.
    Column(ColumnId),
    /// A quotient that the lookups which read it clamp.
    Unclamped(Unclamped),
}

struct Walk<'a> {
    graph: &'a Graph,
    b: Builder,
    made: Vec<Made>,
    readers: Vec<Readers>,
}

impl<'a> Walk<'a> {
    fn start(graph: &'a Graph) -> Self {
        let mut walk = Self {
            graph,
            b: Builder::default(),
            made: graph.tensors.iter().map(|_| Made::Nothing).collect(),
            readers: readers(graph),
        };
        for (at, &id) in graph.inputs.iter().enumerate() {
            walk.give(id, Definition::Input(at));
        }
        for (at, &id) in graph.constants.iter().enumerate() {
            walk.give(id, Definition::Weight(at));
        }
        walk
    }

    fn give(&mut self, id: TensorId, definition: Definition) {
        let column = self.b.given(self.shape(id), self.bounds(id), definition);
        self.made[id as usize] = Made::Column(column);
    }

    fn shape(&self, id: TensorId) -> Vec<usize> {
        self.graph.tensors[id as usize].shape.iter().map(|&size| size as usize).collect()
    }

    fn bounds(&self, id: TensorId) -> Bounds {
        let tensor = &self.graph.tensors[id as usize];
        (tensor.low, tensor.high)
    }

    fn column(&self, id: TensorId) -> Result<ColumnId, String> {
        match self.made.get(id as usize) {
            Some(Made::Column(column)) => Ok(*column),
            _ => Err(format!("tensor {id} is read before it is made")),
        }
    }

    fn node(&mut self, node: &Node) -> Result<Made, String> {
        let (shape, bounds) = (self.shape(node.output), self.bounds(node.output));
        if let (Op::Lookup { table }, [x]) = (&node.op, node.inputs.as_slice())
            && let Some(Made::Unclamped(x)) = self.made.get(*x as usize)
        {
            let table = &self.graph.tables[*table as usize];
            return lookup::build_clamped(&mut self.b, x, table, bounds).map(Made::Column);
        }
        let operands = node.inputs.iter().map(|&id| self.column(id)).collect::<Result<Vec<_>, _>>()?;
        let third = operands.get(2).copied();
        let b = &mut self.b;
        let column = match (&node.op, operands.as_slice()) {
            (Op::Wire(wire), _) => b.wire_within(operands, wire.clone(), shape, bounds, "moved"),
            (Op::MatMul, &[left, right, ..]) => mat_mul::build(b, left, right, third, bounds),
            (Op::Conv(geometry), &[x, weight, ..]) => conv::build(b, (x, weight, third), geometry, shape, bounds)?,
            (Op::Linear { coefficients, constant }, [_, ..]) => linear(b, coefficients, &operands, *constant, bounds),
            (Op::Mul, &[left, right]) => mul::build(b, left, right, bounds),
            (Op::Rescale { multiplier, shift, low, high }, &[x, ..]) => {
                let op = Rescale {
                    multiplier: (*multiplier, operands.get(1).copied()),
                    shift: *shift,
                    low: (*low).into(),
                    high: (*high).into(),
                    bounds,
                    readers: self.readers[node.output as usize],
                };
                match rescale::build(b, x, &op)? {
                    Rescaled::Clamped(column) => column,
                    Rescaled::Unclamped(quotient) => return Ok(Made::Unclamped(quotient)),
                }
            }
            (Op::Lookup { table }, &[x]) => lookup::build(b, x, &self.graph.tables[*table as usize], bounds),
            (Op::ReduceMax, &[x]) => reduce_max::build(b, x, shape, bounds),
            (Op::ArgMax, &[x]) => arg_max::build(b, x, shape),
            (Op::Greater, &[left, right]) => greater::build(b, left, right, "greater"),
            (Op::Divide { shift }, &[n, d]) => divide::build(b, n, d, *shift, bounds)?,
            (Op::Sqrt, &[v]) => sqrt::build(b, v, bounds),
            _ => return Err(format!("{} operands", operands.len())),
        };
        Ok(Made::Column(column))
    }

    /// Adds the outputs, in columns that a proof system has no stray cells in.
    fn finish(mut self) -> Relations {
        for &tensor in &self.graph.outputs {
            let made =
                self.column(tensor).expect("every tensor is made, and that of an output is never left unclamped");
            let column = &self.b.relations.columns[made];
            let clean =
                matches!(column.definition, Definition::Input(_) | Definition::Wire { .. } | Definition::MatMul { .. });
            let column = if clean {
                made
            } else {
                self.b.node = column.node.unwrap_or_default();
                let shape = column.shape.clone();
                self.b.moved(made, Index::Identity, shape, "output")
            };
            self.b.relations.outputs.push(Output { column, tensor });
        }
        share_clamps(&mut self.b.relations);
        self.b.relations
    }
}

fn linear(b: &mut Builder, coefficients: &[i64], operands: &[ColumnId], constant: i64, bounds: Bounds) -> ColumnId {
    let mut terms: Vec<(i64, ColumnId)> = Vec::new();
    for (&coefficient, &column) in coefficients.iter().zip(operands) {
        match terms.iter_mut().find(|(_, known)| *known == column) {
            Some((sum, _)) => *sum += coefficient,
            None => terms.push((coefficient, column)),
        }
    }
    if constant == 0 && terms.len() == 1 && terms[0].0 == 1 {
        return terms[0].1;
    }
    b.linear_within(terms, constant, bounds, "sum")
}

/// Which nodes read each tensor. Outputs are read by others than lookups.
fn readers(graph: &Graph) -> Vec<Readers> {
    let mut lookups = vec![0_usize; graph.tensors.len()];
    let mut others = vec![0_usize; graph.tensors.len()];
    for node in &graph.nodes {
        let count = if matches!(node.op, Op::Lookup { .. }) { &mut lookups } else { &mut others };
        node.inputs.iter().for_each(|&id| count[id as usize] += 1);
    }
    graph.outputs.iter().for_each(|&id| others[id as usize] += 1);
    let of = |(lookups, others)| match (lookups, others) {
        (0, _) => Readers::NoLookup,
        (_, 0) => Readers::Lookups,
        _ => Readers::SomeLookup,
    };
    lookups.into_iter().zip(others).map(of).collect()
}

/// One table for all clamps between the same bounds: the widest, which holds the others.
fn share_clamps(relations: &mut Relations) {
    let widest = |low: i16, high: i16, tables: &[Table]| {
        let wide = |table: &Table| match *table {
            Table::Clamp { bits, low: l, high: h } if (l, h) == (low, high) => Some(bits),
            _ => None,
        };
        tables.iter().filter_map(wide).max().unwrap_or(1)
    };
    let mut kept: Vec<Table> = Vec::new();
    let mut places = Vec::new();
    for table in &relations.tables {
        let table = match *table {
            Table::Clamp { low, high, .. } => Table::Clamp { bits: widest(low, high, &relations.tables), low, high },
            ref other => other.clone(),
        };
        let place = kept.iter().position(|k| *k == table).unwrap_or(kept.len());
        if place == kept.len() {
            kept.push(table);
        }
        places.push(place);
    }
    relations.tables = kept;
    relations.lookups.iter_mut().for_each(|lookup| lookup.table = places[lookup.table]);
    for hint in &mut relations.hints {
        if let super::Hint::Looked { table, .. } = hint {
            *table = places[*table];
        }
    }
}
