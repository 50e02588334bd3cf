//! Scores into money: one epoch of Yuma consensus over one subnet, in integers.
//!
//! ```text
//! stake, permits, weights (each validator's scores of miners)
//!    -> consensus     what the majority of stake gives each miner at least
//!    -> incentive     the weights, clipped at that, over stake         -> miners' half of the emission
//!    -> bonds         moving average of what validators gave, so that early agreement pays
//!    -> dividends     bonds over incentive                             -> validators' half
//! ```
//!
//! # Formulas
//!
//! `i` is a validator, `j` a miner; every uid may be both. Source: the subtensor project, `docs/consensus.md` and
//! `pallets/subtensor/src/epoch` at 14bc6f9 (public domain), whose results are reproduced bit for bit where it
//! asserts integers (`tests/vectors/yuma_upstream.json`).
//!
//! ```text
//! S    = norm(norm(stake) without inactive keys and those without a *previous* permit)
//! W    = weights without rows of keys that have no previous permit, without the diagonal, and without entries whose
//!        row was last updated at or before the registration of the miner; each row normalised
//! C_j  = largest w with sum(S_i : W_ij >= w) >= kappa                kappa = 32767/65535 unless changed
//! Wc   = min(W, C)
//! R_j  = sum_i S_i Wc_ij                 ranks;        I = norm(R)  incentive
//! F    : the flagged entries, none upstream: W' and Wc' are W and Wc without them
//! trust_j           = sum_i S_i Wc'_ij / sum_i S_i W'_ij
//! validator_trust_i = sum_j Wc'_ij
//! Wt   = W' + beta (Wc' - W')                                        beta = bonds_penalty / 65535
//!
//! classic:  dB = colnorm(S o Wt);  B' = colnorm(a dB + (1 - a) colnorm(B));  D = norm_i(sum_j B'_ij I_j)
//!           stored: B' with each column's largest entry scaled to 1;        a = 1 - bonds_moving_average / 10^6
//! Yuma3:    B' = min(1, (1 - a_ij) B_ij + a_ij Wt_ij);  D = norm_i(S_i sum_j colnorm(B')_ij I_j);  stored: B'
//!           a_ij = a, or liquid:  low + (high - low) / (1 + e^(-(steepness/100) (d - 1/2)))
//!           d = clamp(Wt - C) if Wt >= B, else clamp(B - Wt), to 0..=1; `a` if no miner has consensus
//!
//! emission: miners I / sum(I + D), validators D / sum(I + D); if that sum is 0 validators by S, if that is 0 too by
//!           stake, and if there is no stake nobody. What rounding or nobody leaves is the remainder.
//!           With a miner_share m other than a half: m I and (1 - m) D in the place of I and D, unless one side has none.
//! ```
//!
//! A market may lay more over these shares: see [`layer`].
//!
//! Bonds to a key registered at or after the previous epoch are dropped, and only holders of a *new* permit keep
//! bonds. Stored bonds are `floor(65535 B)`. An old bond whose weight is gone decays with the moving average.
//!
//! # Flagged entries
//!
//! An entry the score aggregator rejected ([`crate::aggregate`]) counts neither for trust nor for bonds, so it earns
//! its validator no dividends. It does count for consensus and ranks: the clip at the stake median is what protects
//! these, and dropping reports there would let a minority decide by flagging honest stake. A report that was *invalid*
//! (out of bounds, without stake) is no weight at all: leave it out of [`Input::weights`].
//!
//! # Arithmetic
//!
//! [`I32F32`]: 32 fractional bits. Products round down, quotients towards zero, `x / 0 = 0`, shares in 16 bits are
//! `floor(65535 x)`, amounts `floor(share * emission)`. Shares therefore sum to at most 1 and amounts to at most the
//! emission; [`Output::remainder`] is the exact difference. Sums are exact, so the order of uids matters nowhere
//! except in [`permits`] between equal stakes.
//!
//! # Two layouts
//!
//! [`epoch`] takes sparse rows or dense columns, whichever is faster, and [`epoch_in`] the one it is told. The first is
//! these formulas stage by stage, the second each column in one go; both give the same bits on every input, zeros
//! written out or not. (Upstream's two paths differ.) `make bench-mechanism` measures both.
//!
//! # Use
//!
//! How a settlement goes: scores of every miner are aggregated, the reports rejected on the way are flagged, and the
//! epoch pays.
//!
//! ```
//! use assay_consensus::aggregate::{Bounds, Report, Rules, aggregate};
//! use assay_consensus::rewards::{Input, Params, epoch, permits};
//! use fixed::types::I32F32;
//!
//! let stake = vec![100, 100, 100, 0, 0]; // uids 0, 1, 2 validate; 3 and 4 mine
//! let scores = [(3, [0.9, 0.9, 0.9]), (4, [0.3, 0.3, 0.9])]; // by miner, from each validator
//! let mut input = Input {
//!     active: vec![true; 5],
//!     permit: permits(&stake, 3),
//!     new_permit: permits(&stake, 3),
//!     last_update: vec![10; 5],
//!     registered: vec![0; 5],
//!     last_epoch: 5,
//!     weights: vec![vec![]; 5],
//!     bonds: vec![vec![]; 5],
//!     emission: 1_000_000_000,
//!     stake,
//!     ..Input::default()
//! };
//! for (miner, scores) in scores {
//!     let mut reports = Vec::new();
//!     for (validator, score) in (0u16..).zip(scores) {
//!         let value = I32F32::from_num(score);
//!         let stake = input.stake[usize::from(validator)];
//!         reports.push(Report { value, stake, confidence: I32F32::ONE });
//!         input.weights[usize::from(validator)].push((miner, value));
//!     }
//!     // On `Err` nothing is settled: the miner's previous score stands.
//!     let settled = aggregate(&Rules::default(), Bounds::UNIT, &reports)?;
//!     input.flagged.extend(settled.outliers.iter().map(|o| (o.index as u16, miner)));
//! }
//! assert_eq!(input.flagged.iter().collect::<Vec<_>>(), [&(2, 4)]);
//!
//! let paid = epoch(&Params::default(), &input)?;
//! assert!(paid.server_emission[3] > paid.server_emission[4]);
//! assert!(paid.validator_emission[2] < paid.validator_emission[0]);
//! let total: u64 = paid.server_emission.iter().chain(&paid.validator_emission).sum();
//! assert_eq!(total + paid.remainder, input.emission);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use borsh::{BorshDeserialize, BorshSerialize};
use fixed::types::I32F32;
use std::collections::BTreeSet;

