//! Walks the nodes, each of which must take what the one before it gives, and gathers them into layers.

use std::collections::BTreeMap;

use super::{
    FloatDense, Network, OnnxError, SUPPORTED, is_onnx,
    proto::{GraphProto, NodeProto},
    short,
    tensor::{Tensor, constant, shape_after_batch},
};
use crate::dense::graph::{MAX_LAYERS, MAX_WEIGHTS, MAX_WIDTH};

/// The state of walking along the chain.
pub(super) struct Reader {
    constants: BTreeMap<String, Tensor>,
    current: String,
    shape: Vec<usize>,
    input_len: usize,
    layers: Vec<FloatDense>,
}

impl Reader {
    pub(super) fn new(graph: &GraphProto) -> Result<Self, OnnxError> {
        let mut constants = BTreeMap::new();
        for tensor in &graph.initializer {
            if constants.insert(tensor.name.clone(), constant(&tensor.name, tensor)?).is_some() {
                return Err(OnnxError::Tensor { name: tensor.name.clone(), reason: "defined twice".into() });
            }
        }
        let inputs: Vec<_> = graph.input.iter().filter(|i| !constants.contains_key(&i.name)).collect();
        let [input] = inputs[..] else {
            return Err(OnnxError::Model { reason: format!("{} inputs; expected one", inputs.len()) });
        };
        let shape = shape_after_batch(input)?;
        let input_len = shape.iter().product();
        Ok(Self { constants, current: input.name.clone(), shape, input_len, layers: Vec::new() })
    }

