//! Bonds and dividends: what a validator earns for having weighed a miner early, as the consensus came to.

use super::arith::{div, from_u16, mul, normalize, ratio, sigmoid};
use super::matrix::{Matrix, merged, normalize_columns, scaled_rows, upscale_columns, weighted_row_sums};
use super::{Bonding, LiquidAlpha, Params};
use fixed::types::I32F32;

/// What both ways of bonding start from.
pub(super) struct Basis<'a> {
    /// Active stake, normalised.
    pub(super) stake: &'a [I32F32],
    /// Weights for bonds, `W + beta (Wc - W)`, without flagged entries.
    pub(super) weights: &'a Matrix,
    /// Stored bonds as `0..=65535`, without those to keys registered since.
    pub(super) bonds: Matrix,
    /// Consensus weight of each miner.
    pub(super) consensus: &'a [I32F32],
    /// Incentive of each miner.
    pub(super) incentive: &'a [I32F32],
}

/// New bonds, in `0..=1` as they are to be stored, and dividends, normalised.
pub(super) fn bonds_and_dividends(params: &Params, basis: Basis<'_>) -> (Matrix, Vec<I32F32>) {
    match params.bonding {
        Bonding::Classic => classic(params, basis),
        Bonding::Yuma3 { liquid_alpha } => yuma3(params, liquid_alpha, basis),
    }
}

/// Weight of the new observation in the moving average: `1 - moving_average / 10^6`.
pub(super) fn fixed_alpha(params: &Params) -> I32F32 {
    let kept = ratio(u64::from(params.bonds_moving_average), 1_000_000);
    I32F32::ONE.saturating_sub(kept)
}

/// `alpha new + (1 - alpha) old`.
fn moving_average(new: &Matrix, old: &Matrix, alpha: I32F32) -> Matrix {
    let kept = I32F32::ONE.saturating_sub(alpha);
    merged(new, old, |_, _, new, old| mul(alpha, new).saturating_add(mul(kept, old)))
}

/// `alpha_ij new_ij + (1 - alpha_ij) old_ij`, at most 1. An old bond without a new weight decays; upstream's sparse
/// path drops it at once, its dense path does as here.
pub(super) fn moving_average_by(
    new: &Matrix,
    old: &Matrix,
    alpha: impl Fn(usize, u16, I32F32, I32F32) -> I32F32,
) -> Matrix {
    merged(new, old, |i, j, new, old| {
        let a = alpha(i, j, new, old);
        let decayed = mul(I32F32::ONE.saturating_sub(a), old);
        decayed.saturating_add(mul(a, new).max(I32F32::ZERO)).min(I32F32::ONE)
    })
}

fn classic(params: &Params, basis: Basis<'_>) -> (Matrix, Vec<I32F32>) {
    let columns = basis.incentive.len();
    let mut old = basis.bonds;
    normalize_columns(&mut old, columns);
    let mut delta = scaled_rows(basis.weights, basis.stake);
    normalize_columns(&mut delta, columns);
    let mut bonds = moving_average(&delta, &old, fixed_alpha(params));
    normalize_columns(&mut bonds, columns);
    let mut dividends = weighted_row_sums(&bonds, basis.incentive);
    normalize(&mut dividends);
    upscale_columns(&mut bonds, columns);
    (bonds, dividends)
}

fn yuma3(params: &Params, liquid_alpha: Option<LiquidAlpha>, basis: Basis<'_>) -> (Matrix, Vec<I32F32>) {
    let mut old = basis.bonds;
    for (_, bond) in old.iter_mut().flatten() {
        *bond = div(*bond, I32F32::from_num(u16::MAX));
    }
    let agreed = basis.consensus.iter().any(|c| *c != I32F32::ZERO);
    let bonds = match liquid_alpha {
        Some(liquid) if agreed => {
            let alpha = Alpha::new(liquid);
            moving_average_by(basis.weights, &old, |_, j, weight, bond| {
                alpha.of(basis.consensus[usize::from(j)], weight, bond)
            })
        }
        _ => moving_average(basis.weights, &old, fixed_alpha(params)),
    };
    let mut shares = bonds.clone();
    normalize_columns(&mut shares, basis.incentive.len());
    let mut dividends = weighted_row_sums(&shares, basis.incentive);
    for (dividend, stake) in dividends.iter_mut().zip(basis.stake) {
        *dividend = mul(*dividend, *stake);
    }
    normalize(&mut dividends);
    (bonds, dividends)
}

/// [`LiquidAlpha`] as numbers.
pub(super) struct Alpha {
    low: I32F32,
    high: I32F32,
    steepness: I32F32,
}

impl Alpha {
    pub(super) fn new(liquid: LiquidAlpha) -> Self {
        let steepness = div(I32F32::from_num(liquid.steepness), I32F32::from_num(100));
        Self { low: from_u16(liquid.low), high: from_u16(liquid.high), steepness }
    }

    /// Liquid alpha of one entry: near `low` while weight, bond and consensus are close, near `high` when the validator
    /// buys above the consensus or sells below its bond.
    pub(super) fn of(&self, consensus: I32F32, weight: I32F32, bond: I32F32) -> I32F32 {
        let distance = if weight >= bond { weight.saturating_sub(consensus) } else { bond.saturating_sub(weight) };
        let distance = distance.clamp(I32F32::ZERO, I32F32::ONE);
        let half = I32F32::ONE / 2;
        let along = sigmoid(distance, self.steepness, half);
        self.low.saturating_add(mul(along, self.high.saturating_sub(self.low))).clamp(self.low, self.high)
    }
}
