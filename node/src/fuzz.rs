//! For the fuzzer: each decoder that a stranger reaches, as a function of bytes. They say whether the bytes were taken, and panic on
//! what must never be.

pub use crate::{
    chain::fuzz::block,
    net::fuzz::exchange,
    openai::fuzz::request,
    rpc::fuzz::call,
    snapshots::fuzz::{chunk, honest_snapshot, manifest},
};
