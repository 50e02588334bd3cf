//! What a graph must hold: first what anyone can check, then what its weights must keep.

use super::{
    Graph, INTERMEDIATE_END, Interval, MAX_ENTRIES, MAX_MACS, MAX_MOVES, MAX_NAME, MAX_NODES, MAX_TABLES, MAX_TENSORS,
    MAX_TOTAL, Multiplier, Node, Op, Table, Tensor, TensorId, WIDE_END, shape,
};

/// Most shift of [`Op::Rescale`] and [`Op::Divide`].
const MAX_SHIFT: u8 = 40;

/// What a graph does not hold, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GraphError {
    /// A node, by position.
    #[error("node {index} '{name}' ({op}): {reason}")]
    Node {
        /// Position in [`Graph::nodes`].
        index: usize,
        /// Its name.
        name: String,
        /// Its operation.
        op: &'static str,
        /// Expected and found.
        reason: String,
    },
    /// A tensor, by position.
    #[error("tensor {index}: {reason}")]
    Tensor {
        /// Position in [`Graph::tensors`].
        index: usize,
        /// Expected and found.
        reason: String,
    },
    /// A table, by position.
    #[error("table {index}: {reason}")]
    Table {
        /// Position in [`Graph::tables`].
        index: usize,
        /// Expected and found.
        reason: String,
    },
    /// The data of a constant.
    #[error("constant {index}: {reason}")]
    Constant {
        /// Position in [`Graph::constants`].
        index: usize,
        /// Expected and found.
        reason: String,
    },
    /// The graph as a whole.
    #[error("graph: {reason}")]
    Whole {
        /// Expected and found.
        reason: String,
    },
}

impl GraphError {
    pub(crate) fn node(index: usize, node: &Node, reason: String) -> Self {
        Self::Node { index, name: node.name.clone(), op: node.op.name(), reason }
    }

    fn whole(reason: String) -> Self {
        Self::Whole { reason }
    }
}

/// What one run of a graph takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Work {
    /// Products added up.
    pub macs: u64,
    /// Values moved or looked up.
    pub moves: u64,
}

impl Graph {
    /// Everything that can be checked without weights: limits, shapes, references, scales, and that within the declared
    /// bounds every operation stays in what it is defined on and every intermediate under [`INTERMEDIATE_END`].
    ///
    /// # Errors
    /// The first thing that does not hold, with the node's name.
    pub fn check(&self) -> Result<(), GraphError> {
        self.check_structure()?;
        let declared = |id: TensorId| self.tensors[id as usize].interval();
        for (index, tensor) in self.tensors.iter().enumerate() {
            let hull = tensor.interval();
            if hull.low > hull.high || hull.reach() >= WIDE_END as u64 {
                return Err(GraphError::Tensor {
                    index,
                    reason: format!("bounds {hull}; expected within 2^47, in order"),
                });
            }
            let scale = f32::from_bits(tensor.scale);
            if !scale.is_normal() || scale < 0.0 {
                let reason = format!("scale {scale}; expected a positive normal number");
                return Err(GraphError::Tensor { index, reason });
            }
        }
        for (index, node) in self.nodes.iter().enumerate() {
            let operands: Vec<Interval> = node.inputs.iter().map(|&id| declared(id)).collect();
            domain(&node.op, &operands, &self.tables)
                .and_then(|()| image(&node.op, &operands, declared(node.output)))
                .map_err(|reason| GraphError::node(index, node, reason))?;
        }
        Ok(())
    }

    /// [`Self::check`], and with the weights proves that no input in range makes any tensor leave its declared bounds.
    ///
    /// # Errors
    /// The first thing that does not hold, with the node's name.
    pub fn check_weights(&self, weights: &[Vec<i64>]) -> Result<(), GraphError> {
        self.check()?;
        self.check_data(weights)?;
        for (index, (&id, data)) in self.constants.iter().zip(weights).enumerate() {
            let declared = self.tensors[id as usize].interval();
            if let Some(at) = data.iter().position(|&value| !declared.contains(Interval::point(value))) {
                let reason = format!("value {} at {at}; declared {declared}", data[at]);
                return Err(GraphError::Constant { index, reason });
            }
        }
        self.analyse(weights, |index, found| {
            let declared = self.tensors[self.nodes[index].output as usize].interval();
            if declared.contains(found) { Ok(()) } else { Err(format!("values {found}; declared {declared}")) }
        })?;
        Ok(())
    }

