//! Linear functionals of a column: what a claim about it weighs its cells by.
//!
//! Everything claimed of a column is `sum(weight[i] * cell[i])` over its cells, in one of two forms.
//! - A [`Kernel`]: the product of `eq` along axes. The column's flat list of cells is cut along axes, each padded to
//!   a power of two, and the weights are `eq(point, position)`. With one axis this is the multilinear extension of the
//!   flat list, which is what the commitments open.
//! - A [`Wired`]: kernels on the output of a wire, carried back through it to one of its sources.
//!
//! Two cuts of one list with the same positions are the same cut: axes of size 1 go, and an axis is joined with the
//! one after it if that is a power of two. So a change of shape costs nothing where padding agrees.

use std::borrow::Cow;
use std::sync::{Arc, OnceLock};

use p3_field::PrimeCharacteristicRing;

use super::commitment::{Base, Ext};
use super::multilinear::{eq, eq_table, log2_ceil, prefix};
use super::wire;
use crate::graph::Wire;

/// The axes that a shape comes down to.
pub(super) fn axes(shape: &[usize]) -> Vec<usize> {
    let mut axes: Vec<usize> = vec![];
    for &size in shape.iter().rev().filter(|&&size| size != 1) {
        match axes.last_mut() {
            Some(inner) if inner.is_power_of_two() => *inner *= size,
            _ => axes.push(size),
        }
    }
    axes.reverse();
    axes
}

/// The axes of a flat list.
pub(super) fn flat(length: usize) -> Vec<usize> {
    axes(&[length])
}

/// Variables of lists along axes.
pub(super) fn variables(axes: &[usize]) -> usize {
    axes.iter().map(|&size| log2_ceil(size)).sum()
}

/// The cells along axes, each padded with `T::default()`.
pub(super) fn padded<T: Copy + Default>(axes: &[usize], cells: &[T]) -> Vec<T> {
    let Some((&row, outer)) = axes.split_last() else { return cells.to_vec() };
    let stride = row.next_power_of_two();
    let mut out = vec![T::default(); 1 << variables(axes)];
    for (at, cells) in cells.chunks(row).enumerate() {
        let (mut left, mut position, mut step) = (at, 0, 1);
        for &size in outer.iter().rev() {
            position += left % size * step;
            left /= size;
            step *= size.next_power_of_two();
        }
        out[position * stride..][..row].copy_from_slice(cells);
    }
    out
}

/// `eq` along axes.
#[derive(Debug)]
pub(super) struct Kernel {
    axes: Vec<usize>,
    point: Vec<Ext>,
    table: OnceLock<Vec<Ext>>,
}

impl PartialEq for Kernel {
    fn eq(&self, other: &Self) -> bool {
        self.axes == other.axes && self.point == other.point
    }
}

impl Kernel {
    /// `axes` from [`axes`] or [`flat`], and [`variables`] coordinates.
    pub(super) fn new(axes: Vec<usize>, point: Vec<Ext>) -> Arc<Self> {
        debug_assert_eq!(variables(&axes), point.len());
        Arc::new(Self { axes, point, table: OnceLock::new() })
    }

    pub(super) fn point(&self) -> &[Ext] {
        &self.point
    }

    pub(super) fn axes(&self) -> &[usize] {
        &self.axes
    }

    /// Whether it is the flat list's extension.
    pub(super) fn is_flat(&self) -> bool {
        self.axes.len() <= 1
    }

    fn by_axis(&self) -> impl Iterator<Item = (usize, &[Ext])> {
        let mut rest = self.point.as_slice();
        self.axes.iter().map(move |&size| {
            let (head, tail) = rest.split_at(log2_ceil(size));
            rest = tail;
            (size, head)
        })
    }

    /// The sum of all weights.
    pub(super) fn sum(&self) -> Ext {
        self.by_axis().map(|(size, point)| prefix(point, size)).product()
    }

    /// The weight of each cell.
    pub(super) fn table(&self) -> &[Ext] {
        self.table.get_or_init(|| {
            let mut table: Option<Vec<Ext>> = None;
            for (size, point) in self.by_axis() {
                let mut axis = eq_table(point);
                axis.truncate(size);
                table = Some(match table {
                    None => axis,
                    Some(outer) => outer.iter().flat_map(|&o| axis.iter().map(move |&a| o * a)).collect(),
                });
            }
            table.unwrap_or_else(|| vec![Ext::ONE])
        })
    }
}

/// Kernels on a wire's output, as weights on one of its sources.
#[derive(Debug)]
pub(super) struct Wired {
    wire: Arc<Wire>,
    /// Length of the wire's output.
    length: usize,
    /// Coefficients and kernels, added up.
    kernels: Vec<(Ext, Functional)>,
    table: OnceLock<Vec<Ext>>,
}

impl Wired {
    pub(super) fn new(wire: Arc<Wire>, length: usize, kernels: Vec<(Ext, Functional)>) -> Arc<Self> {
        Arc::new(Self { wire, length, kernels, table: OnceLock::new() })
    }

    /// The weights on the wire's output.
    fn output(&self) -> &[Ext] {
        self.table.get_or_init(|| {
            if let [(coefficient, one)] = self.kernels.as_slice()
                && *coefficient == Ext::ONE
            {
                return one.weights(self.length).into_owned();
            }
            let mut sum = vec![Ext::ZERO; self.length];
            for (coefficient, functional) in &self.kernels {
                let weights = functional.weights(self.length);
                sum.iter_mut().zip(weights.iter()).for_each(|(sum, &w)| *sum += *coefficient * w);
            }
            sum
        })
    }