mod admission;
mod arith;
mod bonds;
mod dense;
mod emission;
mod input;
pub mod layer;
mod matrix;
mod params;
pub mod replay;
mod sparse;
#[cfg(test)]
mod tests;

pub use admission::{is_max_limited, max_upscale, permits};
pub use arith::to_u16;
pub use emission::emission_at;
pub use input::InputError;
pub use layer::{Entropy, Layer, OneOut};
pub use params::{Bonding, LiquidAlpha, Params};

use admission::stake_shares;
use arith::{normalize, part_of};
use emission::Shares;

/// One row of a sparse matrix: `(uid, value)`, strictly ascending by uid. A missing entry is 0.
pub type Row<T> = Vec<(u16, T)>;

/// State of a subnet at the end of an epoch. Every list has one entry per uid.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Input {
    /// Stake of each uid, in grain.
    pub stake: Vec<u64>,
    /// Whether the uid set weights recently enough for its stake to count.
    pub active: Vec<bool>,
    /// Permits granted before this epoch: the only ones whose stake and weights count in it.
    pub permit: Vec<bool>,
    /// Permits from now on, see [`permits`]: the only ones that keep bonds.
    pub new_permit: Vec<bool>,
    /// Height of each uid's last weights. Under commit-reveal the height of the *commitment*: what was committed before
    /// a registration then cannot pay the key that took over.
    pub last_update: Vec<u64>,
    /// Height each uid's key was registered at.
    pub registered: Vec<u64>,
    /// Height of the previous epoch. Bonds to keys registered at or after it are dropped.
    pub last_epoch: u64,
    /// Row `i`: what validator `i` gives each miner, at least 0. Only the proportions within a row matter.
    pub weights: Vec<Row<I32F32>>,
    /// Bonds as the last epoch's [`Output::bonds`] gave them, in 65535ths.
    pub bonds: Vec<Row<u16>>,
    /// Entries `(validator, miner)` that the aggregator rejected.
    pub flagged: BTreeSet<(u16, u16)>,
    /// What to share out, in grain.
    pub emission: u64,
}

impl Input {
    /// Whether what validator `i` gives miner `j` counts: it has a permit, does not weigh itself, and weighed this key
    /// and not one that had the uid before.
    fn admits(&self, i: usize, j: u16) -> bool {
        let miner = usize::from(j);
        self.permit[i] && i != miner && self.last_update[i] > self.registered[miner]
    }

    /// Whether bonds to miner `j` are still those to the key that has the uid.
    fn stands(&self, j: u16) -> bool {
        self.last_epoch > self.registered[usize::from(j)]
    }
}

