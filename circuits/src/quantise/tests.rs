//! Quantised networks against their floats.

mod layers;
mod meetings;
mod operations;
mod refusals;

use std::{collections::BTreeMap, sync::Arc};

use super::{Method, Options, Precision, Quantised, quantise};
use crate::{
    exec,
    graph::Wire,
    network::{Function, Kind, Network, Node, Op, Value, ValueId},
};

/// A network, made node by node.
#[derive(Default)]
struct Net {
    values: Vec<Value>,
    inputs: Vec<ValueId>,
    constants: BTreeMap<ValueId, Arc<[f64]>>,
    nodes: Vec<Node>,
}

impl Net {
    fn value(&mut self, shape: &[usize], kind: Kind) -> ValueId {
        let name = format!("v{}", self.values.len());
        self.values.push(Value { name, shape: shape.to_vec(), kind, range: None });
        self.values.len() - 1
    }

    fn input(&mut self, shape: &[usize]) -> ValueId {
        self.input_of(shape, Kind::Real)
    }

    fn input_of(&mut self, shape: &[usize], kind: Kind) -> ValueId {
        let id = self.value(shape, kind);
        self.inputs.push(id);
        id
    }

    fn constant(&mut self, shape: &[usize], data: &[f64]) -> ValueId {
        assert_eq!(shape.iter().product::<usize>(), data.len());
        let id = self.value(shape, Kind::Real);
        self.constants.insert(id, data.into());
        id
    }

    fn node(&mut self, op: Op, inputs: &[ValueId], shape: &[usize], kind: Kind) -> ValueId {
        let output = self.value(shape, kind);
        let name = format!("n{}", self.nodes.len());
        self.nodes.push(Node { name, source: format!("{op:?}"), op, inputs: inputs.to_vec(), output });
        output
    }

    fn shape(&self, id: ValueId) -> Vec<usize> {
        self.values[id].shape.clone()
    }

    /// An operation whose result has the first operand's shape.
    fn op(&mut self, op: Op, inputs: &[ValueId]) -> ValueId {
        let shape = self.shape(inputs[0]);
        self.node(op, inputs, &shape, Kind::Real)
    }

    fn unary(&mut self, function: Function, x: ValueId) -> ValueId {
        self.op(Op::Unary(function), &[x])
    }

    fn relu(&mut self, x: ValueId) -> ValueId {
        self.unary(Function::LeakyRelu { slope: 0.0 }, x)
    }

    fn spread(&mut self, x: ValueId, to: &[usize]) -> ValueId {
        let narrow = |shape: &[usize]| shape.iter().map(|&size| size as u32).collect::<Vec<_>>();
        let wire = Wire::broadcast(&narrow(&self.shape(x)), &narrow(to));
        self.node(Op::Wire(wire), &[x], to, Kind::Real)
    }

    /// A number for every position.
    fn number(&mut self, number: f64, to: &[usize]) -> ValueId {
        let constant = self.constant(&[], &[number]);
        self.spread(constant, to)
    }

    fn reshape(&mut self, x: ValueId, to: &[usize]) -> ValueId {
        self.node(Op::Wire(Wire::identity()), &[x], to, Kind::Real)
    }

    /// `[1, m, k]` by known `[k, n]`, and a bias.
    fn dense(&mut self, x: ValueId, weights: &[f64], bias: &[f64]) -> ValueId {
        let (m, k, n) = (self.shape(x)[1], self.shape(x)[2], bias.len());
        let weights = self.constant(&[1, k, n], weights);
        let product = self.node(Op::MatMul, &[x, weights], &[1, m, n], Kind::Real);
        let bias = self.constant(&[n], bias);
        let bias = self.spread(bias, &[1, m, n]);
        self.op(Op::Add, &[product, bias])
    }

    /// Sum of each row of the last axis, `[.., k]` to `[..]`.
    fn sum_rows(&mut self, x: ValueId) -> ValueId {
        let shape: Vec<u32> = self.shape(x).iter().map(|&size| size as u32).collect();
        let to = self.shape(x)[..shape.len() - 1].to_vec();
        self.node(Op::Wire(Wire::sum(&shape, &[shape.len() - 1])), &[x], &to, Kind::Real)
    }

    /// One number a row to the whole row again.
    fn along_rows(&mut self, x: ValueId, to: &[usize]) -> ValueId {
        let mut column = self.shape(x);
        column.push(1);
        let x = self.reshape(x, &column);
        self.spread(x, to)
    }

