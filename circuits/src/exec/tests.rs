use proptest::prelude::*;

use super::*;
use crate::graph::{
    Geometry, Node, Op, Tensor,
    sample::{self, KINDS, Rng, Sample},
};

/// Plain code, one thread, two, five and rayon's own: every tensor of each.
fn agree(sample: &Sample, inputs: &[Vec<i64>]) -> Result<(), TestCaseError> {
    let graph = Arc::new(sample.graph.clone());
    let expected = plain::run(&sample.graph, &sample.weights, inputs);
    let outputs: Vec<_> = graph.outputs.iter().map(|&id| expected[id as usize].clone()).collect();
    for threads in [Some(1), Some(2), Some(5), None] {
        for scalar in [false, true] {
            let options = Options { threads: threads.and_then(NonZeroUsize::new), scalar };
            let program = Program::new(Arc::clone(&graph), &sample.weights, options).unwrap();
            prop_assert_eq!(&program.run_all(inputs).unwrap(), &expected);
            prop_assert_eq!(&program.run(inputs).unwrap(), &outputs);
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn vectors_and_threads_never_change_a_bit(seed in any::<u64>(), nodes in 1usize..24) {
        let sample = sample::random(seed, nodes);
        agree(&sample, &sample.inputs)?;
        agree(&sample, &sample.other_inputs(seed))?;
    }

    #[test]
    fn nor_do_they_for_any_operation_alone(seed in any::<u64>(), kind in 0usize..KINDS.len()) {
        let sample = sample::one(KINDS[kind], seed);
        agree(&sample, &sample.inputs)?;
    }

    #[test]
    fn large_products_and_convolutions_are_cut_without_a_trace(seed in any::<u64>()) {
        let sample = large(seed);
        agree(&sample, &sample.inputs)?;
    }
}

/// Products large enough to be shared between threads, of odd sizes, at their largest magnitudes now and then.
fn large(seed: u64) -> Sample {
    let mut rng = Rng::new(seed);
    let (low, high) = [(-128, 127), (-32768, 32767)][rng.below(2)];
    let [m, k, n] = [1 + rng.below(40), 200 + rng.below(200), 30 + rng.below(60)];
    let [c, h, each, groups] = [1 + rng.below(5), 20 + rng.below(14), 3 + rng.below(5), 1 + rng.below(2)];
    let (c, filters) = (c * groups, each * groups);
    let pads = [rng.below(3), rng.below(3), rng.below(3), rng.below(3)].map(|pad| pad as u32);
    let [stride, dilation] = [1 + rng.below(2), 1 + rng.below(2)].map(|step| step as u32);
    let geometry = Geometry { strides: [1, stride], dilations: [dilation, 1], pads, groups: groups as u32 };
    let shape = |sizes: &[usize]| sizes.iter().map(|&size| size as u32).collect::<Vec<_>>();
    let (input, kernel) = (shape(&[2, c, h, h]), shape(&[filters, c / groups, 3, 3]));
    let output = geometry.output_shape(input[..].try_into().unwrap(), kernel[..].try_into().unwrap()).unwrap();
    let tensor = |shape: Vec<u32>, low, high| Tensor { shape, low, high, scale: 1f32.to_bits() };
    let tensors = vec![
        tensor(shape(&[1, m, k]), low, high),
        tensor(shape(&[1, k, n]), -127, 127),
        tensor(shape(&[n]), -1000, 1000),
        tensor(shape(&[1, m, n]), 0, 0),
        tensor(input, low, high),
        tensor(kernel, -127, 127),
        tensor(shape(&[filters]), -1000, 1000),
        tensor(output.to_vec(), 0, 0),
    ];
    let node = |name: &str, op, inputs, output| Node { name: name.into(), op, inputs, output };
    let nodes =
        vec![node("product", Op::MatMul, vec![0, 1, 2], 3), node("windows", Op::Conv(geometry), vec![4, 5, 6], 7)];
    let mut graph =
        Graph { tensors, tables: vec![], inputs: vec![0, 4], constants: vec![1, 2, 5, 6], nodes, outputs: vec![3, 7] };
    let extreme = rng.chance(3);
    let mut values = |id: u32| {
        let tensor = &graph.tensors[id as usize];
        let (low, high) = (tensor.low, tensor.high);
        (0..tensor.len()).map(|_| if extreme { low } else { rng.between(low, high) }).collect::<Vec<_>>()
    };
    let weights: Vec<Vec<i64>> = [1, 2, 5, 6].map(&mut values).to_vec();
    let inputs = [0, 4].map(values).to_vec();
    for (id, (low, high)) in graph.bounds(&weights).unwrap().into_iter().enumerate() {
        (graph.tensors[id].low, graph.tensors[id].high) = (low, high);
    }
    Sample { graph, weights, inputs }
}

#[test]
fn every_tensor_keeps_its_declared_bounds() {
    let ones = KINDS.into_iter().flat_map(|kind| (0..60).map(move |seed| sample::one(kind, seed)));
    let many = (0..200).map(|seed| sample::random(seed, 1 + seed as usize % 20));
    for sample in ones.chain(many) {
        for inputs in (0..4).map(|seed| sample.other_inputs(seed)).chain([sample.inputs.clone()]) {
            let tensors = run_all(&sample.graph, &sample.weights, &inputs).unwrap();
            for (tensor, values) in sample.graph.tensors.iter().zip(&tensors) {
                assert_eq!(values.len(), tensor.len());
                assert!(values.iter().all(|value| (tensor.low..=tensor.high).contains(value)));
            }
        }
    }
}

#[test]
fn inputs_of_another_number_length_or_range_are_refused() {
    let sample = sample::one(sample::Kind::Sqrt, 3);
    let with = |inputs: &[Vec<i64>]| run(&sample.graph, &sample.weights, inputs).unwrap_err();
    assert_eq!(with(&[]), ExecError::Count { expected: 1, found: 0 });
    let expected = sample.inputs[0].len();
    assert_eq!(with(&[vec![0; expected + 1]]), ExecError::Length { input: 0, expected, found: expected + 1 });
    let mut values = sample.inputs[0].clone();
    values[expected - 1] = 1 << 20;
    let error = with(&[values]).to_string();
    assert!(error.contains(&format!("has 1048576 at {}", expected - 1)), "{error}");
}
