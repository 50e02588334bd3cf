//! The parameters in force, as the aggregator and the reward rules take them.

use assay_chain_spec::Params;
use assay_consensus::{
    aggregate::{Method, Rules},
    rewards::{self, Bonding, Entropy, Layer, LiquidAlpha, OneOut},
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
    let u32_of = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
    let on = |value: u64| (value > 0).then_some(value);
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
        bonds_moving_average: u32_of(params.bonds_moving_average),
        bonds_penalty: u16_of(params.bonds_penalty),
        bonding,
        // From basis points to millionths.
        miner_share: u32_of(params.emission_miners.saturating_mul(100)),
        layer: Layer {
            one_out: on(params.one_out).map(|discount| OneOut { discount: u16_of(discount) }),
            entropy: on(params.entropy).map(|beta| Entropy { beta: u32_of(beta) }),
        },
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_presets_are_the_defaults_of_aggregator_and_rewards() {
        for params in [Params::dev(), Params::testnet()] {
            assert_eq!(aggregation(&params), Rules::default());
            assert_eq!(rewards(&params), rewards::Params::default());
        }
    }

    #[test]
    fn each_number_reaches_the_rule_it_names() {
        let mut params = Params::dev();
        let names: [(&str, u64); 9] = [
            ("aggregation", 3),
            ("outlier_cut_off", 5000),
            ("aggregation_trim", 250_000),
            ("kappa", 40_000),
            ("bonding", 2),
            ("alpha_low", 100),
            ("emission_miners", 4100),
            ("one_out", 49_151),
            ("entropy", 250_000),
        ];
        for (name, value) in names {
            params.set(name, value).unwrap();
        }
        let rules = aggregation(&params);
        assert_eq!((rules.method, rules.cut_off_milli, rules.trim_ppm), (Method::TrimmedMean, 5000, 250_000));
        let found = rewards(&params);
        assert_eq!((found.kappa, found.miner_share), (40_000, 410_000));
        let liquid = LiquidAlpha { low: 100, ..LiquidAlpha::default() };
        assert_eq!(found.bonding, Bonding::Yuma3 { liquid_alpha: Some(liquid) });
        let layer = Layer { one_out: Some(OneOut { discount: 49_151 }), entropy: Some(Entropy { beta: 250_000 }) };
        assert_eq!(found.layer, layer);
    }
}
