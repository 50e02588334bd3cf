//! What adds random operations to a graph.

use super::{
    super::{Analysis, Geometry, Graph, Index, Interval, Multiplier, Node, Op, Table, Tensor, TensorId, VOID, Wire},
    Kind, Rng, Sample, inputs,
};

/// Bounds of inputs and small weights.
const RANGES: [(i64, i64); 6] = [(-128, 127), (0, 255), (-127, 127), (0, 1), (-300, 700), (-32768, 32767)];

/// A graph that grows by one operation after another, each of them valid.
pub(super) struct Builder {
    pub(super) rng: Rng,
    pub(super) graph: Graph,
    weights: Vec<Vec<i64>>,
    analysis: Analysis<'static>,
    /// Operands are new inputs, not results.
    pub(super) fresh: bool,
}

impl Builder {
    pub(super) fn new(seed: u64) -> Self {
        let graph = Graph {
            tensors: vec![],
            tables: vec![],
            inputs: vec![],
            constants: vec![],
            nodes: vec![],
            outputs: vec![],
        };
        Self { rng: Rng::new(seed), graph, weights: vec![], analysis: Analysis::new(), fresh: false }
    }

    pub(super) fn finish(mut self, outputs: Vec<TensorId>) -> Sample {
        self.graph.outputs = outputs;
        let inputs = inputs(&self.graph, &mut self.rng);
        Sample { graph: self.graph, weights: self.weights, inputs }
    }

    fn tensor(&mut self, shape: Vec<u32>, low: i64, high: i64) -> TensorId {
        let scale = self.rng.pick(&[1.0f32, 0.5, 0.031_25, 0.1, 3e-4]).to_bits();
        self.graph.tensors.push(Tensor { shape, low, high, scale });
        self.graph.tensors.len() as TensorId - 1
    }

    pub(super) fn input(&mut self, shape: Vec<u32>, range: Option<(i64, i64)>) -> TensorId {
        let (low, high) = range.unwrap_or_else(|| self.rng.pick(&RANGES));
        let id = self.tensor(shape, low, high);
        self.graph.inputs.push(id);
        self.analysis.input(id, low, high);
        id
    }

    fn constant(&mut self, shape: Vec<u32>, low: i64, high: i64) -> TensorId {
        let id = self.tensor(shape, low, high);
        let data = self.rng.values(self.graph.tensors[id as usize].len(), low, high);
        let tensor = &mut self.graph.tensors[id as usize];
        tensor.low = data.iter().copied().min().unwrap_or(0);
        tensor.high = data.iter().copied().max().unwrap_or(0);
        self.graph.constants.push(id);
        self.analysis.constant(id, data.clone());
        self.weights.push(data);
        id
    }

    fn node(&mut self, op: Op, inputs: Vec<TensorId>, shape: Vec<u32>) -> TensorId {
        let output = self.tensor(shape, 0, 0);
        let index = self.graph.nodes.len();
        let node = Node { name: format!("{} {index}", op.name()), op, inputs, output };
        let bounds = self.analysis.node(&self.graph.tensors, &self.graph.tables, index, &node);
        let (low, high) = bounds.expect("the maker asks for valid nodes only");
        // Declared bounds may be wider than need be.
        let slack = if self.rng.chance(6) { 1 } else { 0 };
        let tensor = &mut self.graph.tensors[output as usize];
        (tensor.low, tensor.high) = (low, high);
        if slack == 1 && !tensor.is_act() {
            tensor.high += 5;
        }
        self.graph.nodes.push(node);
        output
    }

    fn hull(&self, id: TensorId) -> Interval {
        self.graph.tensors[id as usize].interval()
    }

    fn shape_of(&self, id: TensorId) -> Vec<u32> {
        self.graph.tensors[id as usize].shape.clone()
    }

    fn len(&self, id: TensorId) -> usize {
        self.graph.tensors[id as usize].len()
    }

    /// A shape of at most about fifty values.
    pub(super) fn shape(&mut self) -> Vec<u32> {
        let axes = self.rng.below(4);
        let most = [1, 24, 7, 4][axes];
        (0..axes).map(|_| self.rng.between(1, most) as u32).collect()
    }

    /// Something computed or fed: a new input where the graph is to have one operation.
    fn any(&mut self) -> TensorId {
        if self.fresh || self.graph.inputs.is_empty() {
            let shape = self.shape();
            return self.input(shape, None);
        }
        // The newest ones most, so that the graph gets deep.
        let count = self.graph.tensors.len();
        loop {
            let newest = if self.rng.chance(3) { count } else { count.min(4) };
            let back = self.rng.below(newest);
            let id = (count - 1 - back) as TensorId;
            if !self.graph.constants.contains(&id) || self.rng.chance(10) {
                return id;
            }
        }
    }

