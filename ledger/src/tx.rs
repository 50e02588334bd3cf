//! Transactions: everything an account can ask the chain to do.

use assay_primitives::{
    AccountId, Amount, Hash32, Keypair, ModelId, Score, Signature, Signed, VoteContent, domain,
    keys::Signable,
    task::{Request, Response, SubnetId},
};
use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};

use crate::{audit::Exhibit, records::Tariff};

/// A signed transaction; its id is [`Signed::id`].
pub type SignedTransaction = Signed<Transaction>;

/// A transaction: one action of one account.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Transaction {
    /// Who acts and signs.
    pub signer: AccountId,
    /// The number of transactions this signer has had executed before.
    pub nonce: u64,
    /// What the fee payer burns; at least the parameter `min_fee`. An operator's fees are paid by its owner.
    pub fee: Amount,
    /// What to do.
    pub action: Action,
}

impl Signable for Transaction {
    const DOMAIN: &'static str = domain::TRANSACTION;
    const NAME: &'static str = "transaction";
    fn signer(&self) -> AccountId {
        self.signer
    }
}

/// Where a validator's or miner's data plane is reached.
#[derive(Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Endpoint {
    /// The libp2p peer id, at most 64 bytes of text.
    pub peer_id: String,
    /// Multiaddresses, at most 4 of at most 128 bytes each.
    pub addresses: Vec<String>,
}

/// What a transaction does.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Action {
    /// Moves money to another account.
    Transfer {
        /// To whom.
        to: AccountId,
        /// How much; above zero.
        amount: Amount,
    },
    /// Delegates the signer's money to a validator.
    Stake {
        /// The validator's operator account.
        validator: AccountId,
        /// How much; above zero.
        amount: Amount,
    },
    /// Takes delegated money back; it arrives after the unbonding time.
    Unstake {
        /// The validator's operator account.
        validator: AccountId,
        /// How much; above zero.
        amount: Amount,
    },
    /// Moves the signer's stake from one validator to another at once. It stays in reach of what it voted for before.
    Redelegate {
        /// The operator account of the validator it is taken from.
        from: AccountId,
        /// The operator account of the validator it goes to.
        to: AccountId,
        /// How much; at least the parameter `min_delegation`.
        amount: Amount,
    },
    /// Makes the signer the owner of a new validator.
    RegisterValidator {
        /// The key that will sign blocks, scores and requests.
        operator: AccountId,
        /// The operator's signature over [`Consent`]; unused (empty) when the operator is the signer.
        consent: Signature,
        /// The owner's own stake; at least the parameter `min_validator_stake`.
        stake: Amount,
        /// Share of the delegators' dividends the owner keeps, in basis points.
        take: u64,
        /// Where it is reached.
        endpoint: Endpoint,
    },
    /// Lets a jailed validator vote again from the next epoch on; signed by its operator or owner.
    Unjail {
        /// The validator's operator account.
        validator: AccountId,
    },
    /// Makes the signer the owner of a new miner, locking the bond and burning the price of a registration.
    RegisterMiner {
        /// The market.
        subnet: SubnetId,
        /// The most that may be burned: others may raise the price before this transaction's turn comes.
        most: Amount,
        /// The key that will sign responses.
        operator: AccountId,
        /// As in `RegisterValidator`.
        consent: Signature,
        /// Where it is reached.
        endpoint: Endpoint,
    },
    /// An owner takes its miner out; what is left of the bond arrives after the unbonding time.
    RetireMiner {
        /// The miner's operator account.
        operator: AccountId,
    },
    /// An operator (or its owner) says where it is reached now.
    SetEndpoint {
        /// The validator's or miner's operator account.
        operator: AccountId,
        /// Where it is reached.
        endpoint: Endpoint,
    },
    /// Registers a compiled model, burning the registration fee.
    RegisterModel {
        /// The market.
        subnet: SubnetId,
        /// The name callers use: 1 to 32 of `a-z 0-9 -`, not taken.
        name: String,
        /// The compiled model, or a [`TextModel`](assay_primitives::text::TextModel)'s bytes.
        bytes: Vec<u8>,
    },
    /// A validator's operator binds itself to its scores of the current epoch without showing them.
    CommitScores {
        /// The market.
        subnet: SubnetId,
        /// The epoch scored; the current one.
        epoch: u64,
        /// [`ScoreSheet::commitment`].
        commitment: Hash32,
    },
    /// A validator's operator opens last epoch's commitment.
    RevealScores {
        /// What was committed.
        sheet: ScoreSheet,
        /// The exchanges that the epoch's audit draws from the sheet, in the order of [`crate::audit::draw`].
        exhibits: Vec<Exhibit>,
    },
    /// Shows that a miner signed a wrong answer: exact re-execution gives another output, or its own proof does not hold.
    Refute {
        /// What was asked, as signed by the requester.
        request: Signed<Request>,
        /// What the miner signed.
        response: Signed<Response>,
        /// The proof whose hash stands in the response, if the proof is what fails.
        proof: Option<Vec<u8>>,
    },
    /// A validator's operator demands the proof of a past response, or of a text that all validators judge it.
    Challenge {
        /// What was asked.
        request: Signed<Request>,
        /// What the miner signed.
        response: Signed<Response>,
    },
    /// The challenged miner's operator posts the proof.
    Answer {
        /// The id of the challenged response.
        challenge: Hash32,
        /// The proof.
        proof: Vec<u8>,
    },
    /// A validator's operator says whether a challenged text is what the model gives.
    Judge {
        /// The id of the challenged response.
        challenge: Hash32,
        /// Whether the text, made again, is the one that the miner signed.
        holds: bool,
    },
    /// Two conflicting votes of one validator.
    DoubleSign {
        /// One vote.
        first: Signed<VoteContent>,
        /// Another for the same height, round and kind, for another block.
        second: Signed<VoteContent>,
    },
    /// Opens a proposal, locking the deposit and fixing who may vote with how much.
    Propose {
        /// One line, 1 to 120 bytes.
        title: String,
        /// Reasons, at most 4096 bytes.
        text: String,
        /// What is decided.
        kind: ProposalKind,
        /// Sooner in force after its vote, and harder to pass: see the parameters `gov_urgent_…`.
        urgent: bool,
    },
    /// Votes, or changes the signer's vote, until the voting period ends.
    Vote {
        /// The proposal.
        proposal: u64,
        /// The vote.
        ballot: Ballot,
    },
    /// Lets the signer's stake follow another account's votes wherever the signer does not vote itself.
    DelegateVote {
        /// Whose votes; `None` takes the delegation back.
        to: Option<AccountId>,
    },
    /// A miner's operator (or its owner) says what its texts cost from the next epoch on.
    SetTariff {
        /// The miner's operator account.
        operator: AccountId,
        /// The prices.
        tariff: Tariff,
    },
    /// Pays miners' owners for texts that the signer asked for.
    PayUsage {
        /// By ascending miner, each once; 1 to [`crate::MAX_BILLS`].
        bills: Vec<Bill>,
    },
}

