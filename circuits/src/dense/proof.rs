//! Zero-knowledge proofs that `output = model(input)`, bound to chain, model, request, miner and epoch.
//!
//! ```text
//! prove:   binding fits values? -> run again, same output? -> proof
//! verify:  binding fits values? -> ranges -> length -> proof holds for (key of the model, digest, input, output)
//! ```
//!
//! A prover refuses to prove what is not so; a verifier gives `Err` on any bytes and never panics.

mod cache;
pub mod halo2;

pub use cache::{prover_for, verifier_for};
pub use halo2::{Halo2, SetupError};

use crate::dense::{Binding, CompiledModel, ExecError, exec, hash_input, hash_output};

/// Why no proof was made.
#[derive(Debug, thiserror::Error)]
pub enum ProveError {
    /// The binding names something else than the values given.
    #[error(transparent)]
    Binding(#[from] BindingError),
    /// The input is not one of the model's.
    #[error(transparent)]
    Input(#[from] ExecError),
    /// The output is not what the model gives.
    #[error("the output is not the model's for this input; serve what CompiledModel::run gives")]
    WrongOutput,
    /// No keys.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// The operating system gave no randomness to blind the proof with.
    #[error("no randomness from the operating system: {reason}")]
    Randomness {
        /// What it says.
        reason: String,
    },
    /// The proof library refused.
    #[error("proof library: {reason}")]
    Library {
        /// What it says.
        reason: String,
    },
}

/// Why a proof is not accepted.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The binding names something else than the values given.
    #[error(transparent)]
    Binding(#[from] BindingError),
    /// The input is not one of the model's.
    #[error(transparent)]
    Input(#[from] ExecError),
    /// The output has another length than the model's.
    #[error("output of {found} values; the model gives {expected}")]
    OutputLength {
        /// Values the model gives.
        expected: usize,
        /// Values found.
        found: usize,
    },
    /// Longer or shorter than every proof for this model.
    #[error("proof of {found} bytes; a proof for this model has {expected}")]
    ProofLength {
        /// Bytes of any proof for this model.
        expected: usize,
        /// Bytes found.
        found: usize,
    },
    /// Bytes after the proof.
    #[error("{found} bytes after the proof")]
    Trailing {
        /// How many.
        found: usize,
    },
    /// The proof does not hold for this model, binding, input and output.
    #[error("the proof does not hold ({reason})")]
    Invalid {
        /// What the proof library says.
        reason: String,
    },
    /// No keys.
    #[error(transparent)]
    Setup(#[from] SetupError),
}

/// A binding that does not belong to the values beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the binding's {field} is not that of the values given")]
pub struct BindingError {
    /// `model`, `input` or `output`.
    pub field: &'static str,
}

/// A way to prove runs of a model. The statement is the same for all of them.
pub trait ProofSystem {
    /// Keys to prove with, for one model.
    type Prover;
    /// Keys to verify with, for one model.
    type Verifier;

    /// The name used in documents and parameters.
    fn name(&self) -> &'static str;

    /// Derives the verifying key from the model.
    ///
    /// # Errors
    /// [`SetupError`].
    fn verifier(&self, model: &CompiledModel) -> Result<Self::Verifier, SetupError>;

    /// Derives the proving key from the model.
    ///
    /// # Errors
    /// [`SetupError`].
    fn prover(&self, model: &CompiledModel) -> Result<Self::Prover, SetupError>;

    /// Proves a statement that [`prove`] has checked.
    ///
    /// # Errors
    /// [`ProveError`].
    fn prove(
        &self,
        prover: &Self::Prover,
        binding: &Binding,
        input: &[i16],
        output: &[i32],
    ) -> Result<Vec<u8>, ProveError>;

    /// Verifies a statement whose binding and ranges [`verify`] has checked. Never panics.
    ///
    /// # Errors
    /// [`VerifyError`].
    fn verify(
        &self,
        verifier: &Self::Verifier,
        binding: &Binding,
        input: &[i16],
        output: &[i32],
        proof: &[u8],
    ) -> Result<(), VerifyError>;
}

fn check_binding(model: &CompiledModel, binding: &Binding, input: &[i16], output: &[i32]) -> Result<(), BindingError> {
    let holds = [
        ("model", binding.model == model.id()),
        ("input", binding.input == hash_input(input)),
        ("output", binding.output == hash_output(output)),
    ];
    match holds.into_iter().find(|(_, holds)| !holds) {
        Some((field, _)) => Err(BindingError { field }),
        None => Ok(()),
    }
}

/// Proves that the model gives `output` on `input`, for this binding.
///
/// # Errors
/// [`ProveError`]; a wrong output is refused, never proved.
pub fn prove(model: &CompiledModel, binding: &Binding, input: &[i16], output: &[i32]) -> Result<Vec<u8>, ProveError> {
    check_binding(model, binding, input, output)?;
    if model.run(input)? != output {
        return Err(ProveError::WrongOutput);
    }
    Halo2.prove(&*prover_for(model)?, binding, input, output)
}

/// Verifies that the model gives `output` on `input`, for this binding. The first call for a model derives its
/// key; later ones take it from memory.
///
/// # Errors
/// [`VerifyError`]; never panics, on any bytes.
pub fn verify(
    model: &CompiledModel,
    binding: &Binding,
    input: &[i16],
    output: &[i32],
    proof: &[u8],
) -> Result<(), VerifyError> {
    exec::check_input(model.graph(), input)?;
    if output.len() != model.output_len() {
        return Err(VerifyError::OutputLength { expected: model.output_len(), found: output.len() });
    }
    check_binding(model, binding, input, output)?;
    let expected = halo2::proof_len(halo2::required_k(model.graph())?);
    if proof.len() != expected {
        return Err(VerifyError::ProofLength { expected, found: proof.len() });
    }
    Halo2.verify(&*verifier_for(model)?, binding, input, output, proof)
}
