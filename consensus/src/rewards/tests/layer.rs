//! The layer over Yuma, and how the emission is shared and halved.

use super::super::layer::{Entropy, Layer, OneOut, contributions, modified_entropy};
use super::super::{Input, InputError, Output, Params, emission_at, epoch};
use super::{assert_near, float};
use fixed::types::I32F32;
use proptest::prelude::*;

/// What 32 fractional bits and a hundred roundings may cost.
const ROUNDING: f64 = 1e-7;

fn scores(most: usize) -> impl Strategy<Value = Vec<I32F32>> {
    // Few distinct values, so that ties come.
    let score = prop_oneof![0i64..=(1 << 32), (0i64..=4).prop_map(|quarter| quarter << 30)];
    prop::collection::vec(score.prop_map(I32F32::from_bits), 1..most)
}

fn one_out() -> impl Strategy<Value = OneOut> {
    prop_oneof![Just(49_151u16), Just(32_767), 1u16..u16::MAX].prop_map(|discount| OneOut { discount })
}

/// `Q`, by its definition.
fn value(scores: &[f64], g: f64) -> f64 {
    let mut ranked = scores.to_vec();
    ranked.sort_by(|a, b| b.total_cmp(a));
    ranked.iter().rev().fold(0.0, |behind, score| score + g * behind)
}

fn total(shares: &[I32F32]) -> f64 {
    shares.iter().map(|share| float(*share)).sum()
}

/// `count` shares in proportion of their weights, rounded down.
fn group() -> impl Strategy<Value = Vec<I32F32>> {
    prop::collection::vec(prop_oneof![Just(0u64), 1u64..1_000], 1..40).prop_map(|weights| {
        let whole = weights.iter().sum::<u64>().max(1);
        weights.iter().map(|w| I32F32::from_bits(((w << 32) / whole) as i64)).collect()
    })
}

fn entropy() -> impl Strategy<Value = Entropy> {
    prop_oneof![Just(250_000u32), 0u32..=1_000_000].prop_map(|beta| Entropy { beta })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    #[test]
    fn a_contribution_is_what_the_market_would_lose(scores in scores(12), one_out in one_out()) {
        let plain: Vec<f64> = scores.iter().map(|s| float(*s)).collect();
        let g = f64::from(one_out.discount) / 65_535.0;
        let whole = value(&plain, g);
        let found = contributions(one_out, &scores);
        for (j, found) in found.iter().enumerate() {
            let mut without = plain.clone();
            without.remove(j);
            let lost = if whole > 0.0 { (whole - value(&without, g)) / whole } else { 0.0 };
            // Scores of a few bits have a value whose own rounding shows.
            let tolerance = ROUNDING + 1e-15 / whole.max(1e-9);
            prop_assert!((float(*found) - lost).abs() <= tolerance, "{j}: {found}, expected {lost}");
        }
        prop_assert!(found.iter().all(|share| *share >= I32F32::ZERO));
        prop_assert!(found.iter().sum::<I32F32>() <= I32F32::ONE);
    }

    #[test]
    fn equal_scores_contribute_equally_in_any_order(
        (scores, shuffled) in scores(24).prop_flat_map(|scores| {
            let order: Vec<usize> = (0..scores.len()).collect();
            (Just(scores), Just(order).prop_shuffle())
        }),
        one_out in one_out(),
    ) {
        let found = contributions(one_out, &scores);
        for (a, x) in scores.iter().zip(&found) {
            for (b, y) in scores.iter().zip(&found) {
                prop_assert!(a != b || x == y);
            }
        }
        let renamed: Vec<_> = shuffled.iter().map(|j| scores[*j]).collect();
        let expected: Vec<_> = shuffled.iter().map(|j| found[*j]).collect();
        prop_assert_eq!(contributions(one_out, &renamed), expected);
    }

    #[test]
    fn copies_of_a_miner_earn_little_more_than_it_did(
        scores in scores(12),
        one_out in one_out(),
        copies in 2usize..24,
        worse in prop::collection::vec(0i64..=(1 << 32), 24),
    ) {
        let g = f64::from(one_out.discount) / 65_535.0;
        let k = copies as f64;
        let once = float(contributions(one_out, &scores)[0]);
        let mut split = scores.clone();
        split.extend(vec![scores[0]; copies - 1]);
        let found = contributions(one_out, &split);
        let earned = float(found[0]) + total(&found[scores.len()..]);
        prop_assert!(earned <= k * g.powf(k - 1.0) * once + k * ROUNDING, "{earned} after {once}");
        if one_out.discount <= 32_767 {
            prop_assert!(earned <= once + k * ROUNDING);
        }
        // Copies that score less bring no more than all together would be missed.
        let mut split = scores.clone();
        split.extend(worse[..copies - 1].iter().map(|bits| scores[0].min(I32F32::from_bits(*bits))));
        let found = contributions(one_out, &split);
        let earned = float(found[0]) + total(&found[scores.len()..]);
        let bound = (1.0 - g.powf(k)) / (1.0 - g);
        prop_assert!(earned <= bound * once + k * ROUNDING, "{earned} after {once}");
    }

    #[test]
    fn entropy_is_what_its_formula_says(shares in group(), empty in 0usize..20, entropy in entropy()) {
        let f: Vec<f64> = shares.iter().map(|share| float(*share)).filter(|f| *f > 0.0).collect();
        let count = shares.len() + empty;
        let plain: f64 = f.iter().map(|f| -f * f.ln()).sum();
        let effective = f.iter().map(|f| f * f).sum::<f64>().recip();
        let evenness = if f.is_empty() { 1.0 } else { (effective / count as f64).min(1.0) };
        let expected = plain * evenness.powf(f64::from(entropy.beta) / 1e6);
        let found = float(modified_entropy(entropy, &shares, count));
        prop_assert!((found - expected).abs() < ROUNDING, "{found}, expected {expected}");
    }

    #[test]
    fn empty_keys_never_raise_a_groups_entropy(shares in group(), empty in 1usize..1_000, entropy in entropy()) {
        let (before, after) = (shares.len(), shares.len() + empty);
        let padded = modified_entropy(entropy, &shares, after);
        prop_assert!(padded <= modified_entropy(entropy, &shares, before));
    }

    #[test]
    fn splitting_a_key_adds_at_most_a_logarithm(shares in group(), k in 2usize..64, entropy in entropy()) {
        let f = float(shares[0]);
        let mut split = shares.clone();
        split[0] = I32F32::from_bits(shares[0].to_bits() / k as i64);
        split.extend(vec![split[0]; k - 1]);
        let flat = Entropy { beta: 0 };
        let before = float(modified_entropy(flat, &shares, shares.len()));
        let after = float(modified_entropy(entropy, &split, split.len()));
        prop_assert!(after <= before + f * (k as f64).ln() + ROUNDING, "{after} after {before}");
    }
}