    /// Calls `f(weight of an output, source value that it takes)`.
    fn for_each(&self, mut f: impl FnMut(Ext, usize)) {
        let (output, fan_in) = (self.output(), self.wire.fan_in as usize);
        if fan_in == 1 {
            wire::for_each(&self.wire, 0..self.length, |e, at| f(output[e], at));
        } else {
            wire::for_each(&self.wire, 0..self.length * fan_in, |e, at| f(output[e / fan_in], at));
        }
    }
}

/// The weights of a claim.
#[derive(Debug, Clone)]
pub(super) enum Functional {
    /// At a point.
    At(Arc<Kernel>),
    /// Through a wire, whose flat list of sources has this column from `start` on.
    Through {
        /// What it comes from.
        wired: Arc<Wired>,
        /// Where the column starts in the wire's sources.
        start: usize,
    },
}

impl Functional {
    /// The kernel, if it is the flat list's extension.
    pub(super) fn as_flat(&self) -> Option<&Arc<Kernel>> {
        match self {
            Self::At(kernel) if kernel.is_flat() => Some(kernel),
            _ => None,
        }
    }

    /// The kernel, if it is along these axes.
    pub(super) fn along(&self, axes: &[usize]) -> Option<&Arc<Kernel>> {
        match self {
            Self::At(kernel) if kernel.axes() == axes => Some(kernel),
            _ => None,
        }
    }

    /// The weights of a column's cells.
    pub(super) fn weights(&self, length: usize) -> Cow<'_, [Ext]> {
        match self {
            Self::At(kernel) => Cow::Borrowed(kernel.table()),
            Self::Through { wired, start } => {
                let mut weights = vec![Ext::ZERO; length];
                wired.for_each(|w, at| {
                    // Below the start wraps around to far above the length.
                    if let Some(sum) = weights.get_mut(at.wrapping_sub(*start)) {
                        *sum += w;
                    }
                });
                Cow::Owned(weights)
            }
        }
    }

    /// `sum(weight[i] * cell[i])`.
    pub(super) fn apply(&self, cells: &[Base]) -> Ext {
        match self {
            Self::At(kernel) => super::multilinear::dot(kernel.table(), cells),
            Self::Through { wired, start } => {
                let mut sum = Ext::ZERO;
                wired.for_each(|w, at| {
                    if let Some(&cell) = cells.get(at.wrapping_sub(*start)) {
                        sum += w * cell;
                    }
                });
                sum
            }
        }
    }

    /// The extension of the weights, along the axes of `to`, at its point. Along its own axes a kernel weighs padding
    /// too; any other functional only true cells.
    pub(super) fn at(&self, to: &Kernel) -> Ext {
        match self {
            Self::At(kernel) if kernel.axes == to.axes => eq(&kernel.point, &to.point),
            Self::At(kernel) => kernel.table().iter().zip(to.table()).map(|(&a, &b)| a * b).sum(),
            Self::Through { wired, start } => {
                let (to, mut sum) = (to.table(), Ext::ZERO);
                wired.for_each(|w, at| {
                    if let Some(&weight) = to.get(at.wrapping_sub(*start)) {
                        sum += w * weight;
                    }
                });
                sum
            }
        }
    }

    /// The weights along axes, padded: what [`Self::at`] is the extension of.
    pub(super) fn padded(&self, axes: &[usize], length: usize) -> Vec<Ext> {
        match self {
            Self::At(kernel) if kernel.axes == axes => eq_table(&kernel.point),
            _ => padded(axes, &self.weights(length)),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn cuts_with_the_same_positions_are_the_same_cut() {
        assert_eq!(axes(&[1, 784, 128]), [784 * 128]);
        assert_eq!(axes(&[1, 128, 10]), [128, 10]);
        assert_eq!(axes(&[3, 4, 8]), [96]);
        assert_eq!(axes(&[3, 5, 8]), [3, 40]);
        assert_eq!(axes(&[1, 1]), [0_usize; 0]);
        assert_eq!(flat(1), axes(&[]));
    }

    #[test]
    fn padding_puts_each_cell_at_its_position() {
        let cells: Vec<u32> = (1..=12).collect();
        assert_eq!(padded(&[2, 2, 3], &cells), [1, 2, 3, 0, 4, 5, 6, 0, 7, 8, 9, 0, 10, 11, 12, 0]);
        assert_eq!(padded(&[3, 3], &cells[..9]), [1, 2, 3, 0, 4, 5, 6, 0, 7, 8, 9, 0, 0, 0, 0, 0]);
        assert_eq!(padded(&[], &cells[..1]), [1]);
    }

    #[test]
    fn the_weights_of_a_kernel_sum_to_its_sum_and_extend_to_what_it_says() {
        let coordinate = |i: usize| Ext::from_usize(i * i + 11);
        let to = Kernel::new(flat(45), (0..6).map(coordinate).collect());
        let from = Kernel::new(axes(&[3, 5, 3]), (10..17).map(coordinate).collect());
        assert_eq!(from.axes(), [3, 5, 3]);
        assert_eq!(from.sum(), from.table().iter().copied().sum::<Ext>());
        let functional = Functional::At(from);
        let weights = functional.padded(to.axes(), 45);
        let expected = weights.iter().zip(eq_table(to.point())).map(|(&a, b)| a * b).sum::<Ext>();
        assert_eq!(functional.at(&to), expected);
    }
}
