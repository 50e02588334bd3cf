//! Faults of real processes: what is done to them, what clients see of it, and whether all of it holds afterwards.
//!
//! Everything is seen from outside: over RPC, and in what nodes log. Each suite is a program of its own in `src/bin`.

mod clients;
mod clock;
mod damage;
mod flood;
mod history;
mod malformed;
mod namespaces;
mod signatures;
mod wire;

pub use clients::{Acknowledged, Clients};
pub use clock::Clock;
pub use damage::Damage;
pub use flood::{Flood, Flooded, Heard, Pace, Said};
pub use history::History;
pub use malformed::{BATCH, Malformed, Nonsense, Wrong, transfer};
pub use namespaces::{Direction, Namespaces, Side};
pub use signatures::Signatures;
