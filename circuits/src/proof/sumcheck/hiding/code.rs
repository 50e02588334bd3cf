//! Cells as polynomials that show nothing of them at a few points.
//!
//! A row of `l = 2^data` cells is the polynomial `w(X) = d(X) + (X^l - 1) r(X)`, where `d` has the cells as its values on
//! the subgroup `H` of order `l`, and `r` has `random` uniform coefficients. Its values at any `random` points outside `H`
//! are uniform and independent. The code word is its values on `n = 2^domain` points of a coset, which `H` does not meet.

use p3_dft::{Radix2DFTSmallBatch, TwoAdicSubgroupDft};
use p3_field::{
    BasedVectorSpace, Field, PrimeCharacteristicRing, PrimeField64, TwoAdicField, batch_multiplicative_inverse,
};
use p3_matrix::Matrix;
use p3_matrix::dense::RowMajorMatrix;
use rand::Rng;

use crate::proof::sumcheck::commitment::{Base, Ext};

/// Positions opened in one argument.
pub(super) const QUERIES: usize = 160;

/// The shape of a code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Code {
    /// Logarithm of the cells of a row.
    pub(super) data: usize,
    /// Random coefficients of a row.
    pub(super) random: usize,
    /// Coefficients of what an argument sends, at most.
    pub(super) bound: usize,
    /// Logarithm of the length of a code word.
    pub(super) domain: usize,
}

impl Code {
    /// A code for rows of `2^data` cells, for so many arguments, with or without products of rows.
    ///
    /// The bound `K` on degrees is at most 0.29 of the length `n`: an argument that is false passes at a random position
    /// with probability at most `(1 + K / n) / 2`, so that [`QUERIES`] positions give 100 bits.
    pub(super) fn new(data: usize, arguments: usize, products: bool) -> Self {
        let random = arguments * QUERIES;
        let bound = (2 << data) + if products { 2 * random } else { random };
        let domain = (bound * 1000).div_ceil(290).next_power_of_two().trailing_zeros() as usize;
        Self { data, random, bound, domain }
    }

    /// Cells of a row.
    pub(super) fn cells(&self) -> usize {
        1 << self.data
    }

    /// Length of a code word.
    pub(super) fn length(&self) -> usize {
        1 << self.domain
    }

    /// A subset of the domain large enough to know a polynomial within the bound by: its logarithm.
    pub(super) fn inner(&self) -> usize {
        self.bound.next_power_of_two().trailing_zeros() as usize
    }

    /// The point of a position.
    pub(super) fn point(&self, position: usize) -> Base {
        Base::GENERATOR * Base::two_adic_generator(self.domain).exp_u64(position as u64)
    }

    /// Encodes `rows` rows of cells: one matrix row a position, one column a row of cells.
    pub(super) fn encode(&self, rows: &[Vec<Base>], random: &mut impl Rng) -> RowMajorMatrix<Base> {
        let dft = Radix2DFTSmallBatch::<Base>::default();
        let (width, cells) = (rows.len(), self.cells());
        let mut values = Base::zero_vec(cells * width);
        for (column, row) in rows.iter().enumerate() {
            for (at, cell) in row.iter().enumerate() {
                values[at * width + column] = *cell;
            }
        }
        let mut coefficients = dft.idft_batch(RowMajorMatrix::new(values, width)).values;
        coefficients.resize(self.length() * width, Base::ZERO);
        for at in 0..self.random {
            for column in 0..width {
                let blind = uniform(random);
                coefficients[at * width + column] -= blind;
                coefficients[(at + cells) * width + column] += blind;
            }
        }
        dft.coset_dft_batch(RowMajorMatrix::new(coefficients, width), Base::GENERATOR).to_row_major_matrix()
    }

    /// The values on the whole domain of polynomials over the extension: one matrix row a position.
    pub(super) fn evaluate(&self, polynomials: &[&[Ext]]) -> RowMajorMatrix<Ext> {
        self.evaluate_on(polynomials, self.domain)
    }

    /// The same on every `2^(domain - log)`-th position.
    pub(super) fn evaluate_on(&self, polynomials: &[&[Ext]], log: usize) -> RowMajorMatrix<Ext> {
        let width = polynomials.len();
        let mut values = Ext::zero_vec(width << log);
        for (column, polynomial) in polynomials.iter().enumerate() {
            for (at, coefficient) in polynomial.iter().enumerate() {
                values[at * width + column] = *coefficient;
            }
        }
        Radix2DFTSmallBatch::<Base>::default()
            .coset_dft_algebra_batch(RowMajorMatrix::new(values, width), Base::GENERATOR)
    }

    /// Coefficients from the values on every `2^(domain - inner)`-th position.
    pub(super) fn interpolate(&self, values: Vec<Ext>) -> Vec<Ext> {
        Radix2DFTSmallBatch::<Base>::default().coset_idft_algebra(values, Base::GENERATOR)
    }

    /// Coefficients of the polynomials with these values on `H`.
    pub(super) fn interpolate_cells(&self, values: Vec<Ext>) -> Vec<Ext> {
        debug_assert_eq!(values.len(), self.cells());
        Radix2DFTSmallBatch::<Base>::default().idft_algebra(values)
    }

