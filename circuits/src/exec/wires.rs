//! Wires: an index worked out once, then one pass over the output.

use super::{
    buffer::{Buffer, Cell, Width, typed},
    threads::Threads,
};
use crate::graph::{Index, Wire};

/// Entries that are worth another thread.
const GRAIN: usize = 1 << 14;

/// A wire ready to run.
#[derive(Debug)]
pub(super) enum Route {
    /// All values in order.
    Same,
    /// An index, with this many entries an output.
    Pick { fan_in: usize, index: Vec<u32> },
}

impl Route {
    /// For a wire that has been checked.
    pub(super) fn of(wire: &Wire, out_len: usize) -> Self {
        if wire.fan_in == 1 && wire.index == Index::Identity {
            return Self::Same;
        }
        Self::Pick { fan_in: wire.fan_in as usize, index: wire.entries(out_len).collect() }
    }

    pub(super) fn run(&self, threads: &Threads, operands: &[&Buffer], (width, len): (Width, usize)) -> Buffer {
        let joined;
        let source = match operands {
            [one] => *one,
            many => {
                joined = join(many);
                &joined
            }
        };
        match self {
            Self::Same if source.width() == width => source.clone(),
            Self::Same => Buffer::of(width, &source.values()),
            Self::Pick { fan_in, index } => {
                let mut out = Buffer::zeros(width, len);
                typed!(&mut out, cells => typed!(source, values => {
                    threads.fill(cells, 1, (GRAIN / fan_in).max(1), |start, piece| {
                        pick(values, *fan_in, &index[start * fan_in..], piece);
                    });
                }));
                out
            }
        }
    }
}

/// A void entry is a position beyond any tensor's, and counts as 0.
#[inline(always)]
fn pick<A: Cell, B: Cell>(values: &[A], fan_in: usize, index: &[u32], out: &mut [B]) {
    let value = |at: u32| values.get(at as usize).map_or(0, |value| value.wide());
    if fan_in == 1 {
        for (cell, &at) in out.iter_mut().zip(index) {
            *cell = B::narrow(value(at));
        }
        return;
    }
    for (cell, entries) in out.iter_mut().zip(index.chunks_exact(fan_in)) {
        *cell = B::narrow(entries.iter().map(|&at| value(at)).sum());
    }
}

/// One after another, in the widest of their types.
fn join(buffers: &[&Buffer]) -> Buffer {
    fn all<T: Cell>(buffers: &[&Buffer]) -> Vec<T> {
        let mut joined = Vec::with_capacity(buffers.iter().map(|buffer| buffer.len()).sum());
        for buffer in buffers {
            typed!(buffer, values => joined.extend(values.iter().map(|value| T::narrow(value.wide()))));
        }
        joined
    }
    let any = |width| buffers.iter().any(|buffer| buffer.width() == width);
    match () {
        () if any(Width::Long) => Buffer::Long(all(buffers)),
        () if any(Width::Word) => Buffer::Word(all(buffers)),
        () => Buffer::Short(all(buffers)),
    }
}
