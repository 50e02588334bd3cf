//! Which threads work, and how work is cut for them. The cuts never change a result: every cell is computed on its own.

use std::num::NonZeroUsize;

use rayon::prelude::*;

/// The threads that a program runs on.
#[derive(Debug)]
pub(super) enum Threads {
    /// The caller alone.
    One,
    /// Rayon's own.
    Shared,
    /// A fixed number.
    Own(rayon::ThreadPool),
}

impl Threads {
    pub(super) fn of(count: Option<NonZeroUsize>) -> Self {
        match count.map(NonZeroUsize::get) {
            None if rayon::current_num_threads() > 1 => Self::Shared,
            None | Some(1) => Self::One,
            // Without a pool of its own a program still runs, and gives the same.
            Some(count) => rayon::ThreadPoolBuilder::new().num_threads(count).build().map_or(Self::One, Self::Own),
        }
    }

    /// Fills `out` piece by piece: `fill` gets where a piece starts. Pieces are multiples of `unit`, of at least `least` values.
    pub(super) fn fill<T: Send>(
        &self,
        out: &mut [T],
        unit: usize,
        least: usize,
        fill: impl Fn(usize, &mut [T]) + Sync,
    ) {
        let count = match self {
            Self::One => 1,
            Self::Shared => rayon::current_num_threads(),
            Self::Own(pool) => pool.current_num_threads(),
        };
        // A few pieces each, so that a late thread holds up little.
        let even = out.len().div_ceil(4 * count);
        let piece = even.max(least).div_ceil(unit).max(1) * unit;
        if count == 1 || out.len() < 2 * piece {
            return fill(0, out);
        }
        let mut all = || out.par_chunks_mut(piece).enumerate().for_each(|(at, chunk)| fill(at * piece, chunk));
        match self {
            Self::Own(pool) => pool.install(all),
            _ => all(),
        }
    }
}