    /// The same, made an act.
    fn act(&mut self) -> TensorId {
        let id = self.any();
        if self.hull(id).is_act() { id } else { self.narrow(id) }
    }

    /// Rescaled to fit `i16`.
    fn narrow(&mut self, id: TensorId) -> TensorId {
        let op = self.rescale(id, None);
        let shape = self.shape_of(id);
        self.node(op, vec![id], shape)
    }

    /// An act of this shape; its values taken from anywhere in another.
    fn shaped(&mut self, shape: &[u32]) -> TensorId {
        if self.fresh {
            return self.input(shape.to_vec(), None);
        }
        let id = self.act();
        self.reshaped(id, shape)
    }

    fn reshaped(&mut self, id: TensorId, shape: &[u32]) -> TensorId {
        if self.graph.tensors[id as usize].shape == shape {
            return id;
        }
        let (from, to) = (self.len(id), shape.iter().product::<u32>() as usize);
        let wire = if from == to {
            Wire::identity()
        } else {
            Wire::gather((0..to).map(|_| self.rng.below(from) as u32).collect())
        };
        self.node(Op::Wire(wire), vec![id], shape.to_vec())
    }

    /// A value outside `i16`, of any shape, now and then.
    fn wide(&mut self) -> TensorId {
        if !self.fresh {
            return self.any();
        }
        let shape = self.shape();
        let x = self.input(shape.clone(), None);
        match self.rng.below(3) {
            0 => x,
            1 => {
                let y = self.input(shape.clone(), None);
                self.node(Op::Mul, vec![x, y], shape)
            }
            _ => {
                let y = self.constant(shape.clone(), -(1 << 30), 1 << 30);
                let (a, b) = (self.rng.between(-2000, 2000), self.rng.between(-9, 9));
                let op = Op::Linear { coefficients: vec![a, b], constant: self.rng.between(-1 << 20, 1 << 20) };
                self.node(op, vec![x, y], shape)
            }
        }
    }

    fn rescale(&mut self, id: TensorId, axis: Option<u8>) -> Op {
        let reach = self.hull(id).reach().max(1) as i128;
        let (low, high) = self.rng.pick(&[(-128, 127), (0, 127), (0, 255), (i16::MIN, i16::MAX), (-5, 900), (7, 7)]);
        // Either anything that does not overflow, or what makes the values about as large as the clamp.
        let shift = self.rng.between(1, 40);
        let end = i128::min((1 << 31) - 1, (1i128 << 61) / reach).max(1);
        let fitting = ((i128::from(high) << shift) / reach).clamp(1, end);
        let multiplier = if self.rng.chance(3) { self.rng.between(1, end as i64) } else { fitting as i64 };
        let multiplier = axis.map_or(Multiplier::Uniform(multiplier as u32), Multiplier::PerAxis);
        Op::Rescale { multiplier, shift: shift as u8, low, high }
    }

    pub(super) fn add(&mut self, kind: Kind) -> TensorId {
        match kind {
            Kind::Wire => self.add_wire(),
            Kind::MatMul => self.add_matmul(),
            Kind::Conv => self.add_conv(),
            Kind::Linear => self.add_linear(),
            Kind::Mul => {
                let x = self.act();
                let shape = self.shape_of(x);
                let y = if self.rng.chance(3) { x } else { self.shaped(&shape) };
                self.node(Op::Mul, vec![x, y], shape)
            }
            Kind::RescaleUniform => {
                let x = self.wide();
                self.narrow(x)
            }
            Kind::RescalePerAxis => self.add_rescale_per_axis(),
            Kind::Lookup => self.add_lookup(),
            Kind::ReduceMax | Kind::ArgMax => {
                let x = self.act();
                let x = self.with_last_axis(x);
                let (_, rest) = self.graph.tensors[x as usize].shape.split_last().expect("it has a last axis");
                let (rest, op) = (rest.to_vec(), if kind == Kind::ArgMax { Op::ArgMax } else { Op::ReduceMax });
                self.node(op, vec![x], rest)
            }
            Kind::Greater => {
                let x = self.act();
                let shape = self.shape_of(x);
                let y = self.shaped(&shape);
                self.node(Op::Greater, vec![x, y], shape)
            }
            Kind::Divide => self.add_divide(),
            Kind::Sqrt => self.add_sqrt(),
        }
    }

    fn with_last_axis(&mut self, id: TensorId) -> TensorId {
        if self.graph.tensors[id as usize].shape.is_empty() {
            let times = self.rng.between(1, 5) as u32;
            let wire = Wire::broadcast(&[], &[times]);
            return self.node(Op::Wire(wire), vec![id], vec![times]);
        }
        id
    }

