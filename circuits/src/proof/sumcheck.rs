//! `sumcheck`: multilinear sumchecks, logUp-GKR and WHIR over Goldilocks. The default.
//!
//! ```text
//!            commit to witnesses and multiplicities        prove, verify: the same steps over a context
//! Trace ----------------------------------------> lookup --> zero --> outputs --> columns, last to first --> openings
//!                                                    |         |         |              |
//!                                                    +---------+---------+--> claims about columns
//! ```
//!
//! This is the protocol's specification. `E` is the field of challenges, Goldilocks with a square root of 7, about 2^128
//! elements.
//!
//! # Columns
//! A column is its flat, row-major list of cells, an integer `v` as the field element `v` modulo `2^64 - 2^32 + 1`.
//! It stands for the multilinear polynomial of the list with zeros to the next power of two. Everything said of a column
//! is a *claim*: weights of its cells and the value that they add up to. Weights are `eq` of a point along axes, which
//! are those of the flat list or of a tensor with each axis padded to a power of two, or such carried back through wires.
//!
//! **Padding.** What is committed beyond a column's last true cell is the prover's free choice. So whatever adds up over
//! positions weighs true cells only (wires, axes other than the list's own, inner axes of matrix products, lookups), or
//! asks more of the prover than it must (demands hold in padding too). An honest prover's padding is zero, and stays
//! so in derived columns, as constants count at true cells only.
//!
//! # Steps
//! 1. The transcript takes up a tag with the version, the commitment's parameters, the hash of the relations, the
//!    commitment to the weights, the statement, and the commitment to all witness columns and the tables' multiplicities,
//!    stacked as one polynomial. Challenges come from it alone; every message is taken up before the next challenge.
//! 2. *Lookups*: each cell looked up adds `1 / (alpha - x - beta y - beta^2 table)`, each cell of a table takes its
//!    multiplicity times that; the sum is shown to be 0 by a tree of fractions, layer by layer (logUp-GKR). It ends in claims
//!    about the columns at one point and in openings of multiplicities; the verifier knows the tables.
//! 3. *Demands*: all polynomials that vanish, in one sumcheck with random coefficients and a random point.
//! 4. *Outputs*: a claim about each at a random point, of the value that the statement gives.
//! 5. *Columns, last to first*: all claims about a column become claims about what it is defined by. A linear column passes
//!    them on. A wire takes them to its sources, by which both sides reckon the weights. A matrix product turns one claim
//!    into one about each operand by a sumcheck along the inner axis (Thaler). Claims that do not fit, or are too many, are first
//!    merged by a sumcheck with random coefficients. Claims about inputs the verifier checks by itself.
//! 6. *Openings*: claims about witnesses and weights are shown by WHIR, one opening a commitment.
//!
//! # Soundness
//! In the random oracle model, against a prover of any strategy: with `L` leaves of lookups, `n` the most variables of a
//! column, `c` columns and `q = |E|`,
//!
//! | step | a false statement passes with at most |
//! |---|---|
//! | lookups | `4 L / q` by the choice of `alpha` and `beta`, `(3 log L + 2) / q` each of `log L` layers |
//! | demands | their number, `n` and `4 n`, over `q` |
//! | outputs | `n / q` |
//! | a merge | the number of its claims and `2 n`, over `q` |
//! | a matrix product | `3 n / q` |
//! | an opening | 2^-100 for each of WHIR's terms, under the Johnson bound, of which part is proof of work |
//!
//! For any model that fits in memory all but the openings together stay under 2^-98, so that the proof has about 100
//! bits. Multiplicities cannot wrap around: there are fewer cells than 2^32. Weights need not be small for this.
//!
//! # Who learns what
//! Plain mode. The verifier learns no weight from the commitment alone, and weights are never sent; but messages and
//! openings are linear functionals of witnesses and weights, a few thousand a proof. With as many proofs as a model has
//! weights they can be solved for. Where weights are secret, use [the hiding mode](hiding).

pub mod commitment;
#[cfg(feature = "hiding")]
pub mod hiding;

mod context;
mod digest;
mod encoding;
mod estimate;
mod kernel;
mod lookup;
mod matmul;
mod multilinear;
mod plan;
mod product;
mod rounds;
mod run;
mod statement;
mod table;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
mod wire;
mod zero;

use std::sync::Arc;

use p3_field::PrimeCharacteristicRing;
use rayon::prelude::*;

use super::{Commitments, Estimate, ProofSystem, ProveError, SetupError, Statement, Unsupported, VerifyError};
use crate::relation::{Relations, Trace};
use commitment::{Base, Claim, Commitment, Committed, Opening, Stack, commit_weights};
use context::{Failure, Openings, Prover, Verifier};
use plan::Plan;
use run::{Cells, Public};

