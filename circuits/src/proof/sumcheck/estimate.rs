//! What proving costs, from counts of what is done.

use std::sync::Arc;

use p3_field::PrimeCharacteristicRing;

use super::commitment::{Base, Ext, Stack, Transcript};
use super::context::{Context, Failure, Polynomial};
use super::encoding::MESSAGE;
use super::kernel::{axes, flat};
use super::multilinear::log2_ceil;
use super::plan::Plan;
use super::run::{Public, run};
use super::wire;
use crate::proof::Estimate;
use crate::relation::{Definition, Relations};

/// Nanoseconds on two cores, fitted to the networks of `make bench-zk-estimates` and of `make bench-zk-scale`, between a slower and a
/// faster machine.
mod cost {
    /// A leaf of the lookups.
    pub(super) const LEAF: f64 = 30.0;
    /// A factor of a product at a position of a demand.
    pub(super) const FACTOR: f64 = 30.0;
    /// A position of a merge of claims.
    pub(super) const MERGE: f64 = 30.0;
    /// An entry of a wire.
    pub(super) const ENTRY: f64 = 8.0;
    /// A cell of an operand of a matrix product.
    pub(super) const OPERAND: f64 = 4.0;
    /// A cell that is committed to and opened.
    pub(super) const COMMITTED: f64 = 90.0;
    /// A weight that is opened.
    pub(super) const OPENED: f64 = 80.0;
    /// An opening, whatever its size.
    pub(super) const OPENING: f64 = 2e6;
    /// A message of the prover's: a pass over ever fewer cells on all threads.
    pub(super) const SAID: f64 = 35_000.0;
    /// What the verifier does for an entry of a wire or a cell of a table.
    pub(super) const CHECKED: usize = 12;
    /// What the verifier does for a message.
    pub(super) const MESSAGE: usize = 1500;
    /// What the verifier does for an opening.
    pub(super) const OPENING_CHECKED: usize = 1_200_000;
}

/// A run that only counts: on public zeros, with messages that are all zero.
struct Counter {
    transcript: Transcript,
    messages: usize,
    openings: [usize; 2],
}

impl Context for Counter {
    type Value = Ext;

    fn message(&mut self, _: Option<Ext>) -> Result<Ext, Failure> {
        self.messages += 1;
        Ok(Ext::ZERO)
    }

    fn challenge(&mut self) -> Ext {
        self.transcript.challenge()
    }

    fn mul(&mut self, _: &Ext, _: &Ext) -> Result<Ext, Failure> {
        Ok(Ext::ZERO)
    }

    fn assert_zero(&mut self, _: Ext, _: &'static str) -> Result<(), Failure> {
        Ok(())
    }

    fn open(&mut self, of: Polynomial, _: usize, _: &[Ext], _: Ext) {
        self.openings[usize::from(of == Polynomial::Weights)] += 1;
    }
}

/// The bytes of an opening of a stack, about.
fn opening_bytes(stack: &Stack) -> usize {
    (12_000 * stack.variables()).saturating_sub(108_000).max(20_000)
}

/// What is done, in counts.
#[derive(Default)]
struct Work {
    factors: usize,
    merged: usize,
    entries: usize,
    operands: usize,
    cells: usize,
}

fn work(plan: &Plan) -> Work {
    let mut work = Work { cells: plan.lengths.iter().sum(), ..Work::default() };
    let size = |length: usize| 1_usize << log2_ceil(length);
    for zero in &plan.relations.zeros {
        let factors: usize = zero.terms.iter().map(|(_, columns)| columns.len()).sum();
        work.factors += size(zero.shape.iter().product()) * factors;
    }
    for (column, &length) in plan.relations.columns.iter().zip(&plan.lengths) {
        match &column.definition {
            Definition::Wire { sources, wire } if !wire::is_reshape(wire, sources.len()) => {
                work.entries += length * wire.fan_in as usize;
                work.merged += sources.iter().map(|&s| size(plan.lengths[s])).sum::<usize>();
            }
            Definition::MatMul { left, right } => {
                work.operands += plan.lengths[*left] + plan.lengths[*right];
                if axes(&column.shape) != flat(length) {
                    work.merged += size(length);
                }
            }
            _ => {}
        }
    }
    work
}