    fn softmax(&mut self, x: ValueId) -> ValueId {
        let shape = self.shape(x);
        let most = self.node(Op::ReduceMax, &[x], &shape[..shape.len() - 1], Kind::Real);
        let most = self.along_rows(most, &shape);
        let less = self.op(Op::Sub, &[x, most]);
        let powers = self.unary(Function::Exp, less);
        let sum = self.sum_rows(powers);
        let sum = self.along_rows(sum, &shape);
        self.op(Op::Div, &[powers, sum])
    }

    fn of(self, outputs: &[ValueId]) -> Network {
        let Self { values, inputs, constants, nodes } = self;
        Network { values, inputs, constants, nodes, outputs: outputs.to_vec() }
    }
}

/// Numbers from a seed, spread evenly over a range; the same on every machine.
struct Numbers(u64);

impl Numbers {
    fn draw(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }

    fn many(&mut self, count: usize, low: f64, high: f64) -> Vec<f64> {
        (0..count).map(|_| low + (high - low) * self.draw()).collect()
    }
}

/// Samples for a network of real inputs in a range.
fn samples(network: &Network, count: usize, seed: u64, low: f64, high: f64) -> Vec<Vec<Vec<f64>>> {
    let mut numbers = Numbers(seed);
    let mut one = |id: &ValueId| {
        let value = &network.values[*id];
        let data = numbers.many(value.shape.iter().product(), low, high);
        if value.kind == Kind::Real { data } else { data.into_iter().map(f64::round).collect() }
    };
    (0..count).map(|_| network.inputs.iter().map(&mut one).collect()).collect()
}

/// Largest error of each output of a compiled network on samples that did not calibrate it, as a share of the output's range,
/// and in steps of it.
fn errors(network: &Network, compiled: &Quantised, samples: &[Vec<Vec<f64>>]) -> Vec<(f64, f64)> {
    let scale = |tensor: u32| f64::from(f32::from_bits(compiled.graph.tensors[tensor as usize].scale));
    let mut worst = vec![(0f64, f64::INFINITY, f64::NEG_INFINITY); network.outputs.len()];
    for sample in samples {
        let fed: Vec<Vec<i64>> = compiled
            .graph
            .inputs
            .iter()
            .zip(sample)
            .map(|(&id, data)| {
                let tensor = &compiled.graph.tensors[id as usize];
                data.iter().map(|v| ((v / scale(id)).round() as i64).clamp(tensor.low, tensor.high)).collect()
            })
            .collect();
        let got = exec::run(&compiled.graph, &compiled.weights, &fed).unwrap();
        let want = network.evaluate(sample).unwrap();
        for (at, (got, want)) in got.iter().zip(&want).enumerate() {
            for (got, want) in got.iter().zip(want) {
                let error = (*got as f64 * scale(compiled.graph.outputs[at]) - want).abs();
                let (most, low, high) = worst[at];
                worst[at] = (most.max(error), low.min(*want), high.max(*want));
            }
        }
    }
    let range = |(_, low, high): (f64, f64, f64)| (high - low).max(high.abs()).max(low.abs()).max(1e-30);
    worst.iter().enumerate().map(|(at, &w)| (w.0 / range(w), w.0 / scale(compiled.graph.outputs[at]))).collect()
}

/// Compiles on some samples and compares on others.
fn within(network: &Network, precision: Precision, (low, high): (f64, f64), tolerance: f64) -> Quantised {
    let options = Options { precision, ..Options::default() };
    let compiled = quantise(network, &samples(network, 100, 1, low, high), &options).unwrap();
    for (share, steps) in errors(network, &compiled, &samples(network, 12, 2, low, high)) {
        assert!(share <= tolerance || steps <= 1.01, "{precision:?}: error {share} of the range\n{}", compiled.report);
    }
    compiled
}

const ALL: [Precision; 3] = [Precision::Auto, Precision::Bits8, Precision::Bits16];

#[test]
fn options_are_read_as_they_are_written() {
    for precision in ALL {
        assert_eq!(precision.to_string().parse(), Ok(precision));
    }
    for method in [Method::Max, Method::MeanSquare, Method::Percentile(99.9)] {
        assert_eq!(method.to_string().parse(), Ok(method));
    }
    assert!("12".parse::<Precision>().is_err());
    assert!("percentile:101".parse::<Method>().is_err());
}
