//! The network in the making: adds operations, evaluates at once what is known in advance, keeps within bounds.

use std::{cell::Cell, collections::BTreeMap, sync::Arc};

use super::{
    element::Element,
    linear::Linear,
    tensor::{Tensor, count},
};
use crate::{
    graph::{Index, MAX_MACS, MAX_NODES, Wire},
    network::{Function, Kind, Node, Op, Operand, Value, ValueId, apply, known, per_axis, uniform},
};

/// Most elements of all values together: what evaluating every one takes stays under 1 GiB.
const MAX_TOTAL: usize = 1 << 27;
/// Most entries of all explicit wires together: 256 MiB.
const MAX_ENTRIES: usize = 1 << 26;
/// Most operations. The integers of a network have at most half as many: what calibration keeps of each stays small.
const MAX_OPERATIONS: usize = 2 * MAX_NODES;
/// Most multiplications spent on folding constants: seconds.
const MAX_FOLDING: usize = 1 << 33;
/// Multiplications in whose time a number is moved, or a position listed.
const MOVE: usize = 8;

/// See the module.
pub(super) struct Builder {
    pub(super) values: Vec<Value>,
    pub(super) elements: Vec<Element>,
    pub(super) constants: BTreeMap<ValueId, Arc<[f64]>>,
    pub(super) nodes: Vec<Node>,
    pub(super) producers: Vec<Option<usize>>,
    /// What each convolution and matrix product is made of, so that a normalisation or bias after it can be folded in.
    pub(super) linear: BTreeMap<ValueId, Linear>,
    /// How often each value is read in the ONNX graph, its outputs included.
    pub(super) uses: BTreeMap<ValueId, usize>,
    /// Name and operation of the ONNX node at hand.
    pub(super) node: (String, String),
    /// Whether it is a constant or what wires make of constants.
    knowable: Vec<bool>,
    made: usize,
    total: usize,
    entries: usize,
    /// Spent of [`MAX_FOLDING`], and beyond it where it was not to be had.
    folding: Cell<usize>,
    /// Products that one run adds up.
    products: u64,
}

/// Why something cannot be lowered; the node is named by who calls.
pub(super) type Lowered<T = ValueId> = Result<T, String>;

impl Builder {
    pub(super) fn new() -> Self {
        Self {
            values: Vec::new(),
            elements: Vec::new(),
            constants: BTreeMap::new(),
            nodes: Vec::new(),
            producers: Vec::new(),
            linear: BTreeMap::new(),
            uses: BTreeMap::new(),
            node: (String::new(), String::new()),
            knowable: Vec::new(),
            made: 0,
            total: 0,
            entries: 0,
            folding: Cell::new(0),
            products: 0,
        }
    }

    /// Starts the lowering of an ONNX node.
    pub(super) fn start(&mut self, name: String, operation: String) {
        self.node = (name, operation);
        self.made = 0;
    }

    /// A value that nothing gives yet: an input, or what the caller will add.
    pub(super) fn value(&mut self, name: String, shape: Vec<usize>, element: Element) -> Lowered {
        self.total = self.total.saturating_add(count(&shape)?);
        if self.total > MAX_TOTAL || self.values.len() >= MAX_TOTAL >> 6 {
            return Err(format!("the network has too many values; expected at most {MAX_TOTAL} elements in all"));
        }
        self.values.push(Value { name, shape, kind: element.kind(), range: element.whole() });
        self.elements.push(element);
        self.producers.push(None);
        self.knowable.push(false);
        Ok(self.values.len() - 1)
    }

    fn next(&mut self, shape: Vec<usize>, element: Element) -> Lowered {
        self.made += 1;
        let name = format!("{}:{}", self.node.0, self.made);
        self.value(name, shape, element)
    }

    /// A constant.
    pub(super) fn constant(&mut self, shape: Vec<usize>, element: Element, data: Vec<f64>) -> Lowered {
        if let Some(&odd) = data.iter().find(|v| v.is_nan()) {
            return Err(format!("its constants give {odd}; expected numbers"));
        }
        let id = self.next(shape, element)?;
        if count(&self.values[id].shape)? != data.len() {
            return Err(format!("{} values for shape {:?}", data.len(), self.values[id].shape));
        }
        self.constants.insert(id, data.into());
        self.knowable[id] = true;
        Ok(id)
    }

    pub(super) fn tensor(&mut self, tensor: Tensor) -> Lowered {
        self.constant(tensor.shape, tensor.element, tensor.data)
    }

    /// A list of integers.
    pub(super) fn list(&mut self, data: &[usize]) -> Lowered {
        self.constant(vec![data.len()], Element::Int64, data.iter().map(|&v| v as f64).collect())
    }

    /// One number, spread over a shape.
    pub(super) fn filled(&mut self, number: f64, element: Element, shape: &[usize]) -> Lowered {
        let one = self.constant(vec![], element, vec![number])?;
        self.broadcast(one, shape)
    }

