//! A perceptron of 64, 32 and 10, as the network's digit model has it.

use std::time::Instant;

use super::*;
use crate::graph::{Graph, Multiplier, Node, Op, Tensor, sample::Rng};

/// Layers of these sizes with ReLU between; the last gives sums of products, rescaled.
pub(super) fn perceptron(sizes: &[u32], seed: u64) -> Sample {
    let mut rng = Rng::new(seed);
    let mut values = |count: u32, low, high| (0..count).map(|_| rng.between(low, high)).collect::<Vec<i64>>();
    let mut graph = Graph {
        tensors: Vec::new(),
        tables: Vec::new(),
        inputs: vec![0],
        constants: Vec::new(),
        nodes: Vec::new(),
        outputs: Vec::new(),
    };
    let mut weights = Vec::new();
    let tensor = |graph: &mut Graph, shape: &[u32], low, high| {
        graph.tensors.push(Tensor { shape: shape.to_vec(), low, high, scale: 1f32.to_bits() });
        graph.tensors.len() as u32 - 1
    };
    let mut x = tensor(&mut graph, &[1, 1, sizes[0]], 0, 127);
    for pair in sizes.windows(2) {
        let (inputs, outputs) = (pair[0], pair[1]);
        let weight = tensor(&mut graph, &[1, inputs, outputs], -127, 127);
        let bias = tensor(&mut graph, &[outputs], -2000, 2000);
        graph.constants.extend([weight, bias]);
        weights.extend([values(inputs * outputs, -127, 127), values(outputs, -2000, 2000)]);
        let sum = tensor(&mut graph, &[1, 1, outputs], 0, 0);
        let y = tensor(&mut graph, &[1, 1, outputs], 0, 0);
        let mut node = |op: Op, inputs: Vec<u32>, output| {
            graph.nodes.push(Node { name: format!("{output}"), op, inputs, output });
        };
        node(Op::MatMul, vec![x, weight, bias], sum);
        let low = if outputs == sizes[sizes.len() - 1] { -128 } else { 0 };
        let op = Op::Rescale { multiplier: Multiplier::Uniform(77), shift: 16, low, high: 127 };
        node(op, vec![sum], y);
        x = y;
    }
    graph.outputs = vec![x];
    for (tensor, (low, high)) in graph.bounds(&weights).unwrap().into_iter().enumerate() {
        (graph.tensors[tensor].low, graph.tensors[tensor].high) = (low, high);
    }
    graph.check_weights(&weights).unwrap();
    Sample { graph, weights, inputs: vec![values(sizes[0], 0, 127)] }
}

/// Seconds of processor that this process has used.
fn processor_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
}

#[test]
#[ignore = "minutes; prints what the estimate's constants are fitted to"]
fn costs_of_wider_perceptrons() {
    for sizes in [&[64, 32, 10][..], &[256, 64, 10], &[784, 128, 10], &[784, 512, 10]] {
        let case = Case::of(perceptron(sizes, 1));
        for shape in layout::SHAPES {
            let layout = layout::lay_out(&case.relations, shape).unwrap();
            println!("{sizes:?} {shape:?} k {} {:?}", layout.k, layout.rows());
        }
        let before = processor_seconds();
        let (prover, verifier) = case.keys();
        let set_up = processor_seconds();
        let proof = Halo2::prove(&prover, &case.trace, case.statement()).unwrap();
        let proved = processor_seconds();
        assert_eq!(Halo2::verify(&verifier, case.statement(), &proof), Ok(()));
        let verified = processor_seconds();
        println!("{:?}", Halo2::estimate(&case.relations));
        println!("processor: {:.2} {:.2} {:.3}", set_up - before, proved - set_up, verified - proved);
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        println!("{:?}", status.lines().find(|line| line.starts_with("VmHWM")));
    }
}

#[test]
fn fifty_proofs_of_the_digit_perceptron_verify_in_one_sum() {
    let case = Case::of(perceptron(&[64, 32, 10], 1));
    let layout = plan(&case.relations).unwrap();
    println!("k {}, {:?}, {:?}", layout.k, layout.shape, layout.rows());
    println!("{:?}", Halo2::estimate(&case.relations));
    let start = Instant::now();
    let (prover, verifier) = case.keys();
    println!("set-up {:?}", start.elapsed());
    let start = Instant::now();
    let proof = Halo2::prove(&prover, &case.trace, case.statement()).unwrap();
    println!("prove {:?}, {} bytes", start.elapsed(), proof.len());
    let start = Instant::now();
    assert_eq!(Halo2::verify(&verifier, case.statement(), &proof), Ok(()));
    println!("verify {:?}", start.elapsed());

    let batch: Vec<(Statement<'_>, &[u8])> = vec![(case.statement(), &proof); 50];
    let start = Instant::now();
    assert_eq!(Halo2::verify_batch(&verifier, &batch), Ok(()));
    println!("batch of 50: {:?} each", start.elapsed() / 50);

    let mut wrong = proof.clone();
    wrong[proof.len() - 40] ^= 1;
    let mut batch = batch;
    batch[31].1 = &wrong;
    let (at, _) = Halo2::verify_batch(&verifier, &batch).unwrap_err();
    assert_eq!(at, 31);
}
