//! Ready-made networks: `dev` (one machine, epochs of seconds) and `testnet`.
//!
//! A preset fixes the parameters; who validates and who holds money is the caller's to say, since no key is
//! shared between networks.

use std::str::FromStr;

use crate::{ChainSpec, GenesisAccount, GenesisSubnet, GenesisValidator, Params};

/// A preset's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preset {
    /// One machine, epochs of ten seconds.
    Dev,
    /// A public test network, epochs of about half an hour.
    Testnet,
}

impl FromStr for Preset {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "dev" => Ok(Preset::Dev),
            "testnet" => Ok(Preset::Testnet),
            other => Err(format!("there is no preset {other:?}; expected dev or testnet")),
        }
    }
}

impl Preset {
    /// The preset's parameters.
    pub fn params(self) -> Params {
        match self {
            Preset::Dev => Params::dev(),
            Preset::Testnet => Params::testnet(),
        }
    }

    /// A spec of this preset. Check it with [`ChainSpec::check`] once it is complete.
    pub fn spec(
        self,
        chain_id: String,
        genesis_time_ms: u64,
        accounts: Vec<GenesisAccount>,
        validators: Vec<GenesisValidator>,
        subnets: Vec<GenesisSubnet>,
    ) -> ChainSpec {
        ChainSpec { chain_id, genesis_time_ms, params: self.params(), accounts, validators, subnets }
    }
}
