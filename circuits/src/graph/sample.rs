//! Random small graphs that are valid, with weights and inputs: what every proof system is tried on.
//!
//! Made from a seed alone, so a failing one is told by its number. The same seed gives the same graph on any machine.

mod builder;

use super::{Graph, Multiplier, Node, Op, Tensor, TensorId};
use builder::Builder;

/// A valid graph, its weights, and one input in range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// With bounds that the weights keep.
    pub graph: Graph,
    /// One vector a constant.
    pub weights: Vec<Vec<i64>>,
    /// One vector an input.
    pub inputs: Vec<Vec<i64>>,
}

impl Sample {
    /// Another input in range.
    pub fn other_inputs(&self, seed: u64) -> Vec<Vec<i64>> {
        inputs(&self.graph, &mut Rng::new(seed))
    }
}

/// What [`one`] makes a graph of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)] // The names of the operations.
pub enum Kind {
    Wire,
    MatMul,
    Conv,
    Linear,
    Mul,
    RescaleUniform,
    RescalePerAxis,
    Lookup,
    ReduceMax,
    ArgMax,
    Greater,
    Divide,
    Sqrt,
}

/// Every operation; the rescaling in both its forms.
pub const KINDS: [Kind; 13] = [
    Kind::Wire,
    Kind::MatMul,
    Kind::Conv,
    Kind::Linear,
    Kind::Mul,
    Kind::RescaleUniform,
    Kind::RescalePerAxis,
    Kind::Lookup,
    Kind::ReduceMax,
    Kind::ArgMax,
    Kind::Greater,
    Kind::Divide,
    Kind::Sqrt,
];

/// A graph of this operation alone, on fresh inputs and constants; before it at most what makes an operand wide.
pub fn one(kind: Kind, seed: u64) -> Sample {
    let mut builder = Builder::new(seed);
    builder.fresh = true;
    let output = builder.add(kind);
    builder.finish(vec![output])
}

/// One dense layer, `y = clamp((x W + b) / 2)` halves up: the smallest network that computes something. `weights` has a row
/// for each input; an input is one row, of int8 values.
pub fn perceptron(weights: &[&[i64]], bias: &[i64]) -> Sample {
    let (inputs, outputs) = (weights.len() as u32, bias.len() as u32);
    let tensor = |shape: Vec<u32>, low, high| Tensor { shape, low, high, scale: 1f32.to_bits() };
    let reach = weights.iter().flat_map(|row| row.iter()).map(|w| w.abs()).max().unwrap_or(0);
    let offset = bias.iter().map(|b| b.abs()).max().unwrap_or(0);
    let sum = 128 * reach * i64::from(inputs) + offset;
    let node =
        |name: &str, op, inputs: &[TensorId], output| Node { name: name.into(), op, inputs: inputs.into(), output };
    let halve = Op::Rescale { multiplier: Multiplier::Uniform(1), shift: 1, low: i16::MIN, high: i16::MAX };
    let graph = Graph {
        tensors: vec![
            tensor(vec![1, 1, inputs], -128, 127),
            tensor(vec![1, inputs, outputs], -reach, reach),
            tensor(vec![outputs], -offset, offset),
            tensor(vec![1, 1, outputs], -sum, sum),
            tensor(vec![1, 1, outputs], i16::MIN.into(), i16::MAX.into()),
        ],
        tables: vec![],
        inputs: vec![0],
        constants: vec![1, 2],
        nodes: vec![node("dense", Op::MatMul, &[0, 1, 2], 3), node("halve", halve, &[3], 4)],
        outputs: vec![4],
    };
    let rows = weights.iter().flat_map(|row| row.iter().copied()).collect();
    Sample { graph, weights: vec![rows, bias.to_vec()], inputs: vec![vec![0; weights.len()]] }
}

/// A graph of about this many nodes or a few more, of all operations.
pub fn random(seed: u64, nodes: usize) -> Sample {
    let mut builder = Builder::new(seed);
    for _ in 0..=builder.rng.below(2) {
        let shape = builder.shape();
        builder.input(shape, None);
    }
    let mut last = 0;
    while builder.graph.nodes.len() < nodes.max(1) {
        let kind = KINDS[builder.rng.below(KINDS.len())];
        last = builder.add(kind);
    }
    let mut outputs = vec![last];
    for _ in 0..builder.rng.below(3) {
        let at = builder.rng.below(builder.graph.nodes.len());
        let id = builder.graph.nodes[at].output;
        if !outputs.contains(&id) {
            outputs.push(id);
        }
    }
    builder.finish(outputs)
}

fn inputs(graph: &Graph, rng: &mut Rng) -> Vec<Vec<i64>> {
    let tensors = graph.inputs.iter().map(|&id| &graph.tensors[id as usize]);
    tensors.map(|tensor| rng.values(tensor.len(), tensor.low, tensor.high)).collect()
}

/// SplitMix64.
#[derive(Debug, Clone)]
pub struct Rng(u64);

impl Rng {
    /// From a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5851_f42d_4c95_7f2d)
    }

    /// The next 64 bits.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// `0..end`; 0 where that is empty.
    pub fn below(&mut self, end: usize) -> usize {
        (self.draw() % end.max(1) as u64) as usize
    }

    /// `low..=high`.
    pub fn between(&mut self, low: i64, high: i64) -> i64 {
        let width = i128::from(high) - i128::from(low) + 1;
        (i128::from(low) + i128::from(self.draw()) % width.max(1)) as i64
    }

    /// Once in `n`.
    pub fn chance(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    fn pick<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.below(list.len())]
    }

    /// Numbers within bounds; the bounds themselves often, and now and then nothing else.
    fn values(&mut self, len: usize, low: i64, high: i64) -> Vec<i64> {
        let extreme = self.chance(8);
        let one = |rng: &mut Self| match rng.below(if extreme { 2 } else { 12 }) {
            0 => low,
            1 => high,
            _ => rng.between(low, high),
        };
        (0..len).map(|_| one(self)).collect()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn every_sample_passes_the_checks_and_a_seed_tells_it() {
        for kind in KINDS {
            for seed in 0..150 {
                let sample = one(kind, seed);
                assert_eq!(sample.graph.check_weights(&sample.weights), Ok(()), "{kind:?} {seed}");
                assert_eq!(sample, one(kind, seed));
                let name = format!("{kind:?}");
                let last = sample.graph.nodes.last().expect("one node at least");
                assert!(name.starts_with(last.op.name()), "{name} is not the last node");
            }
        }
        for seed in 0..400 {
            let sample = random(seed, 1 + (seed as usize % 24));
            assert_eq!(sample.graph.check_weights(&sample.weights), Ok(()), "random {seed}");
        }
    }
}
