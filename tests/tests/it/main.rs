//! Tests of whole networks of the real binary.
#![allow(clippy::unwrap_used, missing_docs)]

mod devnet;
mod double_sign;
mod processes;
mod simulation;
mod zk;
