//! The committed model: a checked graph, its weights, its canonical bytes and its id.
//!
//! ```text
//! Model   (graph, weights, salt)      --strict borsh--> bytes   what a miner holds
//!   |outline
//! Outline (graph, commitments, seal)  --strict borsh--> bytes   what a verifier holds: no weights
//!   |id
//! ModelId = BLAKE3(domain, proof parameters, outline's bytes)
//! ```
//!
//! Bytes from anyone are checked as a compiled model is: size, then structure, then bounds, then (for a [`Model`]) that
//! the weights keep every bound and are those of the commitments. Whoever holds either value needs no further check.
//!
//! Each proof system whose keys hold a commitment to the weights has it in the outline ([`Commitments`]), so that the id tells
//! which key is the model's own: [`Outline::verifier_key`] refuses every other.

mod codec;
mod flat;
mod units;

use std::sync::{Arc, OnceLock};

use assay_primitives::{Hash32, ModelId, domain};

use crate::{
    exec::{self, ExecError},
    graph::{Graph, GraphError, Work},
    proof::{Commitments, ProofSystem, SetupError, Systems, sumcheck::commitment},
    relation::Relations,
};

pub use units::{InputError, OutputError, Port};

/// Largest encoding of a model or outline, in bytes.
pub const MAX_MODEL_BYTES: usize = 64 << 20;

/// Tag of a model's id. The genesis hash in its preimage is zero: a model has the same id on every chain.
const ID_DOMAIN: &str = "assay/model/2";

/// Tag of a salt's seal.
const SEAL_DOMAIN: &str = "assay/model-salt/1";

/// Why something is not a model.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ModelError {
    /// More bytes than a model may have.
    #[error("{what} of {found} bytes; expected at most {MAX_MODEL_BYTES}")]
    TooLarge {
        /// Model or outline.
        what: &'static str,
        /// Bytes found.
        found: usize,
    },
    /// Not the canonical encoding.
    #[error("malformed {what}: {reason}; compile it again")]
    Malformed {
        /// Model or outline.
        what: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// The graph or its weights do not hold what they must.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// An output that is not within `i32`, as served and hashed outputs are.
    #[error("output {output} may give {low} to {high}; expected within 32 bits")]
    Output {
        /// Which output.
        output: usize,
        /// Smallest value it may give.
        low: i64,
        /// Largest value it may give.
        high: i64,
    },
    /// A run takes more than the reader allows.
    #[error(
        "a run takes {} products and {} moves; expected at most {} and {}",
        found.macs, found.moves, most.macs, most.moves
    )]
    Work {
        /// What a run takes.
        found: Work,
        /// The most.
        most: Work,
    },
    /// A model that is committed for more than the reader checks.
    #[error("a model that is secret or committed for halo2; expected one for plain sumcheck alone")]
    Systems,
    /// Weights that cannot be committed to.
    #[error("commitment: {reason}")]
    Commitment {
        /// What the proof system says.
        reason: String,
    },
}

/// The public part of a model: all that a verifier needs. Cloning is cheap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outline {
    graph: Arc<Graph>,
    commitments: Commitments,
    seal: [u8; 32],
    id: ModelId,
}

impl Outline {
    /// Checks the graph and computes the id.
    ///
    /// `commitments` are to the weights; `seal` is [`seal`] of the model's salt. A verifier learns neither weights nor salt;
    /// but a plain commitment lets it test a guess of all weights.
    ///
    /// # Errors
    /// [`ModelError`], as for bytes from outside.
    pub fn new(graph: Arc<Graph>, commitments: Commitments, seal: [u8; 32]) -> Result<Self, ModelError> {
        graph.check()?;
        for (output, &id) in graph.outputs.iter().enumerate() {
            let (low, high) = (graph.tensors[id as usize].low, graph.tensors[id as usize].high);
            if low < i64::from(i32::MIN) || high > i64::from(i32::MAX) {
                return Err(ModelError::Output { output, low, high });
            }
        }
        let mut outline = Self { graph, commitments, seal, id: ModelId::default() };
        let bytes = outline.to_bytes();
        codec::check_size(codec::OUTLINE, bytes.len())?;
        let committed = (commitment::parameter_bytes(), bytes);
        outline.id = ModelId(domain::hash(ID_DOMAIN, &Hash32::ZERO, &committed).0);
        Ok(outline)
    }

    /// The commitment on chain: BLAKE3 over a domain tag, the proof parameters and [`Self::to_bytes`].
    pub fn id(&self) -> ModelId {
        self.id
    }

