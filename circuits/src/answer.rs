//! What a network asks of a model: run, prove and verify one answer, with the keys kept in memory.
//!
//! ```text
//! Model + input --run--> output --prove--> proof      Outline + input + output + proof --verify--> yes, or why not
//!                               --compact::prove--> 128 bytes --compact::verify--> yes, or why not
//! ```
//!
//! On the wire an input is one list of 16-bit integers, all inputs of the model one after another, and an output one list
//! of 32-bit integers. The proof system is `sumcheck`, which needs no set-up; [`compact`] is `groth16`, for models whose
//! keys were made. Keys follow from the model and cost more to make than a verification takes: a bounded, process-wide
//! memory holds them.

#[cfg(feature = "groth16")]
pub mod compact;

use std::sync::Arc;

use assay_primitives::ModelId;

use crate::{
    Binding,
    binding::{hash_inputs, hash_outputs},
    exec::ExecError,
    graph::Work,
    kept::Kept,
    model::{Model, ModelError, Outline},
    proof::{
        ProofSystem, ProveError, SetupError, Statement, VerifyError,
        sumcheck::{self, Sumcheck},
    },
    relation::{Relations, Trace, TraceError},
};

/// Models whose keys are kept.
const CAPACITY: usize = 16;

/// Why an answer was not proved.
#[derive(Debug, thiserror::Error)]
pub enum AnswerError {
    /// The binding is about other values than those given.
    #[error(transparent)]
    Binding(#[from] BindingError),
    /// The input does not fit the model.
    #[error(transparent)]
    Input(#[from] ExecError),
    /// The model does not give this output; a wrong output is refused, never proved.
    #[error("the model does not give this output on this input")]
    WrongOutput,
    /// No keys.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// The witness.
    #[error(transparent)]
    Trace(#[from] TraceError),
    /// The proof system.
    #[error(transparent)]
    Prove(#[from] ProveError),
}

/// Why an answer was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum RefusedAnswer {
    /// The binding is about other values than those given.
    #[error(transparent)]
    Binding(#[from] BindingError),
    /// Values that are none of this model's.
    #[error(transparent)]
    Values(#[from] ExecError),
    /// No keys: nothing can be said about the proof.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// The proof does not hold.
    #[error(transparent)]
    Proof(#[from] VerifyError),
}

/// A binding that does not belong to the values beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the binding's {field} is not that of the values given")]
pub struct BindingError {
    /// `model`, `input` or `output`.
    pub field: &'static str,
}

/// What a model's answers cost to check, in nanoseconds of one core, about, reckoned from counts alone, so that every
/// machine finds the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cost {
    /// Verifying one proof.
    pub verify: u64,
    /// Reading the model and running it once.
    pub replay: u64,
    /// Length of a proof, to about a tenth.
    pub proof_bytes: u64,
}

impl Cost {
    /// The cost of a model's answers.
    ///
    /// # Errors
    /// [`SetupError`] where the model cannot be proved.
    pub fn of(model: &Model) -> Result<Self, SetupError> {
        /// What every model takes to read.
        const READ: u64 = 500_000;
        /// A weight, read, checked and committed to.
        const WEIGHT: u64 = 120;
        const MAC: u64 = 1;
        const MOVE: u64 = 6;
        let Work { macs, moves } = model.graph().work().map_err(|e| unprovable(&e))?;
        let weights: u64 = model.weights().iter().map(|data| data.len() as u64).sum();
        let parts = [(weights, WEIGHT), (macs, MAC), (moves, MOVE)];
        let replay = parts.iter().fold(READ, |sum, (count, each)| sum.saturating_add(count.saturating_mul(*each)));
        let key = verifier(&model.outline())?;
        Ok(Self { verify: key.verification_nanos(), replay, proof_bytes: key.proof_bytes() as u64 })
    }
}

/// What a prover keeps for a model.
struct Prover {
    relations: Arc<Relations>,
    key: sumcheck::ProverKey,
}

static PROVERS: Kept<Prover, SetupError> = Kept::new(CAPACITY);
static VERIFIERS: Kept<sumcheck::VerifierKey, SetupError> = Kept::new(CAPACITY);
static MODELS: Kept<Model, ModelError> = Kept::new(CAPACITY);

fn unprovable(reason: &dyn std::fmt::Display) -> SetupError {
    SetupError::Keys { system: Sumcheck::NAME, reason: reason.to_string() }
}

fn relations(outline: &Outline) -> Result<Arc<Relations>, SetupError> {
    Relations::of(outline.graph()).map(Arc::new).map_err(|e| unprovable(&e))
}

fn prover(model: &Model) -> Result<Arc<Prover>, SetupError> {
    PROVERS.get(model.id(), || {
        let relations = relations(&model.outline())?;
        // A plain proof of secret weights would tell of them.
        Sumcheck::committed(model.outline().commitments())?;
        let (key, _) = Sumcheck::set_up(Arc::clone(&relations), model.weights())?;
        Ok(Prover { relations, key })
    })
}

fn verifier(outline: &Outline) -> Result<Arc<sumcheck::VerifierKey>, SetupError> {
    VERIFIERS
        .get(outline.id(), || Ok(sumcheck::VerifierKey::new(relations(outline)?, outline.commitments().plain_root()?)?))
}

/// Makes a model's keys now, so that the first answer need not wait for them.
///
/// # Errors
/// [`SetupError`] where the model cannot be proved.
pub fn warm_up(model: &Model) -> Result<(), SetupError> {
    prover(model).map(drop)
}

/// The model that is kept in memory under this id, or else that of these bytes, read now. Whether it has the id is for the
/// caller to check.
///
/// # Errors
/// [`ModelError`] of bytes that are no model.
pub fn model(id: ModelId, bytes: &[u8]) -> Result<Arc<Model>, ModelError> {
    MODELS.get(id, || Model::from_bytes(bytes))
}

/// What is proved or verified, once the binding is known to be that of the values.
struct Stated {
    inputs: Vec<Vec<i64>>,
    outputs: Vec<Vec<i64>>,
    digest: [u8; 32],
}

impl Stated {
    fn new<E>(outline: &Outline, binding: &Binding, input: &[i16], output: &[i32]) -> Result<Self, E>
    where
        E: From<ExecError> + From<BindingError>,
    {
        let inputs = outline.split_input(input)?;
        let outputs = outline.split_output(output)?;
        let holds = [
            ("model", binding.model == outline.id()),
            ("input", hash_inputs(&inputs) == Ok(binding.input)),
            ("output", hash_outputs(&outputs) == Ok(binding.output)),
        ];
        match holds.into_iter().find(|(_, holds)| !holds) {
            Some((field, _)) => Err(BindingError { field }.into()),
            None => Ok(Self { inputs, outputs, digest: binding.digest().0 }),
        }
    }

    fn statement(&self) -> Statement<'_> {
        Statement { binding: &self.digest, inputs: &self.inputs, outputs: &self.outputs }
    }

    /// The witness, if the model gives these outputs.
    fn trace(&self, relations: &Relations, model: &Model) -> Result<Trace, AnswerError> {
        let trace = relations.trace(model.graph(), model.weights(), &self.inputs)?;
        if relations.outputs_of(&trace) == self.outputs { Ok(trace) } else { Err(AnswerError::WrongOutput) }
    }
}

/// Proves that the model gives `output` on `input`, for this binding.
///
/// # Errors
/// [`AnswerError`].
pub fn prove(model: &Model, binding: &Binding, input: &[i16], output: &[i32]) -> Result<Vec<u8>, AnswerError> {
    let stated = Stated::new::<AnswerError>(&model.outline(), binding, input, output)?;
    let prover = prover(model)?;
    let trace = stated.trace(&prover.relations, model)?;
    Ok(Sumcheck::prove(&prover.key, &trace, stated.statement())?)
}

/// Verifies that the model gives `output` on `input`, for this binding; needs no weights.
///
/// # Errors
/// [`RefusedAnswer`]; never panics, on any bytes.
pub fn verify(
    outline: &Outline,
    binding: &Binding,
    input: &[i16],
    output: &[i32],
    proof: &[u8],
) -> Result<(), RefusedAnswer> {
    let stated = Stated::new::<RefusedAnswer>(outline, binding, input, output)?;
    Ok(Sumcheck::verify(&*verifier(outline)?, stated.statement(), proof)?)
}

/// Position of the largest value, the first of equal ones; 0 for none.
pub fn argmax(values: &[i32]) -> usize {
    let mut best = 0;
    for (at, value) in values.iter().enumerate() {
        if *value > values[best] {
            best = at;
        }
    }
    best
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