impl Action {
    /// The action's name in logs, tables and JSON.
    pub fn name(&self) -> &'static str {
        match self {
            Action::Transfer { .. } => "transfer",
            Action::Stake { .. } => "stake",
            Action::Unstake { .. } => "unstake",
            Action::Redelegate { .. } => "redelegate",
            Action::RegisterValidator { .. } => "register_validator",
            Action::Unjail { .. } => "unjail",
            Action::RegisterMiner { .. } => "register_miner",
            Action::RetireMiner { .. } => "retire_miner",
            Action::SetEndpoint { .. } => "set_endpoint",
            Action::RegisterModel { .. } => "register_model",
            Action::CommitScores { .. } => "commit_scores",
            Action::RevealScores { .. } => "reveal_scores",
            Action::Refute { .. } => "refute",
            Action::Challenge { .. } => "challenge",
            Action::Answer { .. } => "answer",
            Action::Judge { .. } => "judge",
            Action::DoubleSign { .. } => "double_sign",
            Action::Propose { .. } => "propose",
            Action::Vote { .. } => "vote",
            Action::DelegateVote { .. } => "delegate_vote",
            Action::SetTariff { .. } => "set_tariff",
            Action::PayUsage { .. } => "pay_usage",
        }
    }
}

/// What is paid to one miner's owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bill {
    /// The miner's operator account.
    pub miner: AccountId,
    /// How much; above zero.
    pub amount: Amount,
}

/// What an operator signs, under [`OPERATOR_CONSENT`], to let an owner register it.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Consent {
    /// The consenting operator.
    pub operator: AccountId,
    /// The owner it will work for.
    pub owner: AccountId,
}

/// Domain of [`Consent`].
pub const OPERATOR_CONSENT: &str = "assay/operator-consent/1";