/// Two validators of equal stake and five miners, of whom all think alike.
fn market(given: [f64; 5]) -> Input {
    let row: Vec<_> = (2u16..).zip(given.map(I32F32::from_num)).collect();
    let is_validator: Vec<bool> = (0..7).map(|uid| uid < 2).collect();
    Input {
        stake: vec![10, 10, 0, 0, 0, 0, 0],
        active: vec![true; 7],
        permit: is_validator.clone(),
        new_permit: is_validator,
        last_update: vec![1; 7],
        registered: vec![0; 7],
        last_epoch: 1,
        weights: vec![row.clone(), row, vec![], vec![], vec![], vec![], vec![]],
        bonds: vec![vec![]; 7],
        emission: 1_000_000_000,
        ..Input::default()
    }
}

/// What miners and validators take, as shares of the emission.
fn pools(output: &Output) -> (f64, f64) {
    let of = |amounts: &[u64]| amounts.iter().sum::<u64>() as f64 / 1e9;
    (of(&output.server_emission), of(&output.validator_emission))
}

#[test]
fn a_miners_share_of_three_tenths_is_paid_as_such() {
    for (ppm, miners) in [(0, 0.0), (300_000, 0.3), (500_000, 0.5), (1_000_000, 1.0)] {
        let params = Params { miner_share: ppm, ..Params::default() };
        let (found, validators) = pools(&epoch(&params, &market([0.4, 0.3, 0.2, 0.1, 0.0])).unwrap());
        assert_near(&[found, validators], &[miners, 1.0 - miners], 1e-8, "pools");
    }
    // Only one side has shares, and takes all.
    let alone = epoch(&Params { miner_share: 1_000_000, ..Params::default() }, &market([0.0; 5])).unwrap();
    assert_near(&[pools(&alone).0, pools(&alone).1], &[0.0, 1.0], 1e-8, "validators alone");
}