    fn add_wire(&mut self) -> TensorId {
        let x = self.any();
        let shape = self.shape_of(x);
        let len = self.len(x);
        let axes = shape.len();
        match self.rng.below(6) {
            0 => self.node(Op::Wire(Wire::identity()), vec![x], vec![len as u32]),
            1 => {
                let mut order: Vec<usize> = (0..axes).collect();
                for at in (1..axes).rev() {
                    order.swap(at, self.rng.below(at + 1));
                }
                let to = order.iter().map(|&axis| shape[axis]).collect();
                self.node(Op::Wire(Wire::transpose(&shape, &order)), vec![x], to)
            }
            2 => {
                let to = [&[self.rng.between(1, 3) as u32], &*shape].concat();
                self.node(Op::Wire(Wire::broadcast(&shape, &to)), vec![x], to)
            }
            3 if self.sums(x, len) => {
                let summed: Vec<usize> = (0..axes).filter(|_| self.rng.chance(2)).collect();
                let to = (0..axes).filter(|axis| !summed.contains(axis)).map(|axis| shape[axis]).collect();
                self.node(Op::Wire(Wire::sum(&shape, &summed)), vec![x], to)
            }
            4 => {
                // Joined, the second one backwards.
                let y = self.any();
                let other = self.len(y);
                let back = (len..len + other).rev().map(|at| at as u32);
                let wire = Wire::gather((0..len as u32).chain(back).collect());
                self.node(Op::Wire(wire), vec![x, y], vec![(len + other) as u32])
            }
            _ if self.sums(x, 3) => {
                let fan_in = self.rng.between(1, 3) as u32;
                let to = self.shape();
                let entries = to.iter().product::<u32>() * fan_in;
                let take = |rng: &mut Rng| if rng.chance(5) { VOID } else { rng.below(len) as u32 };
                let list = (0..entries).map(|_| take(&mut self.rng)).collect();
                let wire = Wire { fan_in, index: Index::Explicit(list) };
                self.node(Op::Wire(wire), vec![x], to)
            }
            _ => {
                let wire = Wire::strided(1, len as i64 - 1, &[(len as u32, -1)]);
                self.node(Op::Wire(wire), vec![x], vec![len as u32])
            }
        }
    }

    /// Whether that many of its values can be added up.
    fn sums(&self, id: TensorId, count: usize) -> bool {
        u128::from(self.hull(id).reach()) * (count as u128) < 1 << 46
    }

    fn add_matmul(&mut self) -> TensorId {
        let b = self.rng.between(1, 2) as u32;
        let m = self.rng.between(1, 4) as u32;
        let k = self.rng.between(1, 11) as u32;
        let n = self.rng.between(1, 5) as u32;
        let left = self.shaped(&[b, m, k]);
        let (low, high) = self.rng.pick(&[(-127, 127), (-127, 127), (-32768, 32767), (-1, 1)]);
        let right = match self.rng.below(4) {
            0 => self.shaped(&[b, k, n]),
            _ => self.constant(vec![b, k, n], low, high),
        };
        let (left, right) = if self.rng.chance(8) && m == n && k == m { (right, left) } else { (left, right) };
        let mut inputs = vec![left, right];
        if self.rng.chance(2) {
            inputs.push(self.constant(vec![n], -100_000, 100_000));
        }
        self.node(Op::MatMul, inputs, vec![b, m, n])
    }

    fn add_conv(&mut self) -> TensorId {
        let groups = self.rng.between(1, 2) as u32;
        let (own, each) = (self.rng.between(1, 2) as u32, self.rng.between(1, 2) as u32);
        let n = self.rng.between(1, 2) as u32;
        let (h, w) = (self.rng.between(1, 5) as u32, self.rng.between(3, 6) as u32);
        let (kh, kw) = (self.rng.between(1, i64::from(h.min(3))) as u32, self.rng.between(1, 2) as u32);
        let pad = |rng: &mut Rng| if rng.chance(3) { rng.between(1, 2) as u32 } else { 0 };
        let pads = [0; 4].map(|_: u32| pad(&mut self.rng));
        let strides = [0; 2].map(|_: u32| self.rng.between(1, 2) as u32);
        let dilations = [1, self.rng.between(1, 2) as u32];
        let geometry = Geometry { strides, dilations, pads, groups };
        let input = [n, groups * own, h, w];
        let kernel = [groups * each, own, kh, kw];
        let output = geometry.output_shape(input, kernel).expect("the kernel is smaller than the input");
        let x = self.shaped(&input);
        let k = match self.rng.below(6) {
            0 => self.shaped(&kernel),
            _ => self.constant(kernel.to_vec(), -127, 127),
        };
        let mut inputs = vec![x, k];
        if self.rng.chance(2) {
            inputs.push(self.constant(vec![groups * each], -100_000, 100_000));
        }
        self.node(Op::Conv(geometry), inputs, output.to_vec())
    }

