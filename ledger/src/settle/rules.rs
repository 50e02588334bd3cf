//! The parameters in force, as the aggregator and the reward rules take them.

use assay_chain_spec::Params;
use assay_consensus::{
    aggregate::{Method, Rules},
    rewards::{self, Bonding, LiquidAlpha},
};

/// How scores are aggregated. A number that names no method, which the parameter's bounds exclude, is the default.
pub(super) fn aggregation(params: &Params) -> Rules {
    let u32_of = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
    Rules {
        method: Method::from_code(params.aggregation).unwrap_or_default(),
        min_validators: u32_of(params.min_reports),
        cut_off_milli: u32_of(params.outlier_cut_off),
        mad_floor_ppm: u32_of(params.outlier_floor),
        trim_ppm: u32_of(params.aggregation_trim),
    }
}

/// How the emission is shared out.
pub(super) fn rewards(params: &Params) -> rewards::Params {
    let u16_of = |value: u64| u16::try_from(value).unwrap_or(u16::MAX);
    let liquid = LiquidAlpha {
        low: u16_of(params.alpha_low),
        high: u16_of(params.alpha_high),
        steepness: u16_of(params.alpha_steepness),
    };
    let bonding = match params.bonding {
        0 => Bonding::Classic,
        1 => Bonding::Yuma3 { liquid_alpha: None },
        _ => Bonding::Yuma3 { liquid_alpha: Some(liquid) },
    };
    rewards::Params {
        kappa: u16_of(params.kappa),
        bonds_moving_average: u32::try_from(params.bonds_moving_average).unwrap_or(u32::MAX),
        bonds_penalty: u16_of(params.bonds_penalty),
        bonding,
        ..rewards::Params::default()
    }
}
