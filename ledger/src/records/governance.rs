//! Proposals, votes, and the stake behind them.

use std::collections::{BTreeMap, BTreeSet};

use assay_chain_spec::Bounds;
use assay_primitives::{AccountId, Amount, Score};
use borsh::{BorshDeserialize, BorshSerialize};
use serde::Serialize;

use crate::tx::{Ballot, ProposalKind};

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
    /// Passed, but could not be executed when its time came; the outcome says why, and nothing was changed.
    Failed,
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
    /// Of a choice, and of every other kind that takes yes, no, abstain and veto.
    Choice {
        /// Stake behind each answer.
        tally: Tally,
        /// Why it could not be executed, in words; `None` where it could, or was not tried.
        refused: Option<String>,
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
    /// The parameter's bounds when it was proposed; `None` for other kinds.
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
    /// Whether it was proposed as urgent: `quorum`, `threshold` and `execute_at` follow from it.
    pub urgent: bool,
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
    /// The voter's stake at the snapshot, in grain; once the votes are counted, what of it was still staked then and counted.
    pub stake: u64,
    /// When it was last changed.
    pub height: u64,
    /// Whose vote it follows; `None` for an account that voted itself. Of those that follow, records are written when
    /// the votes are counted.
    pub via: Option<AccountId>,
}

/// Whose votes an account's stake follows where it does not vote itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize)]
pub struct VoteDelegation {
    /// The delegate.
    pub to: AccountId,
    /// Since this height.
    pub since: u64,
}

/// The version of the rules that blocks are executed by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize)]
pub struct AppVersion {
    /// The version in force.
    pub version: u32,
    /// The first block under it.
    pub since: u64,
    /// What a vote has decided and has not come into force.
    pub planned: Option<Upgrade>,
}

impl Default for AppVersion {
    /// Every chain begins with version 1.
    fn default() -> Self {
        Self { version: 1, since: 1, planned: None }
    }
}

impl AppVersion {
    /// The version of a block at `height`, from `since` on.
    #[must_use]
    pub fn at(&self, height: u64) -> u32 {
        self.planned.filter(|planned| planned.height <= height).map_or(self.version, |planned| planned.version)
    }
}

/// An upgrade that was voted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize)]
pub struct Upgrade {
    /// The version of the rules.
    pub version: u32,
    /// The first block under them.
    pub height: u64,
    /// The proposal that decided it.
    pub proposal: u64,
}
