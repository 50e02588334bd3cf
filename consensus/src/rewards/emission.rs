//! How much there is to pay, how incentive and dividends share it, and who is paid when there are none.
//!
//! ```text
//! miners      a I / (a sum(I) + b sum(D))        a = miner_share, b = 1 - miner_share, equal unless changed:
//! validators  b D / (a sum(I) + b sum(D))        then these are I / sum(I + D) and D / sum(I + D)
//! ```
//!
//! If only one of the sums is above 0 its side takes all, whatever `a` is. With [`Layer::entropy`] `a` and `b` are
//! multiplied by the groups' modified entropies; with [`Layer::one_out`] the miners' `I / sum(I)` is their contribution.

use super::arith::sum;
use super::layer::{contributions, modified_entropy};
use super::{Layer, Params, Weighed};
use fixed::types::I32F32;

/// What an epoch has to pay where it began at `initial` and halves every `halving_epochs`; it never does where these
/// are 0. Rounded down: `floor(initial / 2^(epoch / halving_epochs))`.
///
/// All epochs together pay at most `2 initial halving_epochs`.
#[must_use]
pub fn emission_at(initial: u64, halving_epochs: u64, epoch: u64) -> u64 {
    let halvings = epoch.checked_div(halving_epochs).unwrap_or(0);
    u32::try_from(halvings).ok().and_then(|halvings| initial.checked_shr(halvings)).unwrap_or(0)
}

/// Shares of the emission; `server` and `validator` together sum to at most 1, and so does `combined`.
pub(super) struct Shares {
    pub(super) server: Vec<I32F32>,
    pub(super) validator: Vec<I32F32>,
    pub(super) combined: Vec<I32F32>,
    /// One-out contributions, empty unless they are switched on.
    pub(super) contribution: Vec<I32F32>,
}

impl Shares {
    pub(super) fn new(
        params: &Params,
        permit: &[bool],
        weighed: &Weighed,
        active_stake: &[I32F32],
        all_stake: &[I32F32],
    ) -> Self {
        let Weighed { incentive, dividends, consensus, .. } = weighed;
        let contribution = params.layer.one_out.map_or_else(Vec::new, |one_out| contributions(one_out, consensus));
        let earned = sum(incentive.iter().copied());
        let lent = sum(dividends.iter().copied());
        if earned == 0 && lent == 0 {
            let no_active = active_stake.iter().all(|s| *s == I32F32::ZERO);
            let stake = if no_active { all_stake } else { active_stake };
            return Self {
                server: vec![I32F32::ZERO; incentive.len()],
                validator: stake.to_vec(),
                combined: stake.to_vec(),
                contribution,
            };
        }
        let (a, b) = if earned == 0 || lent == 0 { (1, 1) } else { weights(params, permit, incentive, dividends) };
        let total = a * earned + b * lent;
        // Parts of the total, with 32 fractional bits more. The weights are below 2^57, the sums at most 2^32: below 2^121.
        let of_miner = |j: usize| match contribution.get(j) {
            Some(share) => a * earned * i128::from(share.to_bits()),
            None => (a * i128::from(incentive[j].to_bits())) << 32,
        };
        let of_validator = |j: usize| (b * i128::from(dividends[j].to_bits())) << 32;
        let shares = |part: &dyn Fn(usize) -> i128| -> Vec<I32F32> {
            // fits: a part is at most the total
            (0..incentive.len()).map(|j| I32F32::from_bits((part(j) / total) as i64)).collect()
        };
        Self {
            server: shares(&of_miner),
            validator: shares(&of_validator),
            combined: shares(&|j| of_miner(j) + of_validator(j)),
            contribution,
        }
    }
}

/// What miners and validators weigh, of which one is above 0; both groups earn something.
fn weights(params: &Params, permit: &[bool], incentive: &[I32F32], dividends: &[I32F32]) -> (i128, i128) {
    let plain = (i128::from(params.miner_share), i128::from(1_000_000 - params.miner_share));
    let Layer { entropy: Some(entropy), .. } = params.layer else { return plain };
    let validators = permit.iter().zip(dividends).filter(|(permit, d)| **permit || **d > I32F32::ZERO).count();
    let miners = permit.iter().zip(incentive).filter(|(permit, i)| !**permit || **i > I32F32::ZERO).count();
    let of_miners = modified_entropy(entropy, incentive, miners);
    let of_validators = modified_entropy(entropy, dividends, validators);
    if of_miners == I32F32::ZERO || of_validators == I32F32::ZERO {
        return plain;
    }
    (plain.0 * i128::from(of_miners.to_bits()), plain.1 * i128::from(of_validators.to_bits()))
}
