//! The protocol's steps, the same on both sides.

use std::sync::Arc;

use p3_field::PrimeCharacteristicRing;

use super::commitment::{Base, Ext};
use super::context::{Context, Failure, Polynomial};
use super::kernel::{Functional, Kernel, Wired, axes, flat, padded, variables};
use super::multilinear::log2_ceil;
use super::plan::Plan;
use super::product::{PairProduct, Values};
use super::rounds::{Rounds, sumcheck};
use super::{lookup, matmul, wire, zero};
use crate::graph::Wire;
use crate::relation::{ColumnId, Definition};

/// A linear column passes this many claims on to its terms as they are; more are merged into one first.
const CLAIMS_PASSED: usize = 3;

/// How many kernels are kept for columns of the same length.
const KERNELS_KEPT: usize = 8;

/// What the prover works on: the cells of each column, and the multiplicities of each used table.
pub(super) struct Cells {
    pub(super) columns: Vec<Vec<Base>>,
    pub(super) multiplicities: Vec<Vec<Base>>,
}

/// What the statement says, as field elements.
pub(super) struct Public {
    pub(super) inputs: Vec<Vec<Base>>,
    pub(super) outputs: Vec<Vec<Base>>,
}

/// What is claimed of a column: its cells, weighed so, add up to the value.
pub(super) struct Claimed<V> {
    pub(super) functional: Functional,
    pub(super) value: V,
}

/// A run of the protocol; the prover has the cells.
pub(super) struct Run<'a, C: Context> {
    pub(super) c: &'a mut C,
    pub(super) plan: &'a Plan,
    pub(super) public: &'a Public,
    pub(super) cells: Option<&'a Cells>,
    claims: Vec<Vec<Claimed<C::Value>>>,
    /// Kernels made last, so that columns of one length share their tables.
    recent: Vec<Arc<Kernel>>,
}

/// Runs the whole protocol, from after the commitment to before the openings.
pub(super) fn run<C: Context>(c: &mut C, plan: &Plan, public: &Public, cells: Option<&Cells>) -> Result<(), Failure> {
    let claims = plan.relations.columns.iter().map(|_| vec![]).collect();
    let mut run = Run { c, plan, public, cells, claims, recent: vec![] };
    lookup::run(&mut run)?;
    zero::run(&mut run)?;
    run.outputs();
    for column in (0..plan.relations.columns.len()).rev() {
        run.settle(column)?;
    }
    run.seal()
}

