//! `sumcheck` in hiding mode: the same steps, and the verifier learns nothing but that the statement is true.
//!
//! ```text
//! weights --set up--> rows of a code, salted tree (32 bytes)      once a model, for 32 proofs
//! witness, pads --prove--> rows of a code, salted tree            for each proof
//! run of the protocol, every message one-time-padded --> linear equations of pads, one value of each polynomial
//! arguments on the rows: the equations hold
//! ```
//!
//! # Steps
//! 1. The prover commits to the witness's cells and to random pads: one for each message of the run, and three for each
//!    product (two factors and their product). How many is known beforehand, as a run's course is the model's alone. It commits
//!    to the masks of both arguments too. All roots are absorbed.
//! 2. The run of [the plain mode](super), over a context in which a message is sent minus its pad, and each
//!    check is a linear equation of pads.
//! 3. The claims about each polynomial (witness, weights) are merged into one by a sumcheck of the same kind.
//! 4. The weights' value times a challenge, plus a pad that is the sum of a mask, is sent: uniform.
//! 5. All equations with random coefficients are one linear demand on the rows of this proof, shown with the products of pads
//!    by an argument of Ligero's kind; another shows the weights' value. They take the place of the openings by WHIR.
//!
//! # Soundness
//! The rows' commitment binds the prover to pads and witness before the run; so every padded message binds a value, and
//! the run is the plain one on these values, with its error. An equation that does not hold is found with probability
//! `1 - m / q` for `m` equations, and each argument has an error of at most 2^-100 (up to unique decoding; worked out beside
//! the code). No work is asked of the prover. That the mask of the weights' argument has the sum it should is not shown,
//! and need not be: both are committed before the challenge that the value is multiplied by.
//!
//! # Who learns what
//! The verifier learns the statement, the sizes of everything, and nothing else, in the random oracle model: padded messages
//! are uniform; of each row no more cells are opened than its polynomial has random coefficients; the polynomials sent are
//! uniform but for what the equations say of them; leaves of trees are salted. A simulator draws all of these at random.
//! **A commitment to weights hides them in [`PROOFS`] proofs**, each of which opens other cells of the same rows: the key
//! counts, and refuses to prove once more. A model then needs a new salt, and so a new id.
//!
//! A model's commitment is blinded from its salt, so that its id is found again from its bytes; the salt is as secret as the
//! weights. Keys of it are made with [`SumcheckHiding::set_up_counted`], and a [`Count`] that outlasts the process; one that
//! is set back gives the secrecy up. [`SumcheckHiding::set_up`](ProofSystem::set_up) draws a salt that dies with the key.
//!
//! Beside proofs the verifier has the outline: shapes, tables, scales and the bounds of each tensor, which follow from
//! the weights and samples, are public.

mod affine;
mod argument;
mod blinds;
mod bytes;
mod code;
mod context;
mod count;
mod layout;
mod lazy;
mod script;
mod session;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
mod tree;

use std::sync::Arc;

use p3_field::PrimeCharacteristicRing;
use rand::rngs::{StdRng, SysRng};
use rand::{SeedableRng, TryRng};

use super::commitment::{Base, Commitment, Unfit, weight_stack};
use super::context::{Context, Failure};
use super::plan::Plan;
use super::run::{Cells, Public, run};
use super::{block, cells, encoding, plan, statement};
use crate::proof::{Commitments, Estimate, ProofSystem, ProveError, SetupError, Statement, Unsupported, VerifyError};
use crate::relation::{Relations, Trace};
use blinds::Blinds;
use context::Counts;
pub use count::Count;
use count::Passing;
use layout::Layout;
use script::Layouts;
pub use script::PROOFS;
use session::{HiddenWeights, Protocol, Refusal};

/// The proof system; see the [module](self).
#[derive(Debug, Clone, Copy)]
pub struct SumcheckHiding;

/// What a prover keeps for a model with secret weights: good for [`PROOFS`] proofs.
pub struct HidingProverKey {
    plan: Arc<Plan>,
    layouts: Layouts,
    counts: Counts,
    weights: HiddenWeights,
    count: Box<dyn Count>,
}

impl HidingProverKey {
    /// Proofs that the key may still make.
    ///
    /// # Errors
    /// [`ProveError::Library`] where its [`Count`] does not know.
    pub fn proofs_left(&self) -> Result<usize, ProveError> {
        let begun = self.count.begun().map_err(|reason| ProveError::Library { system: NAME, reason })?;
        Ok(PROOFS.saturating_sub(begun))
    }
}

impl std::fmt::Debug for HidingProverKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HidingProverKey").finish_non_exhaustive()
    }
}

