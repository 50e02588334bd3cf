//! Walks the graph: names to values, node by node, and the network cut down to what its outputs need.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    OnnxError, Options,
    builder::Builder,
    call::Call,
    element::Element,
    is_onnx, operations,
    proto::{GraphProto, NodeProto, TensorShapeProto, ValueInfoProto},
    short, tensor,
};
use crate::network::{Function, Kind, Network, ValueId};

/// Reads a graph whose operators are of this version.
pub(super) fn import(graph: &GraphProto, opset: i64, options: &Options<'_>) -> Result<Network, OnnxError> {
    let mut builder = Builder::new();
    let mut names: BTreeMap<&str, ValueId> = BTreeMap::new();
    let wrong = |name: &str, reason: String| OnnxError::Tensor { name: short(name), reason };
    if let Some(sparse) = graph.sparse_initializer.first() {
        let name = sparse.values.as_ref().map_or("", |v| &v.name);
        return Err(wrong(name, "is sparse; expected dense constants".into()));
    }
    let sizes = Sizes::new(graph, options);
    let mut uses: BTreeMap<&str, usize> = BTreeMap::new();
    let read = graph.node.iter().flat_map(|n| &n.input).chain(graph.output.iter().map(|o| &o.name));
    read.for_each(|name| *uses.entry(name).or_default() += 1);

    for proto in &graph.initializer {
        let constant = tensor::read(proto, options.external).and_then(|t| {
            let id = builder.tensor(t)?;
            builder.values[id].name = short(&proto.name);
            Ok(id)
        });
        let id = constant.map_err(|e| wrong(&proto.name, e))?;
        if names.insert(&proto.name, id).is_some() {
            return Err(wrong(&proto.name, "is defined twice".into()));
        }
    }
    let (mut inputs, mut seen) = (Vec::new(), BTreeSet::new());
    for info in &graph.input {
        if !seen.insert(info.name.as_str()) {
            return Err(wrong(&info.name, "is defined twice".into()));
        }
        // Old files list constants as inputs with a default.
        if let Some(&id) = names.get(info.name.as_str()) {
            sizes.declared(info, builder.shape(id), builder.element(id)).map_err(|e| wrong(&info.name, e))?;
            continue;
        }
        let (shape, element) = sizes.input(info).map_err(|e| wrong(&info.name, e))?;
        let id = builder.value(short(&info.name), shape, element).map_err(|e| wrong(&info.name, e))?;
        builder.uses.insert(id, uses.get(info.name.as_str()).copied().unwrap_or(0));
        names.insert(&info.name, id);
        inputs.push(id);
    }
    for node in sorted(graph, &names)? {
        step(&mut builder, &mut names, &uses, node, opset)?;
    }
    let mut outputs = Vec::new();
    for info in &graph.output {
        let &id = names.get(info.name.as_str()).ok_or_else(|| wrong(&info.name, "no node gives this output".into()))?;
        sizes.output(info, builder.shape(id), builder.element(id)).map_err(|e| wrong(&info.name, e))?;
        outputs.push(id);
    }
    if outputs.is_empty() {
        return Err(OnnxError::Model { reason: "no outputs; expected at least one".into() });
    }
    cut(builder, inputs, outputs)
}

/// Sizes of axes that have names, or neither name nor number.
struct Sizes<'a> {
    options: &'a Options<'a>,
    /// Names that a first axis of an input has.
    batch: BTreeSet<&'a str>,
}

impl<'a> Sizes<'a> {
    fn new(graph: &'a GraphProto, options: &'a Options<'a>) -> Self {
        let first = |info: &'a ValueInfoProto| tensor_shape(info)?.dim.first()?.dim_param.as_deref();
        Self { options, batch: graph.input.iter().filter_map(first).filter(|n| !n.is_empty()).collect() }
    }

    /// The size of an axis; `None` where nothing says it.
    fn size(&self, shape: &TensorShapeProto, axis: usize) -> Option<usize> {
        let dim = &shape.dim[axis];
        let name = dim.dim_param.as_deref().unwrap_or_default();
        match dim.dim_value {
            Some(value) if value > 0 => usize::try_from(value).ok(),
            // Some exporters write -1 or 0 for an unknown batch.
            Some(_) if axis > 0 => None,
            _ => match self.options.dimensions.get(name) {
                Some(&size) => Some(size),
                None if axis == 0 || self.batch.contains(name) => Some(self.options.batch),
                None => None,
            },
        }
    }