    pub(super) fn chain(mut self, graph: &GraphProto) -> Result<Network, OnnxError> {
        for node in &graph.node {
            self.step(node)?;
        }
        let wrong = |reason: String| OnnxError::Model { reason };
        let [output] = &graph.output[..] else {
            return Err(wrong(format!("{} outputs; expected one", graph.output.len())));
        };
        if output.name != self.current {
            return Err(wrong(format!(
                "output '{}' is not what the last node gives ('{}')",
                output.name, self.current
            )));
        }
        if self.layers.is_empty() {
            return Err(wrong("no Gemm or MatMul in it; expected at least one".into()));
        }
        if output.r#type.is_some() {
            let declared = shape_after_batch(output)?;
            if declared != self.shape {
                return Err(wrong(format!(
                    "output '{}' is declared with shape {declared:?} after the batch; its nodes give {:?}",
                    output.name, self.shape
                )));
            }
        }
        Ok(Network { input_len: self.input_len, layers: self.layers })
    }

    fn step(&mut self, node: &NodeProto) -> Result<(), OnnxError> {
        let known = SUPPORTED.split(", ").any(|op| op == node.op_type);
        if !known || !is_onnx(&node.domain) {
            let op =
                if is_onnx(&node.domain) { node.op_type.clone() } else { format!("{}.{}", node.domain, node.op_type) };
            return Err(OnnxError::UnsupportedOperation { op: short(&op), node: node_name(node) });
        }
        let [output] = &node.output[..] else {
            return Err(refuse(node, format!("{} outputs; expected one", node.output.len())));
        };
        if *output == self.current || self.constants.contains_key(output) {
            return Err(refuse(node, format!("'{}' is given twice", short(output))));
        }
        match node.op_type.as_str() {
            "Constant" => {
                attributes(node, &["value"])?;
                let tensor = node
                    .attribute
                    .iter()
                    .find_map(|a| a.t.as_ref())
                    .ok_or_else(|| refuse(node, "no attribute 'value' holding a tensor".into()))?;
                let tensor = constant(output, tensor)?;
                self.constants.insert(output.clone(), tensor);
                return Ok(());
            }
            "Identity" => {
                attributes(node, &[])?;
                self.arity(node, 1..=1)?;
                if let Some(tensor) = self.constants.get(&node.input[0]) {
                    let copy = Tensor { dims: tensor.dims.clone(), values: tensor.values.clone() };
                    self.constants.insert(output.clone(), copy);
                    return Ok(());
                }
                self.reads_current(node, 0)?;
            }
            "Flatten" => {
                attributes(node, &["axis"])?;
                self.arity(node, 1..=1)?;
                self.reads_current(node, 0)?;
                let axis = integer(node, "axis").unwrap_or(1);
                if axis != 1 {
                    return Err(refuse(node, format!("axis {axis}; expected 1, after the batch")));
                }
                self.shape = vec![self.shape.iter().product()];
            }
            "Relu" => {
                attributes(node, &[])?;
                self.arity(node, 1..=1)?;
                self.reads_current(node, 0)?;
                match self.layers.last_mut() {
                    Some(layer) => layer.relu = true,
                    None => {
                        return Err(refuse(
                            node,
                            "stands before the first layer; expected after Gemm, MatMul or Add".into(),
                        ));
                    }
                }
            }
            "Add" => {
                attributes(node, &[])?;
                self.arity(node, 2..=2)?;
                self.add(node)?;
            }
            "MatMul" => {
                attributes(node, &[])?;
                self.arity(node, 2..=2)?;
                self.reads_current(node, 0)?;
                self.dense(node, false)?;
            }
            _ => {
                attributes(node, &["alpha", "beta", "transA", "transB"])?;
                self.arity(node, 2..=3)?;
                self.reads_current(node, 0)?;
                for name in ["alpha", "beta"] {
                    let found = node.attribute.iter().find(|a| a.name == name).map_or(1.0, |a| a.f);
                    if found != 1.0 {
                        return Err(refuse(node, format!("{name} {found}; expected 1")));
                    }
                }
                let trans_a = integer(node, "transA").unwrap_or(0);
                let trans_b = integer(node, "transB").unwrap_or(0);
                if trans_a != 0 || !(0..=1).contains(&trans_b) {
                    return Err(refuse(node, format!("transA {trans_a}, transB {trans_b}; expected 0, and 0 or 1")));
                }
                self.dense(node, trans_b == 1)?;
            }
        }
        self.current.clone_from(output);
        Ok(())
    }

    fn arity(&self, node: &NodeProto, range: std::ops::RangeInclusive<usize>) -> Result<(), OnnxError> {
        if range.contains(&node.input.len()) {
            return Ok(());
        }
        let (low, high) = (range.start(), range.end());
        Err(refuse(node, format!("{} inputs; expected {low} to {high}", node.input.len())))
    }

    fn reads_current(&self, node: &NodeProto, at: usize) -> Result<(), OnnxError> {
        if node.input[at] == self.current {
            return Ok(());
        }
        Err(refuse(
            node,
            format!(
                "reads '{}'; expected '{}', what the node before it gives: only a chain of nodes is supported",
                short(&node.input[at]),
                short(&self.current)
            ),
        ))
    }

    fn initialiser(&self, node: &NodeProto, at: usize) -> Result<&Tensor, OnnxError> {
        self.constants
            .get(&node.input[at])
            .ok_or_else(|| refuse(node, format!("no initialiser '{}' for its input {at}", short(&node.input[at]))))
    }

    fn dense(&mut self, node: &NodeProto, transposed: bool) -> Result<(), OnnxError> {
        let [inputs] = self.shape[..] else {
            return Err(refuse(
                node,
                format!("input of shape {:?} after the batch; put a Flatten before it", self.shape),
            ));
        };
        let tensor = self.initialiser(node, 1)?;
        let [rows, columns] = tensor.dims[..] else {
            return Err(refuse(node, format!("weights of shape {:?}; expected two", tensor.dims)));
        };
        let (depth, outputs) = if transposed { (columns, rows) } else { (rows, columns) };
        if depth != inputs {
            return Err(refuse(node, format!("weights take {depth} values; its input has {inputs}")));
        }
        let total: usize = self.layers.iter().map(|l| l.weights.len()).sum();
        if outputs > MAX_WIDTH || total + tensor.values.len() > MAX_WEIGHTS {
            return Err(refuse(
                node,
                format!("too large; at most {MAX_WIDTH} outputs and {MAX_WEIGHTS} weights in all"),
            ));
        }
        if self.layers.len() == MAX_LAYERS {
            return Err(refuse(node, format!("one layer too many; at most {MAX_LAYERS}")));
        }
        let weights = if transposed {
            tensor.values.clone()
        } else {
            (0..outputs)
                .flat_map(|o| (0..inputs).map(move |i| (i, o)))
                .map(|(i, o)| tensor.values[i * outputs + o])
                .collect()
        };
        let bias = match node.input.get(2).filter(|name| !name.is_empty()) {
            Some(_) => self.bias(node, 2, outputs)?,
            None => vec![0.0; outputs],
        };
        self.shape = vec![outputs];
        self.layers.push(FloatDense { name: node_name(node), inputs, outputs, weights, bias, relu: false });
        Ok(())
    }

    /// A vector of one value an output, or one value for all of them.
    fn bias(&self, node: &NodeProto, at: usize, outputs: usize) -> Result<Vec<f32>, OnnxError> {
        let tensor = self.initialiser(node, at)?;
        match tensor.dims[..] {
            [n] | [1, n] if n == outputs => Ok(tensor.values.clone()),
            [] | [1] | [1, 1] => Ok(vec![tensor.values[0]; outputs]),
            _ => Err(refuse(node, format!("bias of shape {:?}; expected [{outputs}]", tensor.dims))),
        }
    }

    fn add(&mut self, node: &NodeProto) -> Result<(), OnnxError> {
        let data = usize::from(node.input[0] != self.current);
        self.reads_current(node, data)?;
        let outputs = match (self.layers.last(), &self.shape[..]) {
            (Some(layer), [n]) if !layer.relu && *n == layer.outputs => *n,
            _ => {
                return Err(refuse(node, "expected right after Gemm or MatMul, as its bias".into()));
            }
        };
        let extra = self.bias(node, 1 - data, outputs)?;
        if let Some(layer) = self.layers.last_mut() {
            for (bias, more) in layer.bias.iter_mut().zip(extra) {
                *bias += more;
                if !bias.is_finite() {
                    return Err(refuse(node, "the sum of the biases is not finite".into()));
                }
            }
        }
        Ok(())
    }
}

fn node_name(node: &NodeProto) -> String {
    let name = if node.name.is_empty() { node.output.first() } else { Some(&node.name) };
    name.map_or_else(|| "without a name".into(), |n| short(n))
}

fn refuse(node: &NodeProto, reason: String) -> OnnxError {
    OnnxError::Node { op: node.op_type.clone(), node: node_name(node), reason }
}

fn attributes(node: &NodeProto, known: &[&str]) -> Result<(), OnnxError> {
    for (at, attribute) in node.attribute.iter().enumerate() {
        if !known.contains(&attribute.name.as_str()) {
            return Err(refuse(
                node,
                format!("unsupported attribute '{}'; expected {known:?}", short(&attribute.name)),
            ));
        }
        if node.attribute[..at].iter().any(|a| a.name == attribute.name) {
            return Err(refuse(node, format!("attribute '{}' given twice", attribute.name)));
        }
    }
    Ok(())
}

fn integer(node: &NodeProto, name: &str) -> Option<i64> {
    node.attribute.iter().find(|a| a.name == name).map(|a| a.i)
}
