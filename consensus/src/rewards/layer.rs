//! What a market may lay over Yuma: pay by what each miner adds, and pools by how many really take part. Off unless a
//! market's [`Params`](super::Params) switch it on; then it changes the emission and nothing else: consensus,
//! incentive, bonds and dividends stay Yuma's.
//!
//! # One-out contribution ([`OneOut`])
//!
//! A client asks the best miner first and the next one with chance `g`. The market's value for him is the
//! rank-discounted sum of consensus scores `C`, and a miner's contribution what would be lost without it:
//!
//! ```text
//! Q(S)    = sum_k g^(k-1) s_(k)                      s_(1) >= s_(2) >= ... the scores S, 0 < g < 1
//! c_j     = Q(S) - Q(S without j) = g^(r-1) (s_(r) - (1 - g) T_r)          r the rank of j
//! T_r     = sum_(k>r) g^(k-r-1) s_(k)                                      value of those behind
//! share_j = c_j / Q(S)                               of the miners' pool; what they leave is the remainder
//! ```
//!
//! Properties (each is a test here):
//!
//! - `c_j >= 0`, as those behind are worth at most `s_(r) / (1 - g)`, and shares sum to at most 1: of miners who stand
//!   in for each other each alone is missed less. A single miner's share is 1.
//! - Equal scores contribute equally, whatever their order.
//! - `k` keys with the same score earn together at most `k g^(k-1)` times what one of them earned: each moves the others
//!   a rank back, and the value of the whole only grows. Linear pay, as Yuma's, gives `k` times. At `g <= 1/2` splitting
//!   never pays; at 3/4 it pays at most 1.69 times (three or four keys), and at any `g` nothing in the end.
//! - `k` keys none of which scores above the one that was split earn at most `1 + g + ... + g^(k-1) < 1 / (1 - g)` times
//!   what it earned: together no more than the value that would be lost without them all, by diminishing returns.
//!
//! Shares are of `Q`, not normalised by their own sum, and neither mixed with incentive `I`. A rule that always pays out
//! the whole pool and tells miners apart by score alone must give `k` of `n` equal keys `k / n` of it; so would
//! `norm(c)` and `norm(I c)`, in which all who stand behind shrink by the same `g^(k-1)` and the splitter gains what
//! they lose. The price is that a market of many alike miners pays out little of its pool: it has more than clients ask.
//!
//! # Entropy share ([`Entropy`])
//!
//! The pools of miners and validators are in proportion of the two groups' modified entropies, times
//! [`Params::miner_share`](super::Params::miner_share) and its rest. Source: Allora, "A Self-Improving, Decentralized
//! Intelligence Network", 2024, on rewards.
//!
//! ```text
//! F = (- sum_j f_j ln f_j) (N_eff / N)^beta       N_eff = 1 / sum_j f_j^2
//! ```
//!
//! with `f` the group's incentive or dividends and `N` its size: validators are the keys with a permit or dividends,
//! miners all others and those with incentive. Properties (each is a test here):
//!
//! - Empty keys raise `N` only, and with it lower the group's own pool.
//! - A key of share `f` split into `k` adds at most `f ln k` to the entropy, where the linear count of keys would add
//!   `k - 1`; so `F <= H + f ln k` with `H` the entropy before.
//! - A group that one key alone earns in has no entropy. Paying it nothing would close a market that has just begun:
//!   where either group's `F` is 0 the pools are as without the layer.
//!
//! # Arithmetic
//!
//! Integers. `f ln f` is rounded down for each key, from a logarithm that is at most `2^-32` too low; contributions are
//! taken in 62 fractional bits and rounded down to 32.

use super::arith::{exp, from_u16, ln, mul, saturating_sum};
use borsh::{BorshDeserialize, BorshSerialize};
use fixed::types::I32F32;
use serde::{Deserialize, Serialize};

/// What is laid over Yuma; nothing by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Layer {
    /// Pays miners by what the market would lose without each.
    pub one_out: Option<OneOut>,
    /// Sizes the pools of miners and validators by their modified entropies.
    pub entropy: Option<Entropy>,
}

