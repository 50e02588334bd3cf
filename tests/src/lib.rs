//! The network under test: real processes of the real binary, watched over RPC only.
//!
//! ```text
//! Network::new (spec, homes) ──> Process::start (`assay validator run --home …`) ──> RpcClient
//! ```
//!
//! The tests in `tests/it` and the benchmark in `src/bin/bench.rs` build on it. Nothing here is product code.

mod network;
mod process;

pub use network::{Network, Setup};
pub use process::{Process, binary};
