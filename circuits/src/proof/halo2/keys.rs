//! Keys: everything but the weights is derived from the relations, by each for himself.

use std::sync::Arc;

use halo2_proofs::{
    pasta::{EqAffine, Fp, group::GroupEncoding},
    plonk::{Error, ProvingKey, VerificationStrategy, VerifyingKey, create_proof, keygen_pk, keygen_vk, verify_proof},
    poly::commitment::{Guard, MSM, Params},
    transcript::{Blake2bRead, Blake2bWrite, Challenge255, EncodedChallenge},
};
use rand::{SeedableRng, rngs::StdRng};

use super::{
    NAME,
    circuit::RowCircuit,
    field::{digest_halves, field, uniform},
    layout::{How, Layout, SHAPES},
    link::{self, LINK_BYTES, Subject},
    params::params,
    values::Values,
};
use crate::{
    proof::{ProveError, SetupError, Statement, VerifyError},
    relation::{Relations, Trace},
};

/// First byte of a verifier's key.
const KEY_VERSION: u8 = 1;
const DIGEST_DOMAIN: &str = "assay/halo2-key/1";
const BLIND_DOMAIN: &str = "assay/halo2-weights-blind/1";

/// Runs code with the circuit of a layout's shape.
macro_rules! with_circuit {
    ($layout:expr, $values:expr, |$circuit:ident| $code:expr) => {{
        let (layout, values) = (Arc::clone($layout), $values);
        if layout.shape == SHAPES[0] {
            let $circuit = RowCircuit::<8, 1, 1> { layout, values };
            $code
        } else if layout.shape == SHAPES[1] {
            let $circuit = RowCircuit::<16, 2, 1> { layout, values };
            $code
        } else {
            let $circuit = RowCircuit::<32, 4, 2> { layout, values };
            $code
        }
    }};
}

/// What both sides derive from the relations.
#[derive(Debug)]
pub(super) struct Common {
    pub(super) relations: Arc<Relations>,
    pub(super) layout: Arc<Layout>,
    params: Arc<Params<EqAffine>>,
    generators: Vec<EqAffine>,
}

/// What a prover keeps for a model.
#[derive(Debug)]
pub struct ProverKey {
    common: Arc<Common>,
    key: ProvingKey<EqAffine>,
    commitments: Vec<EqAffine>,
    blinds: Vec<Fp>,
}

/// What a verifier keeps for a model: the circuit, which anyone derives from the relations, and the commitment to the
/// weights.
#[derive(Debug, Clone)]
pub struct VerifierKey {
    common: Arc<Common>,
    key: VerifyingKey<EqAffine>,
    commitments: Vec<EqAffine>,
}

fn keys(reason: impl ToString) -> SetupError {
    SetupError::Keys { system: NAME, reason: reason.to_string() }
}

fn library(reason: impl ToString) -> ProveError {
    ProveError::Library { system: NAME, reason: reason.to_string() }
}

fn randomness() -> Result<[u8; 32], ProveError> {
    use rand::TryRng;
    let mut seed = [0; 32];
    rand::rngs::SysRng.try_fill_bytes(&mut seed).map_err(|e| library(format!("no randomness: {e}")))?;
    Ok(seed)
}

impl Common {
    fn new(relations: Arc<Relations>) -> Result<(Arc<Self>, VerifyingKey<EqAffine>), SetupError> {
        let layout = Arc::new(super::plan(&relations)?);
        let params = params(layout.k);
        let key = with_circuit!(&layout, None, |circuit| keygen_vk(&params, &circuit)).map_err(keys)?;
        let generators = link::generators(&params);
        Ok((Arc::new(Self { relations, layout, params, generators }), key))
    }

    /// The public column, of a statement that has the right shape.
    pub(super) fn public(&self, statement: Statement<'_>) -> Result<Vec<Fp>, String> {
        let Layout { inputs, outputs, .. } = &*self.layout;
        if statement.inputs.len() != inputs.len() || statement.outputs.len() != outputs.len() {
            let (i, o) = (statement.inputs.len(), statement.outputs.len());
            return Err(format!("{i} inputs and {o} outputs; the model has {} and {}", inputs.len(), outputs.len()));
        }
        for (at, (values, given)) in statement.inputs.iter().zip(inputs).enumerate() {
            if values.len() != given.len {
                return Err(format!("input {at} has {} values; the model takes {}", values.len(), given.len));
            }
            if let Some(found) = values.iter().find(|&v| !(given.low..=given.high).contains(v)) {
                return Err(format!("input {at} holds {found}, outside {} to {}", given.low, given.high));
            }
        }
        for (at, (values, &expected)) in statement.outputs.iter().zip(outputs).enumerate() {
            if values.len() != expected {
                return Err(format!("output {at} has {} values; the model gives {expected}", values.len()));
            }
        }
        let values = statement.inputs.iter().chain(statement.outputs).flatten().map(|&v| field(i128::from(v)));
        Ok(digest_halves(statement.binding).into_iter().chain(values).collect())
    }
}

