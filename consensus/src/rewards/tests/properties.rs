//! Over random subnets, malformed and extreme ones among them.

use super::super::layer::{Entropy, Layer, OneOut};
use super::super::{Bonding, Input, InputError, Layout, LiquidAlpha, Output, Params, epoch, epoch_in, permits};
use fixed::types::I32F32;
use proptest::prelude::*;
use std::collections::BTreeSet;

/// Per uid: stake, active, permit, new permit, last update, registered.
type Key = (u64, bool, bool, bool, u64, u64);

fn key() -> impl Strategy<Value = Key> {
    let stake = prop_oneof![Just(0), 1u64..1000, any::<u64>()];
    let mostly = || prop::bool::weighted(0.8);
    (stake, mostly(), mostly(), mostly(), 0u64..4, 0u64..4)
}

fn weight() -> impl Strategy<Value = I32F32> {
    let bits = prop_oneof![Just(0), 1i64..4, 0i64..=(1 << 32), Just(i64::MAX)];
    bits.prop_map(I32F32::from_bits)
}

fn row<T: Clone + std::fmt::Debug>(n: usize, value: impl Strategy<Value = T>) -> impl Strategy<Value = Vec<(u16, T)>> {
    let entries = prop::collection::btree_map(0..n as u16, value, 0..=n);
    entries.prop_map(|entries| entries.into_iter().collect())
}

fn input() -> impl Strategy<Value = Input> {
    (1usize..9).prop_flat_map(|n| {
        (
            prop::collection::vec(key(), n),
            prop::collection::vec(row(n, weight()), n),
            prop::collection::vec(row(n, any::<u16>()), n),
            prop::collection::btree_set((0..n as u16, 0..n as u16), 0..4),
            prop_oneof![Just(0), Just(u64::MAX), any::<u64>()],
            0u64..4,
        )
            .prop_map(|(keys, weights, bonds, flagged, emission, last_epoch)| Input {
                stake: keys.iter().map(|k| k.0).collect(),
                active: keys.iter().map(|k| k.1).collect(),
                permit: keys.iter().map(|k| k.2).collect(),
                new_permit: keys.iter().map(|k| k.3).collect(),
                last_update: keys.iter().map(|k| k.4).collect(),
                registered: keys.iter().map(|k| k.5).collect(),
                last_epoch,
                weights,
                bonds,
                flagged,
                emission,
            })
    })
}

fn params() -> impl Strategy<Value = Params> {
    let liquid = (any::<u16>(), any::<u16>(), any::<u16>()).prop_map(|(a, b, steepness)| LiquidAlpha {
        low: a.min(b),
        high: a.max(b),
        steepness,
    });
    let bonding = prop_oneof![
        Just(Bonding::Classic),
        prop::option::of(liquid).prop_map(|liquid_alpha| Bonding::Yuma3 { liquid_alpha }),
    ];
    let usual = prop_oneof![Just(32_767u16), any::<u16>()];
    let penalty = prop_oneof![Just(0), Just(u16::MAX), any::<u16>()];
    let miner_share = prop_oneof![Just(500_000), Just(0), Just(1_000_000), 0u32..=1_000_000];
    (usual, 0u32..=1_000_000, penalty, bonding, miner_share, layer()).prop_map(
        |(kappa, average, penalty, bonding, miner_share, layer)| Params {
            kappa,
            bonds_moving_average: average,
            bonds_penalty: penalty,
            bonding,
            miner_share,
            layer,
        },
    )
}

fn layer() -> impl Strategy<Value = Layer> {
    let one_out = prop::option::of((1u16..u16::MAX).prop_map(|discount| OneOut { discount }));
    let entropy = prop::option::of((0u32..=1_000_000).prop_map(|beta| Entropy { beta }));
    (one_out, entropy).prop_map(|(one_out, entropy)| Layer { one_out, entropy })
}

