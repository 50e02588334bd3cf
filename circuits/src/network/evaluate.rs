//! What a network computes, in `f64`: the measure of its quantised form.

use std::sync::Arc;

use super::{Network, Op, ValueId, convolution::convolve, wire};

/// Why a network was not evaluated.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum EvaluateError {
    /// Not as many inputs as the network has.
    #[error("{found} inputs; the network has {expected}")]
    InputCount {
        /// Inputs of the network.
        expected: usize,
        /// Inputs given.
        found: usize,
    },
    /// An input of another size.
    #[error("input '{name}' has {found} values; its shape {shape:?} has {expected}")]
    InputLength {
        /// The input's name.
        name: String,
        /// Its shape.
        shape: Vec<usize>,
        /// Values of that shape.
        expected: usize,
        /// Values given.
        found: usize,
    },
    /// An input that is not a finite number.
    #[error("input '{name}' holds {value} at position {position}; expected finite numbers")]
    NotFinite {
        /// The input's name.
        name: String,
        /// Where.
        position: usize,
        /// What.
        value: f64,
    },
    /// The network itself is not sound: shapes that do not fit, a value read before it is made.
    #[error("node '{node}': {reason}")]
    Node {
        /// The node's name.
        node: String,
        /// Expected and found.
        reason: String,
    },
}

/// Shape and numbers of an operand.
#[derive(Clone, Copy)]
pub(crate) struct Operand<'a> {
    pub(crate) shape: &'a [usize],
    pub(crate) data: &'a [f64],
}

impl Network {
    /// The outputs for these inputs, row-major, in the order of [`Network::outputs`].
    ///
    /// # Errors
    /// [`EvaluateError`]; inputs of the wrong count or size, or not finite.
    pub fn evaluate(&self, inputs: &[Vec<f64>]) -> Result<Vec<Vec<f64>>, EvaluateError> {
        let mut last_use = vec![0; self.values.len()];
        for (at, node) in self.nodes.iter().enumerate() {
            for &input in &node.inputs {
                if let Some(slot) = last_use.get_mut(input) {
                    *slot = at;
                }
            }
        }
        for &output in &self.outputs {
            if let Some(slot) = last_use.get_mut(output) {
                *slot = usize::MAX;
            }
        }
        let all = self.walk(inputs, |at, value| last_use[value] <= at)?;
        self.outputs
            .iter()
            .map(|&output| {
                all.get(output).and_then(|v| v.as_ref()).map(|v| v.to_vec()).ok_or_else(|| EvaluateError::Node {
                    node: "outputs".into(),
                    reason: format!("value {output} is never made"),
                })
            })
            .collect()
    }

    /// Every value for these inputs, by [`ValueId`]: constants and inputs too; nothing for a value that is never made.
    ///
    /// # Errors
    /// As [`Network::evaluate`].
    pub fn evaluate_all(&self, inputs: &[Vec<f64>]) -> Result<Vec<Arc<[f64]>>, EvaluateError> {
        let all = self.walk(inputs, |_, _| false)?;
        Ok(all.into_iter().map(Option::unwrap_or_default).collect())
    }

    /// Values node by node; those that are `spent` after a node are let go.
    fn walk(
        &self,
        inputs: &[Vec<f64>],
        spent: impl Fn(usize, ValueId) -> bool,
    ) -> Result<Vec<Option<Arc<[f64]>>>, EvaluateError> {
        let mut all: Vec<Option<Arc<[f64]>>> = vec![None; self.values.len()];
        let mut put = |id: ValueId, data: Arc<[f64]>| match all.get_mut(id) {
            Some(slot) => {
                *slot = Some(data);
                Ok(())
            }
            None => Err(EvaluateError::Node { node: "inputs".into(), reason: format!("value {id} does not exist") }),
        };
        for (&id, data) in &self.constants {
            put(id, data.clone())?;
        }
        self.check_inputs(inputs)?;
        for (&id, data) in self.inputs.iter().zip(inputs) {
            put(id, data.as_slice().into())?;
        }
        for (at, node) in self.nodes.iter().enumerate() {
            let wrong = |reason: String| EvaluateError::Node { node: node.name.clone(), reason };
            let operands = node
                .inputs
                .iter()
                .map(|&id| match (self.values.get(id), all.get(id)) {
                    (Some(value), Some(Some(data))) => Ok(Operand { shape: &value.shape, data }),
                    _ => Err(wrong(format!("value {id} is read before it is made"))),
                })
                .collect::<Result<Vec<_>, _>>()?;
            let shape = &self.values.get(node.output).ok_or_else(|| wrong("its output does not exist".into()))?.shape;
            let result = apply(&node.op, &operands, shape).map_err(wrong)?;
            all[node.output] = Some(result.into());
            for &input in &node.inputs {
                if spent(at, input) {
                    all[input] = None;
                }
            }
        }
        Ok(all)
    }