/// The values of the weights' variables; the others are zero.
fn weight_values(layout: &Layout, weights: &[Vec<i64>]) -> Result<Vec<Fp>, SetupError> {
    let wrong = |reason| Err(SetupError::Weights { reason });
    if weights.len() != layout.weights.len() {
        return wrong(format!("{} tensors; the relations have {}", weights.len(), layout.weights.len()));
    }
    let mut values = vec![field(0); layout.vars];
    for block in &layout.blocks {
        let How::Trace(column) = block.how else { continue };
        let Some(number) = layout.weights.iter().position(|&w| w == column) else { continue };
        if weights[number].len() != block.len {
            let found = weights[number].len();
            return wrong(format!("tensor {number} has {found} values; the relations have {}", block.len));
        }
        for (value, &weight) in values[block.first as usize..].iter_mut().zip(&weights[number]) {
            *value = field(i128::from(weight));
        }
    }
    Ok(values)
}

/// Blinds of the model's commitment, one a column.
fn blinds(weights: &[Vec<i64>], salt: Option<&[u8; 32]>, count: usize) -> Vec<Fp> {
    let mut hasher = blake3::Hasher::new_derive_key(BLIND_DOMAIN);
    hasher.update(salt.unwrap_or(&[0; 32]));
    for tensor in weights {
        hasher.update(&(tensor.len() as u64).to_le_bytes());
        tensor.iter().for_each(|w| {
            hasher.update(&w.to_le_bytes());
        });
    }
    let column = |number: usize| uniform(hasher.clone().update(&(number as u64).to_le_bytes()));
    (0..count).map(column).collect()
}

/// The model's commitment and its blinds.
fn commit(
    layout: &Layout,
    params: &Params<EqAffine>,
    weights: &[Vec<i64>],
    salt: Option<&[u8; 32]>,
) -> Result<(Vec<EqAffine>, Vec<Fp>), SetupError> {
    let values = weight_values(layout, weights)?;
    let blinds = blinds(weights, salt, layout.shape.terms);
    Ok((link::commit(params, layout, &values, &blinds), blinds))
}

/// A verifier's key as bytes.
fn encode(commitments: &[EqAffine]) -> Vec<u8> {
    std::iter::once(KEY_VERSION).chain(commitments.iter().flat_map(|point| point.to_bytes())).collect()
}

fn digest(commitments: &[EqAffine]) -> [u8; 32] {
    blake3::derive_key(DIGEST_DOMAIN, &encode(commitments))
}

/// The digest of the verifier's key that [`set_up`] gives.
pub(super) fn commitment(relations: &Relations, weights: &[Vec<i64>], salt: &[u8; 32]) -> Result<[u8; 32], SetupError> {
    let layout = super::plan(relations)?;
    let (commitments, _) = commit(&layout, &params(layout.k), weights, Some(salt))?;
    Ok(digest(&commitments))
}

/// Both keys. Without a salt the commitment hides only what cannot be guessed whole.
pub(super) fn set_up(
    relations: Arc<Relations>,
    weights: &[Vec<i64>],
    salt: Option<&[u8; 32]>,
) -> Result<(ProverKey, VerifierKey), SetupError> {
    let (common, key) = Common::new(relations)?;
    let (commitments, blinds) = commit(&common.layout, &common.params, weights, salt)?;
    let proving = with_circuit!(&common.layout, None, |circuit| keygen_pk(&common.params, key.clone(), &circuit))
        .map_err(keys)?;
    let verifier = VerifierKey { common: Arc::clone(&common), key, commitments: commitments.clone() };
    Ok((ProverKey { common, key: proving, commitments, blinds }, verifier))
}

