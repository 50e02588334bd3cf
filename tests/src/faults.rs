//! Faults of real processes: what is done to them, what clients see of it, and whether all of it holds afterwards.
//!
//! Everything is seen from outside: over RPC, and in what nodes log. Each suite is a program of its own in `src/bin`.

mod clients;
mod history;
mod namespaces;
mod signatures;

pub use clients::{Acknowledged, Clients};
pub use history::History;
pub use namespaces::{Namespaces, Side};
pub use signatures::Signatures;
