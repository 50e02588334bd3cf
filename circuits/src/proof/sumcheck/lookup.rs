//! All lookups in one sum of fractions (logUp), summed up by a tree of sumchecks (GKR).
//!
//! With random `alpha` and `beta` each looked up cell is the fraction `1 / (alpha - x - beta y - beta^2 table)` and each
//! cell of a table `-multiplicity / (..)`: all cells are in their tables if and only if the sum is 0, but for an unlucky
//! choice. The leaves are those of each lookup and each table one after another, largest first, each padded to a power
//! of two; padding of a lookup has numerator 0, and after the last come fractions 0 / 1.
//!
//! The tree halves: node `j` of a layer adds up nodes `j` and `half + j` of the next. A layer's numerator and
//! denominator are reduced together by one weighted sumcheck of degree 2.

use p3_field::{Field, PrimeCharacteristicRing};
use rayon::prelude::*;

use super::commitment::{Base, Ext};
use super::context::{Context, Failure, Polynomial};
use super::multilinear::{PARALLEL_FROM, dot, eq_at, eq_table, fold};
use super::plan::{LeavesOf, Plan, UsedTable};
use super::product::sum_pairs;
use super::rounds::{Rounds, weighted_sumcheck};
use super::run::{Cells, Run};
use crate::relation::Trace;

/// Proves all lookups, leaving claims on their columns and openings of the multiplicities.
pub(super) fn run<C: Context>(run: &mut Run<'_, C>) -> Result<(), Failure> {
    if run.plan.leaves.is_empty() {
        return Ok(());
    }
    let [alpha, beta] = [run.c.challenge(), run.c.challenge()];
    let mut tree = run.cells.map(|cells| Tree::new(run.plan, cells, alpha, beta));

    // The two halves of the whole sum, which is 0 over something that has an inverse.
    let top = tree.as_mut().and_then(|t| t.layers.pop()).map(|f| [f.numerators, f.denominators].concat());
    let mut nodes = (0..4).map(|at| run.c.message(top.as_ref().map(|t| t[at]))).collect::<Result<Vec<_>, _>>()?;
    let numerator = crossed(run.c, &nodes)?;
    run.c.assert_zero(numerator, "the sum of all lookups")?;
    let denominator = run.c.mul(&nodes[2], &nodes[3])?;
    let inverse = run.c.message(top.map(|t| (t[2] * t[3]).try_inverse().unwrap_or_default()))?;
    let one = run.c.mul(&denominator, &inverse)?;
    run.c.assert_zero(one - Ext::ONE.into(), "a denominator of the lookups")?;

    let mut point = vec![];
    for _ in 1..run.plan.leaf_variables {
        let [numerator, denominator] = join(run.c, &nodes, &mut point);
        let lambda = run.c.challenge();
        let mut prover = tree.as_mut().and_then(|t| t.layers.pop()).map(|f| Layer::new(f, lambda, &point));
        let rounds = prover.as_mut().map(|p| p as &mut dyn Rounds);
        let (last, next) = weighted_sumcheck(run.c, numerator + denominator * lambda, &point, 2, rounds)?;
        let known = prover.map(|p| p.last());
        for (at, node) in nodes.iter_mut().enumerate() {
            *node = run.c.message(known.map(|k| k[at]))?;
        }
        let crossed = crossed(run.c, &nodes)?;
        let product = run.c.mul(&nodes[2], &nodes[3])?;
        run.c.assert_zero(last - crossed - product * lambda, "a layer of the lookups")?;
        point = next;
    }
    let claims = join(run.c, &nodes, &mut point);
    leaves(run, claims, &point, alpha, beta)
}

/// `n_low d_high + n_high d_low`.
fn crossed<C: Context>(c: &mut C, nodes: &[C::Value]) -> Result<C::Value, Failure> {
    Ok(c.mul(&nodes[0], &nodes[3])? + c.mul(&nodes[1], &nodes[2])?)
}

