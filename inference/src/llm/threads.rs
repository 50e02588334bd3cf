//! The threads of an engine.

use rayon::{ThreadPool, ThreadPoolBuilder, prelude::*};

use super::{constraint::STACK, lanes::Level};
use crate::background;

/// Threads that share the work of each step, and the lanes they compute in.
#[derive(Debug)]
pub(crate) struct Threads {
    pool: ThreadPool,
    level: Level,
}

impl Threads {
    /// So many threads, on the widest lanes of this machine; none is one.
    ///
    /// # Errors
    /// If the system gives no threads.
    pub(crate) fn new(count: usize) -> std::io::Result<Self> {
        Self::with_level(count, Level::best())
    }

    /// So many threads on chosen lanes.
    ///
    /// # Errors
    /// If the system gives no threads.
    pub(crate) fn with_level(count: usize, level: Level) -> std::io::Result<Self> {
        let pool = ThreadPoolBuilder::new()
            .num_threads(count.max(1))
            .thread_name(|n| format!("engine-{n}"))
            // A grammar is followed on whichever thread draws.
            .stack_size(STACK)
            .start_handler(|_| background::enter())
            .build()
            .map_err(std::io::Error::other)?;
        Ok(Self { pool, level })
    }

    /// How many.
    pub(crate) fn count(&self) -> usize {
        self.pool.current_num_threads()
    }

    /// The lanes.
    pub(crate) fn level(&self) -> Level {
        self.level
    }

    /// Runs a step on these threads.
    pub(crate) fn step<R: Send>(&self, f: impl FnOnce() -> R + Send) -> R {
        self.pool.install(f)
    }

    /// Calls `f` on each piece of `piece` values with its number, on whichever thread is free.
    pub(crate) fn each<T: Send>(&self, values: &mut [T], piece: usize, f: impl Fn(usize, &mut [T]) + Sync) {
        if self.count() == 1 || values.len() <= piece {
            values.chunks_mut(piece.max(1)).enumerate().for_each(|(i, c)| f(i, c));
        } else {
            values.par_chunks_mut(piece).enumerate().for_each(|(i, c)| f(i, c));
        }
    }

    /// Calls both, at once where there are threads for it.
    pub(crate) fn both(&self, f: impl FnOnce() + Send, g: impl FnOnce() + Send) {
        if self.count() == 1 {
            f();
            g();
        } else {
            rayon::join(f, g);
        }
    }

    /// Calls `f` on each job from outside of a step, on whichever thread is free.
    pub(crate) fn share<J: Send>(&self, jobs: Vec<J>, f: impl Fn(J) + Sync + Send) {
        if self.count() == 1 || jobs.len() <= 1 {
            jobs.into_iter().for_each(f);
        } else {
            self.step(|| self.all(jobs, f));
        }
    }

    /// Calls `f` on each job, on whichever thread is free.
    pub(crate) fn all<J: Send>(&self, jobs: Vec<J>, f: impl Fn(J) + Sync + Send) {
        if self.count() == 1 || jobs.len() == 1 {
            jobs.into_iter().for_each(f);
        } else {
            jobs.into_par_iter().for_each(f);
        }
    }
}