impl Consent {
    /// Signs the consent with the operator's key.
    pub fn sign(owner: AccountId, operator: &Keypair, genesis: &Hash32) -> Signature {
        let consent = Consent { operator: operator.account(), owner };
        operator.sign(&domain::preimage(OPERATOR_CONSENT, genesis, &consent))
    }
}

/// One validator's verdict on one miner.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScoreEntry {
    /// The miner's operator account.
    pub miner: AccountId,
    /// The verdict.
    pub score: Score,
    /// How sure the validator is of it.
    pub confidence: Score,
    /// Tasks judged; the score is the mean over them.
    pub tasks: u32,
    /// Responses received.
    pub responses: u32,
    /// Responses that scored 0 whatever their marks: shown to be false, or without a proof that holds where one is demanded.
    pub refuted: u32,
    /// Proofs that held.
    pub proofs_verified: u32,
    /// Proofs that did not hold, or were missing where the model demands one.
    pub proofs_rejected: u32,
    /// [`crate::audit::evidence`] of the responses.
    pub evidence: Hash32,
    /// What the criteria said, by ascending name, each once; at most [`MAX_MARKS`].
    pub marks: Vec<Mark>,
}

/// Most criteria that a verdict names.
pub const MAX_MARKS: u64 = 16;

/// What one criterion said of a miner in an epoch. For people: no rule depends on it.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mark {
    /// The criterion: 1 to 16 of `a-z 0-9 -`.
    pub criterion: String,
    /// The mean of its marks.
    pub mark: Score,
    /// Tasks it applied to.
    pub tasks: u32,
}

/// A validator's scores of one epoch, as committed and revealed. Entries ascend by miner, each once.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScoreSheet {
    /// The validator's operator account.
    pub validator: AccountId,
    /// The market.
    pub subnet: SubnetId,
    /// The epoch scored.
    pub epoch: u64,
    /// Secret until revealed, so that the commitment tells nothing; then a share of the public randomness. Fresh for each
    /// sheet, from the operating system's randomness.
    pub salt: [u8; 32],
    /// The verdicts.
    pub scores: Vec<ScoreEntry>,
}

impl ScoreSheet {
    /// The hash that binds validator, subnet, epoch, salt and scores.
    pub fn commitment(&self, genesis: &Hash32) -> Hash32 {
        domain::hash(domain::SCORES, genesis, self)
    }
}

/// What a proposal decides.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum ProposalKind {
    /// Yes, no, abstain or veto.
    Choice,
    /// A number: every voter names a value, and stake settles it by the robust aggregator within the parameter's bounds.
    Parameter {
        /// The parameter's name.
        name: String,
        /// The subnet that gets a value of its own; `None` for the whole chain. [`assay_chain_spec::OF_SUBNET`] lists what a subnet may have.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        subnet: Option<SubnetId>,
    },
    /// A statement: nothing on chain follows from it. Yes, no, abstain or veto, as all below.
    Text,
    /// What a subnet's miners serve.
    Model {
        /// What becomes of the model.
        action: ModelAction,
        /// The model.
        model: ModelId,
    },
    /// Pays from [`crate::treasury`].
    Treasury {
        /// To whom.
        to: AccountId,
        /// How much; above zero.
        amount: Amount,
    },
    /// Other rules of the chain from a height on.
    Upgrade {
        /// The version of the rules, as headers carry it; one above that in force.
        version: u32,
        /// The first block under them.
        height: u64,
    },
}

impl ProposalKind {
    /// The kind's name in tables, JSON and errors.
    pub fn name(&self) -> &'static str {
        match self {
            ProposalKind::Choice => "choice",
            ProposalKind::Parameter { .. } => "parameter",
            ProposalKind::Text => "text",
            ProposalKind::Model { .. } => "model",
            ProposalKind::Treasury { .. } => "treasury",
            ProposalKind::Upgrade { .. } => "upgrade",
        }
    }
}

/// What a proposal does to a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ModelAction {
    /// Makes it the first of its subnet's models; brings a retired one back.
    Promote,
    /// Takes it off its subnet's list: nobody is asked for it any more.
    Retire,
}

/// One vote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ballot {
    /// For a choice.
    Yes,
    /// Against a choice.
    No,
    /// Counts for the quorum only.
    Abstain,
    /// Against, and the deposit should burn.
    Veto,
    /// The value wanted for a parameter.
    Value(u64),
}
