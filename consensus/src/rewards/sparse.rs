//! An epoch over sparse rows, stage by stage as the parent module's formulas have it. Fastest where most entries are
//! absent, and the plainer of the two layouts: what [`dense`](super::dense) gives is compared with it.

use super::arith::{div, from_u16, normalize, to_u16};
use super::bonds::{Basis, bonds_and_dividends};
use super::matrix::{
    Matrix, clipped_columns, filtered, interpolated, normalize_rows, row_sums, stake_medians, weighted_column_sums,
};
use super::{Input, Params, Row, Weighed};
use fixed::types::I32F32;

/// Consensus, incentive, bonds and dividends of a checked input.
pub(super) fn weigh(params: &Params, input: &Input, stake: &[I32F32]) -> Weighed {
    let n = stake.len();
    let weights = admitted_weights(input);

    let consensus = stake_medians(stake, &weights, n, from_u16(params.kappa));
    let clipped = clipped_columns(&weights, &consensus);
    let ranks = weighted_column_sums(&clipped, stake, n);
    let mut incentive = ranks.clone();
    normalize(&mut incentive);

    let unflagged = |i: usize, j: u16| !input.flagged.contains(&(i as u16, j)); // i < n <= 65536
    let weights = filtered(&weights, unflagged);
    let clipped = filtered(&clipped, unflagged);
    let given = weighted_column_sums(&weights, stake, n);
    let upheld = weighted_column_sums(&clipped, stake, n);
    let trust = upheld.iter().zip(&given).map(|(u, g)| div(*u, *g)).collect();
    let validator_trust = row_sums(&clipped);

    let basis = Basis {
        stake,
        weights: &interpolated(&weights, &clipped, from_u16(params.bonds_penalty)),
        bonds: standing_bonds(input),
        consensus: &consensus,
        incentive: &incentive,
    };
    let (bonds, dividends) = bonds_and_dividends(params, basis);
    let stored =
        |row: &Row<I32F32>| row.iter().map(|(j, bond)| (*j, to_u16(*bond))).filter(|(_, bond)| *bond > 0).collect();
    Weighed {
        bonds: bonds.iter().map(stored).collect(),
        consensus,
        ranks,
        trust,
        incentive,
        validator_trust,
        dividends,
    }
}

/// Weights that count, rows normalised.
fn admitted_weights(input: &Input) -> Matrix {
    let mut weights = filtered(&input.weights, |i, j| input.admits(i, j));
    normalize_rows(&mut weights);
    weights
}

/// Stored bonds as numbers `0..=65535`, without those to keys registered since the previous epoch.
fn standing_bonds(input: &Input) -> Matrix {
    let standing = |row: &Row<u16>| {
        row.iter().filter(|(j, _)| input.stands(*j)).map(|(j, bond)| (*j, I32F32::from_num(*bond))).collect()
    };
    input.bonds.iter().map(standing).collect()
}
