use proptest::prelude::*;

use super::*;
use crate::{
    exec,
    graph::{
        Index, VOID, Wire,
        sample::{self, Kind, Rng, Sample},
    },
};

/// `y = clamp((x by w + b) rescaled)`, then a table, on one input `[1, 2, 3]`.
fn layer() -> Sample {
    let tensor = |shape: &[u32], low, high| Tensor { shape: shape.to_vec(), low, high, scale: 1f32.to_bits() };
    let node = |name: &str, op, inputs: &[u32], output| Node { name: name.into(), op, inputs: inputs.to_vec(), output };
    let rescale = Op::Rescale { multiplier: Multiplier::PerAxis(2), shift: 10, low: -128, high: 127 };
    let values = (-128..=127).map(|x: i16| x.max(0)).collect();
    let mut graph = Graph {
        tensors: vec![
            tensor(&[1, 2, 3], -128, 127),
            tensor(&[1, 3, 2], -4, 5),
            tensor(&[2], -8, 7),
            tensor(&[1, 2, 2], 0, 0),
            tensor(&[2], 300, 400),
            tensor(&[1, 2, 2], 0, 0),
            tensor(&[1, 2, 2], 0, 0),
        ],
        tables: vec![Table { name: "relu".into(), low: -128, values }],
        inputs: vec![0],
        constants: vec![1, 2, 4],
        nodes: vec![
            node("product", Op::MatMul, &[0, 1, 2], 3),
            node("rounding", rescale, &[3, 4], 5),
            node("positive", Op::Lookup { table: 0 }, &[5], 6),
        ],
        outputs: vec![6],
    };
    let weights = vec![vec![1, -2, 3, -4, 5, 0], vec![7, -8], vec![300, 400]];
    for (id, (low, high)) in graph.bounds(&weights).unwrap().into_iter().enumerate() {
        (graph.tensors[id].low, graph.tensors[id].high) = (low, high);
    }
    let inputs = vec![vec![127, -128, 3, 4, 5, 6]];
    Sample { graph, weights, inputs }
}

#[test]
fn bounds_are_the_tightest_that_intervals_give() {
    let layer = layer();
    let hulls = layer.graph.bounds(&layer.weights).unwrap();
    // Columns of weights: 1 3 5 and -2 -4 0, biases 7 and -8.
    let first = (-128 * 9 + 7, 127 * 9 + 7);
    let second = (-127 * 6 - 8, 128 * 6 - 8);
    assert_eq!(hulls[3], (first.0.min(second.0), first.1.max(second.1)));
    let round = |x: i64, m: i64| ((x * m + 512) >> 10).clamp(-128, 127);
    assert_eq!(
        hulls[5],
        (round(first.0, 300).min(round(second.0, 400)), round(first.1, 300).max(round(second.1, 400)))
    );
    assert_eq!(hulls[6], (0, 127));
    assert_eq!(layer.graph.check_weights(&layer.weights), Ok(()));
}

#[test]
fn a_square_is_not_negative_and_a_value_less_itself_is_nothing() {
    let sample = (0..).map(|seed| sample::one(Kind::Mul, seed)).find(|s| s.graph.inputs.len() == 1).unwrap();
    let mut graph = sample.graph;
    (graph.tensors[0].low, graph.tensors[0].high) = (-5, 3);
    assert_eq!(graph.bounds(&[]).unwrap()[1], (0, 25));
    graph.nodes[0].op = Op::Linear { coefficients: vec![7, -7], constant: 2 };
    assert_eq!(graph.bounds(&[]).unwrap()[1], (2, 2));
}

/// Changes the layer and tells why it is refused.
fn refused(change: impl FnOnce(&mut Graph, &mut Vec<Vec<i64>>)) -> String {
    let mut layer = layer();
    change(&mut layer.graph, &mut layer.weights);
    layer.graph.check_weights(&layer.weights).unwrap_err().to_string()
}

#[test]
fn bounds_that_weights_can_break_are_refused_with_the_node() {
    assert!(refused(|g, _| g.tensors[3].high -= 1).starts_with("node 0 'product' (MatMul): values -1145..="));
    assert!(refused(|_, w| w[0][0] = 6).contains("constant 0: value 6 at 0; declared -4..=5"));
    assert!(refused(|_, w| w[0][2] = 5).contains("node 0 'product'"));
    assert!(refused(|g, _| g.tensors[6].low = 1).contains("node 2 'positive' (Lookup): values 0..=127"));
    assert!(refused(|_, w| w[1].push(0)).contains("constant 1: 3 values; expected 2"));
    assert!(refused(|_, w| w.truncate(2)).contains("2 vectors of weights; expected 3"));
    assert!(refused(|_, w| w[1][0] = i64::MIN).contains("expected within 2^47"));
}