    /// One vector for each constant, of its size, within [`WIDE_END`].
    pub(crate) fn check_data(&self, weights: &[Vec<i64>]) -> Result<(), GraphError> {
        if weights.len() != self.constants.len() {
            let reason = format!("{} vectors of weights; expected {}", weights.len(), self.constants.len());
            return Err(GraphError::whole(reason));
        }
        for (index, (&id, data)) in self.constants.iter().zip(weights).enumerate() {
            let expected = self.tensors[id as usize].len();
            if data.len() != expected {
                let reason = format!("{} values; expected {expected}", data.len());
                return Err(GraphError::Constant { index, reason });
            }
            if let Some(at) = data.iter().position(|value| value.unsigned_abs() >= WIDE_END as u64) {
                let reason = format!("value {} at {at}; expected within 2^47", data[at]);
                return Err(GraphError::Constant { index, reason });
            }
        }
        Ok(())
    }

    /// What one run takes, after a check of limits, shapes, references and the order of nodes: of everything but bounds and
    /// scales of what is computed.
    ///
    /// # Errors
    /// The first thing that does not hold, with the node's name.
    pub fn work(&self) -> Result<Work, GraphError> {
        self.check_structure()
    }

    pub(crate) fn check_structure(&self) -> Result<Work, GraphError> {
        let limits = [
            ("nodes", self.nodes.len(), MAX_NODES),
            ("tensors", self.tensors.len(), MAX_TENSORS),
            ("tables", self.tables.len(), MAX_TABLES),
        ];
        for (what, found, most) in limits {
            if found > most {
                return Err(GraphError::whole(format!("{found} {what}; expected at most {most}")));
            }
        }
        let mut total = 0;
        for (index, tensor) in self.tensors.iter().enumerate() {
            total += shape::size(&tensor.shape).map_err(|reason| GraphError::Tensor { index, reason })?;
        }
        if total > MAX_TOTAL {
            return Err(GraphError::whole(format!("{total} values in all tensors; expected at most {MAX_TOTAL}")));
        }
        for (index, table) in self.tables.iter().enumerate() {
            check_table(table).map_err(|reason| GraphError::Table { index, reason })?;
        }
        self.check_order()?;
        let (mut macs, mut moves) = (0u64, 0u64);
        for (index, node) in self.nodes.iter().enumerate() {
            structure(&self.tensors, &self.tables, node).map_err(|reason| GraphError::node(index, node, reason))?;
            let shapes: Vec<&[u32]> = node.inputs.iter().map(|&id| &*self.tensors[id as usize].shape).collect();
            let output = &self.tensors[node.output as usize].shape;
            macs = macs.saturating_add(node.op.macs(&shapes, output));
            moves = moves.saturating_add(node.op.moves(&shapes, output));
        }
        for (what, found, most) in [("products", macs, MAX_MACS), ("values moved", moves, MAX_MOVES)] {
            if found > most {
                return Err(GraphError::whole(format!("{found} {what} a run; expected at most {most}")));
            }
        }
        Ok(Work { macs, moves })
    }

