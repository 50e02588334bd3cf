//! Files that are damaged, contradictory or made to harm.

use super::*;

fn altered(change: impl FnOnce(&mut GraphProto)) -> String {
    let mut model = typical();
    change(model.graph.as_mut().unwrap());
    load(&model).unwrap_err().to_string()
}

fn one_node(op: &str, inputs: &[&str], attributes: Vec<AttributeProto>, constants: Vec<TensorProto>) -> String {
    load(&model(13, &[2, 3], constants, vec![node(op, inputs, &["y"], attributes)])).unwrap_err().to_string()
}

#[test]
fn what_is_not_supported_is_named_with_its_node() {
    let text = altered(|g| g.node[2] = NodeProto { name: "loop_1".into(), ..node("Loop", &["n"], &["r"], vec![]) });
    assert_eq!(text, "unsupported operation Loop at node 'loop_1'; `assay zk ops` lists the supported ones");
    let text = altered(|g| g.node[2].domain = "com.example".into());
    assert!(text.contains("com.example.Relu at node 'r'"), "{text}");
}

#[test]
fn a_mask_of_infinity_is_refused_with_the_node_that_reads_it_unless_it_is_never_taken() {
    let masked = |condition: &str| {
        let constants = vec![
            floats("far", &[], &[f32::NEG_INFINITY]),
            floats("zero", &[], &[0.0]),
            TensorProto { data_type: 9, int32_data: vec![1], float_data: vec![], ..floats("always", &[1], &[]) },
        ];
        let nodes = vec![
            node("Greater", &["x", "zero"], &["above"], vec![]),
            node("Where", &[condition, "x", "far"], &["y"], vec![]),
        ];
        load(&model(13, &[2, 3], constants, nodes))
    };
    assert_eq!(
        masked("above").unwrap_err().to_string(),
        "tensor 'far': holds -inf at position 0, read by node 'y' (Where); expected finite numbers: for a mask, export one such as \
         -10000"
    );
    assert!(masked("always").is_ok());
}

