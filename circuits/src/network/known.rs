//! What of a network is known before any input: constants, seen through the wires that spread them.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{Network, Node, Op, Operand, Value, ValueId, apply};

impl Network {
    /// For each value the position of the node that makes it.
    pub fn producers(&self) -> Vec<Option<usize>> {
        let mut producers = vec![None; self.values.len()];
        for (at, node) in self.nodes.iter().enumerate() {
            if let Some(slot) = producers.get_mut(node.output) {
                *slot = Some(at);
            }
        }
        producers
    }

    /// The numbers of a constant, or of what wires make of constants, spelt out.
    pub fn known(&self, value: ValueId) -> Option<Arc<[f64]>> {
        known(&self.values, &self.constants, &self.nodes, &self.producers(), value, |_| true)
    }

    /// The one number that a known value holds everywhere.
    pub fn uniform(&self, value: ValueId) -> Option<f64> {
        uniform(&self.known(value)?)
    }

    /// The axis along which a known value varies, with a number for each of its positions; axis 0 where it is uniform.
    /// `None` where it is not known or varies along several.
    pub fn per_axis(&self, value: ValueId) -> Option<(usize, Arc<[f64]>)> {
        per_axis(&self.values[value].shape, &self.known(value)?)
    }
}

/// Follows wires back to constants, without recursion: a hostile file may chain very many. `spend` is asked before each of
/// them, with the numbers that it moves.
pub(crate) fn known(
    values: &[Value],
    constants: &BTreeMap<ValueId, Arc<[f64]>>,
    nodes: &[Node],
    producers: &[Option<usize>],
    value: ValueId,
    mut spend: impl FnMut(usize) -> bool,
) -> Option<Arc<[f64]>> {
    if let Some(data) = constants.get(&value) {
        return Some(data.clone());
    }
    // Positions of nodes, which stand in the order of their data.
    let mut needed = BTreeSet::new();
    let mut open = vec![value];
    while let Some(id) = open.pop() {
        if constants.contains_key(&id) {
            continue;
        }
        let at = (*producers.get(id)?)?;
        let Op::Wire(_) = &nodes[at].op else { return None };
        if needed.insert(at) {
            open.extend(&nodes[at].inputs);
        }
    }
    let mut made: BTreeMap<ValueId, Arc<[f64]>> = BTreeMap::new();
    for at in needed {
        let node = &nodes[at];
        let operands = node.inputs.iter().map(|id| {
            let data = constants.get(id).or_else(|| made.get(id))?;
            Some(Operand { shape: &values[*id].shape, data })
        });
        let operands = operands.collect::<Option<Vec<_>>>()?;
        let read: usize = operands.iter().map(|operand| operand.data.len()).sum();
        if !spend(read.max(values[node.output].shape.iter().product())) {
            return None;
        }
        let result = apply(&node.op, &operands, &values[node.output].shape).ok()?;
        made.insert(node.output, result.into());
    }
    made.remove(&value)
}

/// The number that stands everywhere.
pub(crate) fn uniform(data: &[f64]) -> Option<f64> {
    let (&first, rest) = data.split_first()?;
    rest.iter().all(|&v| v == first).then_some(first)
}

/// The one axis along which numbers of this shape vary, and how.
pub(crate) fn per_axis(shape: &[usize], data: &[f64]) -> Option<(usize, Arc<[f64]>)> {
    if data.is_empty() || shape.iter().product::<usize>() != data.len() {
        return None;
    }
    if shape.is_empty() {
        return Some((0, data.into()));
    }
    (0..shape.len()).find_map(|axis| {
        let inner: usize = shape[axis + 1..].iter().product();
        let along: Arc<[f64]> = (0..shape[axis]).map(|i| data[i * inner]).collect();
        let fits = data.iter().enumerate().all(|(i, &v)| along[i / inner % shape[axis]] == v);
        fits.then_some((axis, along))
    })
}
