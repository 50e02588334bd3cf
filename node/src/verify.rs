//! Offline verification of a receipt: from the genesis hash alone to "this miner answered this input with this
//! output of this committed model".
//!
//! ```text
//! genesis hash ─> genesis bytes ─> first validator set ─certificates─> header ─> state root
//! state root ─Merkle proofs─> model registered, miner registered
//! outline ─> its id is the registered one;  request, response ─signatures─> who asked, who answered
//! proof ─sumcheck, or groth16 under the registered key─> output = model(input), for this request and miner
//! text  ─made again by whoever has the model's files─> the signed tokens and activations, to the last bit
//! ```
//!
//! Nothing is fetched and nothing in the receipt is believed before it is checked. Every check is named, in order, so
//! that a failure says what still held.

use assay_chain_spec::ChainSpec;
use assay_circuits::{
    Binding,
    answer::{
        self,
        compact::{self, Provenance},
    },
    model::{Model, Outline},
};
use assay_ledger::{
    keys,
    records::{MinerRecord, ModelRecord},
    tree,
};
use std::sync::Arc;

use assay_inference::llm::Llm;
use assay_primitives::{
    Hash32, ModelId, light,
    receipt::{Receipt, ReceiptProof, StateFact},
    task::{Input, Output},
    text::TextModel,
};
use serde::Serialize;

use crate::texts;

/// One thing that was checked and holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// Its name, the same in every run.
    pub name: &'static str,
    /// What was found, for people.
    pub detail: String,
    /// What whoever relies on it should know.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warning: Option<&'static str>,
}

/// What else is asked of a receipt, beside that it holds.
#[derive(Clone, Debug, Default)]
pub struct Demands {
    /// The model with its weights, to run the input again; a receipt carries none.
    pub model: Option<Whole>,
    /// Whether a `groth16` key of a single party is refused.
    pub ceremony: bool,
}

/// A model with its weights.
#[derive(Clone, Debug)]
pub enum Whole {
    /// An exact one.
    Exact(Model),
    /// A language model.
    Text(Arc<Llm>),
}

impl Whole {
    fn id(&self) -> ModelId {
        match self {
            Whole::Exact(model) => model.id(),
            Whole::Text(llm) => llm.id(),
        }
    }
}

/// What a receipt says of its model, without the weights.
enum Committed {
    Exact(Outline),
    Text(TextModel),
}

impl Committed {
    fn read(bytes: &[u8]) -> Result<Self, String> {
        match TextModel::is_magic(bytes) {
            true => TextModel::from_bytes(bytes).map(Committed::Text).map_err(text),
            false => Outline::from_bytes(bytes).map(Committed::Exact).map_err(text),
        }
    }

    fn id(&self) -> ModelId {
        match self {
            Committed::Exact(outline) => outline.id(),
            Committed::Text(model) => model.id(),
        }
    }
}

const UNPROVEN: &str = "no proof comes with a text: until it is made again with `--model`, the miner's signature and bond \
                        stand for it";

const SINGLE_PARTY: &str =
    "the groth16 key was made by a single party, who could forge such proofs: good for development only";

/// A receipt that proves nothing, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the receipt does not hold: {name}: {reason}")]
pub struct VerifyFailure {
    /// What had held before.
    pub passed: Vec<Check>,
    /// The check that failed.
    pub name: &'static str,
    /// Why.
    pub reason: String,
}

/// What the checks established, in order.
struct Checks(Vec<Check>);

impl Checks {
    /// Runs one check; `Ok` carries its detail.
    fn check<T>(
        &mut self,
        name: &'static str,
        run: impl FnOnce() -> Result<(T, String), String>,
    ) -> Result<T, VerifyFailure> {
        match run() {
            Ok((value, detail)) => {
                self.0.push(Check { name, detail, warning: None });
                Ok(value)
            }
            Err(reason) => Err(VerifyFailure { passed: std::mem::take(&mut self.0), name, reason }),
        }
    }

    /// Adds to the last check what whoever relies on it should know.
    fn warn(&mut self, warning: &'static str) {
        if let Some(last) = self.0.last_mut() {
            last.warning = Some(warning);
        }
    }
}