/// What a verifier keeps for a model with secret weights.
#[derive(Debug, Clone)]
pub struct HidingVerifierKey {
    plan: Arc<Plan>,
    layouts: Layouts,
    weights: [u8; 32],
}

impl HidingVerifierKey {
    /// The hiding commitment to the weights.
    pub fn commitment(&self) -> [u8; 32] {
        self.weights
    }
}

pub(crate) const NAME: &str = "sumcheck-hiding";
/// Sets the keys of this mode apart.
const KEY: u8 = 0x80 | encoding::VERSION;

/// The protocol of a model.
struct ModelRun<'a> {
    plan: &'a Plan,
    public: &'a Public,
    cells: Option<&'a Cells>,
}

impl Protocol for ModelRun<'_> {
    fn run<C: Context>(&self, c: &mut C, proving: bool) -> Result<(), Failure> {
        run(c, self.plan, self.public, self.cells.filter(|_| proving))
    }
}

fn layouts(plan: &Plan) -> Layouts {
    Layouts {
        witness: plan.witness_stack.as_ref().map(|stack| Layout::new(stack.sizes())),
        weights: Layout::new(plan.weights_stack.sizes()),
    }
}

fn no_randomness(error: impl std::fmt::Display) -> String {
    format!("no randomness from the operating system: {error}")
}

/// Each tensor of weights as a block of cells.
fn blocks(weights: &[Vec<i64>]) -> Vec<Vec<Base>> {
    let number = |weights: &Vec<i64>| block(&weights.iter().map(|w| Base::from_i64(*w)).collect::<Vec<_>>());
    weights.iter().map(number).collect()
}

fn commit(layouts: &Layouts, weights: &[Vec<i64>], salt: &[u8; 32]) -> HiddenWeights {
    let blocks = blocks(weights);
    let placed = layouts.weights.place(blocks.iter().map(Vec::as_slice));
    HiddenWeights::commit(layouts, placed, &mut Blinds::new(salt, weights))
}

/// The root that stands for secret weights in a model's id.
///
/// # Errors
/// [`Unfit`] where there are too many.
pub fn commitment(weights: &[Vec<i64>], salt: &[u8; 32]) -> Result<[u8; 32], Unfit> {
    let lengths: Vec<usize> = weights.iter().map(Vec::len).collect();
    let layouts = Layouts { witness: None, weights: Layout::new(weight_stack(&lengths)?.sizes()) };
    Ok(commit(&layouts, weights, salt).root())
}

impl SumcheckHiding {
    /// The keys of the model that has this salt: the same again for the same weights and salt, so that they need not be kept.
    /// What must be kept is the count of the proofs made with them, in this process or any other.
    ///
    /// # Errors
    /// [`SetupError`].
    pub fn set_up_counted(
        relations: Arc<Relations>,
        weights: &[Vec<i64>],
        salt: &[u8; 32],
        count: Box<dyn Count>,
    ) -> Result<(HidingProverKey, HidingVerifierKey), SetupError> {
        let plan = Arc::new(plan(relations)?);
        let found: Vec<usize> = weights.iter().map(Vec::len).collect();
        if found != plan.weights {
            let reason = format!("lists of {found:?} numbers, expected {:?}", plan.weights);
            return Err(SetupError::Weights { reason });
        }
        let refused = |reason: String| SetupError::Keys { system: NAME, reason };
        let layouts = layouts(&plan);
        let zeros = |length: &usize| vec![Base::ZERO; *length];
        let public = Public {
            inputs: plan.inputs.iter().map(zeros).collect(),
            outputs: plan.relations.outputs.iter().map(|output| zeros(&plan.lengths[output.column])).collect(),
        };
        let counted = session::count(&ModelRun { plan: &plan, public: &public, cells: None }, &layouts);
        let counts = counted.map_err(|failure| refused(failure.to_string()))?;
        let committed = commit(&layouts, weights, salt);
        let root = committed.root();
        let verifier = HidingVerifierKey { plan: Arc::clone(&plan), layouts: layouts.clone(), weights: root };
        Ok((HidingProverKey { plan, layouts, counts, weights: committed, count }, verifier))
    }
}

impl ProofSystem for SumcheckHiding {
    type ProverKey = HidingProverKey;
    type VerifierKey = HidingVerifierKey;

    const NAME: &'static str = NAME;

    fn supports(relations: &Relations) -> Result<(), Unsupported> {
        super::Sumcheck::supports(relations)
    }

