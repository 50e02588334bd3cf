//! Moving values: every structural operation is a choice, along each axis, of which positions are taken.

use super::builder::{Builder, Lowered};
use crate::{
    graph::{Index, VOID, Wire},
    network::{Op, ValueId},
};

/// Nested loops over a flat list: where they start, and the size and stride of each.
#[derive(Debug, Clone, Default)]
pub(super) struct Loops {
    pub(super) offset: i64,
    pub(super) loops: Vec<(usize, i64)>,
}

impl Loops {
    /// The shortest wire that says the same.
    fn index(self, source: usize) -> Index {
        let mut merged: Vec<(usize, i64)> = Vec::new();
        for (size, stride) in self.loops.into_iter().filter(|l| l.0 != 1) {
            match merged.last_mut() {
                Some(outer) if outer.1 == stride * size as i64 => *outer = (outer.0 * size, stride),
                _ => merged.push((size, stride)),
            }
        }
        let whole = match merged[..] {
            [] => source == 1,
            [(size, 1)] => size == source,
            _ => false,
        };
        if whole && self.offset == 0 {
            return Index::Identity;
        }
        // Sizes are under `MAX_ELEMENTS`, which fits.
        Index::Strided { offset: self.offset, loops: merged.into_iter().map(|(n, s)| (n as u32, s)).collect() }
    }
}

/// The stride of each axis.
pub(super) fn strides(shape: &[usize]) -> Vec<i64> {
    let mut strides = vec![1; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis] * shape[axis] as i64;
    }
    strides
}

/// The positions as at most two nested loops with strides in positions, where they are so regular.
fn regular(list: &[Option<usize>]) -> Option<Loops> {
    let list: Vec<i64> = list.iter().map(|p| p.map(|p| p as i64)).collect::<Option<_>>()?;
    let &[first, second, ..] = &list[..] else {
        return Some(Loops { offset: *list.first()?, loops: Vec::new() });
    };
    let step = second - first;
    let run = list.windows(2).position(|w| w[1] - w[0] != step).map_or(list.len(), |p| p + 1);
    if !list.len().is_multiple_of(run) {
        return None;
    }
    let turn = list.get(run).map_or(0, |next| next - first);
    let fits = |(i, &v): (usize, &i64)| v == first + (i / run) as i64 * turn + (i % run) as i64 * step;
    let loops = vec![(list.len() / run, turn), (run, step)];
    list.iter().enumerate().all(fits).then_some(Loops { offset: first, loops })
}

/// What the listed positions along each axis come to in the flat list.
fn positions(axes: &[Vec<Option<usize>>], strides: &[i64]) -> Vec<u32> {
    let mut index: Vec<u32> = vec![0];
    for (list, &stride) in axes.iter().zip(strides) {
        let step = |base: u32, position: &Option<usize>| match position {
            Some(p) if base != VOID => base + (*p as i64 * stride) as u32,
            _ => VOID,
        };
        index = index.iter().flat_map(|&base| list.iter().map(move |p| step(base, p))).collect();
    }
    index
}

impl Builder {
    /// Adds a wire of nested loops over `x`, each output adding up `fan_in` consecutive entries.
    pub(super) fn loops(&mut self, x: ValueId, loops: Loops, fan_in: usize, shape: Vec<usize>) -> Lowered {
        let source = self.shape(x).iter().product();
        let index = loops.index(source);
        if fan_in == 1 && index == Index::Identity && self.shape(x) == shape {
            return Ok(x);
        }
        let fan_in = u32::try_from(fan_in).map_err(|_| format!("adds up {fan_in} values; expected fewer than 2^32"))?;
        let element = self.element(x);
        self.emit(Op::Wire(Wire { fan_in, index }), &[x], shape, element)
    }