/// `Err(reason)` unless `holds`.
fn require(holds: bool, reason: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(reason()) }
}

fn text(error: impl ToString) -> String {
    error.to_string()
}

/// Checks a receipt's JSON text, its canonical form included, knowing only the genesis hash.
///
/// # Errors
/// [`VerifyFailure`] with the first check that does not hold.
pub fn verify_text(json: &str, genesis: &Hash32, demands: &Demands) -> Result<Vec<Check>, VerifyFailure> {
    let mut checks = Checks(Vec::new());
    let receipt = checks.check("canonical form", || {
        let receipt = Receipt::from_json(json).map_err(text)?;
        let detail = format!("{} bytes, version {}", json.len(), receipt.version);
        Ok((receipt, detail))
    })?;
    run(checks, &receipt, genesis, demands)
}

/// Checks a receipt in memory, as [`verify_text`] does but for the text's form.
///
/// # Errors
/// [`VerifyFailure`] with the first check that does not hold.
pub fn verify_receipt(receipt: &Receipt, genesis: &Hash32, demands: &Demands) -> Result<Vec<Check>, VerifyFailure> {
    run(Checks(Vec::new()), receipt, genesis, demands)
}

/// Decodes the value of a fact after its place under `root` is proven.
fn proven<T: borsh::BorshDeserialize>(
    what: &'static str,
    fact: &StateFact,
    key: &[u8],
    root: &Hash32,
) -> Result<T, String> {
    require(fact.key.0 == key, || {
        format!(
            "the proven entry is not that of the {what}: expected key {}, found {}",
            hex::encode(key),
            hex::encode(&fact.key.0)
        )
    })?;
    tree::verify_fact(root, key, &fact.value.0, &fact.proof.0).map_err(|e| match e {
        tree::FactError::NotContained { root, .. } => {
            format!("the proof does not lead to the header's state root {root}; the entry, its proof or the header was changed")
        }
        malformed => malformed.to_string(),
    })?;
    assay_primitives::decode(what, &fact.value.0).map_err(text)
}