/// One claim on each of numerator and denominator from those on the halves, at a point of one more variable.
fn join<C: Context>(c: &mut C, nodes: &[C::Value], point: &mut Vec<Ext>) -> [C::Value; 2] {
    let r = c.challenge();
    point.insert(0, r);
    let at = |low: &C::Value, high: &C::Value| low.clone() * (Ext::ONE - r) + high.clone() * r;
    [at(&nodes[0], &nodes[1]), at(&nodes[2], &nodes[3])]
}

/// Checks the claims on the leaves against claims on columns, openings of multiplicities and the public tables.
fn leaves<C: Context>(
    run: &mut Run<'_, C>,
    [numerator, denominator]: [C::Value; 2],
    point: &[Ext],
    alpha: Ext,
    beta: Ext,
) -> Result<(), Failure> {
    let plan = run.plan;
    let [mut numerators, mut denominators] = [numerator, denominator];
    // The share of the fractions 0 / 1 at the end.
    let mut rest = Ext::ONE;
    let largest = plan.tables.iter().map(|t| t.cells.log()).max().unwrap_or(0);
    let largest_eq = eq_table(&point[point.len() - largest..]);
    for leaves in &plan.leaves {
        let (to_leaves, at) = point.split_at(point.len() - leaves.log);
        let share = eq_at(to_leaves, leaves.offset >> leaves.log);
        rest -= share;
        let place = |table: usize| alpha - beta.square() * Base::from_usize(plan.tables[table].id);
        match leaves.of {
            LeavesOf::Lookup(lookup) => {
                let lookup = &plan.relations.lookups[lookup];
                let kernel = run.flat_kernel(lookup.x, at);
                let x = run.value(lookup.x, &kernel, None)?;
                let mut cell = C::Value::from(alpha - beta.square() * Base::from_usize(lookup.table)) - x;
                if let Some(y) = lookup.y {
                    cell = cell - run.value(y, &kernel, None)? * beta;
                }
                numerators = numerators - (kernel.sum() * share).into();
                denominators = denominators - cell * share;
            }
            LeavesOf::Table(table) => {
                let honest = run.cells.map(|cells| dot(&eq_table(at), &cells.multiplicities[table]));
                let multiplicity = run.c.message(honest)?;
                run.c.open(Polynomial::Witness, plan.multiplicities(table), at, multiplicity.clone());
                // `eq` at fewer variables is a sum of `eq` at more.
                let eq = if leaves.log == largest { largest_eq.clone() } else { eq_table(at) };
                let (x, y) = plan.tables[table].cells.evaluate(at, &eq);
                numerators = numerators + multiplicity * share;
                denominators = denominators - ((place(table) - x - beta * y) * share).into();
            }
        }
    }
    run.c.assert_zero(numerators, "the numerators of the lookups")?;
    run.c.assert_zero(denominators - rest.into(), "the denominators of the lookups")
}

/// Numerators and denominators of one layer.
struct Fractions {
    numerators: Vec<Ext>,
    denominators: Vec<Ext>,
}

/// All layers but the root, the leaves first.
struct Tree {
    layers: Vec<Fractions>,
}

impl Tree {
    fn new(plan: &Plan, cells: &Cells, alpha: Ext, beta: Ext) -> Self {
        let mut numerators = vec![Ext::ZERO; 1 << plan.leaf_variables];
        let mut denominators = vec![Ext::ONE; 1 << plan.leaf_variables];
        for leaves in &plan.leaves {
            let range = leaves.offset..leaves.offset + (1 << leaves.log);
            let (n, d) = (&mut numerators[range.clone()], &mut denominators[range]);
            match leaves.of {
                LeavesOf::Lookup(lookup) => {
                    let lookup = &plan.relations.lookups[lookup];
                    let place = alpha - beta.square() * Base::from_usize(lookup.table);
                    let x = &cells.columns[lookup.x];
                    n[..x.len()].fill(Ext::ONE);
                    d[x.len()..].fill(place);
                    match lookup.y.map(|y| &cells.columns[y]) {
                        None => d.iter_mut().zip(x).for_each(|(d, &x)| *d = place - x),
                        Some(y) => d.iter_mut().zip(x).zip(y).for_each(|((d, &x), &y)| *d = place - x - beta * y),
                    }
                }
                LeavesOf::Table(table) => {
                    let used = &plan.tables[table];
                    let place = alpha - beta.square() * Base::from_usize(used.id);
                    n.iter_mut().zip(&cells.multiplicities[table]).for_each(|(n, &m)| *n = Ext::from(-m));
                    for (at, d) in d.iter_mut().enumerate() {
                        let (x, y) = used.cells.cell(at);
                        *d = place - x - beta * y;
                    }
                }
            }
        }
        let mut layers = vec![Fractions { numerators, denominators }];
        for _ in 1..plan.leaf_variables {
            if let Some(last) = layers.last() {
                layers.push(last.halved());
            }
        }
        Self { layers }
    }
}