    /// Every tensor defined once, before it is read.
    fn check_order(&self) -> Result<(), GraphError> {
        let mut defined = vec![false; self.tensors.len()];
        let mut define = |id: TensorId| match defined.get_mut(id as usize) {
            None => Err(format!("tensor {id} of {}", self.tensors.len())),
            Some(true) => Err(format!("tensor {id} is defined twice")),
            Some(free) => {
                *free = true;
                Ok(())
            }
        };
        for &id in self.inputs.iter().chain(&self.constants) {
            define(id).map_err(GraphError::whole)?;
        }
        for &id in &self.inputs {
            let interval = self.tensors[id as usize].interval();
            if !interval.is_act() || interval.low > interval.high {
                let reason = format!("input bounds {interval}; expected an act, within i16");
                return Err(GraphError::Tensor { index: id as usize, reason });
            }
        }
        let mut constant = vec![false; self.tensors.len()];
        self.constants.iter().for_each(|&id| constant[id as usize] = true);
        let mut known = constant.clone();
        self.inputs.iter().for_each(|&id| known[id as usize] = true);
        for (index, node) in self.nodes.iter().enumerate() {
            let late = node.inputs.iter().find(|&&id| known.get(id as usize) != Some(&true));
            let read = late.map_or(Ok(()), |id| Err(format!("operand {id} is not defined before it")));
            read.and_then(|()| define(node.output)).map_err(|reason| GraphError::node(index, node, reason))?;
            known[node.output as usize] = true;
            if let Op::Rescale { multiplier: Multiplier::PerAxis(_), .. } = node.op
                && !node.inputs.get(1).is_some_and(|&id| constant[id as usize])
            {
                return Err(GraphError::node(index, node, "multipliers that are not a constant".into()));
            }
        }
        if let Some(index) = known.iter().position(|known| !known) {
            return Err(GraphError::Tensor { index, reason: "defined by nothing".into() });
        }
        if self.outputs.is_empty() {
            return Err(GraphError::whole("no outputs".into()));
        }
        match self.outputs.iter().find(|&&id| id as usize >= self.tensors.len()) {
            Some(id) => Err(GraphError::whole(format!("output {id} of {} tensors", self.tensors.len()))),
            None => Ok(()),
        }
    }
}

impl Tensor {
    pub(crate) fn interval(&self) -> Interval {
        Interval { low: self.low, high: self.high }
    }
}

fn check_name(name: &str) -> Result<(), String> {
    if name.len() > MAX_NAME {
        return Err(format!("a name of {} bytes; expected at most {MAX_NAME}", name.len()));
    }
    Ok(())
}

fn check_table(table: &Table) -> Result<(), String> {
    check_name(&table.name)?;
    let last = i64::from(table.low) + table.values.len() as i64 - 1;
    let covered = Interval { low: i64::from(table.low), high: last };
    if table.values.is_empty() || !covered.is_act() {
        return Err(format!("{} values from {}; expected at least 1, within i16", table.values.len(), table.low));
    }
    Ok(())
}

/// A node's shapes, parameters and references, whatever the bounds.
pub(crate) fn structure(tensors: &[Tensor], tables: &[Table], node: &Node) -> Result<(), String> {
    check_name(&node.name)?;
    let shape = |&id: &TensorId| match tensors.get(id as usize) {
        Some(tensor) => shape::size(&tensor.shape).map(|size| (&*tensor.shape, size)),
        None => Err(format!("tensor {id} of {}", tensors.len())),
    };
    let operands = node.inputs.iter().map(shape).collect::<Result<Vec<_>, _>>()?;
    let shapes: Vec<&[u32]> = operands.iter().map(|(shape, _)| *shape).collect();
    let (output, out_len) = shape(&node.output)?;
    if let Some(expected) = node.op.output_shape(&shapes)?
        && expected != output
    {
        return Err(format!("output of shape {output:?}; expected {expected:?}"));
    }
    match &node.op {
        Op::Wire(wire) => wire.check(operands.iter().map(|(_, size)| size).sum(), out_len),
        Op::Conv(_) => {
            // The kernel's values for one output, so all windows of one group are no more than this.
            let taps = operands[1].1 / shapes[1][0] as usize;
            let windows = (out_len / output[1] as usize).saturating_mul(taps);
            if windows > MAX_ENTRIES {
                return Err(format!("windows of {windows} values; expected at most {MAX_ENTRIES}"));
            }
            Ok(())
        }
        Op::Rescale { multiplier: Multiplier::Uniform(m), .. } if !(1..1 << 31).contains(m) => {
            Err(format!("multiplier {m}; expected 1 to 2^31 - 1"))
        }
        Op::Rescale { shift, .. } if !(1..=MAX_SHIFT).contains(shift) => {
            Err(format!("shift {shift}; expected 1 to {MAX_SHIFT}"))
        }
        Op::Rescale { low, high, .. } if low > high => Err(format!("clamp to {low}..={high}")),
        Op::Divide { shift } if *shift > MAX_SHIFT => Err(format!("shift {shift}; expected at most {MAX_SHIFT}")),
        Op::Lookup { table } if *table as usize >= tables.len() => Err(format!("table {table} of {}", tables.len())),
        _ => Ok(()),
    }
}

