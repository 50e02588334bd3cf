//! Interval analysis: the tightest bounds that hold for every input in range, with the actual weights.
//!
//! Each value has an interval of its own where that is cheap; rows of a matrix product and positions of a convolution share
//! those of the column or channel, so the whole costs about as much as reading the weights.

use std::{borrow::Cow, collections::BTreeMap};

use super::{
    Geometry, Graph, Multiplier, Node, Op, Table, Tensor, TensorId, VOID, Wire,
    check::{self, GraphError},
    interval::{Interval, Span},
    shape,
};

/// The analysis of a graph that may still be growing: tell it each input and constant, then each node in order.
///
/// Shapes are those of the tensors; their declared bounds and scales are not read.
#[derive(Debug, Clone, Default)]
pub struct Analysis<'a> {
    spans: Vec<Option<Span<'a>>>,
    hulls: Vec<Option<Interval>>,
}

impl<'a> Analysis<'a> {
    /// Nothing known yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// A tensor that is fed, with its bounds.
    pub fn input(&mut self, id: TensorId, low: i64, high: i64) {
        self.set(id, Span::All(Interval { low, high }));
    }

    /// A constant and its data.
    pub fn constant(&mut self, id: TensorId, data: impl Into<Cow<'a, [i64]>>) {
        self.set(id, Span::Points(data.into()));
    }

    /// Smallest and largest value of a tensor that has been told or computed.
    pub fn hull(&self, id: TensorId) -> Option<(i64, i64)> {
        self.interval(id).map(|hull| (hull.low, hull.high))
    }

    /// The bounds of a node's output, remembered for the nodes after it. `index` is for the error.
    ///
    /// # Errors
    /// Shapes that do not fit, operands not told before, or values that leave what the operation is defined on.
    pub fn node(
        &mut self,
        tensors: &[Tensor],
        tables: &[Table],
        index: usize,
        node: &Node,
    ) -> Result<(i64, i64), GraphError> {
        let span = self.compute(tensors, tables, node).map_err(|reason| GraphError::node(index, node, reason))?;
        self.set(node.output, span);
        Ok(self.hull(node.output).expect("set in the line above"))
    }

    /// Forgets the intervals of a tensor that no later node reads; its hull stays.
    pub(crate) fn drop_span(&mut self, id: TensorId) {
        if let Some(span) = self.spans.get_mut(id as usize) {
            *span = None;
        }
    }

    fn interval(&self, id: TensorId) -> Option<Interval> {
        self.hulls.get(id as usize).copied().flatten()
    }

    fn set(&mut self, id: TensorId, span: Span<'a>) {
        let at = id as usize;
        if self.spans.len() <= at {
            self.spans.resize(at + 1, None);
            self.hulls.resize(at + 1, None);
        }
        self.hulls[at] = Some(span.hull());
        self.spans[at] = Some(span);
    }

    fn compute(&self, tensors: &[Tensor], tables: &[Table], node: &Node) -> Result<Span<'a>, String> {
        check::structure(tensors, tables, node)?;
        let mut spans = Vec::with_capacity(node.inputs.len());
        let mut hulls = Vec::with_capacity(node.inputs.len());
        for &id in &node.inputs {
            match (self.spans.get(id as usize), self.interval(id)) {
                (Some(Some(span)), Some(hull)) => {
                    spans.push(span);
                    hulls.push(hull);
                }
                _ => return Err(format!("operand {id} is not known yet")),
            }
        }
        check::domain(&node.op, &hulls, tables)?;
        let shapes: Vec<&[u32]> = node.inputs.iter().map(|&id| &*tensors[id as usize].shape).collect();
        let output = &tensors[node.output as usize];
        let view = View { op: &node.op, spans: &spans, shapes: &shapes, inputs: &node.inputs, output, tables };
        let span = view.span();
        check::image(&node.op, &hulls, span.hull())?;
        Ok(span)
    }
}

impl Graph {
    /// The tightest bounds of every tensor, by position: of inputs as declared, of constants as their data is, of the rest
    /// as computed. Does not read the declared bounds of the rest.
    ///
    /// # Errors
    /// As [`Self::check_weights`], but for declared bounds that do not hold.
    pub fn bounds(&self, weights: &[Vec<i64>]) -> Result<Vec<(i64, i64)>, GraphError> {
        self.analyse(weights, |_, _| Ok(()))
    }

