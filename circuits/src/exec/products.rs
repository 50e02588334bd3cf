//! Matrix products and convolutions: both become dot products of rows of acts.

use pulp::Arch;

use super::{
    buffer::{Buffer, Cell, Width, typed},
    dots::Dots,
    threads::Threads,
};
use crate::graph::Geometry;

/// Products that are worth another thread.
const GRAIN: usize = 1 << 17;

/// `[b, m, k]` by `[b, k, n]`.
#[derive(Debug)]
pub(super) struct MatMul {
    pub(super) b: usize,
    pub(super) m: usize,
    pub(super) k: usize,
    pub(super) n: usize,
    /// A constant right operand, each `[k, n]` transposed.
    pub(super) packed: Option<Vec<i16>>,
}

impl MatMul {
    pub(super) fn of(left: &[u32], right: &[u32]) -> Self {
        let [b, m, k] = [0, 1, 2].map(|axis| left[axis] as usize);
        Self { b, m, k, n: right[2] as usize, packed: None }
    }

    /// The right operand's matrices, each transposed.
    pub(super) fn pack(&self, right: &[i16]) -> Vec<i16> {
        let mut packed = Vec::with_capacity(right.len());
        for matrix in right.chunks_exact(self.k * self.n) {
            for column in 0..self.n {
                packed.extend(matrix[column..].iter().step_by(self.n));
            }
        }
        packed
    }

    pub(super) fn run(
        &self,
        threads: &Threads,
        arch: Arch,
        left: &[i16],
        right: &[i16],
        bias: Option<&[i64]>,
        width: Width,
    ) -> Buffer {
        let &Self { b, m, k, n, ref packed } = self;
        let scratch;
        let right = match packed {
            Some(packed) => packed,
            None => {
                scratch = self.pack(right);
                &scratch
            }
        };
        let mut out = Buffer::zeros(width, b * m * n);
        typed!(&mut out, cells => for batch in 0..b {
            let dots = Dots {
                left: &left[batch * m * k..][..m * k],
                right: &right[batch * n * k..][..n * k],
                bias,
                bias_by_row: false,
                n,
                k,
            };
            fill(threads, arch, width, &dots, &mut cells[batch * m * n..][..m * n]);
        });
        out
    }
}

fn fill<T: Cell>(threads: &Threads, arch: Arch, width: Width, dots: &Dots<'_>, out: &mut [T]) {
    // Whole rows, unless there are too few to share.
    let unit = if out.len() >= 16 * dots.n { 2 * dots.n } else { 4 };
    threads.fill(out, unit, (GRAIN / dots.k).max(1), |start, piece| match width {
        Width::Long => dots.longs(start, piece),
        _ => dots.words(arch, start, piece),
    });
}

/// A convolution: for each image and group, the kernel's rows by the input's windows.
#[derive(Debug)]
pub(super) struct Conv {
    pub(super) geometry: Geometry,
    pub(super) input: [usize; 4],
    pub(super) kernel: [usize; 4],
    pub(super) output: [usize; 4],
}

impl Conv {
    pub(super) fn run(
        &self,
        threads: &Threads,
        arch: Arch,
        input: &[i16],
        kernel: &[i16],
        bias: Option<&[i64]>,
        width: Width,
    ) -> Buffer {
        let [n, c, h, w] = self.input;
        let [m, own, kh, kw] = self.kernel;
        let [_, _, oh, ow] = self.output;
        let groups = self.geometry.groups as usize;
        let (each, taps, positions) = (m / groups, own * kh * kw, oh * ow);
        let mut windows = vec![0i16; positions * taps];
        let mut out = Buffer::zeros(width, n * m * positions);
        for image in 0..n {
            for group in 0..groups {
                let first = (image * c + group * own) * h * w;
                let planes = &input[first..first + own * h * w];
                threads.fill(&mut windows, taps, GRAIN / 4, |start, piece| self.gather(planes, start / taps, piece));
                let dots = Dots {
                    left: &kernel[group * each * taps..][..each * taps],
                    right: &windows,
                    bias: bias.map(|bias| &bias[group * each..][..each]),
                    bias_by_row: true,
                    n: positions,
                    k: taps,
                };
                let first = (image * m + group * each) * positions;
                typed!(&mut out, cells => {
                    fill(threads, arch, width, &dots, &mut cells[first..first + each * positions]);
                });
            }
        }
        out
    }

    /// The windows of the positions from `first` on, as many as `out` has room for.
    fn gather(&self, planes: &[i16], first: usize, out: &mut [i16]) {
        let [_, _, h, w] = self.input;
        let [_, own, kh, kw] = self.kernel;
        let ow = self.output[3];
        let [sy, sx] = self.geometry.strides.map(|step| step as usize);
        let [dy, dx] = self.geometry.dilations.map(|step| step as usize);
        let [top, left, ..] = self.geometry.pads.map(|pad| pad as usize);
        for (at, window) in out.chunks_exact_mut(own * kh * kw).enumerate() {
            let (row, column) = ((first + at) / ow, (first + at) % ow);
            for (tap_row, taps) in window.chunks_exact_mut(kw).enumerate() {
                let (channel, ky) = (tap_row / kh, tap_row % kh);
                let Some(y) = (row * sy + ky * dy).checked_sub(top).filter(|&y| y < h) else {
                    taps.fill(0);
                    continue;
                };
                let line = &planes[(channel * h + y) * w..][..w];
                let x = column * sx;
                if dx == 1 && x >= left && x - left + kw <= w {
                    taps.copy_from_slice(&line[x - left..][..kw]);
                    continue;
                }
                for (kx, tap) in taps.iter_mut().enumerate() {
                    // Before the line the difference wraps to beyond it.
                    *tap = line.get((x + kx * dx).wrapping_sub(left)).copied().unwrap_or(0);
                }
            }
        }
    }
}
