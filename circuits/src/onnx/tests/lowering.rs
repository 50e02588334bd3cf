//! What operations mean, and what they come down to.

use super::*;
use crate::{
    graph::Index,
    network::{EvaluateError, Kind},
};

fn near(found: &[f64], expected: &[f64]) {
    let close = found.len() == expected.len() && found.iter().zip(expected).all(|(f, e)| (f - e).abs() < 1e-5);
    assert!(close, "{found:?}; expected {expected:?}");
}

#[test]
fn normalisation_and_bias_join_the_layers_before_them() {
    let network = load(&typical()).unwrap();
    let expected = ["conv", "add", "function", "largest", "matmul", "add", "largest", "sub", "function", "div"];
    assert_eq!(operations(&network), expected);
    assert_eq!(network.values[network.outputs[0]].shape, [1, 3]);
    assert_eq!(network.values[network.outputs[0]].name, "y");

    // The same with the normalisation apart: its input is read twice.
    let mut apart = typical();
    let graph = apart.graph.as_mut().unwrap();
    graph.output.push(ValueInfoProto { name: "c".into(), r#type: None });
    let apart = load(&apart).unwrap();
    assert_eq!(operations(&apart)[..4], ["conv", "add", "mul", "add"]);
    let x: Vec<f64> = (0..16).map(|i| f64::from(i % 5) - 2.0).collect();
    let (one, two) = (network.evaluate(std::slice::from_ref(&x)).unwrap(), apart.evaluate(&[x]).unwrap());
    near(&one[0], &two[0]);
    near(&[one[0].iter().sum()], &[1.0]);
}

#[test]
fn the_batch_is_what_the_options_say() {
    let options = Options { batch: 3, ..Options::default() };
    let network = read(&typical().encode_to_vec(), &options).unwrap();
    assert_eq!(network.values[network.inputs[0]].shape, [3, 1, 4, 4]);
    assert_eq!(network.values[network.outputs[0]].shape, [3, 3]);
    let mut other = typical();
    let graph = other.graph.as_mut().unwrap();
    graph.input[0] = value("x", &[1, 1, -1, 4]);
    let error = load(&other).unwrap_err().to_string();
    assert!(error.contains("'x'") && error.contains("axis 2 of size 'N'"), "{error}");
    let mut options = Options::default();
    options.dimensions.insert("N".into(), 4);
    assert!(read(&other.encode_to_vec(), &options).is_ok());
}

#[test]
fn wrong_inputs_are_refused_by_name() {
    let network = load(&typical()).unwrap();
    assert_eq!(network.evaluate(&[]), Err(EvaluateError::InputCount { expected: 1, found: 0 }));
    let error = network.evaluate(&[vec![0.0; 15]]).unwrap_err().to_string();
    assert_eq!(error, "input 'x' has 15 values; its shape [1, 1, 4, 4] has 16");
    let error = network.evaluate(&[vec![f64::NAN; 16]]).unwrap_err().to_string();
    assert_eq!(error, "input 'x' holds NaN at position 0; expected finite numbers");
}

#[test]
fn every_value_is_given_for_calibration() {
    let network = load(&typical()).unwrap();
    let x = vec![1.0; 16];
    let all = network.evaluate_all(std::slice::from_ref(&x)).unwrap();
    assert_eq!(all.len(), network.values.len());
    assert!(all.iter().zip(&network.values).all(|(d, v)| d.len() == v.shape.iter().product::<usize>()));
    assert_eq!(all[network.outputs[0]].to_vec(), network.evaluate(&[x]).unwrap()[0]);
}

#[test]
fn softmax_before_operator_set_13_is_over_all_axes_from_one_on() {
    let x = [0.0, 1.0, 2.0, 3.0];
    let old = model(12, &[1, 2, 2], vec![], vec![node("Softmax", &["x"], &["y"], vec![])]);
    let new = model(13, &[1, 2, 2], vec![], vec![node("Softmax", &["x"], &["y"], vec![])]);
    near(&[run(&old, &x).iter().sum()], &[1.0]);
    near(&[run(&new, &x).iter().sum()], &[2.0]);
}

#[test]
fn axes_are_attributes_before_and_operands_since_their_operator_sets() {
    let x = [1.0, 2.0, 3.0, 4.0];
    let attribute = vec![ints("axes", &[1]), int("keepdims", 0)];
    let old = model(12, &[2, 2], vec![], vec![node("ReduceSum", &["x"], &["y"], attribute.clone())]);
    near(&run(&old, &x), &[3.0, 7.0]);
    let axes = vec![integers("a", &[-1])];
    let new = model(13, &[2, 2], axes, vec![node("ReduceSum", &["x", "a"], &["y"], vec![int("keepdims", 0)])]);
    near(&run(&new, &x), &[3.0, 7.0]);
    let wrong = model(13, &[2, 2], vec![], vec![node("ReduceSum", &["x"], &["y"], attribute.clone())]);
    assert!(load(&wrong).unwrap_err().to_string().contains("attribute 'axes' is not known in operator set 13"));
    let mean = model(17, &[2, 2], vec![], vec![node("ReduceMean", &["x"], &["y"], attribute)]);
    near(&run(&mean, &x), &[1.5, 3.5]);
    let none = vec![int("noop_with_empty_axes", 1)];
    let none = model(18, &[2, 2], vec![], vec![node("ReduceSumSquare", &["x"], &["y"], none)]);
    near(&run(&none, &x), &[1.0, 4.0, 9.0, 16.0]);
}

#[test]
fn shapes_worked_out_in_the_graph_are_constants_here() {
    // y = reshape(x, [shape(x)[0], size / shape(x)[0]]), as exporters write it.
    let nodes = vec![
        node("Shape", &["x"], &["s"], vec![]),
        node("Gather", &["s", "zero"], &["n"], vec![]),
        node("Unsqueeze", &["n"], &["n1"], vec![ints("axes", &[0])]),
        node("Concat", &["n1", "rest"], &["to"], vec![int("axis", 0)]),
        node("Reshape", &["x", "to"], &["y"], vec![]),
    ];
    let zero = TensorProto { dims: vec![], ..integers("zero", &[0]) };
    let network = load(&model(11, &[2, 3, 2], vec![zero, integers("rest", &[-1])], nodes)).unwrap();
    assert_eq!(network.values[network.outputs[0]].shape, [2, 6]);
    assert_eq!(network.nodes.len(), 1);
    assert!(network.constants.is_empty());
}

#[test]
fn a_constant_that_is_spread_stays_small() {
    let half = TensorProto { dims: vec![], ..floats("half", &[1], &[0.5]) };
    let network = load(&model(13, &[64, 64], vec![half], vec![node("Mul", &["half", "x"], &["y"], vec![])])).unwrap();
    assert_eq!(network.constants.values().map(|c| c.len()).sum::<usize>(), 1);
    let product = network.nodes.last().unwrap();
    assert_eq!((product.inputs[0], network.uniform(product.inputs[1])), (network.inputs[0], Some(0.5)));

    let list = floats("list", &[64, 1], &[1.5; 64]);
    let mut list = model(13, &[64, 64], vec![list], vec![node("Add", &["x", "list"], &["y"], vec![])]);
    list.graph.as_mut().unwrap().initializer[0].float_data[3] = 2.0;
    let network = load(&list).unwrap();
    let (axis, numbers) = network.per_axis(network.nodes.last().unwrap().inputs[1]).unwrap();
    assert_eq!((axis, numbers[3], numbers[4]), (0, 2.0, 1.5));
    assert_eq!(network.uniform(network.nodes.last().unwrap().inputs[1]), None);
}

#[test]
fn regular_moves_are_loops_and_irregular_ones_are_listed() {
    let of = |nodes: Vec<NodeProto>, constants: Vec<TensorProto>, x: &[i64]| -> Vec<Index> {
        let network = load(&model(11, x, constants, nodes)).unwrap();
        network
            .nodes
            .iter()
            .filter_map(|n| match &n.op {
                Op::Wire(w) => Some(w.index.clone()),
                _ => None,
            })
            .collect()
    };
    let transposed = of(vec![node("Transpose", &["x"], &["y"], vec![])], vec![], &[2, 3]);
    assert_eq!(transposed, [Index::Strided { offset: 0, loops: vec![(3, 1), (2, 3)] }]);
    assert_eq!(of(vec![node("Flatten", &["x"], &["y"], vec![])], vec![], &[2, 3, 4]), [Index::Identity]);
    let scales = floats("s", &[4], &[1.0, 1.0, 2.0, 2.0]);
    let mode = vec![text("coordinate_transformation_mode", "asymmetric"), text("nearest_mode", "floor")];
    let resized = of(vec![node("Resize", &["x", "", "s"], &["y"], mode)], vec![scales], &[1, 3, 4, 4]);
    assert_eq!(resized, [Index::Strided { offset: 0, loops: vec![(12, 4), (2, 0), (4, 1), (2, 0)] }]);
    let pool = vec![ints("kernel_shape", &[2, 2]), ints("strides", &[2, 2])];
    let pooled = of(vec![node("MaxPool", &["x"], &["y"], pool)], vec![], &[1, 1, 4, 4]);
    assert_eq!(pooled, [Index::Strided { offset: 0, loops: vec![(2, 8), (2, 2), (2, 4), (2, 1)] }]);
    let gathered = of(vec![node("Gather", &["x", "i"], &["y"], vec![])], vec![integers("i", &[0, -1, 1])], &[5]);
    assert_eq!(gathered, [Index::Explicit(vec![0, 4, 1])]);
    let joined = of(vec![node("Concat", &["x", "x"], &["y"], vec![int("axis", 1)])], vec![], &[2, 3]);
    assert_eq!(joined, [Index::Strided { offset: 0, loops: vec![(2, 3), (2, 6), (3, 1)] }]);
}

#[test]
fn padding_of_a_maximum_never_shows() {
    let attributes = vec![ints("kernel_shape", &[3]), ints("pads", &[1, 1])];
    let pool = model(12, &[1, 1, 3], vec![], vec![node("MaxPool", &["x"], &["y"], attributes)]);
    near(&run(&pool, &[-3.0, -2.0, -5.0]), &[-2.0, -2.0, -2.0]);
    let attributes = vec![ints("kernel_shape", &[1]), ints("pads", &[1, 1])];
    let alone = model(12, &[1, 1, 3], vec![], vec![node("MaxPool", &["x"], &["y"], attributes)]);
    assert!(load(&alone).unwrap_err().to_string().contains("node 'y' (MaxPool): a window that lies in the padding"));
}

#[test]
fn kinds_follow_what_numbers_are() {
    let nodes = vec![
        node("ArgMax", &["x"], &["i"], vec![int("axis", 1)]),
        node("Greater", &["x", "zero"], &["t"], vec![]),
        node("Cast", &["t"], &["y"], vec![int("to", 1)]),
    ];
    let zero = TensorProto { dims: vec![], ..floats("zero", &[1], &[0.0]) };
    let mut model = model(13, &[2, 3], vec![zero], nodes);
    for name in ["i", "t"] {
        model.graph.as_mut().unwrap().output.push(ValueInfoProto { name: name.into(), r#type: None });
    }
    let network = load(&model).unwrap();
    let kinds: Vec<Kind> = network.outputs.iter().map(|&id| network.values[id].kind).collect();
    assert_eq!(kinds, [Kind::Real, Kind::Integer, Kind::Truth]);
}

#[test]
fn nodes_in_any_order_are_put_in_the_order_of_their_data() {
    let mut shuffled = typical();
    shuffled.graph.as_mut().unwrap().node.reverse();
    let x = vec![0.5; 16];
    near(&run(&shuffled, &x), &run(&typical(), &x));
}

#[test]
fn unused_nodes_and_constants_are_left_out() {
    let mut more = typical();
    let graph = more.graph.as_mut().unwrap();
    graph.node.push(node("Exp", &["x"], &["unused"], vec![]));
    graph.initializer.push(floats("lost", &[1], &[1.0]));
    assert_eq!(load(&more).unwrap(), load(&typical()).unwrap());
}

#[test]
fn a_quantised_layer_is_exact_arithmetic_on_integers() {
    let one = |name: &str, number: f32| TensorProto { dims: vec![], ..floats(name, &[1], &[number]) };
    let byte = |name: &str, data_type: i32, dims: &[i64], values: &[i32]| TensorProto {
        name: name.into(),
        dims: dims.to_vec(),
        data_type,
        int32_data: values.to_vec(),
        ..Default::default()
    };
    let constants = vec![
        one("sx", 0.5),
        one("sw", 0.25),
        one("sy", 1.0),
        byte("zx", 2, &[], &[128]),
        byte("zw", 3, &[], &[0]),
        byte("w", 3, &[2, 1], &[4, -8]),
    ];
    let nodes = vec![
        node("QuantizeLinear", &["x", "sx", "zx"], &["q"], vec![]),
        node("QLinearMatMul", &["q", "sx", "zx", "w", "sw", "zw", "sy", "zx"], &["r"], vec![]),
        node("DequantizeLinear", &["r", "sy", "zx"], &["y"], vec![]),
    ];
    let network = model(13, &[1, 2], constants, nodes);
    // 1.26 is 3 halves, 2 is 4 halves: 3 * 4 - 4 * 8 = -20 eighths, -2.5, to even.
    near(&run(&network, &[1.26, 2.0]), &[-2.0]);
    near(&run(&network, &[1000.0, -1000.0]), &[127.0]);
}
