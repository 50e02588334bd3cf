//! Proving and verifying a protocol in hiding mode, whatever the protocol is.
//!
//! ```text
//! version 1 | n u32 | n padded messages | length u32 | roots of rows, masks, weights' masks; argument | weights' argument
//! ```

use p3_field::PrimeCharacteristicRing;
use rand::Rng;

use super::argument::{Argument, Demand, Masks, Rows};
use super::code::uniform_ext;
use super::context::{Counter, Counts, HiddenClaims, HidingProver, HidingVerifier, Pads};
use super::layout::rows;
use super::script::{Conclusion, Fresh, Layouts, Placed};
use crate::proof::sumcheck::commitment::{Base, Ext, OpeningError, Reader, Transcript};
use crate::proof::sumcheck::context::{Context, Failure};
use crate::proof::sumcheck::encoding;

/// What is run: the same steps in every context.
pub(super) trait Protocol {
    /// Runs it; the prover's messages are given where `proving`.
    fn run<C: Context>(&self, c: &mut C, proving: bool) -> Result<(), Failure>;
}

/// Weights committed so that up to [`super::script::PROOFS`] proofs show nothing of them.
pub(super) struct HiddenWeights {
    cells: Vec<Base>,
    rows: Rows,
}

impl HiddenWeights {
    pub(super) fn commit(layouts: &Layouts, cells: Vec<Base>, random: &mut impl Rng) -> Self {
        let (code, _) = layouts.weight_code();
        let rows = Rows::commit(&code, &rows(&cells, code.data), random);
        Self { cells, rows }
    }

    pub(super) fn root(&self) -> [u8; 32] {
        self.rows.tree.root()
    }
}

/// Why a proof is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refusal {
    Malformed(String),
    Invalid(String),
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Malformed(reason) => Self::Malformed(reason),
            Failure::Untrue(check) => Self::Invalid(check.into()),
        }
    }
}

impl From<OpeningError> for Refusal {
    fn from(error: OpeningError) -> Self {
        Self::Malformed(error.to_string())
    }
}

/// Tells how many messages and products a run has.
pub(super) fn count(protocol: &impl Protocol, layouts: &Layouts) -> Result<Counts, Failure> {
    let transcript = Transcript::new("assay/sumcheck/counting");
    let mut counter = Counter { transcript, counts: Counts::default(), claims: HiddenClaims::default() };
    protocol.run(&mut counter, false)?;
    layouts.settle(&mut counter, None)?;
    Ok(counter.counts)
}

/// Proves. The transcript has absorbed what is proved, and the weights' root.
pub(super) fn prove(
    protocol: &impl Protocol,
    layouts: &Layouts,
    counts: Counts,
    weights: &HiddenWeights,
    witness: &[Base],
    mut transcript: Transcript,
    random: &mut impl Rng,
) -> Result<Vec<u8>, Failure> {
    let fresh = Fresh::new(layouts.witness.as_ref(), counts);
    let mut list = |length: usize| (0..length).map(|_| uniform_ext(random)).collect::<Vec<Ext>>();
    let (messages, left, right) = (list(counts.messages + 1), list(counts.products), list(counts.products));
    let product = left.iter().zip(&right).map(|(x, y)| *x * *y).collect();
    let pads = Pads { messages, products: [left, right, product] };
    let rows = Rows::commit(&fresh.code, &fresh.cells(witness, &pads), random);
    let masks = Masks::commit(&fresh.code, Ext::ZERO, counts.products > 0, random);
    let (weight_code, weight_rows) = layouts.weight_code();
    let mask_sum = pads.messages[counts.messages];
    let weight_masks = Masks::commit(&weight_code, mask_sum, false, random);
    let roots = [rows.tree.root(), masks.root(), weight_masks.root()];
    begin(&mut transcript, &roots);

    let used = Counts::default();
    let mut prover = HidingProver {
        transcript: transcript.clone(),
        pads: &pads,
        sent: vec![],
        used,
        claims: HiddenClaims::default(),
    };
    protocol.run(&mut prover, true)?;
    let ends = layouts.settle(&mut prover, Some(Placed { witness, weights: &weights.cells }))?;
    if prover.used != counts {
        return Err(Failure::Untrue("every run of a model sends the same number of messages"));
    }
    if let Some((_, value)) = ends.weights {
        let scale = prover.challenge();
        prover.send(value.value * scale + mask_sum);
    }

    // The verifier's own run says which equations are to be shown.
    let sent = encoding::write(None, &prover.sent, &[], &[]);
    let parts = encoding::split(&sent, false).map_err(Failure::Malformed)?;
    let (conclusion, mut transcript) = replay(protocol, layouts, parts.messages, transcript)?;
    let mut shown = roots.concat();
    conclusion.fresh_demand().prove(&rows, &masks, &mut transcript).write(&mut shown);
    let mut shown_weights = vec![];
    if let Some(demand) = &conclusion.weights {
        let demand = Demand { code: &weight_code, rows: weight_rows, terms: &demand.terms, products: &[] };
        demand.prove(&weights.rows, &weight_masks, &mut transcript).write(&mut shown_weights);
    }
    Ok(encoding::write(None, &prover.sent, &shown, &shown_weights))
}

