//! What comes before an epoch: who may set weights, and how a row of weights is written.

use super::arith::{div, from_u16, mul, normalize, ratio};
use fixed::types::I32F32;

/// Stake as shares of the whole, each rounded down.
pub(super) fn stake_shares(stake: &[u64]) -> Vec<I32F32> {
    let total = stake.iter().map(|s| u128::from(*s)).sum();
    stake.iter().map(|s| ratio(*s, total)).collect()
}

/// Who holds a validator permit from now on: the `max_validators` largest stakes, of those that hold any. Of equal
/// stakes the higher uid is taken, as upstream does; a share below `2^-32` of the whole counts as none.
#[must_use]
pub fn permits(stake: &[u64], max_validators: u16) -> Vec<bool> {
    let shares = stake_shares(stake);
    let mut chosen = largest(&shares, usize::from(max_validators));
    for (chosen, share) in chosen.iter_mut().zip(&shares) {
        *chosen &= *share > I32F32::ZERO;
    }
    chosen
}

/// Which are the `k` largest; of equal ones the later.
pub(super) fn largest(values: &[I32F32], k: usize) -> Vec<bool> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by_key(|i| values[*i]); // stable
    let mut chosen = vec![true; values.len()];
    for i in order.iter().take(values.len().saturating_sub(k)) {
        chosen[*i] = false;
    }
    chosen
}

/// Writes a row of non-negative weights in 16 bits so that the largest is 65535, rounded to the nearest. The epoch
/// normalises rows, so a row written this way keeps its meaning to 16 bits; a row of zeros stays one.
#[must_use]
pub fn max_upscale(row: &[I32F32]) -> Vec<u16> {
    let full = I32F32::from_num(u16::MAX);
    let Some(top) = row.iter().copied().max().filter(|top| *top > I32F32::ZERO) else {
        return vec![0; row.len()];
    };
    // Above this the product overflows, and upstream divides first: the last bit differs, so it is kept.
    let divides_first = top > I32F32::from_num(32_768);
    let upscale = |x: &I32F32| {
        let scaled = if divides_first { mul(*x, div(full, top)) } else { div(mul(*x, full), top) };
        scaled.saturating_round().saturating_to_num::<u16>()
    };
    row.iter().map(upscale).collect()
}

/// Whether no weight of the row is more than `limit / 65535` of their sum. A subnet may ask this of every row, so that
/// no validator can put all its weight on one miner.
#[must_use]
pub fn is_max_limited(row: &[u16], limit: u16) -> bool {
    let mut shares: Vec<I32F32> = row.iter().map(|x| I32F32::from_num(*x)).collect();
    normalize(&mut shares);
    let limit = from_u16(limit);
    shares.iter().all(|share| *share <= limit)
}