    /// Runs the analysis, showing each node's bounds to `accept`.
    pub(crate) fn analyse(
        &self,
        weights: &[Vec<i64>],
        mut accept: impl FnMut(usize, Interval) -> Result<(), String>,
    ) -> Result<Vec<(i64, i64)>, GraphError> {
        self.check_structure()?;
        self.check_data(weights)?;
        let mut analysis = Analysis::new();
        for &id in &self.inputs {
            let tensor = &self.tensors[id as usize];
            analysis.input(id, tensor.low, tensor.high);
        }
        for (&id, data) in self.constants.iter().zip(weights) {
            analysis.constant(id, data.as_slice());
        }
        let last_use = self.last_uses();
        for (index, node) in self.nodes.iter().enumerate() {
            let (low, high) = analysis.node(&self.tensors, &self.tables, index, node)?;
            accept(index, Interval { low, high }).map_err(|reason| GraphError::node(index, node, reason))?;
            for &id in node.inputs.iter().filter(|&&id| last_use[id as usize] == Some(index)) {
                analysis.drop_span(id);
            }
        }
        let hull = |id| analysis.hull(id).expect("check_structure has seen every tensor defined");
        Ok((0..self.tensors.len()).map(|id| hull(id as TensorId)).collect())
    }

    /// The last node that reads each tensor.
    pub(crate) fn last_uses(&self) -> Vec<Option<usize>> {
        let mut last = vec![None; self.tensors.len()];
        for (index, node) in self.nodes.iter().enumerate() {
            for &id in &node.inputs {
                last[id as usize] = Some(index);
            }
        }
        last
    }
}

/// A node with all that its intervals depend on, checked.
struct View<'a, 'b> {
    op: &'b Op,
    spans: &'b [&'b Span<'a>],
    shapes: &'b [&'b [u32]],
    inputs: &'b [TensorId],
    output: &'b Tensor,
    tables: &'b [Table],
}

