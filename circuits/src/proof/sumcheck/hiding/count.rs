//! How many proofs a commitment has hidden its weights in.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Counts the proofs of one commitment, wherever they are made.
///
/// A proof that is not counted is lost secrecy: what counts must outlast the process, for as long as the salt is kept that the
/// commitment was made with, and be one for all processes that prove with it.
pub trait Count: Send + Sync {
    /// Proofs begun so far.
    ///
    /// # Errors
    /// Why that is not known.
    fn begun(&self) -> Result<usize, String>;

    /// Notes that one more proof is begun and gives how many were before it. Returns once that is certain to be remembered,
    /// since the proof may be seen even if the prover fails right after it.
    ///
    /// # Errors
    /// Why it cannot be noted; then nothing is proved.
    fn begin(&self) -> Result<usize, String>;
}

/// For a commitment whose salt nobody keeps.
#[derive(Debug, Default)]
pub(super) struct Passing(AtomicUsize);

impl Count for Passing {
    fn begun(&self) -> Result<usize, String> {
        Ok(self.0.load(Ordering::Relaxed))
    }

    fn begin(&self) -> Result<usize, String> {
        Ok(self.0.fetch_add(1, Ordering::Relaxed))
    }
}
