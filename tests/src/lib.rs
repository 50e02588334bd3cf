//! The network under test: in one thread with faults from a seed, and as real processes watched over RPC only.
//!
//! ```text
//! sim::run (seed) ──> real nodes on simulated machines ──> invariants, a trace
//! Network::new (spec, homes) ──> Process::start (`assay validator run --home …`) ──> RpcClient
//! ```
//!
//! The tests in `tests/it` and the programs in `src/bin` build on it: the simulator, faults of real processes, benchmarks. Nothing
//! here is product code.

pub mod faults;
pub mod floor;
mod growth;
pub mod load;
mod network;
mod process;
pub mod sim;

pub use growth::Growth;
pub use network::{Network, Setup, ports};
pub use process::{Process, binary, processor_time, until_stopped};