impl<'a> View<'a, '_> {
    fn span(&self) -> Span<'a> {
        match self.op {
            Op::Wire(wire) => self.wire(wire),
            Op::MatMul => self.matmul(),
            Op::Conv(geometry) => self.conv(geometry),
            Op::Linear { coefficients, constant } => self.linear(coefficients, *constant),
            Op::Mul if self.inputs[0] == self.inputs[1] => self.each(|at| self.spans[0].get(at).square()),
            Op::Mul => self.each(|at| self.spans[0].get(at).times(self.spans[1].get(at))),
            Op::Rescale { multiplier, shift, low, high } => {
                let clamp = (i64::from(*low), i64::from(*high));
                self.rescale(*multiplier, *shift, clamp)
            }
            Op::Lookup { table } => {
                let table = &self.tables[*table as usize];
                if let Span::All(x) = self.spans[0] {
                    return Span::All(scan(table, *x));
                }
                let extremes = Extremes::of(table);
                self.each(|at| extremes.over(self.spans[0].get(at)))
            }
            Op::ReduceMax => self.rows(|row| {
                let start = row.start;
                row.skip(1).fold(self.spans[0].get(start), |a, at| {
                    let b = self.spans[0].get(at);
                    Interval { low: a.low.max(b.low), high: a.high.max(b.high) }
                })
            }),
            Op::ArgMax => self.rows(|row| self.argmax(row)),
            Op::Greater => self.each(|at| {
                let (a, b) = (self.spans[0].get(at), self.spans[1].get(at));
                Interval { low: i64::from(a.low > b.high), high: i64::from(a.high > b.low) }
            }),
            Op::Divide { shift } => self.each(|at| divide(self.spans[0].get(at), self.spans[1].get(at), *shift)),
            Op::Sqrt => self.each(|at| {
                let v = self.spans[0].get(at);
                Interval { low: v.low.isqrt(), high: v.high.isqrt() }
            }),
        }
    }

    /// Position by position; once, where all operands have one interval.
    fn each(&self, interval: impl Fn(usize) -> Interval) -> Span<'a> {
        if self.spans.iter().all(|span| matches!(span, Span::All(_))) {
            return Span::All(interval(0));
        }
        Span::of((0..self.output.len()).map(interval).collect())
    }

    /// Row by row of the last axis.
    fn rows(&self, interval: impl Fn(std::ops::Range<usize>) -> Interval) -> Span<'a> {
        let size = self.shapes[0].last().map_or(1, |&size| size as usize);
        if matches!(self.spans[0], Span::All(_)) {
            return Span::All(interval(0..size));
        }
        Span::of((0..self.output.len()).map(|row| interval(row * size..(row + 1) * size)).collect())
    }

    /// Those positions that can hold the first largest value.
    fn argmax(&self, row: std::ops::Range<usize>) -> Interval {
        let span = self.spans[0];
        let start = row.start;
        let floor = row.clone().map(|at| span.get(at).low).fold(i64::MIN, i64::max);
        let mut before = i64::MIN;
        let mut found: Option<Interval> = None;
        for at in row {
            let here = span.get(at);
            // An equal one before it would win.
            if here.high >= floor && here.high > before {
                let point = Interval::point((at - start) as i64);
                found = Some(found.map_or(point, |all| all.hull(point)));
            }
            before = before.max(here.low);
        }
        found.expect("the one whose lowest value is the floor, if first, passes both tests")
    }

    fn wire(&self, wire: &Wire) -> Span<'a> {
        let out_len = self.output.len();
        let fan_in = wire.fan_in as usize;
        let mut starts = Vec::with_capacity(self.shapes.len());
        let mut end = 0;
        for shape in self.shapes {
            starts.push(end);
            end += shape.iter().map(|&axis| axis as usize).product::<usize>();
        }
        let value = |at: u32| {
            if at == VOID {
                return Interval::ZERO;
            }
            let source = starts.partition_point(|&start| start <= at as usize) - 1;
            self.spans[source].get(at as usize - starts[source])
        };
        let mut entries = wire.entries(out_len);
        if self.spans.iter().all(|span| matches!(span, Span::Points(_))) {
            let mut sum = |_| entries.by_ref().take(fan_in).map(|at| value(at).low).sum();
            return Span::Points((0..out_len).map(&mut sum).collect::<Vec<i64>>().into());
        }
        let mut sum = |_| entries.by_ref().take(fan_in).fold(Interval::ZERO, |sum, at| sum.plus(value(at)));
        Span::of((0..out_len).map(&mut sum).collect())
    }

    fn linear(&self, coefficients: &[i64], constant: i64) -> Span<'a> {
        // x - x is 0, so operands that are the same tensor count once.
        let mut sums: BTreeMap<TensorId, (i64, usize)> = BTreeMap::new();
        for (at, (&coefficient, &id)) in coefficients.iter().zip(self.inputs).enumerate() {
            sums.entry(id).or_insert((0, at)).0 += coefficient;
        }
        let terms: Vec<(i64, usize)> = sums.into_values().collect();
        // `check::domain` has bounded the whole under 2^62.
        self.each(|at| {
            terms.iter().fold(Interval::point(constant), |sum, &(coefficient, operand)| {
                sum.plus(self.spans[operand].get(at).times(Interval::point(coefficient)))
            })
        })
    }

    fn rescale(&self, multiplier: Multiplier, shift: u8, clamp: (i64, i64)) -> Span<'a> {
        let half = 1i64 << (shift - 1);
        let one = |x: Interval, m: Interval| {
            let product = x.times(m);
            let round = |value: i64| ((value + half) >> shift).clamp(clamp.0, clamp.1);
            Interval { low: round(product.low), high: round(product.high) }
        };
        match multiplier {
            Multiplier::Uniform(m) => self.each(|at| one(self.spans[0].get(at), Interval::point(i64::from(m)))),
            Multiplier::PerAxis(axis) => {
                let axis = usize::from(axis);
                let after = shape::size(&self.shapes[0][axis + 1..]).expect("part of a checked shape");
                let size = self.shapes[0][axis] as usize;
                self.each(|at| one(self.spans[0].get(at), self.spans[1].get(at / after % size)))
            }
        }
    }

    fn matmul(&self) -> Span<'a> {
        let [b, m, k] = [0, 1, 2].map(|axis| self.shapes[0][axis] as usize);
        let n = self.shapes[1][2] as usize;
        let (left, right) = (self.spans[0], self.spans[1]);
        let bias = |column: usize| self.spans.get(2).map_or(Interval::ZERO, |span| span.get(column));
        let mut output = Vec::with_capacity(b * m * n);
        for batch in 0..b {
            let left_at = |row: usize, t: usize| left.get((batch * m + row) * k + t);
            let right_at = |t: usize, column: usize| right.get((batch * k + t) * n + column);
            let over_rows = || (0..k).map(|t| hull_of((0..m).map(|row| left_at(row, t)))).collect::<Vec<_>>();
            let over_columns = || (0..k).map(|t| hull_of((0..n).map(|c| right_at(t, c)))).collect::<Vec<_>>();
            match (left, right) {
                (_, Span::Points(_)) => {
                    let mut sums = (0..n).map(bias).collect::<Vec<_>>();
                    for (t, x) in over_rows().into_iter().enumerate() {
                        for (column, sum) in sums.iter_mut().enumerate() {
                            *sum = sum.plus(x.times(right_at(t, column)));
                        }
                    }
                    (0..m).for_each(|_| output.extend_from_slice(&sums));
                }
                (Span::Points(_), _) => {
                    let columns = over_columns();
                    for row in 0..m {
                        let products = columns.iter().enumerate().map(|(t, x)| left_at(row, t).times(*x));
                        let sum = products.fold(Interval::ZERO, Interval::plus);
                        output.extend((0..n).map(|column| sum.plus(bias(column))));
                    }
                }
                _ => {
                    let products = over_rows().into_iter().zip(over_columns()).map(|(x, y)| x.times(y));
                    let sum = products.fold(Interval::ZERO, Interval::plus);
                    (0..m).for_each(|_| output.extend((0..n).map(|column| sum.plus(bias(column)))));
                }
            }
        }
        Span::of(output)
    }

    fn conv(&self, geometry: &Geometry) -> Span<'a> {
        let [n, c, h, w] = [0, 1, 2, 3].map(|axis| self.shapes[0][axis] as usize);
        let [m, own, kh, kw] = [0, 1, 2, 3].map(|axis| self.shapes[1][axis] as usize);
        let positions = (self.output.shape[2] * self.output.shape[3]) as usize;
        let plane = h * w;
        let (input, kernel) = (self.spans[0], self.spans[1]);
        let channels: Vec<Interval> = (0..c)
            .map(|channel| {
                let images = (0..n).flat_map(|image| (image * c + channel) * plane..(image * c + channel + 1) * plane);
                let hull = match input {
                    Span::All(interval) => *interval,
                    _ => hull_of(images.map(|at| input.get(at))),
                };
                if geometry.pads == [0; 4] { hull } else { hull.hull(Interval::ZERO) }
            })
            .collect();
        let taps = kh * kw;
        let each = m / geometry.groups as usize;
        let mut filters = Vec::with_capacity(m);
        for filter in 0..m {
            let mut sum = self.spans.get(2).map_or(Interval::ZERO, |span| span.get(filter));
            for channel in 0..own {
                let x = channels[filter / each * own + channel];
                for at in (filter * own + channel) * taps..(filter * own + channel + 1) * taps {
                    sum = sum.plus(x.times(kernel.get(at)));
                }
            }
            filters.push(sum);
        }
        let image = filters.iter().flat_map(|&filter| std::iter::repeat_n(filter, positions));
        Span::of((0..n).flat_map(|_| image.clone()).collect())
    }
}

