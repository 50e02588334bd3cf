//! What a block made happen beside its transactions' own results; for logs, metrics and subscribers.

use assay_primitives::{AccountId, Amount, Hash32, ModelId, task::SubnetId};
use borsh::{BorshDeserialize, BorshSerialize};
use serde::Serialize;

use crate::{
    records::{ProposalStatus, Slash, Upgrade},
    tx::ModelAction,
};

/// Something that happened in a block.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The block was the last of an epoch.
    EpochEnded {
        /// The epoch that ended.
        epoch: u64,
        /// Its last block.
        height: u64,
    },
    /// An epoch's scores became money; its report is in the state.
    Settled {
        /// The epoch scored.
        epoch: u64,
        /// The market.
        subnet: SubnetId,
        /// Newly minted.
        emission: Amount,
    },
    /// Money was taken and burned.
    Slashed {
        /// From whom, why, how much.
        slash: Slash,
    },
    /// A validator did not open its commitment in time.
    RevealMissed {
        /// The epoch scored.
        epoch: u64,
        /// The market.
        subnet: SubnetId,
        /// Its operator account.
        validator: AccountId,
        /// Reveals it sent that did not open the commitment.
        mismatches: u32,
    },
    /// A validator's reveal did not open its commitment.
    RevealMismatched {
        /// The epoch scored.
        epoch: u64,
        /// The market.
        subnet: SubnetId,
        /// Its operator account.
        validator: AccountId,
        /// What it had committed to.
        committed: Hash32,
        /// What this opens.
        found: Hash32,
    },
    /// A validator was absent for too long: it is out until it asks to be let back in.
    ValidatorJailed {
        /// Its operator account.
        validator: AccountId,
        /// Epochs in a row without revealed scores.
        missed: u64,
        /// The first epoch in which it may ask.
        until: u64,
    },
    /// A jailed validator was let out.
    ValidatorUnjailed {
        /// Its operator account.
        validator: AccountId,
    },
    /// A validator registered.
    ValidatorRegistered {
        /// Its operator account.
        validator: AccountId,
        /// Its owner.
        owner: AccountId,
    },
    /// A miner's owner was paid for texts.
    UsagePaid {
        /// Who pays.
        payer: AccountId,
        /// The miner's operator account.
        miner: AccountId,
        /// How much.
        amount: Amount,
    },
    /// A miner entered a market.
    MinerRegistered {
        /// Its operator account.
        miner: AccountId,
        /// Its owner.
        owner: AccountId,
        /// The market.
        subnet: SubnetId,
    },
    /// A miner left its market.
    MinerRetired {
        /// Its operator account.
        miner: AccountId,
        /// The market.
        subnet: SubnetId,
    },
    /// A full market let a newcomer in for the miner that earned least.
    MinerPruned {
        /// Its operator account.
        miner: AccountId,
        /// The market.
        subnet: SubnetId,
        /// What it was paid for the last settled epoch.
        emission: Amount,
        /// The newcomer's operator account.
        newcomer: AccountId,
    },
    /// A model was registered.
    ModelRegistered {
        /// Content hash.
        model: ModelId,
        /// The name callers use.
        name: String,
        /// The market.
        subnet: SubnetId,
    },
    /// A validator demands a proof.
    ChallengeOpened {
        /// The response's id.
        id: Hash32,
        /// Who demands.
        challenger: AccountId,
        /// Who has to answer.
        miner: AccountId,
        /// Last block for the answer.
        deadline: u64,
    },
    /// The demanded proof held.
    ChallengeAnswered {
        /// The response's id.
        id: Hash32,
        /// Who answered.
        miner: AccountId,
    },
    /// Enough validators judged a challenged text.
    ChallengeJudged {
        /// The response's id.
        id: Hash32,
        /// Whose text it is.
        miner: AccountId,
        /// Whether it holds.
        holds: bool,
    },
    /// The deadline of a challenged text passed before enough validators had judged it.
    ChallengeLapsed {
        /// The response's id.
        id: Hash32,
        /// Whose text it is.
        miner: AccountId,
    },
    /// The deadline passed.
    ChallengeExpired {
        /// The response's id.
        id: Hash32,
        /// Who was silent.
        miner: AccountId,
    },
    /// A proposal was made or moved on.
    ProposalChanged {
        /// Its number.
        id: u64,
        /// Where it stands now.
        status: ProposalStatus,
    },
    /// Another validator set votes from a height on.
    ValidatorsChanged {
        /// The first height of the new set.
        from_height: u64,
    },
    /// A vote made a model the first of its subnet, or took it off its subnet's list.
    ModelVoted {
        /// Content hash.
        model: ModelId,
        /// The market.
        subnet: SubnetId,
        /// What became of it.
        action: ModelAction,
    },
    /// A vote paid money out of the treasury.
    TreasuryPaid {
        /// The proposal.
        proposal: u64,
        /// To whom.
        to: AccountId,
        /// How much.
        amount: Amount,
    },
    /// A vote decided an upgrade.
    UpgradePlanned {
        /// Which, and from when on.
        upgrade: Upgrade,
    },
    /// An upgrade came into force with this block.
    Upgraded {
        /// The version of the rules.
        version: u32,
    },
}
