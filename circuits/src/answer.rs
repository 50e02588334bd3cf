//! What a network asks of a model: run, prove and verify one answer, with the keys kept in memory.
//!
//! ```text
//! Model + input --run--> output --prove--> proof          Model + input + output + proof --verify--> yes, or why not
//! ```
//!
//! On the wire an input is one list of 16-bit integers, all inputs of the model one after another, and an output one list
//! of 32-bit integers. The proof system is `sumcheck`, which needs no set-up. Its keys follow from the model and cost more
//! to make than a verification takes: a bounded, process-wide memory holds them.

use std::sync::Arc;

use crate::{
    Binding,
    binding::{hash_inputs, hash_outputs},
    exec::ExecError,
    kept::Kept,
    model::Model,
    proof::{ProofSystem, ProveError, SetupError, Statement, VerifyError, sumcheck::Sumcheck},
    relation::{Relations, TraceError},
};

/// Models whose keys are kept.
const CAPACITY: usize = 16;

type ProverKey = <Sumcheck as ProofSystem>::ProverKey;
type VerifierKey = <Sumcheck as ProofSystem>::VerifierKey;

/// What both sides keep for one model.
struct Keys {
    relations: Arc<Relations>,
    prover: ProverKey,
    verifier: VerifierKey,
}

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

static KEYS: Kept<Keys, SetupError> = Kept::new(CAPACITY);

fn keys(model: &Model) -> Result<Arc<Keys>, SetupError> {
    let make = || {
        let relations = Arc::new(
            Relations::of(model.graph())
                .map_err(|e| SetupError::Keys { system: Sumcheck::NAME, reason: e.to_string() })?,
        );
        let (prover, verifier) = Sumcheck::set_up(Arc::clone(&relations), model.weights())?;
        Ok(Keys { relations, prover, verifier })
    };
    KEYS.get(model.id(), make)
}

/// Makes a model's keys now, so that the first answer need not wait for them.
///
/// # Errors
/// [`SetupError`] where the model cannot be proved.
pub fn warm_up(model: &Model) -> Result<(), SetupError> {
    keys(model).map(drop)
}

fn check_binding(
    model: &Model,
    binding: &Binding,
    inputs: &[Vec<i64>],
    outputs: &[Vec<i64>],
) -> Result<(), BindingError> {
    let holds = [
        ("model", binding.model == model.id()),
        ("input", hash_inputs(inputs) == Ok(binding.input)),
        ("output", hash_outputs(outputs) == Ok(binding.output)),
    ];
    match holds.into_iter().find(|(_, holds)| !holds) {
        Some((field, _)) => Err(BindingError { field }),
        None => Ok(()),
    }
}

/// Proves that the model gives `output` on `input`, for this binding.
///
/// # Errors
/// [`AnswerError`].
pub fn prove(model: &Model, binding: &Binding, input: &[i16], output: &[i32]) -> Result<Vec<u8>, AnswerError> {
    let inputs = model.split_input(input)?;
    let outputs = model.split_output(output)?;
    check_binding(model, binding, &inputs, &outputs)?;
    let keys = keys(model)?;
    let trace = keys.relations.trace(model.graph(), model.weights(), &inputs)?;
    if keys.relations.outputs_of(&trace) != outputs {
        return Err(AnswerError::WrongOutput);
    }
    let digest = binding.digest();
    let statement = Statement { binding: &digest.0, inputs: &inputs, outputs: &outputs };
    Ok(Sumcheck::prove(&keys.prover, &trace, statement)?)
}

/// Verifies that the model gives `output` on `input`, for this binding.
///
/// # Errors
/// [`RefusedAnswer`]; never panics, on any bytes.
pub fn verify(
    model: &Model,
    binding: &Binding,
    input: &[i16],
    output: &[i32],
    proof: &[u8],
) -> Result<(), RefusedAnswer> {
    let inputs = model.split_input(input)?;
    let outputs = model.split_output(output)?;
    check_binding(model, binding, &inputs, &outputs)?;
    let digest = binding.digest();
    let statement = Statement { binding: &digest.0, inputs: &inputs, outputs: &outputs };
    Ok(Sumcheck::verify(&keys(model)?.verifier, statement, proof)?)
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
