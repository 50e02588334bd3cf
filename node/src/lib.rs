//! The node: one binary for every role, and the library that the devnet and the tests run it from.
//!
//! ```text
//! cli ──> home, chain spec ──> node ──┬─ consensus::bft (blocks) ──> chain ──> ledger ──> store (RocksDB)
//!                                     ├─ net (data plane, libp2p) ──> mempool, roles
//!                                     ├─ roles: miner, validator, gateway
//!                                     └─ rpc (JSON-RPC), http (gateway API, metrics)
//! ```
//!
//! No rule of the chain lives here: what a transaction means is the ledger's, how validators agree is
//! `consensus`'s, what a proof says is `circuits`'. The node gives them disks, sockets and clocks.

pub mod adversary;
pub mod chain;
pub mod cli;
pub mod devnet;
pub mod genesis_model;
pub mod home;
pub mod http;
pub mod judges;
pub mod keyfile;
pub mod mempool;
pub mod net;
pub mod node;
pub mod openai;
pub mod roles;
pub mod rpc;
pub mod simulate;
pub mod snapshots;
pub mod store;
pub mod texts;
pub mod verify;
pub mod web;