    /// Adds a wire of listed entries, each output adding up `fan_in` of them.
    pub(super) fn listed(&mut self, inputs: &[ValueId], index: Vec<u32>, fan_in: usize, shape: Vec<usize>) -> Lowered {
        let fan_in = u32::try_from(fan_in).map_err(|_| format!("adds up {fan_in} values; expected fewer than 2^32"))?;
        let element = self.element(inputs[0]);
        self.emit(Op::Wire(Wire { fan_in, index: Index::Explicit(index) }), inputs, shape, element)
    }

    /// Another shape for the same values.
    pub(super) fn reshape(&mut self, x: ValueId, shape: &[usize]) -> Lowered {
        let (from, to): (usize, usize) = (self.shape(x).iter().product(), super::tensor::count(shape)?);
        if from != to {
            return Err(format!("{from} values of shape {:?} do not fit shape {shape:?}", self.shape(x)));
        }
        self.loops(x, Loops { offset: 0, loops: vec![(to, 1)] }, 1, shape.to_vec())
    }

    /// Axis `i` of the result is axis `order[i]` of the operand.
    pub(super) fn transpose(&mut self, x: ValueId, order: &[usize]) -> Lowered {
        let (from, strides) = (self.shape(x).to_vec(), strides(self.shape(x)));
        let loops = order.iter().map(|&axis| (from[axis], strides[axis])).collect();
        self.loops(x, Loops { offset: 0, loops }, 1, order.iter().map(|&axis| from[axis]).collect())
    }

    /// Repeats along axes of size 1 and new leading axes.
    pub(super) fn broadcast(&mut self, x: ValueId, shape: &[usize]) -> Lowered {
        if self.shape(x) == shape {
            return Ok(x);
        }
        let (from, strides) = (self.shape(x).to_vec(), strides(self.shape(x)));
        let wrong = || format!("shape {from:?} does not broadcast to {shape:?}");
        let lead = shape.len().checked_sub(from.len()).ok_or_else(wrong)?;
        let mut loops = Vec::with_capacity(shape.len());
        for (axis, &size) in shape.iter().enumerate() {
            match axis.checked_sub(lead) {
                Some(a) if from[a] == size => loops.push((size, strides[a])),
                Some(a) if from[a] != 1 => return Err(wrong()),
                _ => loops.push((size, 0)),
            }
        }
        self.loops(x, Loops { offset: 0, loops }, 1, shape.to_vec())
    }

    /// Along each axis the listed positions; `None` takes nothing, which counts as 0.
    pub(super) fn select(&mut self, x: ValueId, axes: &[Vec<Option<usize>>]) -> Lowered {
        let shape: Vec<usize> = axes.iter().map(Vec::len).collect();
        let strides = strides(self.shape(x));
        let size = super::tensor::count(&shape)?;
        self.spend_positions(axes)?;
        if size == 0 {
            return self.constant(shape, self.element(x), Vec::new());
        }
        let parts: Option<Vec<Loops>> = axes.iter().map(|list| regular(list)).collect();
        if let Some(parts) = parts {
            let mut all = Loops::default();
            for (part, stride) in parts.into_iter().zip(&strides) {
                all.offset += part.offset * stride;
                all.loops.extend(part.loops.into_iter().map(|(n, s)| (n, s * stride)));
            }
            return self.loops(x, all, 1, shape);
        }
        self.allow_entries(size)?;
        let index = positions(axes, &strides);
        self.listed(&[x], index, 1, shape)
    }

    /// As [`Self::select`], but where nothing is taken stands the number of a scalar.
    pub(super) fn select_or(&mut self, x: ValueId, axes: &[Vec<Option<usize>>], scalar: ValueId) -> Lowered {
        let shape: Vec<usize> = axes.iter().map(Vec::len).collect();
        let size = super::tensor::count(&shape)?;
        self.spend_positions(axes)?;
        if size == 0 || axes.iter().flatten().all(Option::is_some) {
            return self.select(x, axes);
        }
        self.allow_entries(size)?;
        // The scalar comes after all values of the first operand.
        let end = self.shape(x).iter().product::<usize>() as u32;
        let mut index = positions(axes, &strides(self.shape(x)));
        index.iter_mut().filter(|i| **i == VOID).for_each(|i| *i = end);
        self.listed(&[x, scalar], index, 1, shape)
    }

