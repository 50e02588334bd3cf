//! The OpenAI API, on one machine or in front of the network's miners.
//!
//! ```text
//! POST /v1/chat/completions  ─┐
//! POST /v1/completions       ─┼─ key, rates ─ wire (read) ─ ask (checked) ─ prompt ─ Backend::generate ─ pieces ─ wire
//! POST /v1/embeddings        ─┘
//! GET  /v1/models, /v1/models/ID, /health, /metrics
//! ```
//!
//! | module | holds |
//! |---|---|
//! | [`wire`] | bodies as the official clients send and read them |
//! | [`ask`] | requests checked, with defaults filled in |
//! | `aside` | long work for one request that does not hold up others |
//! | `prompt` | conversations to tokens, with tools |
//! | `calls` | calls of tools in a model's text |
//! | `chat`, `completions`, `embeddings` | the three ways to ask |
//! | [`backend`] | who answers |
//! | [`keys`] | who may ask, how often, and for how much |
//! | [`usage`] | what each key has used |
//! | [`metrics`] | counts and times, under vLLM's names |
//! | [`network`] | miners as the ones who answer |
//! | [`error`] | errors in the API's form |
//! | [`server`] | routes, keys, limits |

mod aside;
pub mod ask;
pub mod backend;
mod calls;
mod chat;
mod completions;
mod embeddings;
pub mod error;
pub mod keys;
pub mod metrics;
pub mod network;
mod prompt;
pub mod server;
pub(crate) mod stream;
pub mod usage;
pub mod wire;
