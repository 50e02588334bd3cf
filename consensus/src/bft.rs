//! How the network agrees on blocks: the Malachite engine (Tendermint's algorithm) over libp2p, with our
//! types, signatures, store and pace. This is the one place that names Malachite; the application below
//! implements [`Executor`] and calls [`start`].
//!
//! ```text
//! GetValue      -> Executor::prepare -> save_undecided -> signed opening + chunks -> peers
//! parts of peers -> Streams (bounded) -> Executor::process -> save_undecided -> verdict -> prevote
//! prevotes, precommits: signed under domain::VOTE, behind the fsynced Watermark and the engine's log
//! Decided       -> Executor::commit (one fsynced batch) -> acknowledged -> served to peers that sync
//! Finalized     -> evidence to Executor::report -> the next height, one block interval later
//! ```
//!
//! Safety: a node never signs two messages for one height, round and kind (write-ahead log, and the
//! [`Watermark`](WatermarkError) as a second lock); it votes only for blocks it executed; a commit is durable
//! before it is acknowledged. Liveness: more than two thirds of the power must be up and connected.
//!
//! A node whose key is not in the validator set follows the same gossip without voting, and starts to vote at
//! the first height whose set holds its key, without a restart.
//!
//! Common errors: `refusing to sign` (see [`WatermarkError`]: two nodes with one key, or a restored database);
//! no progress with peers connected (fewer than two thirds of the power up); `the engine's log is corrupt`
//! (never delete it while other nodes may hold votes of this key: restore the disk or retire the key).

mod app;
mod blocking;
mod codec;
mod context;
mod engine;
mod executor;
mod handlers;
mod links;
mod machine;
mod parts;
mod settings;
mod signing;
#[cfg(feature = "simulation")]
pub mod simulation;
mod watch;
mod watermark;

#[cfg(test)]
mod tests;

pub use context::proposer_index;
pub use engine::{Engine, EngineStatus, StartError, StopReason, encode_metrics, start};
pub use executor::{Executor, Fault, Misbehaviour, ProposalContent, Tip, Undecided, Verdict};
pub use settings::EngineConfig;
pub use signing::SIGNED;
pub use watermark::WatermarkError;
