//! The encodings, pinned: `tests/vectors/primitives.json` holds the borsh bytes and ids of one example of each type.
//!
//! A difference means that old signatures, stores and chains are no longer understood. Where that is meant, run the test
//! with `ASSAY_WRITE_VECTORS=1` and say in the commit why.

use std::collections::BTreeMap;

use crate::{
    AccountId, Amount, Certificate, Hash32, Header, Keypair, ModelId, Score, Signed, SignedHeader, Validator,
    ValidatorSet, VoteContent, VoteKind, domain, encode,
    light::SetChange,
    task::{self, Input, Output, Request, Response},
    text::{Draw, Ending, Form, ModelFile, Real, TextInput, TextModel, TextOutput},
};

const GENESIS: Hash32 = Hash32([9; 32]);

fn examples() -> BTreeMap<&'static str, String> {
    let key = Keypair::from_secret([7; 32]);
    let account = key.account();
    let set =
        ValidatorSet::new(vec![Validator { account, power: 3 }, Validator { account: AccountId([1; 32]), power: 2 }])
            .expect("two validators make a set");
    let header = Header {
        chain_id: "golden".into(),
        height: 5,
        time_ms: 1_700_000_000_000,
        parent: Hash32([1; 32]),
        proposer: account,
        tx_root: Hash32([2; 32]),
        state_root: Hash32([3; 32]),
        validators_hash: set.hash(&GENESIS),
        next_validators_hash: set.hash(&GENESIS),
        evidence_root: Hash32([4; 32]),
        app_version: 1,
    };
    let vote = VoteContent {
        kind: VoteKind::Precommit,
        height: 5,
        round: 1,
        block: Some(header.id(&GENESIS)),
        validator: account,
    };
    let vote = Signed::new(vote, &GENESIS, &key);
    let certificate =
        Certificate { height: 5, round: 1, block: header.id(&GENESIS), signatures: vec![(account, vote.signature)] };
    let signed = SignedHeader { header: header.clone(), certificate };
    let request = Request {
        requester: account,
        miner: AccountId([5; 32]),
        subnet: 1,
        model: ModelId([6; 32]),
        epoch: 8,
        nonce: [7; 16],
        input: Input::Numbers(vec![-1, 0, 300]),
    };
    let request = Signed::new(request, &GENESIS, &key);
    let response = Response {
        miner: account,
        request: request.id(&GENESIS),
        model: ModelId([6; 32]),
        input: request.body.input.hash(),
        output: Output::Numbers(vec![-70_000, 5]),
        proof: Some(Hash32([8; 32])),
    };
    let response = Signed::new(response, &GENESIS, &key);
    let text = TextInput {
        prompt: vec![1, 300],
        max_tokens: 16,
        draw: Draw { temperature: Real::ONE, bias: vec![(3, Real::ONE)], seed: 5, ..Draw::greedy() },
        stop: vec!["\n".into()],
        ignore_end: false,
        form: Some(Form::Object),
    };
    let told = TextOutput { tokens: vec![7, 2], ending: Ending::Stop(0), activations: Hash32([8; 32]) };
    let file = ModelFile { name: "model.gguf".into(), bytes: 9, hash: Hash32([5; 32]) };
    let model = TextModel { files: vec![file], context: 64, vocabulary: 300, arithmetic: 1 };
    let change = SetChange { signed: signed.clone(), next: set.clone() };
    let mut map = BTreeMap::new();
    let mut pin = |name, bytes: Vec<u8>| map.insert(name, hex::encode(bytes));
    pin("account text", account.to_string().into_bytes());
    pin("amount", encode(&Amount(1_500_000_000)));
    pin("header", encode(&header));
    pin("header id", header.id(&GENESIS).0.to_vec());
    pin("preimage", domain::preimage(domain::VOTE, &GENESIS, &1u64));
    pin("request", encode(&request));
    pin("request id", request.id(&GENESIS).0.to_vec());
    pin("response", encode(&response));
    pin("response id", response.id(&GENESIS).0.to_vec());
    pin("input hash", task::input_hash(&[-1, 0, 300]).0.to_vec());
    pin("output hash", task::output_hash(&[-70_000, 5]).0.to_vec());
    pin("text input", encode(&Input::Text(text.clone())));
    pin("text input hash", Input::Text(text).hash().0.to_vec());
    pin("text output", encode(&Output::Text(told.clone())));
    pin("text output hash", Output::Text(told).hash().0.to_vec());
    pin("text model", model.to_bytes());
    pin("text model id", model.id().0.to_vec());
    pin("score", encode(&Score::ratio(1, 3)));
    pin("set change", encode(&change));
    pin("signed header", encode(&signed));
    pin("validator set", encode(&set));
    pin("validator set hash", set.hash(&GENESIS).0.to_vec());
    pin("vote", encode(&vote));
    map
}

#[test]
#[allow(clippy::unwrap_used)]
fn encodings_are_those_of_the_committed_vectors() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/vectors/primitives.json");
    let found = serde_json::to_string_pretty(&examples()).unwrap() + "\n";
    if std::env::var_os("ASSAY_WRITE_VECTORS").is_some() {
        std::fs::write(path, &found).unwrap();
    }
    let committed = std::fs::read_to_string(path).unwrap();
    assert_eq!(found, committed, "an encoding changed");
}