    fn input(&self, info: &ValueInfoProto) -> Result<(Vec<usize>, Element), String> {
        let tensor = info.r#type.as_ref().and_then(|t| t.tensor_type.as_ref()).ok_or("is not a tensor")?;
        let element = Element::from_number(i64::from(tensor.elem_type))?;
        let shape = tensor.shape.as_ref().ok_or("has no shape; export the model with one")?;
        let size = |axis: usize| {
            self.size(shape, axis).filter(|&n| n > 0).ok_or_else(|| {
                let found = match (shape.dim[axis].dim_value, &shape.dim[axis].dim_param) {
                    (Some(number), _) => number.to_string(),
                    (None, Some(name)) => format!("'{}'", short(name)),
                    (None, None) => "unknown".into(),
                };
                format!("has axis {axis} of size {found}; expected a positive number, or a size for that name")
            })
        };
        let shape = (0..shape.dim.len().min(17)).map(size).collect::<Result<Vec<_>, String>>()?;
        tensor::count(&shape)?;
        Ok((shape, element))
    }

    fn output(&self, info: &ValueInfoProto, found: &[usize], element: Element) -> Result<(), String> {
        if found.contains(&0) {
            return Err(format!("is empty: shape {found:?}"));
        }
        self.declared(info, found, element)
    }

    /// What is declared of a value's type and shape, where it is, must be what there is.
    fn declared(&self, info: &ValueInfoProto, found: &[usize], element: Element) -> Result<(), String> {
        let declared = info.r#type.as_ref().and_then(|t| t.tensor_type.as_ref()).map_or(0, |t| t.elem_type);
        if declared != 0 {
            let declared = Element::from_number(i64::from(declared))?;
            // Floats of every width are worked out alike.
            if declared != element && (declared.kind(), element.kind()) != (Kind::Real, Kind::Real) {
                return Err(format!("is declared as {declared}; found {element}"));
            }
        }
        let Some(shape) = tensor_shape(info) else { return Ok(()) };
        let fits = |(axis, &size): (usize, &usize)| match shape.dim[axis].dim_value {
            Some(declared) if declared > 0 => usize::try_from(declared) == Ok(size),
            _ => true,
        };
        if shape.dim.len() == found.len() && found.iter().enumerate().all(fits) {
            return Ok(());
        }
        let declared: Vec<i64> = shape.dim.iter().take(17).map(|d| d.dim_value.unwrap_or(-1)).collect();
        Err(format!("is declared with shape {declared:?}; found {found:?}"))
    }
}

fn tensor_shape(info: &ValueInfoProto) -> Option<&TensorShapeProto> {
    info.r#type.as_ref()?.tensor_type.as_ref()?.shape.as_ref()
}

/// The nodes in the order of their data, whatever order the file has.
fn sorted<'a>(graph: &'a GraphProto, names: &BTreeMap<&str, ValueId>) -> Result<Vec<&'a NodeProto>, OnnxError> {
    let mut makers: BTreeMap<&str, usize> = BTreeMap::new();
    for (at, node) in graph.node.iter().enumerate() {
        for name in node.output.iter().filter(|n| !n.is_empty()) {
            if names.contains_key(name.as_str()) || makers.insert(name, at).is_some() {
                return Err(refuse(node, format!("'{}' is defined twice", short(name))));
            }
        }
    }
    let mut waits = vec![0usize; graph.node.len()];
    let mut followers: Vec<Vec<usize>> = vec![Vec::new(); graph.node.len()];
    for (at, node) in graph.node.iter().enumerate() {
        for name in node.input.iter().filter(|n| !n.is_empty() && !names.contains_key(n.as_str())) {
            let Some(&maker) = makers.get(name.as_str()) else {
                return Err(refuse(node, format!("reads '{}', which nothing gives", short(name))));
            };
            followers[maker].push(at);
            waits[at] += 1;
        }
    }
    let mut ready: BTreeSet<usize> = (0..waits.len()).filter(|&at| waits[at] == 0).collect();
    let mut order = Vec::with_capacity(waits.len());
    while let Some(at) = ready.pop_first() {
        order.push(&graph.node[at]);
        for &follower in &followers[at] {
            waits[follower] -= 1;
            if waits[follower] == 0 {
                ready.insert(follower);
            }
        }
    }
    match (0..waits.len()).find(|&at| waits[at] > 0) {
        Some(at) => Err(refuse(&graph.node[at], "is part of a cycle, or behind one".into())),
        None => Ok(order),
    }
}