impl<C: Context> Run<'_, C> {
    /// The last message repeats a challenge, which depends on all that is proved: without it the proof of a graph that
    /// commits to nothing would hold for any statement's binding.
    fn seal(&mut self) -> Result<(), Failure> {
        let seal = self.c.challenge();
        let said = self.c.message(self.cells.map(|_| seal))?;
        self.c.assert_zero(said - seal.into(), "the seal")
    }

    /// `n` random choices.
    pub(super) fn challenges(&mut self, n: usize) -> Vec<Ext> {
        (0..n).map(|_| self.c.challenge()).collect()
    }

    /// The prover's cells of a column.
    pub(super) fn column(&self, column: ColumnId) -> Option<&[Base]> {
        self.cells.map(|cells| cells.columns[column].as_slice())
    }

    /// The kernel of a column's flat list at the last of the coordinates.
    pub(super) fn flat_kernel(&mut self, column: ColumnId, coordinates: &[Ext]) -> Arc<Kernel> {
        let length = self.plan.lengths[column];
        let (axes, point) = (flat(length), &coordinates[coordinates.len() - log2_ceil(length)..]);
        let same = |kernel: &&Arc<Kernel>| kernel.axes() == axes && kernel.point() == point;
        if let Some(kernel) = self.recent.iter().find(same) {
            return Arc::clone(kernel);
        }
        let kernel = Kernel::new(axes, point.to_vec());
        self.recent.truncate(KERNELS_KEPT - 1);
        self.recent.insert(0, Arc::clone(&kernel));
        kernel
    }

    /// The value of a column weighed by a kernel: of an input computed by both sides, of any other a message, which
    /// becomes a claim to be settled. The prover may know it already.
    pub(super) fn value(
        &mut self,
        column: ColumnId,
        kernel: &Arc<Kernel>,
        known: Option<Ext>,
    ) -> Result<C::Value, Failure> {
        let functional = Functional::At(Arc::clone(kernel));
        if let Definition::Input(number) = &self.plan.relations.columns[column].definition {
            return Ok(functional.apply(&self.public.inputs[*number]).into());
        }
        let made = |claim: &&Claimed<C::Value>| matches!(&claim.functional, Functional::At(k) if k == kernel);
        if let Some(claim) = self.claims[column].iter().find(made) {
            return Ok(claim.value.clone());
        }
        let honest = self.column(column).map(|cells| known.unwrap_or_else(|| functional.apply(cells)));
        let value = self.c.message(honest)?;
        self.claims[column].push(Claimed { functional, value: value.clone() });
        Ok(value)
    }

    /// Claims that each output is what the statement says.
    fn outputs(&mut self) {
        let outputs = &self.plan.relations.outputs;
        let most = outputs.iter().map(|o| log2_ceil(self.plan.lengths[o.column])).max().unwrap_or(0);
        let point = self.challenges(most);
        for (output, cells) in outputs.iter().zip(&self.public.outputs) {
            let functional = Functional::At(self.flat_kernel(output.column, &point));
            let value = functional.apply(cells).into();
            self.claims[output.column].push(Claimed { functional, value });
        }
    }

    /// Turns all claims on a column into claims on the ones it is defined by.
    fn settle(&mut self, column: ColumnId) -> Result<(), Failure> {
        let claims = std::mem::take(&mut self.claims[column]);
        if claims.is_empty() {
            return Ok(());
        }
        let relations = Arc::clone(&self.plan.relations);
        match &relations.columns[column].definition {
            Definition::Input(number) => {
                for claim in claims {
                    let value = claim.functional.apply(&self.public.inputs[*number]);
                    self.c.assert_zero(claim.value - value.into(), "a claim on an input")?;
                }
                Ok(())
            }
            Definition::Weight(_) => self.open(Polynomial::Weights, column, claims),
            Definition::Witness => self.open(Polynomial::Witness, column, claims),
            Definition::Linear { terms, constant } => self.linear(column, claims, terms, *constant),
            Definition::Wire { sources, wire } => self.wire(column, claims, sources, wire),
            Definition::MatMul { left, right } => {
                let (kernel, value) = self.one(column, claims, axes(&relations.columns[column].shape))?;
                matmul::run(self, column, [*left, *right], &kernel, value)
            }
        }
    }

    /// Merges claims into one along these axes, unless there is just one and it is.
    fn one(
        &mut self,
        column: ColumnId,
        mut claims: Vec<Claimed<C::Value>>,
        axes: Vec<usize>,
    ) -> Result<(Arc<Kernel>, C::Value), Failure> {
        if claims.len() == 1
            && let Some(kernel) = claims[0].functional.along(&axes).cloned()
        {
            return Ok((kernel, claims.swap_remove(0).value));
        }
        self.merge(column, &claims, axes)
    }

    /// A sumcheck of all claims with random coefficients, to one along these axes.
    fn merge(
        &mut self,
        column: ColumnId,
        claims: &[Claimed<C::Value>],
        axes: Vec<usize>,
    ) -> Result<(Arc<Kernel>, C::Value), Failure> {
        let length = self.plan.lengths[column];
        let (functional, value) = self.combine(claims);
        let mut prover = self.column(column).map(|cells| {
            let mut weights = vec![Ext::ZERO; 1 << variables(&axes)];
            for (coefficient, functional) in &functional {
                let add = functional.padded(&axes, length);
                weights.iter_mut().zip(add).for_each(|(sum, w)| *sum += *coefficient * w);
            }
            PairProduct { a: Values::Base(padded(&axes, cells)), b: weights }
        });
        let rounds = prover.as_mut().map(|p| p as &mut dyn Rounds);
        let (last, point) = sumcheck(self.c, value, variables(&axes), 2, rounds)?;
        let kernel = Kernel::new(axes, point);
        let value = self.c.message(prover.map(|p| p.a.last()))?;
        let weight = functional.iter().map(|(coefficient, f)| *coefficient * f.at(&kernel)).sum::<Ext>();
        self.c.assert_zero(last - value.clone() * weight, "the end of a merge of claims")?;
        Ok((kernel, value))
    }

    /// The claims with random coefficients, added up.
    fn combine(&mut self, claims: &[Claimed<C::Value>]) -> (Vec<(Ext, Functional)>, C::Value) {
        let random = if claims.len() > 1 { self.c.challenge() } else { Ext::ONE };
        let (mut functionals, mut value) = (vec![], C::Value::from(Ext::ZERO));
        for (claim, coefficient) in claims.iter().zip(random.powers()) {
            functionals.push((coefficient, claim.functional.clone()));
            value = value + claim.value.clone() * coefficient;
        }
        (functionals, value)
    }

    /// Leaves claims on a committed column to its commitment, which opens flat lists.
    fn open(&mut self, of: Polynomial, column: ColumnId, claims: Vec<Claimed<C::Value>>) -> Result<(), Failure> {
        let block = self.plan.blocks[column];
        if claims.iter().all(|claim| claim.functional.as_flat().is_some()) {
            for claim in claims {
                if let Some(kernel) = claim.functional.as_flat() {
                    self.c.open(of, block, kernel.point(), claim.value.clone());
                }
            }
            return Ok(());
        }
        let (kernel, value) = self.merge(column, &claims, flat(self.plan.lengths[column]))?;
        self.c.open(of, block, kernel.point(), value);
        Ok(())
    }

    fn linear(
        &mut self,
        column: ColumnId,
        claims: Vec<Claimed<C::Value>>,
        terms: &[(i64, ColumnId)],
        constant: i64,
    ) -> Result<(), Failure> {
        let passed = claims.len() <= CLAIMS_PASSED && claims.iter().all(|claim| claim.functional.as_flat().is_some());
        let claims: Vec<(Arc<Kernel>, C::Value)> = if passed {
            claims.into_iter().filter_map(|c| c.functional.as_flat().cloned().map(|k| (k, c.value))).collect()
        } else {
            vec![self.merge(column, &claims, flat(self.plan.lengths[column]))?]
        };
        for (kernel, value) in claims {
            // The constant is that of true cells only, so that an honest column's padding stays zero.
            let mut rest = value - (kernel.sum() * Base::from_i64(constant)).into();
            for &(coefficient, term) in terms {
                rest = rest - self.value(term, &kernel, None)? * Ext::from_i64(coefficient);
            }
            self.c.assert_zero(rest, "a claim on a linear column")?;
        }
        Ok(())
    }

    fn wire(
        &mut self,
        column: ColumnId,
        claims: Vec<Claimed<C::Value>>,
        sources: &[ColumnId],
        wire: &Arc<Wire>,
    ) -> Result<(), Failure> {
        if wire::is_reshape(wire, sources.len()) {
            self.claims[sources[0]].extend(claims);
            return Ok(());
        }
        let (functionals, mut value) = self.combine(&claims);
        let wired = Wired::new(Arc::clone(wire), self.plan.lengths[column], functionals);
        let mut start = 0;
        for (at, &source) in sources.iter().enumerate() {
            let functional = Functional::Through { wired: Arc::clone(&wired), start };
            start += self.plan.lengths[source];
            // Each source's share is a message; the last one's is what is left.
            let share = if at + 1 == sources.len() {
                value.clone()
            } else {
                let honest = self.column(source).map(|cells| functional.apply(cells));
                let share = self.c.message(honest)?;
                value = value - share.clone();
                share
            };
            self.claims[source].push(Claimed { functional, value: share });
        }
        if sources.is_empty() {
            self.c.assert_zero(value, "a wire from nothing")?;
        }
        Ok(())
    }
}