/// `input` with uid `k` renamed to `to[k]`.
fn renamed(input: &Input, to: &[u16]) -> Input {
    fn moved<T: Clone>(list: &[T], to: &[u16]) -> Vec<T> {
        let mut out = list.to_vec();
        for (k, x) in list.iter().enumerate() {
            out[usize::from(to[k])] = x.clone();
        }
        out
    }
    fn rows<T: Copy>(matrix: &[Vec<(u16, T)>], to: &[u16]) -> Vec<Vec<(u16, T)>> {
        let mut out = moved(matrix, to);
        for row in &mut out {
            row.iter_mut().for_each(|(j, _)| *j = to[usize::from(*j)]);
            row.sort_unstable_by_key(|(j, _)| *j);
        }
        out
    }
    Input {
        stake: moved(&input.stake, to),
        active: moved(&input.active, to),
        permit: moved(&input.permit, to),
        new_permit: moved(&input.new_permit, to),
        last_update: moved(&input.last_update, to),
        registered: moved(&input.registered, to),
        last_epoch: input.last_epoch,
        weights: rows(&input.weights, to),
        bonds: rows(&input.bonds, to),
        flagged: input.flagged.iter().map(|(i, j)| (to[usize::from(*i)], to[usize::from(*j)])).collect(),
        emission: input.emission,
    }
}

fn paid(output: &Output) -> u128 {
    let amounts = output.server_emission.iter().chain(&output.validator_emission);
    amounts.map(|x| u128::from(*x)).sum()
}

