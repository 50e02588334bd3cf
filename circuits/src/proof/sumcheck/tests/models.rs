//! The shapes of real models, with random weights.

use crate::graph::sample::{Rng, Sample};
use crate::graph::{Analysis, Geometry, Graph, Index, Multiplier, Node, Op, Tensor, TensorId, Wire};

/// Builds a graph node by node.
struct Maker {
    rng: Rng,
    graph: Graph,
    weights: Vec<Vec<i64>>,
    analysis: Analysis<'static>,
}

impl Maker {
    fn new(input: &[u32]) -> (Self, TensorId) {
        let graph = Graph {
            tensors: vec![],
            tables: vec![],
            inputs: vec![0],
            constants: vec![],
            nodes: vec![],
            outputs: vec![],
        };
        let mut maker = Self { rng: Rng::new(1), graph, weights: vec![], analysis: Analysis::new() };
        let id = maker.tensor(input, -128, 127);
        maker.analysis.input(id, -128, 127);
        (maker, id)
    }

    fn tensor(&mut self, shape: &[u32], low: i64, high: i64) -> TensorId {
        self.graph.tensors.push(Tensor { shape: shape.to_vec(), low, high, scale: 1f32.to_bits() });
        self.graph.tensors.len() as TensorId - 1
    }

    fn constant(&mut self, shape: &[u32], reach: i64) -> TensorId {
        let id = self.tensor(shape, -reach, reach);
        let data: Vec<i64> = (0..shape.iter().product()).map(|_| self.rng.between(-reach, reach)).collect();
        self.graph.constants.push(id);
        self.analysis.constant(id, data.clone());
        self.weights.push(data);
        id
    }

    fn node(&mut self, op: Op, inputs: &[TensorId], shape: &[u32]) -> TensorId {
        let output = self.tensor(shape, 0, 0);
        let index = self.graph.nodes.len();
        let node = Node { name: format!("{} {index}", op.name()), op, inputs: inputs.to_vec(), output };
        let bounds = self.analysis.node(&self.graph.tensors, &self.graph.tables, index, &node).expect("it is valid");
        (self.graph.tensors[output as usize].low, self.graph.tensors[output as usize].high) = bounds;
        self.graph.nodes.push(node);
        output
    }

    /// To 8 bits, as a calibrated model would, with ReLU if it is asked for.
    fn rescale(&mut self, x: TensorId, relu: bool) -> TensorId {
        let tensor = &self.graph.tensors[x as usize];
        let shape = tensor.shape.clone();
        let (shift, reach) = (16, tensor.high.max(-tensor.low));
        let multiplier = Multiplier::Uniform(((127 << shift) * 4 / reach).max(1) as u32);
        self.node(Op::Rescale { multiplier, shift, low: if relu { 0 } else { -128 }, high: 127 }, &[x], &shape)
    }

    fn dense(&mut self, x: TensorId, rows: u32, from: u32, to: u32, relu: bool) -> TensorId {
        let weight = self.constant(&[1, from, to], 127);
        let bias = self.constant(&[to], 10_000);
        let y = self.node(Op::MatMul, &[x, weight, bias], &[1, rows, to]);
        self.rescale(y, relu)
    }

    fn conv(&mut self, x: TensorId, [c, m, k]: [u32; 3], side: u32) -> TensorId {
        let weight = self.constant(&[m, c, k, k], 127);
        let bias = self.constant(&[m], 10_000);
        let geometry = Geometry { strides: [1, 1], dilations: [1, 1], pads: [0; 4], groups: 1 };
        let out = side - k + 1;
        let y = self.node(Op::Conv(geometry), &[x, weight, bias], &[1, m, out, out]);
        let y = self.rescale(y, true);
        let half = out / 2;
        let (w, row) = (i64::from(out), i64::from(out) * 2);
        let loops = vec![(m, w * w), (half, row), (half, 2), (2, w), (2, 1)];
        let windows = Wire { fan_in: 1, index: Index::Strided { offset: 0, loops } };
        let windows = self.node(Op::Wire(windows), &[y], &[1, m, half, half, 4]);
        self.node(Op::ReduceMax, &[windows], &[1, m, half, half])
    }

    fn finish(mut self, output: TensorId) -> Sample {
        self.graph.outputs = vec![output];
        let length = self.graph.tensors[0].shape.iter().product();
        let inputs = vec![(0..length).map(|_| self.rng.between(-128, 127)).collect()];
        Sample { graph: self.graph, weights: self.weights, inputs }
    }
}

/// 784-128-10.
pub(super) fn mlp(rows: u32) -> Sample {
    let (mut maker, x) = Maker::new(&[1, rows, 784]);
    let x = maker.dense(x, rows, 784, 128, true);
    let x = maker.dense(x, rows, 128, 10, false);
    maker.finish(x)
}

/// LeNet-5 on 28 by 28.
pub(super) fn lenet() -> Sample {
    let (mut maker, x) = Maker::new(&[1, 1, 28, 28]);
    let x = maker.conv(x, [1, 6, 5], 28);
    let x = maker.conv(x, [6, 16, 5], 12);
    let x = maker.node(Op::Wire(Wire { fan_in: 1, index: Index::Identity }), &[x], &[1, 1, 256]);
    let x = maker.dense(x, 1, 256, 120, true);
    let x = maker.dense(x, 1, 120, 84, true);
    let x = maker.dense(x, 1, 84, 10, false);
    maker.finish(x)
}

/// A convolutional net for 32 by 32 by 3 of 264 thousand weights.
pub(super) fn cnn() -> Sample {
    let (mut maker, x) = Maker::new(&[1, 3, 32, 32]);
    let x = maker.conv(x, [3, 16, 5], 32);
    let x = maker.conv(x, [16, 32, 5], 14);
    let x = maker.node(Op::Wire(Wire { fan_in: 1, index: Index::Identity }), &[x], &[1, 1, 800]);
    let x = maker.dense(x, 1, 800, 256, true);
    let x = maker.dense(x, 1, 256, 178, true);
    let x = maker.dense(x, 1, 178, 10, false);
    maker.finish(x)
}
