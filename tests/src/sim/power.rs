//! The power of one machine, which fails at a step that the seed chose.
//!
//! A step is whatever leaves a trace outside of the process: a write to a disk or to a log, a flush, a message sent. A
//! machine that fails at a step has done it or not, but whoever asked for it never hears; nothing that the process does
//! from then on has any effect.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What becomes of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is done, and answered.
    Done,
    /// It is done, and the machine fails before the answer.
    DoneUnheard,
    /// It is not done: the machine fails in the middle of it.
    Cut,
    /// It is not done: the machine had failed before.
    Off,
}

/// One machine's power, from its start to its failure. Clones are the same power.
#[derive(Clone, Default)]
pub(super) struct Power(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    off: bool,
    /// How many steps are done before the one that fails, and whether that one is done.
    fuse: Option<(u64, bool)>,
}

impl Power {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets the machine fail at the step after `steps` more, which is then `done` or not.
    pub(super) fn fail_after(&self, steps: u64, done: bool) {
        self.state().fuse = Some((steps, done));
    }

    /// Fails now, between two steps.
    pub(super) fn cut(&self) {
        self.state().off = true;
    }

    /// Whether it has failed.
    pub(super) fn is_off(&self) -> bool {
        self.state().off
    }

    /// Whether it is going to fail at a later step.
    pub(super) fn has_fuse(&self) -> bool {
        let state = self.state();
        !state.off && state.fuse.is_some()
    }

    /// Takes a step.
    pub(super) fn step(&self) -> Fate {
        let mut state = self.state();
        if state.off {
            return Fate::Off;
        }
        match &mut state.fuse {
            None => Fate::Done,
            Some((0, done)) => {
                let fate = if *done { Fate::DoneUnheard } else { Fate::Cut };
                state.off = true;
                fate
            }
            Some((steps, _)) => {
                *steps -= 1;
                Fate::Done
            }
        }
    }
}

impl Fate {
    /// Whether the step has its effect.
    pub(super) fn is_done(self) -> bool {
        matches!(self, Self::Done | Self::DoneUnheard)
    }

    /// Whether whoever asked for it hears that it is done.
    pub(super) fn is_heard(self) -> bool {
        self == Self::Done
    }
}
