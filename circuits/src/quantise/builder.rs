//! A graph that grows node by node, with the bounds of every tensor known at once.

use std::collections::HashMap;

use super::{QuantiseError, rescale::Ratio};
use crate::graph::{Analysis, Graph, GraphError, Multiplier, Node, Op, Table, Tensor, TensorId, Wire, size};

/// A tensor and what one step of it is worth. The same tensor may stand for several values with scales of their own.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Scaled {
    pub(super) tensor: TensorId,
    pub(super) scale: f64,
}

/// Longest name that a node takes over.
const NAME: usize = 200;

pub(super) struct Builder {
    pub(super) graph: Graph,
    pub(super) weights: Vec<Vec<i64>>,
    analysis: Analysis<'static>,
    tables: HashMap<(i32, Vec<i16>), u32>,
    constants: HashMap<(Vec<u32>, Vec<i64>), TensorId>,
    /// The node of the network that is being worked on, for messages.
    pub(super) node: String,
    pub(super) source: String,
}

impl Builder {
    pub(super) fn new() -> Self {
        let (tensors, tables, inputs) = (Vec::new(), Vec::new(), Vec::new());
        let graph = Graph { tensors, tables, inputs, constants: Vec::new(), nodes: Vec::new(), outputs: Vec::new() };
        Self {
            graph,
            weights: Vec::new(),
            analysis: Analysis::new(),
            tables: HashMap::new(),
            constants: HashMap::new(),
            node: String::new(),
            source: String::new(),
        }
    }

    /// An error about the node that is being worked on.
    pub(super) fn refuse(&self, reason: impl Into<String>) -> QuantiseError {
        QuantiseError::Node { node: self.node.clone(), operation: self.source.clone(), reason: reason.into() }
    }

    fn failed(&self, error: &GraphError) -> QuantiseError {
        let reason = match error {
            GraphError::Node { op, reason, .. } => format!("its integer {op}: {reason}"),
            other => other.to_string(),
        };
        self.refuse(format!("{reason}; its scales lie too far apart for exact integers"))
    }

    /// Smallest and largest value.
    pub(super) fn bounds(&self, tensor: TensorId) -> (i64, i64) {
        let tensor = &self.graph.tensors[tensor as usize];
        (tensor.low, tensor.high)
    }

    /// Largest magnitude.
    pub(super) fn reach(&self, tensor: TensorId) -> i64 {
        let (low, high) = self.bounds(tensor);
        low.abs().max(high.abs())
    }

    /// Whether it is within `i16`, and its negation too.
    pub(super) fn is_act(&self, tensor: TensorId) -> bool {
        self.reach(tensor) <= i64::from(i16::MAX)
    }

    pub(super) fn shape(&self, tensor: TensorId) -> &[u32] {
        &self.graph.tensors[tensor as usize].shape
    }

    fn tensor(&mut self, shape: Vec<u32>, scale: f64) -> Result<Scaled, QuantiseError> {
        let bits = scale as f32;
        if !(bits.is_normal() && bits > 0.0) {
            return Err(
                self.refuse(format!("one step would be worth {scale:e}; expected what a 32-bit float can tell"))
            );
        }
        size(&shape).map_err(|reason| self.refuse(format!("in integers, {reason}")))?;
        let id = self.graph.tensors.len() as TensorId;
        self.graph.tensors.push(Tensor { shape, low: 0, high: 0, scale: bits.to_bits() });
        Ok(Scaled { tensor: id, scale })
    }

    pub(super) fn input(&mut self, shape: Vec<u32>, low: i64, high: i64, scale: f64) -> Result<Scaled, QuantiseError> {
        let found = self.tensor(shape, scale)?;
        self.declare(found.tensor, (low, high));
        self.graph.inputs.push(found.tensor);
        self.analysis.input(found.tensor, low, high);
        Ok(found)
    }

    fn declare(&mut self, tensor: TensorId, (low, high): (i64, i64)) {
        let tensor = &mut self.graph.tensors[tensor as usize];
        (tensor.low, tensor.high) = (low, high);
    }

    /// A constant, committed once however often it is asked for.
    pub(super) fn constant(&mut self, shape: Vec<u32>, data: Vec<i64>, scale: f64) -> Result<Scaled, QuantiseError> {
        let key = (shape, data);
        if let Some(&tensor) = self.constants.get(&key) {
            return Ok(Scaled { tensor, scale });
        }
        let found = self.tensor(key.0.clone(), scale)?;
        let low = key.1.iter().copied().min().unwrap_or(0);
        let high = key.1.iter().copied().max().unwrap_or(0);
        self.declare(found.tensor, (low, high));
        self.graph.constants.push(found.tensor);
        self.analysis.constant(found.tensor, key.1.clone());
        self.weights.push(key.1.clone());
        self.constants.insert(key, found.tensor);
        Ok(found)
    }

