//! Each operation in the plainest way, on `i64`: no SIMD, one thread. The prepared program must give the same bits.

use crate::graph::{Geometry, Graph, Multiplier, Op};

/// Every tensor by position, for a graph, weights and inputs that have been checked.
pub(super) fn run(graph: &Graph, weights: &[Vec<i64>], inputs: &[Vec<i64>]) -> Vec<Vec<i64>> {
    let mut tensors = vec![Vec::new(); graph.tensors.len()];
    let given = graph.inputs.iter().zip(inputs).chain(graph.constants.iter().zip(weights));
    given.for_each(|(&id, values)| tensors[id as usize] = values.clone());
    for node in &graph.nodes {
        let operands: Vec<&[i64]> = node.inputs.iter().map(|&id| &*tensors[id as usize]).collect();
        let shapes: Vec<&[u32]> = node.inputs.iter().map(|&id| &*graph.tensors[id as usize].shape).collect();
        tensors[node.output as usize] =
            evaluate(graph, &node.op, &operands, &shapes, &graph.tensors[node.output as usize].shape);
    }
    tensors
}

fn evaluate(graph: &Graph, op: &Op, operands: &[&[i64]], shapes: &[&[u32]], output: &[u32]) -> Vec<i64> {
    let x = operands[0];
    let out_len = output.iter().product::<u32>() as usize;
    let pairs = || x.iter().zip(operands[1]).map(|(&a, &b)| (a, b));
    match op {
        Op::Wire(wire) => wire.apply(operands, out_len),
        Op::MatMul => matmul(operands, shapes, output),
        Op::Conv(geometry) => conv(geometry, operands, shapes, output),
        Op::Linear { coefficients, constant } => {
            let sum = |at: usize| coefficients.iter().zip(operands).map(|(c, x)| c * x[at]).sum::<i64>();
            (0..out_len).map(|at| constant + sum(at)).collect()
        }
        Op::Mul => pairs().map(|(a, b)| a * b).collect(),
        Op::Rescale { multiplier, shift, low, high } => {
            let (low, high) = (i64::from(*low), i64::from(*high));
            let half = 1i64 << (shift - 1);
            let round = |x: i64, m: i64| ((x * m + half) >> shift).clamp(low, high);
            match multiplier {
                Multiplier::Uniform(m) => x.iter().map(|&x| round(x, i64::from(*m))).collect(),
                Multiplier::PerAxis(axis) => {
                    let axis = usize::from(*axis);
                    let after = output[axis + 1..].iter().product::<u32>() as usize;
                    let size = output[axis] as usize;
                    x.iter().enumerate().map(|(at, &x)| round(x, operands[1][at / after % size])).collect()
                }
            }
        }
        Op::Lookup { table } => {
            let table = &graph.tables[*table as usize];
            x.iter().map(|&x| i64::from(table.values[(x - i64::from(table.low)) as usize])).collect()
        }
        Op::ReduceMax => rows(x, shapes[0]).map(|row| row.iter().copied().fold(i64::MIN, i64::max)).collect(),
        Op::ArgMax => rows(x, shapes[0]).map(|row| first_largest(row) as i64).collect(),
        Op::Greater => pairs().map(|(a, b)| i64::from(a > b)).collect(),
        Op::Divide { shift } => pairs().map(|(n, d)| (2 * (n << shift) + d).div_euclid(2 * d)).collect(),
        Op::Sqrt => x.iter().map(|x| x.isqrt()).collect(),
    }
}

fn rows<'a>(x: &'a [i64], shape: &[u32]) -> impl Iterator<Item = &'a [i64]> {
    x.chunks_exact(shape.last().map_or(1, |&size| size as usize))
}

fn first_largest(row: &[i64]) -> usize {
    let mut best = 0;
    for (at, value) in row.iter().enumerate() {
        if *value > row[best] {
            best = at;
        }
    }
    best
}

fn matmul(operands: &[&[i64]], shapes: &[&[u32]], output: &[u32]) -> Vec<i64> {
    let [b, m, n] = [0, 1, 2].map(|axis| output[axis] as usize);
    let k = shapes[0][2] as usize;
    let (left, right) = (operands[0], operands[1]);
    let mut sums = Vec::with_capacity(b * m * n);
    for row in 0..b * m {
        let batch = row / m;
        for column in 0..n {
            let products = (0..k).map(|t| left[row * k + t] * right[(batch * k + t) * n + column]);
            sums.push(products.sum::<i64>() + operands.get(2).map_or(0, |bias| bias[column]));
        }
    }
    sums
}

fn conv(geometry: &Geometry, operands: &[&[i64]], shapes: &[&[u32]], output: &[u32]) -> Vec<i64> {
    let [c, h, w] = [1, 2, 3].map(|axis| i64::from(shapes[0][axis]));
    let [own, kh, kw] = [1, 2, 3].map(|axis| i64::from(shapes[1][axis]));
    let [n, m, oh, ow] = [0, 1, 2, 3].map(|axis| i64::from(output[axis]));
    let [sy, sx] = geometry.strides.map(i64::from);
    let [dy, dx] = geometry.dilations.map(i64::from);
    let [top, left, ..] = geometry.pads.map(i64::from);
    let each = m / i64::from(geometry.groups);
    let mut sums = Vec::with_capacity((n * m * oh * ow) as usize);
    for (image, filter) in pairs(n, m) {
        for (row, column) in pairs(oh, ow) {
            let mut sum = operands.get(2).map_or(0, |bias| bias[filter as usize]);
            for channel in 0..own {
                let plane = (image * c + filter / each * own + channel) * h;
                let taps = (filter * own + channel) * kh;
                for (ky, kx) in pairs(kh, kw) {
                    let (y, x) = (row * sy + ky * dy - top, column * sx + kx * dx - left);
                    if (0..h).contains(&y) && (0..w).contains(&x) {
                        let value = operands[0][((plane + y) * w + x) as usize];
                        sum += value * operands[1][((taps + ky) * kw + kx) as usize];
                    }
                }
            }
            sums.push(sum);
        }
    }
    sums
}

fn pairs(first: i64, second: i64) -> impl Iterator<Item = (i64, i64)> {
    (0..first).flat_map(move |a| (0..second).map(move |b| (a, b)))
}