#[test]
fn one_out_pays_the_miners_what_they_add_and_leaves_the_rest() {
    let layer = Layer { one_out: Some(OneOut { discount: 32_767 }), entropy: None };
    let params = Params { layer, ..Params::default() };
    let yuma = epoch(&Params::default(), &market([0.4, 0.3, 0.2, 0.1, 0.0])).unwrap();
    let output = epoch(&params, &market([0.4, 0.3, 0.2, 0.1, 0.0])).unwrap();
    // g = 1/2: Q = .4 + .15 + .05 + .0125; the first is worth .4 - (.3 + .1 + .025) / 2, and so on.
    let q = 0.6125;
    let lost = [0.1875, 0.0875, 0.0375, 0.0125, 0.0].map(|c| c / q);
    let found: Vec<f64> = output.contribution[2..].iter().map(|c| float(*c)).collect();
    assert_near(&found, &lost, 2e-5, "contributions"); // 32767/65535 is not quite a half
    let paid: Vec<f64> = output.server_emission[2..].iter().map(|x| *x as f64 / 1e9).collect();
    assert_near(&paid, &lost.map(|c| c / 2.0), 2e-5, "paid");
    assert_eq!(output.validator_emission, yuma.validator_emission);
    let sum: u64 = output.server_emission.iter().chain(&output.validator_emission).sum();
    assert_eq!(sum + output.remainder, 1_000_000_000);
    // Yuma's own results are untouched.
    let bare = Output {
        contribution: vec![],
        server_emission: yuma.server_emission.clone(),
        combined_emission: yuma.combined_emission.clone(),
        remainder: yuma.remainder,
        ..output
    };
    assert_eq!(bare, yuma);

    let single = epoch(&params, &market([1.0, 0.0, 0.0, 0.0, 0.0])).unwrap();
    assert_eq!(single.contribution[2], I32F32::ONE);
    assert_eq!(single.server_emission[2], 500_000_000);
}

#[test]
fn entropy_gives_the_larger_group_the_larger_pool_unless_one_key_is_all_of_a_group() {
    let layer = Layer { one_out: None, entropy: Some(Entropy { beta: 0 }) };
    let params = Params { layer, ..Params::default() };
    let (miners, validators) = pools(&epoch(&params, &market([0.25, 0.25, 0.25, 0.25, 0.0])).unwrap());
    // Four against two: ln 4 to ln 2.
    assert_near(&[miners, validators], &[2.0 / 3.0, 1.0 / 3.0], 1e-8, "pools");

    let padded = Layer { entropy: Some(Entropy::default()), ..layer };
    let (padded, _) =
        pools(&epoch(&Params { layer: padded, ..params }, &market([0.25, 0.25, 0.25, 0.25, 0.0])).unwrap());
    let f = 4f64.ln() * 0.8f64.powf(0.25);
    assert_near(&[padded], &[f / (f + 2f64.ln())], 1e-8, "with a key that earns nothing");

    let (alone, _) = pools(&epoch(&params, &market([1.0, 0.0, 0.0, 0.0, 0.0])).unwrap());
    assert_near(&[alone], &[0.5], 1e-8, "a single miner");
}

#[test]
fn parameters_out_of_range_are_refused() {
    let refused = |params: Params| epoch(&params, &market([1.0; 5])).unwrap_err();
    let plain = Params::default();
    assert_eq!(refused(Params { miner_share: 1_000_001, ..plain }), InputError::MinerShare { found: 1_000_001 });
    for discount in [0, u16::MAX] {
        let layer = Layer { one_out: Some(OneOut { discount }), entropy: None };
        assert_eq!(refused(Params { layer, ..plain }), InputError::Discount { found: discount });
    }
    let layer = Layer { one_out: None, entropy: Some(Entropy { beta: 1_000_001 }) };
    assert_eq!(refused(Params { layer, ..plain }), InputError::Beta { found: 1_000_001 });
}

#[test]
fn the_emission_halves_and_ends() {
    assert_eq!(
        [0, 9, 10, 19, 20, 29, 30].map(|epoch| emission_at(1_001, 10, epoch)),
        [1001, 1001, 500, 500, 250, 250, 125]
    );
    assert_eq!(emission_at(7, 0, u64::MAX), 7);
    assert_eq!(emission_at(u64::MAX, 1, 63), 1);
    for epoch in [64, 65, 1 << 32, (1 << 32) + 1, u64::MAX] {
        assert_eq!(emission_at(u64::MAX, 1, epoch), 0);
    }
    let all: u64 = (0..700).map(|epoch| emission_at(1_000, 10, epoch)).sum();
    assert!(all <= 2 * 1_000 * 10);
}