    /// A constant of this shape, committed without the axes along which it repeats.
    pub(super) fn spread(&mut self, shape: &[u32], data: &[i64], scale: f64) -> Result<Scaled, QuantiseError> {
        let (small, kept) = shrink(shape, data);
        let constant = self.constant(small.clone(), kept, scale)?;
        if small == shape {
            return Ok(constant);
        }
        self.push(Op::Wire(Wire::broadcast(&small, shape)), &[constant.tensor], shape.to_vec(), scale)
    }

    /// Adds a node.
    pub(super) fn push(
        &mut self,
        op: Op,
        inputs: &[TensorId],
        shape: Vec<u32>,
        scale: f64,
    ) -> Result<Scaled, QuantiseError> {
        let found = self.tensor(shape, scale)?;
        let end = self.node.char_indices().map(|(at, _)| at).find(|&at| at >= NAME).unwrap_or(self.node.len());
        let node = Node { name: self.node[..end].into(), op, inputs: inputs.to_vec(), output: found.tensor };
        let index = self.graph.nodes.len();
        let bounds = self.analysis.node(&self.graph.tensors, &self.graph.tables, index, &node);
        let bounds = bounds.map_err(|error| self.failed(&error))?;
        self.declare(found.tensor, bounds);
        self.graph.nodes.push(node);
        Ok(found)
    }

    /// `sum(coefficient * operand) + constant`, in steps of `scale`.
    pub(super) fn linear(
        &mut self,
        terms: &[(i64, TensorId)],
        constant: i64,
        scale: f64,
    ) -> Result<Scaled, QuantiseError> {
        let (coefficients, inputs): (Vec<i64>, Vec<TensorId>) = terms.iter().copied().unzip();
        let shape = self.shape(inputs[0]).to_vec();
        self.push(Op::Linear { coefficients, constant }, &inputs, shape, scale)
    }

    /// Rounds `x * ratio` and clamps.
    pub(super) fn rescale(
        &mut self,
        x: TensorId,
        ratio: Ratio,
        (low, high): (i16, i16),
        scale: f64,
    ) -> Result<Scaled, QuantiseError> {
        let multiplier = Multiplier::Uniform(ratio.multiplier);
        let shape = self.shape(x).to_vec();
        self.push(Op::Rescale { multiplier, shift: ratio.shift, low, high }, &[x], shape, scale)
    }

    /// A table that covers the bounds of `x`, rounded out to powers of two so that layers can share it.
    pub(super) fn lookup(
        &mut self,
        name: &str,
        x: TensorId,
        scale: f64,
        value: impl Fn(i64) -> i16,
    ) -> Result<Scaled, QuantiseError> {
        let (low, high) = self.bounds(x);
        let mut end = 2;
        while low < -end || high >= end {
            end *= 2;
        }
        let start = if low < 0 { -end } else { 0 };
        let values: Vec<i16> = (start..end).map(value).collect();
        let key = (start as i32, values);
        let table = match self.tables.get(&key) {
            Some(&table) => table,
            None => {
                let table = self.graph.tables.len() as u32;
                self.graph.tables.push(Table { name: name.into(), low: key.0, values: key.1.clone() });
                self.tables.insert(key, table);
                table
            }
        };
        let shape = self.shape(x).to_vec();
        self.push(Op::Lookup { table }, &[x], shape, scale)
    }

    /// The same tensor under its own name and scale: an output.
    pub(super) fn named(&mut self, x: Scaled) -> Result<Scaled, QuantiseError> {
        let shape = self.shape(x.tensor).to_vec();
        self.push(Op::Wire(Wire::identity()), &[x.tensor], shape, x.scale)
    }
}

/// Shape and data without repetition: axes along which nothing changes have size 1.
fn shrink(shape: &[u32], data: &[i64]) -> (Vec<u32>, Vec<i64>) {
    let mut shape = shape.to_vec();
    let mut data = data.to_vec();
    for axis in 0..shape.len() {
        let inner: usize = shape[axis + 1..].iter().map(|&size| size as usize).product();
        let size = shape[axis] as usize;
        let block = inner * size;
        if size == 1 || block == 0 {
            continue;
        }
        let repeats = data.chunks_exact(block).all(|block| block[..block.len() - inner] == block[inner..]);
        if repeats {
            data = data.chunks_exact(block).flat_map(|block| block[..inner].to_vec()).collect();
            shape[axis] = 1;
        }
    }
    (shape, data)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::shrink;

    #[test]
    fn a_constant_keeps_only_the_axes_along_which_it_changes() {
        assert_eq!(shrink(&[2, 3], &[1, 2, 3, 1, 2, 3]), (vec![1, 3], vec![1, 2, 3]));
        assert_eq!(shrink(&[2, 3], &[1, 1, 1, 2, 2, 2]), (vec![2, 1], vec![1, 2]));
        assert_eq!(shrink(&[2, 2], &[7; 4]), (vec![1, 1], vec![7]));
        assert_eq!(shrink(&[2, 2], &[1, 2, 3, 4]), (vec![2, 2], vec![1, 2, 3, 4]));
        assert_eq!(shrink(&[], &[5]), (vec![], vec![5]));
    }
}
