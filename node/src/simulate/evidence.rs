//! What validators keep to pass the audit of their scores. Signatures are made when an exchange is shown: only the drawn
//! ones are, and the id of a message does not cover its signature.

use assay_ledger::{
    audit::{self, Exhibit},
    query,
    tx::ScoreSheet,
};
use assay_primitives::{
    Hash32, Keypair, ModelId, Signature, Signed,
    task::{Input, Output, Request, Response},
};

use super::{SimulationError, chain::Chain, exam::Question, population::Cast, population::SUBNET};

/// A request and the response to it, not signed yet.
pub(super) type Exchange = (Signed<Request>, Signed<Response>);

/// What a validator asked a miner, and what that answered.
pub(super) fn exchange(
    genesis: &Hash32,
    (validator, miner): (&Keypair, &Keypair),
    model: ModelId,
    (epoch, index): (u64, u64),
    question: &Question,
    output: Vec<i32>,
) -> Exchange {
    let mut nonce = [0; 16];
    nonce[..8].copy_from_slice(&index.to_le_bytes());
    let input = Input::Numbers(question.input.clone());
    let hash = input.hash();
    let (requester, miner) = (validator.account(), miner.account());
    let request = Request { requester, miner, subnet: SUBNET, model, epoch, nonce, input };
    let request = Signed { body: request, signature: Signature::EMPTY };
    let output = Output::Numbers(output);
    let response = Response { miner, request: request.id(genesis), model, input: hash, output, proof: None };
    (request, Signed { body: response, signature: Signature::EMPTY })
}

/// The exhibits that the audit of a sheet asks for, signed; none where the validator has not what is asked for.
pub(super) fn exhibits(
    chain: &Chain,
    cast: &Cast,
    validator: &Keypair,
    sheet: &ScoreSheet,
    exchanges: &[Exchange],
) -> Result<Vec<Exhibit>, SimulationError> {
    let Some(seed) = query::audit_seed(&chain.state, sheet.epoch)? else { return Ok(Vec::new()) };
    let drawn = audit::draw(&seed, sheet, chain.params.audit_samples);
    let mut found = audit::exhibits(&chain.genesis, sheet, &drawn, exchanges).unwrap_or_default();
    for Exhibit { request, response, .. } in &mut found {
        let miner = cast.miners.iter().find(|m| m.operator.account() == response.body.miner);
        if let Some(miner) = miner {
            *request = Signed::new(request.body.clone(), &chain.genesis, validator);
            *response = Signed::new(response.body.clone(), &chain.genesis, &miner.operator);
        }
    }
    Ok(found)
}