/// Verifies.
pub(super) fn verify(
    protocol: &impl Protocol,
    layouts: &Layouts,
    weights: &[u8; 32],
    mut transcript: Transcript,
    proof: &[u8],
) -> Result<(), Refusal> {
    let parts = encoding::split(proof, false).map_err(Refusal::Malformed)?;
    let mut reader = Reader { bytes: parts.witness_opening };
    let roots = [reader.digest()?, reader.digest()?, reader.digest()?];
    begin(&mut transcript, &roots);
    let (conclusion, mut transcript) = replay(protocol, layouts, parts.messages, transcript)?;
    let demand = conclusion.fresh_demand();
    let argument = Argument::read(&mut reader, &demand)?;
    if !reader.bytes.is_empty() {
        return Err(Refusal::Malformed("bytes after the argument".into()));
    }
    let refused = |whose: &'static str| move |reason: &str| Refusal::Invalid(format!("{whose}: {reason}"));
    let checked = demand.verify([&roots[0], &roots[1]], conclusion.sum, &argument, &mut transcript);
    checked.map_err(refused("the witness"))?;
    let mut reader = Reader { bytes: parts.weights_opening };
    if let Some(left) = &conclusion.weights {
        let (code, rows) = layouts.weight_code();
        let demand = Demand { code: &code, rows, terms: &left.terms, products: &[] };
        let argument = Argument::read(&mut reader, &demand)?;
        let checked = demand.verify([weights, &roots[2]], left.sum, &argument, &mut transcript);
        checked.map_err(refused("the weights"))?;
    }
    if !reader.bytes.is_empty() {
        return Err(Refusal::Malformed("bytes after the weights' argument".into()));
    }
    Ok(())
}

fn begin(transcript: &mut Transcript, roots: &[[u8; 32]; 3]) {
    transcript.absorb_bytes(b"hiding");
    roots.iter().for_each(|root| transcript.absorb_bytes(root));
}

/// The verifier's run on padded messages; the transcript goes on from its end.
fn replay(
    protocol: &impl Protocol,
    layouts: &Layouts,
    messages: encoding::MessageReader<'_>,
    transcript: Transcript,
) -> Result<(Conclusion, Transcript), Failure> {
    let mut verifier = HidingVerifier {
        transcript,
        messages,
        counts: Counts::default(),
        equations: vec![],
        claims: HiddenClaims::default(),
    };
    protocol.run(&mut verifier, false)?;
    let ends = layouts.settle(&mut verifier, None)?;
    let conclusion = Conclusion::new(&mut verifier, layouts, ends)?;
    if !verifier.messages.is_empty() {
        return Err(Failure::Malformed("it has more messages than the protocol".into()));
    }
    Ok((conclusion, verifier.transcript))
}