fn run(
    mut checks: Checks,
    receipt: &Receipt,
    genesis: &Hash32,
    demands: &Demands,
) -> Result<Vec<Check>, VerifyFailure> {
    let (request, response) = (&receipt.request, &receipt.response);
    let spec = checks.check("genesis", || {
        let spec = ChainSpec::from_canonical(&receipt.genesis.0).map_err(text)?;
        let found = spec.genesis_hash();
        require(found == *genesis, || {
            format!("expected genesis hash {genesis}, the receipt's genesis hashes to {found}: it is of another chain, or was changed")
        })?;
        let detail = format!("chain {}, {} genesis validators", spec.chain_id, spec.validators.len());
        Ok((spec, detail))
    })?;
    checks.check("request signature", || {
        request.verify(genesis).map_err(text)?;
        Ok(((), format!("by {}", request.body.requester)))
    })?;
    let request_id = request.id(genesis);
    checks.check("response signature", || {
        response.verify(genesis).map_err(text)?;
        let (asked, answered) = (&request.body, &response.body);
        require(answered.request == request_id, || {
            format!("it answers request {}, not this one, {request_id}", answered.request)
        })?;
        require(answered.miner == asked.miner, || format!("{} answered, {} was asked", answered.miner, asked.miner))?;
        require(answered.model == asked.model, || {
            format!("model {} answered, {} was asked", answered.model, asked.model)
        })?;
        Ok(((), format!("by {}, for this request", answered.miner)))
    })?;
    let header = &receipt.header.header;
    checks.check("header certificate", || {
        let first = spec.validator_set().map_err(text)?;
        require(header.chain_id == spec.chain_id, || {
            format!("the header is of chain {:?}, expected {:?}", header.chain_id, spec.chain_id)
        })?;
        let set = light::verify_path(genesis, &first, &receipt.changes, &receipt.header).map_err(text)?;
        let (signed, all) = (receipt.header.certificate.signatures.len(), set.len());
        let changes = receipt.changes.len();
        Ok(((), format!("height {}, signed by {signed} of {all} validators, {changes} set changes", header.height)))
    })?;
    let (record, committed) = checks.check("model commitment", || {
        let key = keys::model(&request.body.model);
        let record: ModelRecord = proven("model", &receipt.model_fact, &key, &header.state_root)?;
        let outline = Committed::read(&receipt.outline.0)?;
        require(record.id == request.body.model, || {
            format!("the state registers {}, the request asks for {}", record.id, request.body.model)
        })?;
        require(outline.id() == record.id, || {
            format!("the receipt's model has id {}, the state commits to {}", outline.id(), record.id)
        })?;
        require(record.subnet == request.body.subnet, || {
            format!("the model is of subnet {}, the request of subnet {}", record.subnet, request.body.subnet)
        })?;
        let detail = format!("{} = {}, under the header's state root", record.name, record.id);
        Ok(((record, outline), detail))
    })?;
    checks.check("miner registration", || {
        let key = keys::miner(&response.body.miner);
        let record: MinerRecord = proven("miner", &receipt.miner_fact, &key, &header.state_root)?;
        require(record.operator == response.body.miner, || {
            format!("the state registers {}, {} answered", record.operator, response.body.miner)
        })?;
        require(record.subnet == request.body.subnet, || {
            format!("the miner is of subnet {}, the request of subnet {}", record.subnet, request.body.subnet)
        })?;
        require(record.retired.is_none(), || "the miner was out of the market at that height".into())?;
        Ok(((), format!("bond {}, under the header's state root", record.bond)))
    })?;
    let input = request.body.input.hash();
    checks.check("input binding", || {
        require(response.body.input == input, || {
            format!("the miner ran an input with hash {}, the request's hashes to {input}", response.body.input)
        })?;
        let what = takes(&committed, &request.body.input)?;
        Ok(((), format!("{what}, hash {}", input.short())))
    })?;
    let output = response.body.output.hash();
    checks.check("output binding", || {
        let what = gives(&committed, &request.body.input, &response.body.output)?;
        Ok(((), format!("{what}, hash {}", output.short())))
    })?;
    let binding = Binding {
        genesis: *genesis,
        model: request.body.model,
        request: request_id,
        miner: request.body.miner,
        epoch: request.body.epoch,
        input,
        output,
    };
    let provenance = checks.check("proof", || prove(receipt, &record, &committed, &binding))?;
    if provenance.is_some_and(Provenance::is_single_party) {
        if demands.ceremony {
            checks.check("ceremony", || Err::<((), String), _>(SINGLE_PARTY.into()))?;
        }
        checks.warn(SINGLE_PARTY);
    }
    match &demands.model {
        None if matches!(committed, Committed::Text(_)) => checks.warn(UNPROVEN),
        None => {}
        Some(whole) => checks.check("re-execution", || {
            require(whole.id() == record.id, || format!("the model given is {}, asked was {}", whole.id(), record.id))?;
            run_again(whole, &request.body.input, &response.body.output)
        })?,
    }
    Ok(checks.0)
}

const OTHER_KIND: &str = "an exact model takes and gives numbers, a language model text; this is the other kind";

/// What the model is asked, in words, if it takes it.
fn takes(committed: &Committed, input: &Input) -> Result<String, String> {
    match (committed, input) {
        (Committed::Exact(outline), Input::Numbers(numbers)) => {
            outline.split_input(numbers).map_err(text)?;
            Ok(format!("{} values of the model's", numbers.len()))
        }
        (Committed::Text(model), Input::Text(asked)) => {
            let most = asked.prompt.len() as u64 + u64::from(asked.max_tokens);
            require(!asked.prompt.is_empty() && most <= u64::from(model.context), || {
                format!("{most} tokens with the answer, the model's context has {}", model.context)
            })?;
            let all = asked.prompt.iter().all(|token| *token < model.vocabulary);
            require(all, || "a token that the model does not have".into())?;
            Ok(format!("{} tokens of the model's", asked.prompt.len()))
        }
        _ => Err(OTHER_KIND.into()),
    }
}

