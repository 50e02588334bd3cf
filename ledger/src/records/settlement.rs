//! Scores on their way to money, and what an epoch earned whom.

use assay_primitives::{AccountId, Amount, Hash32, Score, task::SubnetId};
use borsh::{BorshDeserialize, BorshSerialize};
use serde::Serialize;

use crate::tx::ScoreEntry;

/// One miner's line of a settled epoch.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize)]
pub struct MinerSettlement {
    /// The miner.
    pub account: AccountId,
    /// The score the validators agreed on; the last one stands where they did not.
    pub score: Score,
    /// How far they agreed.
    pub confidence: Score,
    /// False where too few reports left the last score standing.
    pub consensus: bool,
    /// Reports rejected as outliers, with the reason in words.
    pub outliers: Vec<(AccountId, String)>,
    /// What each validator reported.
    pub reports: Vec<(AccountId, Score)>,
    /// Sum over validators, from their reveals.
    pub responses: u32,
    /// Sum over validators, from their reveals.
    pub proofs_verified: u32,
    /// Sum over validators, from their reveals.
    pub proofs_rejected: u32,
    /// The clip level of its weights.
    pub consensus_weight: Score,
    /// Sum over validators of their share of stake times their clipped weight.
    pub rank: Score,
    /// Share of the weight given to it that lies within the consensus.
    pub trust: Score,
    /// Share of the miners' emission.
    pub incentive: Score,
    /// Money paid.
    pub reward: Amount,
    /// Why it earns nothing, in words, where its share was withheld: that share was not minted.
    pub withheld: Option<String>,
}

/// What a validator did with its commitment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RevealStatus {
    /// Committed and revealed.
    Revealed,
    /// Committed, never revealed: no dividend.
    Missed,
    /// Committed, and what it revealed did not open the commitment: no dividend.
    Mismatched,
    /// Never committed: no dividend.
    NotCommitted,
}

/// One validator's line of a settled epoch.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize)]
pub struct ValidatorSettlement {
    /// The validator.
    pub account: AccountId,
    /// Its stake at settlement.
    pub stake: Amount,
    /// The stake its scores counted with: what it had when the scored epoch began, or at settlement if that was less.
    pub counted: Amount,
    /// Its share of the counted stake of all that took part.
    pub share: Score,
    /// Sum of the scores that its weights come from, in units of `2^-32`: its weight of a miner is the score divided by this.
    pub given: u64,
    /// What it did with its commitment.
    pub reveal: RevealStatus,
    /// Reveals that did not open the commitment, also where a right one came later.
    pub mismatches: u32,
    /// Share of its weights that lies within the consensus.
    pub trust: Score,
    /// Share of the validators' emission.
    pub dividend: Score,
    /// Money paid to it and its delegators.
    pub reward: Amount,
    /// Its bonds to miners, out of 65535.
    pub bonds: Vec<(AccountId, u16)>,
}

/// What an epoch earned whom, and why.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize)]
pub struct EpochReport {
    /// The epoch scored.
    pub epoch: u64,
    /// The market.
    pub subnet: SubnetId,
    /// The block that settled it.
    pub height: u64,
    /// Newly minted for it: all rewards and the remainder. What was withheld is not in it.
    pub emission: Amount,
    /// The treasury's share of it, without the remainder.
    pub treasury: Amount,
    /// Rounding remainder, booked to the treasury.
    pub remainder: Amount,
    /// By ascending account.
    pub miners: Vec<MinerSettlement>,
    /// By ascending account.
    pub validators: Vec<ValidatorSettlement>,
}

/// A commitment to scores, kept until settlement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize)]
pub struct Commitment {
    /// What was committed: [`crate::tx::ScoreSheet::commitment`].
    pub hash: Hash32,
    /// In which block.
    pub height: u64,
    /// Reveals so far that did not open it.
    pub mismatches: u32,
}

/// Revealed scores kept until settlement.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize)]
pub struct Reveal {
    /// The verdicts.
    pub scores: Vec<ScoreEntry>,
    /// The sheet's salt: this validator's share of the public randomness.
    pub salt: [u8; 32],
    /// In which block.
    pub height: u64,
}
