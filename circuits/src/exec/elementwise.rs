//! Operations on each value, or each row of the last axis, alone: in blocks of 64-bit integers.

use super::{
    buffer::{Buffer, Cell, Width, typed},
    threads::Threads,
};
use crate::graph::{Multiplier, Op, Table};

/// Values worked on at once: they stay in the nearest cache.
const BLOCK: usize = 256;

/// Values that are worth another thread.
const GRAIN: usize = 1 << 14;

/// A block of each operand at the same place.
struct Blocks<'a> {
    operands: &'a [&'a Buffer],
    start: usize,
}

impl Blocks<'_> {
    #[inline(always)]
    fn load(&self, operand: usize, into: &mut [i64]) {
        self.operands[operand].load(self.start, into);
    }
}

/// Fills a new buffer block by block.
fn blocks(
    threads: &Threads,
    (width, len): (Width, usize),
    operands: &[&Buffer],
    compute: impl Fn(Blocks<'_>, &mut [i64]) + Sync,
) -> Buffer {
    let mut out = Buffer::zeros(width, len);
    typed!(&mut out, values => threads.fill(values, BLOCK, GRAIN, |start, piece| {
        let mut scratch = [0i64; BLOCK];
        for (at, cells) in piece.chunks_mut(BLOCK).enumerate() {
            let block = &mut scratch[..cells.len()];
            compute(Blocks { operands, start: start + at * BLOCK }, block);
            store(block, cells);
        }
    }));
    out
}

#[inline(always)]
fn store<T: Cell>(block: &[i64], cells: &mut [T]) {
    for (cell, &value) in cells.iter_mut().zip(block) {
        *cell = T::narrow(value);
    }
}

/// Replaces each value of the first operand's block by a function of it and of the second's.
#[inline(always)]
fn pairs(blocks: &Blocks<'_>, out: &mut [i64], compute: impl Fn(i64, i64) -> i64) {
    let mut second = [0i64; BLOCK];
    let second = &mut second[..out.len()];
    blocks.load(0, out);
    blocks.load(1, second);
    for (a, &b) in out.iter_mut().zip(&*second) {
        *a = compute(*a, b);
    }
}

/// Runs an operation that is none of wire, matrix product and convolution. `shape` is the first operand's.
pub(super) fn run(
    threads: &Threads,
    op: &Op,
    tables: &[Table],
    operands: &[&Buffer],
    shape: &[u32],
    output: (Width, usize),
) -> Buffer {
    match op {
        Op::Linear { coefficients, constant } => blocks(threads, output, operands, |blocks, out| {
            linear(&blocks, coefficients, *constant, out);
        }),
        Op::Mul => blocks(threads, output, operands, |blocks, out| pairs(&blocks, out, |a, b| a * b)),
        Op::Greater => blocks(threads, output, operands, |blocks, out| {
            pairs(&blocks, out, |a, b| i64::from(a > b));
        }),
        Op::Divide { shift } => blocks(threads, output, operands, |blocks, out| {
            pairs(&blocks, out, |n, d| (2 * (n << shift) + d).div_euclid(2 * d));
        }),
        Op::Sqrt => blocks(threads, output, operands, |blocks, out| {
            blocks.load(0, out);
            out.iter_mut().for_each(|value| *value = value.isqrt());
        }),
        Op::Rescale { multiplier, shift, low, high } => {
            let clamp = (i64::from(*low), i64::from(*high));
            rescale(threads, *multiplier, *shift, clamp, operands, shape, output)
        }
        Op::Lookup { table } => {
            let table = &tables[*table as usize];
            let low = i64::from(table.low);
            blocks(threads, output, operands, |blocks, out| {
                blocks.load(0, out);
                out.iter_mut().for_each(|value| *value = i64::from(table.values[(*value - low) as usize]));
            })
        }
        Op::ReduceMax => rows(threads, operands[0], shape, output, |row| i64::from(row[first_largest(row)])),
        Op::ArgMax => rows(threads, operands[0], shape, output, |row| first_largest(row) as i64),
        Op::Wire(_) | Op::MatMul | Op::Conv(_) => unreachable!("these have kernels of their own"),
    }
}

fn linear(blocks: &Blocks<'_>, coefficients: &[i64], constant: i64, out: &mut [i64]) {
    let mut scratch = [0i64; BLOCK];
    let operand = &mut scratch[..out.len()];
    out.fill(constant);
    for (at, &coefficient) in coefficients.iter().enumerate() {
        blocks.load(at, operand);
        let terms = out.iter_mut().zip(&*operand);
        match coefficient {
            1 => terms.for_each(|(sum, &x)| *sum += x),
            -1 => terms.for_each(|(sum, &x)| *sum -= x),
            _ => terms.for_each(|(sum, &x)| *sum += coefficient * x),
        }
    }
}

fn rescale(
    threads: &Threads,
    multiplier: Multiplier,
    shift: u8,
    clamp: (i64, i64),
    operands: &[&Buffer],
    shape: &[u32],
    output: (Width, usize),
) -> Buffer {
    let half = 1i64 << (shift - 1);
    let round = |x: i64, m: i64| ((x * m + half) >> shift).clamp(clamp.0, clamp.1);
    match multiplier {
        Multiplier::Uniform(m) => {
            let m = i64::from(m);
            blocks(threads, output, operands, |blocks, out| {
                blocks.load(0, out);
                out.iter_mut().for_each(|x| *x = round(*x, m));
            })
        }
        Multiplier::PerAxis(axis) => {
            let axis = usize::from(axis);
            let after = shape[axis + 1..].iter().product::<u32>() as usize;
            let multipliers = operands[1].values();
            blocks(threads, output, operands, |blocks, out| {
                blocks.load(0, out);
                let mut at = 0;
                while at < out.len() {
                    let position = blocks.start + at;
                    let run = (after - position % after).min(out.len() - at);
                    let m = multipliers[position / after % multipliers.len()];
                    out[at..at + run].iter_mut().for_each(|x| *x = round(*x, m));
                    at += run;
                }
            })
        }
    }
}

fn rows(
    threads: &Threads,
    operand: &Buffer,
    shape: &[u32],
    (width, len): (Width, usize),
    compute: impl Fn(&[i16]) -> i64 + Sync,
) -> Buffer {
    let size = shape.last().map_or(1, |&size| size as usize);
    let acts = operand.acts();
    let mut out = Buffer::zeros(width, len);
    typed!(&mut out, values => threads.fill(values, 1, (GRAIN / size).max(1), |start, piece| {
        for (cell, row) in piece.iter_mut().zip(acts[start * size..].chunks_exact(size)) {
            *cell = Cell::narrow(compute(row));
        }
    }));
    out
}

fn first_largest(row: &[i16]) -> usize {
    let mut best = 0;
    for (at, value) in row.iter().enumerate() {
        if *value > row[best] {
            best = at;
        }
    }
    best
}