#[test]
fn contradictions_are_named() {
    let nan = floats("c", &[1], &[f32::NAN]);
    let cases: Vec<(&str, String)> = vec![
        ("node 'c' (Conv): attribute 'odd'", altered(|g| g.node[0].attribute.push(int("odd", 1)))),
        ("attribute 'pads' is given twice", altered(|g| g.node[0].attribute.push(ints("pads", &[0, 0, 0, 0])))),
        ("attribute 'pads' is of type 2", altered(|g| g.node[0].attribute[0] = int("pads", 1))),
        ("pads [1]; expected 4", altered(|g| g.node[0].attribute[0] = ints("pads", &[1]))),
        ("pads [-1, -1, 0, 0]", altered(|g| g.node[0].attribute[0] = ints("pads", &[-1, -1, 0, 0]))),
        ("does not fit", altered(|g| g.initializer[0] = floats("k", &[1, 1, 9, 2], &[0.0; 18]))),
        ("3 inputs; expected 5", altered(|g| g.node[1].input.truncate(3))),
        ("its input 1 is missing", altered(|g| g.node[0].input[1].clear())),
        ("reads 'nowhere', which nothing gives", altered(|g| g.node[2].input[0] = "nowhere".into())),
        ("'r' is defined twice", altered(|g| g.node[3].output[0] = "r".into())),
        ("'k' is defined twice", altered(|g| g.node[3].output[0] = "k".into())),
        ("tensor 'k': is defined twice", altered(|g| g.initializer[1].name = "k".into())),
        ("part of a cycle", altered(|g| g.node[0].input[0] = "r".into())),
        ("part of a cycle", altered(|g| g.node[2].input[0] = "r".into())),
        ("no node gives this output", altered(|g| g.output[0].name = "z".into())),
        ("no outputs", altered(|g| g.output.clear())),
        ("declared with shape [1, 4]; found [1, 3]", altered(|g| g.output[0] = value("y", &[1, 4]))),
        ("tensor 'k': holds NaN at position 4", altered(|g| g.initializer[0].float_data[4] = f32::NAN)),
        ("holds inf", altered(|g| g.initializer[7].float_data[4] = f32::INFINITY)),
        ("17 values; expected 18", altered(|g| g.initializer[0].float_data.truncate(17))),
        ("too many elements", altered(|g| g.initializer[0].dims = vec![1 << 30, 1 << 30])),
        ("none to be negative", altered(|g| g.initializer[0].dims = vec![-2, -9])),
        ("at most 16", altered(|g| g.initializer[0].dims = vec![1; 1000])),
        ("too many elements", altered(|g| g.input[0] = value("x", &[-1, 1 << 60]))),
        ("has no shape", altered(|g| g.input[0].r#type.as_mut().unwrap().tensor_type.as_mut().unwrap().shape = None)),
        ("is not a tensor", altered(|g| g.input[0].r#type = None)),
        ("element type 8 (string)", altered(|g| g.initializer[0].data_type = 8)),
        ("is a segment", altered(|g| g.initializer[0].segment = Some(SegmentProto {}))),
        ("variance that is not positive", altered(|g| g.initializer[5].float_data[0] = -1.0)),
        ("is sparse", altered(|g| g.sparse_initializer.push(SparseTensorProto { values: None }))),
        ("depends on the input", one_node("Pow", &["x", "x"], vec![], vec![])),
        ("depend on the input", one_node("Reshape", &["x", "x"], vec![], vec![])),
        ("divides by 0", one_node("Div", &["x", "z"], vec![], vec![floats("z", &[1], &[0.0])])),
        ("its constants give NaN", one_node("Sqrt", &["z"], vec![], vec![floats("z", &[1], &[-1.0])])),
        ("a step of 0", {
            let names = ["0", "1", "0", "0"].map(|v| integers(v, &[v.parse().unwrap()]));
            let [zero, one, ..] = names;
            one_node("Slice", &["x", "0", "1", "0", "0"], vec![], vec![zero, one])
        }),
        ("axis 9 of a tensor with 2 axes", one_node("Softmax", &["x"], vec![int("axis", 9)], vec![])),
        ("do not broadcast", one_node("Add", &["x", "c"], vec![], vec![floats("c", &[2], &[1.0, 2.0])])),
        ("tensor 'c': holds NaN", one_node("Add", &["x", "c"], vec![], vec![nan])),
    ];
    for (expected, found) in cases {
        assert!(found.contains(expected), "expected {expected:?} in {found:?}");
    }
}

#[test]
fn small_files_that_ask_for_much_memory_or_time_are_refused() {
    let huge = integers("to", &[1 << 60]);
    assert!(one_node("Expand", &["x", "to"], vec![], vec![huge]).contains("too many elements"));
    let ends = |name: &str, value: i64| TensorProto { dims: vec![], ..integers(name, &[value]) };
    let range = one_node("Range", &["a", "b", "c"], vec![], vec![ends("a", 0), ends("b", 1 << 60), ends("c", 1)]);
    assert!(range.contains("too many elements"), "{range}");
    let tiled = one_node("Tile", &["x", "r"], vec![], vec![integers("r", &[i64::MAX, i64::MAX])]);
    assert!(tiled.contains("too many"), "{tiled}");
    let padded = one_node("Pad", &["x", "p"], vec![], vec![integers("p", &[0, 0, i64::MAX, i64::MIN])]);
    assert!(padded.contains("pads"), "{padded}");
    let block =
        model(13, &[1, 4, 2, 2], vec![], vec![node("DepthToSpace", &["x"], &["y"], vec![int("blocksize", i64::MAX)])]);
    assert!(load(&block).unwrap_err().to_string().contains("blocksize"));

    // Each step doubles what is known in advance.
    let mut nodes = vec![node("ConstantOfShape", &["one"], &["v0"], vec![])];
    for i in 0..60 {
        let (from, to) = (format!("v{i}"), format!("v{}", i + 1));
        nodes.push(node("Concat", &[&from, &from], &[&to], vec![int("axis", 0)]));
    }
    nodes.push(node("Shape", &["v60"], &["y"], vec![]));
    let doubled = load(&model(13, &[1], vec![integers("one", &[1])], nodes)).unwrap_err().to_string();
    assert!(doubled.contains("too many"), "{doubled}");
}

#[test]
fn tensors_in_other_files_come_from_the_caller_and_from_inside_the_folder_only() {
    let outside = |location: &str| {
        let mut model = typical();
        let tensor = &mut model.graph.as_mut().unwrap().initializer[1];
        tensor.float_data.clear();
        tensor.data_location = 1;
        let entry = |key: &str, value: &str| StringStringEntryProto { key: key.into(), value: value.into() };
        tensor.external_data = vec![entry("location", location), entry("offset", "16"), entry("length", "8")];
        model.encode_to_vec()
    };
    let reader = |path: &str, offset: u64, length: u64| {
        assert_eq!((path, offset, length), ("weights/a.bin", 16, 8));
        Ok([0.5f32, -0.5].iter().flat_map(|v| v.to_le_bytes()).collect())
    };
    let options = Options { external: Some(&reader), ..Options::default() };
    assert_eq!(read(&outside("weights/a.bin"), &options), load(&typical()));
    let none = read(&outside("weights/a.bin"), &Options::default()).unwrap_err().to_string();
    assert!(none.contains("tensor 'kb'") && none.contains("another file"), "{none}");
    for location in ["../a.bin", "/etc/passwd", "a/../../b", "C:\\a", "a\\..\\b", "", "a//b", "a/.."] {
        let error = read(&outside(location), &options).unwrap_err().to_string();
        assert!(error.contains("outside the model's folder"), "{location}: {error}");
    }
    let short = |_: &str, _: u64, _: u64| Ok(vec![0; 7]);
    let options = Options { external: Some(&short), ..Options::default() };
    assert!(read(&outside("a"), &options).unwrap_err().to_string().contains("gave 7 bytes; expected 8"));
}

#[test]
fn operator_sets_of_another_time_and_oversize_files_are_refused() {
    let mut model = typical();
    model.opset_import[0].version = 6;
    assert!(load(&model).unwrap_err().to_string().contains("operator set 6; expected 7 to"));
    model.opset_import.clear();
    assert!(matches!(load(&model), Err(OnnxError::Malformed { .. })));
    let options = Options { max_bytes: 10, ..Options::default() };
    assert_eq!(read(&[0; 11], &options), Err(OnnxError::TooLarge { found: 11, limit: 10 }));
}

#[test]
fn every_truncation_of_a_file_is_refused_without_a_panic() {
    let bytes = typical().encode_to_vec();
    for cut in 0..bytes.len() {
        assert!(read(&bytes[..cut], &Options::default()).is_err(), "cut at {cut}");
    }
}

proptest::proptest! {
    #[test]
    fn damaged_and_random_files_never_panic(
        bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..400),
        places in proptest::collection::vec((0usize..4000, proptest::prelude::any::<u8>()), 1..6),
    ) {
        let _ = read(&bytes, &Options::default());
        let mut damaged = typical().encode_to_vec();
        for (at, value) in places {
            let at = at % damaged.len();
            damaged[at] = value;
        }
        if let Ok(network) = read(&damaged, &Options::default()) {
            let inputs: Vec<Vec<f64>> =
                network.inputs.iter().map(|&id| vec![0.5; network.values[id].shape.iter().product()]).collect();
            proptest::prop_assert!(network.evaluate(&inputs).is_ok());
        }
    }

    #[test]
    fn operations_with_any_attributes_and_operands_never_panic(
        row in 0..crate::onnx::SUPPORTED.len(),
        opset in 7i64..29,
        rank in 0usize..6,
        sizes in [1i64..5, 1..5, 1..5, 1..5, 1..5],
        number in proptest::sample::select(vec![i64::MIN, -2, -1, 0, 1, 2, 3, 1 << 40, i64::MAX]),
        list in proptest::collection::vec(
            proptest::sample::select(vec![i64::MIN, -3, -1, 0, 1, 2, 3, 1 << 24, i64::MAX]), 0..9),
        operands in proptest::collection::vec(0usize..5, 0..6),
        named in 0usize..40,
    ) {
        let names = [
            "axis", "axes", "kernel_shape", "pads", "strides", "dilations", "group", "ceil_mode", "output_shape", "perm",
            "output_padding", "split", "starts", "ends", "blocksize", "k", "to", "num_outputs", "keepdims", "block_size",
            "upper", "p", "noop_with_empty_axes", "allowzero", "value_ints", "select_last_index", "output_dtype", "dtype",
        ];
        let attributes = names.get(named).map(|&name| {
            let one = ["axis", "group", "ceil_mode", "blocksize", "k", "to", "num_outputs", "keepdims", "block_size",
                "upper", "p", "noop_with_empty_axes", "allowzero", "select_last_index", "output_dtype", "dtype"];
            if one.contains(&name) { int(name, number) } else { ints(name, &list) }
        });
        let mut attributes: Vec<AttributeProto> = attributes.into_iter().collect();
        if matches!(crate::onnx::SUPPORTED[row].name, "MaxPool" | "AveragePool") && named != 2 {
            attributes.push(ints("kernel_shape", &vec![2; rank.saturating_sub(2)]));
        }
        let choices = ["x", "l", "f", "s", ""];
        let inputs: Vec<&str> = operands.iter().map(|&i| choices[i]).collect();
        let scalar = TensorProto { dims: vec![], ..floats("s", &[1], &[0.5]) };
        let size: i64 = sizes[..rank].iter().product();
        let constants = vec![
            integers("l", &list),
            floats("f", &sizes[..rank], &vec![0.25; size as usize]),
            scalar,
        ];
        let model = model(opset, &sizes[..rank], constants,
            vec![node(crate::onnx::SUPPORTED[row].name, &inputs, &["y"], attributes)]);
        if let Ok(network) = load(&model) {
            let x = vec![0.5; size as usize];
            let found = network.evaluate(&[x]);
            proptest::prop_assert!(found.is_ok(), "{:?}", found);
        }
    }
}

#[test]
fn more_operations_or_products_than_any_integer_network_may_have_are_refused_before_any_is_run() {
    let text = one_node("Sum", &vec!["x"; 40_000], vec![], vec![]);
    assert!(text.contains("node 'y' (Sum)") && text.contains("more than 32768 operations"), "{text}");
    assert!(load(&model(13, &[2, 3], vec![], vec![node("Sum", &["x"; 1000], &["y"], vec![])])).is_ok());
    // A kernel as large as the image, both spread from one number: few bytes, 4e12 products.
    let nodes = vec![
        node("Expand", &["x", "image"], &["wide"], vec![]),
        node("Expand", &["x", "kernel"], &["k"], vec![]),
        node("Conv", &["wide", "k"], &["y"], vec![ints("pads", &[500, 500, 500, 500])]),
    ];
    let sizes = vec![integers("image", &[1, 1, 2000, 2000]), integers("kernel", &[1, 1, 1001, 1001])];
    let text = load(&model(13, &[1, 1, 1, 1], sizes, nodes)).unwrap_err().to_string();
    assert!(text.contains("(Conv)") && text.contains("products a run"), "{text}");
}

#[test]
fn many_wide_axes_are_refused_before_their_positions_are_listed() {
    const WIDE: i64 = 1 << 23;
    let ones = vec![1; 16];
    let wide = |op: &str, constants: Vec<TensorProto>| {
        let inputs: Vec<&str> = ["x"].into_iter().chain(constants.iter().map(|c| &*c.name)).collect();
        let nodes = vec![node(op, &inputs, &["y"], vec![])];
        load(&model(9, &ones, constants.clone(), nodes)).unwrap_err().to_string()
    };
    let error = wide("Upsample", vec![floats("s", &[16], &[WIDE as f32; 16])]);
    assert!(error.contains("node 'y' (Upsample)") && error.contains("too many elements"), "{error}");
    let pads = ints("pads", &[WIDE; 32]);
    let error = load(&model(9, &ones, vec![], vec![node("Pad", &["x"], &["y"], vec![pads])])).unwrap_err().to_string();
    assert!(error.contains("node 'y' (Pad)") && error.contains("too many elements"), "{error}");
}

#[test]
fn work_on_constants_that_is_repeated_without_end_is_refused() {
    // A thousand times, whether a flag that is spread over millions is set.
    let name = |at: usize| if at == 0 { "x".to_owned() } else { format!("d{at}") };
    let flag = TensorProto { data_type: 9, int32_data: vec![0], float_data: vec![], ..floats("flag", &[], &[]) };
    let shape =
        TensorProto { data_type: 7, int64_data: vec![1 << 23], float_data: vec![], ..floats("shape", &[1], &[]) };
    let mut nodes = vec![node("Expand", &["flag", "shape"], &["training"], vec![])];
    nodes.extend((0..1000).map(|at| node("Dropout", &[&name(at), "", "training"], &[&name(at + 1)], vec![])));
    nodes.push(node("Relu", &["d1000"], &["y"], vec![]));
    let error = load(&model(13, &[2, 3], vec![flag, shape], nodes)).unwrap_err().to_string();
    assert!(error.contains("(Dropout)") && error.contains("steps to work out"), "{error}");
}

#[test]
fn operands_of_types_that_onnx_does_not_allow_are_refused_by_node() {
    let whole = || vec![TensorProto { dims: vec![3], ..integers("c", &[1, 2, 3]) }];
    let cases = [
        ("And", &["x", "x"][..], "its input 0 is of type float; expected booleans"),
        ("Or", &["x", "x"], "expected booleans"),
        ("Xor", &["x", "x"], "expected booleans"),
        ("Not", &["x"], "expected booleans"),
        ("Where", &["x", "x", "x"], "its input 0 is of type float; expected booleans"),
        ("Add", &["x", "c"], "its input 1 is of type int64, one before it of float; expected one type"),
        ("Greater", &["x", "c"], "expected one type"),
        ("Max", &["x", "x", "c"], "its input 2 is of type int64"),
        ("Concat", &["x", "c"], "expected one type"),
        ("Sigmoid", &["c"], "its input 0 is of type int64; expected floats"),
        ("ReduceMean", &["c"], "expected floats"),
    ];
    for (operation, inputs, why) in cases {
        let error = one_node(operation, inputs, vec![], whole());
        assert!(error.contains(why) && error.contains(&format!("({operation})")), "{operation}: {error}");
    }
    let root = one_node("Pow", &["c", "half"], vec![], [whole(), vec![floats("half", &[], &[0.5])]].concat());
    assert!(root.contains("expected a whole exponent"), "{root}");
    let truths = node("Greater", &["x", "x"], &["t"], vec![]);
    let summed = load(&model(13, &[2, 3], vec![], vec![truths, node("Add", &["t", "t"], &["y"], vec![])]));
    assert!(summed.unwrap_err().to_string().contains("type bool; expected numbers"));
}

#[test]
fn what_is_said_twice_and_differently_is_refused() {
    let typed = |g: &mut GraphProto| {
        g.output[0] = value("y", &[1, 3]);
        g.output[0].r#type.as_mut().unwrap().tensor_type.as_mut().unwrap().elem_type = 7;
    };
    let twice = |g: &mut GraphProto| {
        let entry = |value: &str| StringStringEntryProto { key: "location".into(), value: value.into() };
        let tensor = &mut g.initializer[1];
        tensor.float_data.clear();
        (tensor.data_location, tensor.external_data) = (1, vec![entry("a"), entry("b")]);
    };
    let cases = [
        ("tensor 'y': is declared as int64; found float", altered(typed)),
        ("is declared with shape [99]", altered(|g| g.input.push(value("k", &[99])))),
        ("holds its values twice", altered(|g| g.initializer[0].raw_data = vec![0; 72])),
        ("says twice where in another file it lies", altered(twice)),
    ];
    for (expected, found) in cases {
        assert!(found.contains(expected), "expected {expected:?} in {found:?}");
    }
    let mut two = typical();
    two.opset_import.push(OperatorSetIdProto { domain: "ai.onnx".into(), version: 12 });
    let error = load(&two).unwrap_err().to_string();
    assert!(error.contains("and 12 of ONNX; expected one"), "{error}");
    two.opset_import[1].version = two.opset_import[0].version;
    assert!(load(&two).is_ok(), "the same twice");
}

#[test]
fn names_begin_no_line_and_turn_none_round() {
    let error = altered(|g| (g.node[2].name, g.node[2].op_type) = ("a\nerror: b\u{202e}".into(), "Odd\u{1b}".into()));
    assert_eq!(
        error,
        "unsupported operation Odd\u{fffd} at node 'a\u{fffd}error: b\u{fffd}'; `assay zk ops` lists the supported ones"
    );
}