    /// Along one axis the listed positions, along the others all.
    pub(super) fn select_axis(&mut self, x: ValueId, axis: usize, list: Vec<Option<usize>>) -> Lowered {
        let mut axes: Vec<Vec<Option<usize>>> = self.shape(x).iter().map(|&n| (0..n).map(Some).collect()).collect();
        axes[axis] = list;
        self.select(x, &axes)
    }

    /// The sum along axes; they keep size 1.
    pub(super) fn sum(&mut self, x: ValueId, axes: &[usize]) -> Lowered {
        let from = self.shape(x).to_vec();
        let kept: Vec<usize> = from.iter().enumerate().map(|(i, &n)| if axes.contains(&i) { 1 } else { n }).collect();
        let fan_in: usize = axes.iter().map(|&i| from[i]).product();
        if fan_in == 0 {
            return self.filled(0.0, self.element(x), &kept);
        }
        let loops = self.inward(&from, axes);
        self.loops(x, loops, fan_in, kept)
    }

    /// The axes moved to the end and made one: `[.., k]`.
    pub(super) fn gather_last(&mut self, x: ValueId, axes: &[usize]) -> Lowered {
        let from = self.shape(x).to_vec();
        let mut shape: Vec<usize> = (0..from.len()).filter(|i| !axes.contains(i)).map(|i| from[i]).collect();
        shape.push(axes.iter().map(|&i| from[i]).product());
        let loops = self.inward(&from, axes);
        self.loops(x, loops, 1, shape)
    }

    /// Loops over all values, these axes innermost.
    fn inward(&self, shape: &[usize], axes: &[usize]) -> Loops {
        let strides = strides(shape);
        let outer = (0..shape.len()).filter(|i| !axes.contains(i));
        let loops = outer.chain(axes.iter().copied()).map(|i| (shape[i], strides[i])).collect();
        Loops { offset: 0, loops }
    }

    /// One after another along an axis; all other sizes are equal.
    pub(super) fn concatenate(&mut self, parts: &[ValueId], axis: usize) -> Lowered {
        let first = self.shape(parts[0]).to_vec();
        let mut shape = first.clone();
        shape[axis] = 0;
        for &part in parts {
            let found = self.shape(part);
            let fits = found.len() == first.len() && (0..first.len()).all(|i| i == axis || found[i] == first[i]);
            if !fits {
                return Err(format!("shapes {first:?} and {found:?} do not join along axis {axis}"));
            }
            shape[axis] += found[axis];
        }
        let (size, element) = (super::tensor::count(&shape)?, self.element(parts[0]));
        if size == 0 {
            return self.constant(shape, element, Vec::new());
        }
        let parts: Vec<ValueId> = parts.iter().copied().filter(|&p| !self.shape(p).contains(&0)).collect();
        if let [one] = parts[..] {
            return Ok(one);
        }
        let outer: usize = shape[..axis].iter().product();
        let inner: usize = shape[axis + 1..].iter().product();
        let runs: Vec<usize> = parts.iter().map(|&p| self.shape(p)[axis] * inner).collect();
        let equal = runs.iter().all(|&r| r == runs[0]);
        let index = if outer == 1 || equal {
            let run = runs[0];
            let loops = if outer == 1 {
                vec![(size, 1)]
            } else {
                vec![(outer, run as i64), (parts.len(), (outer * run) as i64), (run, 1)]
            };
            Loops { offset: 0, loops }.index(size)
        } else {
            self.allow_entries(size)?;
            let mut index = Vec::with_capacity(size);
            for o in 0..outer {
                let mut base = 0;
                for &run in &runs {
                    index.extend((base + o * run..base + (o + 1) * run).map(|i| i as u32));
                    base += outer * run;
                }
            }
            Index::Explicit(index)
        };
        self.emit(Op::Wire(Wire { fan_in: 1, index }), &parts, shape, element)
    }
}
