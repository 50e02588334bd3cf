use super::{
    proto::{
        AttributeProto, DimensionProto, GraphProto, NodeProto, OperatorSetIdProto, TensorProto, TensorShapeProto,
        TensorTypeProto, TypeProto, ValueInfoProto,
    },
    tensor::FLOAT,
    *,
};

fn tensor(name: &str, dims: &[i64], values: &[f32]) -> TensorProto {
    TensorProto {
        name: name.into(),
        dims: dims.to_vec(),
        data_type: FLOAT,
        float_data: values.to_vec(),
        ..Default::default()
    }
}

fn node(op: &str, name: &str, inputs: &[&str], output: &str) -> NodeProto {
    NodeProto {
        op_type: op.into(),
        name: name.into(),
        input: inputs.iter().map(|&i| i.into()).collect(),
        output: vec![output.into()],
        ..Default::default()
    }
}

fn attribute(name: &str, i: i64, f: f32) -> AttributeProto {
    AttributeProto { name: name.into(), i, f, t: None }
}

/// A dimension: a number, or -1 for one with a name.
fn value(name: &str, dims: &[i64]) -> ValueInfoProto {
    let dim = dims
        .iter()
        .map(|&d| DimensionProto { dim_value: (d >= 0).then_some(d), dim_param: (d < 0).then(|| "N".into()) })
        .collect();
    let tensor_type = Some(TensorTypeProto { elem_type: FLOAT, shape: Some(TensorShapeProto { dim }) });
    ValueInfoProto { name: name.into(), r#type: Some(TypeProto { tensor_type }) }
}

/// `x[N,2] -> Gemm(transB) -> Relu -> MatMul -> Add -> y[N,1]`.
fn sound() -> ModelProto {
    let mut gemm = node("Gemm", "fc_1", &["x", "w1", "b1"], "h");
    gemm.attribute.push(attribute("transB", 1, 0.0));
    ModelProto {
        ir_version: 8,
        opset_import: vec![OperatorSetIdProto { domain: String::new(), version: 13 }],
        graph: Some(GraphProto {
            node: vec![
                gemm,
                node("Relu", "relu_1", &["h"], "r"),
                node("MatMul", "fc_2", &["r", "w2"], "m"),
                node("Add", "bias_2", &["b2", "m"], "y"),
            ],
            initializer: vec![
                tensor("w1", &[3, 2], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]),
                tensor("b1", &[3], &[0.5, -0.5, 0.0]),
                tensor("w2", &[3, 1], &[1.0, -1.0, 2.0]),
                tensor("b2", &[1], &[10.0]),
            ],
            input: vec![value("x", &[-1, 2])],
            output: vec![value("y", &[-1, 1])],
        }),
    }
}

fn altered(change: impl FnOnce(&mut GraphProto)) -> Result<Network, OnnxError> {
    let mut model = sound();
    change(model.graph.as_mut().unwrap());
    read(&model.encode_to_vec())
}

fn message(change: impl FnOnce(&mut GraphProto)) -> String {
    altered(change).unwrap_err().to_string()
}

#[test]
fn gemm_relu_matmul_and_add_become_two_layers() {
    let network = altered(|_| ()).unwrap();
    assert_eq!(network.layers.len(), 2);
    assert!(network.layers[0].relu && !network.layers[1].relu);
    assert_eq!(network.activations(&[1.0, -1.0]), [vec![0.0, 0.0, 0.0], vec![10.0]]);
    assert_eq!(network.activations(&[2.0, 0.5]), [vec![3.5, 7.5, 13.0], vec![32.0]]);
}

#[test]
fn flatten_identity_constant_and_raw_values_are_read() {
    let network = altered(|g| {
        g.input = vec![value("image", &[1, 1, 2])];
        g.node.insert(0, node("Flatten", "flat", &["image"], "flat"));
        g.node.insert(1, node("Identity", "same", &["flat"], "x"));
        let w1 = g.initializer.remove(0);
        let raw = w1.float_data.iter().flat_map(|v| v.to_le_bytes()).collect();
        let raw = TensorProto { float_data: vec![], raw_data: raw, ..w1 };
        let mut constant = node("Constant", "weights", &[], "w1");
        constant.attribute.push(AttributeProto { name: "value".into(), i: 0, f: 0.0, t: Some(raw) });
        g.node.insert(0, constant);
    })
    .unwrap();
    assert_eq!(network.activations(&[2.0, 0.5])[1], [32.0]);
}

#[test]
fn an_unsupported_operation_is_named_with_its_node() {
    let text = message(|g| g.node[1] = node("Conv", "conv_1", &["h"], "r"));
    assert_eq!(
        text,
        "unsupported operation Conv at node 'conv_1'; supported: Gemm, MatMul, Add, Relu, Flatten, Identity, Constant"
    );
    let text = message(|g| g.node[1] = node("Softmax", "", &["h"], "r"));
    assert!(text.contains("Softmax at node 'r'"), "{text}");
    let text = message(|g| g.node[1].domain = "com.example".into());
    assert!(text.contains("com.example.Relu at node 'relu_1'"), "{text}");
}