#[test]
fn what_anyone_can_check_is_refused_without_weights() {
    assert!(refused(|g, _| g.tables[0].low = -127).contains("node 2 'positive' (Lookup): operand"));
    assert!(refused(|g, _| g.tables[0].values.clear()).contains("table 0: 0 values"));
    assert!(refused(|g, _| g.tables[0].low = i32::MAX).contains("within i16"));
    assert!(refused(|g, _| g.nodes[1].op = Op::Sqrt).contains("2 operands; expected 1"));
    assert!(refused(|g, _| g.nodes[2].op = Op::Sqrt).contains("square root of"));
    assert!(refused(|g, _| g.nodes[0].inputs[0] = 6).contains("operand 6 is not defined before it"));
    assert!(refused(|g, _| g.nodes[0].inputs[0] = 99).contains("operand 99 is not defined"));
    assert!(refused(|g, _| g.nodes[2].output = 5).contains("tensor 5 is defined twice"));
    assert!(refused(|g, _| g.nodes[2].output = u32::MAX).contains("of 7"));
    assert!(refused(|g, _| g.inputs.push(1)).contains("tensor 1 is defined twice"));
    assert!(refused(|g, _| drop(g.nodes.pop())).contains("tensor 6: defined by nothing"));
    assert!(refused(|g, _| g.outputs.clear()).contains("no outputs"));
    assert!(refused(|g, _| g.outputs.push(7)).contains("output 7 of 7"));
    assert!(refused(|g, _| g.tensors[0].high = 1 << 15).contains("expected an act"));
    assert!(refused(|g, _| g.tensors[0].low = 128).contains("expected an act"));
    assert!(refused(|g, _| g.tensors[3].high = 1 << 47).contains("within 2^47"));
    let product = refused(|g, _| (g.tensors[3].high, g.tensors[4].high) = (1 << 40, (1 << 31) - 1));
    assert!(product.contains("node 1 'rounding' (Rescale): the product before its shift reaches"), "{product}");
    assert!(refused(|g, _| g.tensors[4].high = 1 << 31).contains("multipliers"));
    assert!(refused(|g, _| g.tensors[4].low = -1).contains("multipliers"));
    assert!(refused(|g, _| g.tensors[6].scale = 0).contains("scale 0"));
    assert!(refused(|g, _| g.tensors[6].scale = f32::NAN.to_bits()).contains("scale NaN"));
    assert!(refused(|g, _| g.tensors[6].shape = vec![4]).contains("output of shape [4]; expected [1, 2, 2]"));
    assert!(refused(|g, _| g.tensors[6].shape = vec![1 << 31, 1 << 31, 4]).contains("at most"));
    assert!(refused(|g, _| g.tensors[6].shape[0] = 0).contains("empty"));
    assert!(refused(|g, _| g.nodes[1].name = "x".repeat(300)).contains("a name of 300 bytes"));
    let rescale = |shift, low, high| Op::Rescale { multiplier: Multiplier::PerAxis(2), shift, low, high };
    assert!(refused(|g, _| g.nodes[1].op = rescale(0, 0, 1)).contains("shift 0"));
    assert!(refused(|g, _| g.nodes[1].op = rescale(41, 0, 1)).contains("shift 41"));
    assert!(refused(|g, _| g.nodes[1].op = rescale(9, 2, 1)).contains("clamp to 2..=1"));
    assert!(refused(|g, _| g.nodes[2].op = Op::Divide { shift: 0 }).contains("1 operands"));
}

#[test]
fn multipliers_must_be_a_constant() {
    let error = refused(|g, w| {
        g.constants.pop();
        w.pop();
        g.inputs.push(4);
    });
    assert!(error.contains("node 1 'rounding' (Rescale): multipliers that are not a constant"), "{error}");
}

#[test]
fn a_graph_that_asks_for_too_much_is_refused_before_it_is_run() {
    let layer = layer();
    let mut many = layer.graph.clone();
    many.nodes = vec![many.nodes[0].clone(); MAX_NODES + 1];
    assert!(many.check().unwrap_err().to_string().contains("nodes"));
    // Small in bytes, but each wire makes 2^24 values of the one before.
    let tensor = Tensor { shape: vec![1 << 24], low: 0, high: 1, scale: 1f32.to_bits() };
    let wire = |inputs, output| {
        let wire = Wire { fan_in: 1, index: Index::Strided { offset: 0, loops: vec![(1 << 24, 0)] } };
        Node { name: String::new(), op: Op::Wire(wire), inputs, output }
    };
    let graph = Graph {
        tensors: vec![tensor; 40],
        tables: vec![],
        inputs: vec![0],
        constants: vec![],
        nodes: (1..40).map(|at| wire(vec![at - 1], at)).collect(),
        outputs: vec![39],
    };
    assert!(graph.check().unwrap_err().to_string().contains("values in all tensors"));
    // Each wire reads and moves 2^24 values to give few.
    let mut reads = graph.clone();
    reads.tensors[1..].iter_mut().for_each(|tensor| tensor.shape = vec![1]);
    for node in &mut reads.nodes {
        node.op = Op::Wire(Wire { fan_in: 1 << 24, index: Index::Identity });
        node.inputs = vec![0];
    }
    assert!(reads.check().unwrap_err().to_string().contains("values moved a run"));
}

