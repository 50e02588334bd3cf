//! A whole run of the hiding mode, and what it leaves to be shown of the committed rows.

use p3_field::{BasedVectorSpace, PrimeCharacteristicRing};

use super::affine::{Affine, Pad};
use super::argument::{Demand, Term};
use super::code::Code;
use super::context::{Counter, Counts, HiddenClaims, HidingProver, HidingVerifier, Pads};
use super::layout::{Layout, rows, split};
use crate::proof::sumcheck::commitment::{Base, Ext};
use crate::proof::sumcheck::context::{Context, Failure};

/// Proofs that one commitment to weights hides them in: each opens other positions of it.
pub const PROOFS: usize = 32;

/// A context that collects claims for the end.
pub(super) trait Hiding: Context {
    fn claims(&mut self) -> HiddenClaims<Self::Value>;
}

impl Hiding for Counter {
    fn claims(&mut self) -> HiddenClaims<Self::Value> {
        std::mem::take(&mut self.claims)
    }
}

impl Hiding for HidingProver<'_> {
    fn claims(&mut self) -> HiddenClaims<Self::Value> {
        std::mem::take(&mut self.claims)
    }
}

impl Hiding for HidingVerifier<'_> {
    fn claims(&mut self) -> HiddenClaims<Self::Value> {
        std::mem::take(&mut self.claims)
    }
}

/// How the witness and the weights are laid out as polynomials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Layouts {
    /// None where there is no witness.
    pub(super) witness: Option<Layout>,
    pub(super) weights: Layout,
}

/// The cells of both polynomials.
#[derive(Clone, Copy)]
pub(super) struct Placed<'a> {
    pub(super) witness: &'a [Base],
    pub(super) weights: &'a [Base],
}

/// The one value of each polynomial that is left to be shown.
pub(super) struct Ends<V> {
    pub(super) witness: Option<(Vec<Ext>, V)>,
    pub(super) weights: Option<(Vec<Ext>, V)>,
}

impl Layouts {
    /// Reduces the claims that a run left.
    pub(super) fn settle<C: Hiding>(&self, c: &mut C, cells: Option<Placed<'_>>) -> Result<Ends<C::Value>, Failure> {
        let claims = c.claims();
        let mut ends = Ends { witness: None, weights: None };
        if let Some(layout) = self.witness.as_ref().filter(|_| !claims.witness.is_empty()) {
            ends.witness = Some(layout.reduce(c, claims.witness, cells.map(|cells| cells.witness))?);
        }
        if !claims.weights.is_empty() {
            ends.weights = Some(self.weights.reduce(c, claims.weights, cells.map(|cells| cells.weights))?);
        }
        Ok(ends)
    }

    /// The code of the weights' rows, and how many there are.
    pub(super) fn weight_code(&self) -> (Code, usize) {
        let data = cells_of_a_row(self.weights.variables);
        (Code::new(data, PROOFS, false), 1 << self.weights.variables.saturating_sub(data))
    }
}

/// Logarithm of the cells of a row where there are so many cells: longer rows mean fewer of them to open, and
/// longer polynomials and code words, which cost the prover more.
fn cells_of_a_row(variables: usize) -> usize {
    (variables / 2 + 2).clamp(10, 13)
}

/// The rows committed for one proof: those of the witness, then pads, an element of the extension in two rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fresh {
    pub(super) code: Code,
    witness_rows: usize,
    message_rows: usize,
    product_rows: usize,
}

impl Fresh {
    /// One pad is put after the messages': of the sum of the weights' mask.
    pub(super) fn new(witness: Option<&Layout>, counts: Counts) -> Self {
        let witness = witness.map(|layout| layout.variables);
        let cells = witness.map_or(0, |n| 1usize << n) + 2 * (counts.messages + 1) + 6 * counts.products;
        let data = cells_of_a_row(cells.next_power_of_two().trailing_zeros() as usize);
        Self {
            code: Code::new(data, 1, counts.products > 0),
            witness_rows: witness.map_or(0, |n| 1 << n.saturating_sub(data)),
            message_rows: (counts.messages + 1).div_ceil(1 << data),
            product_rows: counts.products.div_ceil(1 << data),
        }
    }

    /// Rows in all.
    pub(super) fn rows(&self) -> usize {
        self.witness_rows + 2 * self.message_rows + 6 * self.product_rows
    }

    /// The first row of the messages' pads, or of left factors, right factors, products.
    fn first(&self, list: usize) -> usize {
        let messages = self.witness_rows + 2 * self.message_rows;
        if list == 0 { self.witness_rows } else { messages + 2 * (list - 1) * self.product_rows }
    }

    /// Rows of left factors, right factors and products.
    pub(super) fn triples(&self) -> Vec<[usize; 3]> {
        (0..self.product_rows).map(|row| [1, 2, 3].map(|list| self.first(list) + 2 * row)).collect()
    }

