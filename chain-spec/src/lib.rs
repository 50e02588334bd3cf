//! The chain spec: what a network is before its first block.
//!
//! ```text
//! JSON for people --parse, check every field--> ChainSpec --borsh--> canonical bytes --BLAKE3--> genesis hash
//! ```
//!
//! Two files with the same meaning give the same canonical bytes and the same genesis hash, which every
//! signature, header and protocol name of the chain carries. Unknown, missing, repeated or impossible
//! fields are errors that name the field. [`presets`] holds `dev` and `testnet`.

pub mod params;
pub mod presets;
mod spec;

pub use params::{Bounds, OF_SUBNET, ParamConflict, ParamError, Params};
pub use spec::{
    ChainSpec, GenesisAccount, GenesisModel, GenesisSubnet, GenesisValidator, MAX_KEY_BYTES, MAX_MODEL_BYTES,
    SpecError, voting_power,
};