/// Pay by one-out contribution.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OneOut {
    /// What each rank is worth of the one before, `g`, in 65535ths; 1 to 65534.
    pub discount: u16,
}

impl Default for OneOut {
    /// Three quarters.
    fn default() -> Self {
        Self { discount: 49_151 }
    }
}

/// Pools by modified entropy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entropy {
    /// How much empty keys lower their group's pool, `beta`, in millionths, at most 1 000 000.
    pub beta: u32,
}

impl Default for Entropy {
    /// A quarter, as its source has it.
    fn default() -> Self {
        Self { beta: 250_000 }
    }
}

/// Fractional bits of contributions while they are computed, beyond the 32 of scores.
const EXTRA: u32 = 30;

/// What the market would lose without each miner, as a share of its value; scores are in `0..=1`.
pub(super) fn contributions(one_out: OneOut, scores: &[I32F32]) -> Vec<I32F32> {
    let fine = |score: &I32F32| u128::from(score.to_bits().max(0).unsigned_abs()) << EXTRA;
    let discount = u128::from(from_u16(one_out.discount).to_bits().unsigned_abs());
    let rest = (1u128 << 32) - discount;

    let mut ranked: Vec<usize> = (0..scores.len()).filter(|j| scores[*j] > I32F32::ZERO).collect();
    ranked.sort_by_key(|j| std::cmp::Reverse(scores[*j]));
    // `g^(r-1)` by rank, and the value of all from a rank on: at most the best score over `1 - g`, below 2^79.
    let mut powers = vec![1u128 << (32 + EXTRA)];
    let mut values = vec![0u128; ranked.len() + 1];
    for (r, j) in ranked.iter().enumerate().rev() {
        values[r] = fine(&scores[*j]) + ((discount * values[r + 1]) >> 32);
    }
    for r in 0..ranked.len() {
        powers.push((powers[r] * discount) >> 32);
    }
    let mut lost = vec![0u128; scores.len()];
    for (r, j) in ranked.iter().enumerate().rev() {
        // Equal scores contribute equally: by the formula, and here to the last bit.
        let behind = ranked.get(r + 1).filter(|next| scores[**next] == scores[*j]);
        lost[*j] = match behind {
            Some(next) => lost[*next],
            None => {
                let alone = fine(&scores[*j]).saturating_sub((rest * values[r + 1]) >> 32);
                (powers[r] * alone) >> (32 + EXTRA)
            }
        };
    }
    // Rounding aside the value is the larger.
    let value = values[0].max(lost.iter().sum());
    let share = |lost: &u128| (lost << 32).checked_div(value).unwrap_or(0);
    lost.iter().map(|lost| I32F32::from_bits(i64::try_from(share(lost)).unwrap_or(1 << 32))).collect()
}

/// Modified entropy `F` of a group of `count` keys with these shares of what the group earned.
pub(super) fn modified_entropy(entropy: Entropy, shares: &[I32F32], count: usize) -> I32F32 {
    let earning = || shares.iter().copied().filter(|f| *f > I32F32::ZERO);
    let plain = saturating_sum(earning().map(|f| mul(f, -ln(f))));
    let beta = I32F32::from_bits(((u64::from(entropy.beta) << 32) / 1_000_000) as i64); // fits: beta is 32 bits
    mul(plain, exp(mul(beta, ln(evenness(earning(), count)))))
}

/// `N_eff / N`, at most 1; 1 for an empty group.
fn evenness(shares: impl Iterator<Item = I32F32>, count: usize) -> I32F32 {
    // In 64 fractional bits, exactly; at most one.
    let squares: u128 = shares.map(|f| u128::from(f.to_bits().unsigned_abs()).pow(2)).sum();
    let ratio = (1u128 << 96).checked_div(squares * count as u128).unwrap_or(1 << 32);
    I32F32::from_bits(ratio.min(1 << 32) as i64) // fits: at most one
}