#[test]
fn unsupported_attributes_shapes_and_wirings_are_named() {
    let cases: Vec<(&str, String)> = vec![
        ("transA 1", message(|g| g.node[0].attribute.push(attribute("transA", 1, 0.0)))),
        ("alpha 0.5", message(|g| g.node[0].attribute.push(attribute("alpha", 0, 0.5)))),
        ("beta 2", message(|g| g.node[0].attribute.push(attribute("beta", 0, 2.0)))),
        ("attribute 'odd'", message(|g| g.node[0].attribute.push(attribute("odd", 0, 0.0)))),
        ("given twice", message(|g| g.node[0].attribute.push(attribute("transB", 0, 0.0)))),
        ("weights take 3 values", message(|g| g.node[0].attribute.clear())),
        (
            "no initialiser 'w2'",
            message(|g| {
                g.initializer.remove(2);
            }),
        ),
        (
            "no initialiser 'b1'",
            message(|g| {
                g.initializer.remove(1);
            }),
        ),
        ("bias of shape [2]", message(|g| g.initializer[1] = tensor("b1", &[2], &[1.0, 2.0]))),
        ("weights of shape [6]", message(|g| g.initializer[0].dims = vec![6])),
        ("only a chain", message(|g| g.node[2].input[0] = "x".into())),
        ("only a chain", message(|g| g.node.swap(0, 1))),
        ("before the first layer", message(|g| g.node.insert(0, node("Relu", "early", &["x"], "x0")))),
        ("right after Gemm or MatMul", message(|g| g.node.insert(2, node("Add", "late", &["r", "b1"], "r1")))),
        ("0 inputs", message(|g| g.node[1].input.clear())),
        ("given twice", message(|g| g.node[1].output[0] = "h".into())),
        ("output 'z'", message(|g| g.output[0].name = "z".into())),
        ("declared with shape [7]", message(|g| g.output = vec![value("y", &[-1, 7])])),
        ("2 inputs", message(|g| g.input.push(value("x2", &[-1, 2])))),
        ("2 outputs", message(|g| g.output.push(value("y2", &[-1, 2])))),
        ("only the batch may vary", message(|g| g.input = vec![value("x", &[-1, -1])])),
        ("a batch of 4", message(|g| g.input = vec![value("x", &[4, 2])])),
        ("put a Flatten", message(|g| g.input = vec![value("x", &[-1, 1, 2])])),
        ("expected at most 4096", message(|g| g.input = vec![value("x", &[-1, i64::MAX, 2])])),
        ("unusable dimensions", message(|g| g.initializer[0].dims = vec![i64::MAX, i64::MAX])),
        ("unusable dimensions", message(|g| g.initializer[0].dims = vec![-3, 2])),
        (
            "5 values",
            message(|g| {
                g.initializer[0].float_data.pop();
            }),
        ),
        ("not finite", message(|g| g.initializer[0].float_data[0] = f32::NAN)),
        ("element type 7", message(|g| g.initializer[0].data_type = 7)),
        ("another file", message(|g| g.initializer[0].data_location = 1)),
        ("defined twice", message(|g| g.initializer[1].name = "w1".into())),
        (
            "no Gemm or MatMul",
            message(|g| {
                g.node.clear();
                g.output = vec![value("x", &[-1, 2])];
            }),
        ),
    ];
    for (expected, found) in cases {
        assert!(found.contains(expected), "expected {expected:?} in {found:?}");
    }
}

#[test]
fn an_operator_set_of_another_time_is_refused() {
    let mut model = sound();
    model.opset_import[0].version = 3;
    assert!(read(&model.encode_to_vec()).unwrap_err().to_string().contains("operator set 3"));
    model.opset_import.clear();
    assert!(matches!(read(&model.encode_to_vec()), Err(OnnxError::Malformed { .. })));
}

#[test]
fn every_truncation_of_a_file_is_refused_without_a_panic() {
    let bytes = sound().encode_to_vec();
    for cut in 0..bytes.len() {
        assert!(read(&bytes[..cut]).is_err(), "cut at {cut}");
    }
    let oversize = vec![0; MAX_ONNX_BYTES + 1];
    assert!(matches!(read(&oversize), Err(OnnxError::TooLarge { .. })));
}

proptest::proptest! {
    #[test]
    fn damaged_and_random_files_never_panic(
        bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..400),
        at in 0usize..400,
        value in proptest::prelude::any::<u8>(),
    ) {
        let _ = read(&bytes);
        let mut damaged = sound().encode_to_vec();
        let at = at % damaged.len();
        damaged[at] = value;
        let _ = read(&damaged);
    }
}
