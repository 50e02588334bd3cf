//! Models made by hand, for what ONNX's own tests do not show: defaults by operator set, folding, refusals.

mod hostile;
mod lowering;

use prost::Message;

use super::{OnnxError, Options, proto::*, read};
use crate::network::{Network, Op};

const FLOAT: i32 = 1;
const INT64: i32 = 7;

fn floats(name: &str, dims: &[i64], values: &[f32]) -> TensorProto {
    TensorProto {
        name: name.into(),
        dims: dims.to_vec(),
        data_type: FLOAT,
        float_data: values.to_vec(),
        ..Default::default()
    }
}

fn integers(name: &str, values: &[i64]) -> TensorProto {
    TensorProto {
        name: name.into(),
        dims: vec![values.len() as i64],
        data_type: INT64,
        int64_data: values.to_vec(),
        ..Default::default()
    }
}

fn node(op: &str, inputs: &[&str], outputs: &[&str], attributes: Vec<AttributeProto>) -> NodeProto {
    NodeProto {
        op_type: op.into(),
        input: inputs.iter().map(|&i| i.into()).collect(),
        output: outputs.iter().map(|&o| o.into()).collect(),
        attribute: attributes,
        ..Default::default()
    }
}

fn int(name: &str, i: i64) -> AttributeProto {
    AttributeProto { name: name.into(), i, r#type: 2, ..Default::default() }
}

fn ints(name: &str, ints: &[i64]) -> AttributeProto {
    AttributeProto { name: name.into(), ints: ints.to_vec(), r#type: 7, ..Default::default() }
}

fn float(name: &str, f: f32) -> AttributeProto {
    AttributeProto { name: name.into(), f, r#type: 1, ..Default::default() }
}

fn text(name: &str, s: &str) -> AttributeProto {
    AttributeProto { name: name.into(), s: s.into(), r#type: 3, ..Default::default() }
}

/// An input or output of floats; -1 is an axis named `N`.
fn value(name: &str, dims: &[i64]) -> ValueInfoProto {
    let dim = dims
        .iter()
        .map(|&d| DimensionProto { dim_value: (d >= 0).then_some(d), dim_param: (d < 0).then(|| "N".into()) })
        .collect();
    let tensor_type = Some(TensorTypeProto { elem_type: FLOAT, shape: Some(TensorShapeProto { dim }) });
    ValueInfoProto { name: name.into(), r#type: Some(TypeProto { tensor_type }) }
}

/// A model of an input `x`, constants, nodes and an output `y` of whatever shape.
fn model(opset: i64, x: &[i64], initializer: Vec<TensorProto>, node: Vec<NodeProto>) -> ModelProto {
    ModelProto {
        ir_version: 8,
        opset_import: vec![OperatorSetIdProto { domain: String::new(), version: opset }],
        graph: Some(GraphProto {
            node,
            initializer,
            input: vec![value("x", x)],
            output: vec![ValueInfoProto { name: "y".into(), r#type: None }],
            sparse_initializer: vec![],
        }),
    }
}

fn load(model: &ModelProto) -> Result<Network, OnnxError> {
    read(&model.encode_to_vec(), &Options::default())
}

/// A small network of everything that is common: convolution, normalisation, pooling, reshaping, dense layers, soft-max.
fn typical() -> ModelProto {
    let weights = |n: i64| (0..n).map(|i| (i * 7 % 11) as f32 / 8.0 - 0.5).collect::<Vec<f32>>();
    model(
        13,
        &[-1, 1, 4, 4],
        vec![
            floats("k", &[2, 1, 3, 3], &weights(18)),
            floats("kb", &[2], &[0.5, -0.5]),
            floats("s", &[2], &[2.0, 0.5]),
            floats("b", &[2], &[0.25, 0.0]),
            floats("m", &[2], &[1.0, -1.0]),
            floats("v", &[2], &[3.0, 0.0]),
            integers("to", &[0, -1]),
            floats("w", &[8, 3], &weights(24)),
            floats("wb", &[3], &[0.0, 1.0, 2.0]),
        ],
        vec![
            node("Conv", &["x", "k", "kb"], &["c"], vec![ints("pads", &[1, 1, 1, 1])]),
            node("BatchNormalization", &["c", "s", "b", "m", "v"], &["n"], vec![float("epsilon", 1.0)]),
            node("Relu", &["n"], &["r"], vec![]),
            node("MaxPool", &["r"], &["p"], vec![ints("kernel_shape", &[2, 2]), ints("strides", &[2, 2])]),
            node("Reshape", &["p", "to"], &["f"], vec![]),
            node("MatMul", &["f", "w"], &["d"], vec![]),
            node("Add", &["wb", "d"], &["a"], vec![]),
            node("Softmax", &["a"], &["y"], vec![]),
        ],
    )
}

fn operations(network: &Network) -> Vec<&'static str> {
    let name = |op: &Op| match op {
        Op::Wire(_) => "wire",
        Op::MatMul => "matmul",
        Op::Conv(_) => "conv",
        Op::Add => "add",
        Op::Sub => "sub",
        Op::Mul => "mul",
        Op::Div => "div",
        Op::ReduceMax => "largest",
        Op::Unary(_) => "function",
        _ => "other",
    };
    network.nodes.iter().map(|n| name(&n.op)).filter(|&n| n != "wire").collect()
}

/// The one output for one input.
fn run(model: &ModelProto, x: &[f64]) -> Vec<f64> {
    load(model).unwrap().evaluate(&[x.to_vec()]).unwrap().remove(0)
}
