#![allow(clippy::unwrap_used)]
//! Real engines on TCP loopback over a counter chain held in memory, and the codecs.

mod codec;
mod counter;
mod network;
mod openings;
