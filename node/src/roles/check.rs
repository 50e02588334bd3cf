//! What a reply is worth: looked at by whoever asked, from its own request and the chain's model, never from what
//! the miner says about either.
//!
//! ```text
//! Reply ─ signed by the miner, over this request? ─no─> Unusable (nothing to hold against it on chain)
//!       ─ model, input, output as exact re-execution gives them? ─no─> WrongOutput (refutable)
//!       ─ its proof here? ─no─> MissingProof (challengeable)   holds? ─no─> InvalidProof (refutable)
//!       ─ Verified
//! ```

use assay_circuits::{
    Binding,
    answer::{self, compact},
};
use assay_inference::{Engine as _, ExactEngine};
use assay_primitives::{
    Hash32, Signed,
    task::{Request, Response, output_hash},
};

use crate::net::{RefusalCode, Reply};

/// A reply that carries the miner's signature over this very request.
#[derive(Debug)]
pub(crate) struct Checked {
    /// What the miner signed.
    pub(crate) response: Signed<Response>,
    /// The proof that came with it and has the signed hash.
    pub(crate) proof: Option<Vec<u8>>,
    /// The `groth16` proof that came with it, not looked at.
    pub(crate) compact: Option<Vec<u8>>,
    /// What exact re-execution gives.
    pub(crate) expected: Vec<i32>,
    /// What it is worth.
    pub(crate) finding: Finding,
}

/// What a signed answer is worth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Finding {
    /// Output exact, proof holds.
    Verified,
    /// Not what the model gives for the input that was asked.
    WrongOutput,
    /// The output is exact, the signed proof does not hold.
    InvalidProof(String),
    /// The output is exact, no proof came, or another than the signed one.
    MissingProof,
    /// A text that is not what the model gives, made again.
    OtherText(String),
}

/// A reply that proves nothing, not even who gave it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unusable {
    /// The miner refused.
    #[error("refused: {reason}")]
    Refused {
        /// The kind of reason.
        code: RefusalCode,
        /// In words.
        reason: String,
    },
    /// Not this miner's signed answer to this request.
    #[error("not a signed answer to this request: {0}")]
    NotAnAnswer(String),
    /// This node's own input does not fit the model.
    #[error("{0}")]
    Input(String),
}

/// What a proof of this answer is bound to.
pub(crate) fn binding(genesis: &Hash32, request: &Request, id: Hash32, output: Hash32) -> Binding {
    Binding {
        genesis: *genesis,
        model: request.model,
        request: id,
        miner: request.miner,
        epoch: request.epoch,
        input: request.input.hash(),
        output,
    }
}

/// Checks a reply. Takes as long as a verification: call it where blocking is allowed.
pub(crate) fn check(
    genesis: &Hash32,
    engine: &ExactEngine,
    request: &Signed<Request>,
    reply: Reply,
) -> Result<Checked, Unusable> {
    let (response, proof, compact) = match reply {
        Reply::Answer { response, proof, compact } => (*response, proof, compact),
        Reply::Refused { code, reason } => return Err(Unusable::Refused { code, reason }),
    };
    let not = |reason: String| Err(Unusable::NotAnAnswer(reason));
    let id = request.id(genesis);
    let (asked, said) = (&request.body, &response.body);
    if said.miner != asked.miner {
        return not(format!("{} was asked, {} answers", asked.miner, said.miner));
    }
    if said.request != id {
        return not(format!("the request is {id}, the answer is to {}", said.request));
    }
    if let Err(e) = response.verify(genesis) {
        return not(e.to_string());
    }
    let input = asked.input.numbers().ok_or_else(|| Unusable::Input("an exact model is run on numbers".into()))?;
    let expected = engine.run(input).map_err(|e| Unusable::Input(e.to_string()))?;
    let proof = proof.filter(|bytes| said.proof == Some(Hash32::digest(bytes)));
    let honest =
        said.model == asked.model && said.input == asked.input.hash() && said.output.numbers() == Some(&expected[..]);
    let finding = match &proof {
        _ if !honest => Finding::WrongOutput,
        None => Finding::MissingProof,
        Some(proof) => {
            let binding = binding(genesis, asked, id, output_hash(&expected));
            match answer::verify(&engine.model().outline(), &binding, input, &expected, proof) {
                Ok(()) => Finding::Verified,
                Err(e) => Finding::InvalidProof(e.to_string()),
            }
        }
    };
    Ok(Checked { response, proof, compact, expected, finding })
}

/// Checks a `groth16` proof of a verified answer under the model's registered key.
pub(crate) fn check_compact(
    genesis: &Hash32,
    engine: &ExactEngine,
    key: &[u8],
    request: &Signed<Request>,
    output: &[i32],
    proof: &[u8],
) -> Result<(), String> {
    let binding = binding(genesis, &request.body, request.id(genesis), output_hash(output));
    let input = request.body.input.numbers().ok_or("an exact model is run on numbers")?;
    let outline = engine.model().outline();
    compact::verify(&outline, key, &binding, input, output, proof).map(drop).map_err(|e| e.to_string())
}
