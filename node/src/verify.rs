//! Offline verification of a receipt: from the genesis hash alone to "this miner answered this input with this
//! output of this committed model".
//!
//! ```text
//! genesis hash ─> genesis bytes ─> first validator set ─certificates─> header ─> state root
//! state root ─Merkle proofs─> model registered, miner registered
//! model bytes ─> its id is the registered one;  request, response ─signatures─> who asked, who answered
//! input ─exact re-execution─> output;  proof ─halo2─> output = model(input), for this request and miner
//! ```
//!
//! Nothing is fetched and nothing in the receipt is believed before it is checked. Every check is named, in order, so
//! that a failure says what still held.

use assay_chain_spec::ChainSpec;
use assay_circuits::dense::{Binding, CompiledModel};
use assay_ledger::{
    keys,
    records::{MinerRecord, ModelRecord},
    tree,
};
use assay_primitives::{
    Hash32, light,
    receipt::{Receipt, StateFact},
    task,
};
use serde::Serialize;

/// One thing that was checked and holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// Its name, the same in every run.
    pub name: &'static str,
    /// What was found, for people.
    pub detail: String,
}

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
                self.0.push(Check { name, detail });
                Ok(value)
            }
            Err(reason) => Err(VerifyFailure { passed: std::mem::take(&mut self.0), name, reason }),
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
pub fn verify_text(json: &str, genesis: &Hash32) -> Result<Vec<Check>, VerifyFailure> {
    let mut checks = Checks(Vec::new());
    let receipt = checks.check("canonical form", || {
        let receipt = Receipt::from_json(json).map_err(text)?;
        let detail = format!("{} bytes, version {}", json.len(), receipt.version);
        Ok((receipt, detail))
    })?;
    run(checks, &receipt, genesis)
}

/// Checks a receipt in memory, as [`verify_text`] does but for the text's form.
///
/// # Errors
/// [`VerifyFailure`] with the first check that does not hold.
pub fn verify_receipt(receipt: &Receipt, genesis: &Hash32) -> Result<Vec<Check>, VerifyFailure> {
    run(Checks(Vec::new()), receipt, genesis)
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

fn run(mut checks: Checks, receipt: &Receipt, genesis: &Hash32) -> Result<Vec<Check>, VerifyFailure> {
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
    let model = checks.check("model commitment", || {
        let key = keys::model(&request.body.model);
        let record: ModelRecord = proven("model", &receipt.model_fact, &key, &header.state_root)?;
        let model = CompiledModel::from_bytes(&receipt.model.0).map_err(text)?;
        require(record.id == request.body.model, || {
            format!("the state registers {}, the request asks for {}", record.id, request.body.model)
        })?;
        require(model.id() == record.id, || {
            format!("the receipt's model has id {}, the state commits to {}", model.id(), record.id)
        })?;
        require(record.subnet == request.body.subnet, || {
            format!("the model is of subnet {}, the request of subnet {}", record.subnet, request.body.subnet)
        })?;
        Ok((model, format!("{} = {}, under the header's state root", record.name, record.id)))
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
    let input = task::input_hash(&request.body.input);
    checks.check("input binding", || {
        require(response.body.input == input, || {
            format!("the miner ran an input with hash {}, the request's hashes to {input}", response.body.input)
        })?;
        Ok(((), format!("{} values, hash {}", request.body.input.len(), input.short())))
    })?;
    let output = task::output_hash(&response.body.output);
    checks.check("output binding", || {
        let ran = model.run(&request.body.input).map_err(text)?;
        require(ran == response.body.output, || {
            format!("exact re-execution gives {ran:?}, the miner signed {:?}", response.body.output)
        })?;
        Ok(((), format!("exact re-execution gives the signed output, hash {}", output.short())))
    })?;
    checks.check("proof", || {
        let named = response.body.proof.ok_or("the response names no proof")?;
        let found = Hash32::digest(&receipt.proof.0);
        require(found == named, || format!("the miner signed proof {named}, the receipt's hashes to {found}"))?;
        let binding = Binding {
            genesis: *genesis,
            model: request.body.model,
            request: request_id,
            miner: request.body.miner,
            epoch: request.body.epoch,
            input,
            output,
        };
        assay_circuits::dense::verify(&model, &binding, &request.body.input, &response.body.output, &receipt.proof.0)
            .map_err(text)?;
        Ok(((), format!("{} bytes, bound to request and miner", receipt.proof.0.len())))
    })?;
    Ok(checks.0)
}

#[cfg(test)]
mod tests;
