//! The `halo2` proof system: PLONKish arithmetisation with inner-product-argument commitments on the Pasta
//! curves; no trusted set-up.
//!
//! ```text
//! graph --layout--> table --fixed columns--> verifying key     run --witness--> proof
//! ```
//!
//! The verifying key is derived from the committed model by everyone for himself and hashed into the
//! transcript, and so are the public values: the binding's digest, the input, the output.

mod circuit;
mod layout;
mod witness;

use std::sync::Arc;

use borsh::{BorshDeserialize, BorshSerialize};
use halo2_proofs::{
    pasta::{EqAffine, Fp},
    plonk::{ProvingKey, SingleVerifier, VerifyingKey, create_proof, keygen_pk, keygen_vk, verify_proof},
    poly::commitment::Params,
    transcript::{Blake2bRead, Blake2bWrite, Challenge255},
};
use rand::{
    SeedableRng,
    rngs::{StdRng, SysRng},
};

use self::{
    circuit::DenseCircuit,
    witness::{Witness, public_values},
};
use super::{ProofSystem, ProveError, VerifyError};
use crate::{
    dense::{
        Binding, CompiledModel,
        graph::{Graph, SHIFT},
    },
    proof::halo2::params::params,
};

/// Bytes of a proof that do not depend on `k`; measured, and pinned by a test.
const PROOF_BASE_BYTES: usize = 3520;
/// Bytes of a proof for each doubling of the circuit: two points of the inner-product argument.
const PROOF_BYTES_PER_K: usize = 64;

/// Why a graph has no circuit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SetupError {
    /// More rows than the largest circuit.
    #[error("the model's circuit has {rows} rows; the halo2 proof system takes at most {limit}: use a smaller model")]
    TooLarge {
        /// Rows needed.
        rows: usize,
        /// Rows available.
        limit: usize,
    },
    /// The proof library refused to make keys.
    #[error("key generation: {reason}")]
    Keys {
        /// What the library says.
        reason: String,
    },
}

/// Everything about the proof system that a model's id must cover.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Parameters {
    /// Proof system and version of its circuit.
    pub system: String,
    /// Products a row.
    pub terms: u32,
    /// Rows of limbs a neuron.
    pub limb_rows: u32,
    /// Bits of a lookup.
    pub limb_bits: u32,
    /// Binary digits of the multipliers.
    pub shift: u32,
}

/// The parameters of this version.
pub fn parameters() -> Parameters {
    Parameters {
        system: "halo2-ipa-pasta/dense/1".into(),
        terms: layout::TERMS as u32,
        limb_rows: layout::LIMB_ROWS as u32,
        limb_bits: layout::LIMB_BITS,
        shift: SHIFT,
    }
}

/// The size of the circuit: it has 2^k rows.
///
/// # Errors
/// [`SetupError::TooLarge`].
pub fn required_k(graph: &Graph) -> Result<u32, SetupError> {
    layout::required_k(graph)
}

/// The exact length of a proof for a circuit of 2^k rows, in bytes.
pub fn proof_len(k: u32) -> usize {
    PROOF_BASE_BYTES + PROOF_BYTES_PER_K * k as usize
}

/// What a verifier keeps for one model.
#[derive(Debug)]
pub struct Verifier {
    k: u32,
    params: Arc<Params<EqAffine>>,
    key: VerifyingKey<EqAffine>,
}

/// What a prover keeps for one model.
#[derive(Debug)]
pub struct Prover {
    params: Arc<Params<EqAffine>>,
    key: ProvingKey<EqAffine>,
    graph: Arc<Graph>,
}

/// The system itself.
#[derive(Debug, Clone, Copy, Default)]
pub struct Halo2;

fn keyless(model: &CompiledModel) -> DenseCircuit {
    DenseCircuit { graph: model.shared_graph(), witness: None }
}

fn keys_error(error: halo2_proofs::plonk::Error) -> SetupError {
    SetupError::Keys { reason: error.to_string() }
}

impl ProofSystem for Halo2 {
    type Prover = Prover;
    type Verifier = Verifier;

    fn name(&self) -> &'static str {
        "halo2"
    }

    fn verifier(&self, model: &CompiledModel) -> Result<Verifier, SetupError> {
        let k = required_k(model.graph())?;
        let params = params(k);
        let key = keygen_vk(&params, &keyless(model)).map_err(keys_error)?;
        Ok(Verifier { k, params, key })
    }

    fn prover(&self, model: &CompiledModel) -> Result<Prover, SetupError> {
        let Verifier { params, key, .. } = self.verifier(model)?;
        let key = keygen_pk(&params, key, &keyless(model)).map_err(keys_error)?;
        Ok(Prover { params, key, graph: model.shared_graph() })
    }

    fn prove(&self, prover: &Prover, binding: &Binding, input: &[i16], output: &[i32]) -> Result<Vec<u8>, ProveError> {
        let digest = binding.digest().0;
        let witness = Witness::trace(&prover.graph, &digest, input);
        prover.create(witness, &public_values(&digest, input, output))
    }

    fn verify(
        &self,
        verifier: &Verifier,
        binding: &Binding,
        input: &[i16],
        output: &[i32],
        proof: &[u8],
    ) -> Result<(), VerifyError> {
        let expected = proof_len(verifier.k);
        if proof.len() != expected {
            return Err(VerifyError::ProofLength { expected, found: proof.len() });
        }
        verifier.check(proof, &public_values(&binding.digest().0, input, output))
    }
}

impl Verifier {
    /// Binary logarithm of the circuit's rows.
    pub fn k(&self) -> u32 {
        self.k
    }

    fn check(&self, proof: &[u8], public: &[Fp]) -> Result<(), VerifyError> {
        let mut rest = proof;
        let mut transcript = Blake2bRead::<_, EqAffine, Challenge255<_>>::init(&mut rest);
        let strategy = SingleVerifier::new(&self.params);
        verify_proof(&self.params, &self.key, strategy, &[&[public]], &mut transcript)
            .map_err(|e| VerifyError::Invalid { reason: e.to_string() })?;
        if rest.is_empty() { Ok(()) } else { Err(VerifyError::Trailing { found: rest.len() }) }
    }
}

impl Prover {
    fn create(&self, witness: Witness, public: &[Fp]) -> Result<Vec<u8>, ProveError> {
        let circuit = DenseCircuit { graph: Arc::clone(&self.graph), witness: Some(Arc::new(witness)) };
        // Blinding must not be guessable: seeded by the operating system for each proof.
        let rng = StdRng::try_from_rng(&mut SysRng).map_err(|e| ProveError::Randomness { reason: e.to_string() })?;
        let mut transcript = Blake2bWrite::<_, EqAffine, Challenge255<_>>::init(Vec::new());
        create_proof(&self.params, &self.key, &[circuit], &[&[public]], rng, &mut transcript)
            .map_err(|e| ProveError::Library { reason: e.to_string() })?;
        Ok(transcript.finalize())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