    fn estimate(relations: &Relations) -> Estimate {
        // Measured beside the plain mode: what is shown of the rows is larger than WHIR's openings.
        let plain = super::Sumcheck::estimate(relations);
        Estimate {
            setup_s: 10.0 * plain.setup_s,
            prove_s: 1.3 * plain.prove_s,
            verify_s: 5.0 * plain.verify_s,
            memory_mib: 2.0 * plain.memory_mib,
            proof_bytes: 5 * plain.proof_bytes,
        }
    }

    fn set_up(
        relations: Arc<Relations>,
        weights: &[Vec<i64>],
    ) -> Result<(HidingProverKey, HidingVerifierKey), SetupError> {
        let mut salt = [0; 32];
        SysRng.try_fill_bytes(&mut salt).map_err(|e| SetupError::Keys { system: NAME, reason: no_randomness(e) })?;
        Self::set_up_counted(relations, weights, &salt, Box::new(Passing::default()))
    }

    fn prove(key: &HidingProverKey, trace: &Trace, statement: Statement<'_>) -> Result<Vec<u8>, ProveError> {
        let plan = &*key.plan;
        let public = statement::read(plan, &statement).map_err(|reason| ProveError::Statement { reason })?;
        let cells = cells(plan, trace)?;
        let refused = |reason: String| ProveError::Library { system: NAME, reason };
        let mut random = StdRng::try_from_rng(&mut SysRng).map_err(|e| refused(no_randomness(e)))?;
        let mut blocks: Vec<Vec<Base>> = plan.witnesses.iter().map(|&c| block(&cells.columns[c])).collect();
        blocks.extend(cells.multiplicities.iter().cloned());
        let placed = key.layouts.witness.as_ref().map(|layout| layout.place(blocks.iter().map(Vec::as_slice)));
        let witness = placed.unwrap_or_default();
        // Counted before anything is opened: what fails later has still used it up.
        if key.count.begin().map_err(refused)? >= PROOFS {
            return Err(refused(format!(
                "this commitment has hidden the weights in {PROOFS} proofs and cannot in another: set the model up again, \
                 with a new salt"
            )));
        }
        let transcript = statement::transcript(plan, &Commitment(key.weights.root()), &statement, None);
        let run = ModelRun { plan, public: &public, cells: Some(&cells) };
        session::prove(&run, &key.layouts, key.counts, &key.weights, &witness, transcript, &mut random)
            .map_err(|failure| refused(failure.to_string()))
    }

    fn verify(key: &HidingVerifierKey, statement: Statement<'_>, proof: &[u8]) -> Result<(), VerifyError> {
        let plan = &*key.plan;
        let public = statement::read(plan, &statement).map_err(|reason| VerifyError::Statement { reason })?;
        let transcript = statement::transcript(plan, &Commitment(key.weights), &statement, None);
        let run = ModelRun { plan, public: &public, cells: None };
        session::verify(&run, &key.layouts, &key.weights, transcript, proof).map_err(|refusal| match refusal {
            Refusal::Malformed(reason) => VerifyError::Malformed { system: NAME, reason },
            Refusal::Invalid(reason) => VerifyError::Invalid { reason },
        })
    }

    fn committed(commitments: &Commitments) -> Result<(), SetupError> {
        commitments.hiding_root().map(drop)
    }

    fn check_key(key: &HidingVerifierKey, commitments: &Commitments) -> Result<(), SetupError> {
        let own = commitments.hiding_root()? == key.weights;
        if own { Ok(()) } else { Err(SetupError::OtherModel { system: NAME }) }
    }

    fn verifier_key_to_bytes(key: &HidingVerifierKey) -> Vec<u8> {
        let mut bytes = vec![KEY];
        bytes.extend(key.plan.digest);
        bytes.extend(key.weights);
        bytes
    }

    fn verifier_key_from_bytes(relations: Arc<Relations>, bytes: &[u8]) -> Result<HidingVerifierKey, SetupError> {
        let refuse = |reason: &str| SetupError::Keys { system: NAME, reason: reason.into() };
        let plan = Arc::new(plan(relations)?);
        let (kind, rest) = bytes.split_first().ok_or_else(|| refuse("it is empty"))?;
        if *kind != KEY {
            return Err(refuse("another mode or version"));
        }
        let (digest, rest) = rest.split_first_chunk::<32>().ok_or_else(|| refuse("it ends early"))?;
        if *digest != plan.digest {
            return Err(refuse("it was made for other relations"));
        }
        let weights = rest.try_into().map_err(|_| refuse("its length is not that of a key"))?;
        let layouts = layouts(&plan);
        Ok(HidingVerifierKey { plan, layouts, weights })
    }
}