    pub(super) fn shape(&self, id: ValueId) -> &[usize] {
        &self.values[id].shape
    }

    pub(super) fn element(&self, id: ValueId) -> Element {
        self.elements[id]
    }

    /// Its numbers, where they do not depend on any input.
    pub(super) fn known(&self, id: ValueId) -> Option<Arc<[f64]>> {
        let spend = |moved| self.spend(moved * MOVE).is_ok();
        self.knowable[id].then(|| known(&self.values, &self.constants, &self.nodes, &self.producers, id, spend))?
    }

    /// Takes steps from what may be spent on constants.
    pub(super) fn spend(&self, steps: usize) -> Lowered<()> {
        self.folding.set(self.folding.get().saturating_add(steps));
        self.afforded()
    }

    /// Whether no more was spent on constants than may be. What was not to be had for that reason is told as not known: this
    /// is asked first, wherever an operation ends.
    pub(super) fn afforded(&self) -> Lowered<()> {
        if self.folding.get() > MAX_FOLDING {
            return Err(format!("the constants take more than {MAX_FOLDING} steps to work out"));
        }
        Ok(())
    }

    /// Takes what listing so many positions costs.
    pub(super) fn spend_positions(&self, axes: &[Vec<Option<usize>>]) -> Lowered<()> {
        self.spend(MOVE * axes.iter().map(Vec::len).sum::<usize>())
    }

    /// A known value's numbers, all of which are looked at.
    fn looked_at(&self, id: ValueId) -> Option<Arc<[f64]>> {
        let data = self.known(id)?;
        self.spend(data.len()).ok()?;
        Some(data)
    }

    /// Whether its numbers depend on no input.
    pub(super) fn is_known(&self, id: ValueId) -> bool {
        self.knowable[id]
    }

    /// The numbers of a small list of integers, as shapes, axes and indices are.
    pub(super) fn integers(&self, id: ValueId, what: &str) -> Lowered<Vec<i64>> {
        let data =
            self.looked_at(id).ok_or_else(|| format!("its {what} would depend on the input; expected constants"))?;
        if self.elements[id].kind() == Kind::Real {
            return Err(format!("its {what} are floats; expected integers"));
        }
        // Saturates: ONNX writes "to the end" as the largest integer.
        Ok(data.iter().map(|&v| v as i64).collect())
    }

    /// The one number it holds everywhere.
    pub(super) fn uniform(&self, id: ValueId) -> Option<f64> {
        uniform(&self.looked_at(id)?)
    }

    /// Its one axis that matters, and the numbers along it.
    pub(super) fn per_axis(&self, id: ValueId) -> Option<(usize, Arc<[f64]>)> {
        per_axis(self.shape(id), &self.looked_at(id)?)
    }

    /// Adds an operation; where all its operands are known, its result instead.
    ///
    /// A wire that makes a constant larger stays a wire: spelt out, the constant would be committed as so many weights.
    pub(super) fn emit(&mut self, op: Op, inputs: &[ValueId], shape: Vec<usize>, element: Element) -> Lowered {
        let size = count(&shape)?;
        if size == 0 {
            return self.constant(shape, element, Vec::new());
        }
        let read: usize = inputs.iter().map(|&id| self.values[id].shape.iter().product::<usize>()).sum();
        let spreads = matches!(op, Op::Wire(_)) && size > read;
        if !spreads && let Some(data) = self.fold(&op, inputs, &shape, element, read)? {
            return self.constant(shape, element, data);
        }
        if let Op::Wire(Wire { index: Index::Explicit(index), .. }) = &op {
            self.spend_entries(index.len())?;
        }
        self.spend_work(&op, inputs, size)?;
        let output = self.next(shape, element)?;
        let (name, source) = self.node.clone();
        self.producers[output] = Some(self.nodes.len());
        self.knowable[output] = matches!(op, Op::Wire(_)) && inputs.iter().all(|&id| self.knowable[id]);
        self.nodes.push(Node { name, source, op, inputs: inputs.to_vec(), output });
        Ok(output)
    }

    /// Refuses wires that would take too much memory, best before they are spelt out.
    fn spend_entries(&mut self, entries: usize) -> Lowered<()> {
        self.entries = self.entries.saturating_add(entries);
        if self.entries > MAX_ENTRIES {
            return Err(format!("moves too many values one by one; expected at most {MAX_ENTRIES} in all"));
        }
        Ok(())
    }

    /// Refuses more operations, or more work in them, than the integers of any network may have: before samples are run.
    fn spend_work(&mut self, op: &Op, inputs: &[ValueId], size: usize) -> Lowered<()> {
        if self.nodes.len() >= MAX_OPERATIONS {
            return Err(format!("the network comes to more than {MAX_OPERATIONS} operations"));
        }
        let products = match op {
            Op::MatMul | Op::Conv(_) => self.steps(op, inputs, size),
            _ => 0,
        };
        self.products = self.products.saturating_add(products as u64);
        if self.products > MAX_MACS {
            return Err(format!("the network takes more than {MAX_MACS} products a run"));
        }
        Ok(())
    }

