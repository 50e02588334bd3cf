//! Tests of whole networks of the real binary.
#![allow(clippy::unwrap_used, missing_docs)]

mod devnet;
mod processes;
mod zk;