fn hull_of(mut intervals: impl Iterator<Item = Interval>) -> Interval {
    let first = intervals.next().expect("no axis of a checked shape is empty");
    intervals.fold(first, Interval::hull)
}

/// The quotient grows with `n`, and in `d` towards 0 from either side, so its extremes lie at corners.
fn divide(n: Interval, d: Interval, shift: u8) -> Interval {
    let one = |n: i64, d: i64| (2 * (n << shift) + d).div_euclid(2 * d);
    let corners = [one(n.low, d.low), one(n.low, d.high), one(n.high, d.low), one(n.high, d.high)];
    Interval { low: corners.into_iter().fold(i64::MAX, i64::min), high: corners.into_iter().fold(i64::MIN, i64::max) }
}

/// Smallest and largest value of a table over `x`, which lies within it.
fn scan(table: &Table, x: Interval) -> Interval {
    let (from, to) = ((x.low - i64::from(table.low)) as usize, (x.high - i64::from(table.low)) as usize);
    hull_of(table.values[from..=to].iter().map(|&value| Interval::point(i64::from(value))))
}

/// Smallest and largest value of a table over any stretch: level `i` holds them for each stretch of `2^i`.
struct Extremes {
    low: i64,
    levels: Vec<Vec<(i16, i16)>>,
}

impl Extremes {
    fn of(table: &Table) -> Self {
        let mut levels = vec![table.values.iter().map(|&value| (value, value)).collect::<Vec<_>>()];
        while let Some(last) = levels.last() {
            let step = 1 << (levels.len() - 1);
            if last.len() <= step {
                break;
            }
            let joined = last.iter().zip(&last[step..]).map(|(a, b)| (a.0.min(b.0), a.1.max(b.1)));
            let joined = joined.collect();
            levels.push(joined);
        }
        Self { low: i64::from(table.low), levels }
    }

    /// `x` lies within the table.
    fn over(&self, x: Interval) -> Interval {
        let (from, to) = ((x.low - self.low) as usize, (x.high - self.low) as usize);
        let level = (to - from + 1).ilog2() as usize;
        let (a, b) = (self.levels[level][from], self.levels[level][to + 1 - (1 << level)]);
        Interval { low: i64::from(a.0.min(b.0)), high: i64::from(a.1.max(b.1)) }
    }
}