/// Three uids that validate and one that mines, ready to run.
fn small(weights: [i64; 3]) -> Input {
    Input {
        stake: vec![10, 10, 10, 0],
        active: vec![true; 4],
        permit: vec![true, true, true, false],
        new_permit: vec![true, true, true, false],
        last_update: vec![1; 4],
        registered: vec![0; 4],
        last_epoch: 1,
        weights: weights.map(|w| vec![(3, I32F32::from_num(w))]).into_iter().chain([vec![]]).collect(),
        bonds: vec![vec![]; 4],
        emission: 1_000,
        ..Input::default()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12_000))]

    #[test]
    fn the_dense_layout_gives_what_the_sparse_one_does(params in params(), input in input()) {
        let sparse = epoch_in(Layout::Sparse, &params, &input).unwrap();
        prop_assert_eq!(&sparse, &epoch_in(Layout::Dense, &params, &input).unwrap());
        prop_assert_eq!(&sparse, &epoch(&params, &input).unwrap());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(768))]

    #[test]
    fn shares_sum_to_at_most_one_and_emission_is_accounted_for_to_the_grain(params in params(), input in input()) {
        let output = epoch(&params, &input).unwrap();
        for shares in [&output.stake, &output.incentive, &output.dividends] {
            prop_assert!(shares.iter().sum::<I32F32>() <= I32F32::ONE);
        }
        let unit = I32F32::ZERO..=I32F32::ONE;
        for shares in [
            &output.stake, &output.incentive, &output.dividends, &output.consensus,
            &output.ranks, &output.trust, &output.validator_trust,
        ] {
            prop_assert_eq!(shares.len(), input.stake.len());
            prop_assert!(shares.iter().all(|x| unit.contains(x)));
        }
        prop_assert_eq!(paid(&output) + u128::from(output.remainder), u128::from(input.emission));
        let combined: u128 = output.combined_emission.iter().map(|x| u128::from(*x)).sum();
        prop_assert!(combined <= u128::from(input.emission));
    }

    #[test]
    fn an_epochs_bonds_are_valid_input_of_the_next(params in params(), input in input()) {
        let bonds = epoch(&params, &input).unwrap().bonds;
        let next = Input { bonds, ..input };
        prop_assert!(epoch(&params, &next).is_ok());
    }

    #[test]
    fn renaming_uids_renames_the_result_and_changes_nothing_else(
        params in params(),
        (input, to) in input().prop_flat_map(|input| {
            let uids: Vec<u16> = (0..input.stake.len() as u16).collect();
            (Just(input), Just(uids).prop_shuffle())
        }),
    ) {
        let (a, b) = (epoch(&params, &input).unwrap(), epoch(&params, &renamed(&input, &to)).unwrap());
        for (k, to) in to.iter().map(|k| usize::from(*k)).enumerate() {
            prop_assert_eq!(a.consensus[k], b.consensus[to]);
            prop_assert_eq!(a.incentive[k], b.incentive[to]);
            prop_assert_eq!(a.dividends[k], b.dividends[to]);
            prop_assert_eq!(a.trust[k], b.trust[to]);
            prop_assert_eq!(a.server_emission[k], b.server_emission[to]);
            prop_assert_eq!(a.validator_emission[k], b.validator_emission[to]);
            prop_assert_eq!(a.bonds[k].len(), b.bonds[to].len());
        }
    }

    #[test]
    fn leaving_out_zero_weights_changes_nothing(params in params(), input in input()) {
        let mut sparse = input.clone();
        sparse.weights.iter_mut().for_each(|row| row.retain(|(_, w)| *w > I32F32::ZERO));
        sparse.bonds.iter_mut().for_each(|row| row.retain(|(_, b)| *b > 0));
        let (a, mut b) = (epoch(&params, &input).unwrap(), epoch(&params, &sparse).unwrap());
        // Rows that are kept untouched keep their zeros too.
        for (k, row) in b.bonds.iter_mut().enumerate() {
            if !input.permit[k] && !input.new_permit[k] {
                row.clone_from(&input.bonds[k]);
            }
        }
        prop_assert_eq!(a, b);
    }

    #[test]
    fn flags_take_trust_and_bonds_but_neither_consensus_nor_incentive(params in params(), input in input()) {
        let free = epoch(&params, &Input { flagged: BTreeSet::new(), ..input.clone() }).unwrap();
        let flagged = epoch(&params, &input).unwrap();
        prop_assert_eq!(&free.consensus, &flagged.consensus);
        prop_assert_eq!(&free.ranks, &flagged.ranks);
        prop_assert_eq!(&free.incentive, &flagged.incentive);
        for (free, flagged) in free.validator_trust.iter().zip(&flagged.validator_trust) {
            prop_assert!(flagged <= free);
        }
        for (i, row) in free.bonds.iter().enumerate() {
            let concerned = input.flagged.iter().any(|(v, _)| usize::from(*v) == i);
            // Yuma3 bonds of one validator do not depend on those of another.
            if !concerned && matches!(params.bonding, Bonding::Yuma3 { .. }) {
                prop_assert_eq!(row, &flagged.bonds[i]);
            }
        }
    }

    #[test]
    fn a_cabal_of_49_percent_cannot_raise_its_miners_consensus_above_the_honest_weight(
        honest in prop::collection::vec((1u64..1_000_000, 0i64..1000, 1i64..1000), 1..8),
        cabal in prop::collection::vec((1u64..1_000_000, 0i64..1000, 0i64..1000), 1..8),
    ) {
        // Scale so that the cabal has 49 % whatever was drawn.
        let sum = |team: &[(u64, i64, i64)]| team.iter().map(|k| k.0).sum::<u64>();
        let (of_honest, of_cabal) = (sum(&honest), sum(&cabal));
        let validators = honest.len() + cabal.len();
        let (miner, other) = (validators as u16, validators as u16 + 1);
        let n = validators + 2;
        let mut input = Input {
            active: vec![true; n],
            permit: vec![true; n],
            new_permit: vec![true; n],
            last_update: vec![1; n],
            registered: vec![0; n],
            last_epoch: 1,
            weights: vec![vec![]; n],
            bonds: vec![vec![]; n],
            emission: 1_000_000,
            ..Input::default()
        };
        let mut highest = I32F32::ZERO;
        for (k, (stake, own, rest)) in honest.iter().chain(&cabal).enumerate() {
            let is_honest = k < honest.len();
            input.stake.push(stake * if is_honest { 51 * of_cabal } else { 49 * of_honest });
            // The cabal gives all to its miner or any mix; honest validators what they drew.
            input.weights[k] = vec![(miner, I32F32::from_num(*own)), (other, I32F32::from_num(*rest))];
            if is_honest {
                highest = highest.max(I32F32::from_bits((own << 32) / (own + rest)));
            }
        }
        input.stake.extend([0, 0]);
        let output = epoch(&Params::default(), &input).unwrap();
        prop_assert!(output.consensus[usize::from(miner)] <= highest);
    }
}