    /// The cells to commit to.
    pub(super) fn cells(&self, witness: &[Base], pads: &Pads) -> Vec<Vec<Base>> {
        let length = self.code.cells();
        let mut cells = if self.witness_rows == 0 { vec![] } else { rows(witness, self.code.data) };
        let lists = std::iter::once((&pads.messages, self.message_rows))
            .chain(pads.products.iter().map(|list| (list, self.product_rows)));
        for (list, count) in lists {
            for row in 0..count {
                let list = &list[(row * length).min(list.len())..((row + 1) * length).min(list.len())];
                for part in 0..2 {
                    let coefficient = |value: &Ext| -> Base { value.as_basis_coefficients_slice()[part] };
                    let mut row: Vec<Base> = list.iter().map(coefficient).collect();
                    row.resize(length, Base::ZERO);
                    cells.push(row);
                }
            }
        }
        cells
    }

    /// All equations with random coefficients as one linear demand, and its sum. The last equation lacks the witness's
    /// value at `point`, where there is one.
    pub(super) fn demand(&self, equations: &[Affine], point: Option<&[Ext]>, random: Ext) -> (Vec<Term>, Ext) {
        let length = self.code.cells();
        let row_counts = [self.message_rows, self.product_rows, self.product_rows, self.product_rows];
        let mut weights = row_counts.map(|count| vec![Ext::ZERO; count * length]);
        let (mut sum, mut coefficient) = (Ext::ZERO, Ext::ONE);
        for equation in equations {
            coefficient *= random;
            sum -= equation.constant * coefficient;
            for (pad, weight) in &equation.pads {
                let (list, at) = match *pad {
                    Pad::Message(at) => (0, at),
                    Pad::Left(at) => (1, at),
                    Pad::Right(at) => (2, at),
                    Pad::Product(at) => (3, at),
                };
                weights[list][at as usize] += *weight * coefficient;
            }
        }
        let mut terms = vec![];
        if let Some(point) = point {
            let (high, vector) = split(point, self.code.data);
            terms.push(Term { vector, rows: high.into_iter().map(|w| w * coefficient).enumerate().collect() });
        }
        for (list, weights) in weights.into_iter().enumerate() {
            for (row, vector) in weights.chunks(length).enumerate() {
                let first = self.first(list) + 2 * row;
                let rows = vec![(first, Ext::ONE), (first + 1, Ext::new([Base::ZERO, Base::ONE]))];
                terms.push(Term { vector: vector.to_vec(), rows });
            }
        }
        (terms, sum)
    }
}

/// What is to be shown of the weights' rows.
pub(super) struct WeightsDemand {
    pub(super) terms: Vec<Term>,
    pub(super) sum: Ext,
}

/// What a run leaves to be shown.
pub(super) struct Conclusion {
    pub(super) fresh: Fresh,
    pub(super) terms: Vec<Term>,
    pub(super) triples: Vec<[usize; 3]>,
    pub(super) sum: Ext,
    pub(super) weights: Option<WeightsDemand>,
}

impl Conclusion {
    /// The verifier's end of a run: the weights' value, times a challenge and hidden by the sum of a mask, is sent; then all
    /// equations become one.
    pub(super) fn new(
        verifier: &mut HidingVerifier<'_>,
        layouts: &Layouts,
        ends: Ends<Affine>,
    ) -> Result<Self, Failure> {
        let mask = Affine::of(Pad::Message(u32::try_from(verifier.counts.messages).unwrap_or(u32::MAX)));
        let weights = match ends.weights {
            None => None,
            Some((point, value)) => {
                let scale = verifier.challenge();
                let sum = verifier.receive()?;
                verifier.equations.push(value * scale + mask - sum.into());
                let (code, _) = layouts.weight_code();
                let (high, vector) = split(&point, code.data);
                let rows = high.into_iter().map(|w| w * scale).enumerate().collect();
                Some(WeightsDemand { terms: vec![Term { vector, rows }], sum })
            }
        };
        let (point, value) = ends.witness.unzip();
        // The last equation, which the witness's cells complete; without a witness it says nothing.
        verifier.equations.push(Affine::from(Ext::ZERO) - value.unwrap_or_else(|| Ext::ZERO.into()));
        let random = verifier.challenge();
        let fresh = Fresh::new(layouts.witness.as_ref(), verifier.counts);
        let (terms, sum) = fresh.demand(&verifier.equations, point.as_deref(), random);
        Ok(Self { fresh, terms, triples: fresh.triples(), sum, weights })
    }

    pub(super) fn fresh_demand(&self) -> Demand<'_> {
        Demand { code: &self.fresh.code, rows: self.fresh.rows(), terms: &self.terms, products: &self.triples }
    }
}