/// Whether operands within these bounds stay in what the operation is defined on.
pub(crate) fn domain(op: &Op, operands: &[Interval], tables: &[Table]) -> Result<(), String> {
    let acts = |count: usize| match operands[..count].iter().find(|hull| !hull.is_act()) {
        Some(hull) => Err(format!("operand {hull}; expected an act, within i16")),
        None => Ok(()),
    };
    let reach = |at: usize| i128::from(operands[at].reach());
    match op {
        Op::Wire(wire) => {
            let most = operands.iter().map(|hull| i128::from(hull.reach())).max().unwrap_or(0);
            under("a sum", most * i128::from(wire.fan_in))
        }
        Op::MatMul | Op::Conv(_) | Op::Mul | Op::Greater => acts(2),
        Op::ReduceMax | Op::ArgMax => acts(1),
        Op::Linear { coefficients, constant } => {
            let terms = coefficients.iter().zip(operands);
            let terms = terms.map(|(c, x)| i128::from(c.unsigned_abs()) * i128::from(x.reach()));
            // The coefficients alone too, so that those of one tensor can be added up.
            let alone = coefficients.iter().map(|c| i128::from(c.unsigned_abs())).sum::<i128>();
            let reach = terms.fold(i128::from(constant.unsigned_abs()), |sum, term| sum.saturating_add(term));
            under("a sum", reach.max(alone))
        }
        Op::Rescale { multiplier, shift, .. } => {
            let most = match multiplier {
                Multiplier::Uniform(m) => i128::from(*m),
                Multiplier::PerAxis(_) if operands[1].low < 0 || operands[1].high >= 1 << 31 => {
                    return Err(format!("multipliers {}; expected 0 to 2^31 - 1", operands[1]));
                }
                Multiplier::PerAxis(_) => reach(1),
            };
            under("the product before its shift", reach(0) * most + (1i128 << (shift - 1)))
        }
        Op::Lookup { table } => {
            let table = &tables[*table as usize];
            let low = i64::from(table.low);
            let covered = Interval { low, high: low + table.values.len() as i64 - 1 };
            if covered.contains(operands[0]) {
                return Ok(());
            }
            Err(format!("operand {}; the table '{}' covers {covered}", operands[0], table.name))
        }
        Op::Divide { shift } => {
            if operands[1].low < 1 {
                return Err(format!("divisor {}; expected at least 1", operands[1]));
            }
            under("the dividend", (reach(0) << (shift + 1)) + reach(1))
        }
        Op::Sqrt if operands[0].low < 0 || operands[0].high >= 1 << 30 => {
            Err(format!("square root of {}; expected 0 to 2^30 - 1", operands[0]))
        }
        Op::Sqrt => Ok(()),
    }
}

/// Whether an output within these bounds is what the operation may give.
pub(crate) fn image(op: &Op, operands: &[Interval], output: Interval) -> Result<(), String> {
    let gives_act = match op {
        Op::Wire(_) | Op::MatMul | Op::Conv(_) | Op::Linear { .. } | Op::Mul | Op::Divide { .. } => false,
        Op::Rescale { .. } | Op::Lookup { .. } | Op::ReduceMax | Op::ArgMax | Op::Greater | Op::Sqrt => true,
    };
    if gives_act && !output.is_act() {
        return Err(format!("values {output}; expected an act, within i16"));
    }
    if output.reach() >= WIDE_END as u64 {
        return Err(format!("values {output}; expected within 2^47"));
    }
    if let Op::Divide { .. } = op {
        // So that a proof cannot wrap around in `quotient * 2 * divisor`.
        let width = i128::from(output.high) - i128::from(output.low) + 1;
        return under("twice the divisor times the quotients' width", width * 2 * i128::from(operands[1].high));
    }
    Ok(())
}

fn under(what: &str, reach: i128) -> Result<(), String> {
    if reach < i128::from(INTERMEDIATE_END) {
        return Ok(());
    }
    Err(format!("{what} reaches {reach}; expected under 2^62"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