/// Counts the messages and openings of a proof.
fn count(plan: &Plan) -> Counter {
    let zeros = |lengths: &mut dyn Iterator<Item = usize>| lengths.map(|n| vec![Base::ZERO; n]).collect();
    let public = Public {
        inputs: zeros(&mut plan.inputs.iter().copied()),
        outputs: zeros(&mut plan.relations.outputs.iter().map(|o| plan.lengths[o.column])),
    };
    let mut counter = Counter { transcript: Transcript::new("count"), messages: 0, openings: [0; 2] };
    // Nothing in it can fail: it reads no proof and asserts nothing.
    let _ = run(&mut counter, plan, &public, None);
    counter
}

impl Counter {
    /// Polynomials that are opened.
    fn opened(&self) -> usize {
        self.openings.iter().filter(|&&n| n > 0).count()
    }
}

/// Nanoseconds of one verification, about; in integers, so that every machine reckons the same.
fn verify_nanos(plan: &Plan, work: &Work, counter: &Counter) -> u64 {
    let tables: usize = plan.tables.iter().map(|t| 1 << t.cells.log()).sum();
    let parts = [
        (work.entries + work.merged + tables, cost::CHECKED),
        (counter.messages, cost::MESSAGE),
        (counter.opened(), cost::OPENING_CHECKED),
    ];
    parts.into_iter().fold(0, |sum: u64, (n, each)| sum.saturating_add((n as u64).saturating_mul(each as u64)))
}

/// Nanoseconds of one verification, about.
pub(super) fn verification(plan: &Plan) -> u64 {
    verify_nanos(plan, &work(plan), &count(plan))
}

/// Counts the work of relations that are supported.
pub(super) fn estimate(plan: &Plan) -> Estimate {
    let (work, counter) = (work(plan), count(plan));
    let leaves = if plan.leaves.is_empty() { 0 } else { 1_usize << plan.leaf_variables };
    let witness = plan.witness_stack.as_ref().map_or(0, |s| 1_usize << s.variables());
    let weights = if counter.openings[1] > 0 { 1_usize << plan.weights_stack.variables() } else { 0 };
    let opened = [(witness > 0, plan.witness_stack.as_ref()), (weights > 0, Some(&plan.weights_stack))];
    let bytes: usize = opened.iter().filter(|(there, _)| *there).filter_map(|(_, s)| s.map(opening_bytes)).sum();
    let sum = |parts: &[(usize, f64)]| parts.iter().map(|&(n, each)| n as f64 * each).sum::<f64>() * 1e-9;
    Estimate {
        setup_s: sum(&[(1 << plan.weights_stack.variables(), 70.0)]),
        prove_s: sum(&[
            (leaves, cost::LEAF),
            (work.factors, cost::FACTOR),
            (work.merged, cost::MERGE),
            (work.entries, cost::ENTRY),
            (work.operands, cost::OPERAND),
            (witness, cost::COMMITTED),
            (weights, cost::OPENED),
            (counter.opened(), cost::OPENING),
            (counter.messages, cost::SAID),
        ]),
        verify_s: verify_nanos(plan, &work, &counter) as f64 * 1e-9,
        // Trace and cells; both arrays of all layers of the lookups and one layer at work; codewords and their trees.
        memory_mib: (16 * work.cells + 112 * leaves + 120 * (witness + weights) + (8 << 20)) as f64 / 1_048_576.0,
        proof_bytes: 41 + MESSAGE * counter.messages + bytes,
    }
}

/// Of relations that are not supported.
pub(super) const NOTHING: Estimate =
    Estimate { setup_s: 0.0, prove_s: 0.0, verify_s: 0.0, memory_mib: 0.0, proof_bytes: 0 };

/// Of any relations.
pub(super) fn of(relations: &Relations) -> Estimate {
    Plan::new(Arc::new(relations.clone())).map_or(NOTHING, |plan| estimate(&plan))
}
