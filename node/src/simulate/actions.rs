//! The transactions that the simulated parties send, each made in one place.

use assay_ledger::{
    audit::Exhibit,
    tx::{Action, Ballot, Consent, Endpoint, ProposalKind, ScoreSheet},
};
use assay_primitives::{
    AccountId, Amount, Hash32, Keypair, Signed,
    task::{Request, Response},
};

use super::population::SUBNET;

/// `owner` takes a miner into the market; the operator consents.
pub(super) fn register_miner(owner: &Keypair, operator: &Keypair, genesis: &Hash32) -> Action {
    let consent = Consent::sign(owner.account(), operator, genesis);
    let (most, operator) = (Amount(u64::MAX), operator.account());
    Action::RegisterMiner { subnet: SUBNET, most, operator, consent, endpoint: Endpoint::default() }
}

pub(super) fn retire_miner(operator: AccountId) -> Action {
    Action::RetireMiner { operator }
}

pub(super) fn commit(epoch: u64, commitment: Hash32) -> Action {
    Action::CommitScores { subnet: SUBNET, epoch, commitment }
}

pub(super) fn reveal(sheet: ScoreSheet, exhibits: Vec<Exhibit>) -> Action {
    Action::RevealScores { sheet, exhibits }
}

pub(super) fn refute(request: Signed<Request>, response: Signed<Response>, proof: Option<Vec<u8>>) -> Action {
    Action::Refute { request, response, proof }
}

pub(super) fn challenge(request: Signed<Request>, response: Signed<Response>) -> Action {
    Action::Challenge { request, response }
}

pub(super) fn answer(challenge: Hash32, proof: Vec<u8>) -> Action {
    Action::Answer { challenge, proof }
}

pub(super) fn stake(validator: AccountId, amount: Amount) -> Action {
    Action::Stake { validator, amount }
}

pub(super) fn unstake(validator: AccountId, amount: Amount) -> Action {
    Action::Unstake { validator, amount }
}

/// A choice that means nothing: what matters is who may vote on it.
pub(super) fn propose_choice() -> Action {
    Action::Propose { title: "a choice".into(), text: String::new(), kind: ProposalKind::Choice, urgent: false }
}

pub(super) fn vote(proposal: u64, ballot: Ballot) -> Action {
    Action::Vote { proposal, ballot }
}