/// What an epoch settles. Every list has one entry per uid; every share is in `0..=1`.
#[derive(Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Output {
    /// Active stake `S`, normalised.
    pub stake: Vec<I32F32>,
    /// Consensus weight `C` of each miner.
    pub consensus: Vec<I32F32>,
    /// Ranks `R` of each miner, before normalisation.
    pub ranks: Vec<I32F32>,
    /// What share of the weight given to a miner consensus upheld.
    pub trust: Vec<I32F32>,
    /// Incentive `I` of each miner; sums to at most 1.
    pub incentive: Vec<I32F32>,
    /// What share of a validator's weight consensus upheld.
    pub validator_trust: Vec<I32F32>,
    /// Dividends `D` of each validator; sum to at most 1.
    pub dividends: Vec<I32F32>,
    /// What the market would lose without each miner, as a share of its value; empty unless [`Layer::one_out`] is on.
    pub contribution: Vec<I32F32>,
    /// Bonds to store and hand back next epoch, in 65535ths. A key with neither old nor new permit keeps its row.
    pub bonds: Vec<Row<u16>>,
    /// To pay to each uid as a miner, in grain.
    pub server_emission: Vec<u64>,
    /// To pay to each uid as a validator, in grain.
    pub validator_emission: Vec<u64>,
    /// Share of `I + D` of each uid, in grain: upstream's record of both together. Not to be paid; it can differ from
    /// the sum of the other two by one grain of rounding.
    pub combined_emission: Vec<u64>,
    /// The emission minus all that is to be paid, exactly, in grain.
    pub remainder: u64,
}

/// How the matrices of an epoch are laid out. It changes how long the epoch takes and nothing else: both give the same
/// result bit for bit on every input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// Rows of the entries that are there.
    Sparse,
    /// Columns of every entry, absent ones as zeros.
    Dense,
}

/// What both layouts compute. Every list has one entry per uid.
struct Weighed {
    consensus: Vec<I32F32>,
    ranks: Vec<I32F32>,
    trust: Vec<I32F32>,
    incentive: Vec<I32F32>,
    validator_trust: Vec<I32F32>,
    dividends: Vec<I32F32>,
    /// New bonds of every row, in 65535ths, zeros left out.
    bonds: Vec<Row<u16>>,
}

/// Runs one epoch, in the layout that is faster at the density of its input. Pure: same input, same output, on every
/// machine.
///
/// # Errors
///
/// [`InputError`] if the input is malformed. Absent stake, weights or permits are no errors: see the module's formulas.
pub fn epoch(params: &Params, input: &Input) -> Result<Output, InputError> {
    input::check(params, input)?;
    Ok(run(params, input, dense::faster_layout(input)))
}

/// Runs one epoch in a given layout. The dense one takes ten bytes for each pair of a uid that weighs and a uid that is
/// weighed.
///
/// # Errors
///
/// As [`epoch`].
pub fn epoch_in(layout: Layout, params: &Params, input: &Input) -> Result<Output, InputError> {
    input::check(params, input)?;
    Ok(run(params, input, layout))
}

fn run(params: &Params, input: &Input, layout: Layout) -> Output {
    let all_stake = stake_shares(&input.stake);
    let stake = active_stake(input, &all_stake);
    let weighed = match layout {
        Layout::Sparse => sparse::weigh(params, input, &stake),
        Layout::Dense => dense::weigh(params, input, &stake),
    };
    let shares = Shares::new(params, &input.permit, &weighed, &stake, &all_stake);
    let amounts =
        |shares: &[I32F32]| -> Vec<u64> { shares.iter().map(|share| part_of(input.emission, *share)).collect() };
    let server_emission = amounts(&shares.server);
    let validator_emission = amounts(&shares.validator);
    let paid = server_emission.iter().chain(&validator_emission).sum::<u64>();
    Output {
        bonds: kept_bonds(input, weighed.bonds),
        combined_emission: amounts(&shares.combined),
        remainder: input.emission - paid,
        server_emission,
        validator_emission,
        stake,
        consensus: weighed.consensus,
        ranks: weighed.ranks,
        trust: weighed.trust,
        incentive: weighed.incentive,
        validator_trust: weighed.validator_trust,
        dividends: weighed.dividends,
        contribution: shares.contribution,
    }
}

/// Stake of active keys with a previous permit, normalised.
fn active_stake(input: &Input, shares: &[I32F32]) -> Vec<I32F32> {
    let counts = input.active.iter().zip(&input.permit).map(|(a, p)| *a && *p);
    let mut stake: Vec<I32F32> =
        shares.iter().zip(counts).map(|(share, counts)| if counts { *share } else { I32F32::ZERO }).collect();
    normalize(&mut stake);
    stake
}

/// Bonds to store: new ones for holders of a new permit, none for those who lost theirs.
fn kept_bonds(input: &Input, bonds: Vec<Row<u16>>) -> Vec<Row<u16>> {
    let keep = |(i, row): (usize, Row<u16>)| match (input.new_permit[i], input.permit[i]) {
        (true, _) => row,
        (false, true) => Vec::new(),
        (false, false) => input.bonds[i].clone(),
    };
    bonds.into_iter().enumerate().map(keep).collect()
}
