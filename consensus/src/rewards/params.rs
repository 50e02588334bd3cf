//! What a subnet settles about its rewards.

use super::layer::Layer;
use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};

/// How fast a bond follows the weight, by how far the validator is from the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LiquidAlpha {
    /// Slowest, in 65535ths.
    pub low: u16,
    /// Fastest, in 65535ths; at least `low`.
    pub high: u16,
    /// Steepness of the sigmoid between them, in hundredths.
    pub steepness: u16,
}

impl Default for LiquidAlpha {
    /// 0.7 to 0.9 at steepness 10, upstream's defaults.
    fn default() -> Self {
        Self { low: 45_875, high: 58_982, steepness: 1_000 }
    }
}

/// How bonds are kept and paid.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Bonding {
    /// Bonds in proportion to stake, normalised by miner before they are averaged.
    #[default]
    Classic,
    /// Bonds regardless of stake, which enters when they are paid.
    Yuma3 {
        /// Rate by distance from consensus; a fixed rate if absent.
        liquid_alpha: Option<LiquidAlpha>,
    },
}

/// What a subnet has settled about rewards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// Majority of stake that makes consensus, in 65535ths; 32767 unless changed.
    pub kappa: u16,
    /// Share of the old bonds in the moving average, in millionths, at most 1 000 000; 900 000 unless changed.
    pub bonds_moving_average: u32,
    /// How far weights above consensus are clipped for bonds, in 65535ths; 65535, wholly, unless changed.
    pub bonds_penalty: u16,
    /// How bonds are kept and paid.
    pub bonding: Bonding,
    /// What miners weigh against validators in sharing the emission, in millionths, at most 1 000 000; 500 000, as much
    /// as they, unless changed.
    pub miner_share: u32,
    /// What changes the shares that Yuma gives; nothing unless switched on.
    #[serde(default)]
    pub layer: Layer,
}

impl Default for Params {
    fn default() -> Self {
        Self {
            kappa: 32_767,
            bonds_moving_average: 900_000,
            bonds_penalty: u16::MAX,
            bonding: Bonding::Classic,
            miner_share: 500_000,
            layer: Layer::default(),
        }
    }
}