#[test]
fn without_stake_weights_or_permits_nothing_panics_and_nobody_is_paid_twice() {
    let empty = epoch(&Params::default(), &Input { emission: 7, ..Input::default() }).unwrap();
    assert_eq!((empty.remainder, empty.stake.len()), (7, 0));

    let no_weights = epoch(&Params::default(), &Input { weights: vec![vec![]; 4], ..small([0; 3]) }).unwrap();
    assert_eq!(no_weights.validator_emission, [333, 333, 333, 0]);
    assert_eq!(no_weights.remainder, 1);
    assert_eq!(epoch(&Params::default(), &small([0; 3])).unwrap(), no_weights);

    let no_stake = epoch(&Params::default(), &Input { stake: vec![0; 4], ..small([1; 3]) }).unwrap();
    assert_eq!((paid(&no_stake), no_stake.remainder), (0, 1_000));

    let no_permit = Input { permit: vec![false; 4], ..small([1; 3]) };
    assert_eq!(epoch(&Params::default(), &no_permit).unwrap().validator_emission, [333, 333, 333, 0]);
}

#[test]
fn a_flagged_validator_earns_no_dividends_from_the_entry() {
    let flagged = Input { flagged: BTreeSet::from([(2, 3)]), ..small([5; 3]) };
    let output = epoch(&Params::default(), &flagged).unwrap();
    assert_eq!(output.validator_emission, [250, 250, 0, 0]);
    assert_eq!(output.server_emission, [0, 0, 0, 500]);
    assert_eq!(output.validator_trust[2], I32F32::ZERO);
}

#[test]
fn bonds_to_a_key_registered_at_the_last_epoch_or_later_are_dropped() {
    let bonds = vec![vec![(3, 65_535)], vec![], vec![], vec![]];
    let paid = |registered: u64| {
        let mut input = small([1; 3]);
        input.last_update = vec![9; 4];
        input.last_epoch = 5;
        input.registered[3] = registered;
        input.bonds.clone_from(&bonds);
        epoch(&Params::default(), &input).unwrap().dividends
    };
    let (before, at, after) = (paid(4), paid(5), paid(6));
    assert!(before[0] > before[1]);
    assert_eq!(at[0], at[1]);
    assert_eq!(at, after);
}

#[test]
fn permits_go_to_the_largest_stakes_that_are_not_zero() {
    assert_eq!(permits(&[5, 0, 9, 7], 2), [false, false, true, true]);
    assert_eq!(permits(&[5, 0, 9, 7], 9), [true, false, true, true]);
    assert_eq!(permits(&[5, 5, 5], 1), [false, false, true]);
    assert_eq!(permits(&[0, 0], 2), [false, false]);
    assert_eq!(permits(&[u64::MAX; 3], 3), [true; 3]);
}

#[test]
fn malformed_input_is_refused_with_what_is_wrong() {
    let refused = |change: fn(&mut Input)| {
        let mut input = small([1; 3]);
        change(&mut input);
        epoch(&Params::default(), &input).unwrap_err()
    };
    let length = refused(|input| input.permit.truncate(1));
    assert_eq!(length, InputError::Length { field: "permit", expected: 4, found: 1 });
    let unknown = refused(|input| input.bonds[0].push((4, 1)));
    assert_eq!(unknown, InputError::UnknownUid { field: "bonds", row: 0, found: 4, uids: 4 });
    let twice = refused(|input| input.weights[1].push((3, I32F32::ONE)));
    assert_eq!(twice, InputError::RowOrder { field: "weights", row: 1, found: 3 });
    let negative = refused(|input| input.weights[1][0].1 = I32F32::NEG_ONE);
    assert!(matches!(negative, InputError::NegativeWeight { validator: 1, miner: 3, .. }));
    let flagged = refused(|input| assert!(input.flagged.insert((0, 9))));
    assert!(matches!(flagged, InputError::UnknownUid { field: "flagged", found: 9, .. }));

    let params = Params { bonds_moving_average: 1_000_001, ..Params::default() };
    assert_eq!(epoch(&params, &small([1; 3])), Err(InputError::MovingAverage { found: 1_000_001 }));
    let liquid = LiquidAlpha { low: 2, high: 1, steepness: 1 };
    let bonding = Bonding::Yuma3 { liquid_alpha: Some(liquid) };
    assert_eq!(
        epoch(&Params { bonding, ..Params::default() }, &small([1; 3])),
        Err(InputError::AlphaRange { low: 2, high: 1 })
    );
}
