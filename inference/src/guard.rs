//! Libraries on hostile files: a panic becomes an error, and the terminal stays quiet.

use std::{
    cell::Cell,
    panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook},
    sync::Once,
};

thread_local! {
    /// How many guards this thread is in.
    static GUARDS: Cell<u32> = const { Cell::new(0) };
}

/// What was run has panicked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Panicked;

/// Runs what may panic on what a stranger has written.
pub(crate) fn guarded<T>(work: impl FnOnce() -> T) -> Result<T, Panicked> {
    static QUIET: Once = Once::new();
    QUIET.call_once(|| {
        let before = take_hook();
        set_hook(Box::new(move |panic| {
            if GUARDS.get() == 0 {
                before(panic);
            }
        }));
    });
    GUARDS.set(GUARDS.get() + 1);
    let done = catch_unwind(AssertUnwindSafe(work));
    GUARDS.set(GUARDS.get() - 1);
    done.map_err(|_| Panicked)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_error_and_what_comes_after_it_runs() {
        assert_eq!(guarded(|| 1), Ok(1));
        assert_eq!(guarded(|| guarded(|| panic!("in two guards")).map_err(|_: Panicked| 2)), Ok(Err::<(), _>(2)));
        assert_eq!(guarded(|| panic!("in one")), Err::<(), _>(Panicked));
        assert_eq!(GUARDS.get(), 0);
    }
}
