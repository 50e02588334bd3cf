//! What the state holds: one type for each kind of entry. [`crate::keys`] says where each lies.

mod governance;
mod settlement;
mod stake;
mod usage;

use std::collections::BTreeMap;

use assay_primitives::{
    AccountId, Amount, Hash32, ModelId, Score, Signed,
    task::{Request, Response, SubnetId},
};
use borsh::{BorshDeserialize, BorshSerialize};
use serde::Serialize;

pub use governance::{
    AccountStake, Agenda, AppVersion, Outcome, ParameterBounds, Proposal, ProposalStatus, Tally, Upgrade,
    VoteDelegation, VoteRecord,
};
pub use settlement::{Commitment, EpochReport, MinerSettlement, Reveal, RevealStatus, ValidatorSettlement};
pub use stake::{Attendance, Jail, JailReason, Redelegation};
pub use usage::{Asking, TARIFF_TOKENS, Tariff};

use crate::tx::Endpoint;

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
    /// Never votes again: it signed two conflicting votes. It is slashed for that once.
    pub tombstoned: bool,
    /// Out of the set and unpaid until it asks to be let back in.
    pub jailed: Option<Jail>,
    /// How it kept up with its scores.
    pub attendance: Attendance,
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
    /// Last settled score. A newcomer has the 25th percentile of its market until its first settles.
    pub score: Score,
    /// The last epoch whose settlement agreed on its score; `None` earns nothing.
    pub scored: Option<u64>,
    /// What it was paid for the last settled epoch in which scores were revealed.
    pub emission: Amount,
    /// The first epoch in which another registration may take its place.
    pub immune_until: u64,
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
    /// What it runs on.
    pub kind: ModelKind,
    /// Size of the compiled model, or of a language model's files together.
    pub bytes: u64,
    /// Hash of the `groth16` verifier's key that receipts are checked with, if the genesis has one.
    pub groth16: Option<Hash32>,
    /// What checking an answer takes a block, by the ledger's reckoning; nothing for text, which no block checks.
    pub cost: WorkCost,
    /// Bytes of a transaction that answers a challenge to it, at most; the parameter `max_tx_bytes` never falls below it.
    pub answer_bytes: u64,
    /// Who registered it; `None` at genesis.
    pub registrant: Option<AccountId>,
    /// Height of registration; 0 for genesis.
    pub registered: u64,
    /// Off its subnet's list since this height, by a vote: nobody is asked for it. Past answers can still be challenged.
    pub retired: Option<u64>,
}

/// What a model runs on, and so how its answers are checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ModelKind {
    /// Numbers to numbers, by an exact integer graph that the chain keeps: answers are run again and proved in blocks.
    Exact,
    /// Text to text, by a language model of whose files the chain keeps the hashes: validators make answers again and vote.
    Text,
}

/// What a model's answers take to check, in nanoseconds of one core, about: reckoned from counts, never measured, so that every
/// validator finds the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize)]
pub struct WorkCost {
    /// Verifying one proof.
    pub verify: u64,
    /// Reading the model and running it once.
    pub replay: u64,
}

/// A subnet.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize)]
pub struct SubnetRecord {
    /// Its number.
    pub id: SubnetId,
    /// Its name.
    pub name: String,
    /// Values of its own where it differs from the chain's parameters, by name.
    pub params: BTreeMap<String, u64>,
    /// Models its miners serve: in order of registration, but for those that a vote promoted, the latest first.
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
    /// The block that took it out.
    pub since: u64,
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
    /// Over two thirds of the validators' power made the text again and found another; the miner was slashed.
    Condemned {
        /// When.
        height: u64,
    },
    /// So much of the validators' power found the text right that it cannot be condemned.
    Upheld {
        /// When.
        height: u64,
    },
    /// The deadline passed before enough validators had judged; nothing follows.
    Lapsed {
        /// When.
        height: u64,
    },
}

/// A demand for the proof of a past response, or for the validators' judgement of a text. Its id is the id of the response.
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
    /// Exact re-execution gives another output than the miner signed; of a text, by most validators' judgement.
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
    /// The next redelegation's number.
    pub next_redelegation: u64,
    /// Sum of all delegations.
    pub total_stake: u64,
    /// Time of the last executed block; of genesis before the first.
    pub time_ms: u64,
    /// The beacon: public randomness that seeds of tasks mix in. It changes only with an epoch's last block, for the next
    /// epoch, by the salts that validators revealed; before the first it is the genesis hash.
    pub randomness: Hash32,
}