    /// Whether these inputs can be fed.
    ///
    /// # Errors
    /// [`EvaluateError`] that names the input.
    pub fn check_inputs(&self, inputs: &[Vec<f64>]) -> Result<(), EvaluateError> {
        if inputs.len() != self.inputs.len() {
            return Err(EvaluateError::InputCount { expected: self.inputs.len(), found: inputs.len() });
        }
        for (&id, data) in self.inputs.iter().zip(inputs) {
            let Some(value) = self.values.get(id) else {
                let reason = format!("value {id} does not exist");
                return Err(EvaluateError::Node { node: "inputs".into(), reason });
            };
            let (name, shape) = (value.name.clone(), value.shape.clone());
            let expected = shape.iter().product();
            if data.len() != expected {
                return Err(EvaluateError::InputLength { name, shape, expected, found: data.len() });
            }
            if let Some(position) = data.iter().position(|v| !v.is_finite()) {
                return Err(EvaluateError::NotFinite { name, position, value: data[position] });
            }
        }
        Ok(())
    }
}

/// One operation on numbers; `shape` is its result's.
///
/// # Errors
/// What does not fit together.
pub(crate) fn apply(op: &Op, operands: &[Operand<'_>], shape: &[usize]) -> Result<Vec<f64>, String> {
    let size = shape.iter().product();
    match (op, operands) {
        (Op::Wire(w), _) => wire::wire(w, operands, size),
        (Op::Conv(geometry), [input, kernel]) => convolve(geometry, input, kernel, shape),
        (Op::MatMul, [left, right]) => multiply(left, right, shape),
        (Op::Unary(function), [x]) => same(size, [x]).map(|[x]| x.iter().map(|&v| function.apply(v)).collect()),
        (Op::ReduceMax, [x]) => rows(x, size, |row| row.iter().copied().fold(f64::NEG_INFINITY, f64::max)),
        (Op::ArgMax, [x]) => rows(x, size, |row| {
            let best =
                row.iter().enumerate().fold((0, f64::NEG_INFINITY), |b, (i, &v)| if v > b.1 { (i, v) } else { b });
            best.0 as f64
        }),
        (Op::Select, [condition, then, otherwise]) => {
            let [c, t, o] = same(size, [condition, then, otherwise])?;
            Ok(c.iter().zip(t).zip(o).map(|((&c, &t), &o)| if c == 0.0 { o } else { t }).collect())
        }
        (Op::Add, [a, b]) => pairs(a, b, size, |a, b| a + b),
        (Op::Sub, [a, b]) => pairs(a, b, size, |a, b| a - b),
        (Op::Mul, [a, b]) => pairs(a, b, size, |a, b| a * b),
        (Op::Div, [a, b]) => pairs(a, b, size, |a, b| a / b),
        (Op::Max, [a, b]) => pairs(a, b, size, f64::max),
        (Op::Min, [a, b]) => pairs(a, b, size, f64::min),
        (Op::Greater, [a, b]) => pairs(a, b, size, |a, b| f64::from(a > b)),
        (Op::Equal, [a, b]) => pairs(a, b, size, |a, b| f64::from(a == b)),
        _ => Err(format!("{} operands, which {op:?} does not take", operands.len())),
    }
}

fn same<'a, const N: usize>(size: usize, operands: [&Operand<'a>; N]) -> Result<[&'a [f64]; N], String> {
    match operands.iter().find(|o| o.data.len() != size) {
        Some(odd) => Err(format!("an operand of {} values; expected {size}", odd.data.len())),
        None => Ok(operands.map(|o| o.data)),
    }
}

fn pairs(a: &Operand<'_>, b: &Operand<'_>, size: usize, f: impl Fn(f64, f64) -> f64) -> Result<Vec<f64>, String> {
    let [a, b] = same(size, [a, b])?;
    Ok(a.iter().zip(b).map(|(&a, &b)| f(a, b)).collect())
}

fn rows(x: &Operand<'_>, size: usize, f: impl Fn(&[f64]) -> f64) -> Result<Vec<f64>, String> {
    match x.shape.last() {
        Some(&k) if k > 0 && size.checked_mul(k) == Some(x.data.len()) => Ok(x.data.chunks_exact(k).map(f).collect()),
        _ => Err(format!("shape {:?} does not reduce to {size} values", x.shape)),
    }
}

/// Row by row: each value of the left adds its multiple of a row of the right, so that the innermost loop runs along both.
fn multiply(left: &Operand<'_>, right: &Operand<'_>, shape: &[usize]) -> Result<Vec<f64>, String> {
    let (&[b, m, k], &[b2, k2, n], &[b3, m3, n3]) = (left.shape, right.shape, shape) else {
        return Err(format!("shapes {:?}, {:?} and {shape:?}; expected three axes each", left.shape, right.shape));
    };
    if (b, b, k, m, n) != (b2, b3, k2, m3, n3) {
        return Err(format!("{:?} by {:?} is not {shape:?}", left.shape, right.shape));
    }
    let mut output = vec![0.0; b * m * n];
    if output.is_empty() || k == 0 {
        return Ok(output);
    }
    for (batch, target) in output.chunks_exact_mut(m * n).enumerate() {
        let (left, right) = (&left.data[batch * m * k..][..m * k], &right.data[batch * k * n..][..k * n]);
        for (row, target) in left.chunks_exact(k).zip(target.chunks_exact_mut(n)) {
            for (&a, line) in row.iter().zip(right.chunks_exact(n)) {
                if a != 0.0 {
                    target.iter_mut().zip(line).for_each(|(t, &v)| *t += a * v);
                }
            }
        }
    }
    Ok(output)
}