    /// What working an operation out takes, whose result has `size` values.
    fn steps(&self, op: &Op, inputs: &[ValueId], size: usize) -> usize {
        match (op, inputs) {
            (Op::MatMul, [left, _]) => size.saturating_mul(self.shape(*left).last().copied().unwrap_or(1)),
            (Op::Conv(_), [_, kernel]) => size.saturating_mul(self.shape(*kernel).iter().skip(1).product()),
            _ => size,
        }
    }

    /// Whether a list of so many entries may be made.
    pub(super) fn allow_entries(&self, entries: usize) -> Lowered<()> {
        if self.entries.saturating_add(entries) > MAX_ENTRIES {
            return Err(format!("moves {entries} values one by one; expected at most {MAX_ENTRIES} in all"));
        }
        Ok(())
    }

    fn fold(
        &mut self,
        op: &Op,
        inputs: &[ValueId],
        shape: &[usize],
        element: Element,
        read: usize,
    ) -> Lowered<Option<Vec<f64>>> {
        let data: Option<Vec<_>> = inputs.iter().map(|&id| self.known(id)).collect();
        let Some(data) = data else { return Ok(None) };
        let size: usize = shape.iter().product();
        let work = self.steps(op, inputs, size).max(read);
        self.spend(work)?;
        let operands: Vec<_> =
            inputs.iter().zip(&data).map(|(&id, data)| Operand { shape: &self.values[id].shape, data }).collect();
        let result = apply(op, &operands, shape)?;
        let arithmetic = matches!(op, Op::Add | Op::Sub | Op::Mul | Op::MatMul | Op::Conv(_) | Op::Wire(_));
        if arithmetic && element.kind() == Kind::Integer {
            // Up to here every integer is one `f64`; what is only moved may be larger ("to the end" of a slice).
            let moved = matches!(op, Op::Wire(Wire { fan_in: 1, .. }));
            if let Some(odd) = result.iter().find(|v| v.abs() > 2f64.powi(53) && !moved) {
                return Err(format!("its constants give {odd}; expected integers up to 2^53"));
            }
        }
        Ok(Some(result))
    }

    /// A function of each value; the result has its operand's type.
    pub(super) fn unary(&mut self, function: Function, x: ValueId) -> Lowered {
        self.emit(Op::Unary(function), &[x], self.shape(x).to_vec(), self.element(x))
    }

    /// An operation on two operands, spread to a common shape; the result has the first one's type.
    pub(super) fn binary(&mut self, op: Op, a: ValueId, b: ValueId) -> Lowered {
        self.compare(op, a, b, self.element(a))
    }

    /// As [`Self::binary`], with another type of result.
    pub(super) fn compare(&mut self, op: Op, a: ValueId, b: ValueId, element: Element) -> Lowered {
        let shape = common_shape(self.shape(a), self.shape(b))?;
        let (a, b) = (self.broadcast(a, &shape)?, self.broadcast(b, &shape)?);
        self.emit(op, &[a, b], shape, element)
    }

    /// `x * number`.
    pub(super) fn scale(&mut self, x: ValueId, number: f64) -> Lowered {
        if number == 1.0 {
            return Ok(x);
        }
        let shape = self.shape(x).to_vec();
        let factor = self.filled(number, self.element(x), &shape)?;
        self.binary(Op::Mul, x, factor)
    }

    /// `x + number`.
    pub(super) fn offset(&mut self, x: ValueId, number: f64) -> Lowered {
        if number == 0.0 {
            return Ok(x);
        }
        let shape = self.shape(x).to_vec();
        let term = self.filled(number, self.element(x), &shape)?;
        self.binary(Op::Add, x, term)
    }

    /// The same numbers as another type.
    pub(super) fn retyped(&mut self, x: ValueId, element: Element) -> Lowered {
        if self.element(x) == element {
            return Ok(x);
        }
        self.emit(Op::Wire(Wire { fan_in: 1, index: Index::Identity }), &[x], self.shape(x).to_vec(), element)
    }
}

/// ONNX's broadcasting of two shapes.
pub(super) fn common_shape(a: &[usize], b: &[usize]) -> Lowered<Vec<usize>> {
    let rank = a.len().max(b.len());
    let at = |shape: &[usize], i: usize| (i + shape.len()).checked_sub(rank).map_or(1, |i| shape[i]);
    let axis = |i: usize| match (at(a, i), at(b, i)) {
        (x, y) if x == y || y == 1 => Some(x),
        (1, y) => Some(y),
        _ => None,
    };
    let shape: Option<Vec<usize>> = (0..rank).map(axis).collect();
    let shape = shape.ok_or_else(|| format!("shapes {a:?} and {b:?} do not broadcast to one another"))?;
    count(&shape)?;
    Ok(shape)
}
