//! All demands that polynomials of columns vanish, in one sumcheck.
//!
//! With a random point `z` and random coefficients, `sum over x of eq(z, x) sum over demands of c demand(x) = 0`.
//! A demand on fewer variables joins when those are left, at the last coordinates of `z`: until then it adds nothing,
//! as its claim is 0. A demand's constant counts at true cells only; so an honest column's zero padding satisfies
//! it; that padding must satisfy it too asks more of the prover than need be, and never less.

use p3_field::{ExtensionField, Field, PrimeCharacteristicRing};
use rayon::prelude::*;

use super::commitment::{Base, Ext};
use super::context::{Context, Failure};
use super::multilinear::{PARALLEL_FROM, eq_table, log2_ceil, prefix};
use super::product::Values;
use super::rounds::{Rounds, weighted_sumcheck};
use super::run::Run;
use crate::relation::{ColumnId, Zero};

/// Highest degree of a demand.
const DEGREE: usize = 3;

/// Proves all demands, leaving claims on their columns.
pub(super) fn run<C: Context>(run: &mut Run<'_, C>) -> Result<(), Failure> {
    let zeros = &run.plan.relations.zeros;
    let length = |zero: &Zero| zero.shape.iter().product::<usize>();
    let Some(variables) = zeros.iter().map(|zero| log2_ceil(length(zero))).max() else { return Ok(()) };
    let random = run.c.challenge();
    let z = run.challenges(variables);
    let mut prover = run.cells.map(|cells| Vanishing::new(zeros, random, &z, |c| &cells.columns[c]));
    let rounds = prover.as_mut().map(|p| p as &mut dyn Rounds);
    let (last, point) = weighted_sumcheck(run.c, Ext::ZERO.into(), &z, DEGREE, rounds)?;
    let mut sum = C::Value::from(Ext::ZERO);
    for (zero, coefficient) in zeros.iter().zip(random.powers()) {
        let at = &point[variables - log2_ceil(length(zero))..];
        let mut value = C::Value::from(prefix(at, length(zero)) * Base::from_i64(zero.constant));
        for (coefficient, columns) in &zero.terms {
            let mut product = C::Value::from(Ext::ONE);
            for (at, &column) in columns.iter().enumerate() {
                let kernel = run.flat_kernel(column, &point);
                let factor = run.value(column, &kernel, None)?;
                product = if at == 0 { factor } else { run.c.mul(&product, &factor)? };
            }
            value = value + product * Ext::from_i64(*coefficient);
        }
        sum = sum + value * coefficient;
    }
    run.c.assert_zero(last - sum, "the end of the vanishing demands")
}

/// A demand as the prover holds it: positions in [`Vanishing::lists`].
struct Demand {
    variables: usize,
    coefficient: Ext,
    terms: Vec<(Base, Vec<usize>)>,
}

/// The prover's rounds.
struct Vanishing {
    variables: usize,
    demands: Vec<Demand>,
    /// The columns' cells and where demands have constants their true positions, each with its variables at the start.
    lists: Vec<(usize, Values)>,
    z: Vec<Ext>,
    bound: usize,
}

impl Vanishing {
    fn new<'a>(zeros: &[Zero], random: Ext, z: &[Ext], cells: impl Fn(ColumnId) -> &'a Vec<Base>) -> Self {
        #[derive(PartialEq)]
        enum Of {
            Column(ColumnId),
            True(usize),
        }
        let (mut keys, mut lists) = (vec![], vec![]);
        let mut list = |of: Of| {
            keys.iter().position(|key| *key == of).unwrap_or_else(|| {
                let mut values = match of {
                    Of::Column(column) => cells(column).clone(),
                    Of::True(length) => vec![Base::ONE; length],
                };
                values.resize(values.len().next_power_of_two(), Base::ZERO);
                lists.push((log2_ceil(values.len()), Values::Base(values)));
                keys.push(of);
                keys.len() - 1
            })
        };
        let mut demands = vec![];
        for (zero, coefficient) in zeros.iter().zip(random.powers()) {
            let length = zero.shape.iter().product::<usize>();
            let mut terms: Vec<(Base, Vec<usize>)> = vec![];
            for (coefficient, columns) in &zero.terms {
                let factors = columns.iter().map(|&c| list(Of::Column(c))).collect();
                terms.push((Base::from_i64(*coefficient), factors));
            }
            if zero.constant != 0 {
                terms.push((Base::from_i64(zero.constant), vec![list(Of::True(length))]));
            }
            demands.push(Demand { variables: log2_ceil(length), coefficient, terms });
        }
        Self { variables: z.len(), demands, lists, z: z.to_vec(), bound: 0 }
    }
}

impl Rounds for Vanishing {
    fn message(&mut self) -> Vec<Ext> {
        let left = self.variables - self.bound;
        let mut total = [Ext::ZERO; DEGREE];
        // Lists of as many variables as are left, or more at the start: those that have joined.
        let joined: Vec<&Demand> = self.demands.iter().filter(|d| d.variables >= left).collect();
        if joined.is_empty() {
            return total.to_vec();
        }
        let weights = eq_table(&self.z[self.bound + 1..]);
        for demand in joined {
            let sums = if demand.variables == left {
                let lists = self.lists.iter().map(|(_, v)| if let Values::Base(v) = v { v.as_slice() } else { &[] });
                sum(demand, &lists.collect::<Vec<_>>(), &weights)
            } else {
                let lists = self.lists.iter().map(|(_, v)| if let Values::Ext(v) = v { v.as_slice() } else { &[] });
                sum(demand, &lists.collect::<Vec<_>>(), &weights)
            };
            total.iter_mut().zip(sums).for_each(|(total, sum)| *total += demand.coefficient * sum);
        }
        total.to_vec()
    }

    fn bind(&mut self, r: Ext) {
        let left = self.variables - self.bound;
        self.lists.iter_mut().filter(|(variables, _)| *variables >= left).for_each(|(_, values)| values.bind(r));
        self.bound += 1;
    }
}

/// `g(0), g(2)` and the leading coefficient of one demand.
fn sum<F>(demand: &Demand, lists: &[&[F]], weights: &[Ext]) -> [Ext; DEGREE]
where
    Ext: ExtensionField<F>,
    F: Field + ExtensionField<Base>,
{
    let half = weights.len();
    let add = |a: [Ext; DEGREE], b: [Ext; DEGREE]| std::array::from_fn(|i| a[i] + b[i]);
    let at = |i: usize| {
        let mut here = [F::ZERO; DEGREE];
        for (coefficient, factors) in &demand.terms {
            let mut product = [F::ONE; DEGREE];
            for &list in factors {
                let (low, step) = (lists[list][i], lists[list][half + i] - lists[list][i]);
                product[0] *= low;
                product[1] *= low + step.double();
                product[2] *= step;
            }
            if factors.len() < DEGREE {
                product[2] = F::ZERO;
            }
            here.iter_mut().zip(product).for_each(|(sum, p)| *sum += p * *coefficient);
        }
        here.map(|h| weights[i] * h)
    };
    let piece = |range: std::ops::Range<usize>| range.fold([Ext::ZERO; DEGREE], |sum, i| add(sum, at(i)));
    if half < PARALLEL_FROM / 4 {
        return piece(0..half);
    }
    let size = PARALLEL_FROM / 8;
    let pieces = (0..half.div_ceil(size)).into_par_iter();
    pieces.map(|p| piece(p * size..half.min((p + 1) * size))).reduce(|| [Ext::ZERO; DEGREE], add)
}
