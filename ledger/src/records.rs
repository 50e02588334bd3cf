//! What the state holds: one type for each kind of entry. [`crate::keys`] says where each lies.

use std::collections::{BTreeMap, BTreeSet};

use assay_chain_spec::Bounds;
use assay_primitives::{
    AccountId, Amount, Hash32, ModelId, Score, Signed,
    task::{Request, Response, SubnetId},
};
use borsh::{BorshDeserialize, BorshSerialize};
use serde::Serialize;

use crate::tx::{Ballot, Endpoint, ProposalKind, ScoreEntry};

/// An account's money and its count of executed transactions.
#[derive(Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize)]
pub struct Account {
    /// Free money.
    pub balance: Amount,
    /// The nonce its next transaction must carry.
    pub nonce: u64,
}

/// What an operator key does, and for whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize)]
pub struct Operator {
    /// Pays its fees, holds its stake or bond, gets its rewards.
    pub owner: AccountId,
    /// What it runs.
    pub role: Role,
}

/// The role of an operator key. A key has one role, for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Votes and scores.
    Validator,
    /// Serves in a subnet.
    Miner(SubnetId),
}

/// A registered validator.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize)]
pub struct ValidatorRecord {
    /// Its operator account.
    pub operator: AccountId,
    /// Its owner.
    pub owner: AccountId,
    /// Sum of all delegations to it, the owner's own included.
    pub stake: Amount,
    /// Share of the delegators' dividends the owner keeps, in basis points.
    pub take: u64,
    /// Where it is reached.
    pub endpoint: Endpoint,
    /// Height of registration; 0 for genesis.
    pub registered: u64,
    /// Never votes again: it signed two conflicting votes.
    pub tombstoned: bool,
}

/// A registered miner.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize)]
pub struct MinerRecord {
    /// Its operator account.
    pub operator: AccountId,
    /// Its owner.
    pub owner: AccountId,
    /// Its market.
    pub subnet: SubnetId,
    /// What is left of the bond.
    pub bond: Amount,
    /// Where it is reached.
    pub endpoint: Endpoint,
    /// Height of registration.
    pub registered: u64,
    /// Out of the market since this height: its owner retired it, or a slash left at most half of the parameter `miner_bond`.
    pub retired: Option<u64>,
    /// The last epoch in which it was slashed: it earns nothing for this epoch, nor for one not yet settled then.
    pub slashed: Option<u64>,
    /// Last settled score.
    pub score: Score,
}

/// A registered model. Its bytes lie under a key of their own.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize)]
pub struct ModelRecord {
    /// Content hash.
    pub id: ModelId,
    /// The name callers use.
    pub name: String,
    /// Its market.
    pub subnet: SubnetId,
    /// Size of the compiled model.
    pub bytes: u64,
    /// Who registered it; `None` at genesis.
    pub registrant: Option<AccountId>,
    /// Height of registration; 0 for genesis.
    pub registered: u64,
}

/// A subnet.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize)]
pub struct SubnetRecord {
    /// Its number.
    pub id: SubnetId,
    /// Its name.
    pub name: String,
    /// Models its miners serve, in order of registration.
    pub models: Vec<ModelId>,
}

/// Money on its way out of a stake or bond; it can still be slashed.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize)]
pub struct Unbonding {
    /// Who will receive it.
    pub account: AccountId,
    /// The validator or miner it was bound to.
    pub operator: AccountId,
    /// How much is left of it.
    pub amount: Amount,
    /// The epoch at whose end it is paid.
    pub release: u64,
}

/// Where a challenge stands.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ChallengeStatus {
    /// Waiting for the miner until this height (inclusive).
    Open {
        /// The deadline.
        deadline: u64,
    },
    /// The proof held.
    Answered {
        /// When.
        height: u64,
    },
    /// The deadline passed; the miner was slashed.
    Silent {
        /// When.
        height: u64,
    },
}

/// A demand for the proof of a past response. Its id is the id of the response.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize)]
pub struct Challenge {
    /// Who demands.
    pub challenger: AccountId,
    /// What was asked.
    pub request: Signed<Request>,
    /// What was answered.
    pub response: Signed<Response>,
    /// Where it stands.
    pub status: ChallengeStatus,
}

/// Why money was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SlashReason {
    /// Two conflicting votes.
    DoubleSign,
    /// Exact re-execution gives another output than the miner signed.
    WrongOutput,
    /// The proof that the miner's signature names does not hold.
    InvalidProof,
    /// A challenge passed its deadline.
    Silence,
}

/// Money taken and burned.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize)]
pub struct Slash {
    /// The operator at fault.
    pub account: AccountId,
    /// For what.
    pub reason: SlashReason,
    /// How much in all, delegators' and unbonding parts included.
    pub amount: Amount,
    /// In which block.
    pub height: u64,
    /// In which epoch.
    pub epoch: u64,
}

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
    /// What it did with its commitment.
    pub reveal: RevealStatus,
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
}

/// Sum of an account's delegations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize)]
pub struct AccountStake {
    /// The sum.
    pub amount: Amount,
    /// The block that changed it last; 0 for genesis.
    pub since: u64,
}