impl Fractions {
    /// The layer above.
    fn halved(&self) -> Self {
        let half = self.numerators.len() / 2;
        let ((n0, n1), (d0, d1)) = (self.numerators.split_at(half), self.denominators.split_at(half));
        let piece = PARALLEL_FROM / 4;
        let numerators = (0..half).into_par_iter().with_min_len(piece).map(|i| n0[i] * d1[i] + n1[i] * d0[i]).collect();
        let denominators = (0..half).into_par_iter().with_min_len(piece).map(|i| d0[i] * d1[i]).collect();
        Self { numerators, denominators }
    }
}

/// The prover's rounds of one layer: `a d_high + n_high d_low` with `a = n_low + lambda d_low`.
struct Layer {
    lambda: Ext,
    /// `a`, `n_high`, `d_low`, `d_high`.
    lists: [Vec<Ext>; 4],
    /// `eq` of the coordinates after the next.
    weights: Vec<Ext>,
}

impl Layer {
    fn new(fractions: Fractions, lambda: Ext, point: &[Ext]) -> Self {
        let Fractions { numerators: mut a, denominators: mut low } = fractions;
        let n_high = a.split_off(a.len() / 2);
        let d_high = low.split_off(low.len() / 2);
        a.par_iter_mut().zip(&low).with_min_len(PARALLEL_FROM / 4).for_each(|(n, &d)| *n += lambda * d);
        Self { lambda, lists: [a, n_high, low, d_high], weights: eq_table(&point[1..]) }
    }

    /// Numerators low and high, denominators low and high.
    fn last(&self) -> [Ext; 4] {
        let [a, n_high, d_low, d_high] = self.lists.each_ref().map(|list| list[0]);
        [a - self.lambda * d_low, n_high, d_low, d_high]
    }
}

impl Rounds for Layer {
    fn message(&mut self) -> Vec<Ext> {
        let half = self.lists[0].len() / 2;
        let [a, n, low, high] = self.lists.each_ref().map(|list| list.split_at(half));
        let weights = &self.weights;
        let (zero, leading) = sum_pairs(half, |i| {
            let at_zero = a.0[i] * high.0[i] + n.0[i] * low.0[i];
            let step = (a.1[i] - a.0[i]) * (high.1[i] - high.0[i]) + (n.1[i] - n.0[i]) * (low.1[i] - low.0[i]);
            (weights[i] * at_zero, weights[i] * step)
        });
        vec![zero, leading]
    }

    fn bind(&mut self, r: Ext) {
        self.lists.iter_mut().for_each(|list| fold(list, r));
        // Summing over a variable takes its factor out of `eq`.
        let half = self.weights.len() / 2;
        let (low, high) = self.weights.split_at_mut(half);
        low.iter_mut().zip(high).for_each(|(low, high)| *low += *high);
        self.weights.truncate(half.max(1));
    }
}

/// How often each cell of each used table is looked up. A cell that is not there is counted nowhere, and then the proof
/// does not verify.
pub(super) fn multiplicities(plan: &Plan, trace: &Trace) -> Vec<Vec<Base>> {
    let count = |(at, used): (usize, &UsedTable)| {
        let mut counts = vec![0_u64; 1 << used.cells.log()];
        for lookup in plan.relations.lookups.iter().filter(|l| l.table == plan.tables[at].id) {
            for &x in &trace.columns[lookup.x] {
                if let Some(at) = used.cells.position(x) {
                    counts[at] += 1;
                }
            }
        }
        counts.into_iter().map(Base::from_u64).collect()
    };
    plan.tables.iter().enumerate().map(count).collect()
}