/// The proof system; see the [module](self).
#[derive(Debug, Clone, Copy)]
pub struct Sumcheck;

/// What a prover keeps for a model.
#[derive(Debug)]
pub struct ProverKey {
    plan: Arc<Plan>,
    weights: Committed,
}

/// What a verifier keeps for a model.
#[derive(Debug, Clone)]
pub struct VerifierKey {
    plan: Arc<Plan>,
    weights: Commitment,
}

impl VerifierKey {
    /// The key of a model of these relations whose outline carries this commitment to its weights.
    ///
    /// # Errors
    /// [`Unsupported`].
    pub fn new(relations: Arc<Relations>, commitment: [u8; 32]) -> Result<Self, Unsupported> {
        Ok(Self { plan: Arc::new(plan(relations)?), weights: Commitment(commitment) })
    }

    /// Nanoseconds that one verification takes, about, on one core; reckoned from counts, the same on every machine.
    pub fn verification_nanos(&self) -> u64 {
        estimate::verification(&self.plan)
    }

    /// Length of a proof, to about a tenth.
    pub fn proof_bytes(&self) -> usize {
        estimate::estimate(&self.plan).proof_bytes
    }

    /// The commitment to the weights: that of the model's outline, if the key is the model's own.
    pub fn commitment(&self) -> [u8; 32] {
        self.weights.0
    }
}

pub(crate) const NAME: &str = "sumcheck";

impl ProofSystem for Sumcheck {
    type ProverKey = ProverKey;
    type VerifierKey = VerifierKey;

    const NAME: &'static str = NAME;

    fn supports(relations: &Relations) -> Result<(), Unsupported> {
        plan(Arc::new(relations.clone())).map(|_| ())
    }

    fn estimate(relations: &Relations) -> Estimate {
        estimate::of(relations)
    }

    fn set_up(relations: Arc<Relations>, weights: &[Vec<i64>]) -> Result<(ProverKey, VerifierKey), SetupError> {
        let plan = Arc::new(plan(relations)?);
        let found: Vec<usize> = weights.iter().map(Vec::len).collect();
        if found != plan.weights {
            let reason = format!("lists of {found:?} numbers, expected {:?}", plan.weights);
            return Err(SetupError::Weights { reason });
        }
        let (_, committed) = commit_weights(weights).map_err(|e| SetupError::Weights { reason: e.to_string() })?;
        let commitment = committed.commitment();
        Ok((ProverKey { plan: Arc::clone(&plan), weights: committed }, VerifierKey { plan, weights: commitment }))
    }

    fn prove(key: &ProverKey, trace: &Trace, statement: Statement<'_>) -> Result<Vec<u8>, ProveError> {
        let plan = &*key.plan;
        let cells = cells(plan, trace)?;
        prove(key, &cells, statement, |prover, public| run::run(prover, plan, public, Some(&cells)))
    }

    fn verify(key: &VerifierKey, statement: Statement<'_>, proof: &[u8]) -> Result<(), VerifyError> {
        let plan = &*key.plan;
        let public = statement::read(plan, &statement).map_err(|reason| VerifyError::Statement { reason })?;
        let malformed = |reason: String| VerifyError::Malformed { system: NAME, reason };
        let parts = encoding::split(proof, plan.witness_stack.is_some()).map_err(malformed)?;

        let transcript = statement::transcript(plan, &key.weights, &statement, parts.commitment.as_ref());
        let mut verifier = Verifier { transcript, messages: parts.messages, openings: Openings::default() };
        run::run(&mut verifier, plan, &public, None).map_err(|failure| match failure {
            Failure::Malformed(reason) => malformed(reason),
            Failure::Untrue(check) => VerifyError::Invalid { reason: check.into() },
        })?;

        let Verifier { mut transcript, messages, openings } = verifier;
        if !messages.is_empty() {
            return Err(malformed("it has more messages than the protocol".into()));
        }
        let mut check = |of: Option<(&Stack, &Commitment)>, claims: &[Claim], bytes: &[u8], whose: &str| {
            let Some((stack, commitment)) = of.filter(|_| !claims.is_empty()) else {
                // Nothing is claimed of it, so nothing is to be shown.
                return if bytes.is_empty() { Ok(()) } else { Err(malformed(format!("it opens {whose}"))) };
            };
            let opening = Opening::from_bytes(bytes, stack).map_err(|e| malformed(format!("{whose}: {e}")))?;
            stack
                .verify(commitment, claims, &opening, &mut transcript)
                .map_err(|e| VerifyError::Invalid { reason: format!("{whose}: {e}") })
        };
        let witness = plan.witness_stack.as_ref().zip(parts.commitment.as_ref());
        check(witness, &openings.witness, parts.witness_opening, "the witness")?;
        let weights = Some((&plan.weights_stack, &key.weights));
        check(weights, &openings.weights, parts.weights_opening, "the weights")
    }