    /// The integer graph.
    pub fn graph(&self) -> &Arc<Graph> {
        &self.graph
    }

    /// The commitments to the weights.
    pub fn commitments(&self) -> &Commitments {
        &self.commitments
    }

    /// Reads a verifier's key, from anyone, and takes it only if it is this model's own.
    ///
    /// # Errors
    /// [`SetupError`]: bytes that are no key for this graph, a key that commits to other weights, or a system that the model
    /// is not committed for. A `groth16` key is judged by its ceremony instead: see [`ProofSystem::check_key`].
    pub fn verifier_key<S: ProofSystem>(&self, bytes: &[u8]) -> Result<S::VerifierKey, SetupError> {
        S::committed(&self.commitments)?;
        let relations =
            Relations::of(&self.graph).map_err(|e| SetupError::Keys { system: S::NAME, reason: e.to_string() })?;
        let key = S::verifier_key_from_bytes(Arc::new(relations), bytes)?;
        S::check_key(&key, &self.commitments)?;
        Ok(key)
    }

    /// What makes the ids of equal models differ: [`seal`] of the salt.
    pub fn seal(&self) -> [u8; 32] {
        self.seal
    }
}

/// What a verifier sees of a model's salt.
pub fn seal(salt: &[u8; 32]) -> [u8; 32] {
    domain::hash(SEAL_DOMAIN, &Hash32::ZERO, salt).0
}

/// A checked, committed model: graph and weights. Cloning is cheap.
#[derive(Clone)]
pub struct Model {
    outline: Outline,
    salt: [u8; 32],
    weights: Arc<Vec<Vec<i64>>>,
    program: Arc<OnceLock<exec::Program>>,
}

impl Model {
    /// [`Self::committed`] for `sumcheck` alone.
    ///
    /// # Errors
    /// [`ModelError`], as for bytes from outside.
    pub fn new(graph: Graph, weights: Vec<Vec<i64>>, salt: [u8; 32]) -> Result<Self, ModelError> {
        Self::committed(graph, weights, salt, Systems::default())
    }

    /// Checks graph and weights, commits to the weights for each of these systems and computes the id.
    ///
    /// `salt` is 32 random bytes where the weights are secret, to be kept so; any, as zeros, where they are public.
    ///
    /// # Errors
    /// [`ModelError`], as for bytes from outside.
    pub fn committed(
        graph: Graph,
        weights: Vec<Vec<i64>>,
        salt: [u8; 32],
        systems: Systems,
    ) -> Result<Self, ModelError> {
        graph.check_weights(&weights)?;
        let commitments = Commitments::of(&graph, &weights, &salt, systems)
            .map_err(|e| ModelError::Commitment { reason: e.to_string() })?;
        let outline = Outline::new(Arc::new(graph), commitments, seal(&salt))?;
        let model = Self { outline, salt, weights: Arc::new(weights), program: Arc::default() };
        codec::check_size(codec::MODEL, model.encoded_len())?;
        Ok(model)
    }

    /// The public part.
    pub fn outline(&self) -> Outline {
        self.outline.clone()
    }

    /// The commitment on chain; see [`Outline::id`].
    pub fn id(&self) -> ModelId {
        self.outline.id
    }

    /// The integer graph.
    pub fn graph(&self) -> &Arc<Graph> {
        &self.outline.graph
    }

    /// The model's own secret, where its weights are secret; what blinds commitments to them can be drawn from it.
    pub fn salt(&self) -> &[u8; 32] {
        &self.salt
    }

    /// One row-major vector for each constant of the graph.
    pub fn weights(&self) -> &[Vec<i64>] {
        &self.weights
    }

    /// The outputs for one quantised input, exactly: what is served and what a proof states.
    ///
    /// # Errors
    /// [`ExecError`] on inputs of another number or length, or outside their bounds.
    pub fn run(&self, inputs: &[Vec<i64>]) -> Result<Vec<Vec<i64>>, ExecError> {
        self.program().run(inputs)
    }

    /// The program that runs it; prepared when it is first asked for.
    pub fn program(&self) -> &exec::Program {
        let prepare = || exec::Program::of_checked(Arc::clone(self.graph()), &self.weights, exec::Options::default());
        self.program.get_or_init(prepare)
    }
}

impl PartialEq for Model {
    fn eq(&self, other: &Self) -> bool {
        self.outline == other.outline && self.salt == other.salt && self.weights == other.weights
    }
}

impl Eq for Model {}

impl std::fmt::Debug for Model {
    /// Without weights: those may be secret, and are many.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Model").field("id", &self.outline.id).finish_non_exhaustive()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
