//! The keys of the models used last.

use std::sync::Arc;

use super::{
    Halo2, ProofSystem,
    halo2::{Prover, SetupError, Verifier},
};
use crate::{dense::CompiledModel, kept::Kept};

/// Models whose keys are kept, of each kind.
const CAPACITY: usize = 8;

static VERIFIERS: Kept<Verifier, SetupError> = Kept::new(CAPACITY);
static PROVERS: Kept<Prover, SetupError> = Kept::new(CAPACITY);

/// The verifier of a model, from memory or made now.
///
/// # Errors
/// [`SetupError`] where the proof library refuses; kept, as it would refuse again.
pub fn verifier_for(model: &CompiledModel) -> Result<Arc<Verifier>, SetupError> {
    VERIFIERS.get(model.id(), || Halo2.verifier(model))
}

/// The prover of a model, from memory or made now.
///
/// # Errors
/// [`SetupError`] where the proof library refuses; kept, as it would refuse again.
pub fn prover_for(model: &CompiledModel) -> Result<Arc<Prover>, SetupError> {
    PROVERS.get(model.id(), || Halo2.prover(model))
}