    fn committed(commitments: &Commitments) -> Result<(), SetupError> {
        commitments.plain_root().map(drop)
    }

    fn check_key(key: &VerifierKey, commitments: &Commitments) -> Result<(), SetupError> {
        let own = commitments.plain_root()? == key.weights.0;
        if own { Ok(()) } else { Err(SetupError::OtherModel { system: NAME }) }
    }

    fn verifier_key_to_bytes(key: &VerifierKey) -> Vec<u8> {
        let mut bytes = vec![encoding::VERSION];
        bytes.extend(key.plan.digest);
        bytes.extend(key.weights.0);
        bytes
    }

    fn verifier_key_from_bytes(relations: Arc<Relations>, bytes: &[u8]) -> Result<VerifierKey, SetupError> {
        let refuse = |reason: &str| SetupError::Keys { system: NAME, reason: reason.into() };
        let plan = Arc::new(plan(relations)?);
        let (version, rest) = bytes.split_first().ok_or_else(|| refuse("it is empty"))?;
        if *version != encoding::VERSION {
            return Err(refuse("another version"));
        }
        let (digest, rest) = rest.split_first_chunk::<32>().ok_or_else(|| refuse("it ends early"))?;
        if *digest != plan.digest {
            return Err(refuse("it was made for other relations"));
        }
        let root = rest.try_into().map_err(|_| refuse("its length is not that of a key"))?;
        Ok(VerifierKey { plan, weights: Commitment(root) })
    }
}

/// Commits to the cells, takes the steps, opens what they ask for.
fn prove(
    key: &ProverKey,
    cells: &Cells,
    statement: Statement<'_>,
    steps: impl FnOnce(&mut Prover, &Public) -> Result<(), Failure>,
) -> Result<Vec<u8>, ProveError> {
    let plan = &*key.plan;
    let public = statement::read(plan, &statement).map_err(|reason| ProveError::Statement { reason })?;
    let mut blocks: Vec<Vec<Base>> = plan.witnesses.iter().map(|&c| block(&cells.columns[c])).collect();
    blocks.extend(cells.multiplicities.iter().cloned());
    let refused = |reason: String| ProveError::Library { system: NAME, reason };
    let commit = |stack: &Stack| stack.commit(blocks).map_err(|e| refused(e.to_string()));
    let committed = plan.witness_stack.as_ref().map(commit).transpose()?;
    let commitment = committed.as_ref().map(Committed::commitment);

    let transcript = statement::transcript(plan, &key.weights.commitment(), &statement, commitment.as_ref());
    let mut prover = Prover { transcript, messages: vec![], openings: Openings::default() };
    steps(&mut prover, &public).map_err(|failure| refused(failure.to_string()))?;

    let Prover { mut transcript, messages, openings } = prover;
    let mut open = |stack: &Stack, committed: &Committed, claims: &[Claim]| {
        if claims.is_empty() {
            return Ok(vec![]);
        }
        let opening = stack.open(committed, claims, &mut transcript).map_err(|e| refused(e.to_string()))?;
        Ok(opening.to_bytes())
    };
    let witness = match plan.witness_stack.as_ref().zip(committed.as_ref()) {
        Some((stack, committed)) => open(stack, committed, &openings.witness)?,
        None => vec![],
    };
    let weights = open(&plan.weights_stack, &key.weights, &openings.weights)?;
    Ok(encoding::write(commitment.as_ref(), &messages, &witness, &weights))
}

fn plan(relations: Arc<Relations>) -> Result<Plan, Unsupported> {
    Plan::new(relations).map_err(|reason| Unsupported { system: NAME, reason })
}

/// An integer as a field element; a negative one is the negation.
fn cell(&value: &i64) -> Base {
    Base::from_i64(value)
}

/// A list of cells with zeros to a power of two.
fn block(cells: &[Base]) -> Vec<Base> {
    let mut block = cells.to_vec();
    block.resize(cells.len().next_power_of_two(), Base::ZERO);
    block
}

/// The trace as field elements, if it has the relations' shapes.
fn cells(plan: &Plan, trace: &Trace) -> Result<Cells, ProveError> {
    if trace.columns.len() != plan.lengths.len() {
        let reason = format!("{} columns, expected {}", trace.columns.len(), plan.lengths.len());
        return Err(ProveError::Trace { reason });
    }
    for (at, (column, &length)) in trace.columns.iter().zip(&plan.lengths).enumerate() {
        if column.len() != length {
            let reason = format!("column {at} of {} cells, expected {length}", column.len());
            return Err(ProveError::Trace { reason });
        }
    }
    let columns = trace.columns.par_iter().map(|column| column.iter().map(cell).collect()).collect();
    Ok(Cells { columns, multiplicities: lookup::multiplicities(plan, trace) })
}
