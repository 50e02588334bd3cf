//! Work that waits for a disk.

/// Where it is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Blocking {
    /// On a thread of its own, so that the runtime's threads go on.
    OnThreads,
    /// In place: a simulated disk answers at once, and two threads have no order that a seed could give again.
    #[cfg(feature = "simulation")]
    InPlace,
}

impl Blocking {
    /// Does `work`.
    ///
    /// # Errors
    /// In words, if it panicked or was cut off.
    pub(crate) async fn run<T: Send + 'static>(self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, String> {
        match self {
            Self::OnThreads => tokio::task::spawn_blocking(work).await.map_err(|e| e.to_string()),
            #[cfg(feature = "simulation")]
            Self::InPlace => Ok(work()),
        }
    }
}
