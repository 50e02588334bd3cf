//! The network under test: in one thread with faults from a seed, and as real processes watched over RPC only.
//!
//! ```text
//! sim::run (seed) ──> real nodes on simulated machines ──> invariants, a trace
//! Network::new (spec, homes) ──> Process::start (`assay validator run --home …`) ──> RpcClient
//! ```
//!
//! The tests in `tests/it`, the simulator's `src/bin/sim.rs` and the benchmark in `src/bin/bench.rs` build on it. Nothing
//! here is product code.

pub mod faults;
mod growth;
mod network;
mod process;
pub mod sim;

pub use growth::Growth;
pub use network::{Network, Setup};
pub use process::{Process, binary};
