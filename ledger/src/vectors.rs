//! The encodings of transactions, pinned: `tests/vectors/transactions.json` holds one signed example of each action.
//!
//! A difference means that wallets and nodes of different versions no longer understand each other. Where that is meant,
//! run the test with `ASSAY_WRITE_VECTORS=1` and say in the commit why.

use std::collections::BTreeMap;

use assay_primitives::{
    AccountId, Amount, Hash32, Keypair, ModelId, Score, Signature, Signed, VoteContent, VoteKind, encode,
    task::{Input, Output, Request, Response},
};

use crate::audit::Exhibit;
use crate::records::Tariff;
use crate::tx::{Action, Ballot, Bill, Endpoint, Mark, ModelAction, ProposalKind, ScoreEntry, ScoreSheet, Transaction};

const GENESIS: Hash32 = Hash32([9; 32]);

fn vote(key: &Keypair, block: u8) -> Signed<VoteContent> {
    let (kind, block) = (VoteKind::Prevote, Some(Hash32([block; 32])));
    Signed::new(VoteContent { kind, height: 4, round: 0, block, validator: key.account() }, &GENESIS, key)
}

fn actions(key: &Keypair) -> Vec<Action> {
    let (account, amount) = (AccountId([3; 32]), Amount(1_500_000_000));
    let endpoint = Endpoint { peer_id: "12D3KooW".into(), addresses: vec!["/ip4/127.0.0.1/udp/27001/quic-v1".into()] };
    let request = Request {
        requester: key.account(),
        miner: key.account(),
        subnet: 1,
        model: ModelId([6; 32]),
        epoch: 8,
        nonce: [7; 16],
        input: Input::Numbers(vec![1, -2]),
    };
    let request = Signed::new(request, &GENESIS, key);
    let response = Response {
        miner: key.account(),
        request: request.id(&GENESIS),
        model: ModelId([6; 32]),
        input: Hash32([4; 32]),
        output: Output::Numbers(vec![5, -6]),
        proof: None,
    };
    let response = Signed::new(response, &GENESIS, key);
    let entry = ScoreEntry {
        miner: account,
        score: Score::ratio(3, 4),
        confidence: Score::ONE,
        tasks: 3,
        responses: 2,
        refuted: 0,
        proofs_verified: 2,
        proofs_rejected: 0,
        evidence: Hash32([5; 32]),
        marks: vec![Mark { criterion: "exact".into(), mark: Score::ONE, tasks: 2 }],
    };
    let sheet = ScoreSheet { validator: key.account(), subnet: 1, epoch: 8, salt: [2; 32], scores: vec![entry] };
    let exhibit = Exhibit { responses: vec![Hash32([4; 32])], request: request.clone(), response: response.clone() };
    let consent = Signature([8; 64]);
    let propose = |kind| Action::Propose { title: "t".into(), text: String::new(), kind, urgent: true };
    vec![
        Action::Transfer { to: account, amount },
        Action::Stake { validator: account, amount },
        Action::Unstake { validator: account, amount },
        Action::RegisterValidator { operator: account, consent, stake: amount, take: 5, endpoint: endpoint.clone() },
        Action::RegisterMiner { subnet: 1, most: amount, operator: account, consent, endpoint: endpoint.clone() },
        Action::RetireMiner { operator: account },
        Action::SetEndpoint { operator: account, endpoint },
        Action::RegisterModel { subnet: 1, name: "digits".into(), bytes: vec![1, 2, 3] },
        Action::CommitScores { subnet: 1, epoch: 8, commitment: sheet.commitment(&GENESIS) },
        Action::RevealScores { sheet, exhibits: vec![exhibit] },
        Action::Refute { request: request.clone(), response: response.clone(), proof: Some(vec![1]) },
        Action::Challenge { request, response },
        Action::Answer { challenge: Hash32([1; 32]), proof: vec![1, 2] },
        Action::Judge { challenge: Hash32([1; 32]), holds: true },
        Action::DoubleSign { first: vote(key, 1), second: vote(key, 2) },
        Action::Propose { title: "t".into(), text: "why".into(), kind: ProposalKind::Choice, urgent: false },
        Action::Propose {
            title: "t".into(),
            text: String::new(),
            kind: ProposalKind::Parameter { name: "tempo".into(), subnet: None },
            urgent: false,
        },
        Action::Vote { proposal: 1, ballot: Ballot::Veto },
        Action::Vote { proposal: 2, ballot: Ballot::Value(24) },
        Action::Redelegate { from: account, to: key.account(), amount },
        Action::Unjail { validator: account },
        propose(ProposalKind::Parameter { name: "kappa".into(), subnet: Some(1) }),
        propose(ProposalKind::Text),
        propose(ProposalKind::Model { action: ModelAction::Promote, model: ModelId([6; 32]) }),
        propose(ProposalKind::Model { action: ModelAction::Retire, model: ModelId([6; 32]) }),
        propose(ProposalKind::Treasury { to: account, amount }),
        propose(ProposalKind::Upgrade { version: 2, height: 1000 }),
        Action::DelegateVote { to: Some(account) },
        Action::DelegateVote { to: None },
        Action::SetTariff { operator: account, tariff: Tariff { prompt: Amount(3), completion: amount } },
        Action::PayUsage { bills: vec![Bill { miner: account, amount }] },
    ]
}

#[test]
fn transactions_encode_as_in_the_committed_vectors() {
    let key = Keypair::from_secret([7; 32]);
    let mut map = BTreeMap::new();
    for (nonce, action) in (0..).zip(actions(&key)) {
        let name = format!("{nonce:02} {}", action.name());
        let body = Transaction { signer: key.account(), nonce, fee: Amount(1000), action };
        let tx = Signed::new(body, &GENESIS, &key);
        map.insert(name, format!("{} {}", tx.id(&GENESIS), hex(&encode(&tx))));
    }
    let found = serde_json::to_string_pretty(&map).unwrap() + "\n";
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/vectors/transactions.json");
    if std::env::var_os("ASSAY_WRITE_VECTORS").is_some() {
        std::fs::write(path, &found).unwrap();
    }
    assert_eq!(found, std::fs::read_to_string(path).unwrap(), "an encoding changed");
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