/// Lowers one node.
fn step<'a>(
    builder: &mut Builder,
    names: &mut BTreeMap<&'a str, ValueId>,
    uses: &BTreeMap<&str, usize>,
    node: &'a NodeProto,
    opset: i64,
) -> Result<(), OnnxError> {
    let known = is_onnx(&node.domain).then(|| operations::find(&node.op_type)).flatten();
    let Some(operation) = known else {
        let name = if is_onnx(&node.domain) { String::new() } else { format!("{}.", node.domain) };
        let operation = short(&format!("{name}{}", node.op_type));
        return Err(OnnxError::UnsupportedOperation { operation, node: node_name(node) });
    };
    // Optional operands at the end may be left out or have an empty name.
    let given = node.input.iter().rposition(|n| !n.is_empty()).map_or(0, |last| last + 1);
    let operands: Vec<Option<ValueId>> = node.input[..given].iter().map(|n| names.get(n.as_str()).copied()).collect();
    builder.start(node_name(node), node.op_type.clone());
    let first_new = builder.values.len();
    let results = Call::new(node, opset, operands.clone()).and_then(|call| {
        let results = operation.lower(builder, &call)?;
        call.finish()?;
        Ok(results)
    });
    let results = results.and_then(|results| kept(builder, node, results));
    let results = builder.afforded().and(results).map_err(|reason| refuse(node, reason))?;
    for (at, name) in node.output.iter().enumerate().filter(|(_, n)| !n.is_empty()) {
        let Some(&id) = results.get(at) else {
            return Err(refuse(node, format!("its output {at}, '{}', is not supported", short(name))));
        };
        let passed_on = usize::from(operands.contains(&Some(id)));
        let reads = uses.get(name.as_str()).copied().unwrap_or(0);
        let total = builder.uses.entry(id).or_default();
        *total = (*total + reads).saturating_sub(passed_on);
        if id >= first_new {
            builder.values[id].name = short(name);
        }
        names.insert(name, id);
    }
    Ok(())
}

/// Operations whose results may leave their operands' type, which ONNX then wraps round.
const WRAPPING: [&str; 12] =
    ["Abs", "Add", "Cast", "CastLike", "Div", "Gemm", "MatMul", "Mul", "Neg", "Pow", "Sub", "Sum"];

/// Results as types of up to 16 bits and those without a sign keep them. Wider ones with a sign hold whatever can be computed here.
fn kept(builder: &mut Builder, node: &NodeProto, results: Vec<ValueId>) -> Result<Vec<ValueId>, String> {
    if !WRAPPING.contains(&node.op_type.as_str()) {
        return Ok(results);
    }
    let mut kept = Vec::with_capacity(results.len());
    for id in results {
        let element = builder.element(id);
        kept.push(match element.range() {
            Some((low, high)) if element.bits() <= 16 || low == 0.0 => {
                builder.unary(Function::Wrap { low, high }, id)?
            }
            _ => id,
        });
    }
    Ok(kept)
}

/// Leaves out what no output needs, and numbers the rest anew.
fn cut(builder: Builder, inputs: Vec<ValueId>, outputs: Vec<ValueId>) -> Result<Network, OnnxError> {
    let mut needed: Vec<bool> = vec![false; builder.values.len()];
    inputs.iter().chain(&outputs).for_each(|&id| needed[id] = true);
    for node in builder.nodes.iter().rev() {
        if needed[node.output] {
            node.inputs.iter().for_each(|&id| needed[id] = true);
        }
    }
    let mut place = vec![0; needed.len()];
    let mut values = Vec::new();
    for (id, value) in builder.values.into_iter().enumerate().filter(|(id, _)| needed[*id]) {
        place[id] = values.len();
        values.push(value);
    }
    let mut constants = BTreeMap::new();
    for (id, data) in builder.constants.into_iter().filter(|(id, _)| needed[*id]) {
        if let Some(at) = data.iter().position(|v| !v.is_finite()) {
            // A constant of a mask is often unnamed; the node that reads it tells where it is.
            let reader = builder.nodes.iter().find(|n| needed[n.output] && n.inputs.contains(&id));
            let reader = reader.map_or(String::new(), |n| format!(", read by node '{}' ({})", n.name, n.source));
            let reason = format!(
                "holds {} at position {at}{reader}; expected finite numbers: for a mask, export one such as -10000",
                data[at]
            );
            return Err(OnnxError::Tensor { name: values[place[id]].name.clone(), reason });
        }
        constants.insert(place[id], data);
    }
    let mut nodes = builder.nodes;
    nodes.retain(|n| needed[n.output]);
    for node in &mut nodes {
        node.output = place[node.output];
        node.inputs.iter_mut().for_each(|id| *id = place[*id]);
    }
    let again = |list: Vec<ValueId>| list.into_iter().map(|id| place[id]).collect();
    Ok(Network { inputs: again(inputs), outputs: again(outputs), values, constants, nodes })
}

fn refuse(node: &NodeProto, reason: String) -> OnnxError {
    OnnxError::Node { operation: short(&node.op_type), node: node_name(node), reason }
}

fn node_name(node: &NodeProto) -> String {
    let unnamed = || node.output.iter().find(|n| !n.is_empty()).map_or("", String::as_str);
    short(if node.name.is_empty() { unnamed() } else { &node.name })
}