/// One random change of anything in a graph.
fn alter(graph: &mut Graph, rng: &mut Rng) {
    let number = [0, 1, -1, 2, 127, 128, 1 << 15, 1 << 30, 1 << 46, i64::MAX, i64::MIN][rng.below(11)];
    let small = rng.below(9) as u32;
    let (tensors, nodes, tables) = (graph.tensors.len(), graph.nodes.len(), graph.tables.len());
    let (tensor, node) = (&mut graph.tensors[rng.below(tensors)], &mut graph.nodes[rng.below(nodes)]);
    match rng.below(12) {
        0 => tensor.low = number,
        1 => tensor.high = number,
        2 => tensor.low = tensor.low.saturating_sub(1),
        3 => tensor.high = tensor.high.saturating_add(rng.between(-1, 300)),
        4 => {
            if let Some(axis) = tensor.shape.first_mut() {
                *axis = small;
            }
        }
        5 => tensor.shape.push(small),
        6 if !node.inputs.is_empty() => {
            let at = rng.below(node.inputs.len());
            node.inputs[at] = rng.below(tensors + 1) as u32;
        }
        7 => node.inputs.push(rng.below(tensors) as u32),
        8 if tables > 0 => graph.tables[rng.below(tables)].low = number as i32,
        9 => node.output = rng.below(tensors) as u32,
        10 => drop(node.inputs.pop()),
        _ => match &mut node.op {
            Op::Wire(wire) => match (&mut wire.index, rng.below(3)) {
                (_, 0) => wire.fan_in = small,
                (Index::Strided { offset, .. }, 1) => *offset = number,
                (Index::Strided { loops, .. }, _) => loops.push((small, number)),
                (Index::Explicit(list), 1) => list.push(VOID),
                (Index::Explicit(list), _) => drop(list.pop()),
                (index, _) => *index = Index::Strided { offset: 0, loops: vec![(small, 1)] },
            },
            Op::Conv(geometry) => match rng.below(4) {
                0 => geometry.strides = [small, number as u32],
                1 => geometry.dilations = [number as u32, small],
                2 => geometry.pads = [small, 0, number as u32, 1],
                _ => geometry.groups = small,
            },
            Op::Linear { coefficients, constant } => match rng.below(3) {
                0 => *constant = number,
                1 => coefficients.iter_mut().take(1).for_each(|coefficient| *coefficient = number),
                _ => coefficients.push(number),
            },
            Op::Rescale { multiplier, shift, low, high } => match rng.below(5) {
                0 => *multiplier = Multiplier::Uniform(number as u32),
                1 => *multiplier = Multiplier::PerAxis(small as u8),
                2 => *shift = number as u8,
                3 => *low = number as i16,
                _ => *high = number as i16,
            },
            Op::Lookup { table } => *table = small,
            Op::Divide { shift } => *shift = number as u8,
            other => {
                *other = [Op::Sqrt, Op::Greater, Op::ReduceMax, Op::ArgMax, Op::Mul, Op::MatMul][rng.below(6)].clone()
            }
        },
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    /// The dev profile checks every addition for overflow, so a wrong bound would show.
    #[test]
    fn an_altered_graph_is_refused_or_keeps_its_bounds_on_every_input(seed in any::<u64>(), changes in 1usize..4) {
        let mut rng = Rng::new(seed);
        let mut sample = sample::random(seed, 5);
        (0..changes).for_each(|_| alter(&mut sample.graph, &mut rng));
        let public = sample.graph.check();
        let whole = sample.graph.check_weights(&sample.weights);
        prop_assert!(public.is_ok() || whole.is_err());
        if whole.is_ok() && sample.graph.tensors.iter().map(Tensor::len).sum::<usize>() < 1 << 16 {
            for inputs in (0..3).map(|seed| sample.other_inputs(seed)) {
                let tensors = exec::run_all(&sample.graph, &sample.weights, &inputs).unwrap();
                for (tensor, values) in sample.graph.tensors.iter().zip(&tensors) {
                    prop_assert!(values.iter().all(|value| (tensor.low..=tensor.high).contains(value)));
                }
            }
        }
    }
}
