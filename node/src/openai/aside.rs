//! Long work for one client that does not hold up the others.

use tokio::{
    runtime::{Handle, RuntimeFlavor},
    sync::Semaphore,
};

/// Work on fewer bytes is done where it comes up: a request of this size is read and made into tokens in a millisecond or two.
const SMALL: usize = 8 << 10;

/// Does work on so many bytes of a request. Where they are many, other tasks go on meanwhile on other threads, and two do such
/// work at once, so that a crowd of large requests leaves room for small ones.
pub(super) async fn aside<T>(bytes: usize, work: impl FnOnce() -> T) -> T {
    static PLACES: Semaphore = Semaphore::const_new(2);
    // A runtime of one thread has no other.
    if bytes < SMALL || Handle::current().runtime_flavor() != RuntimeFlavor::MultiThread {
        return work();
    }
    // Never closed.
    let _place = PLACES.acquire().await;
    tokio::task::block_in_place(work)
}