    fn add_linear(&mut self) -> TensorId {
        let x = self.any();
        let shape = self.shape_of(x);
        let mut inputs = vec![x];
        for _ in 0..self.rng.below(3) {
            inputs.push(if self.rng.chance(4) { x } else { self.shaped(&shape) });
        }
        let most = if inputs.iter().all(|&id| self.hull(id).reach() < 1 << 30) { 1000 } else { 1 };
        let coefficients: Vec<i64> = inputs.iter().map(|_| self.rng.between(-most, most)).collect();
        let reach: u64 = inputs.iter().map(|&id| self.hull(id).reach()).sum();
        if reach >= 1 << 46 {
            return self.narrow(x);
        }
        let constant = self.rng.between(-1000, 1000);
        self.node(Op::Linear { coefficients, constant }, inputs, shape)
    }

    fn add_rescale_per_axis(&mut self) -> TensorId {
        let x = self.wide();
        let x = self.with_last_axis(x);
        let shape = self.shape_of(x);
        let axis = self.rng.below(shape.len());
        let op = self.rescale(x, Some(axis as u8));
        let reach = self.hull(x).reach().max(1) as i128;
        let end = i128::min((1 << 31) - 1, (1i128 << 61) / reach).max(1) as i64;
        let Op::Rescale { shift, high, .. } = op else { unreachable!("it is a rescaling") };
        let fitting = ((i128::from(high) << shift) / reach).clamp(1, i128::from(end)) as i64;
        let multipliers = self.constant(vec![shape[axis]], fitting / 2, fitting);
        self.node(op, vec![x, multipliers], shape)
    }

    fn add_lookup(&mut self) -> TensorId {
        let x = self.act();
        let hull = self.hull(x);
        let more = if self.rng.chance(2) { 0 } else { 40 };
        let (low, high) = ((hull.low - more).max(-32768), (hull.high + more).min(32767));
        let kind = self.rng.below(3);
        let value = |rng: &mut Rng, x: i64| match kind {
            0 => x.max(0),
            1 => (x * x) >> 15,
            _ => rng.between(-128, 127),
        };
        let values = (low..=high).map(|x| value(&mut self.rng, x) as i16).collect();
        self.graph.tables.push(Table { name: format!("table of {kind}"), low: low as i32, values });
        let table = self.graph.tables.len() as u32 - 1;
        let shape = self.shape_of(x);
        self.node(Op::Lookup { table }, vec![x], shape)
    }

    fn add_divide(&mut self) -> TensorId {
        let mut n = self.wide();
        if self.hull(n).reach() >= 1 << 30 {
            n = self.narrow(n);
        }
        let shape = self.shape_of(n);
        // A quotient that fits i16 needs a divisor that is large enough; now and then it is wide.
        let wide = self.rng.chance(4);
        let least = if wide { 1 } else { (self.hull(n).reach() >> 14) as i64 + 1 };
        let d = if self.fresh && least < 1000 {
            self.input(shape.clone(), Some((least, 30_000)))
        } else {
            let d = self.shaped(&shape);
            let constant = least - self.hull(d).low + self.rng.between(0, 50);
            self.node(Op::Linear { coefficients: vec![1], constant }, vec![d], shape.clone())
        };
        // The quotient's width times the divisor stays far under 2^62.
        let (quotient, divisor) = (self.hull(n).reach().max(1), self.hull(d));
        let room = if wide {
            36 - quotient.ilog2().min(30)
        } else {
            ((1u64 << 14) * divisor.low as u64 / quotient).max(1).ilog2()
        };
        let shift = self.rng.between(0, i64::from(room.min(16))) as u8;
        self.node(Op::Divide { shift }, vec![n, d], shape)
    }

    fn add_sqrt(&mut self) -> TensorId {
        let x = self.act();
        let shape = self.shape_of(x);
        let hull = self.hull(x);
        let v = if hull.low >= 0 {
            x
        } else if hull.reach() < 1 << 15 {
            self.node(Op::Mul, vec![x, x], shape.clone())
        } else {
            self.node(Op::Linear { coefficients: vec![1], constant: -hull.low }, vec![x], shape.clone())
        };
        self.node(Op::Sqrt, vec![v], shape)
    }
}
