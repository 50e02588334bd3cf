//! A model on a chain's first page, with the `groth16` key that its receipts are checked with.

use assay_chain_spec::GenesisModel;
use assay_circuits::{
    answer::compact,
    model::Model,
    proof::{SetupError, groth16::Groth16},
    relation::Relations,
};
use assay_primitives::receipt::Blob;

/// Most constraints of a circuit whose development keys every node makes anew when it starts: about two seconds.
const MOST_CONSTRAINTS: usize = 1 << 16;

/// Where a model's `groth16` key comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReceiptKey {
    /// Nowhere: its receipts are by `sumcheck`.
    None,
    /// Made from the seed of development networks, if the model is small enough; whoever likes can forge proofs for it.
    Development,
    /// A ceremony.
    Given(Vec<u8>),
}

/// A model for a chain spec.
///
/// # Errors
/// [`SetupError`] on a key that is none of the model's.
pub fn genesis_model(name: &str, model: &Model, key: ReceiptKey) -> Result<GenesisModel, SetupError> {
    let groth16 = match key {
        ReceiptKey::Given(key) => {
            compact::provenance(&model.outline(), &key)?;
            Some(Blob(key))
        }
        ReceiptKey::Development if is_small(model) => Some(Blob(compact::dev_keys(model)?.verifier_key().to_vec())),
        ReceiptKey::Development | ReceiptKey::None => None,
    };
    Ok(GenesisModel { name: name.into(), id: model.id(), bytes: Blob(model.to_bytes()), groth16 })
}

fn is_small(model: &Model) -> bool {
    let counts = Relations::of(model.graph()).ok().and_then(|relations| Groth16::counts(&relations).ok());
    counts.is_some_and(|counts| counts.constraints <= MOST_CONSTRAINTS)
}