    /// For a point outside `H`, what the values on `H` of a polynomial below degree `l` weigh in its value there.
    pub(super) fn weights(&self, point: Base) -> Vec<Base> {
        let cells = self.cells();
        let subgroup: Vec<Base> = Base::two_adic_generator(self.data).powers().take(cells).collect();
        let differences: Vec<Base> = subgroup.iter().map(|h| point - *h).collect();
        let scale = self.vanishing(point) * Base::from_usize(cells).inverse();
        let inverses = batch_multiplicative_inverse(&differences);
        subgroup.into_iter().zip(inverses).map(|(h, inverse)| scale * h * inverse).collect()
    }

    /// `X^l - 1`, which vanishes on `H`.
    pub(super) fn vanishing(&self, point: Base) -> Base {
        point.exp_power_of_2(self.data) - Base::ONE
    }

    /// The sum of a polynomial's values on `H`.
    pub(super) fn sum(&self, coefficients: &[Ext]) -> Ext {
        coefficients.iter().step_by(self.cells()).copied().sum::<Ext>() * Base::from_usize(self.cells())
    }

    /// A uniform polynomial within the bound whose values on `H` add up to this.
    pub(super) fn blind_with_sum(&self, sum: Ext, random: &mut impl Rng) -> Vec<Ext> {
        let mut polynomial = self.blind(self.bound, random);
        polynomial[0] = Ext::ZERO;
        polynomial[0] = (sum - self.sum(&polynomial)) * Base::from_usize(self.cells()).inverse();
        polynomial
    }

    /// A uniform polynomial of so many coefficients.
    pub(super) fn blind(&self, coefficients: usize, random: &mut impl Rng) -> Vec<Ext> {
        (0..coefficients).map(|_| uniform_ext(random)).collect()
    }
}

/// A uniform field element.
pub(super) fn uniform(random: &mut impl Rng) -> Base {
    loop {
        let value = random.next_u64();
        if value < Base::ORDER_U64 {
            return Base::new(value);
        }
    }
}

/// A uniform element of the extension.
pub(super) fn uniform_ext(random: &mut impl Rng) -> Ext {
    Ext::from_basis_coefficients_fn(|_| uniform(random))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    fn horner(coefficients: &[Ext], x: Base) -> Ext {
        coefficients.iter().rev().fold(Ext::ZERO, |sum, c| sum * x + *c)
    }

    #[test]
    fn every_code_has_the_distance_that_its_queries_need() {
        for data in 9..=13 {
            for arguments in [1, 16, 32] {
                for products in [false, true] {
                    let code = Code::new(data, arguments, products);
                    let passes = (1.0 + code.bound as f64 / code.length() as f64) / 2.0;
                    assert!(-(QUERIES as f64) * passes.log2() >= 100.0);
                    assert!(code.cells() + code.random <= code.bound);
                }
            }
        }
    }

    #[test]
    fn a_code_word_is_of_the_cells_and_points_meet_none_of_them() {
        let mut random = StdRng::seed_from_u64(1);
        let code = Code::new(9, 1, true);
        let rows: Vec<Vec<Base>> = (0..3).map(|_| (0..512).map(|_| uniform(&mut random)).collect()).collect();
        let word = code.encode(&rows, &mut random);
        // The polynomial found from the word again has the cells as values, and the degree is as it should be.
        let all: Vec<Ext> = (0..code.length()).map(|at| Ext::from(word.values[at * 3 + 1])).collect();
        let coefficients = Radix2DFTSmallBatch::<Base>::default().coset_idft_algebra(all, Base::GENERATOR);
        assert!(coefficients[code.cells() + code.random..].iter().all(|c| *c == Ext::ZERO));
        for (h, cell) in Base::two_adic_generator(code.data).powers().take(512).zip(&rows[1]) {
            assert_eq!(horner(&coefficients, h), Ext::from(*cell));
        }
        assert_eq!(code.sum(&coefficients), Ext::from(rows[1].iter().copied().sum::<Base>()));
        assert_eq!(horner(&coefficients, code.point(77)), Ext::from(word.values[77 * 3 + 1]));
    }

    #[test]
    fn values_on_the_cells_give_values_elsewhere() {
        let mut random = StdRng::seed_from_u64(2);
        let code = Code::new(9, 1, false);
        let values: Vec<Ext> = (0..512).map(|_| uniform_ext(&mut random)).collect();
        let coefficients = code.interpolate_cells(values.clone());
        let point = code.point(5);
        let weighed: Ext = values.iter().zip(code.weights(point)).map(|(v, w)| *v * w).sum();
        assert_eq!(weighed, horner(&coefficients, point));
        let everywhere = code.evaluate(&[&coefficients]);
        assert_eq!(everywhere.values[5], weighed);
        let some = code.evaluate_on(&[&coefficients], code.inner());
        let step = code.length() >> code.inner();
        assert_eq!(some.values[3], everywhere.values[3 * step]);
        let again = code.interpolate(some.values);
        assert_eq!(again[..512], coefficients[..]);
    }
}