/// Proposals that are not yet decided or executed.
#[derive(Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize)]
pub struct Agenda {
    /// Proposals under vote, with their snapshot heights.
    pub voting: BTreeMap<u64, u64>,
    /// Passed proposals that wait for their timelock.
    pub passed: BTreeSet<u64>,
}

/// Revealed scores kept until settlement.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize)]
pub struct Reveal {
    /// The verdicts.
    pub scores: Vec<ScoreEntry>,
    /// In which block.
    pub height: u64,
}

/// Where a proposal stands.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ProposalStatus {
    /// Votes are taken.
    Voting,
    /// Passed; waits for its timelock.
    Passed,
    /// In force.
    Executed,
    /// Too few voted, or no robust value came out.
    NoQuorum,
    /// More against than for.
    Rejected,
    /// Vetoed; the deposit burned.
    Vetoed,
}

/// Stake behind each answer of a choice, in grain.
#[derive(Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize)]
pub struct Tally {
    /// For.
    pub yes: u64,
    /// Against.
    pub no: u64,
    /// Counted for the quorum only.
    pub abstain: u64,
    /// Against, and burn the deposit.
    pub veto: u64,
}

/// What a vote came to.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Of a choice.
    Choice {
        /// Stake behind each answer.
        tally: Tally,
    },
    /// Of a parameter.
    Parameter {
        /// The settled value; `None` if no robust value came out.
        value: Option<u64>,
        /// The value when the vote ended.
        previous: u64,
        /// How far the voters agreed.
        confidence: Score,
        /// Stake that voted, in grain.
        voted: u64,
        /// Why the settled value may not come into force, in words; `None` where it may.
        refused: Option<String>,
        /// Voters whose values were rejected as outliers, with the reason in words.
        outliers: Vec<(AccountId, u64, String)>,
    },
}

/// A governance proposal.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize)]
pub struct Proposal {
    /// Its number, from 1.
    pub id: u64,
    /// Who proposed and locked the deposit.
    pub proposer: AccountId,
    /// One line.
    pub title: String,
    /// Reasons.
    pub text: String,
    /// What is decided.
    pub kind: ProposalKind,
    /// The parameter's bounds when it was proposed; `None` for a choice.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bounds: Option<ParameterBounds>,
    /// Locked money.
    pub deposit: Amount,
    /// Stake counts as it was at the end of this block.
    pub snapshot: u64,
    /// All stake at the snapshot, in grain.
    pub eligible: u64,
    /// Share of the eligible stake that must vote, in basis points, as it was when this was proposed.
    pub quorum: u64,
    /// Share of yes among yes, no and veto above which a choice passes, in basis points, as it was then.
    pub threshold: u64,
    /// Share of veto among all votes above which a choice is vetoed, in basis points, as it was then.
    pub veto: u64,
    /// Last block in which votes are taken.
    pub voting_end: u64,
    /// First block in which it may be executed.
    pub execute_at: u64,
    /// Where it stands.
    pub status: ProposalStatus,
    /// What the vote came to, once it ended.
    pub outcome: Option<Outcome>,
}

/// Bounds as the state keeps them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize)]
pub struct ParameterBounds {
    /// Smallest allowed value.
    pub low: u64,
    /// Largest allowed value.
    pub high: u64,
}

impl From<Bounds> for ParameterBounds {
    fn from(bounds: Bounds) -> Self {
        Self { low: bounds.low, high: bounds.high }
    }
}

/// One account's vote on one proposal.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize)]
pub struct VoteRecord {
    /// The vote.
    pub ballot: Ballot,
    /// The voter's stake at the snapshot, in grain.
    pub stake: u64,
    /// When it was last changed.
    pub height: u64,
}

/// Where all money is accounted for: `genesis + minted - burned` is the sum of everything held.
#[derive(Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize)]
pub struct Supply {
    /// At genesis, in grain.
    pub genesis: u64,
    /// Minted since, in grain.
    pub minted: u64,
    /// Burned since, in grain.
    pub burned: u64,
}

/// Sums over the whole state, for checking [`Supply`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Holdings {
    /// Free balances, the treasury's included.
    pub balances: u64,
    /// Stake with validators.
    pub stakes: u64,
    /// Miners' bonds.
    pub bonds: u64,
    /// On its way out of stakes and bonds.
    pub unbonding: u64,
    /// Deposits of open proposals.
    pub deposits: u64,
}

/// Ids and counters of the chain itself.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize)]
pub struct Chain {
    /// Height of the last executed block.
    pub height: u64,
    /// The current epoch, from 0.
    pub epoch: u64,
    /// First height of the current epoch.
    pub epoch_start: u64,
    /// Last height of the current epoch: the block that settles. Fixed when the epoch starts, so that a change of `tempo` waits for the next.
    pub epoch_end: u64,
    /// The next proposal's number.
    pub next_proposal: u64,
    /// The next slash's number.
    pub next_slash: u64,
    /// The next unbonding entry's number.
    pub next_unbonding: u64,
    /// Sum of all delegations.
    pub total_stake: u64,
    /// Time of the last executed block; of genesis before the first.
    pub time_ms: u64,
    /// Seeds of tasks mix this in: a hash that changes with every block.
    pub randomness: Hash32,
}