impl ProverKey {
    /// Proves what the trace says, true or not.
    pub(super) fn prove(&self, trace: &Trace, statement: Statement<'_>) -> Result<Vec<u8>, ProveError> {
        let Common { relations, layout, params, generators } = &*self.common;
        let public = self.common.public(statement).map_err(|reason| ProveError::Statement { reason })?;
        let values = Some(Arc::new(Values::of(layout, relations, trace, statement.binding)?));
        // Blinding must not be guessable: seeded by the operating system for each proof.
        let (seed, nonce) = (randomness()?, randomness()?);
        let mut transcript = Blake2bWrite::<_, EqAffine, Challenge255<_>>::init(Vec::new());
        let rng = StdRng::from_seed(seed);
        with_circuit!(layout, values, |circuit| {
            create_proof(params, &self.key, &[circuit], &[&[&public]], rng, &mut transcript)
        })
        .map_err(library)?;
        let mut proof = transcript.finalize();

        let (rows, blinds) = link::blinding(seed, layout.shape.advice(), layout.shape.terms);
        let subject = Subject { generators, commitments: &self.commitments, public: &public, proof: &proof };
        let link = subject.prove(params, &rows, &blinds, &self.blinds, nonce).map_err(library)?;
        proof.extend(link);
        Ok(proof)
    }
}

/// Hands out the sum that a proof must bring to zero.
struct Collect<'p>(MSM<'p, EqAffine>);

impl<'p> VerificationStrategy<'p, EqAffine> for Collect<'p> {
    type Output = MSM<'p, EqAffine>;

    fn process<E: EncodedChallenge<EqAffine>>(
        self,
        check: impl FnOnce(MSM<'p, EqAffine>) -> Result<Guard<'p, EqAffine, E>, Error>,
    ) -> Result<Self::Output, Error> {
        check(self.0).map(Guard::use_challenges)
    }
}

impl VerifierKey {
    /// The key that anyone derives from the relations, with this commitment to the weights.
    pub(super) fn from_bytes(relations: Arc<Relations>, bytes: &[u8]) -> Result<Self, SetupError> {
        let Some((&KEY_VERSION, points)) = bytes.split_first() else {
            return Err(keys("not a verifier's key of this version"));
        };
        let (common, key) = Common::new(relations)?;
        let expected = 32 * common.layout.shape.terms;
        if points.len() != expected {
            return Err(keys(format!("{} bytes of commitments; the model has {expected}", points.len())));
        }
        let commitments = link::read_points(points).ok_or_else(|| keys("a commitment is not a point"))?;
        Ok(Self { common, key, commitments })
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        encode(&self.commitments)
    }

    /// What stands for the key in a model's id: its bytes, hashed.
    pub fn digest(&self) -> [u8; 32] {
        digest(&self.commitments)
    }

    /// The length of every proof.
    pub(super) fn proof_len(&self) -> usize {
        self.common.layout.shape.proof_len(self.common.layout.k)
    }

    /// The sum that a true proof brings to zero.
    pub(super) fn sum(&self, statement: Statement<'_>, proof: &[u8]) -> Result<MSM<'_, EqAffine>, VerifyError> {
        let Common { params, generators, .. } = &*self.common;
        let public = self.common.public(statement).map_err(|reason| VerifyError::Statement { reason })?;
        let expected = self.proof_len();
        if proof.len() != expected {
            let reason = format!("{} bytes; a proof for this model has {expected}", proof.len());
            return Err(VerifyError::Malformed { system: NAME, reason });
        }
        let (proof, link) = proof.split_at(expected - LINK_BYTES);
        let invalid = |e: Error| VerifyError::Invalid { reason: e.to_string() };
        let mut rest = proof;
        let mut transcript = Blake2bRead::<_, EqAffine, Challenge255<_>>::init(&mut rest);
        let strategy = Collect(MSM::new(params));
        let mut sum = verify_proof(params, &self.key, strategy, &[&[&public]], &mut transcript).map_err(invalid)?;
        if !rest.is_empty() {
            let reason = format!("{} bytes after the proof", rest.len());
            return Err(VerifyError::Malformed { system: NAME, reason });
        }
        let subject = Subject { generators, commitments: &self.commitments, public: &public, proof };
        // The two checks are of two sums; a random factor keeps one from making up for the other.
        let scale = self.scale()?;
        subject.add_to(&mut sum, link, scale).map_err(invalid)?;
        Ok(sum)
    }

    /// A factor that no prover foresees.
    pub(super) fn scale(&self) -> Result<Fp, VerifyError> {
        let seed = randomness().map_err(|e| VerifyError::Invalid { reason: e.to_string() })?;
        let mut hasher = blake3::Hasher::new();
        hasher.update(&seed);
        Ok(uniform(&hasher))
    }

    pub(super) fn empty(&self) -> MSM<'_, EqAffine> {
        MSM::new(&self.common.params)
    }
}