/// What the model gave, in words, if it can give it.
fn gives(committed: &Committed, input: &Input, output: &Output) -> Result<String, String> {
    match (committed, input, output) {
        (Committed::Exact(outline), _, Output::Numbers(numbers)) => {
            outline.split_output(numbers).map_err(text)?;
            Ok(format!("{} values of the model's, which the proof is about", numbers.len()))
        }
        (Committed::Text(model), Input::Text(asked), Output::Text(told)) => {
            let count = told.tokens.len();
            require((1..=asked.max_tokens as usize).contains(&count), || {
                format!("{count} tokens, {} were asked for", asked.max_tokens)
            })?;
            let all = told.tokens.iter().all(|token| *token < model.vocabulary);
            require(all, || "a token that the model does not have".into())?;
            Ok(format!("{count} tokens of the model's"))
        }
        _ => Err(OTHER_KIND.into()),
    }
}

fn run_again(whole: &Whole, input: &Input, output: &Output) -> Result<((), String), String> {
    match (whole, input, output) {
        (Whole::Exact(model), Input::Numbers(input), Output::Numbers(output)) => {
            let ran = model.run_flat(input).map_err(text)?;
            require(ran == *output, || format!("running the model gives {ran:?}, the miner signed {output:?}"))?;
            Ok(((), "running the model again gives the signed output".into()))
        }
        (Whole::Text(llm), Input::Text(asked), Output::Text(told)) => {
            let looked = futures::executor::block_on(texts::look(llm, asked, told)).map_err(text)?;
            require(looked.verdict.is_right(), || looked.verdict.to_string())?;
            Ok(((), "the model, run again, gives the signed tokens and activations to the last bit".into()))
        }
        _ => Err(OTHER_KIND.into()),
    }
}

/// Checks the proof. Gives how the key came to be, where there is one.
fn prove(
    receipt: &Receipt,
    record: &ModelRecord,
    committed: &Committed,
    binding: &Binding,
) -> Result<(Option<Provenance>, String), String> {
    let outline = match (committed, &receipt.proof) {
        (Committed::Exact(outline), _) => outline,
        (Committed::Text(_), ReceiptProof::Replay {}) => {
            return Ok((None, "none: a text is made again by whoever has the model".into()));
        }
        (Committed::Text(_), proof) => return Err(format!("a text has no proof by {}", proof.system())),
    };
    let (Some(input), Some(output)) = (receipt.request.body.input.numbers(), receipt.response.body.output.numbers())
    else {
        return Err(OTHER_KIND.into());
    };
    match &receipt.proof {
        ReceiptProof::Replay {} => Err("a proof is missing: answers of an exact model are proved".into()),
        ReceiptProof::Sumcheck { proof } => {
            let named = receipt.response.body.proof.ok_or("the response names no proof")?;
            let found = Hash32::digest(&proof.0);
            require(found == named, || format!("the miner signed proof {named}, the receipt's hashes to {found}"))?;
            answer::verify(outline, binding, input, output, &proof.0).map_err(text)?;
            Ok((None, format!("sumcheck, {} bytes, bound to request, miner, input and output", proof.0.len())))
        }
        ReceiptProof::Groth16 { key, proof } => {
            let named = record.groth16.ok_or("the state registers no groth16 key for this model")?;
            let found = Hash32::digest(&key.0);
            require(found == named, || format!("the state registers key {named}, the receipt's hashes to {found}"))?;
            let provenance = compact::verify(outline, &key.0, binding, input, output, &proof.0).map_err(text)?;
            let from = match &provenance {
                Provenance::Dev => "a development key".into(),
                Provenance::Ceremony { contributors, transcript } => {
                    format!("the key of a ceremony of {contributors} (transcript {})", Hash32(*transcript).short())
                }
            };
            let bytes = proof.0.len();
            Ok((
                Some(provenance),
                format!("groth16, {bytes} bytes under {from}, bound to request, miner, input and output"),
            ))
        }
    }
}

#[cfg(test)]
mod tests;
